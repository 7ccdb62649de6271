//! One request to the admin API, and its answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde::Serialize;

use super::{Desk, api, availability, faults};
use crate::clock::Instant;
use crate::telemetry::availability::Window;
use crate::telemetry::explain::Summary;
use crate::telemetry::metrics::PoolFacts;

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "\
Outrigger admin

/livez                   200 while the process runs
/readyz                  200 when it should get traffic, else 503 and the reason
/metrics                 Prometheus
/api/v1/services         every pool: endpoints, load, health, what was learned, age of the registry's data
/api/v1/services/NAME    one of them
/api/v1/availability     what became of requests, before and after resilience: ?window=1m, 5m, 1h, 24h or all
/api/v1/explain          requests that can be explained, the newest first
/api/v1/explain/ID       the life of one of them, by its X-Request-Id
/api/v1/faults           what is injected; POST adds one, DELETE ends all (?controller=NAME: that one's)
/api/v1/faults/ID        DELETE ends it
/api/v1/guards           POST posts one, DELETE /api/v1/guards/ID takes it away
/api/v1/drills           POST begins one, DELETE /api/v1/drills/CONTROLLER ends it
/api/v1/heartbeat        POST: a controller lives
/api/v1/audit            who added and ended faults, and why
";

/// Those without a name in their path.
const PAGES: [&str; 7] =
    ["/", "/livez", "/readyz", "/metrics", "/api/v1/services", "/api/v1/availability", "/api/v1/explain"];

#[derive(Serialize)]
struct Requests {
    requests: Vec<Summary>,
}

#[derive(Serialize)]
struct Status<'s> {
    status: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'s str>,
}

#[derive(Serialize)]
pub(super) struct Failure<'s> {
    pub error: &'s str,
}

/// The answer to a request. `loopback`: whether only this machine should be asking.
pub(super) async fn respond<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    request: Request<B>,
    queue: &Desk,
    loopback: bool,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if let Some(refusal) = queue.inputs.access.refuse(&parts, loopback, peer) {
        return refusal;
    }
    let path = parts.uri.path();
    if faults::is_ours(path) {
        return faults::respond(&parts, body, &queue.inputs.fault_manager, peer).await;
    }
    look_up(&parts, queue)
}

/// What is only read.
fn look_up(request: &Parts, queue: &Desk) -> Response<Full<Bytes>> {
    let path = request.uri.path();
    let below = |parent| path.strip_prefix(parent).filter(|name| !name.is_empty());
    let (one, id) = (below("/api/v1/services/"), below("/api/v1/explain/"));
    if !PAGES.contains(&path) && one.or(id).is_none() {
        return json(StatusCode::NOT_FOUND, &Failure { error: "there is no such page; / lists those that are" });
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        let mut answer = json(StatusCode::METHOD_NOT_ALLOWED, &Failure { error: "only GET and HEAD" });
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let inputs = &queue.inputs;
    match (one, id) {
        (Some(name), _) => return service(name, queue),
        (_, Some(id)) => return explain(id, queue),
        (None, None) => {}
    }
    match path {
        "/livez" => json(StatusCode::OK, &Status { status: "live", reason: None }),
        "/readyz" => ready(queue),
        "/metrics" => {
            let clock = inputs.reader.clock(Instant::now());
            let facts = facts(queue);
            let mut page = inputs.metrics.render(&inputs.reader.snapshot(), clock, &facts);
            if inputs.endpoint_metrics {
                page.push_str(&inputs.metrics.render_endpoints(&inputs.reader.snapshot(), clock));
            }
            let proxies = inputs.tcp.facts();
            page.push_str(&inputs.metrics.render_tcp(&proxies));
            page.push_str(&inputs.metrics.render_faults(&inputs.reader.snapshot(), &proxies));
            answer(StatusCode::OK, PROMETHEUS, page)
        }
        "/api/v1/services" => {
            let clock = inputs.reader.clock(Instant::now());
            json(StatusCode::OK, &api::services(&inputs.reader.snapshot(), &inputs.board.read(), clock))
        }
        "/api/v1/availability" => window(request.uri.query(), queue),
        "/api/v1/explain" => {
            let requests = queue.shelves.borrow().list();
            json(StatusCode::OK, &Requests { requests })
        }
        _ => answer(StatusCode::OK, TEXT, INDEX),
    }
}

fn window(query: Option<&str>, queue: &Desk) -> Response<Full<Bytes>> {
    let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("window="));
    queue.look();
    let (ledger, board) = (queue.ledger.borrow(), queue.inputs.board.read());
    if asked == Some(availability::ALL) {
        return json(StatusCode::OK, &availability::report(&ledger, &board, None));
    }
    let Some(window) = asked.map_or(Some(Window::FiveMinutes), Window::named) else {
        return json(StatusCode::BAD_REQUEST, &Failure { error: "window is one of 1m, 5m, 1h, 24h, all" });
    };
    json(StatusCode::OK, &availability::report(&ledger, &board, Some(window)))
}

fn explain(id: &str, queue: &Desk) -> Response<Full<Bytes>> {
    match queue.shelves.borrow().find(&decode(id)) {
        Some(record) => json(StatusCode::OK, record),
        None => {
            let error = "no record of this request: only those that failed, were slow or asked for it are kept, and the newest of them";
            json(StatusCode::NOT_FOUND, &Failure { error })
        }
    }
}

fn ready(queue: &Desk) -> Response<Full<Bytes>> {
    let inputs = &queue.inputs;
    let waiting = inputs.readiness.waiting();
    let reason = if inputs.draining.load(Relaxed) { Some("draining") } else { waiting.as_deref() };
    match reason {
        None => json(StatusCode::OK, &Status { status: "ready", reason }),
        Some(_) => json(StatusCode::SERVICE_UNAVAILABLE, &Status { status: "not ready", reason }),
    }
}

fn facts(queue: &Desk) -> impl Fn(&str) -> PoolFacts {
    queue.look();
    let board = queue.inputs.board.read();
    let ledger = queue.ledger.borrow();
    move |service| {
        let availability = Window::ALL.map(|window| {
            let (totals, _) = ledger.window(service, window)?;
            totals.before().zip(totals.after())
        });
        let known = board.get(service).map_or_else(PoolFacts::default, |status| PoolFacts::of(status));
        PoolFacts { availability, ..known }
    }
}

fn service(name: &str, queue: &Desk) -> Response<Full<Bytes>> {
    let inputs = &queue.inputs;
    let name = decode(name);
    let snapshot = inputs.reader.snapshot();
    match snapshot.clusters.get(&*name) {
        Some(cluster) => {
            let board = inputs.board.read();
            let status = board.get(&*name).map(|status| &**status);
            let clock = inputs.reader.clock(Instant::now());
            json(StatusCode::OK, &api::service(&snapshot, cluster, status, clock))
        }
        None => json(StatusCode::NOT_FOUND, &Failure { error: "no service of this name is followed" }),
    }
}

/// `%3A` and the like; what is no escape stays as it is.
pub(super) fn decode(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = name.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// To a request whose body does not come.
pub(super) fn late() -> Response<Full<Bytes>> {
    json(StatusCode::REQUEST_TIMEOUT, &Failure { error: "the request was not there after ten seconds" })
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            answer(status, JSON, body)
        }
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("orders"), "orders");
        assert_eq!(decode("web.test%3A80"), "web.test:80");
        assert_eq!(decode("%5b::1%5D%3a80"), "[::1]:80");
        assert_eq!(decode("%253A"), "%3A");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%+1%é"), "%+1%é");
    }
}
