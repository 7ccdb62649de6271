//! `corrupt`: bytes of the answer's body are wrong, and nothing says so: neither its length nor its status changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Share;

/// Changes bytes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// Which part of the bytes, each drawn for itself; above 0%. At least one byte of every body is changed.
    pub bytes: Share,
}

impl Corrupt {
    pub(super) fn checked(self) -> Result<Self, String> {
        if self.bytes.0 > 0.0 && self.bytes.0 <= 1.0 {
            Ok(self)
        } else {
            Err(format!("found `bytes: {}`, expected above 0% and at most 100%", self.bytes))
        }
    }
}
