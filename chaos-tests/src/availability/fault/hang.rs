//! Accepts, reads, never answers: a deadlock, a full thread pool, a stopped process. Nothing fails at once, so only a
//! clock can tell.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Deed, Model, What};

/// Every request is read, and nothing more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hang {}

impl Model for Hang {
    fn deed(&mut self, ordinary: Deed, _: &mut fastrand::Rng, _: Instant) -> Deed {
        ordinary.with(What::Silence)
    }
}
