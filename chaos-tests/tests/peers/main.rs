//! Other people's clients and servers work through the proxy as they do without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

mod curl;
mod grpc;
mod matrix;
mod websocket;
