//! A service's limits on one worker: which requests were admitted, and which wait in line.
//!
//! [`crate::resilience::limit`] decides. An admitted request gives back what it holds when the last byte of its
//! answer has gone, whatever becomes of it. While nothing is limited this is a few counters of the worker's own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::Instant;
use crate::error::Reason;
use crate::resilience::limit::adaptive::Done;
use crate::resilience::limit::bulkhead::Place;
use crate::resilience::limit::{Limiter, Pass, Shared};
use crate::timer;

/// A service's limiter, and the requests that wait in line for it.
pub type Gate = RefCell<Limiter<Rc<Turn>>>;

/// A request in line.
#[derive(Debug, Default)]
pub struct Turn {
    pub(crate) verdict: Cell<Option<Result<Pass, Reason>>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl Turn {
    pub(crate) fn tell(&self, verdict: Result<Pass, Reason>) {
        self.verdict.set(Some(verdict));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A request that was let through, until its last byte has gone.
#[derive(Debug)]
pub struct Admitted {
    pub(crate) gate: Rc<Gate>,
    pub(crate) pass: Pass,
    pub(crate) since: Instant,
    pub(crate) told: Cell<bool>,
    pub(crate) place: Option<Inside>,
}

/// A place in a bulkhead.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Option<Place>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.bulkheads().leave(place);
        }
    }
}

/// Admits the requests in line whose turn has come.
pub fn serve(gate: &Gate) {
    let now = timer::now();
    loop {
        let next = gate.borrow_mut().next(now);
        match next {
            Some((turn, verdict)) => turn.tell(verdict),
            None => return,
        }
    }
}

impl Admitted {
    /// When the request was admitted.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Tells the limiter what became of the request, once the answer's head is there.
    pub fn done(&self, good: bool, now: Instant) {
        let done = if good { Done::Answered(now.saturating_duration_since(self.since)) } else { Done::Failed };
        self.tell(done);
    }

    /// Tells the limiter that nobody waits for the answer any more: it takes at least as long as the request has been out.
    pub fn expired(&self, now: Instant) {
        self.tell(Done::Cancelled(now.saturating_duration_since(self.since)));
    }

    fn tell(&self, done: Done) {
        if !self.told.replace(true) {
            self.gate.borrow_mut().done(&self.pass, done);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.told.get() {
            self.expired(timer::now());
        }
        if self.gate.borrow_mut().end(self.pass) {
            serve(&self.gate);
        }
        self.place = None;
    }
}
