//! Who adds faults and ends them: the only writer.
//!
//! A forgotten fault is an outage that nobody planned, so nothing here can be left behind. Every fault has an end of its
//! own; a controller that asked for it is held to its heartbeat; there are caps on how many faults there are and on what
//! they may reach; and in a process that was not started for it (`faults.enabled`) there are none at all. What is done is
//! written to the audit log: who, what, when, and why it ended.
//!
//! One lock, held for a moment, by nobody who carries requests: those read the subjects.

mod audit;
mod caps;
mod controllers;
pub mod guard;
mod view;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "admin, control and the main thread alone; no worker ever takes it")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::FaultLimits;
use crate::fault::active::{Active, FaultTarget, Origin};
use crate::fault::guard::GuardSpec;
use crate::fault::spec::{Fault, Invalid, Kind, Spec, TTL};
use crate::snapshot::Reader;
use crate::units::Interval;

pub use audit::{Audit, Entry, Happened};
pub use controllers::Drill;
pub use view::FaultView;
pub use words::{End, Refused, Which};

use controllers::Controllers;
use guard::{Facts, Guard};
use words::unknown;

/// Adds faults and ends them.
#[derive(Debug)]
pub struct FaultManager {
    limits: FaultLimits,
    reader: Reader,
    #[allow(clippy::disallowed_types, reason = "see the import")]
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    faults: Vec<Arc<Active>>,
    /// TCP proxies by name.
    proxies: BTreeMap<Arc<str>, Proxy>,
    controllers: Controllers,
    guards: Vec<Guard>,
    audit: Audit,
}

#[derive(Debug)]
struct Proxy {
    subject: Arc<FaultTarget>,
    exempt: bool,
}

/// A fault that may be added.
struct Judged {
    fault: Fault,
    subject: Arc<FaultTarget>,
    exempt: bool,
    name: Arc<str>,
}

impl FaultManager {
    /// One that has none yet.
    pub fn new(limits: FaultLimits, reader: Reader) -> Arc<Self> {
        let audit = Audit::new(limits.audit_log.clone());
        #[allow(clippy::disallowed_types, reason = "see the import")]
        let state = Mutex::new(State {
            next: 1,
            faults: Vec::new(),
            proxies: BTreeMap::new(),
            controllers: Controllers::default(),
            guards: Vec::new(),
            audit,
        });
        Arc::new(Self { limits, reader, state })
    }

    /// Whether faults are allowed here.
    pub fn is_enabled(&self) -> bool {
        self.limits.enabled
    }

    #[allow(clippy::disallowed_types, reason = "see the import")]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A TCP proxy is there from now on. `exempt`: it was made through Toxiproxy's API.
    pub fn enrol(&self, subject: &Arc<FaultTarget>, exempt: bool) {
        let proxy = Proxy { subject: Arc::clone(subject), exempt };
        self.state().proxies.insert(Arc::clone(&subject.name), proxy);
    }

    /// A TCP proxy is gone, and with it its faults.
    pub fn dismiss(&self, name: &str, by: &str) {
        let mut state = self.state();
        if let Some(proxy) = state.proxies.remove(name) {
            state.end_where(|active| Arc::ptr_eq(&active.subject, &proxy.subject), &End::SubjectGone, by);
        }
    }

    /// Adds a fault. `by` is who asks, for the audit log.
    ///
    /// # Errors
    ///
    /// Where it is not allowed, makes no sense, or would reach too far; then nothing has changed.
    pub fn add(&self, spec: Spec, by: &str, now: Instant) -> Result<Arc<Active>, Refused> {
        let mut state = self.state();
        let added = self.try_add(&mut state, spec.clone(), by, now);
        if let Err(refused) = &added {
            state.audit.refused(&spec, by, refused);
        }
        added
    }

    /// Whether a fault would be added: all that [`add`](Self::add) asks, and nothing done.
    ///
    /// # Errors
    ///
    /// As for `add`.
    pub fn check(&self, spec: &Spec, now: Instant) -> Result<(), Refused> {
        self.judge(&self.state(), spec, now).map(drop)
    }

    fn try_add(&self, state: &mut State, mut spec: Spec, by: &str, now: Instant) -> Result<Arc<Active>, Refused> {
        let Judged { fault, subject, exempt, name } = self.judge(state, &spec, now)?;
        if let Some(controller) = &spec.controller {
            state.controllers.heard(controller, now);
        }
        let id = state.next;
        let ttl = match spec.ttl {
            _ if exempt && spec.ttl.is_none() => None,
            Some(ttl) => Some(ttl.0),
            None => Some(TTL.min(self.limits.max_ttl)),
        };
        spec.name = Some(name.to_string());
        spec.ttl = ttl.map(Interval);
        let origin = Origin { by: Arc::from(by), exempt };
        let until = ttl.map(|ttl| now + ttl);
        let active = Arc::new(Active::new(id, name, Arc::clone(&subject), spec, fault, origin, now, until));
        state.next += 1;
        state.faults.push(Arc::clone(&active));
        let mut list = subject.faults().as_ref().clone();
        list.push(Arc::clone(&active));
        subject.set(list);
        state.audit.added(&active);
        Ok(active)
    }

    fn judge(&self, state: &State, spec: &Spec, now: Instant) -> Result<Judged, Refused> {
        let mut fault = spec.understand()?;
        let (subject, exempt) = self.subject(state, spec)?;
        if !exempt && !self.limits.enabled {
            return Err(Refused::Locked);
        }
        if let Some(controller) = &spec.controller
            && let Some(saw) = state.controllers.aborted(controller)
        {
            let message = format!("`{controller}` has been stopped by a guard ({saw}); it may not add faults any more");
            return Err(Refused::Cap(message));
        }
        let name: Arc<str> = match &spec.name {
            Some(name) => Arc::from(name.as_str()),
            None => Arc::from(format!("{}-{}", spec.kind, state.next)),
        };
        if subject.faults().iter().any(|active| active.name == name && !active.is_over(now)) {
            return Err(Refused::Taken(Arc::clone(&subject.name), name));
        }
        if !exempt {
            self.route_exists(&fault, &subject)?;
            let living = state.faults.iter().filter(|active| !active.origin.exempt && !active.is_over(now));
            caps::check(&self.limits, &self.reader, living, &subject, &mut fault, spec)?;
        }
        Ok(Judged { fault, subject, exempt, name })
    }

    fn subject(&self, state: &State, spec: &Spec) -> Result<(Arc<FaultTarget>, bool), Refused> {
        if let Some(name) = &spec.proxy {
            let proxy = state.proxies.get(name.as_str()).ok_or_else(|| {
                let known: Vec<&str> = state.proxies.keys().map(AsRef::as_ref).collect();
                Refused::Unknown(unknown("TCP proxy", name, &known))
            })?;
            return Ok((Arc::clone(&proxy.subject), proxy.exempt));
        }
        let name = spec.service.as_deref().unwrap_or_default();
        let snapshot = self.reader.snapshot();
        let cluster = snapshot.clusters.get(name).ok_or_else(|| {
            let mut known: Vec<&str> = snapshot.clusters.keys().map(AsRef::as_ref).collect();
            known.sort_unstable();
            Refused::Unknown(unknown("service", name, &known))
        })?;
        Ok((Arc::clone(&cluster.shared.faults), false))
    }

    fn route_exists(&self, fault: &Fault, subject: &FaultTarget) -> Result<(), Invalid> {
        let Some(name) = &fault.scope.route else { return Ok(()) };
        let routes = &self.reader.snapshot().routes;
        match routes.named(name) {
            Some(_) if routes.named_to(name, &subject.name).is_some() => Ok(()),
            Some(route) => {
                let leads = route.service.as_deref().unwrap_or("nobody");
                Err(Invalid::new("route", format!("`{name}` leads to `{leads}`, not to `{}`", subject.name)))
            }
            None => Err(Invalid::new(
                "route",
                format!(
                    "found `{name}`, which is no route; they are called `routes[0]` and so on, in the order of the file"
                ),
            )),
        }
    }

    /// Gives a fault other attributes, and another share. It keeps its id, its name, its place in the order and its time.
    /// None when it is over.
    ///
    /// # Errors
    ///
    /// Where it would strike more than it may; then it is as it was.
    pub fn change(
        &self,
        id: u64,
        kind: Kind,
        percent: f64,
        by: &str,
        now: Instant,
    ) -> Result<Option<Arc<Active>>, Refused> {
        let mut state = self.state();
        let found = state.faults.iter().find(|active| active.id == id && !active.is_over(now)).cloned();
        let Some(old) = found else { return Ok(None) };
        if !old.origin.exempt {
            caps::share(&self.limits, percent)?;
        }
        let mut spec = old.spec.clone();
        if let serde_json::Value::Object(attributes) = kind.attributes() {
            spec.attributes = attributes;
        }
        spec.percent = crate::units::Share(percent);
        let fault = Fault { kind, percent, ..old.fault.clone() };
        let (name, subject, origin) = (Arc::clone(&old.name), Arc::clone(&old.subject), old.origin.clone());
        let new = Arc::new(Active::new(id, name, Arc::clone(&subject), spec, fault, origin, old.began, old.until));
        let replace = |list: &[Arc<Active>]| -> Vec<Arc<Active>> {
            list.iter().map(|active| Arc::clone(if active.id == id { &new } else { active })).collect()
        };
        state.faults = replace(&state.faults);
        subject.set(replace(&subject.faults()));
        old.end();
        state.audit.ended(&old, &End::Changed, by);
        state.audit.added(&new);
        Ok(Some(new))
    }

    /// Ends a fault. False when there is none of this id.
    pub fn end(&self, id: u64, by: &str) -> bool {
        self.state().end_where(|active| active.id == id, &End::Asked, by) > 0
    }

    /// Ends some of them, or all. How many there were.
    pub fn clear(&self, which: Which<'_>, why: &End, by: &str) -> usize {
        let meant = |active: &Active| match which {
            Which::All => !active.origin.exempt,
            Which::Controller(name) => active.spec.controller.as_deref() == Some(name),
            Which::FaultTarget(subject) => std::ptr::eq(&*active.subject, subject),
        };
        self.state().end_where(meant, why, by)
    }

    /// Those that are not over, in the order in which they were added.
    pub fn list(&self, now: Instant) -> Vec<Arc<Active>> {
        self.state().faults.iter().filter(|active| !active.is_over(now)).cloned().collect()
    }

    /// What was done lately, the newest last.
    pub fn audit(&self) -> Vec<Entry> {
        self.state().audit.entries()
    }

    /// Waits until the audit log's file has everything, or the time is over. For the end of the process; blocks.
    pub fn flush_audit(&self, within: Duration) {
        let file = self.state().audit.file();
        if let Some(file) = file {
            // What is missing is counted where it was lost.
            let _whole = file.flush(within);
        }
    }

    /// A controller lives. Its faults that are not over, and why a guard has ended them, where one has.
    pub fn heartbeat(&self, controller: &str, now: Instant) -> (Vec<Arc<Active>>, Option<Arc<str>>) {
        let mut state = self.state();
        state.controllers.heard(controller, now);
        let own = |active: &&Arc<Active>| active.spec.controller.as_deref() == Some(controller) && !active.is_over(now);
        (state.faults.iter().filter(own).cloned().collect(), state.controllers.aborted(controller))
    }

    /// Posts a guard. Its id.
    ///
    /// # Errors
    ///
    /// Where it makes no sense, or is about something that is not there.
    pub fn guard(&self, spec: GuardSpec, now: Instant) -> Result<u64, Refused> {
        let terms = spec.understand()?;
        if !self.limits.enabled {
            return Err(Refused::Locked);
        }
        let snapshot = self.reader.snapshot();
        if let Some(service) = &spec.service
            && !snapshot.clusters.contains_key(service.as_str())
        {
            let known: Vec<&str> = snapshot.clusters.keys().map(AsRef::as_ref).collect();
            return Err(Refused::Unknown(unknown("service", service, &known)));
        }
        if let Some(route) = &spec.route
            && snapshot.routes.named(route).is_none()
        {
            return Err(Refused::Unknown(format!("there is no route `{route}`")));
        }
        let mut state = self.state();
        if state.guards.len() >= GUARDS {
            return Err(Refused::Cap(format!("there are {GUARDS} guards already")));
        }
        if let Some(controller) = &spec.controller {
            state.controllers.heard(controller, now);
        }
        let id = state.next;
        state.next += 1;
        state.guards.push(Guard::new(id, spec, terms));
        Ok(id)
    }

    /// Takes a guard away. False when there is none of this id.
    pub fn unguard(&self, id: u64) -> bool {
        let mut state = self.state();
        let before = state.guards.len();
        state.guards.retain(|guard| guard.id != id);
        state.guards.len() < before
    }

    /// Begins a drill: there is one at a time.
    ///
    /// # Errors
    ///
    /// The one that is running, or that faults are locked.
    pub fn begin_drill(&self, drill: Drill, now: Instant) -> Result<(), Refused> {
        if !self.limits.enabled {
            return Err(Refused::Locked);
        }
        self.state().controllers.begin(drill, now).map_err(|running| {
            Refused::Cap(format!("the drill `{}` of `{}` is running; only one may", running.name, running.controller))
        })
    }

    /// Ends a drill, with all its faults and guards. False where this controller runs none.
    pub fn end_drill(&self, controller: &str, by: &str) -> bool {
        let mut state = self.state();
        let own = |name: &Option<String>| name.as_deref() == Some(controller);
        state.end_where(|active| own(&active.spec.controller), &End::Asked, by);
        state.guards.retain(|guard| !own(&guard.spec.controller));
        state.controllers.finish(controller)
    }

    /// Ends what has to end. Called several times a second.
    pub fn tend(&self, facts: &Facts<'_>, now: Instant) {
        let mut state = self.state();
        let State { controllers, guards, faults, .. } = &mut *state;
        let silent = |controller: &Option<String>, beat: Option<Interval>| {
            beat.zip(controller.as_deref()).is_some_and(|(beat, name)| controllers.is_silent(name, beat.0, now))
        };
        guards.retain(|guard| !silent(&guard.spec.controller, guard.spec.heartbeat));
        let tripped = guards.iter_mut().find_map(|guard| Some((guard.id, guard.look(facts, now)?)));
        let reason = |active: &Active| match () {
            () if active.until.is_some_and(|until| now >= until) => Some(End::Ttl),
            // A byte-stream fault goes on striking the connections that it has struck.
            () if active.is_used_up() && matches!(active.fault.kind, Kind::Http(_)) => Some(End::UsedUp),
            () if silent(&active.spec.controller, active.spec.heartbeat) => Some(End::Heartbeat),
            () => None,
        };
        let due: Vec<(u64, End)> = faults.iter().filter_map(|a| reason(a).map(|end| (a.id, end))).collect();
        for (id, end) in due {
            state.end_where(|active| active.id == id, &end, TENDING);
        }
        for id in caps::last_healthy(&self.reader, &state.faults) {
            state.end_where(|active| active.id == id, &End::LastHealthy, TENDING);
        }
        if let Some((id, saw)) = tripped {
            tracing::warn!(%saw, "a guard has tripped: all faults end");
            state.end_where(|active| !active.origin.exempt, &End::Guard(Arc::clone(&saw)), TENDING);
            // It has done what it was there for; posted again, it would look at the same seconds.
            state.guards.retain(|guard| guard.id != id);
            state.controllers.abort(&saw);
        }
        let State { controllers, faults, guards, .. } = &mut *state;
        let has_any = |name: &str| {
            let faults = faults.iter().any(|active| active.spec.controller.as_deref() == Some(name));
            faults || guards.iter().any(|guard| guard.spec.controller.as_deref() == Some(name))
        };
        controllers.sweep(has_any, now);
    }
}

/// Guards at one time.
const GUARDS: usize = 100;

impl State {
    fn end_where(&mut self, meant: impl Fn(&Active) -> bool, why: &End, by: &str) -> usize {
        let (ending, staying) = self.faults.drain(..).partition::<Vec<_>, _>(|active| meant(active));
        self.faults = staying;
        for active in &ending {
            active.end();
        }
        // Each subject's list is written once, however many of its faults end.
        let mut subjects: Vec<&Arc<FaultTarget>> = ending.iter().map(|active| &active.subject).collect();
        subjects.sort_unstable_by_key(|subject| Arc::as_ptr(subject));
        subjects.dedup_by_key(|subject| Arc::as_ptr(subject));
        for subject in subjects {
            let stays = |active: &&Arc<Active>| !ending.iter().any(|ended| ended.id == active.id);
            subject.set(subject.faults().iter().filter(stays).cloned().collect());
        }
        for active in &ending {
            self.audit.ended(active, why, by);
        }
        ending.len()
    }
}

/// Who ends what has to end by itself.
const TENDING: &str = "outrigger";

#[cfg(test)]
mod tests;
