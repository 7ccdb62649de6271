//! Faults, as the operator writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::Address;
use crate::units::{Interval, Share};

/// Faults, injected on purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Whether there may be any. Decided at the start of the process: nothing can switch it on later.
    pub enabled: bool,
    /// Faults at one time. 1 to 100000.
    pub max_active: u32,
    /// The largest share of requests that a fault may strike.
    pub max_requests: Share,
    /// The largest share of a service's healthy instances that its faults together may meet. One healthy instance is always
    /// left alone. Neither holds for a fault that says `endpoints: all`.
    pub max_endpoints: Share,
    /// The longest life of a fault. Where a fault does not say how long it lives, it is five minutes.
    pub max_ttl: Interval,
    /// A file to which what is done with faults is appended, a JSON line each. It is in the log in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<std::path::PathBuf>,
    /// Toxiproxy's API, for its clients.
    pub toxiproxy: Toxiproxy,
    /// Faults that are there from the start, and end like any other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<crate::fault::Spec>,
}

/// Toxiproxy's API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Toxiproxy {
    /// Whether it is answered. Only where `faults.enabled` is true.
    pub enabled: bool,
    /// Where. Whoever reaches it can open ports and cut connections: keep it on loopback.
    pub address: Address,
    /// A JSON file with proxies that are there from the start, as Toxiproxy's own `-config` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub populate: Option<std::path::PathBuf>,
    /// Whether `/metrics` is there, with the bytes that went through each proxy (Toxiproxy's `-proxy-metrics`).
    pub metrics: bool,
    /// Whether `/metrics` is there, with what the process itself takes (Toxiproxy's `-runtime-metrics`, whose figures are Go's).
    pub runtime_metrics: bool,
}
