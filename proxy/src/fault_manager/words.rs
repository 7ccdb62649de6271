//! The fault manager's words: why a fault is refused, why it ended, which are meant.

use std::sync::Arc;

use crate::fault::active::FaultTarget;
use crate::fault::spec::Invalid;

/// Why a fault is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The process was not started for it.
    #[error(
        "faults are locked: start the proxy with `faults: {{ enabled: true }}` (or `--faults`) where they are wanted; in production they are refused"
    )]
    Locked,
    /// The fault makes no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such service or TCP proxy.
    #[error("{0}")]
    Unknown(String),
    /// The name is taken.
    #[error("`{0}` has a fault called `{1}` already")]
    Taken(Arc<str>, Arc<str>),
    /// It would reach too far.
    #[error("{0}")]
    Cap(String),
}

/// Why a fault ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its time was over.
    Ttl,
    /// It was limited to its first so many, and has struck them.
    UsedUp,
    /// Its controller was not heard of.
    Heartbeat,
    /// Somebody ended it.
    Asked,
    /// Somebody ended all.
    Cleared,
    /// Another took its place: its attributes were changed.
    Changed,
    /// A guard tripped: what it saw.
    Guard(Arc<str>),
    /// Every endpoint that it did not meet is gone or out.
    LastHealthy,
    /// What it hung on is gone.
    SubjectGone,
}

/// Which faults.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All there are, but those of proxies that were made through Toxiproxy's API.
    All,
    /// Those of a controller.
    Controller(&'a str),
    /// Those that hang on this.
    FaultTarget(&'a FaultTarget),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ttl => "its time to live was over",
            Self::UsedUp => "it was for its first requests only",
            Self::Heartbeat => "its controller was not heard of",
            Self::Asked => "asked to end",
            Self::Cleared => "all were cleared",
            Self::Changed => "changed",
            Self::Guard(saw) => return write!(f, "guard: {saw}"),
            Self::LastHealthy => "the endpoints that it does not meet are no longer healthy",
            Self::SubjectGone => "what it hung on is gone",
        })
    }
}

/// That there is no such thing, with what it may have been.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known.iter().max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)));
    let near = near.filter(|near| strsim::jaro(name, near) > 0.7);
    match (near, known) {
        (Some(near), _) => format!("there is no {what} `{name}`; perhaps `{near}`"),
        (None, []) => format!("there is no {what} `{name}`, and no other"),
        (None, known) => format!("there is no {what} `{name}`; there are {}", known[..known.len().min(20)].join(", ")),
    }
}
