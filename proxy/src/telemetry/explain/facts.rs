//! The words of a record: plain data, read by people as a page and by programs as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Reason;

/// Endpoints that a pick names as left out; a pool may be large.
pub(super) const LEFT_OUT: usize = 16;

/// Milliseconds, to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(pub f64);

impl From<Duration> for Ms {
    fn from(duration: Duration) -> Self {
        Self(duration.as_micros() as f64 / 1e3)
    }
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
    /// A fault that was injected has struck.
    Fault {
        /// What it is called.
        name: String,
        /// Its type.
        kind: String,
        /// `upstream` or `edge`.
        place: String,
        /// Upstream: the attempt's endpoint.
        endpoint: Option<SocketAddr>,
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
        Self::Failed(reason.token().to_owned())
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
    /// How it is accounted for: `first_good`.
    #[serde(default)]
    pub fate: String,
    /// What saved it: `retry`.
    pub rescued_by: Option<String>,
}
