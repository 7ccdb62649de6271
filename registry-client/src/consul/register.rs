//! The writes of Consul's agent API that tests, the demo and small tools need: register, deregister, report a
//! check, maintenance. They work against an agent and against the [embedded registry](crate::embedded).
//!
//! Registering again under the same id replaces; so a registration may be repeated after an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Consul, ConsulError};
use crate::Health;

/// A service instance, as `PUT /v1/agent/service/register` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Registration {
    /// Unique at the agent; empty: the name.
    #[serde(rename = "ID", alias = "Id", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The service.
    pub name: String,
    /// Where it listens; empty: the node's address.
    #[serde(deserialize_with = "or_default")]
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// Tags, in order.
    #[serde(deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub meta: BTreeMap<String, String>,
    /// Its share of the traffic. Default 1 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Its check. Without one it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Further checks.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub checks: Vec<Check>,
}

/// An instance's share of the traffic relative to the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Weights {
    /// While every check passes.
    pub passing: u32,
    /// While a check warns.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// A check that its owner reports on (`TTL`), or, without a TTL, one that stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// Empty: `service:` and the instance's id.
    #[serde(rename = "CheckID", alias = "CheckId", alias = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// After this long without a report it is critical: `10s`, as Go writes durations.
    #[serde(rename = "TTL", alias = "Ttl", skip_serializing_if = "String::is_empty")]
    pub ttl: String,
    /// Where it begins: `passing`, `warning` or `critical` (default).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// After this long in a critical state the instance is deregistered; at least a minute.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deregister_critical_service_after: String,
}

impl Registration {
    /// An instance without checks.
    pub fn new(id: impl Into<String>, name: impl Into<String>, address: impl Into<String>, port: u16) -> Self {
        Self { id: id.into(), name: name.into(), address: address.into(), port, ..Self::default() }
    }

    /// With a check that begins in this state and is critical `ttl` after its last report.
    #[must_use]
    pub fn with_ttl(mut self, ttl: std::time::Duration, status: Health) -> Self {
        let ttl = format!("{}ms", ttl.as_millis().max(1));
        self.check = Some(Check { ttl, status: word(status).to_owned(), ..Check::default() });
        self
    }

    /// With these weights.
    #[must_use]
    pub fn with_weights(mut self, passing: u32, warning: u32) -> Self {
        self.weights = Some(Weights { passing, warning });
        self
    }
}

impl Consul {
    /// Registers an instance, or replaces the one with its id, checks included.
    ///
    /// # Errors
    /// Consul cannot be asked, or refuses.
    pub async fn register(&self, registration: &Registration) -> Result<(), ConsulError> {
        let body = serde_json::to_vec(registration).map_err(|error| ConsulError::Answer(error.to_string()))?;
        self.put(&["v1", "agent", "service", "register"], &[("replace-existing-checks", "true")], body).await
    }

    /// Deregisters an instance by its id.
    ///
    /// # Errors
    /// Consul cannot be asked, or knows no such instance.
    pub async fn deregister(&self, id: &str) -> Result<(), ConsulError> {
        self.put(&["v1", "agent", "service", "deregister", id], &[], Vec::new()).await
    }

    /// Reports on a TTL check. The id of an instance's only check is `service:` and the instance's id.
    ///
    /// # Errors
    /// Consul cannot be asked, or knows no such TTL check.
    pub async fn report(&self, check: &str, status: Health, output: &str) -> Result<(), ConsulError> {
        let body = serde_json::json!({"Status": word(status), "Output": output}).to_string();
        self.put(&["v1", "agent", "check", "update", check], &[], body.into_bytes()).await
    }

    /// Takes an instance into maintenance, or out of it.
    ///
    /// # Errors
    /// Consul cannot be asked, or knows no such instance.
    pub async fn maintenance(&self, id: &str, enable: bool, reason: &str) -> Result<(), ConsulError> {
        let enable = if enable { "true" } else { "false" };
        let query = [("enable", enable), ("reason", reason)];
        self.put(&["v1", "agent", "service", "maintenance", id], &query, Vec::new()).await
    }

    async fn put(&self, path: &[&str], query: &[(&str, &str)], body: Vec<u8>) -> Result<(), ConsulError> {
        self.client.write(path, query, body).await.map(drop)
    }
}

/// Go writes an empty list as null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A health as Consul writes it.
pub(crate) fn word(health: Health) -> &'static str {
    match health {
        Health::Passing => "passing",
        Health::Warning => "warning",
        Health::Critical => "critical",
    }
}
