//! `slicer`: small pieces instead of large ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Cuts data into pieces, each a packet of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Slicer {
    /// Bytes of a piece, on average.
    pub average_size: u64,
    /// Bytes by which a piece may be smaller or larger; below `average_size`.
    pub size_variation: u64,
    /// Microseconds between two pieces.
    pub delay: u64,
}
