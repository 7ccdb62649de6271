//! What a cell of the matrix says.

use serde::{Deserialize, Serialize};

/// What a part of the product is; in order, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does what it is for.
    Available,
    /// It does something, and says so.
    Degraded,
    /// Neither.
    Unavailable,
}

impl State {
    /// Each of them, the best first.
    pub const ALL: [Self; 3] = [Self::Available, Self::Degraded, Self::Unavailable];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }

    /// The best that held: such a share of the tries was so, or better. Unavailable where there were none.
    pub fn that_held(available: u64, degraded: u64, unavailable: u64, hold: f64) -> Self {
        let tries = available.saturating_add(degraded).saturating_add(unavailable);
        // In whole tries: a share of 95 % of 20 is 19, whatever the last bit of a quotient says.
        let needed = (hold * tries as f64 - 1e-9).ceil() as u64;
        match () {
            () if tries == 0 => Self::Unavailable,
            () if available >= needed => Self::Available,
            () if available.saturating_add(degraded) >= needed => Self::Degraded,
            () => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_best_that_enough_tries_were() {
        let held = |a, d, u| State::that_held(a, d, u, 0.95);
        assert_eq!(held(19, 0, 1), State::Available);
        assert_eq!(held(18, 0, 2), State::Unavailable);
        assert_eq!(held(18, 2, 0), State::Degraded);
        assert_eq!(held(0, 19, 1), State::Degraded);
        assert_eq!(held(0, 0, 0), State::Unavailable);
        assert_eq!(State::that_held(99, 0, 1, 1.0), State::Unavailable);
        assert!(State::Available < State::Degraded && State::Degraded < State::Unavailable);
    }
}
