//! The head comes at once, the body in drops: whoever measures the time to the head finds nothing wrong.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Deed, Manner, Model, What};

/// The body of every answer comes in pieces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trickle {
    /// How many.
    pub pieces: u32,
    /// From one to the next, in milliseconds.
    pub gap_ms: u32,
}

impl Model for Trickle {
    fn deed(&mut self, ordinary: Deed, _: &mut fastrand::Rng, _: Instant) -> Deed {
        let manner = Manner::Pieces(self.pieces, Duration::from_millis(self.gap_ms.into()));
        ordinary.with(What::Answer { status: 200, size: 1024, manner })
    }
}
