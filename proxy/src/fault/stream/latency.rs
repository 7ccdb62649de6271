//! `latency`: every byte comes later.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Left, Next, PIECE, Piece};
use crate::clock::Instant;

/// Delays every piece of data by `latency`, more or less by up to `jitter`. Up to 16 MiB are held for a direction of a
/// connection; beyond that its sender has to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Milliseconds.
    pub latency: u64,
    /// Milliseconds: each piece is delayed by `latency` plus or minus a random part of this, never by less than nothing. The
    /// order stays.
    pub jitter: u64,
}

/// What one connection's direction holds back at most; beyond that the sender is slowed down. At 100 ms this is 160 MB a
/// second.
const HELD: usize = 16 << 20;

/// At work.
#[derive(Debug)]
pub struct Run {
    attributes: Latency,
    held: VecDeque<Delayed>,
    cost: usize,
    last: Option<Instant>,
    pub(super) ended: bool,
}

#[derive(Debug)]
struct Delayed {
    piece: Piece,
    /// From 0.0 to 1.0: where between the least and the most delay.
    drawn: f64,
    due: Instant,
}

impl Run {
    pub(super) fn new(attributes: Latency) -> Self {
        Self { attributes, held: VecDeque::new(), cost: 0, last: None, ended: false }
    }

    pub(super) fn change(&mut self, attributes: Latency) {
        self.attributes = attributes;
        self.last = None;
        for at in 0..self.held.len() {
            let due = self.due(self.held[at].piece.at, self.held[at].drawn);
            self.held[at].due = due;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.cost < HELD
    }

    pub(super) fn push(&mut self, piece: Piece, rng: &mut Rng) {
        let drawn = if self.attributes.jitter > 0 { rng.f64() } else { 0.5 };
        let due = self.due(piece.at, drawn);
        self.cost += piece.bytes.len() + PIECE;
        self.held.push_back(Delayed { piece, drawn, due });
    }

    /// Never before the one before it: the order stays.
    fn due(&mut self, came: Instant, drawn: f64) -> Instant {
        let Latency { latency, jitter } = self.attributes;
        let most = latency.saturating_add(jitter) as f64;
        let delay = (most - 2.0 * jitter as f64 * (1.0 - drawn)).clamp(0.0, LONGEST_MS);
        let due = came + Duration::from_secs_f64(delay / 1e3);
        let due = self.last.map_or(due, |last| due.max(last));
        self.last = Some(due);
        due
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self.held.front() {
            Some(first) if first.due > now => Next::Wait(Some(first.due)),
            Some(_) => match self.held.pop_front() {
                Some(Delayed { piece, due, .. }) => {
                    self.cost -= piece.bytes.len() + PIECE;
                    Next::Piece(Piece { at: due, ..piece })
                }
                None => Next::Wait(None),
            },
            None if self.ended => Next::End,
            None => Next::Wait(None),
        }
    }

    pub(super) fn release(self) -> Left {
        let pieces = self.held.into_iter().map(|delayed| delayed.piece).collect();
        Left { pieces, ended: self.ended, close: false }
    }
}

/// No delay is longer than a day: an [`Instant`] must be able to hold it.
const LONGEST_MS: f64 = 86_400_000.0;
