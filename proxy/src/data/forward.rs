//! The life of a request, top to bottom.
//!
//! ```text
//! telemetry · error→response · sanitise        the connection that called (h1.rs, h2.rs), request.rs
//! global limit                                 (a place for limits)
//! route                                        find::service
//! route limits                                 (a place for limits)
//! edge faults                                  (a place for faults above resilience)
//! fallback                                     (a place for fallbacks)
//! deadline                                     Deadline, held by `turn`
//! retry + budget                               the loop, Allowance
//! balance ∘ breaker                            Side::pick
//! per-try timeout                              (a place for a reason to start another attempt)
//! upstream faults                              (a place for faults below resilience)
//! pool                                         Attempt: Upstream::reuse, Upstream::dial
//! classify                                     what becomes of an Outcome
//! ```
//!
//! The order is semantics and does not change. Cancellation is `Drop`: whoever drops this future ends its attempts.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::attempt::{Attempt, Exchange, Landed, Tale, Why};
use super::body::{Download, Upload};
use super::find;
use super::race::Race;
use super::request::Request;
use super::timer::{self, Timer};
use super::view::{Side, Tried};
use super::worker::Worker;
use crate::error::{Blame, Reason};
use crate::http::Head;
use crate::resilience::deadline::Deadline;
use crate::resilience::retry::{self, Allowance, Next};
use crate::route::Route;
use crate::upstream::{self, Broken};

/// What a request got.
#[derive(Debug)]
pub enum Answer {
    /// A head and a body that owns everything that has to live until its last byte.
    Response(Rc<Head>, Download),
    /// 101: from here on there are only bytes.
    Tunnel(Rc<Head>, upstream::h1::Tunnelled),
}

/// Where a request went: for the access log, the metrics, and the answers made here.
#[derive(Debug, Default)]
pub struct Trail {
    /// The service's side.
    pub side: Option<Rc<Side>>,
    /// The route, if it was not reached by its name.
    pub route: Option<Arc<Route>>,
    /// The service that was asked for, where no side was found.
    pub name: Option<Arc<str>>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// Attempts made.
    pub attempts: u32,
    /// When the answer's head had come.
    pub heard: Option<Instant>,
}

impl Trail {
    /// The service's name as far as it is known.
    pub fn service(&self) -> Option<&str> {
        self.side.as_ref().map(|side| &*side.cluster.name).or(self.name.as_deref())
    }
}

/// Finds a healthy instance and gets an answer from it. `started` is when the request's head had come.
pub async fn forward(
    worker: &Rc<Worker>,
    timer: &Timer,
    request: &Request,
    trail: &mut Trail,
    started: Instant,
) -> Result<Answer, Reason> {
    let (side, policy) = find::service(worker, request, trail).await?;
    side.counts.used.set(true);
    let repeatable = retry::is_idempotent(request.head.method());
    let x = Exchange { worker, request, side: &side, policy: &policy, repeatable };
    let deadline = Deadline { total: policy.timeout, stream_idle: worker.http.stream_idle_timeout };
    let clock = Clock { timer, body: &request.body, deadline };
    let mut allowance = Allowance::new(policy.retries.max, repeatable);
    let mut race = Race::default();
    let mut tried = Tried::default();
    let mut rounds = 0;
    let mut last = Reason::NoEndpoint;
    // An answer that is no good, and better than none.
    let mut kept = None;
    let mut why = Why::First;
    let mut now = started;
    loop {
        let endpoint = match side.pick(&tried, now) {
            Some(endpoint) => endpoint,
            // None is there, or every one was tried and there is no retry left for a second round.
            None if tried.is_empty() || !allowance.another_round() => return kept.ok_or(last),
            None => {
                // One of them may be back; a short pause keeps this from being a hammer.
                let pause = retry::pause(rounds, worker.random());
                rounds += 1;
                if let Turn::Over(reason) = clock.turn(&mut race, x, Some(now + pause)).await {
                    return kept.ok_or(reason);
                }
                tried.clear();
                now = timer::now();
                continue;
            }
        };
        trail.endpoint = Some(endpoint.address);
        trail.attempts += 1;
        race.add(Attempt::start(x, endpoint, why, now));
        let tally = || side.counts.tally.borrow_mut();
        let (attempt, landed) = match clock.turn(&mut race, x, None).await {
            Turn::Landed(attempt, landed) => (attempt, landed),
            Turn::Due => continue,
            Turn::Over(reason) => {
                for attempt in race.losers() {
                    attempt.tale.endpoint.failed(timer::now());
                    tally().attempted(Some(reason));
                }
                return kept.ok_or(reason);
            }
        };
        let endpoint = &attempt.endpoint;
        let (next, failure) = match landed {
            Ok(Landed { answer, heard }) => {
                trail.heard = Some(heard);
                if !retry::is_retryable_status(answer.status()) {
                    endpoint.answered(heard.saturating_duration_since(attempt.started), heard);
                    tally().attempted(None);
                    return Ok(answer);
                }
                endpoint.failed(heard);
                tally().attempted(Some(Reason::UpstreamStatus));
                kept = Some(answer);
                (allowance.after_status(request.body.is_replayable()), Reason::UpstreamStatus)
            }
            Err(broken) => {
                if broken.reason.row().blame == Blame::Endpoint && !broken.stale {
                    endpoint.failed(timer::now());
                }
                tally().attempted(Some(broken.reason));
                (allowance.after(&broken, request.body.is_replayable()), broken.reason)
            }
        };
        last = failure;
        why = match next {
            Next::GiveUp => return kept.ok_or(failure),
            Next::Replay => Why::Replay,
            Next::Retry => {
                tried.add(endpoint.id);
                Why::Retry
            }
        };
        tally().retried();
        now = timer::now();
    }
}

impl Answer {
    fn status(&self) -> u16 {
        match self {
            Self::Response(head, _) | Self::Tunnel(head, _) => head.status(),
        }
    }
}

/// What ends a wait.
#[allow(clippy::large_enum_variant, reason = "nearly every turn is the large one, and a box is an allocation")]
enum Turn {
    /// An attempt has an answer, or has broken.
    Landed(Tale, Result<Landed, Broken>),
    /// The time that was asked for has come.
    Due,
    /// The request is over.
    Over(Reason),
}

/// The request's time.
struct Clock<'a> {
    timer: &'a Timer,
    body: &'a Upload,
    deadline: Deadline,
}

impl Clock<'_> {
    /// Waits for the live attempts, for `due`, and for the request's end. What has arrived is looked at before the time
    /// is, so that a worker that was held up does not fail what it had in fact got.
    async fn turn<'r>(&self, race: &mut Race<'r>, x: Exchange<'r>, due: Option<Instant>) -> Turn {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready((attempt, landed)) = race.poll(cx, x) {
                    return Poll::Ready(Turn::Landed(attempt, landed));
                }
                let ended = self.body.ended();
                let over = self.deadline.at(ended, self.body.moved());
                let wakes = race.wakes();
                let next = [due, wakes].into_iter().flatten().fold(over, Instant::min);
                if self.timer.poll(cx, next).is_pending() {
                    return Poll::Pending;
                }
                if next == over {
                    let starved = ended.is_none() && self.body.is_starved();
                    return Poll::Ready(Turn::Over(if starved { Reason::BodyTimeout } else { Reason::Timeout }));
                }
                if due == Some(next) {
                    return Poll::Ready(Turn::Due);
                }
            }
        })
        .await
    }
}
