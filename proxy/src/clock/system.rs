//! The clock itself, tokio's, which tests can stop; and moments as others count them.

use std::sync::LazyLock;
use std::time::Duration;

use super::{Instant, nanos};

/// Where the count begins: a day before the process looked at the clock for the first time, so that there is a past.
static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
const PAST: u64 = 24 * 60 * 60 * 1_000_000_000;

impl Instant {
    /// The time, on the clock that tests can stop.
    pub fn now() -> Self {
        tokio::time::Instant::now().into()
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

impl From<std::time::Instant> for Instant {
    fn from(instant: std::time::Instant) -> Self {
        let origin = *ORIGIN;
        match instant.checked_duration_since(origin) {
            Some(after) => Self(PAST.saturating_add(nanos(after))),
            None => Self(PAST.saturating_sub(nanos(origin.saturating_duration_since(instant)))),
        }
    }
}

impl From<tokio::time::Instant> for Instant {
    fn from(instant: tokio::time::Instant) -> Self {
        instant.into_std().into()
    }
}

impl From<Instant> for std::time::Instant {
    /// What the system cannot express is as late, or as early, as it can.
    fn from(Instant(at): Instant) -> Self {
        let origin = *ORIGIN;
        match at.checked_sub(PAST) {
            Some(after) => origin + Duration::from_nanos(after),
            None => origin.checked_sub(Duration::from_nanos(PAST - at)).unwrap_or(origin),
        }
    }
}

impl From<Instant> for tokio::time::Instant {
    fn from(instant: Instant) -> Self {
        Self::from_std(instant.into())
    }
}
