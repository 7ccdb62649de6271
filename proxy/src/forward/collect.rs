//! A small request body is collected before the request takes a place in the limits or a connection.
//!
//! A client on a slow network needs a while even for a small body. A proxy that passed such a body on as it comes
//! would keep a place in the service's limits and one of an instance's connections for all that time, and a few
//! hundred slow clients would keep everybody else from the service. So a body that fits the buffer is collected
//! first, and the service gets the request in one piece.
//!
//! Not everything may wait. A body that does not fit would be waited for in vain. gRPC calls and routes with `hold:
//! off` may be conversations. A client that waits for 100 is told to go on by the instance, which may refuse. Any
//! other client that sends a part of its body and waits for an answer gets that answer, too, at most [`COLLECT`]
//! later.

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

/// How long a body is waited for at most.
pub const COLLECT: Duration = Duration::from_millis(250);

/// Whether a request's body is collected.
pub fn applies(request: &Request, policy: &Policy) -> bool {
    request.body.ended().is_none()
        && !matches!(request.body.length(), Length::Exact(n) if n > KEEP as u64)
        && policy.hold.max_bytes > 0
        && !request.head.has(Name::Expect)
        && Dialect::of(&request.head) != Dialect::Grpc
}

/// Waits until a body is there whole, or fills the buffer, or [`COLLECT`] is over. Returns the time then.
pub async fn collect(body: &Upload, timer: &Timer, now: Instant) -> Result<Instant, Reason> {
    let until = now + COLLECT;
    poll_fn(|cx| match body.poll_collect(cx) {
        Poll::Pending => timer.poll(cx, until).map(Ok),
        collected => collected,
    })
    .await?;
    Ok(timer::now())
}
