//! When a whole service is taken for dead.
//!
//! Where every endpoint fails, there is nothing left to choose: each request would wait for a connection that is refused,
//! or a timeout, try again elsewhere and find the same. That costs its client the wait, and the service three times its
//! load at the moment at which it tries to get up. So after twenty failed attempts in a row, over all endpoints, the
//! circuit opens: requests fail in microseconds (or get their fallback), and the service gets a trickle.
//!
//! **Why in a row, and not a share?** Because what has to be told apart is "bad" from "dead". One live endpoint of five
//! makes four fifths of the attempts fail, and is worth every retry. As long as anything succeeds, the row ends, and the
//! circuit stays closed; the endpoints that fail are ejected one by one instead ([`super::outlier`]).
//!
//! **Why a trickle, and not a rest?** A breaker that closes its eyes for thirty seconds makes each outage thirty seconds
//! longer. One request in a tenth of a second costs a dead service nothing and sees it come back at once; after the first
//! success the next are let through sooner, and three in a row close the circuit: well within a second. Three, because a
//! service that gets up often answers its first request out of a cache, and falls over at the second.
//!
//! Attempts that were under way when it opened, or when it closed, still come back, and say how things were *then*: the
//! timeouts of a service that hung arrive when it has long been well again. So only what was begun since the last change
//! counts.
//!
//! The row is one number for all workers, written by failures, and by the success that ends a row. While all is well,
//! admission and success are one load each.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::config::settings::Breaker;

/// A service's circuit. Times are milliseconds on the joint's clock, never 0.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// Failures in a row.
    row: AtomicU32,
    /// When it opened; 0 while it is closed.
    opened: AtomicU64,
    /// When it last opened or closed.
    changed: AtomicU64,
    /// When the next request may pass while it is open.
    next: AtomicU64,
    /// Successes in a row while it is open.
    successes: AtomicU32,
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
    /// How often it has opened.
    pub openings: u64,
    /// Requests that were refused.
    pub refused: u64,
}

/// Successes in a row that close it.
const CLOSING: u32 = 3;
/// After the first success, in milliseconds, the next request may pass.
const SOON: u64 = 20;

impl CircuitBreaker {
    /// Whether a request, or a further attempt of one, may go on.
    pub fn admit(&self, rules: &Breaker, now: u64) -> Admission {
        if self.opened.load(Ordering::Relaxed) == 0 || !rules.enabled {
            return Admission::Pass;
        }
        let next = self.next.load(Ordering::Acquire);
        let soon = self.successes.load(Ordering::Relaxed) > 0;
        let after = now + if soon { SOON } else { every(rules) };
        if now >= next && self.next.compare_exchange(next, after, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Admission::Probe;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Admission::Refused
    }

    /// Whether it is open: one load.
    pub fn is_open(&self) -> bool {
        self.opened.load(Ordering::Relaxed) != 0
    }

    /// An attempt that was `begun` then succeeded. True when that has closed it.
    pub fn succeeded(&self, begun: u64, now: u64) -> bool {
        if self.row.load(Ordering::Relaxed) == 0 || begun < self.changed.load(Ordering::Relaxed) {
            return false;
        }
        if self.opened.load(Ordering::Acquire) == 0 {
            self.row.store(0, Ordering::Relaxed);
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
    pub fn failed(&self, rules: &Breaker, begun: u64, now: u64) -> bool {
        if begun < self.changed.load(Ordering::Relaxed) {
            return false;
        }
        let row = self.row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if self.opened.load(Ordering::Acquire) != 0 {
            if self.successes.swap(0, Ordering::AcqRel) > 0 {
                // It had looked better than it is.
                self.next.fetch_max(now + every(rules), Ordering::AcqRel);
            }
            return false;
        }
        if !rules.enabled || row < rules.consecutive {
            return false;
        }
        self.successes.store(0, Ordering::Relaxed);
        self.next.store(now + every(rules), Ordering::Release);
        let opens = self.opened.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if opens {
            self.changed.store(now, Ordering::Relaxed);
            self.openings.fetch_add(1, Ordering::Relaxed);
        }
        opens
    }

    /// How it stands.
    pub fn status(&self, now: u64) -> Status {
        let opened = self.opened.load(Ordering::Relaxed);
        Status {
            open_for: (opened != 0).then(|| now.saturating_sub(opened)),
            row: self.row.load(Ordering::Relaxed),
            openings: self.openings.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

fn every(rules: &Breaker) -> u64 {
    u64::try_from(rules.probe_every.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Breaker =
        Breaker { enabled: true, consecutive: 20, probe_every: std::time::Duration::from_millis(100) };

    fn open(now: u64) -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        (0..20).for_each(|_| {
            let _ = breaker.failed(&RULES, now, now);
        });
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn twenty_failures_in_a_row_open_it_and_nineteen_do_not() {
        let breaker = CircuitBreaker::default();
        for round in 0..100 {
            for _ in 0..19 {
                assert!(!breaker.failed(&RULES, 1 + round, 1 + round));
            }
            assert_eq!(breaker.admit(&RULES, 1 + round), Admission::Pass);
            breaker.succeeded(1 + round, 1 + round);
        }
        assert!((0..20).any(|_| breaker.failed(&RULES, 200, 200)));
        assert_eq!(breaker.admit(&RULES, 201), Admission::Refused);
    }

    #[test]
    fn a_dead_service_gets_a_trickle() {
        let breaker = open(1_000);
        let passed = (1_000..11_000).filter(|now| {
            let passed = breaker.admit(&RULES, *now) == Admission::Probe;
            if passed {
                breaker.failed(&RULES, *now, *now);
            }
            passed
        });
        assert_eq!(passed.count(), 99, "one in a tenth of a second, for ten seconds");
        assert_eq!(breaker.status(11_000).open_for, Some(10_000));
    }

    #[test]
    fn a_service_that_is_back_is_open_to_all_within_a_second() {
        let breaker = open(1_000);
        let back = 5_000;
        // Every millisecond a request, each answered two milliseconds later.
        let mut due = Vec::new();
        for now in back..back + 1_000 {
            if breaker.admit(&RULES, now) != Admission::Refused {
                due.push(now + 2);
            }
            due.iter().filter(|at| **at == now).for_each(|_| {
                let _ = breaker.succeeded(now, now);
            });
            if !breaker.is_open() {
                assert!(now < back + 200, "only after {} ms", now - back);
                assert_eq!(breaker.admit(&RULES, now), Admission::Pass);
                return;
            }
        }
        panic!("it never closed");
    }

    #[test]
    fn one_good_answer_of_a_service_that_falls_over_again_does_not_close_it() {
        let breaker = open(1_000);
        breaker.succeeded(2_000, 2_000);
        breaker.failed(&RULES, 2_010, 2_010);
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(&RULES, 2_100), Admission::Refused);
        assert_eq!(breaker.admit(&RULES, 2_110), Admission::Probe);
    }

    #[test]
    fn what_was_under_way_before_a_change_says_nothing_of_after() {
        let breaker = open(1_000);
        (0..5).for_each(|_| assert!(!breaker.succeeded(900, 1_500)));
        assert!(breaker.is_open(), "late successes have closed it");
        (0..3).for_each(|n| _ = breaker.succeeded(2_000 + n, 2_010 + n));
        assert!(!breaker.is_open());
        // The timeouts of when it hung.
        (0..50).for_each(|_| assert!(!breaker.failed(&RULES, 900, 2_500)));
        assert!(!breaker.is_open());
    }

    #[test]
    fn switched_off_it_never_refuses() {
        let off = Breaker { enabled: false, ..RULES };
        let breaker = CircuitBreaker::default();
        (0..100).for_each(|_| assert!(!breaker.failed(&off, 1, 1)));
        assert_eq!(breaker.admit(&off, 1), Admission::Pass);
    }

    proptest! {
        /// Whatever comes: it refuses only after twenty failures without a success between them, and while it is open
        /// no more than a trickle passes.
        #[test]
        fn it_opens_only_on_a_row_and_lets_no_more_than_a_trickle_through(
            steps in proptest::collection::vec((0u64..40, 0u8..8), 1..400),
        ) {
            let breaker = CircuitBreaker::default();
            let (mut now, mut row, mut last_probe) = (1_000u64, 0u32, 0u64);
            for (wait, what) in steps {
                now += wait;
                match what {
                    0 => { breaker.succeeded(now, now); if !breaker.is_open() { row = 0 } }
                    1..=5 => { let opened = breaker.failed(&RULES, now, now); row += 1; prop_assert!(!opened || row >= 20); }
                    _ => match breaker.admit(&RULES, now) {
                        Admission::Pass => prop_assert!(!breaker.is_open()),
                        Admission::Refused => prop_assert!(row >= 20),
                        Admission::Probe => { prop_assert!(now >= last_probe + SOON); last_probe = now; }
                    },
                }
            }
        }
    }
}
