//! What is answered when a service has failed and its route has a fallback.
//!
//! [`crate::resilience::fallback`] says which failures call for a fallback and what is tried in which order. Here it
//! is tried. Routes without a fallback never come here. Good answers that may be of use later are kept as copies on
//! the way.

use std::rc::Rc;
use std::time::SystemTime;

use crate::clock::Instant;
use crate::config::settings::Fallback;
use crate::error::{Reason, Retry};
use crate::forward::RequestContext;
use crate::forward::answer::Answer;
use crate::forward::fallback_answers::{self, Made};
use crate::forward::record::RequestRecord;
use crate::resilience::fallback::{By, Degraded, Failed, Way, calls, failure_of, ways};
use crate::resilience::retry;
use crate::telemetry::explain::What;
use crate::timer;
use crate::worker::cluster::WorkerCluster;
use crate::worker::stale_copies::Asked;

/// Returns the service's answer if that is good, and otherwise the fallback's.
pub(crate) async fn run_fallback(
    asking: &RequestContext<'_>,
    side: &Rc<WorkerCluster>,
    fallback: &Fallback,
    result: Result<Answer, Reason>,
    record: &mut RequestRecord,
) -> Result<Answer, Reason> {
    let failed = match &result {
        Ok(answer) => failure_of(answer.status()),
        Err(reason) => Some(*reason).filter(|reason| calls(*reason)),
    };
    let now = timer::now();
    let Some(reason) = failed else {
        learn(asking, side, fallback, &result, now);
        return result;
    };
    let request = asking.request;
    let method = request.head.method();
    let untouched = reason.row().retry == Retry::Safe || is_refusal(reason);
    let repeatable = retry::is_idempotent(method) || untouched;
    let sendable = repeatable && request.body.is_replayable() && request.body.ended().is_some();
    for way in ways(fallback, Failed { reads: retry::is_safe(method), sendable }) {
        let made = match way {
            Way::Stale(bound) => {
                let target = request.target();
                let asked = Asked { service: &side.cluster.name, target: &target, head: &request.head };
                fallback_answers::stale(&asking.worker.copies, &asked, bound, reason, now)
            }
            Way::Fixed(answer) => fallback_answers::fixed(answer, &request.head, reason, SystemTime::now()),
            Way::Service(name) => {
                if let Some(answer) = ask_other(asking, name, record, now).await {
                    record.note(timer::now(), || What::Fallback { kind: kind(way), answered: true });
                    record.degraded = Some(Box::new(Degraded { by: By::Service(name.clone()), reason }));
                    return Ok(answer);
                }
                None
            }
        };
        record.note(timer::now(), || What::Fallback { kind: kind(way), answered: made.is_some() });
        if let Some(Made { head, body, degraded }) = made {
            record.degraded = Some(Box::new(degraded));
            return Ok(Answer::Response(head, body));
        }
    }
    result
}

fn kind(way: Way<'_>) -> String {
    match way {
        Way::Stale(_) => "stale".into(),
        Way::Service(name) => format!("service {name}"),
        Way::Fixed(_) => "answer".into(),
    }
}

/// Whether the proxy refused the request before it was sent to any endpoint.
fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BreakerOpen
            | Reason::LimitReached
            | Reason::QueueTimeout
            | Reason::BulkheadFull
            | Reason::NoEndpoint
            | Reason::BareSubset
    )
}

/// Another service's answer, if that is good. It is asked under its own policies, but without its own fallback: with
/// a chain of fallbacks a request could take longer than two services do.
async fn ask_other(
    asking: &RequestContext<'_>,
    name: &str,
    record: &mut RequestRecord,
    now: Instant,
) -> Option<Answer> {
    let view = asking.worker.view();
    let side = Rc::clone(view.cluster(name)?);
    let policy = &*side.cluster.policy;
    // The other service has its own timeout, from now on. The caller's deadline is not extended.
    let spent = asking.request.body.ended().map(|ended| now.saturating_duration_since(ended)).unwrap_or_default();
    let total = [Some(spent + policy.timeout), asking.controls.waits].into_iter().flatten().min();
    // What the first attempt at the request's own service came to is what the request would have come to.
    let first = record.first;
    let answer = asking.ask(&side, policy, total, record, now).await;
    record.first = first;
    let answer = answer.ok()?;
    failure_of(answer.status()).is_none().then_some(answer)
}

/// Keeps a copy of an answer that may be served when the service fails.
fn learn(
    asking: &RequestContext<'_>,
    side: &WorkerCluster,
    fallback: &Fallback,
    result: &Result<Answer, Reason>,
    now: Instant,
) {
    if fallback.stale.is_none() {
        return;
    }
    if let Ok(Answer::Response(head, download)) = result {
        let target = asking.request.target();
        let asked = Asked { service: &side.cluster.name, target: &target, head: &asking.request.head };
        asking.worker.copies.learn(&asked, head, download.whole(), now, SystemTime::now());
    }
}

#[cfg(test)]
mod tests;
