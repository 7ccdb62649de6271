//! `slow_close`: the end of the stream comes later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Held, Left, Next, PASSING};
use crate::clock::Instant;

/// Delays the closing of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlowClose {
    /// Milliseconds.
    pub delay: u64,
}

/// At work.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: SlowClose,
    pub(super) held: Held,
    ended: Option<Instant>,
}

impl Run {
    pub(super) fn new(attributes: SlowClose) -> Self {
        Self { attributes, held: Held::default(), ended: None }
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.cost < PASSING
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.held.ended = true;
        self.ended.get_or_insert(now);
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(piece) = self.held.pop() {
            return Next::Piece(piece);
        }
        let delay = super::millis(self.attributes.delay);
        match self.ended.map(|ended| ended + delay) {
            Some(due) if due > now => Next::Wait(Some(due)),
            Some(_) => Next::End,
            None => Next::Wait(None),
        }
    }

    pub(super) fn release(self) -> Left {
        self.held.left()
    }
}
