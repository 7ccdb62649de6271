//! Byte-stream faults: what they are called, and what may be said of each.
//!
//! Names, attributes and units are Toxiproxy's (its `toxics/` directory), so that whoever knows one knows the other.

pub mod bandwidth;
pub mod chain;
pub mod down;
pub mod latency;
pub mod limit_data;
pub mod noop;
pub mod reset_peer;
pub mod slicer;
pub mod slow_close;
pub mod stage;
pub mod timeout;

use std::time::Duration;

use serde_json::Value;

pub use bandwidth::Bandwidth;
pub use chain::Chain;
pub use down::Down;
pub use latency::Latency;
pub use limit_data::LimitData;
pub use noop::Noop;
pub use reset_peer::ResetPeer;
pub use slicer::Slicer;
pub use slow_close::SlowClose;
pub use stage::Stage;
pub use timeout::Timeout;

/// A byte-stream fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Toxic {
    /// Every byte comes later.
    Latency(Latency),
    /// So many bytes a second.
    Bandwidth(Bandwidth),
    /// The end of the stream comes later.
    SlowClose(SlowClose),
    /// Nothing comes through, and then the connection closes.
    Timeout(Timeout),
    /// The connection is reset.
    ResetPeer(ResetPeer),
    /// Small pieces instead of large ones.
    Slicer(Slicer),
    /// The connection closes after so many bytes.
    LimitData(LimitData),
    /// Nothing changes.
    Noop(Noop),
    /// Connections are refused, and those that are open end.
    Down(Down),
}

impl Toxic {
    /// Every type, in the order of the documentation.
    pub const TYPES: [&'static str; 9] =
        ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop", "down"];

    /// Of a type and its attributes; null counts as none given. None when the type is not one of [`Self::TYPES`].
    pub fn parse(kind: &str, attributes: &Value) -> Option<Result<Self, String>> {
        use super::spec::attributes as read;
        Some(match kind {
            "latency" => read(attributes).map(Self::Latency),
            "bandwidth" => read(attributes).map(Self::Bandwidth),
            "slow_close" => read(attributes).map(Self::SlowClose),
            "timeout" => read(attributes).map(Self::Timeout),
            "reset_peer" => read(attributes).map(Self::ResetPeer),
            "slicer" => read(attributes).map(Self::Slicer),
            "limit_data" => read(attributes).map(Self::LimitData),
            "noop" => read(attributes).map(Self::Noop),
            "down" => read(attributes).map(Self::Down),
            _ => return None,
        })
    }

    /// Its type's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Bandwidth(_) => "bandwidth",
            Self::SlowClose(_) => "slow_close",
            Self::Timeout(_) => "timeout",
            Self::ResetPeer(_) => "reset_peer",
            Self::Slicer(_) => "slicer",
            Self::LimitData(_) => "limit_data",
            Self::Noop(_) => "noop",
            Self::Down(_) => "down",
        }
    }

    /// Its attributes, every one present.
    pub fn attributes(&self) -> Value {
        let value = match self {
            Self::Latency(a) => serde_json::to_value(a),
            Self::Bandwidth(a) => serde_json::to_value(a),
            Self::SlowClose(a) => serde_json::to_value(a),
            Self::Timeout(a) => serde_json::to_value(a),
            Self::ResetPeer(a) => serde_json::to_value(a),
            Self::Slicer(a) => serde_json::to_value(a),
            Self::LimitData(a) => serde_json::to_value(a),
            Self::Noop(a) => serde_json::to_value(a),
            Self::Down(a) => serde_json::to_value(a),
        };
        value.unwrap_or_default()
    }
}

/// So many milliseconds, a day at most: an instant must be able to hold them.
fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms.min(86_400_000))
}

#[cfg(test)]
mod tests;
