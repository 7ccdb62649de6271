//! The proxy's own HTTP faults, done by an instance.

use std::time::Duration;

use outrigger::fault::http::HttpFault;

use super::{Deed, Manner, What};

/// What becomes of a deed under a fault that has struck.
pub fn inject(fault: &HttpFault, deed: Deed, rng: &mut fastrand::Rng) -> Deed {
    match fault {
        HttpFault::Delay(delay) => Deed { after: deed.after + delay.draw(rng.f64(), rng.f64()), ..deed },
        HttpFault::Abort(abort) if abort.reset => deed.with(What::Reset),
        HttpFault::Abort(abort) => deed.status(abort.status.unwrap_or(503)),
        HttpFault::RewriteStatus(rewrite) => match deed.what {
            What::Answer { status, size, manner } => {
                deed.with(What::Answer { status: rewrite.of(status), size, manner })
            }
            What::Reset | What::Silence => deed,
        },
        HttpFault::Truncate(truncate) => match deed.what {
            What::Answer { status, size, .. } if truncate.after.0 < size => {
                deed.with(What::Answer { status, size, manner: Manner::Cut(truncate.after.0) })
            }
            _ => deed,
        },
        HttpFault::Throttle(throttle) => match deed.what {
            What::Answer { status, size, .. } => {
                let took = Duration::from_secs_f64(size as f64 / throttle.rate.0 as f64);
                let pieces = u32::try_from(took.as_millis() / 100).unwrap_or(u32::MAX).max(1);
                deed.with(What::Answer { status, size, manner: Manner::Pieces(pieces, took / pieces) })
            }
            What::Reset | What::Silence => deed,
        },
        // An instance's body says whose answer it is, and whoever reads it checks that: a changed one is a lost one.
        HttpFault::Corrupt(_) => deed.status(500),
    }
}
