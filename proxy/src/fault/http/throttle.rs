//! `throttle`: the answer's body comes slowly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// Lets the body through at `rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Bytes a second.
    pub rate: Size,
}

impl Throttle {
    pub(super) fn checked(self) -> Result<Self, String> {
        if self.rate.0 == 0 { Err("found `rate: 0`, expected at least one byte a second".into()) } else { Ok(self) }
    }
}
