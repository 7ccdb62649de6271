//! What the process tells about itself.

pub mod access_log;
pub mod availability;
pub mod explain;
pub mod logs;
pub mod metrics;
pub mod outlet;
pub mod query;
pub mod status;
