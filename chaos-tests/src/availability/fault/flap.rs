//! A process that dies and is started again, over and over: whoever has just learned that it is dead, or that it is
//! well, is wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Door, Model};

/// Closed as in [`Refuse`](super::Refuse) and open, in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flap {
    /// Of each state, in milliseconds.
    pub half_ms: u32,
}

impl Model for Flap {
    fn door(&self, lasted: Duration) -> (Door, Option<Duration>) {
        let half = Duration::from_millis(self.half_ms.into());
        let halves = lasted.as_nanos() / half.as_nanos().max(1);
        let door = if halves.is_multiple_of(2) { Door::Closed } else { Door::Open };
        (door, Some(half.mul_f64(halves as f64 + 1.0)))
    }
}
