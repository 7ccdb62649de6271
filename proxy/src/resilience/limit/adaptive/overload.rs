//! What the workers share of a service's adaptive limit.
//!
//! A small service that is spread over many workers shows each of them next to nothing: of twenty requests a second, one of
//! eight workers sees three. So what they see is put together, and one judgement is made of it (`pool`). Workers bring
//! what they have counted every few milliseconds, and whoever finds another one at it comes again later: nobody waits.
//!
//! While there is no limit, a request reads one word here that nobody writes. Only while there is one do requests count
//! themselves here, because it holds for all workers together.

#[allow(clippy::disallowed_types, reason = "tried and never waited for: who finds it taken comes again")]
use std::sync::Mutex;
use std::sync::{MutexGuard, TryLockError};

use super::super::super::sync::{AtomicI64, AtomicU32, Ordering};
use super::pool::Pool;
use crate::clock::Instant;

/// One service's.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "see the import")]
pub struct Overload {
    pool: Mutex<Pool>,
    /// Zero while there is no limit.
    limit: AtomicU32,
    /// Requests of which the service has answered none yet, at most.
    open: AtomicU32,
    /// Requests that wait at the service for nobody.
    hidden: AtomicU32,
    /// Requests that count against the limit: as of the workers' last looks, and exactly while there is a limit.
    counted: AtomicI64,
}

impl Overload {
    /// Knows nothing, limits nothing.
    #[allow(clippy::disallowed_types, reason = "see the import")]
    pub fn new(now: Instant) -> Self {
        Self {
            pool: Mutex::new(Pool::new(now)),
            limit: AtomicU32::new(0),
            open: AtomicU32::new(0),
            hidden: AtomicU32::new(0),
            counted: AtomicI64::new(0),
        }
    }

    /// The limit for all workers together; none while there is none.
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// Whether one more may set out, if it may use this share of the limit. One always may where none is known to be out:
    /// without it nobody would find out that there is room again.
    pub fn has_room(&self, share: f64) -> bool {
        self.limit().is_none_or(|limit| {
            let counted = self.counted();
            let hidden = self.hidden.load(Ordering::Relaxed);
            let is_below = |count: u32, bound: u32| f64::from(count) < (f64::from(bound) * share).max(1.0).ceil();
            let is_open = is_below(counted, self.open.load(Ordering::Relaxed));
            counted == 0 || (is_open && is_below(counted.saturating_add(hidden), limit))
        })
    }

    /// Requests that count, of all workers.
    pub fn counted(&self) -> u32 {
        u32::try_from(self.counted.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// One worker's have become more, or fewer.
    pub fn count(&self, change: i64) {
        self.counted.fetch_add(change, Ordering::Relaxed);
    }

    /// Where what is known is put together; none while another worker is there.
    pub fn pool(&self) -> Option<MutexGuard<'_, Pool>> {
        match self.pool.try_lock() {
            Ok(pool) => Some(pool),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Shows all workers what was found.
    pub fn show(&self, pool: &Pool) {
        let (limit, open) = pool.limit().unwrap_or_default();
        for (shown, now) in [(&self.limit, limit), (&self.open, open), (&self.hidden, pool.hidden())] {
            if shown.load(Ordering::Relaxed) != now {
                shown.store(now, Ordering::Relaxed);
            }
        }
    }
}
