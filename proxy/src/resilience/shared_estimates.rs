//! What one worker has learned, for the others.
//!
//! Each worker learns for itself, so that an answer costs no shared write. But connections are few and long: one worker may
//! carry nearly all of a service's requests, and another so few that it would know nothing of them for minutes, and would
//! hedge none of them. So whoever knows enough puts what it knows on a shelf at its ticks, and whoever knows too little
//! takes it from there.
//!
//! The shelf has a fixed number of places, found by a hash; each is one atomic word, a part of the hash beside the time. Two
//! kinds of requests that want the same place push each other out, and lose nothing but the loan.

use std::time::Duration;

use super::sync::{AtomicU64, Ordering};

const PLACES: usize = 16;
/// A time of up to 2^40 microseconds, twelve days, and 24 bits of the hash.
const TIME_BITS: u32 = 40;

/// Times by kinds of requests, shared by all workers.
#[derive(Debug, Default)]
pub struct SharedEstimates {
    places: [AtomicU64; PLACES],
}

impl SharedEstimates {
    /// Puts a time where the kind of this hash looks for it.
    pub fn put(&self, hash: u64, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min((1 << TIME_BITS) - 1);
        let word = tag(hash) << TIME_BITS | micros;
        let place = &self.places[hash as usize % PLACES];
        if place.load(Ordering::Relaxed) != word {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// The time that somebody has put there for this kind.
    pub fn get(&self, hash: u64) -> Option<Duration> {
        let word = self.places[hash as usize % PLACES].load(Ordering::Relaxed);
        let micros = word & ((1 << TIME_BITS) - 1);
        (word >> TIME_BITS == tag(hash) && micros > 0).then(|| Duration::from_micros(micros))
    }
}

/// Never 0, which is an empty place.
fn tag(hash: u64) -> u64 {
    hash >> TIME_BITS | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_finds_what_was_put_there_for_it_and_nothing_else() {
        let shared_estimates = SharedEstimates::default();
        let (a, b) = (0xabcd_ef01_2345_6780, 0x1234_5678_9abc_def0);
        assert_eq!(shared_estimates.get(a), None);
        shared_estimates.put(a, Duration::from_micros(1_234));
        assert_eq!(shared_estimates.get(a), Some(Duration::from_micros(1_234)));
        assert_eq!(shared_estimates.get(b), None, "the same place, another kind");
        shared_estimates.put(b, Duration::MAX);
        assert!(shared_estimates.get(b).is_some() && shared_estimates.get(a).is_none());
    }
}
