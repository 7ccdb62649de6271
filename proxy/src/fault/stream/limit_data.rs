//! `limit_data`: the connection closes after so many bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Held, Left, Next, PASSING, Piece};

/// Closes the connection once `bytes` have gone through, to the byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitData {
    /// Bytes.
    pub bytes: u64,
}

/// At work.
#[derive(Debug)]
pub struct Run {
    pub(super) attributes: LimitData,
    pub(super) held: Held,
    passed: u64,
    touched: bool,
}

impl Run {
    pub(super) fn new(attributes: LimitData) -> Self {
        Self { attributes, held: Held::default(), passed: 0, touched: false }
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.cost < PASSING
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.touched = true;
        self.held.push(piece);
    }

    pub(super) fn next(&mut self) -> Next {
        let remaining = self.attributes.bytes.saturating_sub(self.passed);
        if remaining == 0 && self.touched {
            return Next::Close;
        }
        let most = usize::try_from(remaining).unwrap_or(usize::MAX);
        match self.held.split(most) {
            Some(piece) => {
                self.passed += piece.bytes.len() as u64;
                Next::Piece(piece)
            }
            None => self.held.rest(),
        }
    }

    pub(super) fn release(self) -> Left {
        self.held.left()
    }
}
