//! By what a request has in common with others: a ring, with bounded load.
//!
//! For endpoints that keep something of those whom they have served: a cache, a session, a shard. Requests of one key go to one
//! endpoint, from every worker and every proxy, and an endpoint that comes or goes moves the keys that become or were its own, and
//! hardly any other. (D. Karger et al., "Consistent hashing and random trees", 1997.)
//!
//! * Each endpoint stands on a circle of 2^64 points at places that are made of its address and nothing else: [`POINTS`] of them
//!   for the heaviest, and fewer for the others by weight. A key belongs to the endpoint whose point is next. With so many points
//!   an endpoint's share is off by about a tenth (one over the root of their number).
//! * An endpoint that must not be picked (tried, ejected) is passed over: its keys go to the endpoints whose points come next,
//!   to each of them a part, and come back to it.
//! * **Bounded load** (V. Mirrokni, M. Thorup and M. Zadimoghaddam, "Consistent hashing with bounded loads", 2016): one
//!   key that everybody asks for would drown its endpoint. An endpoint that has more in flight than [`BOUND`] times what
//!   its weight gives it is passed over, too. What is in flight is what this worker sees: each keeps its own part within
//!   the bound. An endpoint with nothing in flight is never over it.
//! * An endpoint in slow start ([`slow_start`](super::slow_start)) takes a part of its keys, always the same ones, and
//!   more of them as its time goes on.
//!
//! A request without a key is anybody's: it goes by two choices ([`p2c`](super::p2c)).

use super::shares::GOLDEN;
use super::{Candidates, LoadBalancer, P2c};

/// The points of the heaviest endpoint.
pub const POINTS: u32 = 128;
/// The most points of a ring: beyond it endpoints have fewer each, in steps of a half, so that a pool that grows moves all keys a
/// little and seldom.
const MOST: usize = 1 << 18;
/// What may be in flight at an endpoint over what its weight gives it: 1.25, as a fraction, so that all reckon alike.
pub const BOUND: (u64, u64) = (5, 4);
/// Points that are passed over before all endpoints are compared at once: where few of many may be picked.
const STEPS: usize = 512;

/// A ring of endpoints.
#[derive(Debug)]
pub struct Ring {
    /// Sorted: where, and whose.
    points: Vec<(u64, u32)>,
    /// Who each endpoint is, and its weight.
    members: Vec<(u64, u64)>,
    /// All weights.
    all: u64,
    anybody: P2c,
}

impl Ring {
    /// For candidates of these weights (0 counts as 1), each with what it is recognised by wherever it stands in the pool.
    pub fn new(weights: &[u32], identity: &dyn Fn(usize) -> u64, seed: u64) -> Self {
        let heaviest = weights.iter().copied().max().unwrap_or(1).max(1);
        let all = weights.iter().map(|weight| u64::from((*weight).max(1))).sum();
        let mut each = POINTS;
        while each > 8 && weights.len().saturating_mul(each as usize) > MOST {
            each /= 2;
        }
        let mut points = Vec::new();
        let mut members = Vec::with_capacity(weights.len());
        for (index, weight) in (0u32..).zip(weights) {
            let weight = (*weight).max(1);
            let identity = identity(index as usize);
            // Of 64 bits, rounded, and never none.
            let count = (u64::from(each) * u64::from(weight) + u64::from(heaviest) / 2) / u64::from(heaviest);
            points.extend((0..count.max(1)).map(|n| (mix(identity.wrapping_add(GOLDEN.wrapping_mul(n + 1))), index)));
            members.push((identity, weight.into()));
        }
        // Two at one place are told apart by who they are, and not by where they stand in the pool.
        points
            .sort_unstable_by_key(|(at, index): &(u64, u32)| (*at, members.get(*index as usize).map(|(who, _)| *who)));
        Self { points, members, all, anybody: P2c::new(weights, seed) }
    }

    /// Whose a key is, whether it may be picked or not.
    pub fn owner(&self, key: u64) -> Option<usize> {
        self.from(key).next()
    }

    /// All points from a key's place on, once around.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(at, _)| *at < key);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index as usize)
    }

    /// Whether an endpoint takes a key's request now.
    fn takes(&self, index: usize, key: u64, candidates: &dyn Candidates, total: &mut Option<u64>) -> bool {
        let (identity, weight) = self.members[index];
        let share = candidates.share(index);
        if share < 1.0 && unit(mix(key ^ identity)) >= share {
            return false;
        }
        let in_flight = candidates.load(index).in_flight;
        if in_flight == 0 {
            return true;
        }
        let all = || (0..self.members.len()).map(|index| u64::from(candidates.load(index).in_flight)).sum::<u64>();
        let total = *total.get_or_insert_with(all);
        // The request itself counts on both sides.
        u64::from(in_flight) < bound(weight, self.all, total + 1)
    }

    /// The usable endpoint that stands highest for a key, where that is no place on the ring.
    fn highest(&self, key: u64, candidates: &dyn Candidates) -> Option<usize> {
        let usable = (0..self.members.len()).filter(|index| candidates.usable(*index));
        usable.max_by_key(|index| mix(key ^ mix(self.members[*index].0)))
    }
}

impl LoadBalancer for Ring {
    fn pick(&self, candidates: &dyn Candidates) -> Option<usize> {
        let Some(key) = candidates.key() else { return self.anybody.pick(candidates) };
        let (mut first, mut total, mut last) = (None, None, None);
        for index in self.from(key).take(STEPS) {
            // Two points in a row are often one endpoint's.
            if last == Some(index) || !candidates.usable(index) {
                continue;
            }
            last = Some(index);
            if self.takes(index, key, candidates, &mut total) {
                return Some(index);
            }
            first = first.or(Some(index));
        }
        // All are over their bound, which is for those that had less: whoever is next has it.
        first.or_else(|| self.highest(key, candidates))
    }
}

/// How many of `total` an endpoint of this weight may have.
fn bound(weight: u64, all: u64, total: u64) -> u64 {
    let (over, under) =
        (u128::from(BOUND.0) * u128::from(weight) * u128::from(total), u128::from(BOUND.1) * u128::from(all));
    u64::try_from(over.div_ceil(under.max(1))).unwrap_or(u64::MAX)
}

/// 0.0 to 1.0.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The end of SplitMix64 (Steele, Lea and Flood 2014). It is part of what proxies agree on, and never changes.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::balance::Load;

    /// A pool whose members are recognised by a number, and what each has in flight.
    struct Pool {
        out: BTreeSet<usize>,
        in_flight: Vec<u32>,
        share: f64,
        key: Option<u64>,
    }

    impl Pool {
        fn of(size: usize) -> Self {
            Self { out: BTreeSet::new(), in_flight: vec![0; size], share: 1.0, key: None }
        }

        fn pick(&mut self, ring: &Ring, key: u64) -> Option<usize> {
            self.key = Some(mix(key));
            ring.pick(self)
        }
    }

    impl Candidates for Pool {
        fn load(&self, index: usize) -> Load {
            Load { latency: 1000.0, in_flight: self.in_flight[index], weight: 1.0 }
        }

        fn usable(&self, index: usize) -> bool {
            !self.out.contains(&index)
        }

        fn share(&self, index: usize) -> f64 {
            if index == 0 { self.share } else { 1.0 }
        }

        fn key(&self) -> Option<u64> {
            self.key
        }
    }

    fn ring(members: &[u64], weights: &[u32], seed: u64) -> Ring {
        Ring::new(weights, &|index| mix(members[index]), seed)
    }

    const KEYS: u64 = 4_000;

    #[test]
    fn a_key_goes_to_the_same_endpoint_whatever_the_worker_and_the_order_of_the_pool() {
        let (one, other) = ([10, 20, 30, 40, 50], [50, 30, 10, 40, 20]);
        let (first, second) = (ring(&one, &[1; 5], 1), ring(&other, &[1; 5], 2));
        let (mut a, mut b) = (Pool::of(5), Pool::of(5));
        for key in 0..KEYS {
            let (x, y) = (a.pick(&first, key).unwrap(), b.pick(&second, key).unwrap());
            assert_eq!(one[x], other[y], "{key}");
        }
        // And whatever the version: this is what other proxies in front of the service have.
        let placed: Vec<_> = (0..8).map(|key| one[a.pick(&first, key).unwrap()]).collect();
        assert_eq!(placed, PLACED);
    }

    const PLACED: [u64; 8] = [20, 40, 40, 50, 40, 10, 30, 20];

    #[test]
    fn shares_follow_the_weights() {
        let ring = ring(&[1, 2, 3], &[1, 2, 5], 7);
        let (mut pool, mut counts) = (Pool::of(3), [0u32; 3]);
        (0..40_000).for_each(|key| counts[pool.pick(&ring, key).unwrap()] += 1);
        for (count, weight) in counts.iter().zip([1.0, 2.0, 5.0]) {
            let due = 40_000.0 * weight / 8.0;
            assert!((f64::from(*count) / due - 1.0).abs() < 0.35, "{counts:?}");
        }
    }

    #[test]
    fn one_key_that_everybody_asks_for_does_not_drown_its_endpoint() {
        let ring = ring(&[1, 2, 3, 4], &[1; 4], 7);
        let mut pool = Pool::of(4);
        for asked in 1..=400u32 {
            let index = pool.pick(&ring, 77).unwrap();
            pool.in_flight[index] += 1;
            let most = (5 * asked).div_ceil(16);
            assert!(pool.in_flight.iter().all(|n| *n <= most), "{asked}: {:?}", pool.in_flight);
        }
        // What is over goes to the next on the ring, so that three of four have what they may.
        let full = pool.in_flight.iter().filter(|n| **n >= 125).count();
        assert_eq!(full, 3, "{:?}", pool.in_flight);
    }

    #[test]
    fn an_endpoint_in_slow_start_takes_a_part_of_its_keys_and_keeps_them() {
        let ring = ring(&[1, 2, 3], &[1; 3], 7);
        let mut pool = Pool::of(3);
        let own: Vec<u64> = (0..KEYS).filter(|key| pool.pick(&ring, *key) == Some(0)).collect();
        let mut before: BTreeSet<u64> = BTreeSet::new();
        for share in [0.1, 0.5, 0.9] {
            pool.share = share;
            let taken: BTreeSet<u64> = (0..KEYS).filter(|key| pool.pick(&ring, *key) == Some(0)).collect();
            assert!(before.is_subset(&taken) && taken.iter().all(|key| own.contains(key)));
            let part = taken.len() as f64 / own.len() as f64;
            assert!((part - share).abs() < 0.06, "{part} of {share}");
            before = taken;
        }
    }

    #[test]
    fn where_few_of_many_may_be_picked_one_of_those_is() {
        let members: Vec<u64> = (0..2_000).collect();
        let ring = ring(&members, &[1; 2_000], 7);
        let mut pool = Pool::of(2_000);
        pool.out = (0..2_000).filter(|index| *index != 1_234).collect();
        assert_eq!(pool.pick(&ring, 5), Some(1_234));
        pool.out.insert(1_234);
        assert_eq!(pool.pick(&ring, 5), None);
        assert_eq!(Ring::new(&[], &|_| 0, 1).pick(&Pool { key: Some(1), ..Pool::of(0) }), None);
        assert!(ring.pick(&Pool::of(2_000)).is_some(), "without a key");
    }

    proptest! {
        /// Those that stay keep their keys: what moves was of the endpoint that goes, or is of the one that comes.
        #[test]
        fn an_endpoint_that_comes_or_goes_moves_its_own_keys_alone(
            size in 2usize..12, gone in 0usize..12, salt in any::<u64>(),
        ) {
            let gone = gone % size;
            let all: Vec<u64> = (0..size as u64).map(|n| mix(salt ^ n)).collect();
            let fewer: Vec<u64> = all.iter().copied().filter(|member| *member != all[gone]).collect();
            let (with, without) = (ring(&all, &vec![1; size], 1), ring(&fewer, &vec![1; size - 1], 2));
            let (mut a, mut b, mut ejected) = (Pool::of(size), Pool::of(size - 1), Pool::of(size));
            ejected.out.insert(gone);
            let mut moved = 0;
            for key in 0..1_000 {
                let before = all[a.pick(&with, key).unwrap()];
                let after = fewer[b.pick(&without, key).unwrap()];
                if before == all[gone] {
                    moved += 1;
                } else {
                    prop_assert_eq!(before, after);
                }
                // One that is ejected is passed over as if it were not there.
                prop_assert_eq!(all[ejected.pick(&with, key).unwrap()], after);
            }
            // And it had about its share of them.
            let due = 1_000.0 / size as f64;
            prop_assert!((moved as f64) < due * 1.7 + 30.0, "{} of {} moved", moved, due);
        }

        #[test]
        fn no_endpoint_is_over_its_bound_while_another_is_under_it(
            weights in proptest::collection::vec(1u32..5, 2..8),
            keys in proptest::collection::vec(0u64..6, 1..300),
        ) {
            let members: Vec<u64> = (0..weights.len() as u64).collect();
            let ring = ring(&members, &weights, 1);
            let all: u32 = weights.iter().sum();
            let mut pool = Pool::of(weights.len());
            for (asked, key) in keys.iter().enumerate() {
                let index = pool.pick(&ring, *key).unwrap();
                pool.in_flight[index] += 1;
                let most = (5 * weights[index] * (asked as u32 + 1)).div_ceil(4 * all);
                prop_assert!(pool.in_flight[index] <= most, "{:?}", pool.in_flight);
            }
        }
    }
}
