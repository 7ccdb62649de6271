//! The life of a request, top to bottom.
//!
//! ```text
//! telemetry · error→response · sanitise        the connection that called (h1.rs, h2.rs), request.rs
//! global limit                                 (a place for limits)
//! route                                        find::service
//! route limits                                 admission::admit
//! edge faults                                  edge, Injection: above resilience
//! fallback                                     degrade::answer
//! slow uploads                                 collect::collect: they hold nothing while they come
//! deadline                                     Deadline, held by `turn`
//! first attempt                                FirstAttempt: the whole way of a healthy request
//! retry/hedge + budget                         Recovery: what is due, and who pays
//! balance ∘ breaker                            WorkerCluster::pick
//! per-try timeout                              Recovery::slow: a reason to start another attempt
//! upstream faults                              Attempt::start, Injection: below resilience
//! pool                                         Attempt: Upstream::reuse, Upstream::dial
//! classify                                     Recovery::answered, Recovery::broke
//! ```
//!
//! The order is semantics and does not change. Cancellation is `Drop`: whoever drops this future ends its attempts.

mod admission;
mod attempt;
pub mod collect;
mod fallback;
mod fallback_answers;
mod faulted;
mod find;
mod first;
mod inject;
pub mod local_answer;
mod race;
pub mod record;
mod recovery;
pub mod response_body;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use self::inject::Injection;
use crate::clock::Instant;
use crate::config::settings::{Policy, Protocol};
use crate::error::Reason;
use crate::fault::Place;
use crate::forward::attempt::AttemptContext;
use crate::forward::first::{Bearings, FirstAttempt};
use crate::forward::race::Ended;
use crate::forward::record::RequestRecord;
use crate::forward::recovery::{Recovery, Step};
use crate::forward::response_body::Download;
use crate::http::Head;
use crate::http::head::Name;
use crate::request::Request;
use crate::request::body::Upload;
use crate::request::control_fields::ControlFields;
use crate::request::grpc::Dialect;
use crate::resilience::deadline::Deadline;
use crate::resilience::fallback::failure_of;
use crate::resilience::limit::Ask;
use crate::resilience::retry;
use crate::timer::{self, Timer};
use crate::upstream;
use crate::upstream::slow::Held;
use crate::worker::Worker;
use crate::worker::attempt_info::AttemptInfo;
use crate::worker::cluster::WorkerCluster;
use crate::worker::route::WorkerRoute;

/// What a request got.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every answer is the large one, and a box is an allocation")]
pub enum Answer {
    /// A head and a body that owns everything that has to live until its last byte.
    Response(Rc<Head>, Download),
    /// 101: from here on there are only bytes.
    Tunnel(Rc<Head>, upstream::http1::Tunnelled),
}

/// Finds a healthy instance and gets an answer from it. `started` is when the request's head had come.
pub async fn forward(
    worker: &Rc<Worker>,
    timer: &Timer,
    request: &Request,
    record: &mut RequestRecord,
    started: Instant,
) -> Result<Answer, Reason> {
    if worker.pools.buffers.budget().is_spent() {
        return Err(Reason::MemoryShort);
    }
    let side = find::service(worker, request, record).await?;
    let route = record.route.clone();
    let policy = route.as_ref().map_or(&*side.cluster.policy, |route| &*route.policy);
    let controls = match request.client.trusted {
        true => ControlFields::of(&request.head, &worker.http.control_names()),
        false => ControlFields::default(),
    };
    if !controls.make_sense() {
        controls.malformed().for_each(|field| worker.malformed(field));
    }
    // A gRPC call may be a stream of hours: it obeys its caller and no route.
    let route_allows = (Dialect::of(&request.head) != Dialect::Grpc).then_some(policy.timeout);
    let asking = RequestContext { worker, timer, request, controls, started };
    // A name is noted where its registry was waited for, and only then is it later than it was.
    let mut now = if record.name.is_some() { timer::now() } else { started };
    let injection = edge(&asking, &side, record, now);
    let mut held = Duration::ZERO;
    if let Some(injection) = &injection {
        Box::pin(injection.hold_up()).await;
        let after = timer::now();
        (held, now) = (after - now, after);
        if let Some(instead) = injection.instead(&request.head) {
            record.grpc = instead.as_ref().ok().and_then(Answer::grpc_status);
            return instead;
        }
    }
    // What an edge fault takes is above the deadline: the service has its time all the same.
    let route_allows = route_allows.map(|total| total + held);
    let total = [route_allows, controls.waits].into_iter().flatten().min();
    if collect::applies(request, policy) {
        now = Box::pin(collect::collect(&request.body, timer, now)).await?;
    }
    let result = asking.ask(&side, policy, total, record, now).await;
    let result = match &policy.fallback {
        None => result,
        Some(fallback) => Box::pin(fallback::run_fallback(&asking, &side, fallback, result, record)).await,
    };
    match injection {
        // An answer is large: it is not moved where nothing is done to it.
        None => result,
        Some(injection) => result.map(|answer| match answer {
            Answer::Response(head, download) => {
                let (head, download) = injection.falsified(head, download);
                Answer::Response(head, download)
            }
            tunnel @ Answer::Tunnel(..) => tunnel,
        }),
    }
}

/// The edge faults that strike a request.
fn edge(
    asking: &RequestContext<'_>,
    side: &WorkerCluster,
    record: &mut RequestRecord,
    now: Instant,
) -> Option<Rc<Injection>> {
    let RequestContext { worker, request, .. } = *asking;
    let subject = &side.cluster.shared.faults;
    // Nearly always, and all that it costs then.
    if subject.is_quiet() {
        return None;
    }
    let route = record.route.clone();
    let names = worker.http.control_names();
    let target = inject::Target { request, names, route: route.as_deref().map(|route| &**route), endpoint: None };
    let injection = inject::draw(worker, subject, Place::Edge, target, record, now);
    if injection.is_some() {
        record.struck_at_the_edge(worker, request, asking.controls.explain, asking.started);
    }
    injection
}

/// A request that is being asked of somebody.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    pub worker: &'a Rc<Worker>,
    pub timer: &'a Timer,
    pub request: &'a Request,
    pub controls: ControlFields,
    pub started: Instant,
}

impl RequestContext<'_> {
    /// Asks a service, under these policies, within `total` from the end of the request's body. From `now` on its
    /// endpoints' time counts: what was waited for before is not theirs.
    pub async fn ask(
        &self,
        side: &Rc<WorkerCluster>,
        policy: &Policy,
        total: Option<Duration>,
        record: &mut RequestRecord,
        now: Instant,
    ) -> Result<Answer, Reason> {
        let Self { worker, timer, request, started, .. } = *self;
        side.asked();
        let deadline = Deadline { total, stream_idle: worker.http.stream_idle_timeout };
        let repeatable = retry::is_idempotent(request.head.method())
            || policy.retries.any_method
            || request.head.has(Name::IdempotencyKey);
        let names = worker.http.control_names();
        let ask = Ask {
            priority: self.controls.priority.unwrap_or(policy.priority),
            deadline: total.zip(request.body.ended()).map(|(total, ended)| ended + total),
        };
        // What an earlier service held of this request is given back first.
        record.admitted = None;
        let who = |bulkhead| request.divided_by(bulkhead, &names, record.route());
        let admitted = admission::admit(side, policy.bulkhead, who, ask, now).await?;
        // After its turn in line.
        let now = admitted.since();
        // Under another service's policies, as its fallback, it is not the route's.
        let own = |route: &&Rc<WorkerRoute>| route.breaker.is_some() && std::ptr::eq(&*route.policy, policy);
        let route = record.route.as_ref().filter(own).cloned();
        let circuit = route.as_ref().and_then(|route| route.breaker.as_ref());
        let x = AttemptContext { worker, request, side, policy, repeatable, names, circuit };
        let waits = self.controls.waits;
        if self.controls.explain {
            record.begin_details(worker, request, true);
        }
        let mut clock = Clock { timer, body: &request.body, deadline, held: None };
        let bearings = Bearings::new(x, deadline, waits, record, started);
        let mut first = match FirstAttempt::start(bearings, record, now) {
            Ok(first) => first,
            Err(reason) => {
                admitted.done(false, now);
                return Err(reason);
            }
        };
        let happened = match clock.turn(&mut first, x).await {
            Turn::Ended(Ended { info, probe, landed: Ok(landed) }) => match first.pass(record, info, probe, landed) {
                Ok(answer) => {
                    admitted.done(failure_of(answer.status()).is_none(), record.heard.unwrap_or(now));
                    record.admitted = Some(admitted);
                    return Ok(answer);
                }
                Err((info, probe, landed)) => Turn::Ended(Ended { info, probe, landed: Ok(landed) }),
            },
            happened => happened,
        };
        let result = Box::pin(recover(Recovery::after(first, record), happened, clock, x)).await;
        let good = result.as_ref().is_ok_and(|answer| failure_of(answer.status()).is_none());
        admitted.done(good, record.heard.unwrap_or_else(timer::now));
        record.admitted = Some(admitted);
        result
    }
}

impl Answer {
    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.head().status()
    }

    /// The answer's head.
    pub fn head(&self) -> &Rc<Head> {
        match self {
            Self::Response(head, _) | Self::Tunnel(head, _) => head,
        }
    }

    /// The gRPC status in the answer's head, where there is one.
    pub fn grpc_status(&self) -> Option<u8> {
        let code = self.head().first(Name::GrpcStatus)?;
        std::str::from_utf8(code).ok()?.parse().ok()
    }

    /// Sends no more of the request's body to whoever gave it: another attempt reads it from now on.
    pub fn stop_upload(&mut self) {
        if let Self::Response(_, download) = self {
            download.stop_upload();
        }
    }

    /// What follows the answer's body, as far as that has come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        match self {
            Self::Response(_, download) => download.trailers(),
            Self::Tunnel(..) => None,
        }
    }
}

/// Once something has happened: what follows, until the request has what it gets.
async fn recover<'r>(
    mut life: Recovery<'r>,
    mut happened: Turn<'r>,
    mut clock: Clock<'_>,
    x: AttemptContext<'r>,
) -> Result<Answer, Reason> {
    loop {
        let step = match happened {
            Turn::Ended(Ended { info, probe, landed: Ok(landed) }) => life.answered(info, probe, landed),
            Turn::Ended(Ended { info, probe, landed: Err(broken) }) => life.broke(info, probe, broken),
            Turn::Due => life.slow(timer::now()),
            Turn::Over(reason) => life.over(reason),
        };
        if let Step::Done(result) = step {
            return result;
        }
        happened = clock.turn(&mut life, x).await;
    }
}

/// Attempts that are under way.
pub trait Live<'r> {
    /// Ready with the first that has an answer or has broken; it is no longer among them then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended<'r>>;
    /// When the next thing is to be done that nothing from outside calls for. The request's body had come at `ended`.
    fn due(&self, ended: Option<Instant>) -> Option<Instant>;
    /// When one of them has to be polled although nothing has come.
    fn wakes(&self) -> Option<Instant>;
    /// What is known of the one that was started first.
    fn eldest(&self) -> Option<&AttemptInfo>;
}

/// What ends a wait.
#[allow(clippy::large_enum_variant, reason = "nearly every turn is the large one, and a box is an allocation")]
enum Turn<'r> {
    /// An attempt has an answer, or has broken.
    Ended(Ended<'r>),
    /// The time that was asked for has come.
    Due,
    /// The request is over.
    Over(Reason),
}

/// The request's time.
struct Clock<'a> {
    timer: &'a Timer,
    body: &'a Rc<Upload>,
    deadline: Deadline,
    /// The endpoint's connection that waits for the body.
    held: Option<Held>,
}

impl Clock<'_> {
    /// Waits for the live attempts, for `due`, and for the request's end. What has arrived is looked at before the time
    /// is, so that a worker that was held up does not fail what it had in fact got.
    async fn turn<'r>(&mut self, live: &mut impl Live<'r>, x: AttemptContext<'r>) -> Turn<'r> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = live.poll(cx) {
                    return Poll::Ready(Turn::Ended(ended));
                }
                let ended = self.body.ended();
                if self.is_too_slow(cx, live, x, ended) {
                    return Poll::Ready(Turn::Over(Reason::TooSlow));
                }
                if ended.is_none() {
                    self.body.wake_at_end(cx);
                }
                let over = self.deadline.at(ended, self.body.moved());
                let due = live.due(ended);
                let next = [due, live.wakes()].into_iter().flatten().fold(over, Instant::min);
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

    /// Whether the body comes so slowly that the connection it keeps waiting goes to others. Nothing but the look at its end
    /// where the body came with the head.
    fn is_too_slow<'r>(
        &mut self,
        cx: &Context<'_>,
        live: &impl Live<'r>,
        x: AttemptContext<'r>,
        ended: Option<Instant>,
    ) -> bool {
        if ended.is_some() {
            self.held = None;
            return false;
        }
        // Over HTTP/2 a body holds a stream, and no connection.
        let Some(info) = live.eldest().filter(|_| x.policy.protocol != Protocol::Http2) else { return false };
        if self.held.as_ref().is_none_or(|held| !held.is_of(&info.upstream)) {
            let (who, exempt) = (x.request.origin(), Dialect::of(&x.request.head) == Dialect::Grpc);
            self.held = Some(Held::sending(&info.upstream, self.body, who, exempt, timer::now()));
        }
        self.held.as_ref().is_some_and(|held| held.has_to_go(cx))
    }
}

#[cfg(test)]
mod tests;
