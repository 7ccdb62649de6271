//! `rewrite_status`: the instance has done its work, and its answer says that it has not.
//!
//! Unlike `abort`, the request is processed. What a retry does then is what a drill should know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives the real answer another status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteStatus {
    /// 200 to 599, but for 204, 205 and 304, which allow no body.
    pub status: u16,
    /// Only answers with this status; any below 400 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u16>,
}

impl RewriteStatus {
    pub(super) fn checked(self) -> Result<Self, String> {
        match self.status {
            204 | 205 | 304 => Err(format!("found `status: {}`, which allows no body", self.status)),
            200..=599 => Ok(self),
            status => Err(format!("found `status: {status}`, expected 200 to 599")),
        }
    }

    /// The status of an answer that had `status`.
    pub fn of(&self, status: u16) -> u16 {
        // Without a body there is nothing that could be passed off as another answer's.
        let meant = self.from.map_or(status < 400, |from| from == status) && !matches!(status, 101 | 204 | 304);
        if meant { self.status } else { status }
    }
}
