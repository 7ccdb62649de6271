//! x

pub mod consul;
pub mod tools;
