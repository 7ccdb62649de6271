//! The good clients of a crowd: an open stream of requests over either protocol, and what became of every one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use super::body::{Body, Check, MOST, body};
use super::server::Local;
use super::{LAST, SERVICES};
use crate::proxy::PORT;

/// What the proxy gives a request, from the end of its body to the head of its answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client waits for the last byte: for its upload, for the proxy's word, for the download.
pub const PATIENCE: Duration = Duration::from_secs(16);
/// From one request to the next, of each of two clients.
const EVERY: Duration = Duration::from_millis(40);

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A small answer: it waits for nothing but its turn.
    Small,
    /// A large answer.
    Download,
    /// A body that may be sent again, and raced.
    Put,
    /// A body that may not.
    Post,
    /// What always fails.
    Bad,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of the answer to its request.
    Right,
    /// A whole answer of 200 that is not.
    Wrong(String),
    /// Another status.
    Status(u16),
    /// The connection or the stream ended before the answer did, and was seen to.
    Broken(String),
    /// Nothing, until it would wait no longer.
    Nothing,
}

/// A request, and what became of it.
#[derive(Debug)]
#[allow(dead_code, reason = "read by Debug")]
pub struct Asked {
    pub id: u64,
    pub kind: Kind,
    pub service: &'static str,
    /// Whether its client speaks HTTP/2.
    pub framed: bool,
    pub size: usize,
    pub at: Duration,
    pub took: Duration,
    pub outcome: Outcome,
}

/// What all clients of a simulation share.
#[derive(Clone, Default)]
pub struct Shared {
    pub asked: Rc<RefCell<Vec<Asked>>>,
    /// Requests that have begun, whether or not they have ended.
    pub next: Rc<Cell<u64>>,
}

/// Sends requests until the last has begun, and waits until all have ended.
pub async fn run(shared: Shared, framed: bool, bad_url: bool) -> turmoil::Result {
    let streams = Rc::new(RefCell::new(None));
    let mut open = Vec::new();
    while turmoil::sim_elapsed().unwrap() < LAST {
        sleep(EVERY.mul_f64(2.0 * fastrand::f64())).await;
        for kind in kinds(bad_url) {
            let (shared, streams) = (shared.clone(), Rc::clone(&streams));
            open.push(tokio::task::spawn_local(async move { one(&shared, framed, kind, &streams).await }));
        }
    }
    for request in open {
        request.await?;
    }
    Ok(())
}

/// A request, and where one URL is bad three more for that.
fn kinds(bad_url: bool) -> Vec<Kind> {
    let kind = match fastrand::u8(..20) {
        0 => Kind::Download,
        1..4 => Kind::Put,
        4..6 => Kind::Post,
        _ => Kind::Small,
    };
    let bad = if bad_url { 3 } else { 0 };
    std::iter::once(kind).chain(std::iter::repeat_n(Kind::Bad, bad)).collect()
}

/// Most fit what is kept of a body for another attempt.
fn size(kind: Kind) -> usize {
    match kind {
        Kind::Small => fastrand::usize(1..2_000),
        Kind::Download => fastrand::usize(100_000..MOST),
        Kind::Put | Kind::Post => fastrand::usize(1..[1_000, 60_000, 60_000, MOST / 2][fastrand::usize(..4)]),
        Kind::Bad => 0,
    }
}

type Streams = RefCell<Option<http2::SendRequest<Body>>>;

async fn one(shared: &Shared, framed: bool, kind: Kind, streams: &Streams) {
    let id = shared.next.replace(shared.next.get() + 1);
    let service = if kind == Kind::Bad { "pair" } else { SERVICES[fastrand::usize(..SERVICES.len())].0 };
    let (at, size) = (turmoil::sim_elapsed().unwrap(), size(kind));
    let outcome = match timeout(PATIENCE, exchange(id, kind, service, size, framed, streams)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Broken(format!("{error:?}")),
        Err(_) => Outcome::Nothing,
    };
    let took = turmoil::sim_elapsed().unwrap() - at;
    shared.asked.borrow_mut().push(Asked { id, kind, service, framed, size, at, took, outcome });
}

async fn exchange(
    id: u64,
    kind: Kind,
    service: &'static str,
    size: usize,
    framed: bool,
    streams: &Streams,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let (method, path, sent, expected) = match kind {
        Kind::Small | Kind::Download => (Method::GET, "bytes", 0, size),
        Kind::Put => (Method::PUT, "take", size, 100),
        Kind::Post => (Method::POST, "take", size, 100),
        Kind::Bad => (Method::GET, "bad", 0, 0),
    };
    let path = format!("/{path}/{id}/{size}");
    let uri = if framed { format!("http://{service}{path}") } else { path };
    let mut request = Request::builder().method(method).uri(uri);
    if !framed {
        request = request.header("host", service);
    }
    if sent > 0 && fastrand::bool() {
        request = request.header("content-length", sent);
    }
    let request = request.body(body(id, sent, || async {}))?;
    let response = match framed {
        true => {
            let free = streams.borrow().clone().filter(|streams| !streams.is_closed());
            let mut sender = match free {
                Some(sender) => sender,
                None => {
                    let io = TokioIo::new(TcpStream::connect(("proxy", PORT)).await?);
                    let (sender, connection) = http2::handshake(Local, io).await?;
                    tokio::task::spawn_local(connection);
                    streams.replace(Some(sender.clone()));
                    sender
                }
            };
            sender.ready().await?;
            sender.send_request(request).await?
        }
        false => {
            let io = TokioIo::new(TcpStream::connect(("proxy", PORT)).await?);
            let (mut sender, connection) = http1::handshake(io).await?;
            tokio::task::spawn_local(connection);
            sender.send_request(request).await?
        }
    };
    let (status, mut incoming) = (response.status().as_u16(), response.into_body());
    let mut check = Check::new(id);
    while let Some(frame) = incoming.frame().await {
        check.add(frame?.data_ref().map_or(&[], |data| &data[..]));
    }
    Ok(match status {
        200 if check.right && check.at == expected => Outcome::Right,
        200 => Outcome::Wrong(format!("{} of {expected} bytes, right: {}", check.at, check.right)),
        status => Outcome::Status(status),
    })
}
