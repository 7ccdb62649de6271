//! The JSON of `/v1/health/service/:name`, read into an [`InstanceSet`].
//!
//! An answer that is not of this form is refused whole: half of an answer is not a set. Within a well-formed
//! answer an instance that cannot be dialled (port 0, no usable address) is set aside with its reason, and the others stand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::{Health, Instance, InstanceId, InstanceSet, Skipped};

/// Reads an answer. With `include_warning` unset an instance with a warning weighs nothing.
///
/// # Errors
/// Where the JSON is malformed, and how.
pub(super) fn instances(json: &[u8], include_warning: bool) -> Result<InstanceSet, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_slice(json)?;
    let mut instances = Vec::with_capacity(entries.len());
    let mut skipped = Vec::new();
    for entry in entries {
        match entry.into_instance(include_warning) {
            Ok(instance) => instances.push(instance),
            Err(unusable) => skipped.push(unusable),
        }
    }
    Ok(InstanceSet::new(instances, skipped))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    // Go writes an empty list as null.
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: Arc<str>,
    #[serde(default)]
    address: String,
    datacenter: Option<Arc<str>>,
    #[serde(default)]
    partition: String,
    #[serde(default)]
    peer_name: String,
    meta: Option<BTreeMap<Arc<str>, Arc<str>>>,
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    tags: Option<Vec<Arc<str>>>,
    meta: Option<BTreeMap<Arc<str>, Arc<str>>>,
    weights: Option<Weights>,
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Locality {
    zone: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(default)]
    status: String,
}

impl Entry {
    fn into_instance(self, include_warning: bool) -> Result<Instance, Skipped> {
        let id = self.id();
        let health = self.checks.unwrap_or_default().iter().map(Check::health).max().unwrap_or(Health::Passing);
        let Self { node, service, .. } = self;
        let address = if service.address.is_empty() { &node.address } else { &service.address };
        let (host, port) = match host(address).and_then(|host| Ok((host, port(service.port)?))) {
            Ok(both) => both,
            Err(reason) => return Err(Skipped { id, reason }),
        };
        let weights = service.weights.unwrap_or(Weights { passing: 1, warning: 1 });
        let weight = match health {
            Health::Passing => weights.passing,
            Health::Warning if include_warning => weights.warning,
            Health::Warning | Health::Critical => 0,
        };
        let meta = service.meta.unwrap_or_default();
        let of_meta = |meta: &BTreeMap<Arc<str>, Arc<str>>| meta.get("zone").cloned();
        let of_locality = |locality: Option<Locality>| locality.and_then(|locality| locality.zone);
        let zone = of_meta(&meta)
            .or_else(|| node.meta.as_ref().and_then(of_meta))
            .or_else(|| of_locality(service.locality))
            .or_else(|| of_locality(node.locality))
            .filter(|zone| !zone.is_empty());
        Ok(Instance {
            id,
            host,
            port,
            weight: u32::try_from(weight.max(0)).unwrap_or(u32::MAX),
            health,
            tags: service.tags.unwrap_or_default(),
            meta,
            datacenter: node.datacenter.filter(|name| !name.is_empty()),
            zone,
        })
    }

    /// `datacenter[/partition][/peer:name]/node/service id`.
    fn id(&self) -> InstanceId {
        let Node { node, datacenter, partition, peer_name, .. } = &self.node;
        let mut id = datacenter.as_deref().unwrap_or_default().to_owned();
        if !partition.is_empty() {
            id += &format!("/{partition}");
        }
        if !peer_name.is_empty() {
            id += &format!("/peer:{peer_name}");
        }
        InstanceId(format!("{id}/{node}/{}", self.service.id).into())
    }
}

impl Check {
    /// A status of which this code knows nothing is not a reason to send traffic there.
    fn health(&self) -> Health {
        let in_maintenance = self.id == "_node_maintenance" || self.id.starts_with("_service_maintenance:");
        match self.status.as_str() {
            _ if in_maintenance => Health::Critical,
            "passing" => Health::Passing,
            "warning" => Health::Warning,
            _ => Health::Critical,
        }
    }
}

fn port(port: i64) -> Result<u16, String> {
    match u16::try_from(port) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("port is {port}")),
    }
}

/// An IP address (an IPv6 one with or without brackets) or a host name.
pub(crate) fn host(text: &str) -> Result<Arc<str>, String> {
    if text.is_empty() {
        return Err("address is empty".to_owned());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.into());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // Digits and dots alone are an IPv4 address gone wrong, and no resolver should get to see it.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.len() <= 253 && name.split('.').all(label) && !numeric {
        return Ok(text.into());
    }
    let shown: String = text.chars().take(80).collect();
    Err(format!("address {shown:?} is neither an IP address nor a host name"))
}

#[cfg(test)]
mod tests;
