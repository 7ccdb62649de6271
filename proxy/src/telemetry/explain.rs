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

mod page;
mod shelves;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use self::shelves::{Group, Shelves, Summary};
use crate::error::Reason;
use crate::telemetry::availability::{Account, Outcome};
use crate::telemetry::metrics;

/// With `1`, from a trusted caller: the request is recorded whole. Not passed on.
pub const HEADER: &str = "x-outrigger-explain";
/// Records that a worker begins from one tick (250 ms) to the next; those that were asked for come on top.
pub const PER_TICK: u32 = 16;
/// Records that may wait for the admin thread.
const WAITING: usize = 256;
/// What is kept of a path or a host.
const TEXT: usize = 256;
const EVENTS: usize = 64;
const ATTEMPTS: usize = 16;
const LEFT_OUT: usize = 16;

/// Milliseconds, to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(pub f64);

impl From<Duration> for Ms {
    fn from(duration: Duration) -> Self {
        Self(duration.as_micros() as f64 / 1e3)
    }
}

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
    /// As sent, with the query; its beginning where it is long.
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

/// The policies that held for a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// The route's total.
    pub timeout_ms: Ms,
    /// What an attempt may take before another is started; none for any time.
    pub per_try_ms: Option<Ms>,
    /// When a hedge is started; none for never.
    pub hedge_after_ms: Option<Ms>,
    /// Further attempts it may have.
    pub retries: u32,
    /// Whether it may be processed twice.
    pub repeatable: bool,
}

/// When a request was over at the latest, and who said so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeadlineFacts {
    /// From its head.
    pub after_ms: Ms,
    /// Who had the shortest.
    pub by: DeadlineBy,
}

/// Who set a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineBy {
    /// `timeout` of the route or the service.
    Route,
    /// `grpc-timeout`.
    GrpcTimeout,
    /// `x-envoy-upstream-rq-timeout-ms`.
    UpstreamTimeout,
    /// The field that says what remains.
    Caller,
}

/// Something that happened beside attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_ms: Ms,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened beside attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// An endpoint was looked for.
    Pick(Pick),
    /// The service's account was asked for another attempt.
    Budget {
        /// What was in it.
        tokens: f64,
        /// Whether it was given.
        granted: bool,
        /// What for.
        for_a: Start,
    },
    /// The service's circuit breaker was asked.
    Breaker {
        /// `closed`, `half open`, `open`.
        state: String,
        /// Whether it let the request through.
        passed: bool,
    },
    /// The service's limit was asked.
    Limit {
        /// What it stood at; none for no limit.
        limit: Option<u32>,
        /// Requests that it had let in.
        in_flight: u32,
        /// Requests that waited.
        queued: u32,
    },
    /// Nothing could be done for a while.
    Waited {
        /// For what.
        on: WaitedFor,
        /// How long.
        took_ms: Ms,
    },
    /// No further attempt was made.
    NoMore {
        /// Why.
        why: NoMore,
    },
    /// A fallback was tried.
    Fallback {
        /// `stale`, `service NAME`, `answer`.
        kind: String,
        /// Whether it answered.
        answered: bool,
    },
    /// Anything else worth a sentence.
    Note {
        /// The sentence.
        text: String,
    },
}

/// An endpoint was looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The one that was found.
    pub chosen: Option<SocketAddr>,
    /// Among how many.
    pub candidates: u32,
    /// Those that were none; the first of them where they are many.
    pub left_out: Vec<Absent>,
    /// How many more were none.
    pub more: u32,
    /// Whether ejected ones were candidates, because too few others were there.
    pub fail_open: bool,
}

/// An endpoint that was no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Which.
    pub endpoint: SocketAddr,
    /// Why.
    pub why: LeftOut,
}

/// Why an endpoint was no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// The request has been there.
    Tried,
    /// It fails, or is far slower than its peers.
    Ejected,
    /// One request at a time goes there, to see whether it is back.
    Probing,
    /// The request cannot be repeated, and is safer elsewhere.
    Unsafe,
    /// Its health checks fail.
    Unhealthy,
    /// It is new or back, and takes a part of its share only.
    SlowStart,
    /// It has as many connections as it may.
    Full,
}

impl Pick {
    /// Notes one that was no candidate.
    pub fn leave_out(&mut self, endpoint: SocketAddr, why: LeftOut) {
        if self.left_out.len() < LEFT_OUT {
            self.left_out.push(Absent { endpoint, why });
        } else {
            self.more += 1;
        }
    }
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitedFor {
    /// The registry's first word on the service.
    Registry,
    /// Its turn, at the limit.
    Turn,
    /// The pause before another attempt.
    Backoff,
    /// What the endpoint asked for with `Retry-After` or `grpc-retry-pushback-ms`.
    RetryAfter,
}

/// Why there was no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoMore {
    /// It may have been processed, and must not be twice.
    NotRepeatable,
    /// Its body is no longer there to be sent again.
    NotReplayable,
    /// The failure is of a kind that another endpoint would repeat.
    NotRetryable,
    /// It had as many as it may.
    RetriesUsed,
    /// The service's account is empty.
    BudgetEmpty,
    /// What is left of its time is less than an attempt usually takes.
    TooLate,
    /// The endpoint said not to.
    PushedBack,
    /// The service's circuit breaker is open.
    BreakerOpen,
    /// Every endpoint was tried, or left out.
    NoEndpoint,
    /// The head is with the client already.
    HeadSent,
}

/// An attempt at an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Where.
    pub endpoint: SocketAddr,
    /// Why it was started.
    pub start: Start,
    /// When.
    pub started_ms: Ms,
    /// How long connecting took; none for a connection that was there, or was never had.
    pub connected_ms: Option<Ms>,
    /// When it ended; none while nobody waited for its end.
    pub ended_ms: Option<Ms>,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// Why an attempt was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// It is the first.
    First,
    /// Another one failed.
    Retry,
    /// Another one had not been written to anybody, so it costs nothing.
    FreeMove,
    /// Another one met a connection that was closing, so it costs nothing.
    Replay,
    /// Another one took longer than a try may.
    TryTimeout,
    /// Another one was slower than usual.
    Hedge,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With an answer's head.
    Answered(u16),
    /// With nothing.
    Failed(String),
    /// Another one was faster, or nobody wanted it any more.
    Dropped,
}

impl Ending {
    /// With nothing, because of this.
    pub fn failed(reason: Reason) -> Self {
        Self::Failed(reason.name())
    }
}

/// What the client got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The service's answer.
    Success,
    /// A fallback's answer.
    Degraded,
    /// Neither.
    Failure,
    /// Nothing that says anything about the service: the client's own doing.
    NotCounted,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    /// When it was over: the answer's last byte was sent.
    pub at_ms: Ms,
    /// The status that went to the client; 0 for none.
    pub status: u16,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why it was lost, or refused.
    pub reason: Option<String>,
    /// What saved it: `retry`.
    pub rescued_by: Option<String>,
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

    /// The request is over. `account` is none where it is in no account; `reason` is why the proxy answered itself.
    pub fn returned(&mut self, now: Instant, status: u16, account: Option<&Account>, reason: Option<Reason>) {
        let (verdict, lost) = match account.map(|account| account.outcome) {
            Some(Outcome::Success) => (Verdict::Success, None),
            Some(Outcome::Degraded) => (Verdict::Degraded, None),
            Some(Outcome::Failure(reason)) => (Verdict::Failure, Some(reason)),
            None => (Verdict::NotCounted, None),
        };
        let rescue = account.and_then(|account| account.rescued_by).filter(|_| lost.is_none());
        self.returned = Some(Returned {
            at_ms: self.at(now),
            status,
            verdict,
            reason: lost.or(reason).map(Reason::name),
            rescued_by: rescue.map(|rescue| rescue.name().to_owned()),
        });
    }

    fn at(&self, now: Instant) -> Ms {
        self.started.map(|started| now.saturating_duration_since(started)).unwrap_or_default().into()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT)]).into_owned()
}

/// The way from the workers to whoever keeps records, or no way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Explainer(Option<mpsc::Sender<Box<Record>>>);

impl Explainer {
    /// Nobody keeps records, so none is written.
    pub fn off() -> Self {
        Self(None)
    }

    /// A way, and its end.
    pub fn start() -> (Self, mpsc::Receiver<Box<Record>>) {
        let (sender, records) = mpsc::channel(WAITING);
        (Self(Some(sender)), records)
    }
}

/// A worker's side of it.
#[derive(Debug)]
pub struct Recorder {
    explainer: Explainer,
    credit: Cell<u32>,
    dropped: Cell<u64>,
}

impl Recorder {
    /// One that may begin records at once.
    pub fn new(explainer: Explainer) -> Self {
        Self { explainer, credit: Cell::new(PER_TICK), dropped: Cell::new(0) }
    }

    /// Whether a record is to be begun, now that something has gone wrong with a request, or that it `asked`. To be asked
    /// once for each record.
    pub fn admits(&self, asked: bool) -> bool {
        if self.explainer.0.is_none() {
            return false;
        }
        match (asked, self.credit.get()) {
            (true, _) => true,
            (false, 0) => {
                self.dropped.set(self.dropped.get() + 1);
                false
            }
            (false, credit) => {
                self.credit.set(credit - 1);
                true
            }
        }
    }

    /// Hands over the record of a request that is over. Never waits.
    pub fn hand_in(&self, record: Box<Record>) {
        if let Some(sender) = &self.explainer.0
            && sender.try_send(record).is_err()
        {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Begins another tick's allowance, and tells what was dropped in the last.
    pub fn tick(&self) {
        self.credit.set(PER_TICK);
        let dropped = self.dropped.take();
        if dropped > 0 {
            metrics::count_dropped_records(dropped);
        }
    }
}

#[cfg(test)]
mod tests;
