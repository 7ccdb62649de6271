//! The life of a request, top to bottom.
//!
//! ```text
//! telemetry · error→response · sanitise        the connection that called (h1.rs, h2.rs), request.rs
//! global limit                                 (a place for limits)
//! route                                        find_service
//! route limits                                 (a place for limits)
//! edge faults                                  (a place for faults above resilience)
//! fallback                                     (a place for fallbacks)
//! deadline                                     Deadline, held by `within`
//! retry + budget                               the loop, Allowance
//! balance ∘ breaker                            Side::pick
//! per-try timeout                              (a place for a reason to start another attempt)
//! upstream faults                              (a place for faults below resilience)
//! pool                                         lease: Upstream::reuse, Upstream::dial
//! classify                                     what becomes of an Outcome
//! ```
//!
//! The order is semantics and does not change. Cancellation is `Drop`: whoever drops this future ends its attempts.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::body::{Download, Upload};
use super::request::Request;
use super::target::Target;
use super::timer::{self, Timer};
use super::view::{Side, Tried, View};
use super::worker::Worker;
use crate::config::settings::{Policy, Protocol, UnknownHost};
use crate::error::Reason;
use crate::http::Head;
use crate::resilience::deadline::Deadline;
use crate::resilience::retry::{self, Allowance, Next};
use crate::route::{Found, Route};
use crate::snapshot::{Demand, Standing};
use crate::upstream::h1::Heard;
use crate::upstream::{self, Broken, Home, Upstream};

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

/// How long a first request waits for the registry.
const REGISTRY_WAIT: Duration = Duration::from_secs(1);

/// Finds a healthy instance and gets an answer from it. `started` is when the request's head had come.
pub async fn forward(
    worker: &Rc<Worker>,
    timer: &Timer,
    request: &Request,
    trail: &mut Trail,
    started: Instant,
) -> Result<Answer, Reason> {
    let (side, policy) = find_service(worker, request, trail).await?;
    side.counts.used.set(true);
    let clock = Clock {
        timer,
        body: &request.body,
        deadline: Deadline { total: policy.timeout, stream_idle: worker.http.stream_idle_timeout },
    };
    let mut allowance = Allowance::new(policy.retries.max, retry::is_idempotent(request.head.method()));
    let mut tried = Tried::default();
    let mut rounds = 0;
    let mut last = Reason::NoEndpoint;
    let mut held = None;
    let mut now = started;
    loop {
        let endpoint = match side.pick(&tried, now) {
            Some(endpoint) => endpoint,
            // None is there, or every one was tried and there is no retry left for a second round.
            None if tried.is_empty() || !allowance.another_round() => return held.ok_or(last),
            None => {
                // One of them may be back; a short pause keeps this from being a hammer.
                let pause = retry::pause(rounds, worker.random());
                rounds += 1;
                let rest = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                let rested = clock.within(rest).await;
                if let Err(broken) = rested {
                    return held.ok_or(broken.reason);
                }
                tried.clear();
                now = timer::now();
                continue;
            }
        };
        trail.endpoint = Some(endpoint.address);
        trail.attempts += 1;
        let outcome =
            clock.within(attempt(worker, request, &side, &endpoint, &policy, allowance.idempotent, now)).await;
        let tally = || side.counts.tally.borrow_mut();
        let (next, failure) = match outcome {
            Ok((answer, heard)) => {
                trail.heard = Some(heard);
                let status = answer.status();
                if !retry::is_retryable_status(status) {
                    endpoint.answered(heard.saturating_duration_since(now), heard);
                    tally().attempted(None);
                    return Ok(answer);
                }
                endpoint.failed(heard);
                tally().attempted(Some(Reason::UpstreamStatus));
                let next = allowance.after_status(request.body.is_replayable());
                held = Some(answer);
                (next, Reason::UpstreamStatus)
            }
            Err(broken) => {
                if broken.reason.row().blame == crate::error::Blame::Endpoint && !broken.stale {
                    endpoint.failed(timer::now());
                }
                tally().attempted(Some(broken.reason));
                (allowance.after(&broken, request.body.is_replayable()), broken.reason)
            }
        };
        last = failure;
        match next {
            Next::GiveUp => return held.ok_or(failure),
            Next::Replay => {}
            Next::Retry => tried.add(endpoint.id),
        }
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

/// The request's time.
struct Clock<'a> {
    timer: &'a Timer,
    body: &'a Upload,
    deadline: Deadline,
}

impl Clock<'_> {
    /// Runs something until it is done or the request is over. What has arrived is looked at before the time is, so
    /// that a worker that was held up does not fail what it had in fact got.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let ended = self.body.ended();
            match self.timer.poll(cx, self.deadline.at(ended, self.body.moved())) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    let starved = ended.is_none() && self.body.is_starved();
                    let reason = if starved { Reason::BodyTimeout } else { Reason::Timeout };
                    Poll::Ready(Err(Broken { reason, written: true, stale: false }))
                }
            }
        })
        .await
    }
}

/// One attempt at one endpoint: an answer's head, and when it came.
async fn attempt(
    worker: &Rc<Worker>,
    request: &Request,
    side: &Side,
    endpoint: &Rc<Upstream>,
    policy: &Policy,
    idempotent: bool,
    now: Instant,
) -> Result<(Answer, Instant), Broken> {
    let home = Home { in_flight: endpoint.begin(), keep: side.keep };
    if policy.protocol == Protocol::Http2 {
        return Box::pin(over_h2(worker, request, side, endpoint, policy, home)).await;
    }
    let link = match endpoint.reuse(idempotent && request.body.is_replayable(), policy.idle_timeout, now) {
        Some(link) => link,
        None => {
            side.counts.tally.borrow_mut().connected();
            Box::pin(endpoint.dial(policy)).await.map_err(Broken::unwritten)?
        }
    };
    let mut head = worker.pools.scratch.take();
    request.outgoing(worker).write_h1(&mut head);
    let body = Rc::clone(&request.body);
    let mut attempt = upstream::h1::Attempt::new(link, home, head, body, request.asked(), Rc::clone(&worker.pools));
    loop {
        match poll_fn(|cx| attempt.poll_head(cx)).await? {
            Heard::Interim(head) => request.interim(&head),
            Heard::Final(head) if head.status() == 101 => {
                let tunnel = attempt.into_tunnel().ok_or(Broken::unwritten(Reason::Internal))?;
                return Ok((Answer::Tunnel(head, tunnel), timer::now()));
            }
            Heard::Final(head) => {
                let now = timer::now();
                let answer = attempt.into_answer(&head, now)?;
                return Ok((Answer::Response(head, Download::H1(answer)), now));
            }
        }
    }
}

async fn over_h2(
    worker: &Rc<Worker>,
    request: &Request,
    side: &Side,
    endpoint: &Rc<Upstream>,
    policy: &Policy,
    home: Home,
) -> Result<(Answer, Instant), Broken> {
    let connection =
        endpoint.h2(policy, || side.counts.tally.borrow_mut().connected()).await.map_err(Broken::unwritten)?;
    let (head, answer) = connection.send(worker, request, home).await?;
    Ok((Answer::Response(head, Download::H2(Box::new(answer))), timer::now()))
}

/// Which service the request is for, and under which policies. Waits for a registry that has not answered yet.
async fn find_service(
    worker: &Rc<Worker>,
    request: &Request,
    trail: &mut Trail,
) -> Result<(Rc<Side>, Arc<Policy>), Reason> {
    let view = worker.view();
    let target = request.target();
    let host = std::str::from_utf8(target.host).map_err(|_| Reason::BadRequest)?;
    let found = match &request.service {
        Some(service) => Found::Service(Cow::Borrowed(&**service)),
        None => view.routes.find(host, target.path(), request.head.method()),
    };
    let (name, route) = match found {
        Found::Route(route) => (Cow::Borrowed(&*route.service), Some(route)),
        Found::Service(name) => (name, None),
        Found::NotAllowed(name) => {
            trail.name = Some(Arc::from(&*name));
            return direct_or(Reason::NameNotAllowed, worker, &view, &target, host, trail).await;
        }
        Found::Nothing => return direct_or(Reason::NoRoute, worker, &view, &target, host, trail).await,
    };
    trail.route = route.cloned();
    let side = match view.cluster(&name) {
        Some(side) if side.cluster.standing == Standing::Known => Rc::clone(side),
        _ => {
            let name = Arc::from(&*name);
            match Box::pin(wait_for(worker, &name, Demand::Service(Arc::clone(&name)), trail)).await {
                Err(Reason::UnknownService) if route.is_none() => {
                    return direct_or(Reason::UnknownService, worker, &view, &target, host, trail).await;
                }
                waited => waited?,
            }
        }
    };
    trail.side = Some(Rc::clone(&side));
    let policy = route.map_or_else(|| Arc::clone(&side.cluster.policy), |route| Arc::clone(&route.policy));
    Ok((side, policy))
}

/// For a host that is no service: the way there as it is, where that is wanted, or `reason`.
async fn direct_or(
    reason: Reason,
    worker: &Rc<Worker>,
    view: &View,
    target: &Target<'_>,
    host: &str,
    trail: &mut Trail,
) -> Result<(Rc<Side>, Arc<Policy>), Reason> {
    // A host that has routes is ours, also where none of them matches.
    let wanted = target.absolute
        && !view.routes.owns(host)
        && view.routes.names().is_some_and(|names| names.unknown == UnknownHost::Direct);
    if wanted { Box::pin(direct_to(worker, host, trail)).await } else { Err(reason) }
}

async fn direct_to(worker: &Rc<Worker>, host: &str, trail: &mut Trail) -> Result<(Rc<Side>, Arc<Policy>), Reason> {
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let authority: Arc<str> = if has_port { Arc::from(host) } else { Arc::from(format!("{host}:80")) };
    let side = wait_for(worker, &authority, Demand::Direct(Arc::clone(&authority)), trail).await?;
    let policy = Arc::clone(&side.cluster.policy);
    Ok((side, policy))
}

/// A cluster whose registry has answered; asks for it where it is not there, and waits a second at most.
async fn wait_for(worker: &Rc<Worker>, name: &Arc<str>, demand: Demand, trail: &mut Trail) -> Result<Rc<Side>, Reason> {
    trail.name = Some(Arc::clone(name));
    let patience = timer::now() + REGISTRY_WAIT;
    let mut asked = false;
    loop {
        let view = worker.view();
        match view.cluster(name).map(|side| (side.cluster.standing, side)) {
            Some((Standing::Known, side)) => {
                trail.side = Some(Rc::clone(side));
                return Ok(Rc::clone(side));
            }
            Some((Standing::Unseen, _)) => return Err(Reason::UnknownService),
            Some((Standing::Awaited, _)) => {}
            None if view.routes.names().is_none_or(|names| names.registry.is_none())
                && matches!(demand, Demand::Service(_)) =>
            {
                return Err(Reason::UnknownService);
            }
            None if asked => {}
            None if worker.reader.names_full() => return Err(Reason::TooManyNames),
            None => {
                asked = true;
                if !worker.reader.demand(demand.clone()) {
                    return Err(Reason::TooManyNames);
                }
            }
        }
        let newer = worker.reader.newer_than(view.generation);
        if tokio::time::timeout_at(patience.into(), newer).await.is_err() {
            return Err(Reason::RegistryTimeout);
        }
    }
}
