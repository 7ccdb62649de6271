//! Which faults strike one connection. Each fault is drawn once, when the connection meets it first.

use std::net::SocketAddr;
use std::sync::Arc;

use fastrand::Rng;

use crate::clock::Instant;
use crate::fault::spec::Kind;
use crate::fault::stream::Toxic;
use crate::fault::{Active, FaultTarget, Stream};

/// A subject's faults, as far as they concern one connection.
#[derive(Debug)]
pub struct Watch {
    subject: Arc<FaultTarget>,
    endpoint: Option<SocketAddr>,
    /// The generation of the faults that were looked at last; none at first.
    seen: Option<u64>,
    met: Vec<Met>,
    down: bool,
}

#[derive(Debug)]
struct Met {
    active: Arc<Active>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its time has not come.
    Waits,
    Struck,
    Missed,
}

/// What has changed about a fault on the connection.
#[derive(Debug, Clone)]
pub enum Change {
    /// The fault strikes, at this place among those of its direction.
    Insert(usize, Arc<Active>),
    /// The fault goes on with other parameters.
    Alter(Arc<Active>),
    /// The fault is over.
    Remove(u64),
}

impl Watch {
    /// A watch that has not looked yet. Of a service's faults, those count whose scope includes the endpoint.
    pub fn new(subject: Arc<FaultTarget>, endpoint: Option<SocketAddr>) -> Self {
        // A subject without faults needs no first look.
        let quiet = subject.generation();
        let seen = subject.is_quiet().then_some(quiet);
        Self { subject, endpoint, seen, met: Vec::new(), down: false }
    }

    /// Whether the faults have changed since the last look. It costs one load.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.seen != Some(self.subject.generation())
    }

    /// Whether there is no fault.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.met.is_empty()
    }

    /// Whether a fault ends the connection.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Whether a fault strikes the connection that resets it.
    pub fn resets(&self) -> bool {
        let resets = |met: &Met| matches!(met.active.fault.kind, Kind::Toxic(_, Toxic::ResetPeer(_)));
        self.met.iter().any(|met| met.state == State::Struck && resets(met))
    }

    /// Whether any fault strikes the connection, or may yet.
    pub fn is_struck(&self) -> bool {
        self.met.iter().any(|met| met.state != State::Missed)
    }

    /// What the faults hang on.
    pub fn subject(&self) -> &Arc<FaultTarget> {
        &self.subject
    }

    /// The generation that was looked at.
    pub fn seen(&self) -> u64 {
        self.seen.unwrap_or_default()
    }

    /// Looks again. Tells what has changed, and returns when to look again even if nothing changes from outside.
    pub fn refresh(&mut self, now: Instant, mut tell: impl FnMut(Stream, Change)) -> Option<Instant> {
        if self.is_stale() {
            // The generation is read first, so that a fault that is added after this makes the look stale.
            self.seen = Some(self.subject.generation());
            self.compare(now, &mut tell);
        }
        let mut due = None;
        for at in 0..self.met.len() {
            let Met { active, state } = &self.met[at];
            let begins = active.began + active.fault.after;
            let next = match state {
                State::Waits if now < begins => Some(begins),
                State::Waits => {
                    let struck = active.strikes(Rng::new().f64(), now);
                    self.met[at].state = if struck { State::Struck } else { State::Missed };
                    if struck { self.strike(at, &mut tell) } else { None }
                }
                State::Struck if active.is_over(now) => {
                    self.met[at].state = State::Missed;
                    self.end(at, &mut tell);
                    None
                }
                State::Struck => active.until,
                State::Missed => None,
            };
            due = [due, next].into_iter().flatten().min();
        }
        due
    }

    fn compare(&mut self, now: Instant, tell: &mut impl FnMut(Stream, Change)) {
        let list = self.subject.faults();
        let about = |active: &&Arc<Active>| {
            let toxic = matches!(active.fault.kind, Kind::Toxic(..));
            let meant = self.endpoint.is_none_or(|endpoint| active.fault.scope.endpoints.takes_in(endpoint));
            toxic && meant && !active.is_over(now)
        };
        let list: Vec<Arc<Active>> = list.iter().filter(about).cloned().collect();
        for at in 0..self.met.len() {
            let id = self.met[at].active.id;
            if self.met[at].state == State::Struck && !list.iter().any(|active| active.id == id) {
                self.end(at, tell);
            }
        }
        let mut before = std::mem::take(&mut self.met);
        for active in list {
            let known = before.iter().position(|met| met.active.id == active.id).map(|at| before.swap_remove(at));
            let met = match known {
                Some(met) if Arc::ptr_eq(&met.active, &active) => met,
                Some(met) if met.state == State::Struck => {
                    // The fault is drawn anew, as its percentage may have changed.
                    let struck = active.strikes(Rng::new().f64(), now);
                    let change = if struck { Change::Alter(Arc::clone(&active)) } else { Change::Remove(active.id) };
                    if let Kind::Toxic(stream, _) = active.fault.kind {
                        tell(stream, change);
                    }
                    Met { active, state: if struck { State::Struck } else { State::Missed } }
                }
                Some(_) | None => Met { active, state: State::Waits },
            };
            self.met.push(met);
        }
    }

    /// It strikes. When it is over by itself.
    fn strike(&mut self, at: usize, tell: &mut impl FnMut(Stream, Change)) -> Option<Instant> {
        let active = Arc::clone(&self.met.get(at)?.active);
        let Kind::Toxic(stream, toxic) = &active.fault.kind else { return None };
        if matches!(toxic, Toxic::Down(_)) {
            self.down = true;
            return None;
        }
        let same = |met: &&Met| {
            met.state == State::Struck && matches!(met.active.fault.kind, Kind::Toxic(other, _) if other == *stream)
        };
        let place = self.met[..at].iter().filter(same).count();
        let until = active.until;
        tell(*stream, Change::Insert(place, Arc::clone(&active)));
        until
    }

    fn end(&self, at: usize, tell: &mut impl FnMut(Stream, Change)) {
        let active = &self.met[at].active;
        if let Kind::Toxic(stream, _) = active.fault.kind {
            tell(stream, Change::Remove(active.id));
        }
    }
}
