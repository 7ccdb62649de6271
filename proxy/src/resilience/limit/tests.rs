mod promises;
mod sim;
mod sweep;
