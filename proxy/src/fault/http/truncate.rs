//! `truncate`: the answer's body breaks off, and looks like it: its connection closes before the end that was announced.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// Lets through the body's first `after` bytes, and breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Truncate {
    /// Bytes of the body that still come. A body that is no longer than this is whole.
    pub after: Size,
}
