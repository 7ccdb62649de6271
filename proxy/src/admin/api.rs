//! `/api/v1/services`: the shape that scripts and `outrigger services` rely on. Fields are added, never changed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use super::learned::{LearnedEntry, learned};
use super::shares::{Share, shares};
use super::traffic::{Pool, Traffic};
use crate::resilience::breaker::Status;
use crate::snapshot::{Cluster, DiscoveryState, Endpoint, Health, Snapshot};
use crate::telemetry::metrics::age_ms;
use crate::telemetry::status::{ServiceStatus, Statuses};

/// All pools.
#[derive(Debug, Serialize)]
pub struct Services {
    /// Of the snapshot.
    pub generation: u64,
    /// By name.
    pub services: Vec<Service>,
}

/// A pool.
#[derive(Debug, Serialize)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// `known`, `awaited` or `unseen`.
    pub standing: &'static str,
    /// `consul at http://127.0.0.1:8500`.
    pub source: String,
    /// Which part of the registry's instances it is, and whether anybody carries that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Since the registry last confirmed it, in milliseconds; none before that and where it cannot age.
    pub age_ms: Option<u64>,
    /// Why the registry could not be asked the last time.
    pub last_error: Option<String>,
    /// `closed`, `open` (its requests fail at once, but for one now and then that tries) or `half_open`.
    pub breaker: &'static str,
    /// Whether our own checks of all its instances fail, which is then held against none of them.
    pub all_failing: bool,
    /// Those that take traffic.
    pub endpoints: Vec<EndpointEntry>,
    /// Those that take none.
    pub left_out: Vec<LeftOutEntry>,
    /// What was learned of its answers, by route and method.
    pub learned: Vec<LearnedEntry>,
}

/// An endpoint. Counts are as of the workers' last ticks.
#[derive(Debug, Serialize)]
pub struct EndpointEntry {
    /// Never used twice in the life of the process.
    pub id: u64,
    /// The registry's id of the instance.
    pub instance: Arc<str>,
    /// `10.0.0.1:80`.
    pub address: String,
    /// Whom it has to prove to be over TLS: `api.example`, or `api.example, not verified`; none in cleartext.
    pub tls: Option<String>,
    /// Relative to the others'.
    pub weight: u32,
    /// `passing` or `warning`.
    pub health: &'static str,
    /// What our own checks say: `passing`, `unknown`, `failing: status 503 (3 in a row)`; none where there are none.
    pub check: Option<String>,
    /// Whether the registry no longer names it, and it is only kept because its checks are good.
    pub absent: bool,
    /// `in`, `slow_start`, `ejected` or `probing` (ejected, and one request tries it).
    pub state: &'static str,
    /// The part of its weight's share that it gets now, 0.0 to 1.0.
    pub share: f64,
    /// Why it gets that and not its whole share, or although somebody speaks against it; none where there is nothing to say.
    pub why: Option<String>,
    /// For how long it has been in this state, in milliseconds.
    pub since_ms: Option<u64>,
    /// The part of the requests that its weight gives it among those that are in, 0.0 to 1.0.
    pub due: f64,
    /// The part of the attempts that it got in about the last ten seconds; none where there were too few.
    pub got: Option<f64>,
    /// Why those two differ, where latency makes them.
    pub deviates: Option<&'static str>,
    /// Requests there now.
    pub in_flight: i64,
    /// Open connections.
    pub connections: u32,
    /// Since the endpoint is known.
    pub attempts: u64,
    /// Of those, the ones that failed by its own fault.
    pub failures: u64,
    /// Of those, the ones that were given up: another attempt was faster, or the client had left. They are no failures.
    pub overtaken: u64,
    /// How many answers of the last minute or two the quantiles stand on. An attempt that was given up is one of them, with the
    /// time it had had.
    pub answers: u32,
    /// What half of these answers took at most, of all workers; none without answers.
    pub p50_ms: Option<f64>,
    /// What all but a hundredth of them took at most.
    pub p99_ms: Option<f64>,
    /// What the balancer goes by: the average of its answers as one worker sees it, failures included; none before the first.
    pub score_ms: Option<f64>,
}

/// An instance that takes no traffic.
#[derive(Debug, Serialize)]
pub struct LeftOutEntry {
    /// The registry's id of it.
    pub instance: Arc<str>,
    /// `critical`.
    pub reason: String,
}

/// Every pool of a snapshot. `clock` is the joint's.
pub fn services(snapshot: &Snapshot, board: &Statuses, clock: u64) -> Services {
    let mut services: Vec<Service> = snapshot
        .clusters
        .values()
        .map(|cluster| service(snapshot, cluster, board.get(&cluster.name).map(|status| &**status), clock))
        .collect();
    services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Services { generation: snapshot.generation, services }
}

/// One pool of a snapshot.
pub fn service(snapshot: &Snapshot, cluster: &Cluster, status: Option<&ServiceStatus>, clock: u64) -> Service {
    let pool = Pool::new(cluster, status, clock);
    let left_out = status.map_or(&[][..], |status| &status.left_out);
    Service {
        name: Arc::clone(&cluster.name),
        standing: match cluster.standing {
            DiscoveryState::Awaited => "awaited",
            DiscoveryState::Known => "known",
            DiscoveryState::Unseen => "unseen",
        },
        source: status.map(|status| status.source.clone()).unwrap_or_default(),
        subset: status.and_then(|status| status.subset.clone()),
        age_ms: age_ms(cluster.shared.confirmed.load(Relaxed), clock),
        last_error: status.and_then(|status| status.last_error.clone()),
        breaker: match cluster.shared.breaker.status(clock) {
            Status { open_for: None, .. } => "closed",
            Status { half_open: true, .. } => "half_open",
            Status { .. } => "open",
        },
        all_failing: status.is_some_and(|status| status.all_failing),
        endpoints: cluster
            .endpoints
            .iter()
            .zip(shares(cluster, &pool, clock))
            .map(|(endpoint, share)| entry(endpoint, &pool, share, status, clock))
            .collect(),
        left_out: left_out
            .iter()
            .map(|out| LeftOutEntry { instance: Arc::clone(&out.instance), reason: out.reason.clone() })
            .collect(),
        learned: learned(snapshot, cluster),
    }
}

fn entry(
    endpoint: &Endpoint,
    pool: &Pool<'_>,
    lately: Share,
    status: Option<&ServiceStatus>,
    clock: u64,
) -> EndpointEntry {
    let Traffic { state, share, why, since_ms } = pool.traffic(endpoint);
    let shared = &endpoint.shared;
    let score = shared.score_us.load(Relaxed);
    let took = shared.counts.took(clock);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    EndpointEntry {
        id: endpoint.id.0,
        instance: Arc::clone(&endpoint.instance),
        address: endpoint.address.to_string(),
        tls: endpoint.shared.tls.as_ref().map(ToString::to_string),
        weight: endpoint.weight,
        health: match endpoint.health {
            Health::Passing => "passing",
            Health::Warning => "warning",
        },
        check: status.and_then(|status| status.checks.get(&endpoint.address).cloned()),
        absent: status.is_some_and(|status| status.absent.contains(&endpoint.id)),
        state,
        share,
        why,
        since_ms,
        due: lately.due,
        got: lately.got,
        deviates: lately.why,
        // Workers report one after the other, so for a moment there may seem to be fewer than none.
        in_flight: shared.in_flight.load(Relaxed).max(0),
        connections: shared.connections.load(Relaxed),
        attempts: shared.counts.attempts.load(Relaxed),
        failures: shared.counts.failures.load(Relaxed),
        overtaken: shared.counts.overtaken.load(Relaxed),
        answers: took.map_or(0, |took| took.samples),
        p50_ms: took.map(|took| ms(took.p50)),
        p99_ms: took.map(|took| ms(took.p99)),
        score_ms: (score > 0).then(|| score as f64 / 1e3),
    }
}
