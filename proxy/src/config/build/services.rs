//! The declared services.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Build;
use super::policies::policy;
use crate::config::settings::{self, Label, Labels, ServiceSettings, Source, Subset};
use crate::config::text::Address;
use crate::config::written;

impl Build<'_> {
    pub(super) fn services(&mut self) -> BTreeMap<Arc<str>, ServiceSettings> {
        self.policies(&["defaults"], &self.config.defaults.policies());
        let config = self.config;
        config.services.iter().map(|(name, service)| (Arc::from(name.as_str()), self.service(name, service))).collect()
    }

    fn service(&mut self, name: &str, written: &written::Service) -> ServiceSettings {
        let path = ["services", name];
        if !settings::is_service_name(name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
            self.blame(
                &path,
                "expected a name of lower-case letters, digits, `-`, `_` and `.`, which can be a host's; the key `name` \
                 holds what the registry calls it"
                    .into(),
            );
        }
        if let Some(port) = written.port {
            self.within(&["services", name, "port"], u32::from(port), 1..=65535);
            if written.listen.is_some() {
                self.blame(&["services", name, "port"], "stands beside `listen`, expected one of them".into());
            }
        }
        self.policies(&path, &written.policies());
        let whole = policy(&[written.policies(), self.config.defaults.policies()]);
        self.hash_and_balance(&path, &written.policies(), &whole);
        ServiceSettings {
            source: self.source(name, written),
            subset: self.subset(name, written),
            listen: own_address(written),
            tls: self.service_tls(name, written),
            policy: whole,
        }
    }

    fn subset(&mut self, name: &str, written: &written::Service) -> Option<Subset> {
        if written.subset.is_empty() {
            if written.fallback_subset.is_some() && !self.tree.is_dead(&["services", name, "subset"]) {
                let message = "stands without `subset`, of which all instances are".to_owned();
                self.blame(&["services", name, "fallback_subset"], message);
            }
            return None;
        }
        if written.instances.is_some() {
            let message =
                "stands beside `instances`, which carry nothing: it is what a registry says of instances".to_owned();
            self.blame(&["services", name, "subset"], message);
        }
        let wanted = self.labels(&["services", name, "subset"], &written.subset);
        let fallback = written.fallback_subset.as_ref().map(|fallback| match fallback {
            written::FallbackSubset::Any => Labels::new(),
            written::FallbackSubset::Labels(labels) => {
                let path = ["services", name, "fallback_subset"];
                if labels.is_empty() && !self.tree.is_damaged(&path) {
                    self.blame(&path, "says nothing; expected `any`, or a map like `{ tag: v1 }`".into());
                }
                self.labels(&path, labels)
            }
        });
        if fallback.as_ref() == Some(&wanted) {
            self.blame(
                &["services", name, "fallback_subset"],
                "is the subset itself, which nobody carries then".into(),
            );
        }
        Some(Subset { wanted, fallback })
    }

    fn labels(&mut self, path: &[&str], written: &BTreeMap<String, String>) -> Labels {
        let mut labels = Labels::new();
        for (key, value) in written {
            let text = || Arc::<str>::from(value.as_str());
            let label = match key.as_str() {
                "tag" => Label::Tag(text()),
                "zone" => Label::Zone(text()),
                "datacenter" => Label::Datacenter(text()),
                other => match other.strip_prefix("meta.").filter(|name| !name.is_empty()) {
                    Some(name) => Label::Meta(name.into(), text()),
                    None => {
                        let message =
                            format!("unknown key `{other}`, expected `tag`, `meta.NAME`, `zone` or `datacenter`");
                        self.blame(&[path, &[other]].concat(), message);
                        continue;
                    }
                },
            };
            labels.push(label);
        }
        labels
    }

    fn source(&mut self, name: &str, written: &written::Service) -> Source {
        if let Some(instances) = &written.instances {
            for (key, given) in [("registry", written.registry.is_some()), ("name", written.name.is_some())] {
                if given {
                    let message = "stands beside `instances`, expected one or the other".to_owned();
                    self.blame(&["services", name, key], message);
                }
            }
            return Source::Static(self.instances(name, instances));
        }
        let path = ["services", name, "registry"];
        let registry = match &written.registry {
            Some(registry) => self.known_registry(&path, registry).then(|| Arc::from(registry.as_str())),
            None if self.tree.is_dead(&path) || self.tree.is_dead(&["services", name, "instances"]) => None,
            None => self.only_registry(&path[..2], "`registry: NAME` or `instances`"),
        };
        Source::Registry {
            registry: registry.unwrap_or_else(|| Arc::from("")),
            name: Arc::from(written.name.as_deref().unwrap_or(name)),
        }
    }

    fn instances(&mut self, name: &str, instances: &[written::Instance]) -> Vec<settings::StaticInstance> {
        let list = ["services", name, "instances"];
        if instances.is_empty() && self.nothing_in(&list) {
            self.blame(&list, "found none, expected at least one".into());
        }
        let indexes = self.places(&list, instances.len());
        let mut seen = HashSet::new();
        for (index, instance) in indexes.iter().zip(instances) {
            self.within(&["services", name, "instances", index, "weight"], instance.weight, 0..=65535);
            if !seen.insert(&instance.address) {
                let message = format!("found {} again; to send it more, give it a `weight`", instance.address);
                self.blame(&["services", name, "instances", index], message);
            }
        }
        instances.iter().map(|i| i.address.weighing(i.weight)).collect()
    }
}

/// Where a service listens on its own.
pub(super) fn own_address(service: &written::Service) -> Option<SocketAddr> {
    let on_loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    service.listen.map(|Address(a)| a).or(service.port.map(on_loopback))
}
