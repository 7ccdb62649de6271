//! `noop`: nothing changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes nothing. It is there to be listed, counted and removed: for the tests of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Noop {}
