//! Which endpoint takes the next request.

/// What a balancer may know of a pool: the worker's own view, indexed as the balancer was built.
pub trait Candidates {
    /// How loaded the candidate is: its peak-EWMA latency times what it has in flight, a penalty for failures
    /// included. Only the order and the ratio of two loads mean anything. Finite and above zero.
    fn load(&self, index: usize) -> f64;

    /// False for one that must not be picked: already tried, ejected, at its limit.
    fn usable(&self, index: usize) -> bool;
}

/// A way to choose. Built once per pool and worker from the candidates' weights, and asked once per attempt.
pub trait LoadBalancer {
    /// The candidate's index, or none when no candidate is usable.
    fn pick(&self, candidates: &dyn Candidates) -> Option<usize>;
}
