//! In turn, by weight, whatever the load.
//!
//! For pools whose latency says nothing about what they can take: long polls, streams, work of very unequal size.
//!
//! The usual smooth weighted round robin (nginx's) looks at every endpoint for every pick. Here the pick steps
//! around the line of weights (`shares`) by a fixed stride of about 0.618 of its length. The stride has no divisor
//! in common with the length, so that each slot comes up exactly once in a full turn: **weights are exact to the
//! request over each turn**, and an endpoint of weight 5 gets 5. Within the turn a stride near the golden ratio
//! keeps an endpoint's picks as far from each other as a rotation can, so that a heavy one does not get its share
//! in one burst. No schedule is stored: the memory is that of the weights, and a pick is an addition and a lookup.
//!
//! What would have gone to an unusable endpoint is drawn at random among the others by weight. To give it to the
//! next in turn, as is common, would double the load of that one alone. So is the turn that an endpoint in slow start
//! declines ([`slow_start`](super::slow_start)).

use std::cell::Cell;

use super::shares::{GOLDEN, Shares, gcd, scale};
use super::{Candidates, LoadBalancer};

/// Smooth weighted round robin in constant time.
#[derive(Debug)]
pub struct RoundRobin {
    shares: Shares,
    stride: u64,
    slot: Cell<u64>,
}

impl RoundRobin {
    /// For candidates of these weights; a weight of 0 counts as 1. The turn starts at a place that the seed says.
    pub fn new(weights: &[u32], seed: u64) -> Self {
        let shares = Shares::new(weights, seed);
        let slot = Cell::new(shares.random().below(shares.slots()));
        let stride = stride(shares.slots());
        Self { shares, stride, slot }
    }

    fn next(&self) -> usize {
        let slot = self.slot.get();
        let stepped = slot + self.stride;
        self.slot.set(if stepped >= self.shares.slots() { stepped - self.shares.slots() } else { stepped });
        self.shares.owner(slot)
    }
}

impl LoadBalancer for RoundRobin {
    fn pick(&self, candidates: &dyn Candidates) -> Option<usize> {
        if self.shares.len() == 0 {
            return None;
        }
        let next = self.next();
        let index = if candidates.usable(next) { next } else { self.shares.substitute(candidates)? };
        let share = candidates.share(index);
        if share < 1.0 && !self.shares.random().accepts(share) {
            return self.shares.stand_in(candidates).or(Some(index));
        }
        Some(index)
    }
}

/// Strides that are looked at.
const STRIDES: u64 = 64;

/// A stride that visits every slot and spreads well: of those nearest to the golden section, the one whose
/// continued fraction with the number of slots has the smallest terms. Large terms mean that after a few steps
/// the turn comes back close to where it was, and runs along one endpoint. (J. F. Koksma and S. K. Zaremba: the
/// discrepancy of a rotation is bounded by the sum of those terms.)
fn stride(slots: u64) -> u64 {
    let golden = scale(GOLDEN, slots).max(1);
    let lowest = golden.saturating_sub(STRIDES / 2).max(1);
    let coprime = (lowest..lowest + STRIDES).filter(|stride| *stride < slots && gcd(*stride, slots) == 1);
    coprime.min_by_key(|stride| (terms(*stride, slots), stride.abs_diff(golden))).unwrap_or(1)
}

/// The sum of the terms of a fraction's continued fraction.
fn terms(mut numerator: u64, mut denominator: u64) -> u64 {
    let mut sum = 0;
    while numerator != 0 {
        sum += denominator / numerator;
        (numerator, denominator) = (denominator % numerator, numerator);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_always_visits_every_slot() {
        for slots in (1..5_000).chain([65_536, 720_720, 9_699_690, 223_092_870, u64::from(u32::MAX) * 10_000]) {
            assert_eq!(gcd(stride(slots), slots), 1, "{slots} slots");
        }
    }

    #[test]
    fn a_large_turn_is_nearly_golden() {
        for slots in [10_000, 65_536, 720_720, 9_699_690] {
            assert!(terms(stride(slots), slots) < 80, "{slots} slots: {}", terms(stride(slots), slots));
        }
    }
}
