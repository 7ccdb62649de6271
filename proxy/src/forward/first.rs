//! A request's first attempt, which for nearly all requests is the only one.
//!
//! A healthy request needs nothing but what is here. After a failure or slowness
//! [`Recovery`](crate::forward::recovery::Recovery) takes the attempt over as it is.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::PerTry;
use crate::counts::First;
use crate::error::Reason;
use crate::fault::Place;
use crate::forward::answer::{Answer, Response};
use crate::forward::attempt::{Attempt, AttemptContext};
use crate::forward::inject::{self, Injection};
use crate::forward::race::AttemptOutcome;
use crate::forward::record::{Held, RequestRecord, deadline, start_of};
use crate::forward::waiting::Live;
use crate::http::head::Name;
use crate::request::fields::AttemptFields;
use crate::resilience::breaker::Admission;
use crate::resilience::deadline::Deadline;
use crate::resilience::retry::{self, Verdict};
use crate::telemetry::explain::{Ending, NoMore, Policies, What};
use crate::timer;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Pick, Probe, Token, Tried};

/// A client that leaves before this time has changed its mind, whatever is known of the endpoint.
const IMPATIENT: Duration = Duration::from_millis(100);
/// Who waits for longer than this has waited for the endpoint, where nothing is known of how long answers take.
pub const PATIENT: Duration = Duration::from_secs(1);

/// How long attempts of a request may take before another is started beside them.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The place of the request's latency class among those of its service.
    pub class: usize,
    /// After this time a hedge is started.
    pub hedge: Option<Duration>,
    /// The per-try timeout. After it the attempt counts as failed, and may still win.
    pub per_try: Option<Duration>,
    /// Whether the request's method is safe (RFC 9110 section 9.2.1).
    pub safe: bool,
}

impl Pace {
    fn of(x: &AttemptContext<'_>, deadline: &Deadline, record: &RequestRecord) -> Self {
        let safe = retry::is_safe(x.request.head.method());
        let mut latency_classes = x.side.latency_classes.borrow_mut();
        let class = latency_classes.place(record.route(), x.request.head.method(), record.started());
        // An upgrade is never raced: two tunnels would be two conversations.
        let may_race = x.repeatable && x.policy.retries.max > 0 && !x.request.upgrade;
        let (hedge, per_try) = match latency_classes.at(class).filter(|_| may_race) {
            Some(learned) => {
                let known = learned.known();
                let total = deadline.total.unwrap_or(deadline.stream_idle);
                let hedge = if safe { known.hedge(&x.policy.hedge) } else { None };
                (hedge, known.per_try(&x.policy.per_try, total))
            }
            None => (None, None),
        };
        Self { class, hedge, per_try, safe }
    }

    /// Whether an attempt has taken so long that nothing waits for it any longer. It may still win.
    pub fn is_late(&self, info: &AttemptInfo) -> bool {
        info.timed || (self.per_try.is_none() && info.hedged)
    }

    /// When an attempt is slow enough that another one is started. Its time runs from when the whole request was
    /// there.
    pub fn slow_at(&self, info: &AttemptInfo, ended: Instant) -> Option<Instant> {
        let since = info.started.max(ended);
        let hedge = self.hedge.filter(|_| !info.hedged && !info.timed);
        let per_try = self.per_try.filter(|_| !info.timed);
        [hedge, per_try].into_iter().flatten().min().map(|after| since + after)
    }
}

/// What holds for all attempts of a request: its context, its deadline, its pace.
#[derive(Debug, Clone, Copy)]
pub struct Bearings<'r> {
    /// What the attempts share.
    pub x: AttemptContext<'r>,
    /// When the request is over.
    pub deadline: Deadline,
    /// When an attempt is slow.
    pub pace: Pace,
    /// How long the caller waits, if it said so.
    pub waits: Option<Duration>,
}

impl<'r> Bearings<'r> {
    /// For a request that has not been sent yet.
    pub fn new(x: AttemptContext<'r>, deadline: Deadline, waits: Option<Duration>, record: &RequestRecord) -> Self {
        let pace = Pace::of(&x, &deadline, record);
        Self { x, deadline, pace, waits }
    }

    /// The policies and the deadline of the request, for its record.
    pub fn held(&self) -> Held {
        Held {
            policies: Policies {
                timeout_ms: self.x.policy.timeout.into(),
                per_try_ms: self.pace.per_try.map(Into::into),
                hedge_after_ms: self.pace.hedge.map(Into::into),
                retries: self.x.policy.retries.max,
                repeatable: self.x.repeatable,
            },
            deadline: self.deadline.total.map(|total| deadline(total, self.waits)),
        }
    }

    /// Something has gone wrong. From here on the request's details are recorded, its first attempt included.
    pub fn trouble(&self, record: &mut RequestRecord, first: Option<&AttemptInfo>) {
        if record.details.is_some() {
            return;
        }
        record.begin_details(self.x.worker, self.x.request, false);
        if record.details.is_some() {
            record.held(&self.held());
            record.struck_before();
            if let (Some(details), Some(info)) = (&mut record.details, first) {
                details.attempt(info.started, info.upstream.address, start_of(info.why));
            }
        }
    }

    /// How long a client has to have waited for an attempt before that says something about its endpoint: a try timeout that was
    /// declared, else longer than nearly all such requests take, whether they may be raced or not.
    pub fn patience(&self) -> Duration {
        let learned = || self.x.side.latency_classes.borrow_mut().at(self.pace.class).and_then(|l| l.known().stuck());
        let patience = match self.x.policy.per_try {
            PerTry::Fixed(time) => time,
            PerTry::Off | PerTry::Learned { .. } => learned().unwrap_or(PATIENT),
        };
        patience.max(IMPATIENT)
    }

    /// The client has gone while an attempt was under way. If it had waited for long enough, that counts against the
    /// endpoint.
    pub fn abandoned(&self, attempt: Attempt<'r>, now: Instant) {
        let x = self.x;
        let patience = self.patience();
        let waited = now.saturating_duration_since(attempt.info.started);
        if waited >= patience && x.request.body.ended().is_some() {
            let tells = x.side.overtaken(&attempt.info, attempt.probe, true, now, &x.case());
            if tells && let Some(learned) = x.side.latency_classes.borrow_mut().at(self.pace.class) {
                learned.give_up();
            }
        }
    }

    /// Picks an endpoint, unless one was `aimed` at, and starts an attempt. None when there is no endpoint or no time; the
    /// token is given back then.
    pub fn start(
        &self,
        record: &mut RequestRecord,
        tried: &Tried,
        why: Why,
        token: Option<Token<'r>>,
        aimed: Option<Pick<'r>>,
        now: Instant,
    ) -> Option<Attempt<'r>> {
        let x = self.x;
        let candidates = record.details.is_some().then(|| x.side.candidates(tried, x.repeatable, now));
        let pick = aimed.or_else(|| x.side.pick_for(x.key, tried, x.repeatable, now));
        if let Some(mut candidates) = candidates {
            candidates.chosen = pick.as_ref().map(|pick| pick.upstream.address);
            let is_out = |pick: &Pick<'_>| x.side.cluster.endpoints[pick.index].shared.outlier.is_out();
            candidates.fail_open = pick.as_ref().is_some_and(|pick| pick.probe.is_none() && is_out(pick));
            record.note(now, || What::Pick(candidates));
        }
        let pick = pick?;
        let remaining = self.deadline.remaining(x.request.body.ended(), now);
        if why != Why::First && !retry::fits(remaining, Duration::ZERO, pick.upstream.expected()) {
            record.give_up(now, NoMore::TooLate);
            return None;
        }
        if let Some(token) = token {
            token.spend();
        }
        record.endpoint = Some(pick.upstream.address);
        record.attempts += 1;
        if why != Why::First {
            x.side.counts.tally.borrow_mut().retried();
        }
        let onward = AttemptFields { names: x.names, remaining, attempt: record.attempts };
        let injection = self.injection(record, pick.upstream.address, now);
        let attempt = Attempt::start(x, pick, why, onward, injection, now);
        record.attempted(&attempt.info);
        Some(attempt)
    }

    /// Draws the injected upstream faults for an attempt.
    fn injection(&self, record: &mut RequestRecord, endpoint: SocketAddr, now: Instant) -> Option<Rc<Injection>> {
        let x = self.x;
        let subject = &x.side.cluster.shared.faults;
        if subject.is_quiet() {
            return None;
        }
        let route = record.route.clone();
        let target = inject::Target {
            request: x.request,
            names: x.names,
            route: route.as_deref().map(|route| &**route),
            endpoint: Some(endpoint),
        };
        inject::draw(x.worker, subject, Place::Upstream, target, record, now)
    }
}

/// A request's first attempt, for as long as it is the only one.
#[derive(Debug)]
pub struct FirstAttempt<'r> {
    b: Bearings<'r>,
    attempt: Option<Attempt<'r>>,
}

impl<'r> FirstAttempt<'r> {
    /// Starts the attempt, unless the circuit breaker refuses it.
    pub fn start(b: Bearings<'r>, record: &mut RequestRecord, now: Instant) -> Result<Self, Reason> {
        let x = b.x;
        let (admission, aimed) = x.side.admit(&x.case(), now);
        if admission != Admission::Pass {
            let passed = admission != Admission::Refused;
            if !passed {
                b.trouble(record, None);
            }
            record.note(now, || What::Breaker { state: "open".into(), passed });
            if !passed {
                return Err(Reason::BreakerOpen);
            }
        }
        if record.details.is_some() {
            record.held(&b.held());
        }
        let attempt = b.start(record, &Tried::default(), Why::First, None, aimed, now);
        if attempt.is_none() {
            if admission == Admission::Probe {
                x.side.not_asked(&x.case(), now);
            }
            b.trouble(record, None);
            let bare = x.side.cluster.shared.bare_subset.load(Ordering::Relaxed);
            return Err(if bare { Reason::BareSubset } else { Reason::NoEndpoint });
        }
        Ok(Self { b, attempt })
    }

    /// The attempt has a good answer. Tells the endpoint's statistics, the breaker and the latency class.
    fn good(
        &self,
        record: &mut RequestRecord,
        info: &AttemptInfo,
        probe: Option<Probe<'r>>,
        response: &Response,
        grpc: Option<u8>,
    ) {
        let (x, heard) = (self.b.x, response.heard);
        (record.grpc, record.heard, record.by) = (grpc, Some(heard), Some(info.cause));
        if let Some(details) = &mut record.details {
            details.ended(info.number, heard, Ending::Answered(response.answer.status()));
        }
        x.side.good(info, probe, heard.saturating_duration_since(info.started), heard, &x.case());
        record.first = Some(First::Good);
        x.side.counts.tally.borrow_mut().attempted(None);
        // Where the body was still coming, the time would be the client's and not the service's: nothing is learned
        // from it.
        if let (Some(learned), Some(ended)) =
            (x.side.latency_classes.borrow_mut().at(self.b.pace.class), x.request.body.ended())
        {
            learned.observe(heard.saturating_duration_since(info.started.max(ended)));
        }
    }

    /// Passes a good answer on. Any other answer is returned as it is, for
    /// [`Recovery`](crate::forward::recovery::Recovery).
    #[allow(
        clippy::result_large_err,
        reason = "what is not passed on is taken over as it is, and a box is an allocation"
    )]
    pub fn pass(
        &self,
        record: &mut RequestRecord,
        info: AttemptInfo,
        probe: Option<Probe<'r>>,
        response: Response,
    ) -> Result<Answer, (AttemptInfo, Option<Probe<'r>>, Response)> {
        match verdict(&response, self.b.pace.safe) {
            (Verdict::Good, grpc) => {
                self.good(record, &info, probe, &response, grpc);
                Ok(response.answer)
            }
            _ => Err((info, probe, response)),
        }
    }

    /// Takes this apart, for [`Recovery`](crate::forward::recovery::Recovery).
    pub fn into_parts(mut self) -> (Bearings<'r>, Option<Attempt<'r>>) {
        (self.b, self.attempt.take())
    }
}

impl<'r> Live<'r> for FirstAttempt<'r> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<AttemptOutcome<'r>> {
        let Some(attempt) = &mut self.attempt else { return Poll::Pending };
        let Poll::Ready(response) = attempt.poll(cx, self.b.x) else { return Poll::Pending };
        match self.attempt.take() {
            Some(Attempt { info, probe, .. }) => Poll::Ready(AttemptOutcome { info, probe, response }),
            None => Poll::Pending,
        }
    }

    fn due(&self, ended: Option<Instant>) -> Option<Instant> {
        self.attempt.as_ref().and_then(|attempt| self.b.pace.slow_at(&attempt.info, ended?))
    }

    fn wakes(&self) -> Option<Instant> {
        self.attempt.as_ref().and_then(Attempt::wakes)
    }

    fn eldest(&self) -> Option<&AttemptInfo> {
        self.attempt.as_ref().map(|attempt| &attempt.info)
    }
}

impl Drop for FirstAttempt<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.b.abandoned(attempt, timer::now());
        }
    }
}

/// The verdict on an answer, and its gRPC status.
pub fn verdict(response: &Response, safe: bool) -> (Verdict, Option<u8>) {
    let (head, trailers) = (response.answer.head(), response.answer.trailers());
    let grpc = trailers.as_ref().and_then(|t| t.first(Name::GrpcStatus)).or_else(|| head.first(Name::GrpcStatus));
    let code = grpc.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    (retry::verdict(head.status(), grpc, safe), code)
}
