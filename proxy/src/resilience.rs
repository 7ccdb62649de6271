//! Policies that keep a request alive: each a small synchronous piece that is handed the time.

pub mod deadline;
pub mod hold;
pub mod retry;
