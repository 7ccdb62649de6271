//! How long answers take: quantiles of a stream, in a few hundred numbers.
//!
//! A fixed timeout is wrong twice: for the fast route it is a hundred times too long, for the slow one too short. What
//! "slow" means has to be asked of the route itself, all the time and for next to nothing. So latencies are counted in
//! buckets whose width grows with the value (eight to each doubling, as in G. Tene's HdrHistogram): an answer costs an
//! increment, a quantile is off by at most an eighth, and memory does not depend on traffic.
//!
//! **Forgetting.** There are two generations. Samples go into the younger; when that has enough of them and is old enough
//! it becomes the older, and the one before is forgotten. An estimate is over both, so it never stands on a few fresh
//! samples and never on last week's.
//!
//! **What was given up on.** A try that was abandoned after a second took *at least* a second. Counted as a second, it
//! would pull the estimate down to the timeout that cut it; left out, only the quick would be left to learn from, and
//! each timeout would make the next one shorter. It is counted above everything that was ever seen through to its end: a
//! quantile that falls among such is not known, and says so.

use std::time::Duration;

use crate::clock::Instant;

/// Buckets to each doubling.
const PER_OCTAVE: u32 = 8;
/// The lowest octave begins at 2^6 = 64 µs: below that, nothing is a matter of endpoints.
const FIRST_OCTAVE: u32 = 6;
/// 2^30 µs are 18 minutes.
const OCTAVES: u32 = 24;
/// How many buckets there are.
pub const BUCKETS: usize = (OCTAVES * PER_OCTAVE) as usize;
/// A generation has at least so many samples...
const ENOUGH: u32 = 1_000;
/// ...and is at least so old, before it is put aside...
const YOUNG: Duration = Duration::from_secs(10);
/// ...or is this old, and has as many as anything is learned from...
const OLD: Duration = Duration::from_secs(60);
const SOME: u32 = 500;
/// ...or is so old that it says nothing about today.
const ANCIENT: Duration = Duration::from_secs(600);

/// Latencies of one kind, as one worker has seen them.
#[derive(Debug)]
pub struct Sketch {
    young: Generation,
    older: Generation,
    since: Instant,
}

#[derive(Debug)]
struct Generation {
    counts: [u32; BUCKETS],
    seen: u32,
    given_up: u32,
}

/// What a quantile comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// There are no samples.
    #[default]
    Unknown,
    /// At most this; at most an eighth above the truth.
    Within(Duration),
    /// Longer than anybody has waited.
    Beyond,
}

impl Quantile {
    /// The time, where there is one.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::Within(time) => Some(time),
            Self::Unknown | Self::Beyond => None,
        }
    }
}

impl Sketch {
    /// An empty one.
    pub fn new(now: Instant) -> Self {
        Self { young: Generation::new(), older: Generation::new(), since: now }
    }

    /// An answer took so long.
    pub fn observe(&mut self, latency: Duration) {
        self.young.counts[bucket(latency)] += 1;
        self.young.seen += 1;
    }

    /// A try was given up on before it had an answer.
    pub fn give_up(&mut self) {
        self.young.given_up += 1;
        self.young.seen += 1;
    }

    /// Samples that the estimate stands on.
    pub fn samples(&self) -> u32 {
        self.young.seen.saturating_add(self.older.seen)
    }

    /// What the share `q` (0.0 to 1.0) of answers stay within. Takes time linear in the number of buckets: asked at a
    /// worker's ticks.
    pub fn quantile(&self, q: f64) -> Quantile {
        let samples = self.samples();
        if samples == 0 {
            return Quantile::Unknown;
        }
        // A count fits a float exactly.
        let rank = (q.clamp(0.0, 1.0) * f64::from(samples)).ceil().max(1.0) as u32;
        let mut below = 0u32;
        for (at, (young, older)) in self.young.counts.iter().zip(&self.older.counts).enumerate() {
            below = below.saturating_add(*young).saturating_add(*older);
            if below >= rank {
                return Quantile::Within(upper(at));
            }
        }
        Quantile::Beyond
    }

    /// Forgets what is old. Asked at a worker's ticks.
    pub fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        let seen = self.young.seen;
        if age >= YOUNG && seen >= ENOUGH || age >= OLD && seen >= SOME || age >= ANCIENT && seen > 0 {
            self.older = std::mem::replace(&mut self.young, Generation::new());
            self.since = now;
        }
    }
}

impl Generation {
    fn new() -> Self {
        Self { counts: [0; BUCKETS], seen: 0, given_up: 0 }
    }
}

/// Which bucket a latency falls into. Bucket `b` of octave `o` holds what is below `2^o + (b + 1) 2^o / 8` µs.
pub fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let floor = 1u64 << FIRST_OCTAVE;
    if micros < floor {
        return 0;
    }
    let octave = micros.ilog2();
    let within = (micros - (1 << octave)) >> (octave - PER_OCTAVE.ilog2());
    let index = (octave - FIRST_OCTAVE) as usize * PER_OCTAVE as usize + within as usize;
    index.min(BUCKETS - 1)
}

/// The upper bound of a bucket.
pub fn upper(index: usize) -> Duration {
    let (octave, within) = (index as u32 / PER_OCTAVE + FIRST_OCTAVE, index as u64 % u64::from(PER_OCTAVE));
    Duration::from_micros((1 << octave) + ((within + 1) << (octave - PER_OCTAVE.ilog2())))
}

/// About what a share of a stream stays within, in one number: a step up for what is above, a step down for what is below, as
/// much longer as that is rarer. For what is asked of each endpoint, of which there may be thousands.
#[derive(Debug, Clone, Copy)]
pub struct RunningQuantile {
    share: f64,
    micros: f64,
    samples: u32,
}

impl RunningQuantile {
    /// Of no samples. `share` is between 0 and 1.
    pub fn new(share: f64) -> Self {
        Self { share, micros: 0.0, samples: 0 }
    }

    /// Steps get smaller while the first samples come, and stay large enough to follow a change within some twenty.
    pub fn observe(&mut self, latency: Duration) {
        let sample = latency.as_secs_f64() * 1e6;
        if self.samples == 0 {
            self.micros = sample.max(1.0);
        }
        self.samples = self.samples.saturating_add(1);
        let step = if self.samples < 20 { 0.5 } else { 0.16 };
        if sample > self.micros {
            self.micros = (self.micros * (1.0 + step * self.share)).min(sample);
        } else {
            self.micros = (self.micros / (1.0 + step * (1.0 - self.share))).max(sample.max(1.0));
        }
    }

    /// What the share stays within; none before the fifth sample.
    pub fn value(&self) -> Option<Duration> {
        (self.samples >= 5).then(|| Duration::from_secs_f64(self.micros / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn sketch(samples: &[u64]) -> Sketch {
        let mut sketch = Sketch::new(Instant::now());
        samples.iter().for_each(|s| sketch.observe(us(*s)));
        sketch
    }

    #[test]
    fn an_empty_sketch_knows_nothing() {
        assert_eq!(sketch(&[]).quantile(0.5), Quantile::Unknown);
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for index in 0..BUCKETS - 1 {
            let end = upper(index).as_micros() as u64;
            assert_eq!((bucket(us(end - 1)), bucket(us(end))), (index, index + 1));
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_given_up_on_is_longer_than_everything() {
        let mut sketch = sketch(&[1_000; 98]);
        sketch.give_up();
        assert!(sketch.quantile(0.98).time().unwrap() < us(1_200));
        assert_eq!(sketch.quantile(0.995), Quantile::Beyond);
    }

    #[test]
    fn a_generation_is_forgotten_when_two_more_have_been_full() {
        let start = Instant::now();
        let mut sketch = Sketch::new(start);
        let mut fill = |ms: u64, at: u64| {
            (0..ENOUGH).for_each(|_| sketch.observe(Duration::from_millis(ms)));
            sketch.age(start + Duration::from_secs(at));
            sketch.quantile(0.99).time().unwrap()
        };
        assert!(fill(500, 10) >= Duration::from_millis(500));
        assert!(fill(5, 20) < Duration::from_millis(6), "the slow generation should be gone");
    }

    #[test]
    fn a_median_follows_a_change_within_a_few_dozen_samples() {
        let mut median = RunningQuantile::new(0.5);
        (0..50).for_each(|_| median.observe(us(1_000)));
        assert_eq!(median.value(), Some(us(1_000)));
        (0..60).for_each(|_| median.observe(us(20_000)));
        assert!(median.value().unwrap() > us(15_000), "{median:?}");
        (0..60).for_each(|_| median.observe(us(1_000)));
        assert!(median.value().unwrap() < us(1_400), "{median:?}");
    }

    #[test]
    fn a_quarter_of_what_is_half_quick_and_half_slow_is_quick() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut quarter = RunningQuantile::new(0.25);
        for sample in 0..2_000 {
            quarter.observe(if random.bool() { us(1_000) } else { us(200_000) });
            assert!(sample < 100 || quarter.value().unwrap() < us(50_000), "{quarter:?} after {sample}");
        }
        (0..160).for_each(|_| quarter.observe(us(200_000)));
        assert!(quarter.value().unwrap() > us(150_000), "{quarter:?}");
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_an_eighth_above_the_truth(
            mut samples in proptest::collection::vec(64u64..500_000_000, 1..400),
            q in 0.0f64..1.0,
        ) {
            let found = sketch(&samples).quantile(q).time().unwrap().as_micros() as u64;
            samples.sort_unstable();
            let rank = ((q * samples.len() as f64).ceil() as usize).max(1);
            let truth = samples[rank - 1];
            prop_assert!(found >= truth && found as f64 <= truth as f64 * 1.126, "{found} for {truth}");
        }

        #[test]
        fn giving_up_never_lowers_a_quantile(samples in proptest::collection::vec(64u64..500_000_000, 1..200), q in 0.0f64..1.0) {
            let mut sketch = sketch(&samples);
            let before = sketch.quantile(q);
            sketch.give_up();
            prop_assert!(sketch.quantile(q) >= before);
        }

        #[test]
        fn a_higher_share_takes_no_less_time(samples in proptest::collection::vec(1u64..500_000_000, 1..200), a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let sketch = sketch(&samples);
            prop_assert!(sketch.quantile(a.min(b)) <= sketch.quantile(a.max(b)));
        }
    }
}
