//! The atomics of what workers share: loom's where it looks for interleavings, the standard library's elsewhere.
//!
//! `RUSTFLAGS='--cfg outrigger_loom'` has a name of its own, because `--cfg loom` would change tokio, too.

#[cfg(outrigger_loom)]
pub use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
#[cfg(not(outrigger_loom))]
pub use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
