//! How long to wait before asking again after a failure.
//!
//! # Why full jitter?
//!
//! When a registry restarts, every client of it fails in the same instant. With plain exponential backoff they
//! would all come back in the same instants too, and the registry would meet its whole load in spikes, just when
//! it is weakest. Drawing the whole delay at random, from nothing up to the exponential ceiling, spreads the load
//! evenly, and costs the single client nothing on average ("Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015: "full jitter").
//!
//! The draw is an argument, so that a test can hold every delay.

use std::time::Duration;

/// Exponential ceilings with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// For registries on a network: the first retry after at most 0.5 s, none after more than 30 s.
    pub const NETWORK: Self = Self::new(Duration::from_millis(500), Duration::from_secs(30));

    /// The ceiling of the first delay, doubled with each further failure, up to `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap }
    }

    /// The longest delay after this many failures in a row (1 is the first).
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }

    /// The delay after this many failures in a row, where `draw` is uniform in `0.0..1.0`. Any other draw is
    /// clamped into that range.
    pub fn delay(&self, failures: u32, draw: f64) -> Duration {
        let share = if draw.is_finite() { draw.clamp(0.0, 1.0) } else { 1.0 };
        self.ceiling(failures).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let ceilings: Vec<_> = (1..=8).map(|n| Backoff::NETWORK.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    }

    proptest! {
        #[test]
        fn a_first_retry_comes_within_a_second_and_none_takes_more_than_thirty(n in 0u32.., draw in any::<f64>()) {
            let backoff = Backoff::NETWORK;
            prop_assert!(backoff.delay(1, draw) <= Duration::from_secs(1));
            prop_assert!(backoff.delay(n, draw) <= Duration::from_secs(30));
        }

        #[test]
        fn the_whole_delay_is_drawn(n in 1u32..40) {
            let backoff = Backoff::NETWORK;
            prop_assert_eq!(backoff.delay(n, 0.0), Duration::ZERO);
            prop_assert_eq!(backoff.delay(n, 0.5), backoff.ceiling(n) / 2);
            prop_assert_eq!(backoff.delay(n, 1.0), backoff.ceiling(n));
        }
    }
}
