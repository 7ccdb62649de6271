//! Right answers, far too late: a cold cache, a swapping host. Nothing fails, and with a deadline everything does.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Deed, Model, lognormal};

/// The time of an answer has another median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// In milliseconds.
    pub median_ms: u32,
}

impl Model for Slow {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, _: Instant) -> Deed {
        Deed { after: lognormal(rng, Duration::from_millis(self.median_ms.into())), ..ordinary }
    }
}
