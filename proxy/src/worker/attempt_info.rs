//! What is known of an attempt at one endpoint, whatever carries it: a request's over either protocol, or a TCP connection's.

use std::rc::Rc;

use crate::clock::Instant;
use crate::upstream::Upstream;

/// Why an attempt was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was the first.
    First,
    /// A connection that had been idle was closing: the same again.
    Replay,
    /// The one before was never written: another endpoint.
    Move,
    /// The one before failed.
    Retry,
    /// The one before took longer than a try may.
    TryTimeout,
    /// The one before was slower than nearly all are.
    Hedge,
}

/// What is known of an attempt, under way or over. While it is there, its endpoint has something to answer.
#[derive(Debug)]
pub struct AttemptInfo {
    /// The endpoint.
    pub upstream: Rc<Upstream>,
    /// Its place in the pool.
    pub index: usize,
    /// When it was started.
    pub started: Instant,
    /// What it was started for.
    pub why: Why,
    /// Which of the request's attempts it is, from 0.
    pub number: usize,
    /// Whether its being slower than nearly all has been acted upon.
    pub hedged: bool,
    /// Whether its taking longer than a try may has been acted upon.
    pub timed: bool,
}

impl AttemptInfo {
    /// Whether it has taken so long that something was done about it.
    pub fn is_overdue(&self) -> bool {
        self.hedged || self.timed
    }
}

impl Drop for AttemptInfo {
    fn drop(&mut self) {
        self.upstream.heard();
        if self.is_overdue() {
            self.upstream.in_time();
        }
    }
}
