//! TLS on both sides, with other people's TLS at the far end: OpenSSL's in curl, in `openssl`, in Python, in nginx and HAProxy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

mod clients;
mod docs;
mod endpoints;
mod files;
mod hostile;
mod listeners;
mod renewal;
mod stage;
