//! Every metric's name, once, and how it is counted.
//!
//! What is counted of a service and of a TCP proxy lives where it is counted ([`counts`](crate::counts)) and ends with it:
//! [`Metrics::render`] walks the current snapshot. Its size is the snapshot's, and a scrape finds the same world as a
//! request. What is one per process (reloads, clients' connections, dropped log lines) goes through the `metrics` crate,
//! with labels from closed lists.
//!
//! A name that no registry knows does not become a label, nor does a host that requests go to directly: they come
//! from requests, and whoever sends those would choose our time series. They count under `(other)`, a name until
//! its first instance is seen.

mod process;
mod render;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use self::table::name;
pub use self::table::{Kind, Metric, TABLE, document};
use crate::counts::TcpCounts;
use crate::fault::FaultTarget;
use crate::snapshot::Snapshot;
use crate::telemetry::availability::Window;
use crate::telemetry::status::{CheckStatus, ServiceStatus};

/// What names count under until an instance of them is seen, and direct destinations always. No host name has parentheses.
const OTHER_LABEL: &str = "(other)";

/// What is known of a service beside its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PoolFacts {
    /// Whether the registry could not be asked the last time.
    pub failing: bool,
    /// Instances that take no traffic, skipped ones included.
    pub left_out: usize,
    /// Entries of the registry that make no sense.
    pub skipped: usize,
    /// Endpoints that we check, by what their checks say, in the order of [`CheckStatus::ALL`].
    pub words: [usize; CheckStatus::ALL.len()],
    /// Availability before and after, in the order of [`Window::ALL`]; none without requests.
    pub availability: [Option<(f64, f64)>; Window::ALL.len()],
}

impl PoolFacts {
    /// Of a service's status; its availability is not in it.
    pub fn of(status: &ServiceStatus) -> Self {
        let ServiceStatus { last_error, left_out, skipped, words, .. } = status;
        let (failing, left_out, skipped, words) = (last_error.is_some(), left_out.len(), *skipped, *words);
        Self { failing, left_out, skipped, words, ..Self::default() }
    }
}

/// What is told of a TCP proxy.
#[derive(Debug, Clone)]
pub struct TcpFacts {
    /// Its name.
    pub name: Arc<str>,
    /// What went through it.
    pub counts: Arc<TcpCounts>,
    /// What its faults hang on.
    pub faults: Arc<FaultTarget>,
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
            // A counter that is not there cannot be told from one that is misspelt, and `rate` misses its first event.
            for counter in [access_log_dropped(), log_dropped(), audit_log_dropped()] {
                counter.increment(0);
            }
            count_dropped_records(0);
            metrics::counter!(name::CHECKS_NOT_MADE).increment(0);
            for result in ["applied", "refused"] {
                metrics::counter!(name::RELOADS, "result" => result).increment(0);
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

    /// Which endpoint fails, and which is slow, in the same format. `clock` is the joint's.
    pub fn render_endpoints(&self, snapshot: &Snapshot, clock: u64) -> String {
        render::endpoints(snapshot, clock)
    }

    /// What went through plain TCP proxies, in the same format.
    pub fn render_tcp(&self, proxies: &[TcpFacts]) -> String {
        render::tcp(proxies)
    }

    /// What faults there are and were on what is there, in the same format.
    pub fn render_faults(&self, snapshot: &Snapshot, proxies: &[TcpFacts]) -> String {
        render::faults(snapshot, proxies)
    }

    /// What the process itself takes, in the same format.
    pub fn render_process(&self) -> String {
        let mut text = String::new();
        render::process(&mut text, self.started);
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

/// Counts lines of the access log that were lost.
pub fn access_log_dropped() -> Counter {
    metrics::counter!(name::ACCESS_LOG_DROPPED)
}

/// Counts lines of the log that were lost.
pub fn log_dropped() -> Counter {
    metrics::counter!(name::LOG_DROPPED)
}

/// Counts lines of the audit log's file that were lost.
pub fn audit_log_dropped() -> Counter {
    metrics::counter!(name::AUDIT_LOG_DROPPED)
}

/// Counts requests of which no record was kept although one was due, because the reader was too slow or there were too
/// many at once.
pub fn count_dropped_records(records: u64) {
    metrics::counter!(name::EXPLAIN_DROPPED).increment(records);
}

/// Counts a health check that could not be made, for a reason of our own.
pub fn count_check_not_made() {
    metrics::counter!(name::CHECKS_NOT_MADE).increment(1);
}

/// A field that steers the proxy, and that may make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    /// `grpc-timeout`.
    GrpcTimeout,
    /// `x-envoy-upstream-rq-timeout-ms`.
    UpstreamTimeout,
    /// `x-request-deadline`, or what `http.deadline_header` names.
    Deadline,
    /// `Retry-After`, of an answer.
    RetryAfter,
    /// `grpc-retry-pushback-ms`, of an answer.
    RetryPushback,
    /// `x-outrigger-priority`, or what `http.priority_header` names.
    Priority,
    /// `traceparent`.
    TraceParent,
}

impl Steering {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::GrpcTimeout,
        Self::UpstreamTimeout,
        Self::Deadline,
        Self::RetryAfter,
        Self::RetryPushback,
        Self::Priority,
        Self::TraceParent,
    ];

    /// As a label; what can be renamed has its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GrpcTimeout => "grpc-timeout",
            Self::UpstreamTimeout => "x-envoy-upstream-rq-timeout-ms",
            Self::Deadline => "x-request-deadline",
            Self::RetryAfter => "retry-after",
            Self::RetryPushback => "grpc-retry-pushback-ms",
            Self::Priority => "x-outrigger-priority",
            Self::TraceParent => "traceparent",
        }
    }
}

/// Clients' connections, as one worker counts them: plain integers, handed over at each tick.
#[derive(Debug)]
pub struct ClientMetrics {
    open: Gauge,
    accepted: Counter,
    held: Gauge,
    unreported: (i64, u64),
    held_bytes: usize,
    malformed: [u64; Steering::ALL.len()],
    made_room: [u64; 2],
    turned_away: u64,
    /// HTTP/2 connections that were ended, by what they were ended for.
    abuses: BTreeMap<&'static str, u64>,
    handshakes: [u64; Handshake::ALL.len()],
}

/// When the first certificate of a file ends.
pub fn set_certificate_end(file: &std::path::Path, end: SystemTime) {
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    metrics::gauge!(name::NOT_AFTER, "file" => file.display().to_string()).set(seconds as f64);
}

/// How a client's TLS handshake has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Well, with all that belongs to it.
    Full,
    /// Well, with a session of an earlier one.
    Resumed,
    /// It took too long.
    Timeout,
    /// It was ended for others, or because the process is closing.
    MadeRoom,
    /// The client closed or reset the connection in its middle.
    Closed,
    /// What came is no TLS: plain HTTP, for example.
    NotTls,
    /// The two have no version, cipher or kind of key in common.
    Incompatible,
    /// The client offers other protocols only.
    Alpn,
    /// The client asks for a name in no certificate, and such are refused.
    UnknownName,
    /// The client shows no certificate and has to, or a bad one.
    ClientCertificate,
    /// The client refuses: it does not trust the certificate, for example.
    AlertReceived,
    /// The client breaks the protocol in another way.
    Broken,
}

impl Handshake {
    const ALL: [(Self, &str); 12] = [
        (Self::Full, "full"),
        (Self::Resumed, "resumed"),
        (Self::Timeout, "timeout"),
        (Self::MadeRoom, "made_room"),
        (Self::Closed, "closed"),
        (Self::NotTls, "not_tls"),
        (Self::Incompatible, "incompatible"),
        (Self::Alpn, "alpn"),
        (Self::UnknownName, "unknown_name"),
        (Self::ClientCertificate, "client_certificate"),
        (Self::AlertReceived, "alert_received"),
        (Self::Broken, "broken"),
    ];

    /// Its name, as the metric's label and in the log.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl ClientMetrics {
    /// Those of one worker.
    pub fn new(worker: usize) -> Self {
        let worker = worker.to_string();
        Self {
            open: metrics::gauge!(name::CLIENT_CONNECTIONS, "worker" => worker.clone()),
            accepted: metrics::counter!(name::CLIENT_CONNECTIONS_ACCEPTED, "worker" => worker.clone()),
            held: metrics::gauge!(name::HELD_BYTES, "worker" => worker),
            unreported: (0, 0),
            held_bytes: 0,
            malformed: [0; Steering::ALL.len()],
            made_room: [0; 2],
            turned_away: 0,
            abuses: BTreeMap::new(),
            handshakes: [0; Handshake::ALL.len()],
        }
    }

    /// A handshake is over.
    pub fn shook_hands(&mut self, result: Handshake) {
        self.handshakes[result as usize] += 1;
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

    /// A field was ignored because it makes no sense.
    pub fn malformed(&mut self, field: Steering) {
        self.malformed[field as usize] += 1;
    }

    /// So many connections were ended for others that did nothing, and that were slow to begin.
    pub fn made_room(&mut self, resting: usize, beginning: usize) {
        self.made_room[0] += resting as u64;
        self.made_room[1] += beginning as u64;
    }

    /// A connection was refused: there is no memory for it.
    pub fn turned_away(&mut self) {
        self.turned_away += 1;
    }

    /// An HTTP/2 connection was ended for what its client sent.
    pub fn ended_for(&mut self, what: &'static str) {
        *self.abuses.entry(what).or_default() += 1;
    }

    /// Bytes of answers that are held until they are whole, as of now.
    pub fn held(&mut self, bytes: usize) {
        self.held_bytes = bytes;
    }

    /// Hands over what was counted. To be called at each tick.
    pub fn flush(&mut self) {
        self.held.set(self.held_bytes as f64);
        for field in Steering::ALL {
            let count = std::mem::take(&mut self.malformed[field as usize]);
            if count > 0 {
                metrics::counter!(name::MALFORMED, "field" => field.name()).increment(count);
            }
        }
        for (why, count) in ["idle", "slow_head"].into_iter().zip(std::mem::take(&mut self.made_room)) {
            if count > 0 {
                metrics::counter!(name::MADE_ROOM, "reason" => why).increment(count);
            }
        }
        for ((_, result), count) in Handshake::ALL.iter().zip(std::mem::take(&mut self.handshakes)) {
            if count > 0 {
                metrics::counter!(name::HANDSHAKES, "result" => *result).increment(count);
            }
        }
        let refused = std::mem::take(&mut self.turned_away);
        if refused > 0 {
            metrics::counter!(name::TURNED_AWAY, "reason" => "memory").increment(refused);
        }
        for (what, count) in std::mem::take(&mut self.abuses) {
            metrics::counter!(name::ABUSES, "kind" => what).increment(count);
        }
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
