//! One attempt at one endpoint: a connection, a request on it, an answer's head, and a small answer's body.
//!
//! An attempt is a value that is polled and not an `async fn`, for two reasons. A request may have several attempts
//! under way, and most requests have one: the first lives inside the request's own future and costs no allocation.
//! And an attempt that has lost a race can be taken apart, so that its connection is saved.

mod lost;

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::clock::Instant;
use crate::config::settings::{Policy, Protocol};
use crate::error::Reason;
use crate::forward::answer::{Answer, Response};
use crate::forward::inject::Injection;
use crate::forward::response_body::Download;
use crate::http::framing::To;
use crate::http::{Head, Length};
use crate::request::Request;
use crate::request::fields::{AttemptFields, ControlNames};
use crate::resilience::breaker::CircuitBreaker;
use crate::resilience::response_buffering::{Buffering, buffering};
use crate::timer;
use crate::tls::client::Inside;
use crate::upstream::held::Holding;
use crate::upstream::http1::HeadEvent;
use crate::upstream::http2::Came;
use crate::upstream::{self, Broken, Connection, Lease, Upstream};
use crate::worker::Worker;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Case, Pick, Probe, WorkerCluster};

/// What all attempts of a request share.
#[derive(Debug, Clone, Copy)]
pub struct AttemptContext<'r> {
    /// Whose request it is.
    pub worker: &'r Rc<Worker>,
    /// The request.
    pub request: &'r Request,
    /// The service, as this worker sees it.
    pub side: &'r WorkerCluster,
    /// The route's policies, or the service's.
    pub policy: &'r Policy,
    /// Whether the request may be processed twice.
    pub repeatable: bool,
    /// What the control fields are called.
    pub names: ControlNames<'r>,
    /// What the request has in common with others, where its service keeps those together.
    pub key: Option<u64>,
    /// The circuit breaker of the request's route, where that has one of its own.
    pub circuit: Option<&'r CircuitBreaker>,
}

impl<'r> AttemptContext<'r> {
    /// What the request's attempts are judged by.
    pub fn case(&self) -> Case<'r> {
        let Self { worker, request, policy, circuit, .. } = *self;
        Case { worker, request: Some(request), route: circuit, rules: &policy.breaker }
    }
}

/// An attempt under way.
pub struct Attempt<'r> {
    /// What is known of it. This outlives the attempt.
    pub info: AttemptInfo,
    /// Whether it tries an endpoint that is ejected.
    pub probe: Option<Probe<'r>>,
    state: State<'r>,
    /// The injected upstream faults that apply to it.
    injection: Option<Rc<Injection>>,
}

enum State<'r> {
    /// Delayed by an injected fault, or about to be aborted by one.
    Injected(Pin<Box<dyn Future<Output = ()> + 'r>>, Option<(Lease, AttemptFields<'r>)>),
    Dialling(Pin<Box<dyn Future<Output = Result<Connection, Reason>> + 'r>>, Option<(Lease, AttemptFields<'r>)>),
    Asking(upstream::http1::Attempt),
    Http2(Pin<Box<dyn Future<Output = Sent> + 'r>>),
    Holding(Rc<Head>, Download, Wait),
    Over,
}

/// What comes of sending a request over HTTP/2.
type Sent = Result<(Rc<Head>, Came), Broken>;

/// For how long an answer is held back until its body is whole.
#[derive(Debug)]
struct Wait {
    heard: Instant,
    until: Option<Instant>,
    first: bool,
    held: Option<Holding>,
}

impl<'r> Attempt<'r> {
    /// Begins: takes a free connection and writes, or dials.
    pub fn start(
        x: AttemptContext<'r>,
        pick: Pick<'r>,
        why: Why,
        onward: AttemptFields<'r>,
        injection: Option<Rc<Injection>>,
        now: Instant,
    ) -> Self {
        let Pick { upstream: endpoint, index, probe } = pick;
        let number = onward.attempt.saturating_sub(1) as usize;
        endpoint.wait(now);
        let lease = Lease { in_flight: endpoint.begin(), keep: x.side.keep };
        let state = match &injection {
            Some(injection) if injection.is_before() => {
                let injection = Rc::clone(injection);
                State::Injected(Box::pin(async move { injection.hold_up().await }), Some((lease, onward)))
            }
            _ => State::begin(x, &endpoint, lease, onward, why, now),
        };
        Self {
            info: AttemptInfo {
                upstream: endpoint,
                index,
                started: now,
                why,
                cause: why,
                number,
                hedged: false,
                timed: false,
            },
            probe,
            state,
            injection,
        }
    }

    /// When the attempt has to be polled again although nothing has come from the endpoint.
    pub fn wakes(&self) -> Option<Instant> {
        match &self.state {
            State::Holding(_, _, wait) => wait.until,
            _ => None,
        }
    }

    /// Ready with an answer that can be passed on, or with what has broken the attempt. It must not be polled again
    /// after that.
    pub fn poll(&mut self, cx: &mut Context<'_>, x: AttemptContext<'r>) -> Poll<Result<Response, Broken>> {
        loop {
            match &mut self.state {
                State::Injected(hold, begin) => {
                    ready!(hold.as_mut().poll(cx));
                    let Some((lease, onward)) = begin.take() else {
                        return Poll::Ready(Err(Broken::unwritten(Reason::Internal)));
                    };
                    let now = timer::now();
                    match self.injection.as_ref().and_then(|injection| injection.instead(&x.request.head)) {
                        None => self.state = State::begin(x, &self.info.upstream, lease, onward, self.info.why, now),
                        Some(Ok(answer)) => return Poll::Ready(Ok(Response { answer, heard: now })),
                        // The abort counts as if the request had been written: nobody knows whether it was processed.
                        Some(Err(_)) => {
                            let reason = Reason::UpstreamClosed;
                            return Poll::Ready(Err(Broken { reason, written: true, stale: false }));
                        }
                    }
                }
                State::Dialling(dial, lease) => {
                    let dialled = ready!(dial.as_mut().poll(cx));
                    let lease = lease.take();
                    match (dialled, lease) {
                        (Ok(connection), Some((lease, onward))) => {
                            self.state = State::Asking(ask(x, connection, lease, onward))
                        }
                        (Ok(_), None) => return Poll::Ready(Err(Broken::unwritten(Reason::Internal))),
                        (Err(reason), _) => return Poll::Ready(Err(Broken::unwritten(reason))),
                    }
                }
                State::Asking(asking) => match ready!(asking.poll_head(cx))? {
                    HeadEvent::Interim(head) => x.request.interim(&head),
                    HeadEvent::Final(head) => {
                        let State::Asking(asking) = std::mem::replace(&mut self.state, State::Over) else { continue };
                        let heard = timer::now();
                        if head.status() == 101 {
                            if !x.request.is_granted_by(&head) {
                                let reason = Reason::UpstreamProtocol;
                                return Poll::Ready(Err(Broken { reason, written: true, stale: false }));
                            }
                            let tunnel = asking.into_tunnel().ok_or(Broken::unwritten(Reason::Internal))?;
                            return Poll::Ready(Ok(Response { answer: Answer::Tunnel(head, tunnel), heard }));
                        }
                        let answer = asking.into_answer(&head, heard)?;
                        if let Some(response) = self.heard(x, heard, head, Download::H1(answer)) {
                            return Poll::Ready(Ok(response));
                        }
                    }
                },
                State::Http2(sent) => {
                    let (head, came) = ready!(sent.as_mut().poll(cx))?;
                    let answer = match came {
                        Came::Answer(answer) => answer,
                        Came::Tunnel(tunnel) => {
                            return Poll::Ready(Ok(Response {
                                answer: Answer::Tunnel(head, tunnel),
                                heard: timer::now(),
                            }));
                        }
                    };
                    if let Some(response) = self.heard(x, timer::now(), head, Download::H2(answer)) {
                        return Poll::Ready(Ok(response));
                    }
                }
                State::Holding(_, download, wait) => {
                    let held = download.poll_hold(cx, wait.first);
                    match held {
                        Poll::Pending if wait.until.is_none_or(|until| timer::now() < until) => return Poll::Pending,
                        Poll::Pending | Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(reason)) => {
                            return Poll::Ready(Err(Broken { reason, written: true, stale: false }));
                        }
                    }
                    return Poll::Ready(self.let_go());
                }
                State::Over => return Poll::Ready(Err(Broken::unwritten(Reason::Internal))),
            }
        }
    }

    /// Decides for how long the answer is held back. None when it is not.
    fn wait(x: AttemptContext<'r>, head: &Head, download: &Download, heard: Instant) -> Option<Wait> {
        // Where the process already holds as much as it may, the answer streams.
        let room = |bytes: usize, until| {
            x.worker.hold(bytes).map(|held| Wait { heard, until, first: false, held: Some(held) })
        };
        match (buffering(head, download.length(), &x.policy.hold), download.length()) {
            (Buffering::Not, _) => None,
            (Buffering::Whole, Length::Exact(n)) => room(usize::try_from(n).ok()?, None),
            (Buffering::Whole, _) => None,
            (Buffering::WholeWithin(time), _) => room(x.policy.hold.max_bytes, Some(heard + time)),
            (Buffering::FirstWithin(time), _) => {
                Some(Wait { heard, until: Some(heard + time), first: true, held: None })
            }
        }
    }

    /// An answer's head has come at `heard`: passes the answer on, or begins to hold it back.
    fn heard(&mut self, x: AttemptContext<'r>, heard: Instant, head: Rc<Head>, download: Download) -> Option<Response> {
        let (head, download) = match &self.injection {
            None => (head, download),
            Some(injection) => injection.falsified(head, download),
        };
        let bodiless = x.request.to() == To::Head || download.is_whole();
        match if bodiless { None } else { Self::wait(x, &head, &download, heard) } {
            Some(wait) => {
                self.state = State::Holding(head, download, wait);
                None
            }
            None => Some(Response { answer: Answer::Response(head, download), heard }),
        }
    }

    fn let_go(&mut self) -> Result<Response, Broken> {
        let State::Holding(head, mut download, wait) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(Broken::unwritten(Reason::Internal));
        };
        if let Some(held) = wait.held {
            download.keep(held);
        }
        Ok(Response { answer: Answer::Response(head, download), heard: wait.heard })
    }
}

impl<'r> State<'r> {
    /// Takes a free connection and writes, or dials.
    fn begin(
        x: AttemptContext<'r>,
        endpoint: &Rc<Upstream>,
        lease: Lease,
        onward: AttemptFields<'r>,
        why: Why,
        now: Instant,
    ) -> Self {
        if x.policy.protocol == Protocol::Http2 {
            return Self::Http2(Box::pin(over_h2(x, Rc::clone(endpoint), lease, onward)));
        }
        // A tunnel keeps its connection for as long as it likes. Beyond a share of them, requests would be left
        // without.
        if x.request.upgrade && endpoint.has_tunnels_enough(x.policy.max_connections) {
            return Self::Dialling(Box::pin(async { Err(Reason::ConnectionLimit) }), None);
        }
        // There is one replay: it takes no connection that may be as dead as the one before.
        let replayable = x.repeatable && x.request.body.is_replayable() && why != Why::Replay;
        match endpoint.reuse(replayable, x.policy.idle_timeout, now) {
            Some(connection) => Self::Asking(ask(x, connection, lease, onward)),
            None => {
                x.side.counts.tally.borrow_mut().connected();
                let endpoint = Rc::clone(endpoint);
                let terms = x.worker.terms(x.policy);
                Self::Dialling(
                    Box::pin(async move { endpoint.dial(x.policy, terms, Inside::Http1).await }),
                    Some((lease, onward)),
                )
            }
        }
    }
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("info", &self.info).finish_non_exhaustive()
    }
}

fn ask(
    x: AttemptContext<'_>,
    connection: Connection,
    lease: Lease,
    onward: AttemptFields<'_>,
) -> upstream::http1::Attempt {
    let mut head = x.worker.pools.scratch.take();
    let body = Rc::clone(&x.request.body);
    let trailers =
        (x.policy.request_trailers && body.length() == Length::Chunked).then(|| x.request.passing(&x.worker.http));
    x.request.outgoing(&x.worker.identity, onward, trailers.is_some()).write_h1(&mut head);
    x.worker.exchanges.begin(connection, lease, head, body, trailers, x.request.asked())
}

async fn over_h2(x: AttemptContext<'_>, endpoint: Rc<Upstream>, lease: Lease, onward: AttemptFields<'_>) -> Sent {
    let connected = || x.side.counts.tally.borrow_mut().connected();
    let replayable = x.repeatable && x.request.body.is_replayable();
    let wanted = upstream::http2::Wanted { uploads: !x.request.body.is_empty(), replayable };
    let terms = x.worker.terms(x.policy);
    let stream = endpoint.h2(x.policy, terms, wanted, connected).await.map_err(Broken::unwritten)?;
    let tunnels = x.request.asks_websocket() && stream.takes_tunnels(x.policy.connect_timeout).await;
    stream.send(x.worker.hop(), x.request, lease, onward, tunnels).await
}
