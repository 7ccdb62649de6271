//! What is known of one request: written once, while it happens, and read by all who tell of it.
//!
//! The metrics, the availability account, the access log, `explain` and drills read one [`RequestRecord`], so they cannot
//! disagree. Most of it is a few words that every request has. The details, which are for `explain`, are written for requests that
//! asked for them and for those that meet trouble (a failure, a try that is stuck, a hedge), from the first trouble on, with what
//! is known by then: a request that goes well has an empty option in their place.

mod finish;
pub mod late_first;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::Instant;
use crate::counts::First;
use crate::error::Reason;
use crate::forward::inject::{self, Struck};
use crate::forward::record::late_first::LateFirst;
use crate::request::Request;
use crate::request::target::Target;
use crate::resilience::fallback::Degraded;
use crate::resilience::outlier::{EjectionState, Members};
use crate::route::Route;
use crate::telemetry::explain::{DeadlineBy, DeadlineFacts, LeftOut, NoMore, Pick, Policies, Record, Start, What};
use crate::worker::Worker;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Tried, WorkerCluster};
use crate::worker::gate::Admitted;
use crate::worker::route::WorkerRoute;

/// What is known of one request.
#[derive(Debug)]
pub struct RequestRecord {
    /// When its head had come.
    started: Instant,
    /// The service, as this worker sees it.
    pub side: Option<Rc<WorkerCluster>>,
    /// The route, if the service was not reached by its name.
    pub route: Option<Rc<WorkerRoute>>,
    /// The service that was asked for, where it was not found.
    pub name: Option<Arc<str>>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// Attempts made.
    pub attempts: u32,
    /// When the answer's head had come.
    pub heard: Option<Instant>,
    /// What became of the first attempt; none while nothing is known.
    pub first: Option<First>,
    /// The first attempt that another one has overtaken, for as long as nobody knows what becomes of it.
    pub late: Option<Rc<LateFirst>>,
    /// What the attempt that was answered had been started for.
    pub by: Option<Why>,
    /// The answer's gRPC status, where it has one.
    pub grpc: Option<u8>,
    /// Whose answer it is, where it is not the service's own.
    pub degraded: Option<Box<Degraded>>,
    /// The access rule that has refused it.
    pub rule: Option<Arc<str>>,
    /// The faults that have struck it, in either place.
    pub struck: Option<Box<Struck>>,
    /// Its way through the service's limits, open until its last byte has gone.
    pub admitted: Option<Admitted>,
    /// What `explain` tells of it, where that is written.
    pub details: Option<Box<Record>>,
    /// Whether it is in its service's account by the service's name; none before it is there and once it is over.
    named: Option<bool>,
    /// Whether it was asked already if there may be details.
    decided: bool,
    /// Whether no further attempt is made, and that was said.
    gave_up: bool,
    /// The status that the client got; 0 while there is none.
    status: u16,
    /// Why the proxy answered and not an endpoint.
    refused: Option<Reason>,
    /// Why the answer broke off after its head.
    broken: Option<Reason>,
    /// Bytes of body that went to the client.
    sent: u64,
    /// Whether its answer took longer than its head.
    waited: bool,
}

/// What held for a request.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The policies.
    pub policies: Policies,
    /// The deadline.
    pub deadline: Option<DeadlineFacts>,
}

impl RequestRecord {
    /// A request whose head had come at `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            side: None,
            route: None,
            name: None,
            endpoint: None,
            attempts: 0,
            heard: None,
            first: None,
            late: None,
            by: None,
            grpc: None,
            degraded: None,
            rule: None,
            struck: None,
            admitted: None,
            details: None,
            named: None,
            decided: false,
            gave_up: false,
            status: 0,
            refused: None,
            broken: None,
            sent: 0,
            waited: false,
        }
    }

    /// When the request's head had come.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// It has reached a service, in whose account it is from here on.
    pub fn reached(&mut self, side: &Rc<WorkerCluster>) {
        let named = side.cluster.shared.metrics.is_confirmed();
        side.counts.tally.borrow_mut().opened(named);
        (self.side, self.named) = (Some(Rc::clone(side)), Some(named));
    }

    /// The service's name as far as it is known.
    pub fn service(&self) -> Option<&str> {
        self.side.as_ref().map(|side| &*side.cluster.name).or(self.name.as_deref())
    }

    /// The route, if the service was not reached by its name.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref().map(|route| &***route)
    }

    /// Begins the details, where they are admitted and there are none.
    pub fn begin_details(&mut self, worker: &Worker, request: &Request, asked: bool) {
        if std::mem::replace(&mut self.decided, true) || !worker.recorder.admits(asked) {
            return;
        }
        let target = Target::again(request.head_as_asked());
        let mut details = Record::new(request.id.as_bytes(), asked, self.started, SystemTime::now());
        details.request(request.head.method(), target.host, &target.origin, Some(request.client.peer));
        self.details = Some(Box::new(details));
    }

    /// Notes something, where there is a record.
    pub fn note(&mut self, now: Instant, what: impl FnOnce() -> What) {
        if let Some(details) = &mut self.details {
            details.note(now, what());
        }
    }

    /// No further attempt is made.
    pub fn give_up(&mut self, now: Instant, why: NoMore) {
        self.gave_up = true;
        self.note(now, || What::NoMore { why });
    }

    /// Whether it was said already that no further attempt is made.
    pub fn has_given_up(&self) -> bool {
        self.gave_up
    }

    /// What held for the request, and where it went.
    pub fn held(&mut self, held: &Held) {
        self.goes_there();
        if let Some(details) = &mut self.details {
            (details.policy, details.deadline) = (Some(held.policies), held.deadline);
        }
    }

    /// Where the request goes.
    fn goes_there(&mut self) {
        let (service, route) = (self.side.as_ref().map(|s| s.cluster.name.clone()), self.route.as_ref());
        let route = route.map(|route| route.name.clone());
        if let Some(details) = &mut self.details {
            (details.service, details.route) = (service, route);
        }
    }

    /// Begins the details of a request that may end without an attempt, with where it goes.
    pub fn begin_early(&mut self, worker: &Worker, request: &Request, asked: bool) {
        self.begin_details(worker, request, asked);
        self.goes_there();
    }

    /// Edge faults have struck: that is written down, whatever becomes of the request.
    pub fn struck_at_the_edge(&mut self, worker: &Worker, request: &Request, asked: bool) {
        self.begin_early(worker, request, asked);
        self.struck_before();
    }

    /// Faults that had struck before there was a record.
    pub fn struck_before(&mut self) {
        let Self { struck, details, started, .. } = self;
        if let (Some(struck), Some(details)) = (struck, details) {
            struck.0.iter().for_each(|active| details.note(*started, inject::told(active, None)));
        }
    }

    /// An attempt was started.
    pub fn attempted(&mut self, info: &AttemptInfo) {
        if let Some(details) = &mut self.details {
            details.attempt(info.started, info.upstream.address, start_of(info.why));
        }
    }
}

/// A request whose connection ends with everything that goes on there is over, too: its client has left.
impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.named.is_some() {
            self.left();
        }
    }
}

/// Who says how long a request may take.
pub fn deadline(total: std::time::Duration, waits: Option<std::time::Duration>) -> DeadlineFacts {
    let by = if waits == Some(total) { DeadlineBy::Caller } else { DeadlineBy::Route };
    DeadlineFacts { after_ms: total.into(), by }
}

/// What an attempt was started for, in the record's words.
pub fn start_of(why: Why) -> Start {
    match why {
        Why::First => Start::First,
        Why::Replay => Start::Replay,
        Why::Move => Start::FreeMove,
        Why::Retry => Start::Retry,
        Why::TryTimeout => Start::TryTimeout,
        Why::Hedge => Start::Hedge,
    }
}

impl WorkerCluster {
    /// Who can be picked, and who cannot and why.
    pub fn candidates(&self, tried: &Tried, repeatable: bool, now: Instant) -> Pick {
        let mut pick = Pick::default();
        let endpoints = &*self.cluster.endpoints;
        let ms = self.ms(now);
        let safe = if repeatable { None } else { self.safest(ms, now) };
        for (index, endpoint) in endpoints.iter().enumerate() {
            let why = match endpoints.state(index).standing(ms) {
                _ if tried.has(endpoint.id) => LeftOut::Tried,
                EjectionState::Out { .. } => LeftOut::Ejected,
                EjectionState::Probing => LeftOut::Probing,
                EjectionState::In if safe.as_ref().is_some_and(|left| left.get(index) == Some(&false)) => {
                    LeftOut::Unsafe
                }
                EjectionState::In => {
                    pick.candidates += 1;
                    continue;
                }
            };
            pick.leave_out(endpoint.address, why);
        }
        pick
    }
}

#[cfg(test)]
mod tests;
