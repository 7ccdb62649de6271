//! How long an endpoint's answers take, as one worker has lately seen it.
//!
//! What two choices compare has to differ where *endpoints* differ, and must not where only their requests do: each wrong
//! difference sends an endpoint's share elsewhere, and weights are shares that somebody meant. So this is a mean and not a
//! peak. The highest of many samples is a matter of luck, and of how many there were: of two endpoints that are alike, the
//! heavier one has more samples and therefore the higher peak, and one pause of its process would keep its requests away
//! for half a minute. The mean is robust and still quick:
//!
//! * A sample counts as at most three times the estimate. One outlier moves it by a sixteenth. An endpoint that has become
//!   ten times slower has doubled it after twelve answers.
//! * The first samples weigh more than later ones, of which each is a thirty-second part.
//! * Evidence ages. Without news the estimate goes back to what is typical of the pool, so that an endpoint that nobody
//!   dares to use is tried again, and one that is asked rarely is no different from one that is asked often. What stands
//!   on few samples ages faster.
//!
//! An endpoint that hangs gives no samples at all. That is seen in its silence
//! ([`Upstream::load`](crate::upstream::Upstream::load)).
//!
//! Latency goes from the start of an attempt to the head of its answer. An attempt that failed is no sample (a
//! refused connection is quick, and must not look attractive): it is reported by [`Ewma::penalise`].

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Instant;

/// The time in which a difference between the estimate and what is typical of the pool falls to 37 %, where the estimate
/// stands on all the samples that it may.
pub const DECAY: Duration = Duration::from_secs(10);

/// Differences below a millisecond are a matter of scheduling, not of endpoints: for balancing, whatever is quicker
/// counts as this. Also what an endpoint is taken for when there is nothing to compare it with.
pub const FLOOR_US: f64 = 1_000.0;

/// As so many samples one later sample is weighed.
const SAMPLES: u32 = 32;

/// As so many samples what is typical of the pool is weighed, for an endpoint that has not answered yet.
const SUPPOSED_SAMPLES: u32 = 8;

/// A sample counts as at most so many times the estimate.
const CLIP: f64 = 3.0;

/// What one failure multiplies the estimate by. One alone stays on the edge of what moves requests
/// ([`CLEARLY`](super::CLEARLY)), because every endpoint fails now and then; a second one soon after moves
/// them, and an endpoint that fails again when it is next tried stays away for as long again.
const PENALTY: f64 = 2.0;

/// As so many samples a failure is evidence.
const PENALTY_SAMPLES: u32 = 4;

/// Failures alone do not carry the estimate above this, so that a recovered endpoint is back within a minute.
const PENALTY_LIMIT_US: f64 = 1_000_000.0;

/// The part by which an attempt that was given up moves the estimate: it tells more than an answer, because its answer
/// would have taken longer still, and less than a failure.
const OUTLASTED: f64 = 1.0 / 16.0;

/// An exponentially weighted moving average of latencies that outliers hardly move. Cheap to read: a read within a
/// millisecond of the last read or sample costs one comparison.
#[derive(Debug, Clone)]
pub struct Ewma {
    /// Microseconds, as of `at`.
    estimate: Cell<f64>,
    at: Cell<Instant>,
    /// What the estimate goes back to while nothing is observed.
    typical: Cell<f64>,
    /// Samples that the estimate stands on, below [`SAMPLES`].
    samples: Cell<u32>,
    /// The estimate as of `read_at`.
    read: Cell<f64>,
    read_at: Cell<Instant>,
    heard: Cell<bool>,
}

impl Ewma {
    /// For an endpoint that has not answered yet. `typical` is what the pool's other endpoints stand at ([`typical`]), none
    /// where none has answered.
    ///
    /// An endpoint that was never heard of is so taken for an ordinary one: it gets its weight's share from the first
    /// request on. A fixed default could only be wrong: above what the pool stands at, new endpoints starve until it has
    /// sunk; below, they are flooded until their first answer.
    pub fn new(typical: Option<Duration>, now: Instant) -> Self {
        let estimate = typical.map_or(FLOOR_US, |typical| typical.as_secs_f64() * 1e6);
        Self {
            estimate: Cell::new(estimate),
            at: Cell::new(now),
            typical: Cell::new(estimate),
            samples: Cell::new(typical.map_or(0, |_| SUPPOSED_SAMPLES)),
            read: Cell::new(estimate),
            read_at: Cell::new(now),
            heard: Cell::new(false),
        }
    }

    /// Takes note of how long an answer took.
    pub fn observe(&self, latency: Duration, now: Instant) {
        let samples = self.samples.get();
        self.approach(latency, 1.0 / f64::from(samples + 1), now);
        self.samples.set((samples + 1).min(SAMPLES - 1));
        self.heard.set(true);
    }

    /// Takes note of an answer that had not come after so long.
    pub fn outlast(&self, elapsed: Duration, now: Instant) {
        if elapsed.as_secs_f64() * 1e6 > self.value(now) {
            self.approach(elapsed, OUTLASTED.max(1.0 / f64::from(self.samples.get() + 1)), now);
        }
    }

    /// Takes note of a failure.
    pub fn penalise(&self, now: Instant) {
        let value = self.value(now);
        let penalised = (value.max(FLOOR_US) * PENALTY).min(PENALTY_LIMIT_US);
        self.samples.set((self.samples.get() + PENALTY_SAMPLES).min(SAMPLES - 1));
        self.set(penalised.max(value), now);
    }

    /// The pool's endpoints typically stand at `typical` microseconds. One that has not answered yet counts as such a
    /// one, times what its failures have made of it.
    pub fn suppose(&self, typical: f64) {
        let before = self.typical.replace(typical);
        if !self.heard.get() {
            let factor = typical.max(FLOOR_US) / before.max(FLOOR_US);
            self.estimate.set(self.estimate.get() * factor);
            self.read.set(self.read.get() * factor);
            self.samples.set(self.samples.get().max(SUPPOSED_SAMPLES));
        }
    }

    /// The estimate in microseconds, as far as it is still evidence. Not negative, finite.
    pub fn value(&self, now: Instant) -> f64 {
        if now.saturating_duration_since(self.read_at.get()) >= Duration::from_millis(1) {
            self.read.set(self.believed(now));
            self.read_at.set(now);
        }
        self.read.get()
    }

    /// Whether an answer was ever observed.
    pub fn heard(&self) -> bool {
        self.heard.get()
    }

    fn believed(&self, now: Instant) -> f64 {
        let (estimate, typical) = (self.estimate.get(), self.typical.get());
        let firmness = f64::from(self.samples.get() + 1) / f64::from(SAMPLES);
        typical + (estimate - typical) * kept(now.saturating_duration_since(self.at.get()), firmness)
    }

    /// Moves the estimate by a part of its distance to a sample.
    fn approach(&self, sample: Duration, part: f64, now: Instant) {
        let (before, stale) = (self.believed(now), self.estimate.get());
        let sample = sample.as_secs_f64() * 1e6;
        // The very first sample has nothing that it could be an outlier of.
        let clipped = if part >= 1.0 { sample } else { sample.min(before.max(FLOOR_US) * CLIP) };
        let moved = before + (clipped - before) * part;
        // One that is as slow as ever has confirmed what was known of it.
        self.set(moved.max(stale.min(sample)), now);
    }

    fn set(&self, estimate: f64, now: Instant) {
        self.estimate.set(estimate);
        self.at.set(now);
        self.read.set(estimate);
        self.read_at.set(now);
    }
}

/// What endpoints stand at that have answered: their median, the lower one of an even number, so that one that is slow or
/// fails does not speak for all. None where none has answered. Takes time linear in their number.
pub fn typical<'a>(estimates: impl Iterator<Item = &'a Ewma>, now: Instant) -> Option<Duration> {
    let mut values: Vec<f64> = estimates.filter(|one| one.heard()).map(|one| one.value(now)).collect();
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(Duration::from_secs_f64(*median / 1e6))
}

/// The part of a difference that is left after a time. What is less firm, from 0 to 1.0, is gone sooner.
fn kept(elapsed: Duration, firmness: f64) -> f64 {
    let times = elapsed.as_secs_f64() / (DECAY.as_secs_f64() * firmness);
    // Between two answers there is next to no time, and what the exponential function differs by then is next to nothing.
    if times < 1e-4 { 1.0 - times } else { (-times).exp() }
}

#[cfg(test)]
mod tests;
