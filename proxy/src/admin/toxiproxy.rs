//! Toxiproxy's API, for the clients that there are of it in a dozen languages.
//!
//! Whoever writes tests against a slow or a broken dependency today does it with Toxiproxy's client in his own language.
//! None of them should have to change a line: so every path, method, status, sentence, default and quirk of Toxiproxy 2.12 is
//! here, and a test holds each against the real server. What is meant to differ is in `docs/toxiproxy.md`, and held by the
//! same test.
//!
//! A proxy is one of `proxies`; a toxic is a fault (`toxic`). Bodies are read and refused as Go would (`json`,
//! `read`), addresses understood as Go does (`address`).
//!
//! It has an address of its own, since Toxiproxy's paths are not below anything, and clients expect them there. Browsers are
//! turned away, by what they say of themselves as Toxiproxy does, and by the `Origin` that a page cannot hide: the API has no
//! password and opens ports.

mod address;
mod json;
mod metrics;
mod problem;
mod proxies;
mod read;
mod toxic;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::respond::decode;
use crate::config::settings::ToxiproxySettings;
use crate::fault_manager::FaultManager;
use crate::snapshot::Reader;
use crate::tcp::TcpProxies;

use json::quote;
use problem::Problem;
use proxies::{Populated, Proxies};

/// The version of Toxiproxy that this is, to its clients.
pub const VERSION: &str = "2.12.0";
/// Bytes of a request's body.
const MAX_BODY: usize = 64 << 10;
/// Bytes of a list of proxies: more than four thousand of them are.
const MAX_LIST: usize = 4 << 20;
/// For an answer.
const ANSWER: Duration = Duration::from_secs(25);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-toxiproxy-request-id");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the API is made of.
#[derive(Debug)]
pub struct ToxiproxyInputs {
    /// Plain TCP proxies.
    pub tcp: TcpProxies,
    /// Faults.
    pub fault_manager: Arc<FaultManager>,
    /// Services.
    pub reader: Reader,
    /// Where requests are taken, and for which service, where it is for one only.
    pub listeners: Vec<(SocketAddr, Option<Arc<str>>)>,
    /// What the operator wants.
    pub settings: ToxiproxySettings,
}

/// Toxiproxy's API, ready to answer. One thread's.
#[derive(Debug, Clone)]
pub struct Toxiproxy {
    proxies: Rc<Proxies>,
    settings: Rc<ToxiproxySettings>,
}

/// What is asked, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Page {
    Reset,
    Proxies,
    Populate,
    Proxy(String),
    Toxics(String),
    Toxic(String, String),
    Version,
    Metrics,
}

impl From<ToxiproxyInputs> for Toxiproxy {
    fn from(inputs: ToxiproxyInputs) -> Self {
        let ToxiproxyInputs { tcp, fault_manager, reader, listeners, settings } = inputs;
        let (written, turn) = (RefCell::default(), Mutex::default());
        let proxies = Rc::new(Proxies { tcp, fault_manager, reader, listeners, written, turn });
        Self { proxies, settings: Rc::new(settings) }
    }
}

impl Toxiproxy {
    /// Makes the proxies that should be there from the start.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or one of them cannot be made: which, and why.
    pub async fn populate(&self) -> Result<(), String> {
        let Some(path) = &self.settings.populate else { return Ok(()) };
        let file = path.display();
        let text = std::fs::read(path).map_err(|error| format!("{file}: {error}"))?;
        let done = self.proxies.populate(&text, "configuration").await;
        let Populated { shown, problem } = done.map_err(|why| format!("{file}: {}", why.message))?;
        match problem {
            Some(why) => Err(format!("{file}: proxy {}: {}", shown.len() + 1, why.message)),
            None => {
                tracing::info!(%file, proxies = shown.len(), "proxies of Toxiproxy's API");
                Ok(())
            }
        }
    }

    /// The answer to a request.
    pub async fn respond<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Full<Bytes>>
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let (parts, body) = request.into_parts();
        let path = decode(parts.uri.path()).into_owned();
        let spelled = self.spelled(parts.uri.path());
        let cleaned = clean(&path);
        if spelled.is_none() && cleaned != path {
            return moved(&cleaned, parts.uri.query());
        }
        let metrics = self.settings.metrics || self.settings.runtime_metrics;
        let page = spelled.or_else(|| page(&path.split('/').collect::<Vec<_>>()));
        let Some(page) = page.filter(|page| *page != Page::Metrics || metrics) else {
            return text(StatusCode::NOT_FOUND, "404 page not found");
        };
        if !allows(&page, &parts.method) {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let mut answer = if is_a_browser(&parts) {
            text(StatusCode::FORBIDDEN, "User agent not allowed")
        } else {
            let answered = timeout(ANSWER, self.answer(page, &parts.method, body, peer)).await;
            answered.unwrap_or_else(|_| empty(StatusCode::SERVICE_UNAVAILABLE))
        };
        answer.headers_mut().insert(REQUEST_ID, request_id());
        answer
    }

    /// What a path asks for that has a slash inside of a name, as `%2F`. Toxiproxy takes such names and does not find them again,
    /// as it looks for slashes in what was decoded; so only what is there is found like that, and everything else answered as
    /// there.
    fn spelled(&self, path: &str) -> Option<Page> {
        let parts: Vec<_> = path.split('/').map(decode).collect();
        if !parts.iter().any(|part| part.contains('/')) {
            return None;
        }
        let page = page(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        let there = match &page {
            Page::Proxy(proxy) | Page::Toxics(proxy) => self.proxies.find(proxy).is_ok(),
            Page::Toxic(proxy, toxic) => {
                proxy.contains('/') && self.proxies.find(proxy).is_ok() || self.proxies.toxic(proxy, toxic).is_ok()
            }
            _ => false,
        };
        there.then_some(page)
    }

    fn metrics(&self) -> String {
        let mut page = String::new();
        if self.settings.runtime_metrics {
            page.push_str(&crate::telemetry::metrics::install().render_process());
        }
        if self.settings.metrics {
            page.push_str(&metrics::render(&self.proxies.tcp.list()));
        }
        page
    }

    async fn answer<B>(&self, page: Page, method: &Method, body: B, peer: SocketAddr) -> Response<Full<Bytes>>
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let limit = if page == Page::Populate { MAX_LIST } else { MAX_BODY };
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                let message = format!("the body is larger than {} KiB, or broke off", limit >> 10);
                return problem(&Problem { status: StatusCode::PAYLOAD_TOO_LARGE, message });
            }
        };
        let (proxies, by) = (&self.proxies, format!("toxiproxy {peer}"));
        let done = match (page, method) {
            (Page::Version, _) => {
                let version = format!("{{\"version\": \"{VERSION}\"}}\n");
                return full(StatusCode::OK, "application/json;charset=utf-8", version);
            }
            (Page::Metrics, _) => return full(StatusCode::OK, metrics::TYPE, self.metrics()),
            (Page::Reset, _) => proxies.reset(&by).await.map(|()| empty(StatusCode::NO_CONTENT)),
            (Page::Populate, _) => return populated(proxies.populate(&body, &by).await),
            (Page::Proxies, &Method::POST) => {
                proxies.create(&body, &by).await.map(|json| full(StatusCode::CREATED, JSON, json))
            }
            (Page::Proxies, _) => Ok(ok(index(proxies))),
            (Page::Proxy(name), &Method::GET) => proxies.find(&name).map(|one| ok(proxies.show(&one))),
            (Page::Proxy(name), &Method::DELETE) => proxies.remove(&name).await.map(|()| empty(StatusCode::NO_CONTENT)),
            (Page::Proxy(name), _) => proxies.update(&name, &body, &by).await.map(ok),
            (Page::Toxics(name), &Method::POST) => proxies.add_toxic(&name, &body, &by).map(ok),
            (Page::Toxics(name), _) => proxies.toxics(&name).map(ok),
            (Page::Toxic(name, toxic), &Method::GET) => proxies.toxic(&name, &toxic).map(ok),
            (Page::Toxic(name, toxic), &Method::DELETE) => {
                proxies.remove_toxic(&name, &toxic, &by).map(|()| empty(StatusCode::NO_CONTENT))
            }
            (Page::Toxic(name, toxic), _) => proxies.change_toxic(&name, &toxic, &body, &by).map(ok),
        };
        done.unwrap_or_else(|why| problem(&why))
    }
}

/// Of a path's parts, of which the first is what stands before its first slash.
fn page(parts: &[&str]) -> Option<Page> {
    let ("", parts) = parts.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    Some(match *parts {
        ["reset"] => Page::Reset,
        ["proxies"] => Page::Proxies,
        ["populate"] => Page::Populate,
        ["version"] => Page::Version,
        ["metrics"] => Page::Metrics,
        ["proxies", proxy] => Page::Proxy(proxy.to_owned()),
        ["proxies", proxy, "toxics"] => Page::Toxics(proxy.to_owned()),
        ["proxies", proxy, "toxics", toxic] => Page::Toxic(proxy.to_owned(), toxic.to_owned()),
        _ => return None,
    })
}

fn allows(page: &Page, method: &Method) -> bool {
    match page {
        Page::Reset | Page::Populate => method == Method::POST,
        Page::Version => method == Method::GET,
        Page::Metrics => true,
        Page::Proxies | Page::Toxics(_) => matches!(*method, Method::GET | Method::POST),
        Page::Proxy(_) | Page::Toxic(..) => {
            matches!(*method, Method::GET | Method::POST | Method::PATCH | Method::DELETE)
        }
    }
}

fn is_a_browser(parts: &Parts) -> bool {
    let agent = parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let foreign = parts.headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    agent.starts_with(b"Mozilla/") || foreign || parts.headers.contains_key(ORIGIN)
}

/// A path without `.`, `..` and empty parts. One that ends in `/` still does.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

fn index(proxies: &Proxies) -> String {
    let mut json = String::from("{");
    for (name, one) in proxies.all() {
        if json.len() > 1 {
            json.push(',');
        }
        quote(&name, &mut json);
        json.push(':');
        json.push_str(&proxies.show(&one));
    }
    json.push('}');
    json
}

fn populated(done: Result<Populated, Problem>) -> Response<Full<Bytes>> {
    let Populated { shown, problem } = done.unwrap_or_else(|why| Populated { shown: Vec::new(), problem: Some(why) });
    let mut json = String::from("{");
    if let Some(Problem { status, message }) = &problem {
        json.push_str("\"error\":");
        quote(message, &mut json);
        json.push_str(&format!(",\"status\":{},", status.as_u16()));
    }
    // Go writes a list that nothing was ever put into like that.
    let list = if shown.is_empty() { "null".to_owned() } else { format!("[{}]", shown.join(",")) };
    json.push_str(&format!("\"proxies\":{list}}}"));
    full(problem.map_or(StatusCode::CREATED, |why| why.status), JSON, json)
}

fn problem(why: &Problem) -> Response<Full<Bytes>> {
    let mut json = String::from("{\"error\":");
    quote(&why.message, &mut json);
    json.push_str(&format!(",\"status\":{}}}", why.status.as_u16()));
    text(why.status, &json)
}

fn ok(json: String) -> Response<Full<Bytes>> {
    full(StatusCode::OK, JSON, json)
}

/// Go's `http.Error`, which makes plain text of whatever it is.
fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let mut answer = full(status, TEXT, format!("{line}\n"));
    answer.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    answer
}

fn moved(path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
    let mut answer = empty(StatusCode::MOVED_PERMANENTLY);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(location) = HeaderValue::from_str(&format!("{}{query}", encode(path))) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn encode(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$&+,/:;=@-_.~".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn full(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Twenty digits and letters, as an xid has them.
fn request_id() -> HeaderValue {
    const SIGNS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let id: Vec<u8> = (0..20).map(|_| SIGNS[fastrand::usize(..32)]).collect();
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("0"))
}
