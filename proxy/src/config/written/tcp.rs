//! Plain TCP proxies, as the operator writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::{Address, Target};
use crate::units::{Interval, Patience};

/// A plain TCP proxy: an address that leads to another one or to a service, for what does not speak HTTP. Its clients'
/// connections are among those that `http.max_connections` counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// What it is called, by faults and in metrics.
    pub name: String,
    /// An IP address and a port. Port 0 asks the system for one.
    pub listen: Address,
    /// The service whose instances its connections go to. This or `upstream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A host name or an IP address, and a port. A name is looked up for a connection where the last answer is older than 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Target>,
    /// A connection on which nothing moves in either direction for so long is closed, and one of which a side takes nothing
    /// of what is ready for it. `off`: never.
    #[serde(default = "an_hour")]
    pub idle_timeout: Patience,
    /// For one attempt to connect. Left out: what the service says; 5s for an `upstream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Interval>,
}

fn an_hour() -> Patience {
    Patience(Some(crate::config::settings::TCP_IDLE))
}
