//! Whatever a client or an origin sends, the answer is clear, the connection ends, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

mod answers;
mod requests;
