//! Work that a service still does for nobody.
//!
//! A client that gives up takes its request away from here, but seldom from the queue of the service: few servers notice,
//! and what they have queued they work off. Whoever counts only what is in flight takes the service for idle just when its
//! queue is longer than anybody's patience, fills it again, and nobody is ever answered in time. So what has left
//! without an answer counts until it can have been worked off: by what the service does in that time beside its answers,
//! or until requests that set out later are answered. The same holds for what has been out for so long that it may be
//! a poll: it may as well be in the queue.

use std::time::Duration;

use crate::clock::Instant;

/// How many those are.
#[derive(Debug)]
pub struct Hidden {
    /// Given up by their clients.
    cancelled: f64,
    /// Out for too long to be counted.
    aged: f64,
    /// Before this all of the aged had set out.
    aged_before: Instant,
    /// When it was last reckoned, and the answers by then.
    at: (Instant, u64),
}

/// What has left without an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Left {
    /// Given up by their clients.
    pub cancelled: u32,
    /// Out for too long to be counted.
    pub aged: u32,
}

impl Hidden {
    /// None.
    pub fn new(now: Instant) -> Self {
        Self { cancelled: 0.0, aged: 0.0, aged_before: now, at: (now, 0) }
    }

    /// How many.
    pub fn count(&self) -> f64 {
        self.cancelled + self.aged
    }

    /// Some have left, those that are older than `young` among them, of a service that does `capacity` a second and has
    /// given so many answers.
    pub fn pass(&mut self, left: Left, young: f64, capacity: f64, answers: u64, now: Instant) {
        let (at, before) = std::mem::replace(&mut self.at, (now, answers));
        let done = capacity * now.saturating_duration_since(at).as_secs_f64();
        let unseen = (done - (answers - before) as f64).max(0.0);
        let from_aged = unseen.min(self.aged);
        self.aged += f64::from(left.aged) - from_aged;
        self.cancelled = (self.cancelled - (unseen - from_aged)).max(0.0) + f64::from(left.cancelled);
        if left.aged > 0 {
            self.aged_before = now - Duration::from_secs_f64(young);
        }
    }

    /// First come, first served: what had set out before then has been served. Of what set out later, so many were given
    /// up.
    pub fn served(&mut self, before: Instant, cancelled: f64) {
        self.cancelled = self.cancelled.min(cancelled);
        if self.aged_before <= before {
            self.aged = 0.0;
        }
    }
}
