//! `latency`: every byte comes later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delays every piece of data by `latency`, more or less by up to `jitter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Milliseconds.
    pub latency: u64,
    /// Milliseconds: each piece is delayed by `latency` plus or minus a random part of this, never by less than nothing. The
    /// order stays.
    pub jitter: u64,
}
