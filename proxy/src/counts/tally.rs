//! What one worker has counted of one service since its last tick, and the sums that it is added to.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::account::{Entries, Sums};
use super::gauges::Level;
use super::{Account, BUCKETS_US};
use crate::error::Reason;

pub(super) const BUCKETS: usize = BUCKETS_US.len() + 1;
/// `1xx` to `5xx`, and what is none of them.
pub(super) const CLASSES: usize = 6;
pub(super) const REASONS: usize = Reason::ALL.len();

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// Failures in a row.
    Consecutive,
    /// A share of failures.
    Share,
    /// Latency far outside its peers'.
    Latency,
    /// No answer in time, in a row.
    Silence,
}

impl Ejection {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Consecutive, Self::Share, Self::Latency, Self::Silence];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Share => "share",
            Self::Latency => "latency",
            Self::Silence => "silence",
        }
    }
}

/// What one worker has counted of one service since its last tick.
#[derive(Debug, Default)]
pub struct ServiceTally {
    touched: bool,
    counted: Counted,
    entries: Entries,
    /// Of requests that began when nobody knew yet whether the name is a service; made with the first of them.
    nameless: Option<Box<Entries>>,
    levels: [u32; Level::COUNT],
    reported: [u32; Level::COUNT],
}

#[derive(Debug)]
struct Counted {
    classes: [u32; CLASSES],
    refused: [u32; REASONS],
    good_attempts: u32,
    failed_attempts: [u32; REASONS],
    retries: u32,
    connections: u32,
    latency: [u32; BUCKETS],
    latency_us: u64,
    hedges: u32,
    hedges_won: u32,
    budget_refused: u32,
    ejections: [u32; Ejection::ALL.len()],
    breaker_opened: u32,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            classes: [0; CLASSES],
            refused: [0; REASONS],
            good_attempts: 0,
            failed_attempts: [0; REASONS],
            retries: 0,
            connections: 0,
            latency: [0; BUCKETS],
            latency_us: 0,
            hedges: 0,
            hedges_won: 0,
            budget_refused: 0,
            ejections: [0; Ejection::ALL.len()],
            breaker_opened: 0,
        }
    }
}

impl ServiceTally {
    /// A request was answered by an endpoint: the status that went to the client, and the time from the
    /// request's head to the answer's head.
    pub fn answered(&mut self, status: u16, latency: Duration) {
        self.request(status, latency);
    }

    /// A request was answered by the proxy itself.
    pub fn refused(&mut self, reason: Reason, latency: Duration) {
        self.counted.refused[reason as usize] += 1;
        self.request(reason.row().status, latency);
    }

    /// A request has reached the service. `named` says that the name is known to be a service: where it is not, the request
    /// counts under `(other)` from its beginning to its end.
    pub fn opened(&mut self, named: bool) {
        self.entries(named).open();
    }

    /// A request that was [`opened`](Self::opened) is over.
    pub fn closed(&mut self, account: &Account, named: bool) {
        self.entries(named).close(account);
    }

    /// A request of this account has come and gone.
    #[cfg(test)]
    pub fn finished(&mut self, account: &Account) {
        self.opened(true);
        self.closed(account, true);
    }

    fn entries(&mut self, named: bool) -> &mut Entries {
        if named { &mut self.entries } else { self.nameless.get_or_insert_default() }
    }

    /// An attempt ended: none for an answer that counts as good.
    pub fn attempted(&mut self, failure: Option<Reason>) {
        let counted = self.count();
        match failure {
            None => counted.good_attempts += 1,
            Some(reason) => counted.failed_attempts[reason as usize] += 1,
        }
    }

    /// An attempt after the first was started.
    pub fn retried(&mut self) {
        self.count().retries += 1;
    }

    /// An attempt was started because another one was slow.
    pub fn hedged(&mut self) {
        self.count().hedges += 1;
    }

    /// A hedge was faster than what it was started beside.
    pub fn hedge_won(&mut self) {
        self.count().hedges_won += 1;
    }

    /// An attempt was not made because the service's budget was empty.
    pub fn budget_refused(&mut self) {
        self.count().budget_refused += 1;
    }

    /// An endpoint was ejected.
    pub fn ejected(&mut self, why: Ejection) {
        self.count().ejections[why as usize] += 1;
    }

    /// The service's circuit breaker has opened.
    pub fn breaker_opened(&mut self) {
        self.count().breaker_opened += 1;
    }

    /// A connection to an endpoint was opened.
    pub fn connected(&mut self) {
        self.count().connections += 1;
    }

    /// What this worker has of something that is summed over workers, as of now.
    pub fn level(&mut self, level: Level, value: u32) {
        self.touched = true;
        self.levels[level as usize] = value;
    }

    fn count(&mut self) -> &mut Counted {
        self.touched = true;
        &mut self.counted
    }

    fn request(&mut self, status: u16, latency: Duration) {
        let counted = self.count();
        let class = usize::from(status / 100);
        counted.classes[if class < CLASSES { class } else { 0 }] += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        counted.latency[BUCKETS_US.partition_point(|bound| *bound < micros)] += 1;
        counted.latency_us = counted.latency_us.saturating_add(micros);
    }

    /// Hands everything over and counts from zero again; levels stay.
    pub(super) fn drain(&mut self, counts: &Counts, account: &Sums, level: impl Fn(Level, i64)) {
        account.absorb(&mut self.entries);
        if let Some(nameless) = &mut self.nameless {
            super::OTHER.account.absorb(nameless);
        }
        if !std::mem::take(&mut self.touched) {
            return;
        }
        counts.absorb(&self.counted);
        self.counted = Counted::default();
        for one in Level::ALL {
            let (now, before) = (self.levels[one as usize], &mut self.reported[one as usize]);
            if now != *before {
                level(one, i64::from(now) - i64::from(*before));
                *before = now;
            }
        }
    }
}

/// What has been counted since a service is followed.
#[derive(Debug)]
pub(crate) struct Counts {
    pub classes: [AtomicU64; CLASSES],
    pub refused: [AtomicU64; REASONS],
    pub good_attempts: AtomicU64,
    pub failed_attempts: [AtomicU64; REASONS],
    pub retries: AtomicU64,
    pub connections: AtomicU64,
    pub latency: [AtomicU64; BUCKETS],
    pub latency_us: AtomicU64,
    pub account: Sums,
    pub hedges: AtomicU64,
    pub hedges_won: AtomicU64,
    pub budget_refused: AtomicU64,
    pub ejections: [AtomicU64; Ejection::ALL.len()],
    pub breaker_opened: AtomicU64,
    pub good_checks: AtomicU64,
    pub bad_checks: AtomicU64,
}

impl Counts {
    pub const fn new() -> Self {
        Self {
            classes: [const { AtomicU64::new(0) }; CLASSES],
            refused: [const { AtomicU64::new(0) }; REASONS],
            good_attempts: AtomicU64::new(0),
            failed_attempts: [const { AtomicU64::new(0) }; REASONS],
            retries: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            latency_us: AtomicU64::new(0),
            account: Sums::new(),
            hedges: AtomicU64::new(0),
            hedges_won: AtomicU64::new(0),
            budget_refused: AtomicU64::new(0),
            ejections: [const { AtomicU64::new(0) }; Ejection::ALL.len()],
            breaker_opened: AtomicU64::new(0),
            good_checks: AtomicU64::new(0),
            bad_checks: AtomicU64::new(0),
        }
    }

    fn absorb(&self, counted: &Counted) {
        add_all(&self.classes, &counted.classes);
        add_all(&self.refused, &counted.refused);
        add(&self.good_attempts, counted.good_attempts);
        add_all(&self.failed_attempts, &counted.failed_attempts);
        add(&self.retries, counted.retries);
        add(&self.connections, counted.connections);
        add_all(&self.latency, &counted.latency);
        self.latency_us.fetch_add(counted.latency_us, Relaxed);
        add(&self.hedges, counted.hedges);
        add(&self.hedges_won, counted.hedges_won);
        add(&self.budget_refused, counted.budget_refused);
        add_all(&self.ejections, &counted.ejections);
        add(&self.breaker_opened, counted.breaker_opened);
    }
}

fn add(to: &AtomicU64, what: u32) {
    if what > 0 {
        to.fetch_add(u64::from(what), Relaxed);
    }
}

fn add_all(to: &[AtomicU64], what: &[u32]) {
    for (to, what) in to.iter().zip(what) {
        add(to, *what);
    }
}
