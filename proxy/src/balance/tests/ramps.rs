//! What slow start gives to whom, by both balancers, at virtual times.

use std::time::Duration;

use proptest::prelude::*;

use super::{KINDS, assert_shares};
use crate::balance::slow_start::{FLOOR, Newcomers};
use crate::balance::{Candidates, Load, build};

const WINDOW: Duration = Duration::from_secs(2);
/// When a test's pool has changed.
const NOW: u64 = 100_000;

/// Endpoints that are all equally loaded, by when they joined and by weight.
struct Pool {
    members: Vec<(u64, u32)>,
    newcomers: Newcomers,
    now: u64,
}

impl Pool {
    fn of(members: &[(u64, u32)]) -> Self {
        let newcomers = Newcomers::of(members.iter().copied(), WINDOW, NOW);
        Self { members: members.to_vec(), newcomers, now: NOW }
    }

    fn weights(&self) -> Vec<u32> {
        self.members.iter().map(|(_, weight)| *weight).collect()
    }
}

impl Candidates for Pool {
    fn load(&self, _: usize) -> Load {
        Load { latency: 1.0, in_flight: 0, weight: 1.0 }
    }

    fn usable(&self, _: usize) -> bool {
        true
    }

    fn share(&self, index: usize) -> f64 {
        self.newcomers.share(self.members[index].0, self.now)
    }
}

fn counts(pool: &Pool, kind: crate::config::settings::Balance, seed: u64, picks: usize) -> Vec<usize> {
    let balancer = build(kind, &pool.weights(), &|index| index as u64, seed);
    let mut counts = vec![0; pool.members.len()];
    (0..picks).for_each(|_| counts[balancer.pick(pool).unwrap()] += 1);
    counts
}

#[test]
fn one_that_joins_four_begins_at_a_tenth_and_ends_at_its_share() {
    let mut pool = Pool::of(&[(0, 1), (0, 1), (0, 1), (0, 1), (NOW, 1)]);
    for kind in KINDS {
        for (age, share) in [(0, 0.1), (1_000, 0.5), (1_500, 0.75)] {
            pool.now = NOW + age;
            let got = counts(&pool, kind, 3, 50_000);
            let due = 50_000.0 * share / (4.0 + share);
            assert!(
                (got[4] as f64 - due).abs() < due * 0.15,
                "{kind:?} after {age} ms: {got:?} where {due:.0} are due"
            );
            assert_shares(&got[..4], &[1; 4], 0.03);
        }
        pool.now = NOW + 2_000;
        assert_shares(&counts(&pool, kind, 3, 50_000), &[1; 5], 0.01);
    }
}

#[test]
fn a_pool_that_grows_from_one_to_ten_is_a_relief_to_the_one_at_once() {
    let mut members = vec![(NOW, 1); 9];
    members.push((0, 1));
    for kind in KINDS {
        let got = counts(&Pool::of(&members), kind, 5, 50_000);
        assert!((9_000..=10_500).contains(&got[9]), "{kind:?}: {got:?}, twice its share is 10,000");
        assert_shares(&got[..9], &[1; 9], 0.05);
    }
}

proptest! {
    /// Every request has an endpoint; nobody is starved; and what the new ones leave falls on the others by weight, up to
    /// twice what each had.
    #[test]
    fn what_the_new_ones_leave_is_carried_by_the_others(
        members in proptest::collection::vec((proptest::option::of(0u64..4_000), 1u32..20), 1..12),
        later in 0u64..3_000,
        seed: u64,
    ) {
        const PICKS: usize = 20_000;
        let members: Vec<(u64, u32)> =
            members.into_iter().map(|(age, weight)| (age.map_or(0, |age| NOW - age), weight)).collect();
        let mut pool = Pool::of(&members);
        pool.now = NOW + later;
        let total: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let taken: f64 = (0..members.len()).map(|i| f64::from(members[i].1) * pool.share(i)).sum();
        for kind in KINDS {
            let got = counts(&pool, kind, seed, PICKS);
            prop_assert_eq!(got.iter().sum::<usize>(), PICKS);
            for (index, (count, (_, weight))) in got.iter().zip(&members).enumerate() {
                let due = PICKS as f64 * f64::from(*weight) / total;
                let now = PICKS as f64 * f64::from(*weight) * pool.share(index) / taken;
                prop_assert!(now >= due * FLOOR && now <= due * 2.001, "{kind:?}: {index} of {members:?}: {now} of {due}");
                // Five standard deviations of a count, and what is left where all that are drawn decline.
                let noise = 5.0 * now.sqrt() + PICKS as f64 * 0.005;
                prop_assert!((*count as f64 - now).abs() < noise, "{kind:?}: {index} of {members:?}: {count}, not {now}");
            }
        }
    }
}
