//! HTTP faults: which of them strike a request, and what they do to the request and to its answer.
//!
//! The same three steps are taken in both places. *Draw*: from the service's faults, those of this place are chosen
//! whose scope includes the request and whose percentage selects it by chance. Where a service has no faults, that is
//! one relaxed load. *Before*: the request is delayed, then perhaps aborted. *After*: its answer is falsified. At the
//! edge this happens to a request. Upstream it happens to each of its attempts, so that what fails here meets the
//! retries, hedges and breakers that a drill is to try out.
//!
//! A fault that ends lets go at once: a request that it was delaying goes on, and an abort that has not happened yet
//! does not happen.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Instant;
use crate::error::Reason;
use crate::fault::http::{Abort, HttpFault};
use crate::fault::spec::{Kind, Scope};
use crate::fault::{Active, FaultTarget, Place};
use crate::forward::answer::Answer;
use crate::forward::faulted::Faulted;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::http::head::Version;
use crate::http::{Head, framing, write};
use crate::request::Request;
use crate::request::fields::ControlNames;
use crate::request::grpc::{self, Dialect};
use crate::route::Route;
use crate::telemetry::explain::What;
use crate::timer;
use crate::worker::Worker;

/// The faults that strike one request or one attempt.
#[derive(Debug, Default)]
pub struct Injection {
    holds: Vec<(Duration, Arc<Active>)>,
    abort: Option<Arc<Active>>,
    falsify: Vec<Arc<Active>>,
}

/// What a fault's scope is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The request.
    pub request: &'a Request,
    /// What the control fields are called.
    pub names: ControlNames<'a>,
    /// Its route, if it was not reached by its service's name.
    pub route: Option<&'a Route>,
    /// The endpoint that the attempt goes to; none at the edge.
    pub endpoint: Option<SocketAddr>,
}

/// Every fault that has struck a request, for its log line.
#[derive(Debug, Default)]
pub struct Struck(pub Vec<Arc<Active>>);

/// Draws the faults that strike, for a subject that has some.
#[cold]
pub fn draw(
    worker: &Worker,
    subject: &FaultTarget,
    place: Place,
    target: Target<'_>,
    record: &mut RequestRecord,
    now: Instant,
) -> Option<Rc<Injection>> {
    let mut injection: Option<Injection> = None;
    for active in subject.faults().iter() {
        let fault = &active.fault;
        let Kind::Http(kind) = &fault.kind else { continue };
        let meant = fault.place == place && target.is_in(&fault.scope);
        if !meant || !active.strikes(worker.random(), now) {
            continue;
        }
        let injection = injection.get_or_insert_default();
        let aborted = matches!(kind, HttpFault::Abort(_));
        match kind {
            HttpFault::Delay(delay) => {
                injection.holds.push((delay.draw(worker.random(), worker.random()), Arc::clone(active)));
            }
            HttpFault::Abort(_) => injection.abort = Some(Arc::clone(active)),
            _ => injection.falsify.push(Arc::clone(active)),
        }
        record.struck.get_or_insert_default().0.push(Arc::clone(active));
        record.note(now, || told(active, target.endpoint));
        if aborted {
            // An aborted request meets no further fault.
            break;
        }
    }
    injection.map(Rc::new)
}

/// The line of a request's record that says that a fault has struck.
pub fn told(active: &Active, endpoint: Option<SocketAddr>) -> What {
    What::Fault {
        name: active.name.to_string(),
        kind: active.fault.kind.name().into(),
        place: active.fault.place.name().into(),
        endpoint,
    }
}

impl Target<'_> {
    fn is_in(&self, scope: &Scope) -> bool {
        let head = &self.request.head;
        let field = |(name, value): &(Arc<str>, Arc<str>)| {
            head.named(name.as_bytes()).is_some_and(|found| &**value == "*" || found == value.as_bytes())
        };
        self.endpoint.is_none_or(|endpoint| scope.endpoints.takes_in(endpoint))
            && scope.route.as_ref().is_none_or(|name| self.route.is_some_and(|route| route.name == *name))
            && (scope.methods.is_empty() || scope.methods.iter().any(|method| method.as_bytes() == head.method()))
            && scope.path.as_ref().is_none_or(|path| self.request.target().path().starts_with(path.as_bytes()))
            && scope.headers.iter().all(field)
            && scope.caller.as_ref().is_none_or(|caller| self.request.caller(&self.names) == Some(caller.as_bytes()))
    }
}

impl Injection {
    /// Whether the request is delayed or aborted before it goes on.
    pub fn is_before(&self) -> bool {
        !self.holds.is_empty() || self.abort.is_some()
    }

    /// Waits for as long as the fault says, or until the fault ends.
    pub async fn hold_up(&self) {
        for (delay, active) in &self.holds {
            tokio::select! {
                () = tokio::time::sleep(*delay) => {}
                () = active.over() => {}
            }
        }
    }

    /// What an abort answers in the request's place. None where nothing is aborted.
    pub fn instead(&self, request: &Head) -> Option<Result<Answer, Reason>> {
        let active = self.abort.as_ref().filter(|active| !active.is_over(timer::now()))?;
        let Kind::Http(HttpFault::Abort(abort)) = &active.fault.kind else { return None };
        if abort.reset {
            return Some(Err(Reason::FaultReset));
        }
        let (head, download) = made(abort, active, request);
        Some(Ok(Answer::Response(head, download)))
    }

    /// Falsifies an answer, as far as these faults do.
    pub fn falsified(&self, mut head: Rc<Head>, mut download: Download) -> (Rc<Head>, Download) {
        let now = timer::now();
        let living: Vec<&Arc<Active>> = self.falsify.iter().filter(|active| !active.is_over(now)).collect();
        for active in &living {
            if let Kind::Http(HttpFault::RewriteStatus(rewrite)) = &active.fault.kind {
                let status = rewrite.of(head.status());
                if status != head.status() {
                    head = with_status(&head, status);
                }
            }
        }
        if let Some(faulted) = Faulted::new(&living) {
            download = faulted.around(download);
        }
        (head, download)
    }
}

/// The answer that an abort makes.
fn made(abort: &Abort, active: &Active, request: &Head) -> (Rc<Head>, Download) {
    let mut head = Head::default();
    let mut push = |name: &str, value: &str| {
        // All of these are short and made of printable ASCII.
        let _ = head.push(name.as_bytes(), value.as_bytes());
    };
    push("Outrigger-Fault", &format!("{}; place={}", token(&active.name), active.fault.place.name()));
    push("Date", &httpdate::fmt_http_date(std::time::SystemTime::now()));
    const MESSAGE: &str = "injected by a fault";
    let (status, body) = match (abort.grpc_status, Dialect::of(request)) {
        (Some(code), Dialect::Web { text }) => {
            push("Content-Type", &String::from_utf8_lossy(grpc::content_type(request)));
            (200, Bytes::from(grpc::web_trailers(&code.to_string(), MESSAGE, text)))
        }
        (Some(code), _) => {
            push("Content-Type", "application/grpc");
            push("grpc-status", &code.to_string());
            push("grpc-message", MESSAGE);
            (200, Bytes::new())
        }
        (None, _) => {
            push("Content-Type", "text/plain; charset=utf-8");
            push("Cache-Control", "no-store");
            let default = || format!("outrigger: injected by the fault {}\n", active.name);
            (abort.status.unwrap_or(503), Bytes::from(abort.body.clone().unwrap_or_else(default)))
        }
    };
    let bodiless = !framing::may_have_content(status);
    let _ = head.set_status(status, write::reason(status).as_bytes(), Version::Http11);
    (Rc::new(head), if bodiless || body.is_empty() { Download::Empty } else { Download::Held(body) })
}

/// A name as a token of RFC 9110.
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

fn with_status(head: &Head, status: u16) -> Rc<Head> {
    let mut copy = Head::default();
    // The head fitted its limits before and still does: reason phrases are short, and no field is added.
    let _ = copy.set_status(status, write::reason(status).as_bytes(), head.version());
    for (_, name, value) in head.fields() {
        let _ = copy.push(name, value);
    }
    Rc::new(copy)
}

impl Struck {
    /// As the access log has it: `upstream delay slow-payments`.
    pub fn words(&self) -> Vec<String> {
        let word = |active: &Arc<Active>| {
            format!("{} {} {}", active.fault.place.name(), active.fault.kind.name(), active.name)
        };
        self.0.iter().map(word).collect()
    }
}

#[cfg(test)]
mod tests;
