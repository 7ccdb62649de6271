//! The answers that a fallback gives: from a copy, or fixed.
//!
//! [`crate::resilience::fallback`] says which of them is tried when. Here they become a head and a body. Both are
//! there at once, without a wait and without anything shared, so that a service that is wholly down costs its callers
//! microseconds. The mark of a degraded answer is not in the head but beside it, in [`Made::degraded`].
//! [`crate::request::fields::Reply`] is the one place that writes the mark, for these answers as for another
//! service's.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::clock::Instant;
use crate::config::settings::FallbackAnswer;
use crate::error::Reason;
use crate::forward::response_body::Download;
use crate::http::head::{Name, Version};
use crate::http::{Head, framing, write};
use crate::request::grpc::{self, Dialect};
use crate::resilience::fallback::{By, Degraded};
use crate::worker::stale_copies::{Asked, Found, Stale};

/// An answer instead of the service's.
#[derive(Debug)]
pub struct Made {
    /// Its head, without the mark.
    pub head: Rc<Head>,
    /// Its body.
    pub body: Download,
    /// Which fallback it is, and why, for the mark, the log and the metrics.
    pub degraded: Degraded,
}

/// The answer from a stale copy that is at most `bound` past its freshness. None where there is no copy that may be
/// used.
pub fn stale(copies: &Stale, asked: &Asked<'_>, bound: Duration, reason: Reason, now: Instant) -> Option<Made> {
    let Found { head, body, age } = copies.find(asked, bound, now)?;
    let body = body.map_or(Download::Empty, Download::Held);
    Some(Made { head, body, degraded: Degraded { by: By::Stale(age), reason } })
}

/// The configured fixed answer. None where the client could not make sense of it: a gRPC client reads its status from
/// `grpc-status`, so it only gets an answer that has one and no body, which is how a gRPC answer without a message
/// looks. A gRPC-Web client gets the same as the body's last frame.
///
/// The answer may not be stored by anybody, unless the configuration says otherwise. Its content type is the
/// configured one: nothing is guessed from the body.
pub fn fixed(answer: &FallbackAnswer, request: &Head, reason: Reason, wall: SystemTime) -> Option<Made> {
    let has = |name: &str| answer.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let dialect = Dialect::of(request);
    let grpc = dialect != Dialect::None;
    if grpc && !(has("grpc-status") && answer.body.is_empty()) {
        return None;
    }
    let mut head = Head::default();
    head.set_status(answer.status, write::reason(answer.status).as_bytes(), Version::Http11).ok()?;
    for (name, value) in &answer.headers {
        // The proxy states the framing itself. The configuration was checked; a value that gets here otherwise must
        // not become a second header line.
        let sound = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok();
        let known = Name::of(name.as_bytes());
        let elsewhere = match dialect {
            Dialect::Web { .. } => {
                matches!(known, Name::ContentType | Name::GrpcStatus) || name.eq_ignore_ascii_case("grpc-message")
            }
            _ => false,
        };
        if sound && !elsewhere && !matches!(known, Name::ContentLength | Name::TransferEncoding) {
            head.push(name.as_bytes(), value.as_bytes()).ok()?;
        }
    }
    let mut content = Bytes::from_owner(std::sync::Arc::clone(&answer.body));
    match dialect {
        Dialect::Grpc if !has("content-type") => head.push(b"Content-Type", b"application/grpc").ok()?,
        Dialect::Web { text } => {
            let said =
                |name: &str| answer.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v);
            let (status, message) = (said("grpc-status")?, said("grpc-message").unwrap_or_default());
            content = grpc::web_trailers(status, message, text).into();
            head.push(b"Content-Type", grpc::content_type(request)).ok()?;
        }
        _ => {}
    }
    if !grpc && !has("cache-control") {
        head.push(b"Cache-Control", b"no-store").ok()?;
    }
    if !has("date") {
        head.push(b"Date", httpdate::fmt_http_date(wall).as_bytes()).ok()?;
    }
    let bodiless = !framing::may_have_content(answer.status) || content.is_empty();
    if !bodiless {
        head.push(b"Content-Length", content.len().to_string().as_bytes()).ok()?;
    }
    let body = match bodiless || request.method() == b"HEAD" {
        true => Download::Empty,
        false => Download::Held(content),
    };
    Some(Made { head: Rc::new(head), body, degraded: Degraded { by: By::Fixed, reason } })
}

#[cfg(test)]
mod tests;
