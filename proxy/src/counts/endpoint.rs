//! What is counted of one endpoint: which of them fails, and which is slow?
//!
//! The balancer's score answers neither. It is one worker's, it weighs the last seconds, and a failure is part of it. Here a
//! failure is one that is held against the endpoint, being overtaken is no failure, and how long answers take is counted in
//! buckets by every worker, so that a quantile is the process's. A worker counts into cells of its own and hands over at its
//! ticks. What is remembered of answers is the current minute and the one before.
//!
//! The buckets are those of [`sketch`](crate::resilience::sketch), and they are made with an endpoint's first answer: one that is
//! never asked costs nothing.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::resilience::sketch::{self, BUCKETS};

/// What one worker has counted of one endpoint since its last tick.
#[derive(Debug, Default)]
pub struct EndpointTally {
    attempts: Cell<u64>,
    failures: Cell<u64>,
    overtaken: Cell<u64>,
    answers: RefCell<Option<Box<[u16; BUCKETS]>>>,
}

impl EndpointTally {
    /// An attempt has begun.
    pub fn attempted(&self) {
        self.attempts.set(self.attempts.get() + 1);
    }

    /// An attempt has failed, and that is the endpoint's fault.
    pub fn failed(&self) {
        self.failures.set(self.failures.get() + 1);
    }

    /// An attempt was given up after so long, because another one was faster or its client has left. Its answer would have
    /// taken at least as long.
    pub fn overtaken(&self, elapsed: Duration) {
        self.overtaken.set(self.overtaken.get() + 1);
        self.took(elapsed);
    }

    /// An answer took so long.
    pub fn took(&self, latency: Duration) {
        let mut answers = self.answers.borrow_mut();
        let answers = answers.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut answers[sketch::bucket(latency)];
        *count = count.saturating_add(1);
    }

    /// Hands everything over; returns how many attempts that were. `ms` is on the joint's clock.
    pub fn drain(&self, counts: &EndpointCounts, ms: u64) -> u64 {
        let attempts = self.attempts.get();
        for (count, sum) in [
            (&self.attempts, &counts.attempts),
            (&self.failures, &counts.failures),
            (&self.overtaken, &counts.overtaken),
        ] {
            let count = count.take();
            if count > 0 {
                sum.fetch_add(count, Relaxed);
            }
        }
        if let Some(answers) = &mut *self.answers.borrow_mut()
            && answers.iter().any(|count| *count > 0)
        {
            counts.answers.get_or_init(Box::default).add(answers, ms);
            answers.fill(0);
        }
        attempts
    }
}

/// What has been counted of an endpoint since it is known.
#[derive(Debug, Default)]
pub struct EndpointCounts {
    /// Attempts.
    pub attempts: AtomicU64,
    /// Attempts that failed by its fault.
    pub failures: AtomicU64,
    /// Attempts that were given up because another one was faster, or their client had left.
    pub overtaken: AtomicU64,
    answers: OnceLock<Box<Answers>>,
}

/// What is remembered of how long answers take.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// How many answers it stands on.
    pub samples: u32,
    /// What half of them stay within, at most an eighth above the truth.
    pub p50: Duration,
    /// What all but a hundredth stay within.
    pub p99: Duration,
}

impl EndpointCounts {
    /// How long answers took in the last minute or two; none without answers. `ms` is on the joint's clock.
    pub fn took(&self, ms: u64) -> Option<Took> {
        let counts = self.answers.get()?.read(ms);
        let samples: u32 = counts.iter().sum();
        let within = |share: f64| {
            // A count fits a float exactly.
            let rank = (share * f64::from(samples)).ceil() as u32;
            let mut below = 0;
            let reaches = |count: &u32| {
                below += count;
                below >= rank
            };
            counts.iter().position(reaches).map(sketch::upper).unwrap_or_default()
        };
        (samples > 0).then(|| Took { samples, p50: within(0.5), p99: within(0.99) })
    }
}

/// Two minutes of answers, the even one and the odd.
#[derive(Debug)]
struct Answers {
    /// The minute that was last written.
    minute: AtomicU64,
    minutes: [[AtomicU32; BUCKETS]; 2],
}

const MINUTE_MS: u64 = 60_000;

impl Default for Answers {
    fn default() -> Self {
        Self { minute: AtomicU64::new(0), minutes: [const { [const { AtomicU32::new(0) }; BUCKETS] }; 2] }
    }
}

impl Answers {
    fn add(&self, counts: &[u16; BUCKETS], ms: u64) {
        let (minute, last) = (ms / MINUTE_MS, self.minute.load(Relaxed));
        // The first worker of a minute clears it. What another one adds meanwhile may be lost, which no quantile notices.
        if last < minute && self.minute.compare_exchange(last, minute, Relaxed, Relaxed).is_ok() {
            let old = [Some(minute), (last + 1 < minute).then_some(minute + 1)];
            old.into_iter().flatten().flat_map(|minute| self.of(minute)).for_each(|count| count.store(0, Relaxed));
        }
        for (sum, count) in self.of(minute).iter().zip(counts).filter(|(_, count)| **count > 0) {
            sum.fetch_add(u32::from(*count), Relaxed);
        }
    }

    fn of(&self, minute: u64) -> &[AtomicU32; BUCKETS] {
        let [even, odd] = &self.minutes;
        if minute.is_multiple_of(2) { even } else { odd }
    }

    fn read(&self, ms: u64) -> [u32; BUCKETS] {
        let (minute, last) = (ms / MINUTE_MS, self.minute.load(Relaxed));
        let kept = match minute.saturating_sub(last) {
            0 => [Some(last), Some(last + 1)],
            1 => [Some(last), None],
            _ => [None, None],
        };
        let mut sums = [0; BUCKETS];
        for minute in kept.into_iter().flatten() {
            sums.iter_mut().zip(self.of(minute)).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn within_an_eighth(found: Duration, truth: Duration) {
        assert!(found >= truth && found.as_secs_f64() <= truth.as_secs_f64() * 1.126, "{found:?} for {truth:?}");
    }

    #[test]
    fn the_quantiles_are_of_all_workers_answers_and_being_overtaken_is_no_failure() {
        let (one, other, counts) = (EndpointTally::default(), EndpointTally::default(), EndpointCounts::default());
        assert_eq!(counts.took(MINUTE_MS), None);
        (0..90).for_each(|_| one.took(4 * MS));
        (0..8).for_each(|_| other.took(9 * MS));
        other.failed();
        other.overtaken(300 * MS);
        other.overtaken(300 * MS);
        for tally in [&one, &other] {
            tally.attempted();
            tally.drain(&counts, MINUTE_MS);
            tally.drain(&counts, MINUTE_MS);
        }
        let took = counts.took(MINUTE_MS).unwrap();
        assert_eq!(took.samples, 100);
        within_an_eighth(took.p50, 4 * MS);
        within_an_eighth(took.p99, 300 * MS);
        let read = [&counts.attempts, &counts.failures, &counts.overtaken].map(|count| count.load(Relaxed));
        assert_eq!(read, [2, 1, 2]);
    }

    #[test]
    fn answers_are_forgotten_after_the_minute_that_follows_theirs() {
        let (tally, counts) = (EndpointTally::default(), EndpointCounts::default());
        let took = |minute: u64, latency: Duration| {
            tally.took(latency);
            tally.drain(&counts, minute * MINUTE_MS);
            counts.took(minute * MINUTE_MS).unwrap()
        };
        assert_eq!(took(10, 500 * MS).samples, 1);
        assert_eq!(took(11, MS).samples, 2);
        within_an_eighth(took(12, MS).p99, MS);
        assert_eq!((took(20, MS).samples, counts.took(21 * MINUTE_MS).map(|took| took.samples)), (1, Some(1)));
        assert_eq!(counts.took(22 * MINUTE_MS), None);
    }
}
