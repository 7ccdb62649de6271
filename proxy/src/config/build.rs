//! From the types as written to the settings: what only shows when keys are seen together.
//!
//! Each check names the key that has to change. Where the part of the file that a check would look at was itself
//! wrong, the check is left out: one mistake is told once.

mod changes;
mod check;
mod faults;
mod leads;
mod policies;
mod registries;
mod routes;
mod sense;
mod services;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use policies::policy;
use services::own_address;

use super::error::ConfigError;
use super::settings::{self, ServiceSettings, Settings};
use super::tree::{Tree, join_keys};
use super::written::{self, Config};

/// A head has to fit the connection's buffer, with room for the lines that the proxy adds.
const MAX_HEAD: usize = 60 << 10;
/// With less, the first few connections are refused.
const LEAST_BUFFERED: usize = 1 << 20;

/// Gives the configuration its meaning. The result is good only where no error was added.
pub(super) fn settings(config: &Config, tree: &Tree, errors: &mut Vec<ConfigError>) -> Settings {
    let mut build = Build { config, tree, errors };
    let services = build.services();
    let defaults = policy(&[config.defaults.policies()]);
    if defaults.balance == settings::Balance::ConsistentHash {
        build.hash_and_balance(&["defaults"], &config.defaults.policies(), &defaults);
    }
    build.fallback_loops(&services);
    Settings {
        workers: build.workers(),
        listeners: build.listeners(),
        tcp: build.tcp(),
        http: build.http(),
        registries: build.registries(),
        routes: build.routes(&services),
        names: build.names(&services),
        services,
        defaults,
        admin: config.admin.enabled.then_some(config.admin.address.0),
        admin_access: settings::AdminAccess {
            hosts: config.admin.hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect(),
            token_file: config.admin.token_file.clone(),
        },
        faults: build.faults(),
        shutdown: build.shutdown(),
        access_log: config.access_log,
        endpoint_metrics: config.admin.endpoint_metrics,
        query_values: config.query_values,
        ready_grace: config.ready_grace.0,
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
                access: listener.access.as_ref().and_then(|access| self.access(&["listeners", i, "access"], access)),
                defer_accept: listener.defer_accept,
                tls: listener.tls.as_ref().map(|tls| self.listener_tls(i, tls)),
            };
            all.push((path("address"), settings));
        }
        for (name, service) in &config.services {
            if let Some(address) = own_address(service) {
                let key = if service.listen.is_some() { "listen" } else { "port" };
                let path = vec!["services".into(), name.clone(), key.into()];
                let service = Some(Arc::from(name.as_str()));
                all.push((path, settings::Listener { address, service, access: None, defer_accept: false, tls: None }));
            }
        }
        let others = !config.tcp.is_empty() || config.faults.toxiproxy.enabled;
        if all.is_empty() && !others && self.nothing_in(&["listeners"]) {
            self.blame(&["listeners"], "found none, expected at least one address to listen on".into());
        }
        let mut taken: Vec<(Vec<String>, SocketAddr)> = all.iter().map(|(p, l)| (p.clone(), l.address)).collect();
        for (i, tcp) in self.places(&["tcp"], config.tcp.len()).iter().zip(&config.tcp) {
            taken.push((vec!["tcp".into(), i.clone(), "listen".into()], tcp.listen.0));
        }
        if self.config.admin.enabled {
            taken.push((vec!["admin".into(), "address".into()], self.config.admin.address.0));
        }
        if self.config.faults.toxiproxy.enabled {
            let path = vec!["faults".into(), "toxiproxy".into(), "address".into()];
            taken.push((path, self.config.faults.toxiproxy.address.0));
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
        self.some_patience(&["http", "stream_idle_timeout"], http.stream_idle_timeout);
        self.some_patience(&["http", "tunnel_idle_timeout"], http.tunnel_idle_timeout);
        if let Some(size) = http.max_buffered.filter(|size| size.0 < LEAST_BUFFERED) {
            let message = format!("found {size}, expected at least 1MiB: it is for all connections together");
            self.blame(&["http", "max_buffered"], message);
        }
        self.control_names();
        settings::HttpLimits {
            max_head_bytes: head.0,
            max_headers: http.max_headers as usize,
            header_timeout: http.header_timeout.0,
            idle_timeout: http.idle_timeout.0,
            stream_idle_timeout: http.stream_idle_timeout.time(),
            tunnel_idle_timeout: http.tunnel_idle_timeout.time(),
            max_connections: http.max_connections as usize,
            trusted: http.trusted_cidrs.iter().map(|c| c.0).collect(),
            half_close: http.half_close,
            deadline_header: http.deadline_header.0.as_str().into(),
            priority_header: http.priority_header.0.as_str().into(),
            caller_header: http.caller_header.0.as_str().into(),
            max_held_bytes: http.max_held.0,
            max_stale_bytes: http.max_stale.0,
            max_buffered: http.max_buffered.map(|size| size.0),
            min_rate: http.min_rate.0,
        }
    }

    /// One field cannot say two things.
    fn control_names(&mut self) {
        let http = &self.config.http;
        let names = [
            ("deadline_header", &http.deadline_header),
            ("priority_header", &http.priority_header),
            ("caller_header", &http.caller_header),
        ];
        for (index, (key, name)) in names.iter().enumerate() {
            for (before, _) in names[..index].iter().filter(|(_, other)| other == name) {
                let written = self.tree.at(&["http", key]).is_some();
                let (found, other) = if written { (key, before) } else { (before, key) };
                let message = format!("found `{name}`, which is `http.{other}`, expected another name");
                self.blame(&["http", found], message);
            }
        }
    }

    fn names(&mut self, services: &BTreeMap<Arc<str>, ServiceSettings>) -> Option<settings::NameSettings> {
        let names = &self.config.names;
        let suffixes = self.places(&["names", "suffixes"], names.suffixes.len());
        for (index, suffix) in suffixes.iter().zip(&names.suffixes) {
            let rest = suffix.strip_prefix('.');
            if !rest.is_some_and(|r| settings::is_service_name(r) && !r.bytes().any(|b| b.is_ascii_uppercase())) {
                let message = format!("found `{suffix}`, expected a dot and a lower-case name, like `.local`");
                self.blame(&["names", "suffixes", index], message);
            }
        }
        let globs = self.places(&["names", "allow"], names.allow.len());
        for (index, glob) in globs.iter().zip(&names.allow) {
            let plain = glob.replace('*', "x");
            if !settings::is_service_name(&plain) || plain.bytes().any(|b| b.is_ascii_uppercase()) {
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
}

/// Whether both cannot be bound: the system would share one port out between them, or refuse the second.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap =
        a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && overlap
}

fn keys(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
