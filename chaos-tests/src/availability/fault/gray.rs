//! Neither well nor dead: some requests fail, in more ways than one, and the others take longer. Checks may well pass.

use std::time::Instant;

use outrigger::fault::http::{Abort, HttpFault};
use serde::{Deserialize, Serialize};

use super::injected::inject;
use super::{Deed, Model};

/// A share of the requests fails, half of them with 503, half with a reset; every request takes longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gray {
    /// Of all requests, 0.0 to 1.0.
    pub share: f64,
    /// Times the usual time.
    pub slower: f64,
}

impl Model for Gray {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, _: Instant) -> Deed {
        let late = Deed { after: ordinary.after.mul_f64(self.slower), ..ordinary };
        let abort = match rng.f64() {
            point if point < self.share / 2.0 => Abort { status: Some(503), ..Abort::default() },
            point if point < self.share => Abort { reset: true, ..Abort::default() },
            _ => return late,
        };
        inject(&HttpFault::Abort(abort), late, rng)
    }
}
