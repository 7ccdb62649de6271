//! What goes up and down of a service and is nobody's to count: written when it changes, read by scrapes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

/// Something of which each worker has its own part, and the sum is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// How many requests the concurrency limit lets in; 0 while there is no limit.
    Limit,
    /// Requests that were let in and have not ended.
    LetIn,
    /// Requests that wait for their turn.
    Queued,
}

impl Level {
    /// Each of them.
    pub const ALL: [Self; Self::COUNT] = [Self::Limit, Self::LetIn, Self::Queued];
    pub(super) const COUNT: usize = 3;
}

/// A circuit breaker, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Requests go through.
    Closed,
    /// A few do, to see.
    HalfOpen,
    /// None does.
    Open,
}

/// A service's. Each writer writes a whole value, so that nothing drifts; only levels are added up.
#[derive(Debug, Default)]
pub struct Gauges {
    ejected: AtomicU64,
    fail_open: AtomicU64,
    breaker: AtomicU64,
    budget: AtomicU64,
    levels: [AtomicI64; Level::COUNT],
}

impl Gauges {
    /// So many endpoints are ejected now.
    pub fn endpoints_ejected(&self, endpoints: u32) {
        self.ejected.store(endpoints.into(), Relaxed);
    }

    /// Whether so much of the pool is out that requests go to ejected endpoints too.
    pub fn fail_open(&self, open: bool) {
        self.fail_open.store(open.into(), Relaxed);
    }

    /// The service's circuit breaker has changed.
    pub fn breaker(&self, circuit: Circuit) {
        self.breaker.store(circuit as u64, Relaxed);
    }

    /// So many tokens are in the account for retries and hedges.
    pub fn budget(&self, tokens: f64) {
        self.budget.store(tokens.to_bits(), Relaxed);
    }

    pub(crate) fn add(&self, level: Level, change: i64) {
        self.levels[level as usize].fetch_add(change, Relaxed);
    }

    /// Endpoints that are ejected.
    pub(crate) fn read_ejected(&self) -> u64 {
        self.ejected.load(Relaxed)
    }

    pub(crate) fn read_fail_open(&self) -> u64 {
        self.fail_open.load(Relaxed)
    }

    pub(crate) fn read_breaker(&self) -> u64 {
        self.breaker.load(Relaxed)
    }

    pub(crate) fn read_budget(&self) -> f64 {
        f64::from_bits(self.budget.load(Relaxed))
    }

    /// Workers report one after the other, so for a moment there may seem to be fewer than none.
    pub(crate) fn read(&self, level: Level) -> i64 {
        self.levels[level as usize].load(Relaxed).max(0)
    }
}
