//! A worker's side of the current snapshot.
//!
//! A snapshot says which endpoints there are; a view adds what one worker has with them: connections, averages,
//! balancers, counts. It is made anew when the snapshot's generation has moved, keeping the sides of endpoints that
//! stay, so a changed pool costs its survivors neither their connections nor what is known of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::route::{Route, RouteTable, Split};
use crate::snapshot::{Cluster, Snapshot};
use crate::upstream::slow::Terms;
use crate::worker::cluster::WorkerCluster;
use crate::worker::clusters::Clusters;
use crate::worker::route::WorkerRoute;

/// A snapshot with a worker's things.
#[derive(Debug)]
pub struct View {
    /// The snapshot's generation.
    pub generation: u64,
    /// Which request goes where.
    pub routes: Arc<RouteTable>,
    /// The same routes with this worker's counts, by their place in the file.
    own_routes: Rc<[Rc<WorkerRoute>]>,
    clusters: Clusters,
    /// Where the last requests went, of those that go by their host alone. A new view begins without.
    hosts: RefCell<[Option<ByHost>; HOSTS]>,
}

/// Where a host's requests go, whatever they ask for.
#[derive(Debug, Clone)]
pub struct ByHost {
    host: Box<[u8]>,
    /// The service's side.
    pub side: Rc<WorkerCluster>,
    /// The route, if it is not the service's name.
    pub route: Option<Rc<WorkerRoute>>,
}

/// Hosts that are remembered, a power of two.
const HOSTS: usize = 16;
/// The longest of them.
const LONGEST: usize = 64;

impl View {
    /// The view of a snapshot, made of what `old` has of it.
    pub fn of(snapshot: &Snapshot, old: Option<&View>, workers: usize, seed: u64, now: Instant) -> Self {
        let make = |cluster: &Arc<Cluster>| {
            let before = old.and_then(|view| view.clusters.get(&cluster.name));
            match before {
                Some(side) if Arc::ptr_eq(&side.cluster, cluster) => Rc::clone(side),
                _ => Rc::new(WorkerCluster::new(cluster, before.map(Rc::as_ref), workers, seed, now)),
            }
        };
        let clusters = match old.filter(|view| view.generation == snapshot.changes.since) {
            Some(old) => old.clusters.changed(&snapshot.changes.names, |name| snapshot.clusters.get(name).map(make)),
            None => Clusters::of(snapshot.clusters.values().map(make)),
        };
        let own_routes = match old.filter(|view| Arc::ptr_eq(&view.routes, &snapshot.routes)) {
            Some(view) => Rc::clone(&view.own_routes),
            None => WorkerRoute::all(&snapshot.routes),
        };
        Self {
            generation: snapshot.generation,
            routes: Arc::clone(&snapshot.routes),
            own_routes,
            clusters,
            hosts: RefCell::default(),
        }
    }

    /// A service's cluster.
    pub fn cluster(&self, service: &str) -> Option<&Rc<WorkerCluster>> {
        self.clusters.get(service)
    }

    /// A route of the table with this worker's counts.
    pub fn own(&self, route: &Route) -> Option<Rc<WorkerRoute>> {
        self.own_routes.get(route.index).map(Rc::clone)
    }

    /// The next place on a split's line.
    pub fn turn(&self, split: &Split) -> Option<u64> {
        self.own(split.first()?).map(|route| route.turn())
    }

    /// Where a host's requests go, as it was found lately.
    pub fn by_host<T>(&self, host: &[u8], found: impl FnOnce(&ByHost) -> T) -> Option<T> {
        self.hosts.borrow()[place(host)].as_ref().filter(|known| *known.host == *host).map(found)
    }

    /// Remembers where all requests of a host go.
    pub fn remember(&self, host: &[u8], side: &Rc<WorkerCluster>, route: Option<&Rc<WorkerRoute>>) {
        if host.len() <= LONGEST {
            let known = ByHost { host: host.into(), side: Rc::clone(side), route: route.cloned() };
            self.hosts.borrow_mut()[place(host)] = Some(known);
        }
    }

    /// Hands over what was counted. `clock` is the joint's.
    pub fn report(&self, clock: u64, now: Instant, random: f64) {
        self.own_routes.iter().for_each(|route| route.flush());
        for side in self.clusters.values() {
            side.report(clock, now, random);
        }
    }

    /// Ends requests that keep endpoints' connections waiting, where connections are short.
    pub fn relieve(&self, terms: impl Fn(&Policy) -> Terms, now: Instant) {
        for side in self.clusters.values() {
            let terms = terms(&side.cluster.policy);
            side.upstreams.iter().for_each(|member| member.upstream.relieve(terms, now));
        }
    }

    /// Has connections look at faults that have changed.
    pub fn tell_of_faults(&self) {
        for side in self.clusters.values() {
            side.fault_hooks.tell();
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

/// Where a host is remembered. Two at one place take turns.
fn place(host: &[u8]) -> usize {
    let [first, last] = [host.first(), host.last()].map(|byte| usize::from(byte.copied().unwrap_or_default()));
    (host.len() * 5 + first * 3 + last) % HOSTS
}

#[cfg(test)]
mod tests;
