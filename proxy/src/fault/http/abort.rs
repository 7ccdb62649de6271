//! `abort`: the request is answered with a failure that nobody made, or its connection is reset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers with `status`, or with `grpc_status`, or resets the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Abort {
    /// An HTTP status, 200 to 599.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A gRPC status, 0 to 16, beside HTTP's 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
    /// No answer: upstream, as if the instance had reset the connection; edge, the client's connection is reset (RST, or
    /// RST_STREAM over HTTP/2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

impl Abort {
    pub(super) fn checked(self) -> Result<Self, String> {
        match (self.status, self.grpc_status, self.reset) {
            (Some(status), None, false) if (200..=599).contains(&status) => Ok(self),
            (Some(status), None, false) => Err(format!("found `status: {status}`, expected 200 to 599")),
            (None, Some(status), false) if status > 16 => {
                Err(format!("found `grpc_status: {status}`, expected 0 to 16"))
            }
            (None, Some(_), false) | (None, None, true) if self.body.is_none() => Ok(self),
            (None, Some(_), false) | (None, None, true) => Err("`body` goes with `status` alone".into()),
            _ => Err("expected one of `status`, `grpc_status` and `reset: true`".into()),
        }
    }
}
