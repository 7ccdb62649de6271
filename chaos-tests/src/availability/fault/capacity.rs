//! A server that can do so much and no more, and does not know who still waits.
//!
//! Some slots, a queue in order of arrival in front of them, and no cancellation: what has been queued will be worked
//! off, though its client has left long ago. That last point is what makes an overload stick: a queue longer than the
//! clients' patience makes everything that is worked off useless, retries keep it full, and goodput stays at zero when the
//! load has long been gone (Bronson et al., *Metastable failures in distributed systems*, HotOS 2021).
//!
//! The queue is arithmetic: a request is told when it will be done, from when its slot is free. So a late timer delays one
//! answer, and never takes from the capacity.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Deed, Model, lognormal};

/// Every request takes one of some slots for a lognormal time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Requests that are worked on at once.
    pub slots: usize,
    /// The mean of the time that one takes, in milliseconds.
    pub mean_ms: u32,
    /// When each slot will have done all that it was given.
    #[serde(skip)]
    free: Vec<Instant>,
}

impl Capacity {
    /// With nothing to do yet.
    pub const fn new(slots: usize, mean_ms: u32) -> Self {
        Self { slots, mean_ms, free: Vec::new() }
    }

    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.slots as f64 * 1000.0 / f64::from(self.mean_ms)
    }
}

/// Of the lognormal times here, the mean over the median: the square of sigma by two, as an exponent.
const MEAN_BY_MEDIAN: f64 = 1.133_148_453_066_826_3;

impl Model for Capacity {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, now: Instant) -> Deed {
        self.free.resize(self.slots.max(1), now);
        let median = Duration::from_millis(self.mean_ms.into()).div_f64(MEAN_BY_MEDIAN);
        let takes = lognormal(rng, median);
        let Some(slot) = self.free.iter_mut().min() else { return ordinary };
        *slot = (*slot).max(now) + takes;
        Deed { after: *slot - now, ..ordinary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_capacity_queues_half_of_what_came_and_work_left_behind_is_done() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut server = Capacity::new(4, 100);
        assert!((server.per_second() - 40.0).abs() < 1e-9);
        let start = Instant::now();
        let ordinary = Deed::ordinary(&mut rng);
        let mut done = Vec::new();
        for n in 0..800 {
            let now = start + Duration::from_millis(n * 12 + n / 2);
            done.push(now + server.deed(ordinary, &mut rng, now).after - start);
        }
        let within = done.iter().filter(|d| **d < Duration::from_secs(10)).count();
        assert!((370..430).contains(&within), "{within} of 800 in 10 s at 40 a second");
        let last = done.iter().max().map(Duration::as_secs_f64).unwrap_or_default();
        assert!((18.0..22.0).contains(&last), "800 at 40 a second take 20 s, not {last}");
    }
}
