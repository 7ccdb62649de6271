//! `reset_peer`: the connection is reset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Resets the connection (RST) after `timeout`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResetPeer {
    /// Milliseconds. 0: at once.
    pub timeout: u64,
}
