//! `slow_close`: the end of the stream comes later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delays the closing of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlowClose {
    /// Milliseconds.
    pub delay: u64,
}
