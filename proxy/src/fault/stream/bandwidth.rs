//! `bandwidth`: so many bytes a second.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Held, Left, Next, PASSING, Piece};
use crate::clock::Instant;

/// Lets through at most `rate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// Kilobytes (1,000 bytes) a second. 0 lets nothing through.
    pub rate: u64,
}

/// The pieces are what passes in this time, so that a slow stream flows and does not jump.
const QUANTUM_MS: u64 = 5;
/// What passes in this time is held: more than a timer is ever late by, so that the rate is kept however late it is.
const AHEAD_MS: u64 = 20;
/// What is held at most, however fast.
const HELD: usize = 16 << 20;

/// At work.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: Bandwidth,
    pub(super) held: Held,
    /// Until when the line is taken by what went before.
    free: Instant,
}

impl Run {
    pub(super) fn new(attributes: Bandwidth, now: Instant) -> Self {
        Self { attributes, held: Held::default(), free: now }
    }

    /// Bytes in so many milliseconds, at least one.
    fn bytes(&self, ms: u64) -> usize {
        usize::try_from(self.attributes.rate.saturating_mul(ms)).unwrap_or(usize::MAX).max(1)
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.cost < self.bytes(AHEAD_MS).clamp(PASSING, HELD)
    }

    pub(super) fn push(&mut self, piece: Piece, now: Instant) {
        if self.held.pieces.is_empty() {
            self.free = self.free.max(now);
        }
        self.held.push(piece);
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        let Some(first) = self.held.pieces.front() else { return self.held.rest() };
        if self.attributes.rate == 0 {
            return Next::Wait(None);
        }
        // A receiver that stood still is owed nothing.
        if let Some(earliest) = now.checked_sub(Duration::from_millis(AHEAD_MS)) {
            self.free = self.free.max(earliest);
        }
        let size = first.bytes.len().min(self.bytes(QUANTUM_MS));
        // Kilobytes a second are bytes a millisecond.
        let due = self.free + Duration::from_secs_f64(size as f64 / (self.attributes.rate as f64 * 1e3));
        if due > now {
            return Next::Wait(Some(due));
        }
        self.free = due;
        self.held.split(size).map_or(Next::Wait(None), Next::Piece)
    }

    pub(super) fn release(self) -> Left {
        self.held.left()
    }
}
