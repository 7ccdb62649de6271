//! The joint between the two halves: what the control plane publishes and every worker reads.
//!
//! A [`Snapshot`] is immutable. The control plane builds a new one and publishes it whole, so a request sees
//! one consistent world, and reading it costs a worker one atomic load. What has to live longer than a snapshot
//! (counters, connection caps) hangs on an [`Endpoint`] or a [`Cluster`] by an `Arc` that survivors keep.
//!
//! What the data plane asks for goes the other way, through one bounded channel of [`Demand`]s; a publish wakes
//! whoever waits for the answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};

use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::counts::lately::Lately;
use crate::counts::paces::Paces;
use crate::counts::{EndpointCounts, ServiceMetrics};
use crate::fault::active::{FaultTarget, Sort};
use crate::resilience::breaker::CircuitBreaker;
use crate::resilience::budget::{RetryBudget, Terms};
use crate::resilience::limit;
use crate::resilience::outlier::{Members, OutlierState, PoolState};
use crate::resilience::shared_estimates::SharedEstimates;
use crate::route::RouteTable;
use crate::tls::client::Proof;

/// What the data plane knows of the world at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with each publish.
    pub generation: u64,
    /// What all times are told by, from the first snapshot to the last.
    pub clock: Clock,
    /// Which request goes to which service.
    pub routes: Arc<RouteTable>,
    /// By service name, as the configuration or the registry has it. A direct destination (`unknown: direct`)
    /// is under its authority, `example.com:80`.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// What is not as it was in the generation before. Worked out by [`Publisher::publish`].
    pub changes: Changes,
}

/// Services that have come, gone or changed from one generation to the next: of thousands few do, and a worker that has seen
/// the one before looks at no others.
#[derive(Debug, Default)]
pub struct Changes {
    /// The generation that they are changes to; 0 where nothing is known.
    pub since: u64,
    /// Their names.
    pub names: Vec<Arc<str>>,
}

impl Changes {
    fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let is_new = |(name, cluster): &(&Arc<str>, &Arc<Cluster>)| {
            old.clusters.get(*name).is_none_or(|before| !Arc::ptr_eq(before, cluster))
        };
        let come = new.clusters.iter().filter(is_new).map(|(name, _)| name);
        let gone = old.clusters.keys().filter(|name| !new.clusters.contains_key(*name));
        Self { since: old.generation, names: come.chain(gone).map(Arc::clone).collect() }
    }
}

/// The one clock of the joint and of all that hangs on it: what the control plane writes down, a worker reckons with.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

/// Where the clock begins: long enough after 0, which stands for "never", that "five seconds ago" can be reckoned at once.
const FIRST_MS: u64 = 60_000;

impl Clock {
    /// A clock that begins at `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// Milliseconds; never 0.
    pub fn ms(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.epoch).as_millis();
        FIRST_MS.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// A service's pool.
#[derive(Debug)]
pub struct Cluster {
    /// The service's name.
    pub name: Arc<str>,
    /// The service's policies; a route may override them for its own requests.
    pub policy: Arc<Policy>,
    /// What is known of it.
    pub standing: DiscoveryState,
    /// Those that take traffic: healthy, of weight above 0, with an address. In a stable order.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// What outlives snapshots.
    pub shared: Arc<ClusterShared>,
}

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryState {
    /// The registry has not answered yet: a request waits for it, up to a second.
    Awaited,
    /// It has or once had instances: without endpoints its requests get 503.
    Known,
    /// The registry answered, and it never had an instance: its requests get 404.
    Unseen,
}

/// What outlives the snapshots of a cluster.
#[derive(Debug)]
pub struct ClusterShared {
    /// Resolved once, so that the data plane never looks a metric up.
    pub metrics: ServiceMetrics,
    /// When it was last used, in milliseconds of the joint's clock. Workers write it at their ticks.
    pub last_used: AtomicU64,
    /// When the registry last confirmed the set, in milliseconds of the joint's clock; 0 for never.
    pub confirmed: AtomicU64,
    /// What may be asked of the service beyond what its clients ask.
    pub budget: RetryBudget,
    /// Whether the service is taken for dead.
    pub breaker: CircuitBreaker,
    /// What its endpoints share of being ejected.
    pub pool: PoolState,
    /// What one worker knows of how long its answers take, for the others.
    pub shared_estimates: SharedEstimates,
    /// What its workers have learned, for whoever asks.
    pub paces: Paces,
    /// How many requests may be at it.
    pub limits: Arc<limit::Shared>,
    /// What is injected into it.
    pub faults: Arc<FaultTarget>,
    /// Whether its registry has instances, and none that carries its subset. Only read where there is no endpoint.
    pub bare_subset: AtomicBool,
    clock: Clock,
}

impl ClusterShared {
    /// Of a service that is followed from `now` on, under these policies.
    pub fn new(name: &str, metrics: ServiceMetrics, policy: &Policy, clock: Clock, now: Instant) -> Self {
        Self {
            faults: FaultTarget::new(name, Sort::Service),
            metrics,
            last_used: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            budget: RetryBudget::new(&Terms::of(&policy.retries, &policy.hedge), clock.ms(now)),
            breaker: CircuitBreaker::default(),
            pool: PoolState::default(),
            shared_estimates: SharedEstimates::default(),
            paces: Paces::default(),
            limits: Arc::default(),
            bare_subset: AtomicBool::new(false),
            clock,
        }
    }

    /// Milliseconds on the joint's clock, which is that of the service's budget, breaker and ejections too.
    pub fn ms(&self, now: Instant) -> u64 {
        self.clock.ms(now)
    }
}

impl Members for [Arc<Endpoint>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn state(&self, index: usize) -> &OutlierState {
        &self[index].shared.outlier
    }

    fn median_us(&self, index: usize) -> u64 {
        self[index].shared.median_us.load(Ordering::Relaxed)
    }

    fn quarter_us(&self, index: usize) -> u64 {
        self[index].shared.quarter_us.load(Ordering::Relaxed)
    }
}

/// Who an endpoint is, for as long as the process lives. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u64);

/// An instance that can be dialled: one address of one instance.
#[derive(Debug)]
pub struct Endpoint {
    /// Who it is, over every change but that of its address.
    pub id: EndpointId,
    /// The registry's id of the instance.
    pub instance: Arc<str>,
    /// Where it is dialled.
    pub address: SocketAddr,
    /// Its share of the traffic relative to the others'. At least 1.
    pub weight: u32,
    /// The registry's word on it. What is critical is in no snapshot.
    pub health: Health,
    /// What outlives snapshots.
    pub shared: Arc<EndpointShared>,
}

/// The registry's word on an endpoint that takes traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Every check passes.
    #[default]
    Passing,
    /// A check warns; its weight already says what that is worth.
    Warning,
}

/// What outlives the snapshots of an endpoint. Everything but the connection count is written by the workers at
/// their ticks, not by requests.
#[derive(Debug, Default)]
pub struct EndpointShared {
    /// When it joined a pool that had taken traffic without it, in milliseconds of the joint's clock; 0 for an
    /// endpoint that is there from its service's first answer on. Written once, before it is published.
    pub joined: AtomicU64,
    /// What it has to prove over TLS; none for an endpoint that is spoken to in cleartext.
    pub tls: Option<Proof>,
    /// Open connections, of all workers; what the cap is held against.
    pub connections: AtomicU32,
    /// Connections that have become tunnels.
    pub tunnels: AtomicU32,
    /// Told whenever a connection is closed, for who waits for its place.
    pub freed: Notify,
    /// Requests in flight.
    pub in_flight: AtomicI64,
    /// What is counted of it.
    pub counts: EndpointCounts,
    /// Attempts of about the last ten seconds.
    pub lately: Lately,
    /// When it was first looked at, or was last ejected or readmitted, in milliseconds of the joint's clock, as a worker's
    /// tick saw it; 0 before the first.
    pub changed: AtomicU64,
    /// Whether it was ejected when a worker's tick last looked.
    pub seen_out: AtomicBool,
    /// What the balancer goes by ([`Ewma`](crate::balance::Ewma)) in microseconds, of the worker that wrote last; 0 for none yet.
    pub score_us: AtomicU64,
    /// What its answers typically take, in microseconds, of the worker that wrote last; 0 for not known.
    pub median_us: AtomicU64,
    /// What a quarter of its answers stay within, likewise.
    pub quarter_us: AtomicU64,
    /// Attempts that wait for longer than nearly all do.
    pub overdue: AtomicU32,
    /// What is held against it.
    pub outlier: OutlierState,
}

impl EndpointShared {
    /// Whether it is ejected. Notes since when that is so, or not. Asked at ticks.
    pub fn look(&self, ms: u64) -> bool {
        let out = self.outlier.is_out();
        // Nothing is written while nothing changes.
        if self.changed.load(Ordering::Relaxed) == 0 || self.seen_out.load(Ordering::Relaxed) != out {
            self.seen_out.store(out, Ordering::Relaxed);
            self.changed.store(ms, Ordering::Relaxed);
        }
        out
    }
}

/// What the data plane asks of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A service was used by its name and is in no snapshot.
    Service(Arc<str>),
    /// A request is for a host that is no service, and goes there as it is: `host:port`.
    Direct(Arc<str>),
}

/// Demands that may wait for the control plane; more are dropped, and the request that asked gets 503.
pub const DEMANDS: usize = 256;

/// The control plane's side of the joint.
#[derive(Debug)]
pub struct Publisher {
    joint: Arc<Joint>,
    wake: watch::Sender<u64>,
    /// Old snapshots that a worker may still hold: their last drop has to happen here, not in a request.
    retired: Vec<Arc<Snapshot>>,
    /// Clusters that were in one, are in no other, and that a request may still hold; by their address, each once.
    gone: HashMap<usize, Arc<Cluster>>,
}

#[derive(Debug)]
struct Joint {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    /// On the joint's clock.
    names_full_until: AtomicU64,
    clock: Clock,
}

/// The data plane's side of the joint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    joint: Arc<Joint>,
    wake: watch::Receiver<u64>,
    demands: mpsc::Sender<Demand>,
}

/// Makes the joint, with a first snapshot.
pub fn joint(first: Snapshot) -> (Publisher, Reader, mpsc::Receiver<Demand>) {
    let (demands, asked) = mpsc::channel(DEMANDS);
    let (wake, woken) = watch::channel(first.generation);
    let joint = Arc::new(Joint {
        generation: AtomicU64::new(first.generation),
        clock: first.clock,
        current: ArcSwap::from_pointee(first),
        names_full_until: AtomicU64::new(0),
    });
    let reader = Reader { joint: Arc::clone(&joint), wake: woken, demands };
    (Publisher { joint, wake, retired: Vec::new(), gone: HashMap::new() }, reader, asked)
}

impl Publisher {
    /// The snapshot that readers see.
    pub fn current(&self) -> Arc<Snapshot> {
        self.joint.current.load_full()
    }

    /// Publishes a snapshot under the next generation and wakes whoever waits.
    pub fn publish(&mut self, mut next: Snapshot) {
        next.generation = self.joint.generation.load(Ordering::Relaxed) + 1;
        let generation = next.generation;
        next.changes = Changes::between(&self.joint.current.load(), &next);
        let old = self.joint.current.swap(Arc::new(next));
        self.joint.generation.store(generation, Ordering::Release);
        self.wake.send_replace(generation);
        self.retired.push(old);
        self.sweep();
    }

    /// Drops the old snapshots and clusters that no worker holds any more. Called at the control plane's ticks.
    pub fn sweep(&mut self) {
        let current = self.joint.current.load();
        for old in std::mem::take(&mut self.retired) {
            match Arc::try_unwrap(old) {
                Ok(old) => {
                    let is_gone = |(name, cluster): &(Arc<str>, Arc<Cluster>)| {
                        current.clusters.get(name).is_none_or(|now| !Arc::ptr_eq(now, cluster))
                    };
                    let gone = old.clusters.into_iter().filter(is_gone);
                    self.gone.extend(gone.map(|(_, cluster)| (Arc::as_ptr(&cluster).addr(), cluster)));
                }
                Err(held) => self.retired.push(held),
            }
        }
        self.gone.retain(|_, cluster| Arc::strong_count(cluster) > 1);
    }

    /// Says until when, on the joint's clock, there is no room for another name; 0 for that there is.
    pub fn tell_names_full(&self, until: u64) {
        self.joint.names_full_until.store(until, Ordering::Relaxed);
    }

    /// Milliseconds on the joint's clock; never 0.
    pub fn clock(&self, now: Instant) -> u64 {
        self.joint.clock.ms(now)
    }
}

impl Reader {
    /// The generation that is current: one atomic load, to be compared with the one a view was made from.
    pub fn generation(&self) -> u64 {
        self.joint.generation.load(Ordering::Acquire)
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.joint.current.load_full()
    }

    /// Whether as many names are watched as may be, and none would make room: asking for another one has no answer.
    pub fn names_full(&self, now: Instant) -> bool {
        self.clock(now) < self.joint.names_full_until.load(Ordering::Relaxed)
    }

    /// Asks the control plane for something. False when too much is being asked for already.
    pub fn demand(&self, demand: Demand) -> bool {
        self.demands.try_send(demand).is_ok()
    }

    /// Returns when a snapshot newer than `generation` is current; never when the publisher is gone.
    pub async fn newer_than(&self, generation: u64) {
        let mut wake = self.wake.clone();
        if wake.wait_for(|current| *current > generation).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Milliseconds on the joint's clock; never 0.
    pub fn clock(&self, now: Instant) -> u64 {
        self.joint.clock.ms(now)
    }
}

#[cfg(test)]
mod tests;
