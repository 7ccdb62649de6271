//! Faults that were asked for, and nothing else: what they do, whom they meet, and that they end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod accuracy;
mod bad_input;
mod edge;
mod guard;
mod safety;
mod stage;
mod upstream;
