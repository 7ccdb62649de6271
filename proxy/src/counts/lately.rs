//! What was counted lately: about the last ten seconds, in two numbers that any worker may add to.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a second leaves of what was counted before it.
const KEPT: f64 = 0.9;

/// A count of about the last ten seconds. Times are milliseconds on the joint's clock.
#[derive(Debug, Default)]
pub struct Lately {
    /// In thousandths.
    sum: AtomicU64,
    /// When what is old was last taken off.
    at: AtomicU64,
}

impl Lately {
    /// So many more. Asked at a worker's ticks.
    pub fn add(&self, count: u64, now: u64) {
        let before = self.at.load(Ordering::Relaxed);
        // Of several workers one takes off what is old. What another adds at the same moment may be lost with it.
        if now >= before + 1_000 && self.at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.sum.store(self.left(now - before), Ordering::Relaxed);
        }
        self.sum.fetch_add(count * 1_000, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self, now: u64) -> f64 {
        self.left(now.saturating_sub(self.at.load(Ordering::Relaxed))) as f64 / 1e3
    }

    fn left(&self, elapsed: u64) -> u64 {
        // Whole seconds, so that a count stays what it is while nothing is taken off.
        let seconds = i32::try_from(elapsed / 1_000).unwrap_or(i32::MAX);
        (self.sum.load(Ordering::Relaxed) as f64 * KEPT.powi(seconds)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_ten_seconds_are_remembered() {
        let lately = Lately::default();
        for tick in 0..400 {
            lately.add(25, 100_000 + tick * 250);
        }
        let count = lately.count(200_000);
        assert!((850.0..=1_000.0).contains(&count), "{count} of 100 a second");
        assert!(lately.count(260_000) < 5.0);
        assert_eq!(lately.count(10_000_000), 0.0);
    }
}
