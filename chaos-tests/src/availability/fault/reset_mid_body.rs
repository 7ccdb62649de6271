//! A connection that breaks in the middle of an answer. Whoever passes a head on as it comes has promised by then what
//! it cannot keep.

use std::time::Instant;

use outrigger::fault::http::{HttpFault, Truncate};
use outrigger::units::Size;
use serde::{Deserialize, Serialize};

use super::injected::inject;
use super::{Deed, Manner, Model, What};

/// Answers are of 1 KiB to 16 KiB; a share of them breaks off after a part of the body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResetMidBody {
    /// Of all answers, 0.0 to 1.0.
    pub share: f64,
}

impl Model for ResetMidBody {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, _: Instant) -> Deed {
        let size = rng.usize(1 << 10..=16 << 10);
        let cut = rng.f64() < self.share;
        let whole = ordinary.with(What::Answer { status: 200, size, manner: Manner::Whole });
        if !cut {
            return whole;
        }
        let truncate = HttpFault::Truncate(Truncate { after: Size(rng.usize(1..size)) });
        inject(&truncate, whole, rng)
    }
}
