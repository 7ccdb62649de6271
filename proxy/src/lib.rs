//! Outrigger.

pub mod admin;
pub mod balance;
pub mod config;
pub mod control;
pub mod error;
pub mod http;
pub mod route;
pub mod snapshot;
pub mod telemetry;
