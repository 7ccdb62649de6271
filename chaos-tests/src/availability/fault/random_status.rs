//! Some answers are errors, at random: the noise floor of every real service.

use std::time::Instant;

use outrigger::fault::http::{Abort, HttpFault};
use serde::{Deserialize, Serialize};

use super::injected::inject;
use super::{Deed, Model};

/// A share of the requests is answered with an error, after the usual time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomStatus {
    /// Of all requests, 0.0 to 1.0.
    pub share: f64,
    /// The error.
    pub status: u16,
}

impl Model for RandomStatus {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, _: Instant) -> Deed {
        let abort = HttpFault::Abort(Abort { status: Some(self.status), ..Abort::default() });
        if rng.f64() < self.share { inject(&abort, ordinary, rng) } else { ordinary }
    }
}
