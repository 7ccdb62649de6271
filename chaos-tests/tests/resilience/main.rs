//! What of an origin's failure reaches the client: nothing that could safely have been spared it. And what the proxy says of
//! it, to the client, to the origin and to the operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod account;
mod attempts;
mod availability;
mod balance;
mod blame;
mod bodies;
mod breaker;
mod deadlines;
mod ejection;
mod endpoints;
mod explain;
mod fallback;
mod hedge;
mod limits;
mod reuse;
mod stage;
mod wishes;
