//! HTTP faults: what they are called, and what may be said of each.

pub mod abort;
pub mod corrupt;
pub mod delay;
pub mod rewrite_status;
pub mod throttle;
pub mod truncate;

use serde_json::Value;

pub use abort::Abort;
pub use corrupt::Corrupt;
pub use delay::Delay;
pub use rewrite_status::RewriteStatus;
pub use throttle::Throttle;
pub use truncate::Truncate;

/// An HTTP fault.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpFault {
    /// The request waits.
    Delay(Delay),
    /// The request is answered with a failure, or not at all.
    Abort(Abort),
    /// The real answer gets another status.
    RewriteStatus(RewriteStatus),
    /// The answer's body breaks off.
    Truncate(Truncate),
    /// The answer's body comes slowly.
    Throttle(Throttle),
    /// Bytes of the answer's body are wrong.
    Corrupt(Corrupt),
}

impl HttpFault {
    /// Every type, in the order of the documentation.
    pub const TYPES: [&'static str; 6] = ["delay", "abort", "rewrite_status", "truncate", "throttle", "corrupt"];

    /// Of a type and its attributes. None when the type is not one of [`Self::TYPES`].
    pub fn parse(kind: &str, attributes: &Value) -> Option<Result<Self, String>> {
        use super::spec::attributes as read;
        Some(match kind {
            "delay" => read::<Delay>(attributes).and_then(Delay::checked).map(Self::Delay),
            "abort" => read::<Abort>(attributes).and_then(Abort::checked).map(Self::Abort),
            "rewrite_status" => {
                read::<RewriteStatus>(attributes).and_then(RewriteStatus::checked).map(Self::RewriteStatus)
            }
            "truncate" => read(attributes).map(Self::Truncate),
            "throttle" => read::<Throttle>(attributes).and_then(Throttle::checked).map(Self::Throttle),
            "corrupt" => read::<Corrupt>(attributes).and_then(Corrupt::checked).map(Self::Corrupt),
            _ => return None,
        })
    }

    /// Its type's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Abort(_) => "abort",
            Self::RewriteStatus(_) => "rewrite_status",
            Self::Truncate(_) => "truncate",
            Self::Throttle(_) => "throttle",
            Self::Corrupt(_) => "corrupt",
        }
    }

    /// Its attributes.
    pub fn attributes(&self) -> Value {
        let value = match self {
            Self::Delay(a) => serde_json::to_value(a),
            Self::Abort(a) => serde_json::to_value(a),
            Self::RewriteStatus(a) => serde_json::to_value(a),
            Self::Truncate(a) => serde_json::to_value(a),
            Self::Throttle(a) => serde_json::to_value(a),
            Self::Corrupt(a) => serde_json::to_value(a),
        };
        value.unwrap_or_default()
    }
}
