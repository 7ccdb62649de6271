//! The process is gone, the host is there: the kernel refuses connections at once. The kindest way to die.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Door, Model};

/// The listener is closed and every connection reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refuse {}

impl Model for Refuse {
    fn door(&self, _: Duration) -> (Door, Option<Duration>) {
        (Door::Closed, None)
    }
}
