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
//!
//! # Two views of one endpoint
//!
//! A service with a `health_check` is seen twice: by the registry and by our own checks. This is the table.
//!
//! | the registry | our checks | |
//! |---|---|---|
//! | has it | good | in |
//! | has it | not known yet | in: the registry vouches for it, and checks only take away what they have seen failing |
//! | has it | failing | out; but while those of **all** that it has are failing, all stay in, and the status says so |
//! | has it, critical or of weight 0 | any | out: somebody decided that, or sees what no check can (a deployment, a full disk, maintenance) |
//! | no longer has it | good | stays for `keep_absent`, then out |
//! | no longer has it | failing, or not known yet | out at once: nobody vouches for it |
//!
//! Why do all stay in when all fail? Because then the check is more likely wrong than the service is gone (a path that a
//! release moved, a firewall, ourselves), and if it is gone, trying it costs nothing that was not lost. When the first of
//! them answers again, the others leave with their *next* bad result and not before: a service that comes back as a
//! whole would otherwise send all its traffic to whoever was checked first, and lose everybody's connections.
//!
//! "No longer has" is said of an instance that is in no answer any more, and of an address that a host name no longer
//! resolves to: answers of DNS are often only a part of it. An instance that is registered at *another* address has
//! moved, and its old address may be somebody else's by now: it leaves at once. So does what becomes critical.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outrigger_registry::{Health as CheckStatus, Instance, InstanceSet};

use super::health::Verdicts;
use super::subset::{self, Chosen};
use crate::config::settings::{HealthCheck, Label, Policy, Subset};
use crate::http::host::literal;
use crate::route::RouteTable;
use crate::snapshot::{Cluster, ClusterShared, DiscoveryState, Endpoint, EndpointId, EndpointShared, Health, Snapshot};
use crate::telemetry::status::{CheckStatus as Check, LeftOut};
use crate::tls::client::{Originate, Proof, Says};
use crate::tls::dialers::Dialers;

/// A service as the control plane knows it.
#[derive(Debug)]
pub struct Service {
    /// Its policies.
    pub policy: Arc<Policy>,
    /// What outlives its clusters.
    pub shared: Arc<ClusterShared>,
    /// The last good set; none before the first answer.
    pub set: Option<Arc<InstanceSet>>,
    /// Which of the set's instances it is made of; none for all.
    pub subset: Option<Arc<Subset>>,
    /// Whether it is known to exist: declared by the operator, or seen with an instance, even one that cannot
    /// be used.
    pub seen: bool,
    /// TLS to its instances.
    pub originate: Originate,
    /// Whether anything of it may have changed since the old snapshot; if not, its cluster stays as it is.
    pub touched: bool,
    /// What our own checks say; empty where there are none.
    pub verdicts: Verdicts,
    /// [`Findings::memory`] of the last time.
    pub memory: Memory,
}

/// What one time has to tell the next.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Who stays although the registry no longer names it.
    pub absent: Absent,
    /// Whether the service had its first answer, host names included: who comes after that joins others.
    pub settled: bool,
    /// Whether the checks of all instances fail, which is then held against none of them.
    pub all_failing: bool,
    /// Which of the set's instances it was made of.
    pub chosen: Chosen,
    /// When that has ended: those that may stay until their next bad result, and since when.
    pub pardoned: BTreeMap<SocketAddr, u64>,
}

/// Endpoints that take traffic although the registry no longer names them, and since when, in milliseconds of the
/// joint's clock.
pub type Absent = BTreeMap<EndpointId, u64>;

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
    /// Of each touched service, what was found on the way.
    pub findings: BTreeMap<Arc<str>, Findings>,
}

/// What was found out of a service that no request needs.
#[derive(Debug, Default)]
pub struct Findings {
    /// What takes no traffic, and why.
    pub left_out: Vec<LeftOut>,
    /// What is to be checked, if the service is: all that would take traffic if no check failed.
    pub targets: BTreeSet<SocketAddr>,
    /// What those of them that speak TLS have to prove.
    pub proofs: BTreeMap<SocketAddr, Proof>,
    /// To be handed in the next time.
    pub memory: Memory,
}

/// Makes the next snapshot. Its generation is the old one's: the publisher counts. `clock` is the joint's.
pub fn reconcile<'s>(
    old: &Snapshot,
    routes: &Arc<RouteTable>,
    services: impl IntoIterator<Item = (&'s Arc<str>, &'s Service)>,
    hosts: &Hosts,
    ids: &mut Ids,
    clock: u64,
) -> Reconciled {
    let mut changed = !Arc::ptr_eq(routes, &old.routes);
    let mut clusters = HashMap::with_capacity(old.clusters.len() + 1);
    let mut findings = BTreeMap::new();
    for (name, service) in services {
        let before = old.clusters.get(name);
        let after = match before {
            Some(before) if !service.touched => Arc::clone(before),
            _ => {
                let (after, found) = cluster(name, before, service, hosts, ids, clock);
                findings.insert(Arc::clone(name), found);
                after
            }
        };
        changed |= !before.is_some_and(|before| Arc::ptr_eq(before, &after));
        clusters.insert(Arc::clone(name), after);
    }
    changed |= clusters.len() != old.clusters.len();
    let snapshot = changed.then(|| Snapshot {
        generation: old.generation,
        clock: old.clock,
        routes: Arc::clone(routes),
        clusters,
        changes: Default::default(),
    });
    Reconciled { snapshot, findings }
}

/// One service's cluster: the old `Arc` if it is still right.
fn cluster(
    name: &Arc<str>,
    before: Option<&Arc<Cluster>>,
    service: &Service,
    hosts: &Hosts,
    ids: &mut Ids,
    clock: u64,
) -> (Arc<Cluster>, Findings) {
    let subset = service.subset.as_deref();
    let (chosen, labels) = service.set.as_deref().map_or((Chosen::Own, None), |set| subset::choose(subset, set));
    // Read where a request finds no endpoint, to say why.
    let bare = chosen == Chosen::Nobody;
    if service.shared.bare_subset.load(Relaxed) != bare {
        service.shared.bare_subset.store(bare, Relaxed);
    }
    let Candidates { usable, mut left_out, pending } = candidates(service, labels, hosts);
    let old: &[Arc<Endpoint>] = before.map_or(&[], |cluster| &cluster.endpoints);
    let mut survivors: HashMap<(&str, SocketAddr), &Arc<Endpoint>> =
        old.iter().map(|endpoint| ((&*endpoint.instance, endpoint.address), endpoint)).collect();
    let mut targets: BTreeSet<SocketAddr> = usable.iter().map(|candidate| candidate.address).collect();
    let all_failing = !usable.is_empty() && usable.iter().all(|candidate| service.fails(candidate.address));
    let pardoned = service.pardoned(&usable, all_failing, clock);
    let joining = if service.memory.settled && !old.is_empty() { clock } else { 0 };
    let mut endpoints = Vec::with_capacity(usable.len());
    for candidate in &usable {
        let key = (&*candidate.instance.id.0, candidate.address);
        // Who has to prove something else now has to do so on connections of its own.
        let survivor = survivors.remove(&key).filter(|old| old.shared.tls == candidate.proof);
        if service.fails(candidate.address) && !all_failing && !pardoned.contains_key(&candidate.address) {
            let why = service.verdicts.get(&candidate.address).map(|verdict| verdict.why()).unwrap_or_default();
            let instance = Arc::clone(&candidate.instance.id.0);
            left_out.push(LeftOut { instance, reason: format!("health check failing: {why}") });
        } else {
            let stays = endpoint(candidate, survivor, ids, joining);
            if survivor.is_none() || service.turned_good(candidate.address) {
                service.shared.pool.arrives(&stays.shared.outlier, clock);
            }
            endpoints.push(stays);
        }
    }
    let absent = service.absent(survivors.into_values(), labels, clock);
    if !absent.is_empty() {
        let kept = old.iter().filter(|endpoint| absent.contains_key(&endpoint.id));
        endpoints.extend(kept.map(Arc::clone));
        targets.extend(endpoints.iter().map(|endpoint| endpoint.address));
        endpoints.sort_by(|a, b| (&a.instance, a.address).cmp(&(&b.instance, b.address)));
    }
    let standing = match &service.set {
        None => DiscoveryState::Awaited,
        Some(_) if endpoints.is_empty() && pending => DiscoveryState::Awaited,
        Some(_) if service.seen => DiscoveryState::Known,
        Some(_) => DiscoveryState::Unseen,
    };
    let settled = service.memory.settled || service.set.is_some() && !pending;
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
    let proofs = usable.iter().filter_map(|candidate| Some((candidate.address, candidate.proof.clone()?))).collect();
    (cluster, Findings { left_out, targets, proofs, memory: Memory { absent, settled, all_failing, chosen, pardoned } })
}

impl Service {
    /// A service of which nothing was found out yet. `seen` as in the field.
    pub fn new(policy: Arc<Policy>, shared: Arc<ClusterShared>, set: Option<Arc<InstanceSet>>, seen: bool) -> Self {
        let (originate, verdicts, memory) = (Originate::default(), Verdicts::new(), Memory::default());
        Self { policy, shared, set, subset: None, seen, originate, touched: true, verdicts, memory }
    }

    /// Sees to it that there is something to judge instances by, where one is spoken to over TLS. This may read files.
    pub fn equip(&mut self, dialers: &Dialers) {
        let instances = self.set.iter().flat_map(|set| set.instances());
        if self.originate.dialer.is_none() && instances.into_iter().any(|i| self.originate.is_for(says(i))) {
            self.originate.dialer = Some(dialers.get(&self.originate.tls.trust));
        }
    }

    fn check(&self) -> Option<&HealthCheck> {
        self.policy.health_check.as_ref()
    }

    fn verdict(&self, address: SocketAddr) -> Check {
        let verdict = self.verdicts.get(&address).filter(|_| self.check().is_some());
        verdict.map_or(Check::Unknown, |verdict| verdict.word())
    }

    fn fails(&self, address: SocketAddr) -> bool {
        self.verdict(address) == Check::Failing
    }

    /// Whether its check passes again, after having failed while the endpoint took traffic all the same.
    fn turned_good(&self, address: SocketAddr) -> bool {
        let failed = self.memory.all_failing || self.memory.pardoned.contains_key(&address);
        failed && self.verdict(address) == Check::Passing
    }

    /// Who fails and may stay until its next bad result, because a moment ago all failed.
    fn pardoned(&self, usable: &[Candidate<'_>], all_failing: bool, clock: u64) -> BTreeMap<SocketAddr, u64> {
        let over = self.memory.all_failing && !all_failing;
        let since = |address: &SocketAddr| match over {
            true => Some(clock),
            false => self.memory.pardoned.get(address).copied(),
        };
        let failing = usable.iter().map(|candidate| candidate.address).filter(|address| self.fails(*address));
        let pardoned = failing.filter_map(|address| {
            let last_bad = self.verdicts.get(&address)?.last_bad();
            since(&address).filter(|since| last_bad <= *since).map(|since| (address, since))
        });
        if all_failing { BTreeMap::new() } else { pardoned.collect() }
    }

    /// Who of those that took traffic and are no candidates any more stays nevertheless, and since when.
    fn absent<'e>(
        &self,
        gone: impl Iterator<Item = &'e Arc<Endpoint>>,
        labels: Option<&[Label]>,
        clock: u64,
    ) -> Absent {
        let (Some(check), Some(set)) = (self.check(), &self.set) else { return Absent::new() };
        let keep = u64::try_from(check.keep_absent.as_millis()).unwrap_or(u64::MAX);
        gone.filter(|endpoint| self.verdict(endpoint.address) == Check::Passing && lost(endpoint, set, labels))
            .map(|endpoint| (endpoint.id, self.memory.absent.get(&endpoint.id).copied().unwrap_or(clock)))
            .filter(|(_, since)| clock.saturating_sub(*since) < keep)
            .collect()
    }
}

/// Whether an endpoint that is no candidate is one only because nobody names it, and not because something is said
/// against it. One that no longer carries the service's subset is another's now.
fn lost(endpoint: &Endpoint, set: &InstanceSet, labels: Option<&[Label]>) -> bool {
    let instances = set.instances();
    match instances.binary_search_by(|instance| instance.id.0.cmp(&endpoint.instance)) {
        Err(_) => !set.skipped().iter().any(|skipped| skipped.id.0 == endpoint.instance),
        Ok(at) => {
            let named = &instances[at];
            let carries = labels.is_some_and(|labels| subset::carries(labels, named));
            subset::is_sent_traffic(named)
                && carries
                && literal(&named.host).is_none()
                && named.port == endpoint.address.port()
        }
    }
}

fn same(before: &Cluster, service: &Service, standing: DiscoveryState, endpoints: &[Arc<Endpoint>]) -> bool {
    before.standing == standing
        && (Arc::ptr_eq(&before.policy, &service.policy) || before.policy == service.policy)
        && Arc::ptr_eq(&before.shared, &service.shared)
        && before.endpoints.len() == endpoints.len()
        && before.endpoints.iter().zip(endpoints).all(|(old, new)| Arc::ptr_eq(old, new))
}

/// The survivor itself, or with its new weight or health, or somebody new.
/// `joined` is for who is new.
fn endpoint(candidate: &Candidate<'_>, survivor: Option<&Arc<Endpoint>>, ids: &mut Ids, joined: u64) -> Arc<Endpoint> {
    let (weight, health) = (candidate.instance.weight, candidate.health);
    if let Some(old) = survivor
        && old.weight == weight
        && old.health == health
    {
        return Arc::clone(old);
    }
    let (id, shared) = match survivor {
        Some(old) => (old.id, Arc::clone(&old.shared)),
        None => {
            let tls = candidate.proof.clone();
            (ids.fresh(), Arc::new(EndpointShared { joined: joined.into(), tls, ..EndpointShared::default() }))
        }
    };
    let instance = Arc::clone(&candidate.instance.id.0);
    Arc::new(Endpoint { id, instance, address: candidate.address, weight, health, shared })
}

/// One address of one instance that takes traffic.
struct Candidate<'s> {
    instance: &'s Instance,
    address: SocketAddr,
    health: Health,
    proof: Option<Proof>,
}

/// Where an instance's registration says that it speaks TLS: among its metadata.
pub const SCHEME: &str = "outrigger-scheme";
/// Where it says whom it can prove to be.
const SERVER_NAME: &str = "outrigger-server-name";

/// What an instance's registration says of TLS: in its metadata, or in a tag.
fn says(instance: &Instance) -> Says<'_> {
    let tagged = |key: &str| instance.tags.iter().find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='));
    let scheme = instance.meta.get(SCHEME).map(|value| &**value).or_else(|| tagged("outrigger.scheme"));
    let server_name = instance.meta.get(SERVER_NAME).map(|value| &**value);
    Says {
        https: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        server_name: server_name.or_else(|| tagged("outrigger.server_name")),
    }
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
fn candidates<'s>(service: &'s Service, labels: Option<&[Label]>, hosts: &Hosts) -> Candidates<'s> {
    let mut found = Candidates::default();
    let Some(set) = service.set.as_deref() else { return found };
    // What is of another subset is not left out: it is not of this service.
    for instance in set.instances().iter().filter(|i| labels.is_some_and(|labels| subset::carries(labels, i))) {
        let mut leave_out = |reason: String| {
            found.left_out.push(LeftOut { instance: Arc::clone(&instance.id.0), reason });
        };
        let health = match instance.health {
            CheckStatus::Critical => {
                leave_out("critical".into());
                continue;
            }
            CheckStatus::Passing => Health::Passing,
            CheckStatus::Warning => Health::Warning,
        };
        if instance.weight == 0 {
            leave_out("weight 0".into());
            continue;
        }
        let proof = match service.originate.proof(&instance.host, says(instance)) {
            Ok(proof) => proof,
            Err(why) => {
                leave_out(why);
                continue;
            }
        };
        let dial = |ip: &IpAddr| {
            let (address, proof) = (SocketAddr::new(*ip, instance.port), proof.clone());
            Candidate { instance, address, health, proof }
        };
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

#[cfg(test)]
mod tests;
