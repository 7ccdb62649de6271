//! Two choices, and the clearly less loaded of them: the default.
//!
//! Why two and not the least loaded of all? Because every worker, and every proxy beside this one, knows the load
//! of an endpoint a little late and only in part. All of them would send everything to the one that looks best,
//! until it is the worst. Of two choices the better one takes nearly all of the gain and none of the stampede:
//! however idle an endpoint looks, it is offered in about two picks of its weight's share and can win no more.
//! (M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001.)
//!
//! **How weight and load combine.** Weight decides what is offered, load decides only between the two offered:
//!
//! * The *first* choice follows the weights exactly: it comes from a sequence that steps by the golden ratio
//!   around the line of weights, from a random start. With nothing wrong the first choice is the pick, so weights
//!   hold within a few requests.
//! * The *second* is another candidate, at random by weight.
//! * The second wins only if its load is less than half of the first's ([`CLEARLY`](super::CLEARLY)): now and then where it
//!   is little less than half, always where it is a quarter ([`Load::yields_to`](super::Load::yields_to)). Load is the latency
//!   ([`Ewma`](super::Ewma)), and where more is in flight than chance explains, latency × (1 + in flight ÷ weight).
//!
//! **Why half, and why beyond chance?** Two equally good endpoints never measure the same: latencies vary by tens of
//! percent, and a single request in flight doubles what an idle endpoint has. If every such difference moved a request, the
//! pick would follow the noise, and under noise a pick between two distinct candidates pulls unequal weights
//! towards equal ones: the heavier one is challenged more often than it challenges. Where the noise is small beside the
//! bounds, weights hold to a few percent (`worker/cluster/tests.rs`). Whatever deserves a reaction is far above them: an endpoint
//! that is overloaded, slow or failing is soon off by ten, and one that hangs is silent and gathers requests.
//!
//! A candidate in slow start accepts being chosen, first or second, with the probability of its ramp
//! ([`slow_start`](super::slow_start)).

use std::cell::Cell;

use super::shares::{GOLDEN, Shares, scale};
use super::{Candidates, LoadBalancer};

/// How often the second choice is drawn before the first goes unopposed.
const SECONDS: usize = 4;

/// Weighted two choices by load.
#[derive(Debug)]
pub struct P2c {
    shares: Shares,
    /// Where the sequence of first choices stands, on a circle of 2^64 points.
    point: Cell<u64>,
}

impl P2c {
    /// For candidates of these weights; a weight of 0 counts as 1.
    pub fn new(weights: &[u32], seed: u64) -> Self {
        let shares = Shares::new(weights, seed);
        let point = Cell::new(shares.random().next());
        Self { shares, point }
    }

    /// The next candidate by weight, whether usable or not.
    fn next(&self) -> usize {
        let point = self.point.get().wrapping_add(GOLDEN);
        self.point.set(point);
        self.shares.owner(scale(point, self.shares.slots()))
    }

    /// Another usable candidate to hold against the first, where a few draws find one. They may not, in a pool
    /// where one candidate has nearly all the weight, and then there is not much to choose.
    fn second(&self, first: usize, candidates: &dyn Candidates) -> Option<usize> {
        (0..SECONDS).map(|_| self.shares.draw()).find(|second| *second != first && candidates.usable(*second))
    }
}

impl LoadBalancer for P2c {
    fn pick(&self, candidates: &dyn Candidates) -> Option<usize> {
        if self.shares.len() == 0 {
            return None;
        }
        let mut first = self.next();
        if !candidates.usable(first) {
            first = self.shares.substitute(candidates)?;
        }
        if self.shares.len() == 1 {
            return Some(first);
        }
        let share = candidates.share(first);
        if share < 1.0
            && !self.shares.random().accepts(share)
            && let Some(other) = self.shares.stand_in(candidates)
            && candidates.load(other).cost() * share < candidates.load(first).cost()
        {
            first = other;
        }
        let Some(second) = self.second(first, candidates) else { return Some(first) };
        let yields = candidates.load(first).yields_to(&candidates.load(second));
        let moves = yields > 0.0 && self.shares.random().accepts(yields * candidates.share(second));
        Some(if moves { second } else { first })
    }
}
