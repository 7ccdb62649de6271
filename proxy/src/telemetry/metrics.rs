//! Every metric's name, once.
//!
//! A worker counts into a [`ServiceTally`] of its own, plain integers, and hands it over at each tick:
//! nothing shared is written while a request succeeds, and a histogram cannot grow until somebody scrapes.

use std::time::Duration;

use crate::error::Reason;

/// A service's metrics, resolved once.
#[derive(Debug)]
pub struct ServiceMetrics {}

/// What one worker has counted of one service since its last tick.
#[derive(Debug, Default)]
pub struct ServiceTally {}

impl ServiceTally {
    /// A request was answered by an endpoint: the status that went to the client, and the time from the
    /// request's head to the answer's head.
    pub fn answered(&mut self, _status: u16, _latency: Duration) {}

    /// A request was answered by the proxy itself.
    pub fn refused(&mut self, _reason: Reason, _latency: Duration) {}

    /// An attempt ended: none for an answer that counts as good.
    pub fn attempted(&mut self, _failure: Option<Reason>) {}

    /// An attempt after the first was started.
    pub fn retried(&mut self) {}

    /// A connection to an endpoint was opened.
    pub fn connected(&mut self) {}
}

impl ServiceMetrics {
    /// Resolves the metrics of a service.
    pub fn new(_service: &str) -> Self {
        Self {}
    }

    /// Takes over what a worker has counted, and leaves it at zero.
    pub fn absorb(&self, _tally: &mut ServiceTally) {}
}
