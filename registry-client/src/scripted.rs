//! A registry that plays a script. Tests use it; it is also the shortest example of how to write a registry.
//!
//! A registry says what it found in one [`Source::poll`], and [`follow`] makes the watch of that: its retries, its
//! deadline, its log lines. Here a poll takes the next step of the script; at the end of the script it waits for ever, as
//! a registry does in which nothing changes.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::watch::{Polled, Source, Subject, follow};
use crate::{InstanceSet, Registry, ServiceName, Watch};

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// The registry answers with this set.
    Answer(InstanceSet),
    /// The registry cannot be asked, for this reason. The watch retries with the backoff of all watches.
    Fail(String),
    /// Nothing happens for this long.
    Wait(Duration),
}

/// Plays a script per service to each watch, from its beginning. A service without a script never answers.
#[derive(Debug, Clone, Default)]
pub struct Scripted {
    scripts: BTreeMap<ServiceName, Vec<Step>>,
    seed: u64,
}

impl Scripted {
    /// Without any script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the script of one service.
    #[must_use]
    pub fn with(mut self, service: impl Into<ServiceName>, script: impl IntoIterator<Item = Step>) -> Self {
        self.scripts.insert(service.into(), script.into_iter().collect());
        self
    }

    /// Draws the delays after failures from this seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Registry for Scripted {
    fn watch(&self, service: &ServiceName) -> Watch {
        let script = Script(self.scripts.get(service).cloned().unwrap_or_default().into());
        let subject = Subject { registry: self.describe(), service: service.clone() };
        follow(script, subject, Backoff::NETWORK, fastrand::Rng::with_seed(self.seed))
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }
}

struct Script(VecDeque<Step>);

impl Source for Script {
    async fn poll(&mut self, _last: Option<&Arc<InstanceSet>>) -> Result<Polled, String> {
        match self.0.pop_front() {
            Some(Step::Answer(set)) => Ok(Polled::Set(set, Duration::ZERO)),
            Some(Step::Fail(reason)) => Err(reason),
            Some(Step::Wait(time)) => Ok(Polled::Again(time)),
            None => pending().await,
        }
    }

    fn deadline(&self) -> Duration {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::{Instance, Update};

    #[tokio::test(start_paused = true)]
    async fn a_script_is_played_in_order_and_then_nothing_happens() {
        let one = InstanceSet::new(vec![Instance::at("127.0.0.1:80").unwrap()], Vec::new());
        let steps = [
            Step::Answer(one.clone()),
            Step::Fail("gone".to_owned()),
            Step::Wait(Duration::from_secs(90)),
            Step::Answer(InstanceSet::default()),
        ];
        let scripted = Scripted::new().with("a", steps);
        let mut watch = scripted.watch(&"a".into());
        let start = Instant::now();
        assert!(matches!(watch.next().await, Some(Update::Set(set)) if *set == one));
        assert!(matches!(watch.next().await, Some(Update::Failed(error)) if error.reason == "gone"));
        assert!(matches!(watch.next().await, Some(Update::Set(set)) if set.instances().is_empty()));
        assert!(start.elapsed() >= Duration::from_secs(90));
        let end = tokio::time::timeout(Duration::from_secs(1_000_000), watch.next()).await;
        assert!(end.is_err(), "{end:?}");
    }
}
