//! What a registry knows of a service: always a whole set, never a delta.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A service's name as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Takes the name as it is; case matters.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ServiceName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// Who an instance is, over every change of its address, weight or health.
/// For Consul: datacenter, partition, peer, node and service id, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Arc<str>);

/// The registry's word on an instance: the worst of all its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every check passes.
    Passing,
    /// A check warns; it may take traffic, with its warning weight.
    Warning,
    /// A check fails, or it is in maintenance.
    Critical,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Who it is.
    pub id: InstanceId,
    /// An IP address, or a host name to be resolved by whoever dials.
    pub host: Arc<str>,
    /// 1 to 65535.
    pub port: u16,
    /// Its share of the traffic relative to the others', for its health as it is now. 0 takes none.
    pub weight: u32,
    /// The registry's word on it.
    pub health: Health,
    /// Tags, in the registry's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// Metadata of the instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<Arc<str>, Arc<str>>,
    /// The datacenter it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<Arc<str>>,
    /// The zone it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
}

/// An entry that the registry gave and that cannot be used, with the reason. Counted, and logged once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Who it is.
    pub id: InstanceId,
    /// Why it cannot be used: `port is 0`.
    pub reason: String,
}

/// All instances of one service at one time, sorted by id, each id once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceSet {
    instances: Vec<Instance>,
    skipped: Vec<Skipped>,
}

impl InstanceSet {
    /// Sorts by id; of two with one id the first stays.
    pub fn new(mut instances: Vec<Instance>, skipped: Vec<Skipped>) -> Self {
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        instances.dedup_by(|a, b| a.id == b.id);
        Self { instances, skipped }
    }

    /// Every instance, critical ones included, by id.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// What could not be used.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether the registry knows of no instance at all, not even of one that cannot be used.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.skipped.is_empty()
    }

    /// Whether a reader of `other` may go on as it is.
    pub fn same_instances(&self, other: &Self) -> bool {
        self.instances == other.instances
    }
}
