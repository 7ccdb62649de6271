mod promises;
mod sim;
