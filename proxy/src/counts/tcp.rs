//! What went through a TCP proxy.

use std::sync::atomic::{AtomicI64, AtomicU64};

/// What went through a TCP proxy since it was made.
#[derive(Debug, Default)]
pub struct TcpCounts {
    /// Connections that are open.
    pub open: AtomicI64,
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Connections for which no upstream was to be had.
    pub failed: AtomicU64,
    /// Bytes that came from clients.
    pub received_up: AtomicU64,
    /// Bytes that went to servers.
    pub sent_up: AtomicU64,
    /// Bytes that came from servers.
    pub received_down: AtomicU64,
    /// Bytes that went to clients.
    pub sent_down: AtomicU64,
}
