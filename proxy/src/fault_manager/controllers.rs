//! Those who ask for faults, and may be gone at any moment: heartbeats, and the one drill that may run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;

/// How long a controller that has nothing any more is remembered, so that it can still learn why.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Controllers that are remembered at one time.
const MOST: usize = 1000;

/// Everybody who has asked for something and gave a name.
#[derive(Debug, Default)]
pub(super) struct Controllers {
    known: BTreeMap<Arc<str>, Controller>,
    drill: Option<Drill>,
}

#[derive(Debug)]
struct Controller {
    heard: Instant,
    aborted: Option<Arc<str>>,
}

/// A drill that is running.
#[derive(Debug, Clone)]
pub struct Drill {
    /// Who runs it.
    pub controller: Arc<str>,
    /// What it is called.
    pub name: Arc<str>,
    /// It is over when its controller was not heard of for so long.
    pub heartbeat: Duration,
}

impl Controllers {
    /// Somebody says something.
    pub(super) fn heard(&mut self, controller: &str, now: Instant) {
        if let Some(known) = self.known.get_mut(controller) {
            known.heard = now;
        } else if self.known.len() < MOST {
            self.known.insert(controller.into(), Controller { heard: now, aborted: None });
        }
    }

    /// Whether somebody was not heard of for so long.
    pub(super) fn is_silent(&self, controller: &str, heartbeat: Duration, now: Instant) -> bool {
        let known = self.known.get(controller);
        known.is_none_or(|known| now.saturating_duration_since(known.heard) > heartbeat)
    }

    /// Why a guard has ended somebody's faults.
    pub(super) fn aborted(&self, controller: &str) -> Option<Arc<str>> {
        self.known.get(controller).and_then(|known| known.aborted.clone())
    }

    /// A guard has tripped: whoever is known learns it.
    pub(super) fn abort(&mut self, saw: &Arc<str>) {
        for controller in self.known.values_mut() {
            controller.aborted.get_or_insert_with(|| Arc::clone(saw));
        }
    }

    /// Begins a drill. The one that is running, where there is one.
    pub(super) fn begin(&mut self, drill: Drill, now: Instant) -> Result<(), Drill> {
        if let Some(running) = &self.drill
            && running.controller != drill.controller
        {
            return Err(running.clone());
        }
        // Whatever became of an earlier one of the same name.
        self.known.insert(Arc::clone(&drill.controller), Controller { heard: now, aborted: None });
        self.drill = Some(drill);
        Ok(())
    }

    /// Ends a drill. False where this controller runs none.
    pub(super) fn finish(&mut self, controller: &str) -> bool {
        self.drill.take_if(|drill| &*drill.controller == controller).is_some()
    }

    /// Forgets whoever has gone.
    pub(super) fn sweep(&mut self, has_any: impl Fn(&str) -> bool, now: Instant) {
        let silent = |drill: &mut Drill| {
            self.known
                .get(&drill.controller)
                .is_none_or(|known| now.saturating_duration_since(known.heard) > drill.heartbeat)
        };
        if let Some(drill) = self.drill.take_if(silent) {
            tracing::warn!(drill = %drill.name, controller = %drill.controller, "a drill's controller was not heard of; the drill is over");
        }
        let runs = |name: &str| self.drill.as_ref().is_some_and(|drill| &*drill.controller == name);
        self.known.retain(|name, known| {
            now.saturating_duration_since(known.heard) < REMEMBERED || runs(name) || has_any(name)
        });
    }
}
