//! x

pub mod proxies;
