//! Faults, guards and drills over the admin API: the only part of it that changes anything.
//!
//! A web page must not be able to break a service. The API has no password, so a browser on the same machine could be made
//! to send what it likes to loopback; whatever carries an `Origin`, or says that it comes from a page, is refused, and a body
//! has to be declared as JSON, which a page cannot do without asking first.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::respond::{Failure, answer, decode, json};
use crate::clock::Instant;
use crate::fault::Spec;
use crate::fault::guard::GuardSpec;
use crate::fault_manager::FaultManager;
use crate::fault_manager::{Drill, End, Entry, FaultView, Refused, Which};
use crate::units::Interval;

/// Bytes of a request's body.
const MAX_BODY: usize = 64 << 10;

/// What is asked, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page<'p> {
    Faults,
    Fault(&'p str),
    Heartbeat,
    Guards,
    Guard(&'p str),
    Drills,
    Drill(&'p str),
    Audit,
}

/// All faults.
#[derive(Debug, Serialize, Deserialize)]
pub struct Faults {
    /// Whether there may be any.
    pub enabled: bool,
    /// Those that are not over, in the order in which they were added.
    pub faults: Vec<FaultView>,
}

/// How many were ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cleared {
    /// So many.
    pub cleared: usize,
}

/// What a heartbeat is answered with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Beat {
    /// The ids of the controller's faults that are not over.
    pub faults: Vec<u64>,
    /// Why a guard has ended them, where one has.
    pub aborted: Option<String>,
}

/// What was done lately.
#[derive(Debug, Serialize)]
pub struct AuditLog {
    /// The newest last.
    pub entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Posted {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heart {
    controller: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    controller: String,
    name: String,
    heartbeat: Interval,
}

#[derive(Serialize)]
struct Wrong<'s> {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'s str>,
}

/// Whether a path is one of ours.
pub fn is_ours(path: &str) -> bool {
    page(path).is_some()
}

fn page(path: &str) -> Option<Page<'_>> {
    let rest = path.strip_prefix("/api/v1/")?;
    let (parent, name) = rest.split_once('/').unwrap_or((rest, ""));
    Some(match (parent, name) {
        ("faults", "") => Page::Faults,
        ("faults", name) => Page::Fault(name),
        ("heartbeat", "") => Page::Heartbeat,
        ("guards", "") => Page::Guards,
        ("guards", name) => Page::Guard(name),
        ("drills", "") => Page::Drills,
        ("drills", name) => Page::Drill(name),
        ("audit", "") => Page::Audit,
        _ => return None,
    })
}

/// The answer to a request for one of our paths.
pub async fn respond<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    parts: &Parts,
    body: B,
    fault_manager: &FaultManager,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let Some(page) = page(parts.uri.path()) else { return wrong(StatusCode::NOT_FOUND, "there is no such page", None) };
    let get = matches!(parts.method, Method::GET | Method::HEAD);
    if !get && is_from_a_page(parts) {
        return wrong(StatusCode::FORBIDDEN, "faults are not for web pages: the request has an Origin", None);
    }
    let by = format!("admin {peer}");
    let now = crate::clock::Instant::now;
    match (page, &parts.method) {
        (Page::Faults, _) if get => {
            let now = now();
            let faults = fault_manager.list(now).iter().map(|active| FaultView::of(active, now)).collect();
            json(StatusCode::OK, &Faults { enabled: fault_manager.is_enabled(), faults })
        }
        (Page::Audit, _) if get => json(StatusCode::OK, &AuditLog { entries: fault_manager.audit() }),
        (Page::Faults, &Method::POST) => match read::<Spec, _>(parts, body).await {
            Ok(spec) if query(parts, "dry_run").as_deref() == Some("true") => match fault_manager.check(&spec, now()) {
                Ok(()) => answer(StatusCode::OK, super::respond::JSON, "{}\n"),
                Err(why) => refused(&why),
            },
            Ok(spec) => added(fault_manager, spec, &by, now()),
            Err(refusal) => refusal,
        },
        (Page::Faults, &Method::DELETE) => {
            let controller = query(parts, "controller");
            let which = controller.as_deref().map_or(Which::All, Which::Controller);
            json(StatusCode::OK, &Cleared { cleared: fault_manager.clear(which, &End::Cleared, &by) })
        }
        (Page::Fault(id), &Method::DELETE) => gone(id.parse().is_ok_and(|id| fault_manager.end(id, &by)), "fault", id),
        (Page::Heartbeat, &Method::POST) => match read::<Heart, _>(parts, body).await {
            Ok(Heart { controller }) => {
                let (faults, aborted) = fault_manager.heartbeat(&controller, now());
                let faults = faults.iter().map(|active| active.id).collect();
                let aborted = aborted.map(|saw| format!("guard: {saw}"));
                json(StatusCode::OK, &Beat { faults, aborted })
            }
            Err(refusal) => refusal,
        },
        (Page::Guards, &Method::POST) => match read::<GuardSpec, _>(parts, body).await {
            Ok(spec) => match fault_manager.guard(spec, now()) {
                Ok(id) => json(StatusCode::CREATED, &Posted { id }),
                Err(why) => refused(&why),
            },
            Err(refusal) => refusal,
        },
        (Page::Guard(id), &Method::DELETE) => gone(id.parse().is_ok_and(|id| fault_manager.unguard(id)), "guard", id),
        (Page::Drills, &Method::POST) => match read::<Lease, _>(parts, body).await {
            Ok(Lease { controller, name, heartbeat }) => {
                let (controller, name) = (controller.into(), name.into());
                match fault_manager.begin_drill(Drill { controller, name, heartbeat: heartbeat.0 }, now()) {
                    Ok(()) => answer(StatusCode::CREATED, super::respond::JSON, "{}\n"),
                    Err(why) => refused(&why),
                }
            }
            Err(refusal) => refusal,
        },
        (Page::Drill(name), &Method::DELETE) => gone(fault_manager.end_drill(&decode(name), &by), "drill of", name),
        (page, _) => {
            let allowed = match page {
                Page::Faults => "GET, HEAD, POST, DELETE",
                Page::Fault(_) | Page::Guard(_) | Page::Drill(_) => "DELETE",
                Page::Heartbeat | Page::Guards | Page::Drills => "POST",
                Page::Audit => "GET, HEAD",
            };
            let mut answer = wrong(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}"), None);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
    }
}

fn added(fault_manager: &FaultManager, spec: Spec, by: &str, now: Instant) -> Response<Full<Bytes>> {
    // An address says little of who it was.
    let by = spec.controller.as_ref().map_or(Cow::Borrowed(by), |name| Cow::Owned(format!("{name}, {by}")));
    match fault_manager.add(spec, &by, now) {
        Ok(active) => json(StatusCode::CREATED, &FaultView::of(&active, now)),
        Err(why) => refused(&why),
    }
}

fn refused(why: &Refused) -> Response<Full<Bytes>> {
    let status = match why {
        Refused::Locked => StatusCode::FORBIDDEN,
        Refused::Invalid(invalid) => return wrong(StatusCode::BAD_REQUEST, &why.to_string(), Some(&invalid.key)),
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Taken(..) | Refused::Cap(_) => StatusCode::CONFLICT,
    };
    wrong(status, &why.to_string(), None)
}

fn gone(found: bool, what: &str, name: &str) -> Response<Full<Bytes>> {
    if found {
        return answer(StatusCode::NO_CONTENT, super::respond::JSON, "");
    }
    wrong(StatusCode::NOT_FOUND, &format!("there is no {what} `{}`", decode(name)), None)
}

fn is_from_a_page(parts: &Parts) -> bool {
    let site = parts.headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    parts.headers.contains_key(ORIGIN) || site
}

async fn read<T: DeserializeOwned, B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    parts: &Parts,
    body: B,
) -> Result<T, Response<Full<Bytes>>> {
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "expected a body with `Content-Type: application/json`";
        return Err(wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, message, None));
    }
    let Ok(bytes) = Limited::new(body, MAX_BODY).collect().await else {
        return Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 KiB, or broke off", None));
    };
    serde_json::from_slice(&bytes.to_bytes())
        .map_err(|e| wrong(StatusCode::BAD_REQUEST, &format!("the body: {e}"), None))
}

fn query<'q>(parts: &'q Parts, key: &str) -> Option<Cow<'q, str>> {
    let pairs = parts.uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| decode(value))
}

fn wrong(status: StatusCode, error: &str, key: Option<&str>) -> Response<Full<Bytes>> {
    match key {
        None => json(status, &Failure { error }),
        Some(_) => json(status, &Wrong { error: error.to_owned(), key }),
    }
}
