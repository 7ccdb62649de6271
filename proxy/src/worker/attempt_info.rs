//! What is known of an attempt at one endpoint. A request over either protocol makes attempts, and so does a TCP
//! connection.

use std::rc::Rc;

use crate::clock::Instant;
use crate::upstream::Upstream;

/// Why an attempt was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is the first attempt.
    First,
    /// The idle connection that was used was closing: the same attempt again, on another connection.
    Replay,
    /// Nothing of the attempt before was written: another endpoint is safe whatever the method.
    Move,
    /// The attempt before failed.
    Retry,
    /// The attempt before has taken longer than the per-try timeout, and may still win.
    TryTimeout,
    /// The attempt before is slower than nearly all are (a hedge).
    Hedge,
}

/// What is known of an attempt, under way or over. While this value lives, its endpoint counts as owing an answer.
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
    /// What the request owes an answer of it to: the same, and for a replay what the attempt that it repeats was started for.
    pub cause: Why,
    /// Which of the request's attempts it is, from 0.
    pub number: usize,
    /// Whether a hedge was due because of this attempt, started or not.
    pub hedged: bool,
    /// Whether this attempt has passed its per-try timeout.
    pub timed: bool,
}

impl AttemptInfo {
    /// Whether the attempt has taken so long that a hedge or a per-try timeout was due.
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
