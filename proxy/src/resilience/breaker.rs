//! When a whole service is taken for dead.
//!
//! Where every endpoint fails, there is nothing left to choose: each request would wait for a connection that is refused,
//! or a timeout, try again elsewhere and find the same. That costs its client the wait, and the service three times its
//! load at the moment at which it tries to get up. So once nothing of it succeeds any more, the circuit opens: requests
//! fail in microseconds (or get their fallback), and the service gets a trickle.
//!
//! **What is dead?** Twenty failed attempts in a row, over all endpoints, and a second in which nothing succeeded. In a row
//! and not a share, because one live endpoint of five makes four fifths of the attempts fail, and is worth every retry. A
//! second as well, because requests interleave: where one page answers 503 a hundred and fifty times a second, twenty of
//! its failures lie between two good answers of the others every few moments. And what fails while other things are
//! answered is no evidence at all ([`super::shape`]): that page alone opens nothing, however seldom the others are asked
//! for. Only where nothing of any shape was answered for ten seconds, it is heard again.
//!
//! **Who pays?** Not those who are answered. An open circuit refuses only what has failed itself; a request of a shape that
//! has not goes through, and so finds out for itself. Each of the sixty-four places of shapes can cost a dead service
//! the failures of one moment in this way, once.
//!
//! **Why a trickle, and not a rest?** A breaker that closes its eyes for thirty seconds makes each outage thirty seconds
//! longer. One request in a tenth of a second costs a dead service nothing and sees it come back at once; after the first
//! success the next are let through sooner, and three close the circuit: well within a second. Three, because a
//! service that gets up often answers its first request out of a cache, and falls over at the second. What was answered
//! and fails again begins the count anew; what has never been answered does not, or a bad page would keep it open.
//!
//! **Whose turn is it?** The trickle goes round: a shape that had its turn waits while another one that asks has not.
//! Otherwise whoever asks most often, which may be the page that always fails, would be the only one to be let through.
//!
//! **Of whom is it known?** Of the endpoints that failed. One that has come since, or come back, is none of them: the next request
//! tries it at once, whatever it asks for ([`claim_newcomer`](super::outlier::PoolState::claim_newcomer)), and when it was
//! answered the one after that. And while one endpoint answers, another that fails as it did before is no news, and does not
//! begin the count anew.
//!
//! Attempts that were under way when it opened, or when it closed, still come back, and say how things were *then*: the
//! timeouts of a service that hung arrive when it has long been well again. So only what was begun since the last change
//! counts.
//!
//! What is shared is a few words for all workers, written by failures, and by successes while anything fails. While all is
//! well, admission is one load and success two.

use super::shape::{Record, Shape};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::config::settings::Breaker;

/// A service's circuit. Times are milliseconds on the joint's clock, never 0.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// What fails, and what alone.
    record: Record,
    /// Failures in a row, of what does not fail alone.
    row: AtomicU32,
    /// When it opened; 0 while it is closed.
    opened: AtomicU64,
    /// Since when nothing had been answered when it opened.
    outage: AtomicU64,
    /// When it last opened or closed.
    changed: AtomicU64,
    /// When the next request may pass while it is open.
    next: AtomicU64,
    /// Successes while it is open.
    successes: AtomicU32,
    /// Shapes that are refused while it is open, a bit each: those that have failed.
    held: AtomicU64,
    /// Those that were refused in this round of the trickle.
    asked: AtomicU64,
    /// Those that have had their turn in it.
    had: AtomicU64,
    openings: AtomicU64,
    refused: AtomicU64,
}

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Pass,
    /// It may, to see whether the service is back.
    Probe,
    /// It may not.
    Refused,
}

/// How a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// For how many milliseconds it has been open; none while it is closed.
    pub open_for: Option<u64>,
    /// Failures in a row.
    pub row: u32,
    /// Whether it is open and something has succeeded since.
    pub half_open: bool,
    /// How often it has opened.
    pub openings: u64,
    /// Requests that were refused.
    pub refused: u64,
}

/// Successes that close it.
const CLOSING: u32 = 3;
/// After the first success, in milliseconds, the next request may pass.
const SOON: u64 = 20;
/// Where nothing was answered for so many milliseconds, what failed alone is heard again.
const HEARD_AGAIN: u64 = 10_000;

impl CircuitBreaker {
    /// Whether a request of this shape, or a further attempt of one, may go on.
    pub fn admit(&self, rules: &Breaker, shape: Shape, now: u64) -> Admission {
        if self.opened.load(Ordering::Relaxed) == 0 || !rules.enabled {
            return Admission::Pass;
        }
        if self.held.load(Ordering::Acquire) & shape.bit() == 0 {
            return Admission::Pass;
        }
        let next = self.next.load(Ordering::Acquire);
        let soon = self.successes.load(Ordering::Relaxed) > 0;
        // What has been answered again comes before what has not: it is what closes it.
        let answered = self.record.failing() & shape.bit() == 0;
        let due = if soon && !answered { next + every(rules).saturating_sub(SOON) } else { next };
        if now >= due && (answered || self.is_its_turn(shape, now >= next + every(rules))) {
            let after = now + if soon { SOON } else { every(rules) };
            if self.next.compare_exchange(next, after, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.take_turn(shape);
                return Admission::Probe;
            }
        }
        self.asked.fetch_or(shape.bit(), Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        Admission::Refused
    }

    /// Whether the trickle has come round to this shape, or nobody has taken it for so long that it is anybody's.
    fn is_its_turn(&self, shape: Shape, anybodys: bool) -> bool {
        let (asked, had) = (self.asked.load(Ordering::Relaxed), self.had.load(Ordering::Relaxed));
        anybodys || had & shape.bit() == 0 || asked & !had == 0
    }

    fn take_turn(&self, shape: Shape) {
        if self.had.fetch_or(shape.bit(), Ordering::Relaxed) & shape.bit() != 0 {
            // A new round.
            self.had.store(shape.bit(), Ordering::Relaxed);
            self.asked.store(0, Ordering::Relaxed);
        }
    }

    /// A request that was let through to see made no attempt after all: another one may.
    pub fn give_back(&self, shape: Shape, now: u64) {
        self.had.fetch_and(!shape.bit(), Ordering::Relaxed);
        self.next.fetch_min(now, Ordering::AcqRel);
    }

    /// Whether it is open: one load.
    pub fn is_open(&self) -> bool {
        self.opened.load(Ordering::Relaxed) != 0
    }

    /// Since when nothing had been answered when it last opened.
    pub fn outage(&self) -> u64 {
        self.outage.load(Ordering::Relaxed)
    }

    /// Whether requests of this shape are refused, but for the trickle. One load while it is closed.
    pub fn refuses(&self, shape: impl FnOnce() -> Shape) -> bool {
        self.is_open() && self.held.load(Ordering::Relaxed) & shape().bit() != 0
    }

    /// Whether requests of this shape fail while others are answered.
    pub fn fails_alone(&self, shape: impl FnOnce() -> Shape) -> bool {
        !self.record.is_clean() && self.record.alone() & shape().bit() != 0
    }

    /// An attempt that was `begun` then succeeded. True when that has closed it.
    pub fn succeeded(&self, shape: impl FnOnce() -> Shape, begun: u64, now: u64) -> bool {
        let open = self.opened.load(Ordering::Acquire) != 0;
        if (self.record.is_clean() && !open) || begun < self.changed.load(Ordering::Relaxed) {
            return false;
        }
        self.record.succeeded(shape(), now);
        if !open {
            if self.row.load(Ordering::Relaxed) != 0 {
                self.row.store(0, Ordering::Relaxed);
            }
            return false;
        }
        if self.successes.fetch_add(1, Ordering::AcqRel) + 1 < CLOSING {
            self.next.fetch_min(now + SOON, Ordering::AcqRel);
            return false;
        }
        self.row.store(0, Ordering::Relaxed);
        self.successes.store(0, Ordering::Relaxed);
        self.changed.store(now, Ordering::Relaxed);
        self.opened.swap(0, Ordering::AcqRel) != 0
    }

    /// An attempt that was `begun` then failed by its endpoint's fault. True when that has opened it.
    pub fn failed(&self, rules: &Breaker, shape: Shape, begun: u64, now: u64) -> bool {
        if begun < self.changed.load(Ordering::Relaxed) {
            return false;
        }
        let failed_before = self.record.failing() & shape.bit() != 0;
        let evidence = self.record.failed(shape, HEARD_AGAIN, now);
        if self.opened.load(Ordering::Acquire) != 0 {
            let was_held = self.held.fetch_or(shape.bit(), Ordering::AcqRel) & shape.bit() != 0;
            if was_held && !failed_before && self.successes.swap(0, Ordering::AcqRel) > 0 {
                // It had looked better than it is.
                self.next.fetch_max(now + every(rules), Ordering::AcqRel);
            }
            return false;
        }
        if !evidence {
            return false;
        }
        let row = self.row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if !rules.enabled || row < rules.consecutive || self.record.silent_for(now) < millis(rules.silence) {
            return false;
        }
        self.successes.store(0, Ordering::Relaxed);
        self.held.store(self.record.failing(), Ordering::Release);
        self.asked.store(0, Ordering::Relaxed);
        self.had.store(0, Ordering::Relaxed);
        self.next.store(now + every(rules), Ordering::Release);
        self.outage.store(now - self.record.silent_for(now), Ordering::Relaxed);
        let opens = self.opened.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if opens {
            self.changed.store(now, Ordering::Relaxed);
            self.openings.fetch_add(1, Ordering::Relaxed);
        }
        opens
    }

    /// An attempt that was `begun` then failed, while it is open, at an endpoint that had failed the time before: that is no news.
    pub fn still_fails(&self, shape: Shape, begun: u64, now: u64) {
        if begun >= self.changed.load(Ordering::Relaxed) {
            self.record.failed(shape, HEARD_AGAIN, now);
            self.held.fetch_or(shape.bit(), Ordering::AcqRel);
        }
    }

    /// One failed in a way that says nothing of whether the service is there, and maybe something of what was asked.
    pub fn suspected(&self, shape: Shape, now: u64) {
        self.record.failed(shape, HEARD_AGAIN, now);
    }

    /// How it stands.
    pub fn status(&self, now: u64) -> Status {
        let opened = self.opened.load(Ordering::Relaxed);
        Status {
            open_for: (opened != 0).then(|| now.saturating_sub(opened)),
            row: self.row.load(Ordering::Relaxed),
            half_open: opened != 0 && self.successes.load(Ordering::Relaxed) > 0,
            openings: self.openings.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

fn every(rules: &Breaker) -> u64 {
    millis(rules.probe_every)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests;
