//! HTTP/1.1 on the wire: ours, pure, without sockets.
//!
//! A proxy lives or dies by where it thinks a message ends. If it and its peer disagree by one byte, a stranger's
//! request can be smuggled inside another's body. So this codec is strict where others are kind: what it accepts
//! has one reading only, and what it writes it writes anew, line by line, from what it understood.
//!
//! * [`buffer`] holds bytes as they arrive, with room in front, so that a new head and a body leave in one send;
//! * [`parse`] turns bytes into a [`Head`]; the grammar is `httparse`'s;
//! * [`framing`] is the one place that decides where a message ends;
//! * [`head`] is a message's start line and fields as bytes and ranges, never a map;
//! * [`mod@write`] puts a head on the wire;
//! * [`path`] is the one rule on paths.
//!
//! The rules are RFC 9110 and RFC 9112; section numbers stand where a rule is applied. Everything here is fuzzed
//! against hyper (what this accepts, hyper refuses or frames identically) and against a strict reader of its own
//! output.

pub mod buffer;
pub mod content;
pub mod framed;
pub mod framing;
pub mod gather;
pub mod head;
pub mod host;
pub mod parse;
pub mod path;
pub mod write;

use std::sync::Arc;

pub use buffer::{Budget, Buffer, BufferPool, ScratchPool};
pub use content::Content;
pub use framing::Length;
pub use head::{Head, HeadPool, Name, Version};
pub use parse::{Limits, Scan};

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Against the grammar, or open to two readings.
    Grammar,
    /// More bytes than the limit.
    TooLarge,
    /// More lines than the limit.
    TooManyLines,
    /// A transfer coding other than exactly `chunked`.
    Coding,
}

/// What a worker's connections borrow while they are at work.
#[derive(Debug, Clone)]
pub struct Pools {
    /// For what is read.
    pub buffers: BufferPool,
    /// For heads that were understood.
    pub heads: HeadPool,
    /// For heads on their way out.
    pub scratch: ScratchPool,
    /// How large a head may be.
    pub limits: Limits,
}

impl Pools {
    /// Pools that keep enough for a few hundred requests at once; what a burst needed beyond goes back to the
    /// system.
    pub fn new(limits: Limits, budget: &Arc<Budget>) -> Self {
        Self {
            buffers: BufferPool::within(budget, 64),
            heads: HeadPool::new(512),
            scratch: ScratchPool::new(512),
            limits,
        }
    }
}
