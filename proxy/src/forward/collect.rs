//! A request's body is collected before anything is taken for it.
//!
//! A client on a slow network takes its time with what is small. Whoever sends such a body on as it comes keeps a place in the
//! service's limits and one of an instance's connections for all that time, and a few hundred slow clients keep everybody else
//! from the service. So what fits the buffer is collected first, and the service has the request whole, in one piece.
//!
//! What must not wait: a body that does not fit would be waited for in vain; gRPC and a route that passes answers on as they come
//! (`hold: off`) may be conversations; and a client that waits for 100 is told to go on by the instance, which may refuse. Any
//! other client that sends a part of its body and waits for an answer gets it too, [`COLLECT`] later.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::error::Reason;
use crate::http::Length;
use crate::http::head::Name;
use crate::request::Request;
use crate::request::body::{KEEP, Upload};
use crate::request::grpc::Dialect;
use crate::timer::{self, Timer};

/// How long a body is waited for, at most.
pub const COLLECT: Duration = Duration::from_millis(250);

/// Whether a request's body is collected.
pub fn applies(request: &Request, policy: &Policy) -> bool {
    request.body.ended().is_none()
        && !matches!(request.body.length(), Length::Exact(n) if n > KEEP as u64)
        && policy.hold.max_bytes > 0
        && !request.head.has(Name::Expect)
        && Dialect::of(&request.head) != Dialect::Grpc
}

/// Waits until all of a body is there, or it is clear that it takes longer. Says when that was.
pub async fn collect(body: &Upload, timer: &Timer, now: Instant) -> Result<Instant, Reason> {
    let until = now + COLLECT;
    poll_fn(|cx| match body.poll_collect(cx) {
        Poll::Pending => timer.poll(cx, until).map(Ok),
        collected => collected,
    })
    .await?;
    Ok(timer::now())
}
