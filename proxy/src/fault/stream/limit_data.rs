//! `limit_data`: the connection closes after so many bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Closes the connection once `bytes` have gone through, to the byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitData {
    /// Bytes.
    pub bytes: u64,
}
