//! Requests that set out together, and how long they took.
//!
//! Latencies are usually collected by when an answer *came*. For the question "does it get slower and slower?" that is
//! the wrong order: just after everything became slower, the answers that come are the quick ones, so that a single
//! step looks like a long climb. Here latencies are collected by when a request *set out*. All that set out after a step
//! are alike, whatever their distribution; in a queue that grows, those who set out later take longer.

use std::time::Duration;

use crate::clock::Instant;

/// Four to an octave: a bucket is a fifth wide, and what lies inside is interpolated.
const BUCKETS: usize = 81;
/// 2^7 µs: below, everything is alike.
const SMALLEST: u32 = 7;

/// A share of a cohort, from below. Low, so that a slow minority does not show; not the least, which a few answers from
/// a cache would be.
pub const QUARTILE: f64 = 0.25;

/// What became of requests that set out within a short time. Each worker counts its own.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Requests that came, whatever became of them.
    pub offered: u32,
    /// Those that set out.
    pub sent: u32,
    /// Given up by their clients.
    pub cancelled: u32,
    /// Of those that set out, those whose latency says nothing.
    void: u32,
    buckets: [u16; BUCKETS],
}

impl Counts {
    /// None.
    pub const NONE: Self = Self { offered: 0, sent: 0, cancelled: 0, void: 0, buckets: [0; BUCKETS] };

    /// One of them was answered after `latency`.
    pub fn answered(&mut self, latency: Duration) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(latency)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// The client of one of them gave up after `age`, so that an answer takes at least as long.
    pub fn given_up(&mut self, age: Duration) {
        self.cancelled += 1;
        self.answered(age);
    }

    /// One of them failed, or ended for a reason that says nothing about latency.
    pub fn voided(&mut self) {
        self.void += 1;
    }

    /// Takes over what another one has counted.
    pub fn absorb(&mut self, other: &mut Self) {
        self.offered += other.offered;
        self.sent += other.sent;
        self.cancelled += other.cancelled;
        self.void += other.void;
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.saturating_add(*others);
        }
        *other = Self::NONE;
    }

    /// Those of whom it is known what they took.
    pub fn back(&self) -> u32 {
        self.buckets.iter().map(|count| u32::from(*count)).sum()
    }

    /// Those that were answered.
    pub fn answers(&self) -> u32 {
        self.back().saturating_sub(self.cancelled)
    }

    /// Those that are over, however they ended, but for those that were given up: nobody waits for the others.
    pub fn over(&self) -> u32 {
        self.answers() + self.void
    }

    /// Those of whom no more will be known.
    pub fn known(&self) -> u32 {
        self.back() + self.void
    }
}

/// Requests that set out within a short time.
#[derive(Debug, Clone)]
pub struct Cohort {
    /// When the first could set out.
    pub opened: Instant,
    /// When the last could; none while it is open.
    pub closed: Option<Instant>,
    /// At the service when it was opened.
    pub load: u32,
    /// Answers that had come when it was opened, ever.
    pub answers: u64,
    /// What became of them.
    pub counts: Counts,
}

impl Cohort {
    /// An empty one.
    pub fn new(opened: Instant, load: u32, answers: u64) -> Self {
        Self { opened, closed: None, load, answers, counts: Counts::NONE }
    }

    /// How long it was open.
    pub fn length(&self, now: Instant) -> Duration {
        self.closed.unwrap_or(now).saturating_duration_since(self.opened)
    }

    /// How long ago it was opened.
    pub fn length_since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// About how many were answered within so many seconds.
    pub fn quicker_than(&self, seconds: f64) -> u32 {
        let within = self.counts.buckets.iter().enumerate().take_while(|(at, _)| lower_edge(at + 1) <= seconds);
        within.map(|(_, count)| u32::from(*count)).sum()
    }

    /// The middle of the time in which it was open.
    pub fn middle(&self, now: Instant) -> Instant {
        self.opened + self.length(now) / 2
    }

    /// The share of those that set out whose clients gave up.
    pub fn lost(&self) -> f64 {
        f64::from(self.counts.cancelled) / f64::from(self.counts.sent.max(1))
    }

    /// The lower quartile, in seconds, once it can no longer change: whoever is not back yet is older than it.
    pub fn quartile(&self, now: Instant) -> Option<f64> {
        let youngest = now.saturating_duration_since(self.closed?).as_secs_f64();
        let counts = &self.counts;
        let counted = counts.sent.saturating_sub(counts.void);
        if counted < 4 {
            return None;
        }
        let rank = (f64::from(counted) * QUARTILE).ceil();
        let mut below = 0.0;
        for (at, count) in counts.buckets.iter().enumerate() {
            let here = f64::from(*count);
            if below + here >= rank {
                let (from, to) = (lower_edge(at), lower_edge(at + 1));
                let value = from + (to - from) * (rank - below - 0.5) / here;
                return (value <= youngest || counts.known() >= counts.sent).then_some(value);
            }
            below += here;
        }
        None
    }
}

/// How long answers take, as counts that fade.
#[derive(Debug)]
pub struct Spread {
    buckets: [f32; BUCKETS],
    sum: f32,
}

impl Default for Spread {
    fn default() -> Self {
        Self { buckets: [0.0; BUCKETS], sum: 0.0 }
    }
}

impl Spread {
    /// Takes more of them in; what was there keeps this share of its weight.
    pub fn learn(&mut self, kept: f64, counts: &Counts) {
        self.sum = 0.0;
        for (own, more) in self.buckets.iter_mut().zip(&counts.buckets) {
            *own = *own * kept as f32 + f32::from(*more);
            self.sum += *own;
        }
    }

    /// How many they are.
    pub fn sum(&self) -> f64 {
        f64::from(self.sum)
    }

    /// The share of answers that take no longer than this, seconds.
    pub fn share(&self, seconds: f64) -> f64 {
        let mut below = 0.0;
        for (at, count) in self.buckets.iter().enumerate() {
            let (from, to) = (lower_edge(at), lower_edge(at + 1));
            if to > seconds {
                below += count * ((seconds - from) / (to - from)).max(0.0) as f32;
                break;
            }
            below += count;
        }
        f64::from(below / self.sum.max(1.0))
    }
}

fn bucket_of(latency: Duration) -> usize {
    let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
    let octave = micros.max(1).ilog2();
    if octave < SMALLEST {
        return 0;
    }
    let quarter = (micros >> (octave - 2)) & 3;
    (1 + (octave - SMALLEST) * 4 + quarter).min(BUCKETS as u32 - 1) as usize
}

/// In seconds.
fn lower_edge(bucket: usize) -> f64 {
    match bucket {
        0 => 0.0,
        _ => {
            let (octave, quarter) = ((bucket - 1) / 4, (bucket - 1) % 4);
            let micros = 2f64.powi(SMALLEST as i32 + octave as i32) * (1.0 + quarter as f64 / 4.0);
            micros / 1e6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_latency_lies_between_the_edges_of_its_bucket() {
        for micros in (1..3_000_000u64).step_by(37) {
            let bucket = bucket_of(Duration::from_micros(micros));
            let seconds = micros as f64 / 1e6;
            assert!(lower_edge(bucket) <= seconds && seconds < lower_edge(bucket + 1), "{micros} in {bucket}");
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_quartile_is_known_when_nobody_can_lower_it_any_more() {
        let start = Instant::now();
        let mut cohort = Cohort::new(start, 0, 0);
        cohort.counts.sent = 8;
        cohort.counts.answered(100 * MS);
        cohort.counts.answered(100 * MS);
        assert_eq!(cohort.quartile(start + 900 * MS), None, "it is still open");
        cohort.closed = Some(start + 10 * MS);
        assert_eq!(cohort.quartile(start + 90 * MS), None, "those who are out may still be quicker");
        let known = cohort.quartile(start + 140 * MS).unwrap();
        assert!((0.08..0.125).contains(&known), "{known}");
    }

    #[test]
    fn a_slow_minority_does_not_show() {
        let start = Instant::now();
        let mut cohort = Cohort::new(start, 0, 0);
        cohort.counts.sent = 100;
        cohort.closed = Some(start + 10 * MS);
        (0..60).for_each(|_| cohort.counts.answered(10 * MS));
        let known = cohort.quartile(start + 50 * MS).unwrap();
        assert!((0.008..0.0125).contains(&known), "{known}");
    }

    #[test]
    fn what_says_nothing_is_not_counted() {
        let start = Instant::now();
        let mut cohort = Cohort::new(start, 0, 0);
        cohort.counts.sent = 20;
        cohort.closed = Some(start + 10 * MS);
        (0..4).for_each(|_| cohort.counts.answered(10 * MS));
        assert_eq!(cohort.quartile(start + 50 * MS), None, "four of twenty are no quarter");
        (0..4).for_each(|_| cohort.counts.voided());
        assert!(cohort.quartile(start + 50 * MS).is_some(), "four of sixteen are");
    }
}
