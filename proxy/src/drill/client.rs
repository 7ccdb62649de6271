//! A client for what a drill calls: the product, and admin APIs.
//!
//! Without any resilience of its own, on purpose: a probe is a user, and a user's browser does not try again. A connection
//! for each request, so that none is left over from before a fault. Everything is bounded: the time, by whoever asks, and what
//! is read of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::text::Url;
use crate::units::Interval;

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 4 << 20;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It took too long.
    #[error("no answer within {0}")]
    Timeout(Interval),
    /// Nobody there.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection ended before the answer did.
    #[error("broke off: {0}")]
    Broken(String),
}

/// One request, once.
///
/// # Errors
///
/// Where there is no whole answer within `patience`.
pub async fn send(
    url: &Url,
    method: Method,
    headers: &HeaderMap,
    body: Bytes,
    patience: Duration,
) -> Result<Answer, Failure> {
    match timeout(patience, exchange(url, method, headers, body)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Timeout(Interval(patience))),
    }
}

async fn exchange(url: &Url, method: Method, headers: &HeaderMap, body: Bytes) -> Result<Answer, Failure> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|e| Failure::Connect(e.kind().to_string()))?;
    // Nothing is lost where it is refused.
    let _ = stream.set_nodelay(true);
    let broken = |e: hyper::Error| Failure::Broken(innermost(&e));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let conversation = async {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.path.parse().map_err(|_| Failure::Broken("the path cannot be sent".into()))?;
        *request.headers_mut() = headers.clone();
        let fields = request.headers_mut();
        if !fields.contains_key(header::HOST) {
            let host = HeaderValue::from_str(&url.authority);
            fields.insert(header::HOST, host.map_err(|_| Failure::Broken("the host cannot be sent".into()))?);
        }
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| Failure::Broken(e.to_string()))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // The connection has to be driven beside the conversation; when it ends first, its last answer still counts.
    tokio::pin!(conversation);
    tokio::select! {
        answer = &mut conversation => answer,
        _ = connection => conversation.await,
    }
}

/// What a change of an admin API carries, where the environment says so.
pub fn authorization() -> Option<HeaderValue> {
    let token = std::env::var("OUTRIGGER_ADMIN_TOKEN").ok().filter(|token| !token.is_empty())?;
    let mut field = HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok()?;
    field.set_sensitive(true);
    Some(field)
}

/// A part of a path or of a query, so that nothing in it ends the part.
pub fn escaped(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// What a chain of errors comes from: `connection reset by peer`, and not `connection error`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
