//! From a back end that can be asked once to a stream that never ends.
//!
//! # Why here, and not in each registry?
//!
//! The promise of [`Registry::watch`](crate::Registry::watch) (an error never empties a pool, a watch goes on by
//! itself) is too important to be kept by every back end on its own. So a back end only says what it found, or why
//! it could not look, in one [`Source::poll`]; everything that makes a *watch* of that, the retries, the deadline
//! after which a silent connection is given up for dead, the log lines that come once and not a thousand times, is
//! here, and is tested here once, on paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::{InstanceSet, ServiceName, Skipped, Update, Watch, WatchError};

/// One service in one back end, asked again and again.
pub trait Source: Send + 'static {
    /// Asks once, and may wait for news while doing so. `last` is the set that was accepted last.
    ///
    /// # Errors
    /// The reason, as a sentence for an operator. Whatever was accepted before stays good.
    fn poll(&mut self, last: Option<&Arc<InstanceSet>>) -> impl Future<Output = Result<Polled, String>> + Send;

    /// How long one poll may take. One that takes longer counts as failed, and is dropped where it stands.
    fn deadline(&self) -> Duration;

    /// Told after each failed poll, also one that was dropped at its deadline.
    fn failed(&mut self) {}
}

/// What one poll brought.
#[derive(Debug, Clone)]
pub enum Polled {
    /// The whole set, and how long to let the back end rest.
    Set(InstanceSet, Duration),
    /// An answer that says nothing about the instances: ask again after this long.
    Again(Duration),
}

/// Whose watch it is, for errors and logs.
#[derive(Debug, Clone)]
pub struct Subject {
    /// [`Registry::describe`](crate::Registry::describe) of the registry.
    pub registry: String,
    /// The service that is followed.
    pub service: ServiceName,
}

/// Follows a source for ever. Delays after failures are drawn from `rng`, so that a seed replays them.
pub fn follow(source: impl Source, subject: Subject, backoff: Backoff, rng: fastrand::Rng) -> Watch {
    let follower = Follower { source, subject, backoff, rng, last: None, failures: 0, not_before: None };
    Box::pin(stream::unfold(follower, |mut follower| async move {
        let update = follower.next().await;
        Some((update, follower))
    }))
}

struct Follower<S> {
    source: S,
    subject: Subject,
    backoff: Backoff,
    rng: fastrand::Rng,
    last: Option<Arc<InstanceSet>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl<S: Source> Follower<S> {
    async fn next(&mut self) -> Update {
        loop {
            if let Some(at) = self.not_before.take() {
                sleep_until(at).await;
            }
            let deadline = self.source.deadline();
            let polled = match timeout(deadline, self.source.poll(self.last.as_ref())).await {
                Ok(polled) => polled,
                Err(_) => Err(format!("no answer within {deadline:?}")),
            };
            match polled {
                Ok(Polled::Set(set, rest)) => {
                    self.rest(rest);
                    return Update::Set(self.accept(set));
                }
                Ok(Polled::Again(rest)) => self.rest(rest),
                Err(reason) => return Update::Failed(self.fail(reason)),
            }
        }
    }

    fn rest(&mut self, rest: Duration) {
        self.not_before = (!rest.is_zero()).then(|| Instant::now() + rest);
    }

    fn accept(&mut self, set: InstanceSet) -> Arc<InstanceSet> {
        if self.failures > 0 {
            let Subject { registry, service } = &self.subject;
            info!(registry, %service, failures = self.failures, "registry answers again");
            self.failures = 0;
        }
        // An unchanged set is the same allocation: whoever compares can compare pointers first.
        if let Some(last) = self.last.as_ref().filter(|last| ***last == set) {
            return Arc::clone(last);
        }
        self.name_skipped(set.skipped());
        let set = Arc::new(set);
        self.last = Some(Arc::clone(&set));
        set
    }

    /// Names each unusable entry once: when it appears, or when its reason changes.
    fn name_skipped(&self, skipped: &[Skipped]) {
        let known = self.last.as_ref().map_or(&[][..], |last| last.skipped());
        let Subject { registry, service } = &self.subject;
        for Skipped { id, reason } in skipped.iter().filter(|entry| !known.contains(entry)) {
            warn!(registry, %service, instance = &*id.0, reason, "instance cannot be used");
        }
    }

    fn fail(&mut self, reason: String) -> WatchError {
        self.source.failed();
        self.failures = self.failures.saturating_add(1);
        let Subject { registry, service } = self.subject.clone();
        if self.failures == 1 {
            warn!(registry, %service, reason, "registry cannot be asked; the last good set stays");
        }
        let delay = self.backoff.delay(self.failures, self.rng.f64());
        self.rest(delay);
        WatchError { registry, service, reason, failures: self.failures }
    }
}

#[cfg(test)]
mod tests;
