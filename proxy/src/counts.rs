//! What is counted where it happens, and how it is counted.
//!
//! A worker counts into a [`ServiceTally`] of its own, plain integers, and hands it over at each tick: nothing shared is
//! written while a request succeeds, and a histogram cannot grow until somebody scrapes. Nothing here knows who reads:
//! [`telemetry`](crate::telemetry) does.
//!
//! Why are a service's metrics not handles of the `metrics` crate? Three things in its Prometheus exporter do not
//! fit a proxy whose services come and go. A histogram there is a list of samples: `record_many` pushes each one
//! with a clock read of its own, and the list grows until the next upkeep. A handle that was resolved once goes on
//! counting into nowhere after `idle_timeout` took its metric away. And without `idle_timeout`, every name that
//! was ever used stays. So a service's counters live where its pool lives, on `ClusterShared`, and end with it; a TCP proxy's
//! on the proxy.

mod account;
mod endpoint;
mod gauges;
pub mod lately;
pub mod paces;
mod tally;
mod tcp;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

pub use self::account::{Account, ByReason, Fate, First, Losses, Outcome, Rescue, Totals};
pub use self::endpoint::{EndpointCounts, EndpointTally, Took};
pub use self::gauges::{Circuit, Gauges, Level};
pub(crate) use self::tally::Counts;
pub use self::tally::{Ejection, ServiceTally};
pub use self::tcp::TcpCounts;

/// The upper bounds of the latency buckets, in microseconds; one more holds what is above them.
pub const BUCKETS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Requests by latency bucket.
pub type LatencyCounts = [u64; BUCKETS_US.len() + 1];
/// A service's metrics, resolved once.
#[derive(Debug)]
pub struct ServiceMetrics {
    pub(crate) service: Arc<str>,
    confirmed: AtomicBool,
    pub(crate) counts: Counts,
    gauges: Gauges,
}

impl ServiceMetrics {
    /// Resolves the metrics of a service that is known to exist.
    pub fn new(service: &str) -> Self {
        Self {
            service: Arc::from(service),
            confirmed: AtomicBool::new(true),
            counts: Counts::new(),
            gauges: Gauges::default(),
        }
    }

    /// Those of a name that somebody used, and that may be no service: counted under `(other)` until
    /// [`ServiceMetrics::confirm`].
    pub fn provisional(service: &str) -> Self {
        Self { confirmed: AtomicBool::new(false), ..Self::new(service) }
    }

    /// The name is a service: what is counted from now on is under its own name.
    pub fn confirm(&self) {
        self.confirmed.store(true, Relaxed);
    }

    /// Whether the name is a service.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Relaxed)
    }

    /// Takes over what a worker has counted, and leaves it at zero.
    pub fn absorb(&self, tally: &mut ServiceTally) {
        // What is counted of a request is under its own name once that is known to be a service. Its account is where it began.
        tally.drain(self.counts(), &self.counts.account, |level, change| self.gauges.add(level, change));
    }

    /// One of our own checks of an endpoint has ended.
    pub fn checked(&self, good: bool) {
        let counts = self.counts();
        let count = if good { &counts.good_checks } else { &counts.bad_checks };
        count.fetch_add(1, Relaxed);
    }

    fn counts(&self) -> &Counts {
        if self.is_confirmed() { &self.counts } else { &OTHER }
    }

    /// What goes up and down, for whoever changes it.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// How long its requests took since it is followed, by the buckets of [`BUCKETS_US`].
    pub fn latency(&self) -> LatencyCounts {
        std::array::from_fn(|bucket| self.counts.latency[bucket].load(Relaxed))
    }

    /// What became of the service's requests since it is followed; all of it as of one moment of each worker.
    pub fn totals(&self) -> Totals {
        self.counts.account.totals()
    }
}

/// What is counted of names that no registry knows, all together.
pub(crate) static OTHER: Counts = Counts::new();
