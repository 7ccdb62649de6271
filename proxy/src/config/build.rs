//! From the types as written to the settings: what only shows when keys are seen together.
//!
//! Each check names the key that has to change. Where the part of the file that a check would look at was itself
//! wrong, the check is left out: one mistake is told once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::error::{ConfigError, did_you_mean};
use super::settings::{self, Policy, RegistrySettings, ServiceSettings, Settings, Source};
use super::text::{Address, Interval};
use super::tree::{Kind, Tree, join_keys};
use super::written::{self, Config, PolicyKeys, RegistryKind};
use crate::route;

/// A head has to fit the connection's buffer, with room for the lines that the proxy adds.
const MAX_HEAD: usize = 60 << 10;

/// Gives the configuration its meaning. The result is good only where no error was added.
pub(super) fn settings(config: &Config, tree: &Tree, errors: &mut Vec<ConfigError>) -> Settings {
    let mut build = Build { config, tree, errors };
    let services = build.services();
    Settings {
        workers: build.workers(),
        listeners: build.listeners(),
        http: build.http(),
        registries: build.registries(),
        routes: build.routes(&services),
        names: build.names(&services),
        services,
        defaults: policy(&[config.defaults.policies()]),
        admin: config.admin.enabled.then_some(config.admin.address.0),
        shutdown: build.shutdown(),
        access_log: config.access_log,
        ready_grace: config.ready_grace.0,
    }
}

/// The policy that comes of these keys, the narrower first.
fn policy(layers: &[PolicyKeys]) -> Policy {
    let fallback = written::Defaults::default().policies();
    let keys = layers.iter().fold(PolicyKeys::default(), |narrow, wide| narrow.or(wide)).or(&fallback);
    Policy {
        timeout: keys.timeout.map(|t| t.0).unwrap_or_default(),
        connect_timeout: keys.connect_timeout.map(|t| t.0).unwrap_or_default(),
        max_retries: keys.max_retries.unwrap_or_default(),
        balance: match keys.balance {
            Some(written::Balance::RoundRobin) => settings::Balance::RoundRobin,
            Some(written::Balance::P2c) | None => settings::Balance::P2c,
        },
        protocol: match keys.protocol {
            Some(written::Protocol::Http2) => settings::Protocol::Http2,
            Some(written::Protocol::Http1) | None => settings::Protocol::Http1,
        },
        max_connections: keys.max_connections.unwrap_or_default(),
        max_idle: keys.max_idle.unwrap_or_default(),
        idle_timeout: keys.idle_timeout.map(|t| t.0).unwrap_or_default(),
    }
}

struct Build<'a> {
    config: &'a Config,
    tree: &'a Tree,
    errors: &'a mut Vec<ConfigError>,
}

impl Build<'_> {
    fn workers(&mut self) -> usize {
        match self.config.workers {
            Some(workers) => {
                self.within(&["workers"], workers, 1..=1024);
                workers as usize
            }
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn listeners(&mut self) -> Vec<settings::Listener> {
        let mut all: Vec<(Vec<String>, settings::Listener)> = Vec::new();
        let config = self.config;
        for (i, listener) in self.places(&["listeners"], config.listeners.len()).iter().zip(&config.listeners) {
            let path = |key: &str| vec!["listeners".into(), i.clone(), key.into()];
            if let Some(service) = &listener.service {
                self.known_service(&keys(&path("service")), service);
            }
            let settings = settings::Listener {
                address: listener.address.0,
                service: listener.service.as_deref().map(Arc::from),
                defer_accept: listener.defer_accept,
            };
            all.push((path("address"), settings));
        }
        for (name, service) in &config.services {
            if let Some(address) = own_address(service) {
                let key = if service.listen.is_some() { "listen" } else { "port" };
                let path = vec!["services".into(), name.clone(), key.into()];
                let service = Some(Arc::from(name.as_str()));
                all.push((path, settings::Listener { address, service, defer_accept: false }));
            }
        }
        if all.is_empty() && self.nothing_in(&["listeners"]) {
            self.blame(&["listeners"], "found none, expected at least one address to listen on".into());
        }
        let mut taken: Vec<(Vec<String>, SocketAddr)> = all.iter().map(|(p, l)| (p.clone(), l.address)).collect();
        if self.config.admin.enabled {
            taken.push((vec!["admin".into(), "address".into()], self.config.admin.address.0));
        }
        for (i, (path, address)) in taken.iter().enumerate() {
            if let Some((first, other)) = taken[..i].iter().find(|(_, other)| clash(*address, *other)) {
                let first = join_keys(&keys(first));
                self.blame(&keys(path), format!("found {address}, which `{first}` listens on already (at {other})"));
            }
        }
        all.into_iter().map(|(_, listener)| listener).collect()
    }

    fn http(&mut self) -> settings::HttpLimits {
        let http = &self.config.http;
        let head = http.max_head_size;
        if !(1 << 10..=MAX_HEAD).contains(&head.0) {
            self.blame(&["http", "max_head_size"], format!("found {head}, expected 1KiB to 60KiB"));
        }
        self.within(&["http", "max_headers"], http.max_headers, 1..=256);
        self.within(&["http", "max_connections"], http.max_connections, 1..=10_000_000);
        self.some_time(&["http", "header_timeout"], http.header_timeout);
        self.some_time(&["http", "idle_timeout"], http.idle_timeout);
        self.some_time(&["http", "stream_idle_timeout"], http.stream_idle_timeout);
        settings::HttpLimits {
            max_head_bytes: head.0,
            max_headers: http.max_headers as usize,
            header_timeout: http.header_timeout.0,
            idle_timeout: http.idle_timeout.0,
            stream_idle_timeout: http.stream_idle_timeout.0,
            max_connections: http.max_connections as usize,
            trusted: http.trusted_cidrs.iter().map(|c| c.0).collect(),
            half_close: http.half_close,
        }
    }

    fn registries(&mut self) -> BTreeMap<Arc<str>, RegistrySettings> {
        let config = self.config;
        config
            .registries
            .iter()
            .filter_map(|(name, r)| Some((Arc::from(name.as_str()), self.registry(name, r)?)))
            .collect()
    }

    fn registry(&mut self, name: &str, written: &written::Registry) -> Option<RegistrySettings> {
        let kind = written.kind.or(match name {
            "consul" => Some(RegistryKind::Consul),
            "file" => Some(RegistryKind::File),
            _ => None,
        });
        let path = ["registries", name];
        match kind {
            None => {
                if !self.tree.is_dead(&["registries", name, "type"]) && !self.tree.has_dead_key(&path) {
                    self.blame(&path, "the key `type` is missing, expected `consul` or `file`".into());
                }
                None
            }
            Some(RegistryKind::Consul) => {
                if written.path.is_some() {
                    self.blame(&["registries", name, "path"], "is a key of `type: file`, and this is `consul`".into());
                }
                if let Some(address) = &written.address
                    && let Err(message) = consul_address(address)
                {
                    self.blame(&["registries", name, "address"], message);
                }
                Some(RegistrySettings::Consul {
                    address: written.address.clone(),
                    token_file: written.token_file.clone(),
                    datacenter: written.datacenter.clone(),
                    max_stale: written.max_stale.map(|s| s.0),
                    include_warning: written.include_warning.unwrap_or(true),
                })
            }
            Some(RegistryKind::File) => {
                let of_consul = [
                    ("address", written.address.is_some()),
                    ("token_file", written.token_file.is_some()),
                    ("datacenter", written.datacenter.is_some()),
                    ("max_stale", written.max_stale.is_some()),
                    ("include_warning", written.include_warning.is_some()),
                ];
                for (key, _) in of_consul.iter().filter(|(_, given)| *given) {
                    self.blame(&["registries", name, key], "is a key of `type: consul`, and this is `file`".into());
                }
                if written.path.is_none() && !self.tree.is_dead(&["registries", name, "path"]) {
                    self.blame(&path, "the key `path` is missing".into());
                }
                Some(RegistrySettings::File { path: written.path.clone()? })
            }
        }
    }

    fn services(&mut self) -> BTreeMap<Arc<str>, ServiceSettings> {
        self.policies(&["defaults"], self.config.defaults.policies());
        let config = self.config;
        config.services.iter().map(|(name, service)| (Arc::from(name.as_str()), self.service(name, service))).collect()
    }

    fn service(&mut self, name: &str, written: &written::Service) -> ServiceSettings {
        let path = ["services", name];
        if !route::is_service_name(name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
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
        self.policies(&path, written.policies());
        ServiceSettings {
            source: self.source(name, written),
            listen: own_address(written),
            policy: policy(&[written.policies(), self.config.defaults.policies()]),
        }
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
        for (i, (index, instance)) in indexes.iter().zip(instances).enumerate() {
            self.within(&["services", name, "instances", index, "weight"], instance.weight, 0..=65535);
            if instances[..i].iter().any(|other| other.address == instance.address) {
                let message = format!("found {} again; to send it more, give it a `weight`", instance.address);
                self.blame(&["services", name, "instances", index], message);
            }
        }
        instances.iter().map(|i| i.address.weighing(i.weight)).collect()
    }

    fn routes(&mut self, services: &BTreeMap<Arc<str>, ServiceSettings>) -> Vec<settings::RouteSettings> {
        let config = self.config;
        let indexes = self.places(&["routes"], config.routes.len());
        let mut routes: Vec<settings::RouteSettings> = Vec::new();
        for (index, written) in indexes.iter().zip(&config.routes) {
            let path = ["routes", index];
            self.known_service(&["routes", index, "service"], &written.service);
            self.policies(&path, written.policies());
            let of_service = config.services.get(&written.service).map(written::Service::policies).unwrap_or_default();
            let mut route = settings::RouteSettings {
                name: join_keys(&path).into(),
                host: written.host.as_ref().map(|h| Arc::from(h.0.as_str())),
                path: written.path.as_ref().map(|p| match p {
                    written::PathMatch::Exact(p) => settings::PathMatch::Exact(p.0.as_str().into()),
                    written::PathMatch::Prefix(p) => settings::PathMatch::Prefix(p.0.as_str().into()),
                }),
                methods: written.methods.iter().map(|m| Arc::from(m.0.as_str())).collect(),
                service: services
                    .get_key_value(written.service.as_str())
                    .map_or_else(|| written.service.as_str().into(), |(k, _)| Arc::clone(k)),
                policy: policy(&[written.policies(), of_service, config.defaults.policies()]),
            };
            route.methods.sort();
            let same = |r: &&settings::RouteSettings| {
                (&r.host, &r.path, &r.methods) == (&route.host, &route.path, &route.methods)
            };
            if let Some(first) = routes.iter().find(same)
                && !self.tree.is_damaged(&["routes"])
            {
                let message = format!("can never be taken: `{}` has the same host, path and methods", first.name);
                self.blame(&path, message);
            }
            routes.push(route);
        }
        routes
    }

    fn names(&mut self, services: &BTreeMap<Arc<str>, ServiceSettings>) -> Option<settings::NameSettings> {
        let names = &self.config.names;
        let suffixes = self.places(&["names", "suffixes"], names.suffixes.len());
        for (index, suffix) in suffixes.iter().zip(&names.suffixes) {
            let rest = suffix.strip_prefix('.');
            if !rest.is_some_and(|r| route::is_service_name(r) && !r.bytes().any(|b| b.is_ascii_uppercase())) {
                let message = format!("found `{suffix}`, expected a dot and a lower-case name, like `.local`");
                self.blame(&["names", "suffixes", index], message);
            }
        }
        let globs = self.places(&["names", "allow"], names.allow.len());
        for (index, glob) in globs.iter().zip(&names.allow) {
            let plain = glob.replace('*', "x");
            if !route::is_service_name(&plain) || plain.bytes().any(|b| b.is_ascii_uppercase()) {
                let message =
                    format!("found `{glob}`, expected a lower-case service name in which `*` may stand for anything");
                self.blame(&["names", "allow", index], message);
            }
        }
        self.within(&["names", "max_watches"], names.max_watches, 1..=100_000);
        self.some_time(&["names", "unused_after"], names.unused_after);
        let path = ["names", "registry"];
        let registry = match &names.registry {
            Some(name) => self.known_registry(&path, name).then(|| Arc::from(name.as_str())),
            None if !names.enabled || self.registry_names().is_empty() || self.tree.is_dead(&path) => None,
            None => self.only_registry(&["names"], "`registry: NAME` or `enabled: false`"),
        };
        names.enabled.then(|| settings::NameSettings {
            registry,
            suffixes: names.suffixes.iter().map(|s| Arc::from(s.as_str())).collect(),
            // What is declared is followed anyway: to refuse it by name would protect nothing.
            allow: names.allow.iter().map(|s| Arc::from(s.as_str())).chain(services.keys().cloned()).collect(),
            max_watches: names.max_watches as usize,
            unused_after: names.unused_after.0,
            unknown: match names.unknown {
                written::Unknown::Reject => settings::UnknownHost::Reject,
                written::Unknown::Direct => settings::UnknownHost::Direct,
            },
        })
    }

    fn shutdown(&mut self) -> settings::Shutdown {
        let written::Shutdown { lame_duck, deadline } = self.config.shutdown;
        if lame_duck >= deadline {
            let message = format!("found {lame_duck}, expected less than `shutdown.deadline`, which is {deadline}");
            self.blame(&["shutdown", "lame_duck"], message);
        }
        settings::Shutdown { lame_duck: lame_duck.0, deadline: deadline.0 }
    }

    /// The values of policies where they stand.
    fn policies(&mut self, path: &[&str], keys: PolicyKeys) {
        let under = |key| [path, &[key]].concat();
        let times =
            [("timeout", keys.timeout), ("connect_timeout", keys.connect_timeout), ("idle_timeout", keys.idle_timeout)];
        for (key, time) in times {
            if let Some(time) = time {
                self.some_time(&under(key), time);
            }
        }
        self.within(&under("max_retries"), keys.max_retries.unwrap_or(0), 0..=10);
        self.within(&under("max_connections"), keys.max_connections.unwrap_or(1), 1..=1_000_000);
        self.within(&under("max_idle"), keys.max_idle.unwrap_or(0), 0..=1_000_000);
    }

    fn within(&mut self, path: &[&str], found: u32, range: RangeInclusive<u32>) {
        if !range.contains(&found) {
            self.blame(path, format!("found {found}, expected {} to {}", range.start(), range.end()));
        }
    }

    fn some_time(&mut self, path: &[&str], found: Interval) {
        if found.0 == Duration::ZERO {
            self.blame(path, format!("found {found}, expected at least 1ms"));
        }
    }

    fn known_service(&mut self, path: &[&str], name: &str) {
        let known = self.known(&["services"], &self.config.services);
        self.known_name(path, name, "service", "services", known);
    }

    fn known_registry(&mut self, path: &[&str], name: &str) -> bool {
        let known = self.registry_names();
        self.known_name(path, name, "registry", "registries", known)
    }

    fn known_name(&mut self, path: &[&str], name: &str, what: &str, section: &str, known: Vec<String>) -> bool {
        let found = known.iter().any(|k| k == name);
        if !found && !self.is_lost(section) {
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            self.blame(path, format!("found `{name}`, expected a {what} that is declared under `{section}`{hint}"));
        }
        found
    }

    fn only_registry(&mut self, path: &[&str], expected: &str) -> Option<Arc<str>> {
        let known = self.registry_names();
        match known.as_slice() {
            [only] => return Some(Arc::from(only.as_str())),
            _ if self.is_lost("registries") || self.tree.has_dead_key(path) => {}
            [] => self.blame(path, format!("there is no registry to find it in; expected {expected}")),
            many => {
                self.blame(path, format!("there are several registries ({}); expected {expected}", many.join(", ")))
            }
        }
        None
    }

    /// Whether a section was wrong as a whole, or may be what an unknown key was meant to be.
    fn is_lost(&self, section: &str) -> bool {
        let mistyped = self.tree.at(&[section]).is_none() && self.tree.has_dead_key(&[]);
        mistyped || self.tree.is_dead(&[section])
    }

    fn registry_names(&self) -> Vec<String> {
        self.known(&["registries"], &self.config.registries)
    }

    /// The keys under a path, those with errors and those that only the command line gave included.
    fn known<T>(&self, path: &[&str], read: &BTreeMap<String, T>) -> Vec<String> {
        let mut known: Vec<String> = self.tree.keys(path).into_iter().map(str::to_owned).collect();
        known.extend(read.keys().filter(|k| !self.tree.keys(path).contains(&k.as_str())).cloned());
        known
    }

    /// The places in the file of a list's items: those that could not be read are not among the `len` that were.
    fn places(&self, list: &[&str], len: usize) -> Vec<String> {
        let live: Vec<_> = match self.tree.at(list).map(|n| &n.kind) {
            Some(Kind::List(items)) => {
                let live = items.iter().enumerate().filter(|(_, item)| !self.tree.dead.contains(&item.id));
                live.map(|(i, _)| i.to_string()).collect()
            }
            _ => Vec::new(),
        };
        // The command line may have put a list of its own in the place of the file's.
        if live.len() == len { live } else { (0..len).map(|i| i.to_string()).collect() }
    }

    /// Whether nothing at all is written in a list, not even something wrong.
    fn nothing_in(&self, list: &[&str]) -> bool {
        let items = matches!(self.tree.at(list).map(|n| &n.kind), Some(Kind::List(items)) if !items.is_empty());
        !items && !self.tree.is_dead(list)
    }

    fn blame(&mut self, path: &[&str], message: String) {
        let mark = (0..=path.len()).rev().find_map(|n| self.tree.at(&path[..n])).map(|node| node.mark);
        let mark = mark.filter(|_| !self.tree.is_empty());
        self.errors.push(ConfigError { path: join_keys(path), mark, message });
    }
}

impl PolicyKeys {
    fn or(self, wide: &Self) -> Self {
        Self {
            timeout: self.timeout.or(wide.timeout),
            connect_timeout: self.connect_timeout.or(wide.connect_timeout),
            max_retries: self.max_retries.or(wide.max_retries),
            balance: self.balance.or(wide.balance),
            protocol: self.protocol.or(wide.protocol),
            max_connections: self.max_connections.or(wide.max_connections),
            max_idle: self.max_idle.or(wide.max_idle),
            idle_timeout: self.idle_timeout.or(wide.idle_timeout),
        }
    }
}

/// Where a service listens on its own.
fn own_address(service: &written::Service) -> Option<SocketAddr> {
    let on_loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    service.listen.map(|Address(a)| a).or(service.port.map(on_loopback))
}

/// Whether both cannot be bound: the system would share one port out between them, or refuse the second.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap =
        a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && overlap
}

fn consul_address(address: &str) -> Result<(), String> {
    let expected = "expected `http://host:port`, `https://host:port` or `unix:///path`";
    let wrong = || format!("found `{address}`, {expected}");
    if let Some(path) = address.strip_prefix("unix://") {
        return if path.starts_with('/') { Ok(()) } else { Err(wrong()) };
    }
    // As Consul's own tools take it, the scheme may be left out.
    let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let uri: http::Uri = full.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() && uri.query().is_none() => Ok(()),
        _ => Err(wrong()),
    }
}

fn keys(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
