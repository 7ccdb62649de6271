//! Service registries, each as a never-ending stream of *whole* instance sets.
//!
//! The contract of [`Registry::watch`] is the product's first promise, so it is stated in prose:
//!
//! * **A set is whole, never a delta.** Whoever reads it can replace what it had.
//! * **An error of any kind never empties a pool.** "Cannot ask" is not "nothing there": an error arrives as
//!   [`Update::Failed`] beside the last good set, and the watch goes on by itself, with full-jitter backoff.
//! * **An empty set is an answer.** It arrives only when the registry itself said, in a complete and
//!   authorised answer, that there is no such instance.
//! * **A watch ends when its stream is dropped**, and only then.
//!
//! One registry is one file. `scripted` is the shortest example of how to write one.

pub mod backoff;
pub mod consul;
#[cfg(feature = "tower")]
pub mod discover;
pub mod embedded;
pub mod file;
pub mod fixed;
pub mod instance;
pub mod scripted;
pub mod watch;

use std::pin::Pin;

use futures_core::Stream;

pub use instance::{Health, Instance, InstanceId, InstanceSet, ServiceName, Skipped};

/// A stream of updates that ends only when it is dropped.
pub type Watch = Pin<Box<dyn Stream<Item = Update> + Send>>;

/// A source of service instances.
pub trait Registry: Send + Sync + 'static {
    /// Follows one service. The first item arrives as soon as the registry has answered, or failed to.
    fn watch(&self, service: &ServiceName) -> Watch;

    /// What the operator calls it, for logs and the admin API: `consul at http://127.0.0.1:8500`.
    fn describe(&self) -> String;
}

/// One item of a [`Watch`].
#[derive(Debug, Clone)]
pub enum Update {
    /// The whole set as the registry has it now. Sent at each confirmation, also when nothing changed, so
    /// that the age of the data is known; compare [`InstanceSet::same_instances`] before acting on it.
    Set(std::sync::Arc<InstanceSet>),
    /// The registry could not be asked. The last set stays good.
    Failed(WatchError),
}

/// Why a registry could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{registry}: {service}: {reason}")]
pub struct WatchError {
    /// [`Registry::describe`] of the registry.
    pub registry: String,
    /// The service that was asked for.
    pub service: ServiceName,
    /// What happened, and what to do where that is known.
    pub reason: String,
    /// How many failures in a row, this one included.
    pub failures: u32,
}
