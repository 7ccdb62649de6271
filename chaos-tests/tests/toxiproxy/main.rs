//! Outrigger answers Toxiproxy's API as Toxiproxy does: the same calls to both, and the same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

mod api;
mod clients;
mod data_path;
mod drop_in;
mod echo;
mod ends;
mod order;
mod ours;
mod script;
mod storm;
mod transcript;
