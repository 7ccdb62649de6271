//! Routing over real sockets: which request goes where, and what is done to it on its way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by ending")]

mod docs;
mod matching;
mod mirror;
mod order;
mod places;
mod stage;
mod ways;
