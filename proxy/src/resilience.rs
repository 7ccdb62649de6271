//! Policies that keep a request alive: each a small synchronous piece that is handed the time.

pub mod breaker;
pub mod budget;
pub mod deadline;
pub mod fallback;
pub mod hold;
pub mod limit;
pub mod outlier;
pub mod pace;
pub mod retry;
pub mod safest;
pub mod shape;
pub mod shelf;
pub mod sketch;
pub mod sync;
