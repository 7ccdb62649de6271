//! What the registries say, made into what the data plane reads. Pure: nothing here waits, looks at a clock or
//! asks anybody.
//!
//! Why a function of its own, when it only copies lists? Because everything that must not be lost hangs on it.
//! An endpoint that stays in the pool has to stay *the same* endpoint, or its connections are closed, its
//! latency is forgotten and its breaker starts anew at each registration elsewhere in the service. So:
//!
//! * A survivor (the same instance at the same socket address) keeps its [`EndpointId`] and its
//!   [`EndpointShared`]; if nothing of it changed, it keeps its `Arc`, and so does a whole cluster.
//! * An id is never used twice, not even for an instance that left and came back.
//! * The order of endpoints depends on nothing but instances and addresses, so that the same sets give the same
//!   pool whatever order they came in.
//! * Nothing changed means no snapshot: a confirmation wakes no worker.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use outrigger_registry::{Health as Word, Instance, InstanceSet};

use super::board::LeftOut;
use crate::config::settings::Policy;
use crate::route::RouteTable;
use crate::snapshot::{Cluster, ClusterShared, Endpoint, EndpointId, EndpointShared, Health, Snapshot, Standing};

/// A service as the control plane knows it.
#[derive(Debug)]
pub struct Service {
    /// Its policies.
    pub policy: Arc<Policy>,
    /// What outlives its clusters.
    pub shared: Arc<ClusterShared>,
    /// The last good set; none before the first answer.
    pub set: Option<Arc<InstanceSet>>,
    /// Whether it is known to exist: declared by the operator, or seen with an instance, even one that cannot
    /// be used.
    pub seen: bool,
    /// Whether anything of it may have changed since the old snapshot; if not, its cluster stays as it is.
    pub touched: bool,
}

/// What is known of a host name's addresses. A name that is not in the map is being looked up for the first time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The last good answer, sorted, each once. Empty where there never was one.
    pub addresses: Vec<IpAddr>,
    /// Why the last look-up failed.
    pub error: Option<String>,
}

/// Host names and their addresses.
pub type Hosts = HashMap<Arc<str>, Resolution>;

/// Where new ids come from.
#[derive(Debug)]
pub struct Ids(u64);

impl Ids {
    /// Ids above all of a snapshot's.
    pub fn after(snapshot: &Snapshot) -> Self {
        let endpoints = snapshot.clusters.values().flat_map(|cluster| cluster.endpoints.iter());
        Self(endpoints.map(|endpoint| endpoint.id.0).max().unwrap_or(0))
    }

    fn fresh(&mut self) -> EndpointId {
        self.0 += 1;
        EndpointId(self.0)
    }
}

/// What has become of the sets.
#[derive(Debug)]
pub struct Reconciled {
    /// What to publish; none if nothing that a request could notice has changed.
    pub snapshot: Option<Snapshot>,
    /// Of each touched service, what takes no traffic, and why.
    pub left_out: BTreeMap<Arc<str>, Vec<LeftOut>>,
}

/// Makes the next snapshot. Its generation is the old one's: the publisher counts.
pub fn reconcile<'s>(
    old: &Snapshot,
    routes: &Arc<RouteTable>,
    services: impl IntoIterator<Item = (&'s Arc<str>, &'s Service)>,
    hosts: &Hosts,
    ids: &mut Ids,
) -> Reconciled {
    let mut changed = !Arc::ptr_eq(routes, &old.routes);
    let mut clusters = HashMap::with_capacity(old.clusters.len() + 1);
    let mut left_out = BTreeMap::new();
    for (name, service) in services {
        let before = old.clusters.get(name);
        let after = match before {
            Some(before) if !service.touched => Arc::clone(before),
            _ => {
                let (after, out) = cluster(name, before, service, hosts, ids);
                left_out.insert(Arc::clone(name), out);
                after
            }
        };
        changed |= !before.is_some_and(|before| Arc::ptr_eq(before, &after));
        clusters.insert(Arc::clone(name), after);
    }
    changed |= clusters.len() != old.clusters.len();
    let snapshot = changed.then(|| Snapshot { generation: old.generation, routes: Arc::clone(routes), clusters });
    Reconciled { snapshot, left_out }
}

/// One service's cluster: the old `Arc` if it is still right.
fn cluster(
    name: &Arc<str>,
    before: Option<&Arc<Cluster>>,
    service: &Service,
    hosts: &Hosts,
    ids: &mut Ids,
) -> (Arc<Cluster>, Vec<LeftOut>) {
    let found = candidates(service.set.as_deref(), hosts);
    let old: &[Arc<Endpoint>] = before.map_or(&[], |cluster| &cluster.endpoints);
    let survivors: HashMap<(&str, SocketAddr), &Arc<Endpoint>> =
        old.iter().map(|endpoint| ((&*endpoint.instance, endpoint.address), endpoint)).collect();
    let endpoints: Vec<Arc<Endpoint>> = found
        .usable
        .iter()
        .map(|candidate| {
            let survivor = survivors.get(&(&*candidate.instance.id.0, candidate.address)).copied();
            endpoint(candidate, survivor, ids)
        })
        .collect();
    let standing = match &service.set {
        None => Standing::Awaited,
        Some(_) if endpoints.is_empty() && found.pending => Standing::Awaited,
        Some(_) if service.seen => Standing::Known,
        Some(_) => Standing::Unseen,
    };
    let cluster = match before {
        Some(before) if same(before, service, standing, &endpoints) => Arc::clone(before),
        _ => Arc::new(Cluster {
            name: Arc::clone(name),
            policy: Arc::clone(&service.policy),
            standing,
            endpoints: endpoints.into(),
            shared: Arc::clone(&service.shared),
        }),
    };
    (cluster, found.left_out)
}

fn same(before: &Cluster, service: &Service, standing: Standing, endpoints: &[Arc<Endpoint>]) -> bool {
    before.standing == standing
        && (Arc::ptr_eq(&before.policy, &service.policy) || before.policy == service.policy)
        && Arc::ptr_eq(&before.shared, &service.shared)
        && before.endpoints.len() == endpoints.len()
        && before.endpoints.iter().zip(endpoints).all(|(old, new)| Arc::ptr_eq(old, new))
}

/// The survivor itself, or with its new weight or health, or somebody new.
fn endpoint(candidate: &Candidate<'_>, survivor: Option<&Arc<Endpoint>>, ids: &mut Ids) -> Arc<Endpoint> {
    let (weight, health) = (candidate.instance.weight, candidate.health);
    if let Some(old) = survivor
        && old.weight == weight
        && old.health == health
    {
        return Arc::clone(old);
    }
    let (id, shared) = match survivor {
        Some(old) => (old.id, Arc::clone(&old.shared)),
        None => (ids.fresh(), Arc::new(EndpointShared::default())),
    };
    let instance = Arc::clone(&candidate.instance.id.0);
    Arc::new(Endpoint { id, instance, address: candidate.address, weight, health, shared })
}

/// One address of one instance that takes traffic.
struct Candidate<'s> {
    instance: &'s Instance,
    address: SocketAddr,
    health: Health,
}

#[derive(Default)]
struct Candidates<'s> {
    usable: Vec<Candidate<'s>>,
    left_out: Vec<LeftOut>,
    /// Whether a host name has not been looked up yet.
    pending: bool,
}

/// Sorts a set's instances into those that take traffic and those that do not. A set is sorted by id, and a
/// resolution by address, so the result has one order.
fn candidates<'s>(set: Option<&'s InstanceSet>, hosts: &Hosts) -> Candidates<'s> {
    let mut found = Candidates::default();
    let Some(set) = set else { return found };
    for instance in set.instances() {
        let mut leave_out = |reason: String| {
            found.left_out.push(LeftOut { instance: Arc::clone(&instance.id.0), reason });
        };
        let health = match instance.health {
            Word::Critical => {
                leave_out("critical".into());
                continue;
            }
            Word::Passing => Health::Passing,
            Word::Warning => Health::Warning,
        };
        if instance.weight == 0 {
            leave_out("weight 0".into());
            continue;
        }
        let dial = |ip: &IpAddr| Candidate { instance, address: SocketAddr::new(*ip, instance.port), health };
        if let Some(ip) = literal(&instance.host) {
            found.usable.push(dial(&ip));
            continue;
        }
        match hosts.get(&*instance.host) {
            None => {
                leave_out(format!("the host name {} is being looked up", instance.host));
                found.pending = true;
            }
            Some(known) if known.addresses.is_empty() => leave_out(format!(
                "the host name {} cannot be resolved: {}",
                instance.host,
                known.error.as_deref().unwrap_or("no address")
            )),
            Some(known) => found.usable.extend(known.addresses.iter().map(dial)),
        }
    }
    let skipped = set.skipped().iter();
    found.left_out.extend(skipped.map(|s| LeftOut { instance: Arc::clone(&s.id.0), reason: s.reason.clone() }));
    found
}

/// The address, where a host is one and not a name. IPv6 with or without brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests;
