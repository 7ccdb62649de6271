//! The atomics of what workers share: loom's where it looks for interleavings, the standard library's elsewhere.
//!
//! `RUSTFLAGS='--cfg outrigger_loom'` has a name of its own, because `--cfg loom` would change tokio, too.

/// Between what one writes and reads of another, both `SeqCst`: loom takes these accesses for less than they are.
#[inline]
pub fn in_one_order() {
    #[cfg(outrigger_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(outrigger_loom)]
pub use loom::hint::spin_loop;
#[cfg(outrigger_loom)]
pub use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
#[cfg(not(outrigger_loom))]
pub use std::hint::spin_loop;
#[cfg(not(outrigger_loom))]
pub use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
