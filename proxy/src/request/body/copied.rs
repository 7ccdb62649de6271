//! A copy of a body, for whoever must not hold up the readers of the original.

use crate::clock::Instant;
use crate::http::Length;

use super::{Source, Upload};

impl Upload {
    /// A copy of a body that is here whole; none where it is not. Whoever reads the copy holds nothing of the original.
    pub fn copied(of: &Self, now: Instant) -> Option<Self> {
        if of.is_empty() {
            return Some(Self::empty(now));
        }
        if of.ended.get().is_none() || !of.is_replayable() || of.drained.get() > 0 || of.failure().is_some() {
            return None;
        }
        let all = usize::try_from(of.taken()).ok()?;
        let mut bytes = Vec::with_capacity(all);
        while bytes.len() < all {
            let piece = of.copy(bytes.len() as u64, all - bytes.len());
            if piece.is_empty() {
                return None;
            }
            bytes.extend_from_slice(&piece);
        }
        let length = Length::Exact(bytes.len() as u64);
        Some(Self::new(Source::Copied(bytes.into()), length, now, Some(now)))
    }
}
