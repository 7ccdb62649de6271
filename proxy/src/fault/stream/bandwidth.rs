//! `bandwidth`: so many bytes a second.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lets through at most `rate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// Kilobytes (1,000 bytes) a second. 0 lets nothing through.
    pub rate: u64,
}
