//! How much of its share an endpoint gets that has just come.
//!
//! A new process has cold caches, an empty connection pool, code that is not compiled yet: at its full share it is slow
//! for everybody it gets, or falls over, and one that has just failed is more likely to fail again. So its share grows
//! with time, from a floor of 10 %. The floor is what makes it warm: an endpoint that is asked for nothing stays as
//! cold as it came.
//!
//! **Why a chance, and not a weight?** The balancers' lines of weights are built once per pool; a weight that changes by
//! the millisecond would have them built anew all the time. Instead a candidate that is offered its turn takes it with
//! the probability of its ramp, and the turn it declines falls on the others by weight. That costs nothing where
//! nobody is new: until when somebody is, is reckoned when the pool changes, and a pick compares one number.
//!
//! **Where many are new**, the ramp must not put everything on the few that are not: often they are why the others came.
//! So the floor is as high as it takes for nobody to get more than twice of what its weight gives it in the whole pool.
//! Where *all* are new, which is a service that begins, or one that was replaced at once, nobody is slowed: there is no
//! one to leave the work to. Nor is anybody slowed while one of the others fails and cannot be left out, or picks find
//! nobody ([`is_short`](crate::resilience::outlier::PoolState::is_short)). And under two choices a turn is not declined
//! in favour of a candidate that is more loaded by more than the inverse of the ramp: one at 10 % gives its turn to one
//! with nine requests in flight, not to one with ninety.

use std::time::Duration;

/// The least part of its share that an endpoint gets.
pub const FLOOR: f64 = 0.1;

/// The part of its share that an endpoint gets at an age, `floor` to 1.0. A window of zero is none.
pub fn ramp(age: Duration, window: Duration, floor: f64) -> f64 {
    if age >= window { 1.0 } else { (age.as_secs_f64() / window.as_secs_f64()).max(floor) }
}

/// The new ones of a pool: what is known of them when the pool changes. Times are milliseconds on the joint's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Newcomers {
    /// When the last of them has its whole share; 0 where nobody is slowed.
    until: u64,
    window: Duration,
    floor: f64,
}

impl Newcomers {
    /// Of a pool's endpoints: when each joined, 0 for one that was always there, and its weight.
    pub fn of(pool: impl Iterator<Item = (u64, u32)>, window: Duration, now: u64) -> Self {
        let length = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let (mut until, mut new, mut whole) = (0, 0.0, 0.0);
        for (joined, weight) in pool {
            let end = joined.saturating_add(length);
            if joined > 0 && end > now {
                until = until.max(end);
                new += f64::from(weight);
            } else {
                whole += f64::from(weight);
            }
        }
        if new == 0.0 || whole == 0.0 {
            return Self::default();
        }
        // A whole one gets (new + whole) / (whole + floor * new) times its share: twice at most.
        let floor = ((new - whole) / (2.0 * new)).max(FLOOR);
        Self { until, window, floor }
    }

    /// The part of its share that an endpoint gets which joined at this time.
    pub fn share(&self, joined: u64, now: u64) -> f64 {
        if now >= self.until || joined == 0 {
            return 1.0;
        }
        ramp(Duration::from_millis(now.saturating_sub(joined)), self.window, self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(2);

    fn of(pool: &[(u64, u32)], now: u64) -> Newcomers {
        Newcomers::of(pool.iter().copied(), WINDOW, now)
    }

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole() {
        let pool = of(&[(0, 1), (0, 1), (10_000, 1)], 10_000);
        let shares = [10_000, 10_100, 11_000, 11_900, 12_000, 90_000].map(|now| pool.share(10_000, now));
        assert_eq!(shares, [0.1, 0.1, 0.5, 0.95, 1.0, 1.0]);
        assert_eq!(pool.share(0, 10_000), 1.0, "one that was there");
        assert_eq!(pool.share(10_050, 10_000), 0.1, "a clock that was read a little earlier");
    }

    #[test]
    fn nobody_is_slowed_where_all_are_new() {
        for pool in [&[(10_000, 1), (10_000, 5)][..], &[(10_000, 1), (9_000, 1)], &[(10_000, 1)], &[]] {
            let newcomers = of(pool, 10_000);
            assert!(pool.iter().all(|(joined, _)| newcomers.share(*joined, 10_000) == 1.0), "{pool:?}");
        }
    }

    #[test]
    fn whoever_joined_a_window_ago_is_not_new() {
        let pool = of(&[(7_000, 1), (10_000, 1)], 10_000);
        assert_eq!((pool.share(7_000, 10_000), pool.share(10_000, 10_000)), (1.0, 0.1));
    }

    #[test]
    fn a_window_of_zero_is_none() {
        let pool = Newcomers::of([(0, 1), (10_000, 1)].into_iter(), Duration::ZERO, 10_000);
        assert_eq!(pool.share(10_000, 10_000), 1.0);
    }

    #[test]
    fn one_among_nine_new_ones_gets_no_more_than_twice_its_share() {
        let mut members = vec![(10_000, 1); 9];
        members.push((0, 1));
        let share = of(&members, 10_000).share(10_000, 10_000);
        assert!((1.0 / (1.0 + 9.0 * share) - 0.2).abs() < 1e-9, "{share}");
    }
}
