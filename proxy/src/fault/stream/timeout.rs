//! `timeout`: nothing comes through.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Drops all data, and closes the connection after `timeout`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeout {
    /// Milliseconds from the toxic's beginning on the connection. 0: the connection stays open until the toxic is removed, and
    /// closes then.
    pub timeout: u64,
}
