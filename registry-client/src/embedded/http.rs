//! Consul's paths, parameters, statuses and headers over the [catalog](super::catalog).

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::catalog::{Catalog, DATACENTER, Refused, health};
use super::{Shared, duration};
use crate::Health;
use crate::consul::Registration;

const DEFAULT_WAIT: Duration = Duration::from_secs(300);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

type Answer = Result<Response<Full<Bytes>>, Failure>;

/// Every request gets an answer; none is an error of the connection.
pub(super) async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(route(request, shared).await.unwrap_or_else(|Failure(status, text)| response(status, "text/plain", text)))
}

async fn route(request: Request<Incoming>, shared: &Shared) -> Answer {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let segments: Vec<Cow<'_, str>> = path.trim_start_matches('/').split('/').map(decode).collect::<Result<_, _>>()?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let known = known_method(&segments).ok_or(Failure(StatusCode::NOT_FOUND, format!("no such path here: {path}")))?;
    if *request.method() != known {
        return Err(Failure(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {known}")));
    }
    match segments[1..] {
        ["status", "leader"] => Ok(json(&shared.read(|catalog| catalog.agent()["Member"]["Addr"].clone()), None)),
        ["agent", "self"] => Ok(json(&shared.read(Catalog::agent), None)),
        ["agent", "services"] => Ok(json(&shared.read(Catalog::services), None)),
        ["catalog", "services"] => query.reads(shared, Catalog::listing_index, Catalog::listing).await,
        ["health", "service", name] => {
            let passing = query.flag("passing");
            query.reads(shared, |catalog| catalog.index_of(name), |catalog| catalog.health(name, passing)).await
        }
        ["agent", "service", "register"] => {
            let registration: Registration = body(request, shared).await?;
            let replace = query.flag("replace-existing-checks");
            done(shared.change(|catalog, now| catalog.register(registration, replace, now)))
        }
        ["agent", "service", "deregister", id] => done(shared.change(|catalog, _| catalog.deregister(id))),
        ["agent", "service", "maintenance", id] => {
            let reason = query.maintenance()?;
            done(shared.change(|catalog, _| catalog.maintenance(id, reason)))
        }
        ["agent", "maintenance"] => {
            let reason = query.maintenance()?;
            shared.change(|catalog, _| catalog.node_maintenance(reason));
            done(Ok(()))
        }
        ["agent", "check", "update", id] => {
            let Report { status, output } = body(request, shared).await?;
            let status = health(&status).ok_or_else(|| bad(format!("Invalid check status: {status:?}")))?;
            done(shared.change(|catalog, now| catalog.report(id, status, &output, now)))
        }
        ["agent", "check", verb, id] => {
            let status = match verb {
                "pass" => Health::Passing,
                "warn" => Health::Warning,
                _ => Health::Critical,
            };
            let note = query.text("note").unwrap_or_default();
            done(shared.change(|catalog, now| catalog.report(id, status, note, now)))
        }
        _ => Err(Failure(StatusCode::NOT_FOUND, format!("no such path here: {path}"))),
    }
}

fn known_method(segments: &[&str]) -> Option<Method> {
    match segments {
        ["v1", "status", "leader"]
        | ["v1", "agent", "self" | "services"]
        | ["v1", "catalog", "services"]
        | ["v1", "health", "service", _] => Some(Method::GET),
        ["v1", "agent", "service", "register"]
        | ["v1", "agent", "service", "deregister" | "maintenance", _]
        | ["v1", "agent", "maintenance"]
        | ["v1", "agent", "check", "update" | "pass" | "warn" | "fail", _] => Some(Method::PUT),
        _ => None,
    }
}

/// An answer that is not 200.
struct Failure(StatusCode, String);

fn bad(text: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, text.into())
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            Refused::Invalid(_) => StatusCode::BAD_REQUEST,
            Refused::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, refused.to_string())
    }
}

/// The body of `agent/check/update`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    status: String,
    #[serde(default)]
    output: String,
}

/// The parameters of a request.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self, Failure> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode(&text.replace('+', " ")).map(Cow::into_owned);
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Failure>>()?))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Present, and not set to false.
    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| !matches!(value, "false" | "0"))
    }

    /// The reason to go into maintenance, or none to leave it.
    fn maintenance(&self) -> Result<Option<&str>, Failure> {
        match self.text("enable") {
            Some("true" | "1") => Ok(Some(self.text("reason").unwrap_or_default())),
            Some("false" | "0") => Ok(None),
            _ => Err(bad("Missing value for enable: true or false")),
        }
    }

    /// A read that waits until its index is past the one asked for.
    async fn reads(
        &self,
        shared: &Shared,
        index: impl Fn(&Catalog) -> u64,
        content: impl Fn(&Catalog) -> Value,
    ) -> Answer {
        if let Some(name) = ["filter", "tag", "node-meta"].into_iter().find(|name| self.text(name).is_some()) {
            return Err(bad(format!("{name} is not supported by the embedded registry")));
        }
        if let Some(other) = self.text("dc").filter(|dc| !dc.is_empty() && *dc != DATACENTER) {
            return Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("No path to datacenter {other:?}")));
        }
        if let Some((asked, wait)) = self.blocking()? {
            let Ok(_waiting) = shared.waiting.try_acquire() else {
                return Err(Failure(StatusCode::TOO_MANY_REQUESTS, "too many queries wait".to_owned()));
            };
            // As Consul does it, so that clients that came together do not come back together.
            let deadline = Instant::now() + wait + (wait / 16).mul_f64(fastrand::f64());
            let mut news = shared.news.subscribe();
            while shared.read(&index) <= asked && wait_for(news.changed(), deadline).await {}
        }
        let (index, content) = shared.read(|catalog| (index(catalog), content(catalog)));
        Ok(json(&content, Some(index)))
    }

    fn blocking(&self) -> Result<Option<(u64, Duration)>, Failure> {
        let wait = match self.text("wait") {
            None | Some("") => DEFAULT_WAIT,
            Some(text) => duration::parse(text).ok_or_else(|| bad("Invalid wait time"))?,
        };
        let wait = if wait.is_zero() { DEFAULT_WAIT } else { wait.min(LONGEST_WAIT) };
        match self.text("index") {
            None | Some("") => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(0) => Ok(None),
                Ok(index) => Ok(Some((index, wait))),
                Err(_) => Err(bad("Invalid index")),
            },
        }
    }
}

/// Whether there was news before the deadline.
async fn wait_for<E>(news: impl Future<Output = Result<(), E>>, deadline: Instant) -> bool {
    matches!(timeout_at(deadline, news).await, Ok(Ok(())))
}

async fn body<T: for<'de> Deserialize<'de>>(request: Request<Incoming>, shared: &Shared) -> Result<T, Failure> {
    let limit = shared.limits.body;
    let read = Limited::new(request.into_body(), limit).collect();
    let bytes = match timeout_at(Instant::now() + BODY_TIME, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Failure(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {limit} bytes")));
        }
        Ok(Err(error)) => return Err(bad(error.to_string())),
        Err(_) => return Err(Failure(StatusCode::REQUEST_TIMEOUT, "the body did not come".to_owned())),
    };
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("Request decode failed: {error}")))
}

fn done(outcome: Result<(), Refused>) -> Answer {
    outcome?;
    Ok(response(StatusCode::OK, "text/plain", String::new()))
}

fn json(content: &Value, index: Option<u64>) -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::OK, "application/json", content.to_string());
    let headers = response.headers_mut();
    if let Some(index) = index {
        headers.insert("x-consul-index", index.into());
        headers.insert("x-consul-knownleader", hyper::header::HeaderValue::from_static("true"));
        headers.insert("x-consul-lastcontact", 0.into());
    }
    response
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(kind));
    headers.insert("vary", hyper::header::HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Percent-decodes.
fn decode(text: &str) -> Result<Cow<'_, str>, Failure> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return Err(bad("broken percent-encoding")),
            },
            (b'%', _) => return Err(bad("broken percent-encoding")),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad("not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
