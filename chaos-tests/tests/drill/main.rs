//! Drills as their author runs them: the program, a plan, a proxy, a product. What comes of it, how it ends, and that nothing stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod endings;
mod forms;
mod refusals;
mod shop;
mod stage;
