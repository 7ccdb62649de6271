//! `reset_peer`: the connection is reset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Left, Next};
use crate::clock::Instant;

/// Resets the connection (RST): `timeout` after the first data in its direction, which is dropped, or after its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResetPeer {
    /// Milliseconds from the first data. 0: at once.
    pub timeout: u64,
}

/// At work. What comes in is gone.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: ResetPeer,
    /// It only closes: it came to a connection that was open already, where Toxiproxy's does no more.
    pub(super) closes: bool,
    touched: Option<Instant>,
}

impl Run {
    pub(super) fn new(attributes: ResetPeer) -> Self {
        Self { attributes, closes: false, touched: None }
    }

    pub(super) fn has_room(&self) -> bool {
        self.touched.is_none()
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.touched.get_or_insert(now);
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self.touched.map(|touched| touched + super::millis(self.attributes.timeout)) {
            Some(due) if due > now => Next::Wait(Some(due)),
            Some(_) if self.closes => Next::Close,
            Some(_) => Next::Reset,
            None => Next::Wait(None),
        }
    }

    /// Where something was dropped the connection cannot go on.
    pub(super) fn release(self) -> Left {
        Left { pieces: Vec::new(), ended: false, close: self.touched.is_some() }
    }
}
