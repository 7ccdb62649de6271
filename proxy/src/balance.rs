//! Which endpoint takes the next request.
//!
//! A pool asks for two things that pull against each other. The operator's **weights** say how much each endpoint
//! is meant to carry, and have to hold exactly as long as nothing is wrong. The **load** that a worker sees says
//! what each can carry at this moment, and has to win as soon as something *is* wrong. Both balancers here take
//! the weights from a sequence that spreads its choices evenly instead of drawing them at random, so that a
//! weight is kept within a few requests and not within a few times the square root of their number.
//! [`p2c`] then lets a clear difference in load overrule the choice; [`round_robin`] never does. [`ring`] asks a third thing,
//! that requests of one kind stay together, and puts it first.
//!
//! A balancer belongs to one worker and one pool, is built when the pool changes, and costs the same whether the
//! pool has ten endpoints or ten thousand. Everything here is synchronous and pure: no clock, no I/O, and all
//! chance comes from a seed.

pub mod ewma;
pub mod p2c;
pub mod ring;
pub mod round_robin;
mod shares;
pub mod slow_start;

use crate::config::settings::Balance;

pub use ewma::Ewma;
pub use p2c::P2c;
pub use ring::Ring;
pub use round_robin::RoundRobin;

/// What a balancer may know of a pool: the worker's own view, indexed as the balancer was built.
pub trait Candidates {
    /// How loaded the candidate is.
    fn load(&self, index: usize) -> Load;

    /// False for one that must not be picked: already tried, ejected, at its limit.
    fn usable(&self, index: usize) -> bool;

    /// The part of its weight's share that the candidate takes at this time, above 0 to 1.0
    /// ([`ramp`](slow_start::ramp)).
    fn share(&self, _index: usize) -> f64 {
        1.0
    }

    /// What the request has in common with others, for a balancer that keeps those together. None for nothing.
    fn key(&self) -> Option<u64> {
        None
    }
}

/// How loaded a candidate is. Only what two of them say of each other means anything.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What its answers take, in microseconds, failures included ([`Ewma`]). Finite, and at least [`ewma::FLOOR_US`].
    pub latency: f64,
    /// What it has in flight.
    pub in_flight: u32,
    /// Its weight, relative to the other's. Above zero.
    pub weight: f64,
}

/// The part of a load that another has to be under to be clearly less.
pub const CLEARLY: f64 = 0.5;
/// The part of a load that another has to be under to be less without doubt.
const SURELY: f64 = 0.25;

/// Requests in flight that are this many standard deviations away from what the weights give are no chance.
const DEVIATIONS: f64 = 4.0;

impl Load {
    /// The latency times what waits for it, the next request included.
    pub fn cost(&self) -> f64 {
        self.latency * (1.0 + f64::from(self.in_flight) / self.weight)
    }

    /// How likely a turn goes to the other: never unless that is clearly less, always where it is less without doubt.
    ///
    /// Two that are equally good never have the same in flight, nor is what they have proportional to their weights: of
    /// four requests, a weight of one in ten cannot have 0.4. So what is in flight counts where it is no chance: where it
    /// is further from the weights than such numbers are when each request goes to one of the two by weight.
    ///
    /// Between *clearly* and *without doubt* some turns are kept. An estimate that is wrong by chance is wrong by a little, and
    /// is put right by the answers to those.
    pub fn yields_to(&self, other: &Self) -> f64 {
        let (own, all) = (f64::from(self.in_flight), f64::from(self.in_flight + other.in_flight));
        let part = self.weight / (self.weight + other.weight);
        // One is what the next request makes.
        let beyond = (own - all * part).abs() - 1.0;
        let counts = beyond > 0.0 && beyond * beyond > DEVIATIONS * DEVIATIONS * all * part * (1.0 - part);
        let (own, others) = if counts { (self.cost(), other.cost()) } else { (self.latency, other.latency) };
        let clearly = own * CLEARLY - others;
        if clearly <= 0.0 { 0.0 } else { clearly / (own * (CLEARLY - SURELY)) }
    }
}

/// A way to choose. Built once per pool and worker from the candidates' weights, and asked once per attempt.
pub trait LoadBalancer {
    /// The candidate's index, or none when no candidate is usable.
    fn pick(&self, candidates: &dyn Candidates) -> Option<usize>;
}

/// Builds the balancer of a pool for one worker, in time linear in its size.
///
/// `weights` has one entry per candidate, in the order of their indices; a weight of 0 counts as 1, because what
/// takes no traffic is in no pool. `seed` should differ from worker to worker, so that they do not march in step.
/// `identity` is what a candidate is recognised by, wherever it stands.
pub fn build(kind: Balance, weights: &[u32], identity: &dyn Fn(usize) -> u64, seed: u64) -> Box<dyn LoadBalancer> {
    match kind {
        Balance::P2c => Box::new(P2c::new(weights, seed)),
        Balance::RoundRobin => Box::new(RoundRobin::new(weights, seed)),
        Balance::ConsistentHash => Box::new(Ring::new(weights, identity, seed)),
    }
}

#[cfg(test)]
mod tests;
