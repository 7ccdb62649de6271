//! `timeout`: nothing comes through.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Left, Next};
use crate::clock::Instant;

/// Drops all data, and closes the connection after `timeout`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeout {
    /// Milliseconds from the toxic's beginning on the connection. 0: the connection stays open until the toxic is removed, and
    /// closes then.
    pub timeout: u64,
}

/// At work. What comes in is gone.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: Timeout,
    pub(super) ended: bool,
    began: Instant,
}

impl Run {
    pub(super) fn new(attributes: Timeout, now: Instant) -> Self {
        Self { attributes, ended: false, began: now }
    }

    pub(super) fn has_room(&self) -> bool {
        true
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.ended {
            return Next::End;
        }
        if self.attributes.timeout == 0 {
            return Next::Wait(None);
        }
        let due = self.began + super::millis(self.attributes.timeout);
        if due > now { Next::Wait(Some(due)) } else { Next::Close }
    }

    /// Data is missing in between: the connection cannot go on.
    pub(super) fn release(self) -> Left {
        Left { pieces: Vec::new(), ended: self.ended, close: true }
    }
}
