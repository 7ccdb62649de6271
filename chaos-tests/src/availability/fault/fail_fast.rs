//! Every answer is an error, and comes at once: a wrong configuration, a lost database. To a balancer that looks at
//! latency or at requests in flight it is the most attractive instance of all.

use std::time::{Duration, Instant};

use outrigger::fault::http::{Abort, HttpFault};
use serde::{Deserialize, Serialize};

use super::injected::inject;
use super::{Deed, Model};

/// Every request is answered with an error, without any delay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailFast {
    /// The error.
    pub status: u16,
}

impl Model for FailFast {
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, _: Instant) -> Deed {
        let abort = HttpFault::Abort(Abort { status: Some(self.status), ..Abort::default() });
        inject(&abort, Deed { after: Duration::ZERO, ..ordinary }, rng)
    }
}
