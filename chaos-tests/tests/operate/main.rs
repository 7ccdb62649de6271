//! What the machine and its operator do to a running proxy: outputs that fail, files that change, ports that are crowded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod crowds;
mod keys;
mod metrics;
mod outputs;
mod promises;
mod reloads;
