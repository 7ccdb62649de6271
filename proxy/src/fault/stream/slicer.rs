//! `slicer`: small pieces instead of large ones.

use std::time::Duration;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Held, Left, Next, PASSING};
use crate::clock::Instant;

/// Cuts data into pieces, each a packet of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Slicer {
    /// Bytes of a piece, on average.
    pub average_size: u64,
    /// Bytes by which a piece may be smaller or larger; below `average_size`.
    pub size_variation: u64,
    /// Microseconds between two pieces.
    pub delay: u64,
}

/// A timer is late by a millisecond or two. What it is late by is made up for, so that pieces keep their pace on average.
const LATE: Duration = Duration::from_millis(2);

/// At work.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: Slicer,
    pub(super) held: Held,
    /// No piece before.
    ready: Instant,
}

impl Run {
    pub(super) fn new(attributes: Slicer, now: Instant) -> Self {
        Self { attributes, held: Held::default(), ready: now }
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.cost < PASSING
    }

    pub(super) fn next(&mut self, now: Instant, rng: &mut Rng) -> Next {
        let Some(first) = self.held.pieces.front() else { return self.held.rest() };
        if self.ready > now {
            return Next::Wait(Some(self.ready));
        }
        let Slicer { average_size, size_variation, delay } = self.attributes;
        let (average, variation) = (average_size.max(1), size_variation.min(average_size.saturating_sub(1)));
        let len = first.bytes.len() as u64;
        let size = match () {
            // The rest is no smaller than others are.
            () if len <= average.saturating_add(variation) => len,
            () if variation == 0 => average,
            () => rng.u64(average - variation..=average + variation),
        };
        let delay = Duration::from_micros(delay.min(LONGEST_US));
        self.ready = now.checked_sub(LATE.min(delay)).map_or(now, |earliest| self.ready.max(earliest)) + delay;
        // No larger than what it is of, so it fits.
        self.held.split(size.min(len) as usize).map_or(Next::Wait(None), Next::Piece)
    }

    pub(super) fn release(self) -> Left {
        self.held.left()
    }
}

/// A day.
const LONGEST_US: u64 = 86_400_000_000;
