//! Outrigger.

pub mod app;
pub mod balance;
pub mod config;
pub mod error;
pub mod http;
pub mod route;
pub mod snapshot;
pub mod telemetry;
