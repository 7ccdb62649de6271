//! What the registry knows, and the index of every change. Synchronous, without sockets; the time is an argument.
//!
//! # How does the index move?
//!
//! As Consul's does, so that a client's index rules meet the same behaviour here: one counter rises with each change;
//! a service's own index is that of its last change; a name that nothing is registered under has the index of
//! the last time that any name lost its last instance. What changes nothing moves nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::duration;
use crate::Health;
use crate::consul::register::word;
use crate::consul::{Check, Registration, Weights};

/// Consul's own floor for `DeregisterCriticalServiceAfter`.
const SHORTEST_REAP: Duration = Duration::from_secs(60);

/// The longest name, id, output or reason, in bytes; longer outputs are cut.
const LONGEST_TEXT: usize = 4_096;

/// Why the registry did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is nothing of this id.
    #[error("{0}")]
    Unknown(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// As many instances as there may be.
    #[error("the registry is full: it holds {0} instances")]
    Full(usize),
}

pub(super) struct Catalog {
    address: SocketAddr,
    max_instances: usize,
    index: u64,
    /// By id.
    instances: BTreeMap<String, Entry>,
    /// The names that have instances, each with the index of its last change.
    names: BTreeMap<String, u64>,
    /// The index at which a name last lost its last instance.
    extinction: u64,
    /// The index at which the list of names or a tag last changed.
    listing: u64,
    node_maintenance: Option<String>,
}

struct Entry {
    registration: Registration,
    checks: Vec<CheckState>,
    maintenance: Option<String>,
    created: u64,
    modified: u64,
}

#[derive(Clone)]
struct CheckState {
    id: String,
    name: String,
    ttl: Option<Duration>,
    expires: Option<Instant>,
    reap_after: Option<Duration>,
    critical_since: Option<Instant>,
    status: Health,
    output: String,
}

impl Catalog {
    pub fn new(address: SocketAddr, max_instances: usize) -> Self {
        let (instances, names) = (BTreeMap::new(), BTreeMap::new());
        Self { address, max_instances, index: 1, instances, names, extinction: 1, listing: 1, node_maintenance: None }
    }

    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn index_of(&self, name: &str) -> u64 {
        self.names.get(name).copied().unwrap_or(self.extinction)
    }

    pub fn listing_index(&self) -> u64 {
        self.listing
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    pub fn register(&mut self, mut registration: Registration, replace: bool, now: Instant) -> Result<(), Refused> {
        if registration.id.is_empty() {
            registration.id.clone_from(&registration.name);
        }
        let Registration { id, name, .. } = &registration;
        for (what, text) in [("name", name), ("ID", id)] {
            if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
                return Err(Refused::Invalid(format!("Invalid service {what}")));
            }
        }
        let id = id.clone();
        let known = self.instances.get(&id);
        if known.is_none() && self.instances.len() >= self.max_instances {
            return Err(Refused::Full(self.max_instances));
        }
        let mut checks = CheckState::all(&registration, now)?;
        for check in &checks {
            let elsewhere =
                |(other, entry): (&String, &Entry)| *other != id && entry.checks.iter().any(|c| c.id == check.id);
            if self.instances.iter().any(elsewhere) {
                return Err(Refused::Invalid(format!("check {:?} belongs to another service", check.id)));
            }
        }
        let mut maintenance = None;
        let mut created = self.index + 1;
        if let Some(known) = known {
            // Whoever registers again does not know better than the check how it fares.
            for check in &mut checks {
                if let Some(before) = known.checks.iter().find(|before| before.id == check.id) {
                    check.carry_over(before, now);
                }
            }
            if !replace {
                let new: Vec<_> = checks.iter().map(|check| check.id.clone()).collect();
                checks.extend(known.checks.iter().filter(|before| !new.contains(&before.id)).cloned());
            }
            maintenance.clone_from(&known.maintenance);
            created = known.created;
            if known.registration == registration && known.checks.len() == checks.len() {
                if let Some(known) = self.instances.get_mut(&id) {
                    known.checks = checks;
                }
                return Ok(());
            }
        }
        let name = registration.name.clone();
        let entry = Entry { registration, checks, maintenance, created, modified: self.index + 1 };
        let before = self.instances.insert(id.clone(), entry);
        self.index += 1;
        self.listing = self.index;
        self.names.insert(name.clone(), self.index);
        if let Some(before) = before.filter(|before| before.registration.name != name) {
            self.left(&before.registration.name);
        }
        Ok(())
    }

    pub fn deregister(&mut self, id: &str) -> Result<(), Refused> {
        let Some(entry) = self.instances.remove(id) else {
            return Err(unknown_service(id));
        };
        self.index += 1;
        self.left(&entry.registration.name);
        Ok(())
    }

    pub fn report(&mut self, check: &str, status: Health, output: &str, now: Instant) -> Result<(), Refused> {
        let found = self.instances.values_mut().find_map(|entry| {
            Some((entry.checks.iter_mut().find(|known| known.id == check)?, &entry.registration.name))
        });
        let Some((found, name)) = found else {
            return Err(Refused::Unknown(format!(
                "Unknown check ID {check:?}. Ensure that the check ID is passed, not the check name."
            )));
        };
        let Some(ttl) = found.ttl else {
            return Err(Refused::Unknown(format!("CheckID {check:?} does not have associated TTL")));
        };
        found.expires = Some(now + ttl);
        let name = name.clone();
        if found.set(status, cut(output), now) {
            self.touch(&name);
        }
        Ok(())
    }

    /// Into maintenance for a reason, or out of it.
    pub fn maintenance(&mut self, id: &str, reason: Option<&str>) -> Result<(), Refused> {
        let Some(entry) = self.instances.get_mut(id) else {
            return Err(unknown_service(id));
        };
        let reason = reason.map(|reason| maintenance_reason(reason, "service"));
        if entry.maintenance.is_some() == reason.is_some() {
            return Ok(());
        }
        entry.maintenance = reason;
        let name = entry.registration.name.clone();
        self.touch(&name);
        Ok(())
    }

    /// The whole node into maintenance for a reason, or out of it.
    pub fn node_maintenance(&mut self, reason: Option<&str>) {
        let reason = reason.map(|reason| maintenance_reason(reason, "node"));
        if self.node_maintenance.is_some() != reason.is_some() {
            self.node_maintenance = reason;
            self.index += 1;
            for index in self.names.values_mut() {
                *index = self.index;
            }
        }
    }

    /// When [`Catalog::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let checks = self.instances.values().flat_map(|entry| &entry.checks);
        checks.flat_map(|check| check.expires.into_iter().chain(check.reaped_at())).min()
    }

    /// Makes checks without a report critical, and removes what was critical for too long.
    pub fn expire(&mut self, now: Instant) {
        let mut changed = Vec::new();
        let mut reaped = Vec::new();
        for (id, entry) in &mut self.instances {
            for check in &mut entry.checks {
                if check.expires.is_some_and(|at| at <= now) {
                    check.expires = None;
                    if check.set(Health::Critical, "TTL expired".to_owned(), now) {
                        changed.push(entry.registration.name.clone());
                    }
                }
                if check.reaped_at().is_some_and(|at| at <= now) {
                    reaped.push(id.clone());
                }
            }
        }
        for name in changed {
            self.touch(&name);
        }
        for id in reaped {
            // Two checks of one instance may both ask for it.
            let _ = self.deregister(&id);
        }
    }

    /// The answer of `health/service/:name`.
    pub fn health(&self, name: &str, passing_only: bool) -> Value {
        let entries = self.instances.values().filter(|entry| entry.registration.name == name);
        let passing = |entry: &&Entry| !passing_only || self.checks(entry).iter().all(|c| c["Status"] == "passing");
        entries
            .filter(passing)
            .map(|entry| json!({"Node": self.node(), "Service": entry.service(), "Checks": self.checks(entry)}))
            .collect()
    }

    /// The answer of `catalog/services`: each name with all tags of its instances.
    pub fn listing(&self) -> Value {
        let mut names: BTreeMap<&str, Vec<&str>> = self.names().map(|name| (name, Vec::new())).collect();
        for Registration { name, tags, .. } in self.instances.values().map(|entry| &entry.registration) {
            names.entry(name).or_default().extend(tags.iter().map(String::as_str));
        }
        for tags in names.values_mut() {
            tags.sort_unstable();
            tags.dedup();
        }
        json!(names)
    }

    /// The answer of `agent/services`, by id.
    pub fn services(&self) -> Value {
        self.instances.iter().map(|(id, entry)| (id.clone(), entry.service())).collect()
    }

    /// The answer of `agent/self`.
    pub fn agent(&self) -> Value {
        let address = self.address.ip().to_string();
        let version = env!("CARGO_PKG_VERSION");
        json!({
            "Config": {"Datacenter": DATACENTER, "PrimaryDatacenter": DATACENTER, "NodeName": NODE, "NodeID": NODE_ID, "Server": true, "Version": version},
            "Member": {"Name": NODE, "Addr": address, "Status": 1, "Tags": {"dc": DATACENTER, "role": "consul"}},
            "Meta": {},
        })
    }

    fn node(&self) -> Value {
        json!({
            "ID": NODE_ID, "Node": NODE, "Address": self.address.ip().to_string(), "Datacenter": DATACENTER,
            "TaggedAddresses": null, "Meta": {}, "CreateIndex": 1, "ModifyIndex": 1,
        })
    }

    fn checks(&self, entry: &Entry) -> Vec<Value> {
        let Registration { id, name, tags, .. } = &entry.registration;
        let of_node = |check: &str, label: &str, status: Health, output: &str| {
            json!({"Node": NODE, "CheckID": check, "Name": label, "Status": word(status), "Notes": "", "Output": output,
                   "ServiceID": "", "ServiceName": "", "ServiceTags": []})
        };
        let of_service = |check: &str, label: &str, status: Health, output: &str| {
            json!({"Node": NODE, "CheckID": check, "Name": label, "Status": word(status), "Notes": "", "Output": output,
                   "ServiceID": id, "ServiceName": name, "ServiceTags": tags})
        };
        let mut checks =
            vec![of_node("serfHealth", "Serf Health Status", Health::Passing, "Agent alive and reachable")];
        if let Some(reason) = &self.node_maintenance {
            checks.push(of_node("_node_maintenance", "Node Maintenance Mode", Health::Critical, reason));
        }
        if let Some(reason) = &entry.maintenance {
            let check = format!("_service_maintenance:{id}");
            checks.push(of_service(&check, "Service Maintenance Mode", Health::Critical, reason));
        }
        checks.extend(entry.checks.iter().map(|c| of_service(&c.id, &c.name, c.status, &c.output)));
        checks
    }

    fn touch(&mut self, name: &str) {
        self.index += 1;
        if let Some(index) = self.names.get_mut(name) {
            *index = self.index;
        }
    }

    /// An instance of this name is no more, as of the present index.
    fn left(&mut self, name: &str) {
        self.listing = self.index;
        if self.instances.values().any(|entry| entry.registration.name == name) {
            self.names.insert(name.to_owned(), self.index);
        } else {
            self.names.remove(name);
            self.extinction = self.index;
        }
    }
}

impl Entry {
    fn service(&self) -> Value {
        let Registration { id, name, address, port, tags, meta, weights, .. } = &self.registration;
        let Weights { passing, warning } = weights.unwrap_or_default();
        json!({
            "ID": id, "Service": name, "Address": address, "Port": port, "Tags": tags, "Meta": meta,
            "Weights": {"Passing": passing, "Warning": warning}, "EnableTagOverride": false, "Datacenter": DATACENTER,
            "CreateIndex": self.created, "ModifyIndex": self.modified,
        })
    }
}

impl CheckState {
    /// The checks of a registration, each with an id of its own.
    fn all(registration: &Registration, now: Instant) -> Result<Vec<Self>, Refused> {
        let checks: Vec<&Check> = registration.check.iter().chain(&registration.checks).collect();
        let only = checks.len() == 1;
        let mut states: Vec<Self> = Vec::with_capacity(checks.len());
        for (at, check) in checks.into_iter().enumerate() {
            let id = match check.id.as_str() {
                "" if only => format!("service:{}", registration.id),
                "" => format!("service:{}:{}", registration.id, at + 1),
                id => id.to_owned(),
            };
            if states.iter().any(|known| known.id == id) {
                return Err(Refused::Invalid(format!("two checks have the id {id:?}")));
            }
            states.push(Self::new(id, check, &registration.name, now)?);
        }
        Ok(states)
    }

    fn new(id: String, check: &Check, service: &str, now: Instant) -> Result<Self, Refused> {
        let time = |what: &str, text: &str| match (text, duration::parse(text)) {
            ("", _) => Ok(None),
            // Beyond this an addition to the present could overflow.
            (_, Some(time)) => Ok(Some(time.min(Duration::from_secs(100 * 365 * 24 * 3600)))),
            (_, None) => Err(Refused::Invalid(format!("{what}: {text:?} is no duration"))),
        };
        let ttl = time("TTL", &check.ttl)?.filter(|ttl| !ttl.is_zero());
        let reap_after = time("DeregisterCriticalServiceAfter", &check.deregister_critical_service_after)?
            .filter(|after| !after.is_zero())
            .map(|after| after.max(SHORTEST_REAP));
        let status = match check.status.as_str() {
            "" => Health::Critical,
            text => health(text)
                .ok_or_else(|| Refused::Invalid(format!("status {text:?} is none of passing, warning, critical")))?,
        };
        let name = if check.name.is_empty() { format!("Service '{service}' check") } else { check.name.clone() };
        let expires = ttl.map(|ttl| now + ttl);
        let critical_since = (status == Health::Critical).then_some(now);
        Ok(Self { id, name, ttl, expires, reap_after, critical_since, status, output: String::new() })
    }

    fn carry_over(&mut self, before: &Self, now: Instant) {
        self.set(before.status, before.output.clone(), now);
        self.critical_since = before.critical_since;
    }

    /// Whether that was news.
    fn set(&mut self, status: Health, output: String, now: Instant) -> bool {
        let news = self.status != status || self.output != output;
        if self.status != status {
            self.critical_since = (status == Health::Critical).then_some(now);
        }
        (self.status, self.output) = (status, output);
        news
    }

    fn reaped_at(&self) -> Option<Instant> {
        Some(self.critical_since? + self.reap_after?)
    }
}

/// A health by Consul's word for it.
pub(super) fn health(text: &str) -> Option<Health> {
    match text {
        "passing" => Some(Health::Passing),
        "warning" => Some(Health::Warning),
        "critical" => Some(Health::Critical),
        _ => None,
    }
}

fn unknown_service(id: &str) -> Refused {
    Refused::Unknown(format!("Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."))
}

fn maintenance_reason(reason: &str, of: &str) -> String {
    match reason {
        "" => {
            format!("Maintenance mode is enabled for this {of}, but no reason was provided. This is a default message.")
        }
        reason => cut(reason),
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()
}

const NODE: &str = "embedded";
const NODE_ID: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const DATACENTER: &str = "dc1";

#[cfg(test)]
mod tests;
