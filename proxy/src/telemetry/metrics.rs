//! Every metric's name, once, and how it is counted.
//!
//! A worker counts into a [`ServiceTally`] of its own, plain integers, and hands it over at each tick:
//! nothing shared is written while a request succeeds, and a histogram cannot grow until somebody scrapes.
//!
//! Why are a service's metrics not handles of the `metrics` crate? Three things in its Prometheus exporter do not
//! fit a proxy whose services come and go. A histogram there is a list of samples: `record_many` pushes each one
//! with a clock read of its own, and the list grows until the next upkeep. A handle that was resolved once goes on
//! counting into nowhere after `idle_timeout` took its metric away. And without `idle_timeout`, every name that
//! was ever used stays. So a service's counters live where its pool lives, on `ClusterShared`, and end with
//! it: [`Metrics::render`] walks the current snapshot. Its size is the snapshot's, and a scrape finds the same
//! world as a request. What is one per process (reloads, clients' connections, dropped log lines) goes through the
//! `metrics` crate, with labels from closed lists.
//!
//! A name that no registry knows does not become a label, nor does a host that requests go to directly: they come
//! from requests, and whoever sends those would choose our time series. They count under `(other)`, a name until
//! its first instance is seen.

mod process;
mod render;
mod table;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use self::table::name;
pub use self::table::{Kind, Metric, TABLE, document};
use crate::error::Reason;
use crate::snapshot::Snapshot;

/// The upper bounds of the latency buckets, in microseconds; one more holds what is above them.
pub const BUCKETS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
const BUCKETS: usize = BUCKETS_US.len() + 1;
/// `1xx` to `5xx`, and what is none of them.
const CLASSES: usize = 6;
const REASONS: usize = Reason::ALL.len();
/// What names count under until an instance of them is seen, and direct destinations always. No host name has parentheses.
const OTHER_LABEL: &str = "(other)";

/// A service's metrics, resolved once.
#[derive(Debug)]
pub struct ServiceMetrics {
    service: Arc<str>,
    confirmed: AtomicBool,
    counts: Counts,
}

/// What one worker has counted of one service since its last tick.
#[derive(Debug)]
pub struct ServiceTally {
    touched: bool,
    classes: [u32; CLASSES],
    refused: [u32; REASONS],
    good_attempts: u32,
    failed_attempts: [u32; REASONS],
    retries: u32,
    connections: u32,
    latency: [u32; BUCKETS],
    latency_us: u64,
}

impl Default for ServiceTally {
    fn default() -> Self {
        Self {
            touched: false,
            classes: [0; CLASSES],
            refused: [0; REASONS],
            good_attempts: 0,
            failed_attempts: [0; REASONS],
            retries: 0,
            connections: 0,
            latency: [0; BUCKETS],
            latency_us: 0,
        }
    }
}

impl ServiceTally {
    /// A request was answered by an endpoint: the status that went to the client, and the time from the
    /// request's head to the answer's head.
    pub fn answered(&mut self, status: u16, latency: Duration) {
        self.request(status, latency);
    }

    /// A request was answered by the proxy itself.
    pub fn refused(&mut self, reason: Reason, latency: Duration) {
        self.refused[reason as usize] += 1;
        self.request(reason.row().status, latency);
    }

    /// An attempt ended: none for an answer that counts as good.
    pub fn attempted(&mut self, failure: Option<Reason>) {
        self.touched = true;
        match failure {
            None => self.good_attempts += 1,
            Some(reason) => self.failed_attempts[reason as usize] += 1,
        }
    }

    /// An attempt after the first was started.
    pub fn retried(&mut self) {
        self.touched = true;
        self.retries += 1;
    }

    /// A connection to an endpoint was opened.
    pub fn connected(&mut self) {
        self.touched = true;
        self.connections += 1;
    }

    fn request(&mut self, status: u16, latency: Duration) {
        self.touched = true;
        let class = usize::from(status / 100);
        self.classes[if class < CLASSES { class } else { 0 }] += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency[BUCKETS_US.partition_point(|bound| *bound < micros)] += 1;
        self.latency_us = self.latency_us.saturating_add(micros);
    }
}

impl ServiceMetrics {
    /// Resolves the metrics of a service that is known to exist.
    pub fn new(service: &str) -> Self {
        Self { service: Arc::from(service), confirmed: AtomicBool::new(true), counts: Counts::new() }
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

    /// Takes over what a worker has counted, and leaves it at zero.
    pub fn absorb(&self, tally: &mut ServiceTally) {
        if !tally.touched {
            return;
        }
        let counts = if self.confirmed.load(Relaxed) { &self.counts } else { &OTHER };
        counts.absorb(tally);
        *tally = ServiceTally::default();
    }
}

static OTHER: Counts = Counts::new();

/// What has been counted since a service is followed.
#[derive(Debug)]
struct Counts {
    classes: [AtomicU64; CLASSES],
    refused: [AtomicU64; REASONS],
    good_attempts: AtomicU64,
    failed_attempts: [AtomicU64; REASONS],
    retries: AtomicU64,
    connections: AtomicU64,
    latency: [AtomicU64; BUCKETS],
    latency_us: AtomicU64,
}

impl Counts {
    const fn new() -> Self {
        Self {
            classes: [const { AtomicU64::new(0) }; CLASSES],
            refused: [const { AtomicU64::new(0) }; REASONS],
            good_attempts: AtomicU64::new(0),
            failed_attempts: [const { AtomicU64::new(0) }; REASONS],
            retries: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            latency_us: AtomicU64::new(0),
        }
    }

    fn absorb(&self, tally: &ServiceTally) {
        add_all(&self.classes, &tally.classes);
        add_all(&self.refused, &tally.refused);
        add(&self.good_attempts, tally.good_attempts);
        add_all(&self.failed_attempts, &tally.failed_attempts);
        add(&self.retries, tally.retries);
        add(&self.connections, tally.connections);
        add_all(&self.latency, &tally.latency);
        self.latency_us.fetch_add(tally.latency_us, Relaxed);
    }
}

fn add(to: &AtomicU64, what: u32) {
    if what > 0 {
        to.fetch_add(u64::from(what), Relaxed);
    }
}

fn add_all(to: &[AtomicU64], what: &[u32]) {
    for (to, what) in to.iter().zip(what) {
        add(to, *what);
    }
}

/// What is known of a service beside its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// Whether the registry could not be asked the last time.
    pub failing: bool,
    /// Instances that take no traffic, skipped ones included.
    pub left_out: usize,
    /// Entries of the registry that make no sense.
    pub skipped: usize,
}

/// What renders `/metrics`. Cheap to clone; all are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    rest: PrometheusHandle,
    started: SystemTime,
}

/// Puts the process's recorder in place; the second call finds the first one's. To be called before
/// any handle of the `metrics` crate is made: one that was made earlier counts into nothing.
pub fn install() -> Metrics {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let rest = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is in place; some of /metrics will be missing");
            }
            for metric in TABLE.iter().filter(|metric| metric.facade) {
                match metric.kind {
                    Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
                    Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
                    Kind::Histogram => {}
                }
            }
            metrics::gauge!(name::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Metrics { rest, started: SystemTime::now() }
        })
        .clone()
}

impl Metrics {
    /// Everything in Prometheus' text format, 0.0.4. `clock` is the joint's, [`crate::snapshot::Reader::clock`].
    /// `facts` tells what the control plane knows of a service and no snapshot holds.
    pub fn render(&self, snapshot: &Snapshot, clock: u64, facts: &dyn Fn(&str) -> PoolFacts) -> String {
        let mut text = render::services(snapshot, clock, facts);
        render::process(&mut text, self.started);
        text.push_str(&self.rest.render());
        text
    }

    /// Folds what came through the `metrics` crate. To be called every few seconds.
    pub fn upkeep(&self) {
        self.rest.run_upkeep();
    }
}

/// Counts a reload of the configuration. The control plane counts those that reach it; whoever reads the file counts
/// the file that is refused before.
pub fn count_reload(applied: bool) {
    let result = if applied { "applied" } else { "refused" };
    metrics::counter!(name::RELOADS, "result" => result).increment(1);
    if applied {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics::gauge!(name::RELOAD_TIME).set(now.as_secs_f64());
    }
}

/// Counts lines of the access log that were dropped because the reader of stdout was too slow.
pub fn count_dropped_log_lines(lines: u64) {
    metrics::counter!(name::LOG_DROPPED).increment(lines);
}

/// Clients' connections, as one worker counts them: plain integers, handed over at each tick.
#[derive(Debug)]
pub struct ClientMetrics {
    open: Gauge,
    accepted: Counter,
    unreported: (i64, u64),
}

impl ClientMetrics {
    /// Those of one worker.
    pub fn new(worker: usize) -> Self {
        let worker = worker.to_string();
        Self {
            open: metrics::gauge!(name::CLIENT_CONNECTIONS, "worker" => worker.clone()),
            accepted: metrics::counter!(name::CLIENT_CONNECTIONS_ACCEPTED, "worker" => worker),
            unreported: (0, 0),
        }
    }

    /// A client's connection was accepted.
    pub fn opened(&mut self) {
        self.unreported.0 += 1;
        self.unreported.1 += 1;
    }

    /// A client's connection has ended.
    pub fn closed(&mut self) {
        self.unreported.0 -= 1;
    }

    /// Hands over what was counted. To be called at each tick.
    pub fn flush(&mut self) {
        let (open, accepted) = std::mem::take(&mut self.unreported);
        if open != 0 {
            self.open.increment(open as f64);
        }
        if accepted > 0 {
            self.accepted.increment(accepted);
        }
    }
}

/// How old a registry's word is, in milliseconds; none where there is none, or it cannot age.
pub fn age_ms(confirmed: u64, clock: u64) -> Option<u64> {
    (confirmed > 0).then(|| clock.saturating_sub(confirmed))
}

#[cfg(test)]
mod tests;
