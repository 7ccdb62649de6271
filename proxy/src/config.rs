//! What the operator writes, and how it becomes what the program uses.

pub mod settings;
