//! A worker's side of the current snapshot.
//!
//! A snapshot says which endpoints there are; a view adds what one worker has with them: connections, averages,
//! balancers, counts. It is made anew when the snapshot's generation has moved, keeping the sides of endpoints that
//! stay, so a changed pool costs its survivors neither their connections nor what is known of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::balance::{self, Candidates, LoadBalancer, ewma};
use crate::route::RouteTable;
use crate::snapshot::{Cluster, EndpointId, Snapshot};
use crate::telemetry::metrics::ServiceTally;
use crate::upstream::Upstream;

/// A snapshot with a worker's things.
#[derive(Debug)]
pub struct View {
    /// The snapshot's generation.
    pub generation: u64,
    /// Which request goes where.
    pub routes: Arc<RouteTable>,
    clusters: HashMap<Arc<str>, Rc<Side>>,
}

/// A cluster as one worker sees it.
pub struct Side {
    /// As published.
    pub cluster: Arc<Cluster>,
    /// How many idle connections to one endpoint this worker keeps.
    pub keep: usize,
    /// Counts, and whether it was used, since the last tick. Outlive the side.
    pub counts: Rc<Counts>,
    upstreams: Vec<Member>,
    balancer: Box<dyn LoadBalancer>,
}

#[derive(Debug)]
struct Member {
    upstream: Rc<Upstream>,
    relative_weight: f64,
}

/// What a worker has counted of a service since its last tick.
#[derive(Debug, Default)]
pub struct Counts {
    /// For the metrics.
    pub tally: RefCell<ServiceTally>,
    /// Whether a request was for it.
    pub used: Cell<bool>,
}

/// Endpoints that a request has been to.
#[derive(Debug, Default)]
pub struct Tried {
    ids: [Option<EndpointId>; 8],
    len: usize,
}

impl Tried {
    /// Remembers one; more than eight attempts do not happen.
    pub fn add(&mut self, id: EndpointId) {
        if let Some(slot) = self.ids.get_mut(self.len) {
            *slot = Some(id);
            self.len += 1;
        }
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn has(&self, id: EndpointId) -> bool {
        self.ids[..self.len].contains(&Some(id))
    }
}

impl View {
    /// The view of a snapshot, made of what `old` has of it.
    pub fn of(snapshot: &Snapshot, old: Option<&View>, workers: usize, seed: u64, now: Instant) -> Self {
        let clusters = snapshot.clusters.iter().map(|(name, cluster)| {
            let before = old.and_then(|view| view.clusters.get(name));
            let side = match before {
                Some(side) if Arc::ptr_eq(&side.cluster, cluster) => Rc::clone(side),
                _ => Rc::new(Side::new(cluster, before.map(Rc::as_ref), workers, seed, now)),
            };
            (Arc::clone(name), side)
        });
        Self { generation: snapshot.generation, routes: Arc::clone(&snapshot.routes), clusters: clusters.collect() }
    }

    /// A service's cluster.
    pub fn cluster(&self, service: &str) -> Option<&Rc<Side>> {
        self.clusters.get(service)
    }

    /// Hands over what was counted. `clock` is the joint's.
    pub fn report(&self, clock: u64, now: Instant) {
        for side in self.clusters.values() {
            side.report(clock, now);
        }
    }

    /// Ends connections that have been idle for too long.
    pub fn reap(&self, now: Instant) {
        for side in self.clusters.values() {
            for member in &side.upstreams {
                member.upstream.reap(side.cluster.policy.idle_timeout, now);
            }
        }
    }

    /// Ends all idle connections.
    pub fn close_idle(&self) {
        for member in self.clusters.values().flat_map(|side| &side.upstreams) {
            member.upstream.close_idle();
        }
    }
}

impl Side {
    fn new(cluster: &Arc<Cluster>, before: Option<&Side>, workers: usize, seed: u64, now: Instant) -> Self {
        let survivors: HashMap<EndpointId, &Rc<Upstream>> = before
            .map(|side| side.upstreams.iter().map(|m| (m.upstream.id, &m.upstream)).collect())
            .unwrap_or_default();
        let known = before.map(|side| &side.upstreams[..]).unwrap_or_default();
        let typical = ewma::typical(known.iter().map(|member| member.upstream.latency()), now);
        let weights: Vec<u32> = cluster.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / weights.len().max(1) as f64;
        let upstreams = cluster.endpoints.iter().map(|endpoint| Member {
            upstream: survivors
                .get(&endpoint.id)
                .map_or_else(|| Rc::new(Upstream::new(endpoint, typical, now)), |upstream| Rc::clone(upstream)),
            relative_weight: f64::from(endpoint.weight) / mean,
        });
        let max_idle = cluster.policy.max_idle as usize;
        Self {
            upstreams: upstreams.collect(),
            balancer: balance::build(cluster.policy.balance, &weights, seed),
            keep: if max_idle == 0 { 0 } else { (max_idle / workers.max(1)).max(1) },
            counts: before.map(|side| Rc::clone(&side.counts)).unwrap_or_default(),
            cluster: Arc::clone(cluster),
        }
    }

    /// An endpoint that has not been tried.
    pub fn pick(&self, tried: &Tried, now: Instant) -> Option<Rc<Upstream>> {
        let index = self.balancer.pick(&Choice { members: &self.upstreams, tried, now })?;
        self.upstreams.get(index).map(|member| Rc::clone(&member.upstream))
    }

    fn report(&self, clock: u64, now: Instant) {
        let shared = &self.cluster.shared;
        if self.counts.used.replace(false) {
            shared.last_used.store(clock, Ordering::Relaxed);
        }
        shared.metrics.absorb(&mut self.counts.tally.borrow_mut());
        for member in &self.upstreams {
            member.upstream.report(now);
        }
    }
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("cluster", &self.cluster.name).field("endpoints", &self.upstreams.len()).finish()
    }
}

struct Choice<'a> {
    members: &'a [Member],
    tried: &'a Tried,
    now: Instant,
}

impl Candidates for Choice<'_> {
    fn load(&self, index: usize) -> f64 {
        self.members.get(index).map_or(f64::MAX, |member| member.upstream.load(self.now, member.relative_weight))
    }

    fn usable(&self, index: usize) -> bool {
        self.members.get(index).is_some_and(|member| !self.tried.has(member.upstream.id))
    }
}

#[cfg(test)]
mod tests;
