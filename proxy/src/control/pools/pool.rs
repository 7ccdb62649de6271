//! One service that is followed: where its instances come from, what was last said of them, and when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt;
use outrigger_registry::{Health, Instance, InstanceId, InstanceSet, Registry, ServiceName, Update};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::clock::Instant;
use crate::config::settings::{Policy, ServiceTls, StaticInstance, Subset};
use crate::control::health::{Checker, Targets};
use crate::control::reconcile::{Findings, SCHEME, Service};
use crate::control::subset::{self, Chosen};
use crate::http::host::literal;
use crate::telemetry::status::{CheckStatus, ServiceStatus};
use crate::tls::client::Originate;
use crate::tls::dialers::Dialers;

/// How long a name that no registry knows is remembered.
pub const UNSEEN_FOR: Duration = Duration::from_secs(5);
/// Until a watch that ended, against its contract, is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// One service.
pub struct Pool {
    pub origin: Origin,
    pub source: InstanceSource,
    pub service: Service,
    pub watch: Option<Following>,
    /// Our own checks.
    pub targets: Targets,
    /// Whether what is told of a check has changed, and nothing else.
    pub telling: bool,
    /// The host names among its instances.
    pub hosts: BTreeSet<Arc<str>>,
    pub status: Arc<ServiceStatus>,
    /// The entries that make no sense, each logged when it appears.
    pub skipped: BTreeSet<InstanceId>,
    /// On the joint's clock, as `last_used`.
    pub opened: u64,
    /// Since when it is followed although nothing is there.
    pub unseen_since: Option<Instant>,
}

/// Why a service is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator names it.
    Declared,
    /// A request used it as a host name.
    Name,
    /// A request goes to this host as it is.
    Direct,
}

/// Where a service's instances come from.
#[derive(Debug, Clone, PartialEq)]
pub enum InstanceSource {
    /// A registry, by its name in the configuration, and the service's name there.
    Registry { registry: Arc<str>, name: Arc<str> },
    /// The configuration or the request itself.
    Written(Arc<InstanceSet>),
}

/// A watch that is open; dropping it closes it.
pub struct Following {
    pub id: u64,
    task: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pool {
    /// Takes a new set: what it says of hosts, of existence, of entries that make no sense.
    pub fn take(&mut self, name: &str, set: Arc<InstanceSet>, dialers: &Dialers, now: Instant) {
        let hosts = set.instances().iter().map(|instance| &instance.host);
        self.hosts = hosts.filter(|host| literal(host).is_none()).map(Arc::clone).collect();
        for skipped in set.skipped().iter().filter(|skipped| !self.skipped.contains(&skipped.id)) {
            tracing::warn!(
                service = name,
                instance = &*skipped.id.0,
                reason = skipped.reason,
                "an instance is skipped"
            );
        }
        self.skipped = set.skipped().iter().map(|skipped| skipped.id.clone()).collect();
        if self.status.skipped != self.skipped.len() {
            Arc::make_mut(&mut self.status).skipped = self.skipped.len();
        }
        let seen = self.service.seen || !set.instances().is_empty() || !set.skipped().is_empty();
        self.unseen_since = (!seen).then(|| self.unseen_since.unwrap_or(now));
        if seen && self.origin != Origin::Direct {
            self.service.shared.metrics.confirm();
        }
        self.service.seen = seen;
        self.service.set = Some(set);
        self.service.touched = true;
        self.service.equip(dialers);
    }

    /// Takes the service's settings for TLS.
    pub fn tls(&mut self, tls: &ServiceTls, dialers: &Dialers) {
        if self.service.originate.tls != *tls {
            self.service.originate = Originate { tls: tls.clone(), dialer: None };
            self.service.touched = true;
        }
        self.service.equip(dialers);
    }

    /// A plain host that does not resolve ends as early as a name that no registry knows.
    pub fn resolves(&mut self, resolves: bool, now: Instant) {
        self.unseen_since = (!resolves).then(|| self.unseen_since.unwrap_or(now));
    }

    /// It is made of these instances now.
    pub fn subset(&mut self, subset: Option<&Subset>) {
        if self.service.subset.as_deref() != subset {
            self.service.subset = subset.cloned().map(Arc::new);
            self.service.touched = true;
        }
    }

    pub fn policy(&mut self, policy: Arc<Policy>) {
        if self.service.policy != policy {
            self.service.policy = policy;
            self.service.touched = true;
        }
    }

    /// Before its cluster is made anew: what it is checked by now. What another question had found out is forgotten.
    pub fn check(&mut self) {
        // A plain host is no service: nobody said that it has what services are asked for.
        if self.service.touched && self.origin != Origin::Direct && self.targets.follow(&self.service.policy) {
            self.service.verdicts.clear();
        }
    }

    /// Takes what was found out when its cluster was made: for the board, for the next time, and who is to be checked.
    pub fn learn(&mut self, name: &Arc<str>, findings: Findings, checker: &mut Checker) {
        let Findings { left_out, targets, proofs, memory } = findings;
        let service = &mut self.service;
        (service.touched, service.memory) = (false, memory);
        self.targets.prove(proofs);
        self.targets.want(name, &targets, &mut service.verdicts, checker);
        let checks = service.verdicts.iter().map(|(address, verdict)| (*address, verdict.told())).collect();
        let count = |word| service.verdicts.values().filter(|verdict| verdict.word() == word).count();
        let words = CheckStatus::ALL.map(count);
        let status = ServiceStatus {
            source: self.status.source.clone(),
            last_error: self.status.last_error.clone(),
            declared: self.status.declared,
            skipped: self.status.skipped,
            left_out,
            checks,
            words,
            all_failing: service.memory.all_failing,
            absent: service.memory.absent.keys().copied().collect(),
            subset: subset::told(service.subset.as_deref(), service.memory.chosen),
        };
        if status.subset != self.status.subset
            && let Some(told) = status.subset.as_deref().filter(|_| service.memory.chosen != Chosen::Own)
        {
            tracing::warn!(service = &**name, "subset: {told}");
        }
        if status.all_failing && !self.status.all_failing {
            tracing::warn!(service = &**name, "the health checks of all instances fail: all are kept");
        }
        if *self.status != status {
            self.status = Arc::new(status);
        }
    }

    /// Whether somebody whom the registry no longer names has stayed long enough. `clock` is the publisher's.
    pub fn absence_ends(&self, clock: u64) -> bool {
        let Some(check) = &self.service.policy.health_check else { return false };
        let keep = u64::try_from(check.keep_absent.as_millis()).unwrap_or(u64::MAX);
        self.service.memory.absent.values().any(|since| clock.saturating_sub(*since) >= keep)
    }

    /// Whether it is followed for nobody. `clock` is the publisher's.
    pub fn over(&self, clock: u64, unused_after: Duration, now: Instant) -> bool {
        if self.origin == Origin::Declared {
            return false;
        }
        let used = self.service.shared.last_used.load(Relaxed).max(self.opened);
        let unused = Duration::from_millis(clock.saturating_sub(used)) >= unused_after;
        unused || self.unseen_since.is_some_and(|since| now >= since + UNSEEN_FOR)
    }
}

/// What a watch tells.
#[derive(Debug)]
pub struct WatchUpdate {
    /// The service's name with us.
    pub pool: Arc<str>,
    /// Which watch: one that was replaced may still have something on its way.
    pub watch: u64,
    /// The registry's word.
    pub update: Update,
}

/// Follows one service in a task of its own, which is all that a slow or broken registry can hold up.
pub fn follow(
    registry: Arc<dyn Registry>,
    service: ServiceName,
    pool: Arc<str>,
    id: u64,
    tell: mpsc::Sender<WatchUpdate>,
) -> Following {
    let task = tokio::spawn(async move {
        loop {
            let mut updates = registry.watch(&service);
            while let Some(update) = updates.next().await {
                if tell.send(WatchUpdate { pool: Arc::clone(&pool), watch: id, update }).await.is_err() {
                    return;
                }
            }
            tracing::error!(service = %service, registry = registry.describe(), "a watch has ended by itself");
            sleep(REOPEN_AFTER).await;
        }
    });
    Following { id, task: task.abort_handle() }
}

/// The set of instances that stand in the configuration.
pub fn written(instances: &[StaticInstance]) -> Arc<InstanceSet> {
    let instance = |written: &StaticInstance| {
        let StaticInstance { host, port, weight, https } = written;
        let id = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Instance {
            id: InstanceId(id.into()),
            host: Arc::clone(host),
            port: *port,
            weight: *weight,
            health: Health::Passing,
            tags: Vec::new(),
            meta: if *https { BTreeMap::from([(SCHEME.into(), "https".into())]) } else { BTreeMap::new() },
            datacenter: None,
            zone: None,
        }
    };
    Arc::new(InstanceSet::new(instances.iter().map(instance).collect(), Vec::new()))
}

/// `host:port`, IPv6 in brackets.
pub fn direct(authority: &str) -> Option<StaticInstance> {
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| StaticInstance { host: host.into(), port, weight: 1, https: false })
}
