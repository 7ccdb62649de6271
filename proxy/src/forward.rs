//! The life of a request, top to bottom.
//!
//! ```text
//! telemetry · error→response · sanitise        the connection that called (downstream), request.rs
//! global limit                                 (a place for limits)
//! who may call (the listener, then the route)  route_extras::admit, asked by find::service
//! route                                        find::service: which service, and which part of a split
//! redirect, fixed answer                       route_extras::reply: no service is asked
//! edge faults                                  edge, Injection: above resilience
//! changed answers                              route_extras::change_answer: whoever gave them
//! changed requests                             route_extras::changed: whatever is below sees what is sent
//! slow uploads                                 collect::collect: they hold nothing for the first 250 ms
//! mirror                                       mirror::copy: of a body that is here whole, and waited for by nobody
//! fallback                                     fallback::run_fallback
//! deadline                                     Deadline, held by Clock::turn
//! route limits                                 admission::admit
//! first attempt                                FirstAttempt: the whole way of a healthy request
//! retry/hedge + budget                         Recovery: what is due, and who pays
//! balance ∘ breaker                            WorkerCluster::pick
//! per-try timeout                              Recovery::slow: a reason to start another attempt
//! upstream faults                              Attempt::start, Injection: below resilience
//! pool                                         Attempt: Upstream::reuse, Upstream::dial
//! classify                                     FirstAttempt::pass; Recovery::answered, Recovery::broke
//! ```
//!
//! The order is semantics and does not change. Cancellation is `Drop`: whoever drops this future ends its attempts.

mod admission;
pub mod answer;
mod attempt;
pub mod collect;
mod fallback;
mod fallback_answers;
mod faulted;
mod find;
mod first;
mod inject;
pub mod local_answer;
mod mirror;
mod race;
pub mod record;
mod recovery;
pub mod response_body;
mod route_extras;
mod waiting;

use std::rc::Rc;
use std::time::Duration;

use self::inject::Injection;
use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::error::Reason;
use crate::fault::Place;
use crate::forward::answer::Answer;
use crate::forward::attempt::AttemptContext;
use crate::forward::first::{Bearings, FirstAttempt};
use crate::forward::race::AttemptOutcome;
use crate::forward::record::RequestRecord;
use crate::forward::recovery::Recovery;
use crate::forward::waiting::{Clock, Turn};
use crate::http::head::Name;
use crate::request::Request;
use crate::request::control_fields::ControlFields;
use crate::request::grpc::Dialect;
use crate::resilience::deadline::Deadline;
use crate::resilience::fallback::failure_of;
use crate::resilience::limit::Ask;
use crate::resilience::retry;
use crate::timer::{self, Timer};
use crate::worker::Worker;
use crate::worker::cluster::WorkerCluster;
use crate::worker::route::WorkerRoute;

/// Finds a healthy instance and gets an answer from it.
pub async fn forward(
    worker: &Rc<Worker>,
    timer: &Timer,
    request: &Request,
    record: &mut RequestRecord,
) -> Result<Answer, Reason> {
    if worker.pools.buffers.budget().is_spent() {
        return Err(Reason::MemoryShort);
    }
    let Some(side) = find::service(worker, request, record).await? else {
        // The route answers by itself: no service is asked.
        let extras = record.route().and_then(|route| route.extras.as_deref()).ok_or(Reason::NoRoute)?;
        return route_extras::reply(extras.reply.as_ref().ok_or(Reason::NoRoute)?, &extras.response, request);
    };
    record.reached(&side);
    let route = record.route.clone();
    let extras = route.as_ref().and_then(|route| route.extras.as_deref());
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
    let mut asking = RequestContext { worker, timer, request, controls };
    // A name is noted where its registry was waited for, and only then is it later than it was.
    let mut now = if record.name.is_some() { timer::now() } else { record.started() };
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
    let changed;
    if let Some(extras) = extras.filter(|extras| !extras.request.is_empty()) {
        changed = route_extras::changed(request, &extras.request)?;
        asking.request = &changed;
    }
    let total = [route_allows, controls.waits].into_iter().flatten().min();
    if collect::applies(request, policy) {
        let collected = Box::pin(collect::collect(&request.body, timer, now)).await;
        now = collected.inspect_err(|_| record.begin_early(worker, request, asking.controls.explain))?;
    }
    if let (Some(route), Some(extras)) = (&route, extras)
        && let Some(mirror) = &extras.mirror
    {
        mirror::copy(&asking, route, mirror, now);
    }
    let result = asking.ask(&side, policy, total, record, now).await;
    let result = match &policy.fallback {
        None => result,
        Some(fallback) => Box::pin(fallback::run_fallback(&asking, &side, fallback, result, record)).await,
    };
    let mut result = match injection {
        // An answer is large: it is not moved where nothing is done to it.
        None => result,
        Some(injection) => result.map(|answer| match answer {
            Answer::Response(head, download) => {
                let (head, download) = injection.falsified(head, download);
                Answer::Response(head, download)
            }
            tunnel @ Answer::Tunnel(..) => tunnel,
        }),
    };
    if let Some(extras) = extras.filter(|extras| !extras.response.is_empty())
        && let Ok(answer) = &mut result
    {
        route_extras::change_answer(answer, &extras.response)?;
    }
    result
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
        record.struck_at_the_edge(worker, request, asking.controls.explain);
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
        let Self { worker, timer, request, .. } = *self;
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
        // As the client has sent it: what a route takes off may be what it is known by.
        let key = policy.hash.as_ref().and_then(|by| request.key(by));
        let x = AttemptContext { worker, request, side, policy, repeatable, names, key, circuit };
        let waits = self.controls.waits;
        if self.controls.explain {
            record.begin_details(worker, request, true);
        }
        let mut clock = Clock { timer, body: &request.body, deadline, held: None };
        let bearings = Bearings::new(x, deadline, waits, record);
        let mut first = match FirstAttempt::start(bearings, record, now) {
            Ok(first) => first,
            Err(reason) => {
                admitted.done(false, now);
                return Err(reason);
            }
        };
        let happened = match clock.turn(&mut first, x).await {
            Turn::Ended(AttemptOutcome { info, probe, response: Ok(response) }) => {
                match first.pass(record, info, probe, response) {
                    Ok(answer) => {
                        admitted.done(failure_of(answer.status()).is_none(), record.heard.unwrap_or(now));
                        record.admitted = Some(admitted);
                        return Ok(answer);
                    }
                    Err((info, probe, response)) => Turn::Ended(AttemptOutcome { info, probe, response: Ok(response) }),
                }
            }
            happened => happened,
        };
        let result = Box::pin(recovery::recover(Recovery::after(first, record), happened, clock, x)).await;
        match &result {
            Err(Reason::Timeout) => admitted.expired(timer::now()),
            result => {
                let good = result.as_ref().is_ok_and(|answer| failure_of(answer.status()).is_none());
                admitted.done(good, record.heard.unwrap_or_else(timer::now));
            }
        }
        record.admitted = Some(admitted);
        result
    }
}

#[cfg(test)]
mod tests;
