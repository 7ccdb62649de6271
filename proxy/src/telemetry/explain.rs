//! The life of one request, told afterwards.
//!
//! Metrics say that 0.3 % of requests were lost; whoever asks "why mine?" has an id and nothing else. A trace or a debug
//! log of everything would answer and cost more than the request. So a [`Record`] is written for requests that somebody
//! will ask about, and for no others: those that asked for it themselves ([`HEADER`], from trusted callers, whole), and
//! those in which something went wrong, from the first thing that did (what was before that is short: one attempt was
//! started). Nothing is allocated, and nothing is asked of the clock, for a request without trouble.
//!
//! Records are kept by [`Shelves`] of a fixed size, in three groups, so that a thousand failures a second do not push out
//! the one that somebody asked for, nor requests that were merely slow those that were lost. Newest wins. They belong
//! to the admin thread: a worker hands a finished record over through a bounded channel, never waits, and when a whole
//! service is down stops writing them after [`PER_TICK`] a tick, or the explanation would cost more than the failure.
//! Both are counted.
//!
//! A request with the header gets no other answer than without; the id is what it has anyway (`X-Request-Id`):
//!
//! ```text
//! curl -i -H 'x-outrigger-explain: 1' http://127.0.0.1:8080/ -H 'Host: orders'
//! outrigger explain ID
//! ```

mod facts;
mod page;
mod recorder;
mod shelves;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use self::facts::{
    Absent, Attempt, DeadlineBy, DeadlineFacts, Ending, Event, LeftOut, Ms, NoMore, Pick, Policies, Returned, Start,
    Verdict, WaitedFor, What,
};
pub use self::recorder::{Explainer, PER_TICK, Recorder};
pub use self::shelves::{Group, Shelves, Summary};
use crate::clock::Instant;
use crate::counts::{Fate, Outcome};
use crate::error::Reason;

/// With `1`, from a trusted caller: the request is recorded whole. Not passed on.
pub const HEADER: &str = "x-outrigger-explain";
/// What is kept of a path or a host.
const TEXT: usize = 256;
const EVENTS: usize = 64;
const ATTEMPTS: usize = 16;

/// A request's life. Times are from the arrival of its head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its `X-Request-Id`.
    pub id: String,
    /// When its head had arrived, in milliseconds of Unix time.
    pub time_ms: u64,
    /// Whether it asked for this itself: then nothing is missing.
    pub asked: bool,
    /// As sent.
    pub method: String,
    /// As sent.
    pub host: String,
    /// With the query, its values masked unless they are wanted; its beginning where it is long.
    pub path: String,
    /// Who sent it.
    pub client: Option<SocketAddr>,
    /// Where it went.
    pub service: Option<Arc<str>>,
    /// Why there: `routes[2]`; none for a service's own name.
    pub route: Option<Arc<str>>,
    /// What held for it.
    pub policy: Option<Policies>,
    /// When it was over at the latest.
    pub deadline: Option<DeadlineFacts>,
    /// What happened beside attempts, in order.
    pub events: Vec<Event>,
    /// Attempts at endpoints, in order of their starts.
    pub attempts: Vec<Attempt>,
    /// Events and attempts that had no room.
    pub omitted: u32,
    /// What the client got.
    pub returned: Option<Returned>,
    #[serde(skip)]
    started: Option<Instant>,
}

impl Record {
    /// Of a request whose head arrived at `started`, when it was `time`.
    pub fn new(id: &[u8], asked: bool, started: Instant, time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            id: text(id),
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            asked,
            method: String::new(),
            host: String::new(),
            path: String::new(),
            client: None,
            service: None,
            route: None,
            policy: None,
            deadline: None,
            events: Vec::new(),
            attempts: Vec::new(),
            omitted: 0,
            returned: None,
            started: Some(started),
        }
    }

    /// What was asked for.
    pub fn request(&mut self, method: &[u8], host: &[u8], path: &[u8], client: Option<SocketAddr>) {
        (self.method, self.host, self.path, self.client) = (text(method), text(host), text(path), client);
    }

    /// Notes what has happened.
    pub fn note(&mut self, now: Instant, what: What) {
        if self.events.len() < EVENTS {
            let at_ms = self.at(now);
            self.events.push(Event { at_ms, what });
        } else {
            self.omitted += 1;
        }
    }

    /// Notes that an attempt was started; what comes back is its number for the others.
    pub fn attempt(&mut self, now: Instant, endpoint: SocketAddr, start: Start) -> usize {
        if self.attempts.len() < ATTEMPTS {
            let started_ms = self.at(now);
            let attempt = Attempt { endpoint, start, started_ms, connected_ms: None, ended_ms: None, ending: None };
            self.attempts.push(attempt);
            self.attempts.len() - 1
        } else {
            self.omitted += 1;
            ATTEMPTS
        }
    }

    /// An attempt opened a connection of its own.
    pub fn connected(&mut self, attempt: usize, took: Duration) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.connected_ms = Some(took.into());
        }
    }

    /// An attempt has ended.
    pub fn ended(&mut self, attempt: usize, now: Instant, ending: Ending) {
        let at = self.at(now);
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.ended_ms = Some(at);
            attempt.ending = Some(ending);
        }
    }

    /// The request is over; `reason` is why the proxy answered itself, or why the answer broke off.
    pub fn returned(&mut self, now: Instant, status: u16, fate: Fate, reason: Option<Reason>) {
        self.returned = Some(Returned {
            at_ms: self.at(now),
            status,
            verdict: Verdict::NotCounted,
            reason: reason.map(|reason| reason.token().to_owned()),
            fate: String::new(),
            rescued_by: None,
        });
        self.accounted(fate);
    }

    /// How a request that is over is accounted for.
    pub fn accounted(&mut self, fate: Fate) {
        let Some(returned) = &mut self.returned else { return };
        returned.fate = fate.name().to_owned();
        returned.verdict = match fate.outcome() {
            Some(Outcome::Success) => Verdict::Success,
            Some(Outcome::Degraded) => Verdict::Degraded,
            Some(Outcome::Failure(reason)) => {
                returned.reason = Some(reason.token().to_owned());
                Verdict::Failure
            }
            None => Verdict::NotCounted,
        };
        returned.rescued_by = match fate {
            Fate::Rescued(rescue) => Some(rescue.name().to_owned()),
            _ => None,
        };
    }

    fn at(&self, now: Instant) -> Ms {
        self.started.map(|started| now.saturating_duration_since(started)).unwrap_or_default().into()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT)]).into_owned()
}

#[cfg(test)]
mod tests;
