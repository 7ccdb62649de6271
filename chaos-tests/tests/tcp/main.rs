//! Plain TCP through the proxy, and byte-stream faults, on plain TCP and beneath HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod accuracy;
mod faults;
mod http;
mod proxies;
mod stage;
