//! How slow an endpoint is, as one worker has lately seen it.
//!
//! Why a *peak*-sensitive average? Because bad news has to travel fast and good news may take its time. A sample
//! above the estimate replaces it at once, so that the first slow answer already sends the next request
//! elsewhere; samples below pull it down over seconds, so that one quick answer does not bring everybody back.
//! While nothing is observed the estimate sinks by the same clock, and so an endpoint that nobody dares to use is
//! sooner or later tried again. (Finagle's `PeakEwma`, later linkerd's and tower's; the time constant of 10
//! seconds is theirs too.)
//!
//! Latency goes from the start of an attempt to the head of its answer. An attempt that failed is no sample (a
//! refused connection is quick, and must not look attractive): it is reported by [`PeakEwma::penalise`].

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Instant;

/// The time in which a difference between the estimate and the samples falls to 37 %.
pub const DECAY: Duration = Duration::from_secs(10);

/// Differences below a millisecond are a matter of scheduling, not of endpoints: for balancing, whatever is quicker
/// counts as this. Also what an endpoint is taken for when there is nothing to compare it with.
const FLOOR_US: f64 = 1_000.0;

/// What one failure multiplies the estimate by. One alone stays on the edge of what moves requests
/// ([`CLEARLY`](super::p2c::CLEARLY)), because every endpoint fails now and then; a second one soon after moves
/// them, and an endpoint that fails again when it is next tried stays away for as long again.
const PENALTY: f64 = 2.0;

/// Failures alone do not carry the estimate above this, so that a recovered endpoint is back within a minute.
const PENALTY_LIMIT_US: f64 = 1_000_000.0;

/// A peak-sensitive, exponentially weighted moving average of latencies. Cheap to read: a read within a
/// millisecond of the last read or sample costs one comparison.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    /// Microseconds, as of `at`.
    estimate: Cell<f64>,
    at: Cell<Instant>,
    /// The estimate sunk to `read_at`.
    read: Cell<f64>,
    read_at: Cell<Instant>,
    seen: Cell<bool>,
}

impl PeakEwma {
    /// For an endpoint that was not used yet. `typical` is what the pool's other endpoints stand at
    /// ([`typical`]), none where none was used yet.
    ///
    /// A new endpoint is so taken for an ordinary one: it gets its weight's share from the first request on. A
    /// fixed default could only be wrong: above what the pool stands at, new endpoints starve until it has sunk;
    /// below, they are flooded until their first answer. What the first sample says then replaces it, upwards or
    /// downwards.
    pub fn new(typical: Option<Duration>, now: Instant) -> Self {
        let estimate = typical.map_or(FLOOR_US, |typical| typical.as_secs_f64() * 1e6);
        Self {
            estimate: Cell::new(estimate),
            at: Cell::new(now),
            read: Cell::new(estimate),
            read_at: Cell::new(now),
            seen: Cell::new(false),
        }
    }

    /// Takes note of how long an answer took.
    pub fn observe(&self, latency: Duration, now: Instant) {
        let sample = latency.as_secs_f64() * 1e6;
        let before = self.estimate.get();
        let estimate = if sample >= before || !self.seen.get() {
            sample
        } else {
            let kept = kept(now.saturating_duration_since(self.at.get()));
            sample + (before - sample) * kept
        };
        self.set(estimate, now);
    }

    /// Takes note of an answer that had not come after so long: it would be a peak, if it is one.
    pub fn outlast(&self, elapsed: Duration, now: Instant) {
        if elapsed.as_secs_f64() * 1e6 > self.value(now) {
            self.observe(elapsed, now);
        }
    }

    /// Takes note of a failure.
    pub fn penalise(&self, now: Instant) {
        let value = self.value(now);
        let penalised = (value.max(FLOOR_US) * PENALTY).min(PENALTY_LIMIT_US);
        self.set(penalised.max(value), now);
    }

    /// The estimate in microseconds, sunk by the time that nothing was observed. Not negative, finite.
    pub fn value(&self, now: Instant) -> f64 {
        if now.saturating_duration_since(self.read_at.get()) >= Duration::from_millis(1) {
            self.read.set(self.estimate.get() * kept(now.saturating_duration_since(self.at.get())));
            self.read_at.set(now);
        }
        self.read.get()
    }

    /// The load for [`Candidates::load`](super::Candidates::load): the latency times what waits for it, the next
    /// request included. `relative_weight` is the endpoint's weight over the pool's mean; above zero. Finite and
    /// above zero.
    pub fn load(&self, in_flight: u32, relative_weight: f64, now: Instant) -> f64 {
        self.value(now).max(FLOOR_US) * (1.0 + f64::from(in_flight) / relative_weight)
    }

    /// Whether an answer was ever observed.
    pub fn seen(&self) -> bool {
        self.seen.get()
    }

    fn set(&self, estimate: f64, now: Instant) {
        self.estimate.set(estimate);
        self.at.set(now);
        self.read.set(estimate);
        self.read_at.set(now);
        self.seen.set(true);
    }
}

/// What endpoints stand at that were used, for [`PeakEwma::new`]: their median, so that one that is slow or fails
/// does not speak for all. None where none was used. Takes time linear in their number; asked when a pool changes.
pub fn typical<'a>(estimates: impl Iterator<Item = &'a PeakEwma>, now: Instant) -> Option<Duration> {
    let mut values: Vec<f64> = estimates.filter(|one| one.seen()).map(|one| one.value(now)).collect();
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(Duration::from_secs_f64(*median / 1e6))
}

/// The part of a difference that is left after a time.
fn kept(elapsed: Duration) -> f64 {
    let times = elapsed.as_secs_f64() / DECAY.as_secs_f64();
    // Between two answers there is next to no time, and what the exponential function differs by then is next to nothing.
    if times < 1e-4 { 1.0 - times } else { (-times).exp() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn a_peak_takes_at_once_and_sinks_slowly() {
        let start = Instant::now();
        let ewma = PeakEwma::new(None, start);
        ewma.observe(10 * MS, start);
        ewma.observe(500 * MS, start + MS);
        close(ewma.value(start + MS), 500_000.0);
        ewma.observe(10 * MS, start + MS + DECAY);
        close(ewma.value(start + MS + DECAY), 10_000.0 + 490_000.0 * (-1f64).exp());
    }

    #[test]
    fn the_first_sample_replaces_the_default_in_both_directions() {
        let start = Instant::now();
        for (default, sample) in [(100, 3), (3, 100)] {
            let ewma = PeakEwma::new(Some(default * MS), start);
            close(ewma.value(start), f64::from(default) * 1000.0);
            ewma.observe(sample * MS, start + MS);
            close(ewma.value(start + MS), f64::from(sample) * 1000.0);
        }
    }

    #[test]
    fn unobserved_it_sinks_whether_read_or_not() {
        let start = Instant::now();
        let (read, unread) = (PeakEwma::new(None, start), PeakEwma::new(None, start));
        for ewma in [&read, &unread] {
            ewma.observe(800 * MS, start);
        }
        for ms in 0..20_000 {
            read.value(start + ms * MS);
        }
        let then = start + 20_000 * MS;
        close(read.value(then), 800_000.0 * (-2f64).exp());
        close(unread.value(then), 800_000.0 * (-2f64).exp());
    }

    #[test]
    fn one_failure_is_forgiven_and_two_are_not() {
        let start = Instant::now();
        let ewma = PeakEwma::new(None, start);
        ewma.observe(5 * MS, start);
        let clearly = super::super::p2c::CLEARLY;
        ewma.penalise(start);
        assert!(ewma.value(start) * clearly <= 5_000.0);
        ewma.penalise(start);
        assert!(ewma.value(start) * clearly > 5_000.0);
    }

    #[test]
    fn failures_alone_keep_an_endpoint_away_for_no_longer_than_a_minute_or_so() {
        let start = Instant::now();
        let ewma = PeakEwma::new(None, start);
        for _ in 0..1_000 {
            ewma.penalise(start);
        }
        close(ewma.value(start), PENALTY_LIMIT_US);
        assert!(ewma.load(0, 1.0, start + Duration::from_secs(63)) * super::super::p2c::CLEARLY <= FLOOR_US);
    }

    #[test]
    fn a_clock_that_seems_to_go_backwards_changes_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let ewma = PeakEwma::new(None, later);
        ewma.observe(10 * MS, later);
        close(ewma.value(start), 10_000.0);
        ewma.observe(4 * MS, start);
        close(ewma.value(start), 10_000.0);
    }

    #[test]
    fn typical_is_the_median_of_those_that_were_used() {
        let now = Instant::now();
        let pool: Vec<PeakEwma> = (0..5).map(|_| PeakEwma::new(Some(999 * MS), now)).collect();
        assert_eq!(typical(pool.iter(), now), None);
        for (ewma, ms) in pool.iter().zip([7, 5_000, 9]) {
            ewma.observe(ms * MS, now);
        }
        assert_eq!(typical(pool.iter(), now), Some(9 * MS));
    }

    proptest! {
        #[test]
        fn a_load_is_finite_and_above_zero(
            steps in proptest::collection::vec((0u8..3, 0u64..10_000_000, 0u64..100_000), 0..60),
            in_flight: u32,
            weight in 0.0001f64..10_000.0,
        ) {
            let mut now = Instant::now();
            let ewma = PeakEwma::new(None, now);
            for (what, latency, wait) in steps {
                now += Duration::from_millis(wait);
                match what {
                    0 => ewma.observe(Duration::from_micros(latency), now),
                    1 => ewma.penalise(now),
                    _ => drop(ewma.value(now)),
                }
                let load = ewma.load(in_flight, weight, now);
                prop_assert!(load.is_finite() && load > 0.0);
            }
        }

        #[test]
        fn an_estimate_stays_between_zero_and_the_highest_sample(
            samples in proptest::collection::vec((0u64..10_000_000, 0u64..30_000), 1..60),
        ) {
            let mut now = Instant::now();
            let ewma = PeakEwma::new(None, now);
            let mut highest = 0f64;
            for (micros, wait) in samples {
                now += Duration::from_millis(wait);
                ewma.observe(Duration::from_micros(micros), now);
                highest = highest.max(micros as f64);
                let value = ewma.value(now);
                prop_assert!(value >= micros as f64 * 0.999_999 && value <= highest * 1.000_001, "{value}");
            }
        }
    }
}
