//! `down`: nobody is there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nobody is there: connections that are open end. To a service's instances none can be made, as if they were refused; at a TCP
/// proxy one is taken and reset at once, since its port must be there when the fault ends. (A proxy that is switched off
/// through Toxiproxy's API, `enabled: false`, does not listen.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Down {}
