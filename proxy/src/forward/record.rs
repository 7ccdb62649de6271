//! A request's life, written down while it happens: for those who ask, and for those that meet trouble.
//!
//! A request that goes well has nothing written: there is an empty option in its trail, and that is all. The first trouble
//! (a failure, a try that is stuck, a hedge) begins a record, with what is known by then; a request that asked for it is
//! recorded from the start.

use std::time::SystemTime;

use crate::clock::Instant;
use crate::forward::inject;
use crate::forward::{GaveUp, Trail};
use crate::request::Request;
use crate::resilience::outlier::{Members, Standing};
use crate::telemetry::explain::{DeadlineBy, DeadlineFacts, LeftOut, NoMore, Pick, Policies, Record, Start, What};
use crate::worker::Worker;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Tried, WorkerCluster};

/// The record of a request, if there is one.
#[derive(Debug, Default)]
pub struct Story {
    /// What was written so far.
    pub record: Option<Box<Record>>,
    /// Whether it was asked already if there may be one.
    decided: bool,
}

/// What held for a request.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The policies.
    pub policies: Policies,
    /// The deadline.
    pub deadline: Option<DeadlineFacts>,
}

impl Story {
    /// Begins a record, where one is admitted and there is none.
    pub fn begin(&mut self, worker: &Worker, request: &Request, asked: bool, started: Instant) {
        if std::mem::replace(&mut self.decided, true) || !worker.recorder.admits(asked) {
            return;
        }
        let target = request.target();
        let mut record = Record::new(request.id.as_bytes(), asked, started, SystemTime::now());
        record.request(request.head.method(), target.host, &target.origin, Some(request.client.peer));
        self.record = Some(Box::new(record));
    }
}

impl Trail {
    /// Notes something, where there is a record.
    pub fn note(&mut self, now: Instant, what: impl FnOnce() -> What) {
        if let Some(record) = &mut self.story.record {
            record.note(now, what());
        }
    }

    /// No further attempt is made.
    pub fn give_up(&mut self, now: Instant, why: GaveUp) {
        self.gave_up = Some(why);
        self.note(now, || What::NoMore {
            why: match why {
                GaveUp::NotRepeatable => NoMore::NotRepeatable,
                GaveUp::Attempts => NoMore::RetriesUsed,
                GaveUp::Budget => NoMore::BudgetEmpty,
                GaveUp::Time => NoMore::TooLate,
                GaveUp::Breaker => NoMore::BreakerOpen,
                GaveUp::Pushback => NoMore::PushedBack,
            },
        });
    }

    /// What held for the request, and where it went.
    pub fn held(&mut self, held: &Held) {
        self.goes_there();
        if let Some(record) = &mut self.story.record {
            (record.policy, record.deadline) = (Some(held.policies), held.deadline);
        }
    }

    /// Where the request goes.
    fn goes_there(&mut self) {
        let (service, route) = (self.side.as_ref().map(|s| s.cluster.name.clone()), self.route.as_ref());
        let route = route.map(|route| route.name.clone());
        if let Some(record) = &mut self.story.record {
            (record.service, record.route) = (service, route);
        }
    }

    /// Edge faults have struck: that is written down, whatever becomes of the request.
    pub fn struck_at_the_edge(&mut self, worker: &Worker, request: &Request, asked: bool, started: Instant) {
        self.story.begin(worker, request, asked, started);
        self.goes_there();
        self.struck_before(started);
    }

    /// Faults that had struck before there was a record.
    pub fn struck_before(&mut self, at: Instant) {
        let Self { struck, story, .. } = self;
        if let (Some(struck), Some(record)) = (struck, &mut story.record) {
            struck.0.iter().for_each(|active| record.note(at, inject::told(active, None)));
        }
    }

    /// An attempt was started.
    pub fn attempted(&mut self, info: &AttemptInfo) {
        if let Some(record) = &mut self.story.record {
            record.attempt(info.started, info.upstream.address, start(info.why));
        }
    }
}

/// Who says how long a request may take.
pub fn deadline(total: std::time::Duration, waits: Option<std::time::Duration>) -> DeadlineFacts {
    let by = if waits == Some(total) { DeadlineBy::Caller } else { DeadlineBy::Route };
    DeadlineFacts { after_ms: total.into(), by }
}

/// What an attempt was started for, in the record's words.
pub fn start(why: Why) -> Start {
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
                Standing::Out { .. } => LeftOut::Ejected,
                Standing::Probing => LeftOut::Probing,
                Standing::In if safe.as_ref().is_some_and(|left| left.get(index) == Some(&false)) => LeftOut::Unsafe,
                Standing::In => {
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
