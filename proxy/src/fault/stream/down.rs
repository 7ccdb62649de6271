//! `down`: nobody is there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Refuses connections, and ends those that are open. In Toxiproxy's API it is `enabled: false`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Down {}
