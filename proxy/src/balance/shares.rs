//! From weights to choices: what both balancers stand on.
//!
//! The weights are laid end to end on a line of slots, as many as the weights sum to, and each candidate owns one
//! unbroken run of them. To choose is to name a slot and look up its owner. Named at random, slots give choices by
//! weight; named by an evenly spread sequence, they give choices by weight with hardly any error, because such a
//! sequence visits every *run* about as often as its length says. (An alias table also answers in constant time,
//! but scatters a candidate over many pieces of the line, and the errors of the pieces add up.)
//!
//! The lookup is the method of the guide table (H. C. Chen and Y. Asau, "On generating random variates from an
//! empirical distribution", 1974): the line is cut into as many equal pieces as there are candidates, and each
//! piece remembers the first owner in it. A piece has two owners on average; where many small ones crowd into
//! one, they are searched by halving.

use std::cell::Cell;

use super::Candidates;

/// Candidates' shares of a line of slots.
#[derive(Debug)]
pub(super) struct Shares {
    /// Where each candidate's run of slots ends.
    ends: Vec<u64>,
    /// The owner of the first slot of each piece, and at last the last candidate.
    guide: Vec<u32>,
    /// Slots in a piece.
    piece: u64,
    random: Random,
}

/// How often a choice that fell on an unusable candidate is drawn again before the pool is scanned.
const REDRAWS: usize = 8;

/// How many usable candidates a scan weighs against each other.
const SCANNED: usize = 8;

impl Shares {
    /// Lays the weights out, divided by what they have in common.
    pub(super) fn new(weights: &[u32], seed: u64) -> Self {
        let common = weights.iter().fold(0, |common, weight| gcd(common, u64::from((*weight).max(1)))).max(1);
        let mut total = 0;
        let ends: Vec<u64> = weights
            .iter()
            .map(|weight| {
                total += u64::from((*weight).max(1)) / common;
                total
            })
            .collect();
        let pieces = ends.len().max(1) as u64;
        let piece = total.div_ceil(pieces).max(1);
        let mut owner = 0;
        let mut guide = Vec::with_capacity(ends.len() + 1);
        for first in (0..pieces).map(|index| index * piece) {
            while owner + 1 < ends.len() && ends[owner] <= first {
                owner += 1;
            }
            guide.push(u32::try_from(owner).unwrap_or(u32::MAX));
        }
        guide.push(u32::try_from(ends.len().saturating_sub(1)).unwrap_or(u32::MAX));
        Self { ends, guide, piece, random: Random::new(seed) }
    }

    /// Slots on the line: the sum of the weights after division. 0 for an empty pool.
    pub(super) fn slots(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Candidates.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Chance of this pool's own.
    pub(super) fn random(&self) -> &Random {
        &self.random
    }

    /// Whose slot it is. `slot` is below [`Shares::slots`].
    pub(super) fn owner(&self, slot: u64) -> usize {
        // Where all have the same weight, which is usual, each has one slot.
        if self.slots() == self.ends.len() as u64 {
            return usize::try_from(slot).unwrap_or(usize::MAX).min(self.ends.len().saturating_sub(1));
        }
        let (first, last) = self.span(slot);
        first + self.ends[first..last].partition_point(|end| *end <= slot)
    }

    /// A candidate at random, by weight. The pool is not empty.
    pub(super) fn draw(&self) -> usize {
        self.owner(self.random.below(self.slots()))
    }

    /// A usable candidate in place of one that was not, or none when there is none: so that what an unusable
    /// candidate would have had falls on all others by weight, and not on whichever comes next.
    ///
    /// A few draws suffice unless most of the pool is unusable. Then it is walked with a random step from a random
    /// start, which meets the usable ones in random order, and the first few of those decide by weight; so the
    /// last usable candidate of a pool is always found.
    pub(super) fn substitute(&self, candidates: &dyn Candidates) -> Option<usize> {
        for _ in 0..REDRAWS {
            let index = self.draw();
            if candidates.usable(index) {
                return Some(index);
            }
        }
        let len = self.len();
        let step = self.step();
        let mut index = usize::try_from(self.random.below(len as u64)).unwrap_or(0);
        let (mut chosen, mut met, mut sum) = (None, 0, 0);
        for _ in 0..len {
            if candidates.usable(index) {
                let weight = self.weight(index);
                sum += weight;
                met += 1;
                if self.random.below(sum) < weight {
                    chosen = Some(index);
                }
                if met == SCANNED {
                    break;
                }
            }
            index = (index + step) % len;
        }
        chosen
    }

    /// A usable candidate to take a turn that was declined, where a few draws find one that does not decline as well. The
    /// one that declined is drawn like any other: so all get by weight times share, and of two not everything goes to
    /// the other.
    pub(super) fn stand_in(&self, candidates: &dyn Candidates) -> Option<usize> {
        (0..REDRAWS)
            .map(|_| self.draw())
            .find(|at| candidates.usable(*at) && self.random.accepts(candidates.share(*at)))
    }

    /// The first and the last candidate that can own the slot.
    fn span(&self, slot: u64) -> (usize, usize) {
        let piece = usize::try_from(slot / self.piece).unwrap_or(usize::MAX).min(self.guide.len() - 2);
        (self.guide[piece] as usize, self.guide[piece + 1] as usize)
    }

    fn weight(&self, index: usize) -> u64 {
        self.ends[index] - if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// A step at random that visits every candidate: one that has no divisor in common with their number.
    fn step(&self) -> usize {
        let len = self.len() as u64;
        if len < 3 {
            return 1;
        }
        let mut step = 1 + self.random.below(len - 1);
        while gcd(step, len) != 1 {
            step = 1 + self.random.below(len - 1);
        }
        usize::try_from(step).unwrap_or(1)
    }
}

/// SplitMix64 (G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number generators", 2014): a small
/// state in a cell, because a pick has only `&self`.
#[derive(Debug)]
pub(super) struct Random(Cell<u64>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// Any number.
    pub(super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(GOLDEN);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True with this probability; a certainty asks for no chance.
    pub(super) fn accepts(&self, probability: f64) -> bool {
        // 53 bits are what a float holds.
        probability >= 1.0 || ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// A number below `bound`; 0 where that is 0.
    pub(super) fn below(&self, bound: u64) -> u64 {
        scale(self.next(), bound)
    }
}

/// The golden ratio's fraction, in 64 bits.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A point of the whole range of 64 bits, as a slot of `0..slots`.
pub(super) fn scale(point: u64, slots: u64) -> u64 {
    let product = u128::from(point) * u128::from(slots);
    u64::try_from(product >> 64).unwrap_or(0)
}

/// The greatest common divisor; of 0 and a number, the number.
pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_slot_has_its_owner(weights in proptest::collection::vec(0u32..50, 1..40)) {
            let shares = Shares::new(&weights, 1);
            let common = weights.iter().fold(0, |common, weight| gcd(common, u64::from((*weight).max(1))));
            let expected: Vec<usize> = weights
                .iter()
                .enumerate()
                .flat_map(|(index, weight)| {
                    std::iter::repeat_n(index, usize::try_from(u64::from((*weight).max(1)) / common).unwrap())
                })
                .collect();
            let owners: Vec<usize> = (0..shares.slots()).map(|slot| shares.owner(slot)).collect();
            prop_assert_eq!(owners, expected);
        }

        #[test]
        fn a_step_visits_every_candidate(len in 1usize..200, seed: u64) {
            let shares = Shares::new(&vec![1; len], seed);
            let step = shares.step();
            let mut seen = vec![false; len];
            let mut index = 0;
            for _ in 0..len {
                seen[index] = true;
                index = (index + step) % len;
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }

    #[test]
    fn a_lookup_compares_few_candidates_whatever_the_pool() {
        let skewed = |len: usize| (0..len).map(|index| if index % 2 == 0 { 1 } else { 65_535 }).collect::<Vec<u32>>();
        let sorted = |len: usize| (0..len).map(|index| if index < len / 2 { 1 } else { 65_535 }).collect::<Vec<u32>>();
        for weights in [vec![1; 10], vec![1; 10_000], skewed(10_000), sorted(10_000)] {
            let shares = Shares::new(&weights, 7);
            let compared: usize = (0..10_000)
                .map(|_| {
                    let (first, last) = shares.span(shares.random.below(shares.slots()));
                    (last - first + 1).ilog2() as usize + 1
                })
                .sum();
            assert!(compared <= 3 * 10_000, "{} comparisons for 10,000 lookups", compared);
        }
    }

    #[test]
    fn the_heaviest_weights_do_not_overflow() {
        let shares = Shares::new(&[u32::MAX, u32::MAX - 1, 1], 3);
        assert_eq!(shares.slots(), 2 * u64::from(u32::MAX));
        assert_eq!(shares.owner(shares.slots() - 1), 2);
        assert_eq!(shares.owner(u64::from(u32::MAX)), 1);
    }
}
