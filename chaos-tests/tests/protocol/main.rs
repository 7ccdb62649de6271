//! What goes in on one side comes out on the other: bodies, fields, interim answers, and the pace of both sides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod bodies;
mod cut;
mod ends;
mod fields;
mod hostile;
mod interim;
mod leaving;
mod memory;
mod messages;
mod pace;
mod pressure;
mod rules;
mod unseen;
