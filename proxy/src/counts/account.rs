//! What became of requests: before the proxy did anything for them, and after.
//!
//! Which request counts as what is decided by [`telemetry::availability`](crate::telemetry::availability); this is what it is
//! written down in.

use std::sync::Arc;

use crate::error::Reason;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered.
    Success,
    /// A fallback answered in the service's place.
    Degraded,
    /// Neither.
    Failure(Reason),
}

/// What became of a request's first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Its answer is what the client got, or would have been as good.
    Good,
    /// It failed, took longer than a try may, or was never made.
    Failed,
    /// A hedge was faster; nobody knows what would have become of it.
    Overtaken,
}

/// What saved a request whose first attempt was not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescue {
    /// Another attempt after one that was answered badly or broke off.
    Retry,
    /// Another endpoint after one that could not be connected to.
    OtherEndpoint,
    /// An attempt that was started because the first took longer than a try may.
    TryTimeout,
    /// An attempt that was started because the first was slower than usual.
    Hedge,
    /// The fallback.
    Fallback,
}

impl First {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Good, Self::Failed, Self::Overtaken];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Overtaken => "overtaken",
        }
    }
}

impl Rescue {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Retry, Self::OtherEndpoint, Self::TryTimeout, Self::Hedge, Self::Fallback];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::OtherEndpoint => "other_endpoint",
            Self::TryTimeout => "try_timeout",
            Self::Hedge => "hedge",
            Self::Fallback => "fallback",
        }
    }
}

/// A request that has ended, as it is accounted for. Made only of requests that say something of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its first attempt. The free repetition of a request that met a closing connection is part of the attempt it
    /// repeats.
    pub first: First,
    /// What the client got.
    pub outcome: Outcome,
    /// The kind of the attempt that was answered, where it was not the first. Ignored where the request was lost.
    pub rescued_by: Option<Rescue>,
    /// Attempts at endpoints, the first included.
    pub attempts: u32,
}

impl Account {
    /// A request that its first attempt answered.
    pub const GOOD: Self = Self { first: First::Good, outcome: Outcome::Success, rescued_by: None, attempts: 1 };
}

/// Lost requests by reason, in the order of [`Reason::ALL`].
pub type Lost = [u64; Reason::ALL.len()];

/// Requests of a service: since it is followed, or in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Answered by the service.
    pub success: u64,
    /// Answered by a fallback.
    pub degraded: u64,
    /// Not answered.
    pub failure: u64,
    /// By first attempt, in the order of [`First::ALL`].
    pub first: [u64; First::ALL.len()],
    /// By what saved them, in the order of [`Rescue::ALL`].
    pub rescued: [u64; Rescue::ALL.len()],
    /// Attempts at endpoints.
    pub attempts: u64,
    /// By what they were lost to. Shared, because most samples have the same.
    pub lost: Arc<Lost>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            success: 0,
            degraded: 0,
            failure: 0,
            first: [0; First::ALL.len()],
            rescued: [0; Rescue::ALL.len()],
            attempts: 0,
            lost: Arc::new([0; Reason::ALL.len()]),
        }
    }
}

impl Totals {
    /// All that count.
    pub fn requests(&self) -> u64 {
        self.success + self.degraded + self.failure
    }

    /// The share of requests whose first attempt was good, as far as is known; none without requests.
    pub fn before(&self) -> Option<f64> {
        let [good, _, overtaken] = self.first;
        share(good + overtaken, self.requests())
    }

    /// The share of requests that were answered, by a fallback too; none without requests.
    pub fn after(&self) -> Option<f64> {
        share(self.success + self.degraded, self.requests())
    }

    /// What was added since `earlier`, which is older than this.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut first = self.first;
        first.iter_mut().zip(earlier.first).for_each(|(now, then)| *now -= then.min(*now));
        let mut rescued = self.rescued;
        rescued.iter_mut().zip(earlier.rescued).for_each(|(now, then)| *now -= then.min(*now));
        let mut lost = *self.lost;
        lost.iter_mut().zip(*earlier.lost).for_each(|(now, then)| *now -= then.min(*now));
        Self {
            success: self.success.saturating_sub(earlier.success),
            degraded: self.degraded.saturating_sub(earlier.degraded),
            failure: self.failure.saturating_sub(earlier.failure),
            first,
            rescued,
            attempts: self.attempts.saturating_sub(earlier.attempts),
            lost: Arc::new(lost),
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
