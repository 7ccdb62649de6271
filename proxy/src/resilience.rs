//! Policies that keep a request alive: each a small synchronous piece that is handed the time.

pub mod breaker;
pub mod budget;
pub mod deadline;
pub mod fallback;
pub mod latency_policy;
pub mod limit;
pub mod outlier;
pub mod response_buffering;
pub mod retry;
pub mod shape;
pub mod shared_estimates;
pub mod single_try;
pub mod sketch;
pub mod sync;
