//! Every service that is followed, and why: declared, asked for by name, or a plain host that requests go to.
//!
//! Names come from requests, so they come from anybody. What keeps them from growing without bound: at most
//! `names.max_watches` of them at one time, of which the least makes room (`pools::room`) for the next; one that no registry knows
//! is remembered for 5 s and then forgotten, watch and all; one that is not used for `names.unused_after` ends. A name that had an instance
//! once is known for as long as it is followed, so that losing the last instance reads 503 and not 404.

mod pool;
mod reload;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outrigger_registry::{ServiceName, Update};
use tokio::sync::{mpsc, watch};

use self::pool::{InstanceSource, Origin, Pool, direct, follow, written};
pub use self::pool::{UNSEEN_FOR, WatchUpdate};

use super::Registries;
use super::health::{Change, Checked, Checker, Targets};
use super::reconcile::{Hosts, Ids, Reconciled, Service, reconcile};
use super::resolve::{Resolved, Resolver};
use crate::clock::Instant;
use crate::config::settings::{Policy, Settings, Source, UnknownHost};
use crate::counts::ServiceMetrics;
use crate::route::RouteTable;
use crate::snapshot::{Clock, ClusterShared, Demand, DiscoveryState, Publisher, Snapshot};
use crate::telemetry::status::{Readiness, ServiceStatus, StatusBoard};
use crate::tls::dialers::Dialers;

/// The snapshot to make the joint with: every declared service, those with addresses in the configuration
/// complete, the others awaited.
pub fn first_snapshot(settings: &Settings) -> Snapshot {
    first_snapshot_with(settings, &Dialers::default())
}

/// The same, with the dialers that there are.
pub fn first_snapshot_with(settings: &Settings, dialers: &Dialers) -> Snapshot {
    let now = Instant::now();
    let clock = Clock::new(now);
    let empty = Snapshot {
        generation: 0,
        clock,
        routes: routes(settings),
        clusters: Default::default(),
        changes: Default::default(),
    };
    let declared: BTreeMap<Arc<str>, Service> = settings
        .services
        .iter()
        .map(|(name, declared)| {
            let set = match &declared.source {
                Source::Static(instances) => Some(written(instances)),
                Source::Registry { .. } => None,
            };
            let shared = Arc::new(ClusterShared::new(name, ServiceMetrics::new(name), &declared.policy, clock, now));
            let policy = Arc::new(declared.policy.clone());
            let mut service = Service::new(policy, shared, set, true);
            service.originate.tls.clone_from(&declared.tls);
            service.equip(dialers);
            (Arc::clone(name), service)
        })
        .collect();
    let routes = Arc::clone(&empty.routes);
    reconcile(&empty, &routes, &declared, &Hosts::new(), &mut Ids::after(&empty), 0).snapshot.unwrap_or(empty)
}

/// Every service that is followed. Changed by events, read by [`Pools::publish`].
pub struct Pools {
    settings: Settings,
    registries: Registries,
    dialers: Dialers,
    publisher: Publisher,
    routes: Arc<RouteTable>,
    defaults: Arc<Policy>,
    pools: BTreeMap<Arc<str>, Pool>,
    resolver: Resolver,
    checker: Checker,
    ids: Ids,
    tell: mpsc::Sender<WatchUpdate>,
    watches: u64,
    board: StatusBoard,
    waiting: watch::Sender<Option<Arc<str>>>,
    readiness: Readiness,
    grace_ends: Instant,
    full_told: Option<Instant>,
    dirty: bool,
}

impl Pools {
    /// Opens the watches of every declared service.
    pub fn new(
        settings: Settings,
        registries: Registries,
        dialers: Dialers,
        publisher: Publisher,
        tell: mpsc::Sender<WatchUpdate>,
        resolver: Resolver,
        checker: Checker,
    ) -> Self {
        let now = Instant::now();
        let current = publisher.current();
        let (waiting, readiness) = Readiness::watched();
        let mut pools = Self {
            routes: Arc::clone(&current.routes),
            defaults: Arc::new(settings.defaults.clone()),
            ids: Ids::after(&current),
            grace_ends: now + settings.ready_grace,
            settings,
            registries,
            dialers,
            publisher,
            pools: BTreeMap::new(),
            resolver,
            checker,
            tell,
            watches: 0,
            board: StatusBoard::default(),
            waiting,
            readiness,
            full_told: None,
            dirty: true,
        };
        pools.declare(&BTreeSet::new(), now);
        pools
    }

    /// What the admin API shows.
    pub fn board(&self) -> StatusBoard {
        self.board.clone()
    }

    /// Whether the first answers are in.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Whether there may be something to publish.
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// Begins to follow what a request asks for, if there is room.
    pub fn demand(&mut self, demand: Demand, now: Instant) {
        let Some(names) = &self.settings.names else { return };
        let (name, origin, source) = match demand {
            Demand::Service(name) => {
                let source = match &names.registry {
                    Some(registry) => {
                        InstanceSource::Registry { registry: Arc::clone(registry), name: Arc::clone(&name) }
                    }
                    // Nobody to ask is an answer: there is no such service.
                    None => InstanceSource::Written(Arc::default()),
                };
                (name, Origin::Name, source)
            }
            Demand::Direct(authority) => {
                let Some(instance) = direct(&authority).filter(|_| names.unknown == UnknownHost::Direct) else {
                    tracing::debug!(authority = &*authority, "not a destination");
                    return;
                };
                (authority, Origin::Direct, InstanceSource::Written(written(&[instance])))
            }
        };
        if self.pools.contains_key(&name) {
            return;
        }
        if !self.make_room(names.max_watches, now) {
            // Not worth a line for each: this says it now and then.
            self.tell_names_full(now);
            return;
        }
        let policy = Arc::clone(&self.defaults);
        let shared = self.shared(&name, ServiceMetrics::provisional(&name), &policy, now);
        self.open(name, origin, source, policy, shared, now);
        self.tell_names_full(now);
    }

    /// Takes a registry's word.
    pub fn update(&mut self, told: WatchUpdate, now: Instant) {
        let Some(pool) = self.pools.get_mut(&told.pool) else { return };
        if pool.watch.as_ref().is_none_or(|following| following.id != told.watch) {
            return;
        }
        match told.update {
            Update::Set(set) => {
                pool.service.shared.confirmed.store(self.publisher.clock(now), Relaxed);
                if pool.status.last_error.is_some() {
                    tracing::info!(service = &*told.pool, "the registry answers again");
                    Arc::make_mut(&mut pool.status).last_error = None;
                    self.dirty = true;
                }
                let known = pool.service.set.as_ref();
                if known.is_some_and(|known| known.same_instances(&set) && known.skipped() == set.skipped()) {
                    return;
                }
                pool.take(&told.pool, set, &self.dialers, now);
                self.dirty = true;
            }
            Update::Failed(error) => {
                if pool.status.last_error.is_none() {
                    let kept = pool.service.set.is_some();
                    tracing::warn!(service = &*told.pool, %error, kept, "the registry cannot be asked");
                }
                Arc::make_mut(&mut pool.status).last_error = Some(error.reason);
                self.dirty = true;
            }
        }
    }

    /// Takes a resolved name.
    pub fn resolved(&mut self, answer: Resolved, now: Instant) {
        let Some(host) = self.resolver.learn(answer, now) else { return };
        let resolves = self.resolver.hosts().get(&host).is_some_and(|known| !known.addresses.is_empty());
        for pool in self.pools.values_mut().filter(|pool| pool.hosts.contains(&host)) {
            pool.service.touched = true;
            if pool.origin == Origin::Direct {
                pool.resolves(resolves, now);
            }
            self.dirty = true;
        }
    }

    /// Takes the result of one of our own checks.
    pub fn checked(&mut self, checked: Checked, now: Instant) {
        let clock = self.publisher.clock(now);
        let Some(pool) = self.pools.get_mut(&checked.pool) else { return };
        pool.service.shared.metrics.checked(checked.result.is_ok());
        match pool.targets.take(checked, &mut pool.service.verdicts, clock) {
            Change::None => {}
            // How often in a row is told once a second: it is no reason to write the board for each check.
            Change::Told => pool.telling = true,
            Change::Status => {
                pool.service.touched = true;
                self.dirty = true;
            }
        }
    }

    /// What is due each second: look-ups, names that end, snapshots that nobody holds any more.
    pub fn tick(&mut self, now: Instant) {
        self.publisher.sweep();
        self.resolver.ask(now);
        let clock = self.publisher.clock(now);
        let unused_after = self.settings.names.as_ref().map_or(Duration::ZERO, |names| names.unused_after);
        let followed = self.pools.len();
        self.pools.retain(|name, pool| {
            let keep = !pool.over(clock, unused_after, now);
            if !keep {
                tracing::debug!(service = &**name, "no longer followed");
            }
            keep
        });
        if self.pools.len() != followed {
            self.dirty = true;
        }
        for pool in self.pools.values_mut() {
            if std::mem::take(&mut pool.telling) || pool.absence_ends(clock) {
                pool.service.touched = true;
                self.dirty = true;
            }
        }
        if now >= self.grace_ends && self.readiness.waiting().is_some() {
            tracing::warn!("ready after `ready_grace`, without every registry's answer");
            self.waiting.send_replace(None);
        }
    }

    /// Publishes what has changed: the board always, a snapshot only if a request could notice.
    pub fn publish(&mut self, now: Instant) {
        self.dirty = false;
        let wanted = self.pools.values().flat_map(|pool| pool.hosts.iter().map(Arc::clone)).collect();
        self.resolver.want(&wanted, now);
        self.pools.values_mut().for_each(Pool::check);
        let old = self.publisher.current();
        let services = self.pools.iter().map(|(name, pool)| (name, &pool.service));
        let clock = self.publisher.clock(now);
        let Reconciled { snapshot, findings } =
            reconcile(&old, &self.routes, services, self.resolver.hosts(), &mut self.ids, clock);
        drop(old);
        for (name, findings) in findings {
            let Some(pool) = self.pools.get_mut(&name) else { continue };
            pool.learn(&name, findings, &mut self.checker);
        }
        self.board.write(self.pools.iter().map(|(name, pool)| (Arc::clone(name), Arc::clone(&pool.status))).collect());
        if let Some(snapshot) = snapshot {
            self.publisher.publish(snapshot);
        }
        self.tell_names_full(now);
        self.tell_readiness();
    }

    /// What outlives the snapshots of a service that is followed from now on.
    fn shared(&self, name: &str, metrics: ServiceMetrics, policy: &Policy, now: Instant) -> Arc<ClusterShared> {
        Arc::new(ClusterShared::new(name, metrics, policy, self.publisher.current().clock, now))
    }

    fn open(
        &mut self,
        name: Arc<str>,
        origin: Origin,
        source: InstanceSource,
        policy: Arc<Policy>,
        shared: Arc<ClusterShared>,
        now: Instant,
    ) {
        let mut service = Service::new(policy, shared, None, origin == Origin::Declared);
        if let Some(declared) = self.settings.services.get(&name) {
            service.originate.tls.clone_from(&declared.tls);
        }
        let pool = Pool {
            origin,
            source,
            service,
            targets: Targets::default(),
            telling: false,
            watch: None,
            hosts: BTreeSet::new(),
            status: Arc::new(ServiceStatus { declared: origin == Origin::Declared, ..ServiceStatus::default() }),
            skipped: BTreeSet::new(),
            opened: self.publisher.clock(now),
            unseen_since: None,
        };
        self.pools.insert(Arc::clone(&name), pool);
        self.follow(&name, now);
        self.dirty = true;
    }

    /// Opens the watch that a pool's source asks for, in place of the one it had.
    fn follow(&mut self, name: &Arc<str>, now: Instant) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        pool.watch = None;
        pool.service.touched = true;
        let status = Arc::make_mut(&mut pool.status);
        status.last_error = None;
        match &pool.source {
            InstanceSource::Written(set) => {
                status.source = if pool.origin == Origin::Direct { "the request" } else { "the configuration" }.into();
                pool.service.shared.confirmed.store(0, Relaxed);
                let set = Arc::clone(set);
                pool.take(name, set, &self.dialers, now);
            }
            InstanceSource::Registry { registry, name: service } => match self.registries.get(registry) {
                Some(found) => {
                    status.source = found.describe();
                    self.watches += 1;
                    let service = ServiceName::new(service);
                    pool.watch =
                        Some(follow(Arc::clone(found), service, Arc::clone(name), self.watches, self.tell.clone()));
                }
                None => {
                    status.source = format!("registry {registry}");
                    status.last_error = Some(format!("there is no registry named {registry}"));
                }
            },
        }
    }

    fn tell_readiness(&self) {
        if self.readiness.waiting().is_none() {
            return;
        }
        let current = self.publisher.current();
        let awaited = |name: &&Arc<str>| {
            let cluster = current.clusters.get(*name);
            cluster.is_none_or(|cluster| cluster.standing == DiscoveryState::Awaited)
        };
        let mut awaited = self.settings.services.keys().filter(awaited);
        let named: Vec<&str> = awaited.by_ref().take(3).map(|name| &**name).collect();
        let reason = match (named.is_empty(), awaited.count()) {
            (true, _) => None,
            (false, 0) => Some(format!("waiting for the first answer about {}", named.join(", "))),
            (false, more) => Some(format!("waiting for the first answer about {} and {more} more", named.join(", "))),
        };
        let reason = reason.map(Arc::from);
        self.waiting.send_if_modified(|waiting| std::mem::replace(waiting, reason.clone()) != reason);
    }
}

fn routes(settings: &Settings) -> Arc<RouteTable> {
    Arc::new(RouteTable::new(&settings.routes, settings.names.clone()))
}
