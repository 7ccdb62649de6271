//! Faults: breaking things on purpose, for a while, and for some requests only.
//!
//! A proxy that stands between an application and all it depends on is where a drill is cheapest: nothing has to be
//! killed, and everything can be put back at once. There are two families. **HTTP faults** ([`http`]) know requests: they
//! delay, refuse, falsify. **Byte-stream faults** ([`stream`]), called *toxics* in Toxiproxy's API, know bytes on a
//! connection: they slow down, cut, reset. One fault is one file.
//!
//! A fault acts in one of two [`Place`]s, and every interface says which. *Upstream* is below resilience: the proxy sees a
//! bad instance, and the question is what absorbs it. *Edge* is above it: the application sees a bad dependency, and the
//! question is what it does then.
//!
//! A fault hangs on a [`FaultTarget`], a service or a TCP proxy. Whoever carries requests reads the subject's
//! faults without a lock ([`active`]); one [`FaultManager`](crate::fault_manager::FaultManager) adds and ends them, holds them to their limits and
//! writes down who did what. A fault ends by itself: it carries its own last moment, so that it is over even where the manager
//! is not there any more. Ending it releases what it was holding up.

pub mod active;
pub mod docs;
pub mod guard;
pub mod http;
pub mod spec;
pub mod stream;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use active::{Active, FaultTarget};
pub use spec::{Fault, Spec};

/// Where a fault acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Below resilience: between the proxy and an instance. Shows what absorbs it.
    #[default]
    Upstream,
    /// Above resilience: between the application and the proxy. Shows what the application does.
    Edge,
}

/// A byte stream's direction, named as Toxiproxy does: by where it runs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the server to the client.
    #[default]
    Downstream,
    /// From the client to the server.
    Upstream,
}

impl Place {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Edge => "edge",
        }
    }
}

impl Stream {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}
