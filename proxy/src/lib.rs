//! Outrigger.

pub mod admin;
pub mod app;
pub mod balance;
pub mod config;
pub mod control;
pub mod data;
pub mod drain;
pub mod error;
pub mod http;
pub mod net;
pub mod resilience;
pub mod route;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
