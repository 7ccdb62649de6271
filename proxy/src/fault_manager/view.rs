//! A fault as it is shown.

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::fault::active::Active;
use crate::fault::spec::Spec;

/// A fault, for whoever asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultView {
    /// Never used twice in the life of the process.
    pub id: u64,
    /// As it was asked for, its name and its time to live filled in.
    pub fault: Spec,
    /// Who asked for it.
    pub by: String,
    /// Since it was added.
    pub age_ms: u64,
    /// Until it ends by itself; none where it does not.
    pub remaining_ms: Option<u64>,
    /// How many requests or connections it has struck.
    pub injected: u64,
}

impl FaultView {
    /// At a time.
    pub fn of(active: &Active, now: Instant) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: active.id,
            fault: active.spec.clone(),
            by: active.origin.by.to_string(),
            age_ms: ms(now.saturating_duration_since(active.began)),
            remaining_ms: active.until.map(|until| ms(until.saturating_duration_since(now))),
            injected: active.injected(),
        }
    }
}
