//! New settings over pools that are in use: what stays keeps what it has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pool::{InstanceSource, Origin, written};
use super::{Pools, routes};
use crate::clock::Instant;
use crate::config::settings::{NameSettings, ServiceTls, Settings, Source, UnknownHost};
use crate::control::Registries;
use crate::counts::ServiceMetrics;

impl Pools {
    /// Puts new settings in place. Registries whose settings are as they were stay, and so do their watches.
    pub fn reload(&mut self, settings: Settings, made: Registries, now: Instant) {
        let old = std::mem::replace(&mut self.settings, settings);
        let new = &self.settings;
        let changed: BTreeSet<Arc<str>> = new
            .registries
            .iter()
            .filter(|(name, settings)| old.registries.get(*name) != Some(settings))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let kept = std::mem::take(&mut self.registries);
        self.registries = made
            .into_iter()
            .map(|(name, made)| match kept.get(&name) {
                Some(kept) if !changed.contains(&name) => (name, Arc::clone(kept)),
                _ => (name, made),
            })
            .collect();
        if (&old.routes, &old.names) != (&new.routes, &new.names) {
            self.routes = routes(new);
        }
        if old.defaults != new.defaults {
            self.defaults = Arc::new(new.defaults.clone());
        }
        let names = self.settings.names.as_ref();
        let declared = &self.settings.services;
        self.pools.retain(|name, pool| match pool.origin {
            _ if declared.contains_key(name) => true,
            Origin::Declared => false,
            Origin::Name => names.is_some(),
            Origin::Direct => names.is_some_and(|names| names.unknown == UnknownHost::Direct),
        });
        self.declare(&changed, now);
        self.follow_names(&changed, now);
        self.dirty = true;
    }

    /// Makes the pools what the settings declare; what is there already keeps what it has.
    pub(super) fn declare(&mut self, changed: &BTreeSet<Arc<str>>, now: Instant) {
        let declared = self.settings.services.clone();
        for (name, declared) in declared {
            let source = match declared.source {
                Source::Registry { registry, name } => InstanceSource::Registry { registry, name },
                Source::Static(instances) => InstanceSource::Written(written(&instances)),
            };
            let Some(pool) = self.pools.get_mut(&name) else {
                // The joint's first snapshot has it already, with what outlives snapshots.
                let current = self.publisher.current();
                let shared = match current.clusters.get(&name) {
                    Some(cluster) => Arc::clone(&cluster.shared),
                    None => self.shared(&name, ServiceMetrics::new(&name), &declared.policy, now),
                };
                self.open(Arc::clone(&name), Origin::Declared, source, Arc::new(declared.policy), shared, now);
                if let Some(pool) = self.pools.get_mut(&name) {
                    pool.subset(declared.subset.as_ref());
                }
                continue;
            };
            // A plain host that is a service now is checked like one.
            pool.service.touched |= pool.origin != Origin::Declared;
            pool.origin = Origin::Declared;
            Arc::make_mut(&mut pool.status).declared = true;
            pool.unseen_since = None;
            pool.service.seen = true;
            pool.service.shared.metrics.confirm();
            pool.policy(Arc::new(declared.policy));
            pool.subset(declared.subset.as_ref());
            pool.tls(&declared.tls, &self.dialers);
            self.redirect(&name, source, changed, now);
        }
    }

    /// Gives names that are followed on demand the new defaults, and the registry that is now theirs.
    fn follow_names(&mut self, changed: &BTreeSet<Arc<str>>, now: Instant) {
        let registry = self.settings.names.as_ref().and_then(|names: &NameSettings| names.registry.clone());
        let followed: Vec<(Arc<str>, Origin)> =
            self.pools.iter().map(|(name, pool)| (Arc::clone(name), pool.origin)).collect();
        for (name, origin) in followed {
            if origin == Origin::Declared {
                continue;
            }
            if let Some(pool) = self.pools.get_mut(&name) {
                pool.policy(Arc::clone(&self.defaults));
                pool.tls(&ServiceTls::default(), &self.dialers);
            }
            if origin == Origin::Name {
                let source = match &registry {
                    Some(registry) => {
                        InstanceSource::Registry { registry: Arc::clone(registry), name: Arc::clone(&name) }
                    }
                    None => InstanceSource::Written(Arc::default()),
                };
                self.redirect(&name, source, changed, now);
            }
        }
    }

    /// Follows a pool elsewhere, if its source is another one now. Its last good set stays until the first answer.
    fn redirect(&mut self, name: &Arc<str>, source: InstanceSource, changed: &BTreeSet<Arc<str>>, now: Instant) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let stale = matches!(&source, InstanceSource::Registry { registry, .. } if changed.contains(registry));
        if pool.source != source || stale {
            pool.source = source;
            self.follow(name, now);
        }
    }
}
