//! Moments on one clock, as a number each.
//!
//! A request asks a dozen times how long something has taken. The standard library's `Instant` is seconds and nanoseconds
//! apart, and each difference of two costs some forty instructions; this one is a count of nanoseconds, and costs two.
//! Additions stop at the end of time, which lies some five hundred years ahead, instead of panicking: however long a peer says
//! that something may take.
//!
//! Here is what policies use, which are handed the time; what looks at a clock is [`system`].

pub mod system;

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment: nanoseconds since a day before the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// From `earlier` to here; nothing where that is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// From `earlier` to here; none where that is later.
    pub fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// So much later; none behind the end of time.
    pub fn checked_add(self, time: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(time.as_nanos()).ok()?).map(Self)
    }

    /// So much sooner; none before the beginning of the count.
    pub fn checked_sub(self, time: Duration) -> Option<Self> {
        self.0.checked_sub(u64::try_from(time.as_nanos()).ok()?).map(Self)
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reckons_as_the_standard_librarys_does() {
        let then = std::time::Instant::now();
        let now = Instant::from(then);
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1_500), Duration::from_secs(86_400)]
        {
            assert_eq!(Instant::from(then + time), now + time);
            assert_eq!(std::time::Instant::from(now + time), then + time);
            assert_eq!((now + time).saturating_duration_since(now), time);
            assert_eq!(now.saturating_duration_since(now + time), Duration::ZERO);
        }
        assert_eq!(now - Duration::from_secs(3_600) + Duration::from_secs(3_600), now);
    }

    #[test]
    fn there_is_no_time_behind_the_last() {
        let now = Instant::now();
        assert!(now + Duration::MAX > now + Duration::from_secs(1 << 32));
        assert_eq!(now.checked_add(Duration::MAX), None);
        assert_eq!(now.checked_sub(Duration::from_secs(1 << 32)), None);
        // As far as the system's own clock goes, or further.
        let _no_panic = tokio::time::Instant::from(now + Duration::MAX);
    }
}
