//! Where a request goes that has one try only.
//!
//! A GET that meets a failing endpoint is sent again elsewhere, and nobody notices. A POST that does is lost: it may have
//! been processed, so it must not be sent twice. The two should therefore not be dealt out alike. Requests that can be
//! retried can also be *spent* on doubtful endpoints: they find out how those are, at little risk. Requests that cannot go
//! where failure is least likely.
//!
//! Doubtful is, in this order of weight: who failed or was overtaken lately; who has only come, or come back; who is much
//! slower than its peers (slowness is how overload and trouble begin). And, from one moment to the next: who has
//! something to answer and is silent for longer than answers take. An endpoint that hangs is found out by that before the
//! first attempt at it can fail.
//!
//! **It filters and never ranks.** Were the *best* endpoint chosen, every proxy would choose the same, and it would not
//! stay the best for long. So whoever is not doubtful is as good as any other, the balancer chooses among them as ever, and
//! at least half of the pool is always left: where more are doubtful, the lightest doubts are forgotten first, and where
//! that is not enough, nobody is left out, because then doubt says nothing.
//!
//! **It does not drown who is left.** Of two endpoints the one that is left carries twice what it did. Where all who are left
//! have become slow, nobody is left out either: a doubtful endpoint fails some requests, one that drowns fails all of them.

use std::time::Duration;

/// What speaks against an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// It failed, or was overtaken by a later attempt, within [`TROUBLE_FOR`].
    pub trouble: bool,
    /// It came, or came back, within [`FRESH_FOR`].
    pub fresh: bool,
    /// Its answers take far longer than those of its peers.
    pub slow: bool,
}

/// How long a failure is held against an endpoint, in milliseconds.
pub const TROUBLE_FOR: u64 = 5_000;
/// How long an endpoint is new, in milliseconds.
pub const FRESH_FOR: u64 = 10_000;
/// So many times its peers' typical latency is far longer...
const SLOW_FACTOR: u64 = 3;
/// ...where it is also so many microseconds longer.
const SLOW_BY_US: u64 = 20_000;

/// Whether a typical latency is far above that of the pool, both in microseconds, 0 for not known.
pub fn is_slow(own: u64, typical: u64) -> bool {
    typical > 0 && own > typical.saturating_mul(SLOW_FACTOR) && own > typical.saturating_add(SLOW_BY_US)
}

/// So many times what answers typically take is silence...
const SILENCE_FACTOR: u32 = 2;
/// ...where it is also this long: below, it may have been the proxy that did not listen.
const SHORTEST_SILENCE: Duration = Duration::from_millis(5);
/// Silence where it is not known what answers take.
const UNKNOWN_SILENCE: Duration = Duration::from_secs(1);

/// After what time without an answer an endpoint that has something to answer is silent. `typical` in microseconds, 0 for
/// not known.
pub fn silence(typical: u64) -> Duration {
    match typical {
        0 => UNKNOWN_SILENCE,
        _ => Duration::from_micros(typical).saturating_mul(SILENCE_FACTOR).max(SHORTEST_SILENCE),
    }
}

/// Whether `left` of `all` endpoints are enough to be chosen from.
pub fn is_enough(left: usize, all: usize) -> bool {
    left > 0 && left * 2 >= all
}

/// Which endpoints are left for a request with one try: none where nobody is left out. `doubts` is one entry for each
/// endpoint that takes requests at all, none for the others.
pub fn safest(doubts: &[Option<Doubts>]) -> Option<Vec<bool>> {
    let usable = doubts.iter().flatten().count();
    let levels: [fn(&Doubts) -> bool; 3] =
        [|d| !d.trouble && !d.fresh && !d.slow, |d| !d.trouble && !d.fresh, |d| !d.trouble];
    levels.iter().find_map(|is_left| {
        let left = |d: &Option<Doubts>| d.as_ref().is_some_and(is_left);
        let count = doubts.iter().filter(|d| left(d)).count();
        // Where all are left there is nothing to filter, and nothing to forget.
        is_enough(count, usable).then(|| {
            let carry = doubts.iter().filter(|d| left(d)).flatten().any(|d| !d.slow);
            (count < usable && carry).then(|| doubts.iter().map(left).collect())
        })
    })?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: Option<Doubts> = Some(Doubts { trouble: false, fresh: false, slow: false });
    const TROUBLE: Option<Doubts> = Some(Doubts { trouble: true, fresh: false, slow: false });
    const FRESH: Option<Doubts> = Some(Doubts { trouble: false, fresh: true, slow: false });
    const SLOW: Option<Doubts> = Some(Doubts { trouble: false, fresh: false, slow: true });

    #[test]
    fn the_doubtful_are_left_to_requests_that_can_be_retried() {
        let left = safest(&[GOOD, TROUBLE, GOOD, FRESH, GOOD, SLOW]);
        assert_eq!(left, Some(vec![true, false, true, false, true, false]));
        assert_eq!(safest(&[GOOD, None, TROUBLE, GOOD]), Some(vec![true, false, false, true]));
    }

    #[test]
    fn where_nobody_is_doubtful_nobody_is_left_out() {
        assert_eq!(safest(&[GOOD; 5]), None);
        assert_eq!(safest(&[]), None);
        assert_eq!(safest(&[None; 3]), None);
    }

    #[test]
    fn the_lightest_doubts_are_forgotten_first() {
        assert_eq!(safest(&[GOOD, SLOW, SLOW, TROUBLE]), Some(vec![true, true, true, false]));
        assert_eq!(safest(&[GOOD, FRESH, SLOW, TROUBLE]), Some(vec![true, false, true, false]));
        assert_eq!(safest(&[FRESH, FRESH, FRESH, TROUBLE]), Some(vec![true, true, true, false]));
    }

    #[test]
    fn where_most_are_in_trouble_doubt_says_nothing() {
        assert_eq!(safest(&[GOOD, TROUBLE, TROUBLE]), None);
    }

    #[test]
    fn where_all_that_are_left_have_become_slow_nobody_is_left_out() {
        assert_eq!(safest(&[SLOW, TROUBLE]), None);
        assert_eq!(safest(&[GOOD, TROUBLE]), Some(vec![true, false]));
        assert_eq!(safest(&[SLOW, SLOW, SLOW, TROUBLE]), None);
        assert_eq!(safest(&[GOOD, SLOW, SLOW, TROUBLE]), Some(vec![true, true, true, false]));
    }

    #[test]
    fn slow_is_both_many_times_and_much_longer() {
        assert!(is_slow(100_000, 10_000));
        assert!(!is_slow(25_000, 10_000), "not many times");
        assert!(!is_slow(9_000, 1_000), "not much");
        assert!(!is_slow(9_000_000, 0), "nothing to compare with");
    }

    proptest! {
        #[test]
        fn at_least_half_of_the_pool_is_left_and_nobody_without_a_doubt_is_left_out(
            pool in proptest::collection::vec(proptest::option::weighted(0.9, (any::<bool>(), any::<bool>(), any::<bool>())), 0..40),
        ) {
            let doubts: Vec<_> =
                pool.into_iter().map(|d| d.map(|(trouble, fresh, slow)| Doubts { trouble, fresh, slow })).collect();
            if let Some(left) = safest(&doubts) {
                let usable = doubts.iter().flatten().count();
                prop_assert!(left.iter().filter(|l| **l).count() * 2 >= usable);
                for (left, doubts) in left.iter().zip(&doubts) {
                    prop_assert!(*left || *doubts != GOOD);
                    prop_assert!(!*left || doubts.is_some_and(|d| !d.trouble));
                }
            }
        }
    }
}
