//! Origins: those that behave, on hyper, and those that do what a script says, on a bare socket.
//!
//! The hyper origin is a foreign peer whose HTTP nobody here wrote, over HTTP/1.1 or HTTP/2. The scripted one is
//! for what no library will do: a head cut short, two lengths, a reset in the middle of a body. What it reads goes
//! through the strict parser of [`crate::raw`], so every test with a script also checks what the proxy sends.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use crate::raw::{Connection, Head, Message};
use crate::{pattern, runtime};

/// What an origin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 in cleartext with prior knowledge.
    Http2,
}

/// An origin on hyper.
///
/// `/echo` gives the body and its trailers back as they come; `/bytes/N` gives N bytes of [`pattern`];
/// `/status/N` answers N; `/delay/MS` waits; `/trailers` ends with one; `/head` gives the request's head as JSON;
/// `/abort` breaks off in its body; `/events` sends one and then nothing, without an end; `/endless` sends until nobody reads, and counts what it could send; everything else answers with its name.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    requests: AtomicUsize,
    connections: AtomicUsize,
    produced: AtomicUsize,
    gone: AtomicUsize,
}

/// Counts a request as gone unless its answer's last byte was asked for.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<BoxBody<Bytes, Broken>>;

impl Origin {
    /// An HTTP/1.1 origin with a name that it answers with, in the field `x-served-by` and in the body.
    pub fn named(name: &str) -> Self {
        Self::start(name, Speaks::Http1)
    }

    /// An origin on a free port.
    pub fn start(name: &str, speaks: Speaks) -> Self {
        Self::at(name, speaks, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// An origin at an address.
    pub fn at(name: &str, speaks: Speaks, address: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            name: name.into(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            produced: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
        });
        let listener = runtime().block_on(tokio::net::TcpListener::bind(address)).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let accepting = runtime().spawn(accept(listener, speaks, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// Requests whose head has arrived.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes that an `/endless` answer has handed to its socket.
    pub fn produced(&self) -> usize {
        self.shared.produced.load(Ordering::SeqCst)
    }

    /// Requests to `/delay` and `/endless` that ended, be it because the other side went away.
    pub fn gone(&self) -> usize {
        self.shared.gone.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: tokio::net::TcpListener, speaks: Speaks, shared: Arc<Shared>) {
    // Connections end with the origin: the set aborts them when this task is aborted.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).ok();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let io = TokioIo::new(stream);
            // How a connection ends is the tests' to see from the other side.
            match speaks {
                Speaks::Http1 => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok(),
                Speaks::Http2 => hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(1 << 20)
                    .serve_connection(io, service)
                    .await
                    .ok(),
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let number = path.rsplit('/').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    let mut response = Response::new(whole(format!("{}\n", shared.name)));
    response.headers_mut().insert("x-served-by", shared.name.parse().expect("a name fit for a field"));
    match path.split('/').nth(1).unwrap_or_default() {
        "echo" => {
            for name in ["trailer", "content-type"] {
                if let Some(value) = request.headers().get(name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            let waits = request.headers().contains_key("expect");
            let body = request.into_body();
            *response.body_mut() = match waits {
                // Whoever waits for a 100 must not see the answer begin before it.
                true => whole(body.collect().await.map(|body| body.to_bytes()).unwrap_or_default()),
                false => body.map_err(Into::into).boxed(),
            };
        }
        "bytes" => *response.body_mut() = whole(pattern(usize::try_from(number).expect("a size"))),
        "status" => {
            *response.status_mut() = StatusCode::from_u16(number as u16).expect("a status");
            if matches!(number, 204 | 304) {
                *response.body_mut() = whole(Bytes::new());
            }
        }
        "delay" => {
            let _watch = Watch(Arc::clone(&shared));
            tokio::time::sleep(Duration::from_millis(number)).await;
        }
        "trailers" => {
            response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-checksum"));
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", http::HeaderValue::from_static("abc"));
            let frames = [Ok(Frame::data(Bytes::from_static(b"with trailers"))), Ok(Frame::trailers(trailers))];
            *response.body_mut() = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
        }
        // `/wide/N` has a field of N bytes, `/lines/N` N fields; `/wide-end/N` and `/lines-end/N` have them in trailers.
        "wide" => response.headers_mut().extend(wide(number)),
        "lines" => response.headers_mut().extend(lines(number)),
        "wide-end" => response = ending(&request, wide(number)),
        "lines-end" => response = ending(&request, lines(number)),
        "abort" => {
            response.headers_mut().insert("content-length", http::HeaderValue::from_static("100000"));
            let part = stream::once(async { Ok(Frame::data(Bytes::from_static(&[b'x'; 1000]))) });
            let end = stream::once(async {
                // What was written before the break has to be out, or there is no answer at all.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err("broken off, as asked".into())
            });
            *response.body_mut() = BodyExt::boxed(StreamBody::new(part.chain(Box::pin(end))));
        }
        "head" => *response.body_mut() = whole(head_as_json(&request)),
        "events" => {
            let event = stream::iter([Ok(Frame::data(Bytes::from_static(b"event")))]);
            *response.body_mut() = BodyExt::boxed(StreamBody::new(event.chain(stream::pending())));
        }
        "endless" => *response.body_mut() = endless(Arc::clone(&shared)),
        "drain" => {
            let length = drain(request.into_body()).await;
            *response.body_mut() = whole(format!("{length}"));
        }
        _ => {}
    }
    Ok(response)
}

fn wide(bytes: u64) -> HeaderMap {
    let value = "a".repeat(usize::try_from(bytes).expect("a size"));
    HeaderMap::from_iter([(http::HeaderName::from_static("x-wide"), value.parse().expect("a value"))])
}

fn lines(count: u64) -> HeaderMap {
    let field = |n| (format!("x-{n}").parse().expect("a name"), http::HeaderValue::from_static("1"));
    HeaderMap::from_iter((0..count).map(field))
}

/// An answer with trailers, of the type that the request has.
fn ending(request: &Request<Incoming>, trailers: HeaderMap) -> Answer {
    let names = trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>().join(", ");
    let mut response = Response::builder().header("trailer", names);
    if let Some(kind) = request.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    let frames = [Ok(Frame::data(Bytes::from_static(b"hello"))), Ok(Frame::trailers(trailers))];
    response.body(BodyExt::boxed(StreamBody::new(stream::iter(frames)))).expect("an answer")
}

async fn drain(mut body: Incoming) -> usize {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn whole(bytes: impl Into<Bytes>) -> BoxBody<Bytes, Broken> {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

fn endless(shared: Arc<Shared>) -> BoxBody<Bytes, Broken> {
    let piece = Bytes::from(pattern(64 * 1024));
    let watch = Watch(Arc::clone(&shared));
    let pieces = stream::repeat(piece).map(move |piece| {
        let _keep = &watch;
        shared.produced.fetch_add(piece.len(), Ordering::SeqCst);
        Ok(Frame::data(piece))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

fn head_as_json(request: &Request<Incoming>) -> String {
    let fields: Vec<_> =
        request.headers().iter().map(|(n, v)| (n.as_str(), String::from_utf8_lossy(v.as_bytes()))).collect();
    let version = format!("{:?}", request.version());
    serde_json::json!({
        "method": request.method().as_str(), "uri": request.uri().to_string(), "version": version, "fields": fields,
    })
    .to_string()
}

/// An origin that plays a script on every connection.
#[derive(Debug)]
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    stage: Arc<Stage>,
}

#[derive(Debug, Default)]
struct Stage {
    over: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    seen: Mutex<Vec<Message>>,
    panics: Mutex<Vec<String>>,
}

/// A script's end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// The bytes.
    pub connection: Connection,
    /// Which connection of this origin it is, from 0.
    pub nth: usize,
    stage: Arc<Stage>,
}

impl Peer {
    /// Reads the next request whole and keeps it for [`Scripted::seen`]. None when the proxy has no more to ask.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.head()?;
        self.body(head)
    }

    /// Reads the next request's head alone. None when there is no more.
    pub fn head(&mut self) -> Option<Head> {
        match self.connection.head() {
            Ok(head) => {
                self.stage.requests.fetch_add(1, Ordering::SeqCst);
                Some(head)
            }
            Err(crate::raw::Fault::Grammar(what)) => panic!("the proxy sent what is no request: {what}"),
            Err(_) => None,
        }
    }

    /// Reads the body of a request whose head was read. None when it broke off.
    pub fn body(&mut self, head: Head) -> Option<Message> {
        match self.connection.request_body(head) {
            Ok(request) => {
                self.stage.seen.lock().expect("seen").push(request.clone());
                Some(request)
            }
            Err(broken) if matches!(broken.fault, crate::raw::Fault::Grammar(_)) => panic!("{broken}"),
            Err(_) => None,
        }
    }

    /// Answers every further request of the connection with the bytes.
    pub fn always(&mut self, answer: impl AsRef<[u8]>) {
        while self.request().is_some() {
            if self.connection.try_send(answer.as_ref()).is_err() {
                return;
            }
        }
    }
}

impl Scripted {
    /// Plays the script on each connection, in a thread of its own.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let stage = Arc::new(Stage::default());
        let (script, shared) = (Arc::new(script), Arc::clone(&stage));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let nth = shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, stage) = (Arc::clone(&script), Arc::clone(&shared));
                std::thread::spawn(move || play(&*script, Peer { connection: stream.into(), nth, stage }));
            }
        });
        Self { address, stage }
    }

    /// Answers every request with the same bytes.
    pub fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::start(move |peer| peer.always(&answer))
    }

    /// Commits a fault on every request.
    pub fn faulty(fault: Fault) -> Self {
        Self::start(move |peer| {
            while let Some(head) = peer.head() {
                if !fault.commit(peer, head) {
                    return;
                }
            }
        })
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.stage.connections.load(Ordering::SeqCst)
    }

    /// Requests whose head has arrived.
    pub fn requests(&self) -> usize {
        self.stage.requests.load(Ordering::SeqCst)
    }

    /// The requests that arrived whole, in their order.
    pub fn seen(&self) -> Vec<Message> {
        self.stage.seen.lock().expect("seen").clone()
    }

    /// The last request that arrived whole.
    #[track_caller]
    pub fn last(&self) -> Message {
        self.seen().pop().expect("a request at the origin")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stage.over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        let panics = self.stage.panics.lock().expect("panics").clone();
        assert!(panics.is_empty() || std::thread::panicking(), "a script failed: {panics:?}");
    }
}

fn play(script: &(dyn Fn(&mut Peer) + Send + Sync), mut peer: Peer) {
    let stage = Arc::clone(&peer.stage);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script(&mut peer)));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
        stage.panics.lock().expect("panics").push(text.unwrap_or_else(|| "?".into()));
    }
}

/// One way of an origin to fail.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with a status and an empty body, and goes on.
    Status(u16),
    /// Resets the connection when it has read the request.
    Reset,
    /// Closes the connection when it has read the request.
    Close,
    /// Reads the request and never answers.
    Hang,
    /// Promises a length, sends half of it and resets.
    ResetInBody(usize),
    /// Promises a length, sends half of it and closes.
    CutBody(usize),
    /// Sends chunks and closes before the last.
    CutChunks,
    /// Sends a body a piece at a time.
    SlowBody {
        /// How many pieces of ten bytes.
        pieces: usize,
        /// The time between two.
        pause: Duration,
    },
    /// Sends bytes as they are, and closes.
    Bytes(Vec<u8>),
}

impl Fault {
    /// Commits it. False when the connection has ended with it.
    fn commit(&self, peer: &mut Peer, head: Head) -> bool {
        if peer.body(head).is_none() {
            return false;
        }
        let wire = &mut peer.connection;
        match self {
            Self::Status(status) => {
                let answer = format!("HTTP/1.1 {status} Said So\r\nContent-Length: 0\r\n\r\n");
                return wire.try_send(answer).is_ok();
            }
            Self::Reset => reset(wire),
            Self::Close => {}
            Self::Hang => drop(wire.rest()),
            Self::ResetInBody(length) | Self::CutBody(length) => {
                wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).ok();
                wire.try_send(pattern(length / 2)).ok();
                if matches!(self, Self::ResetInBody(_)) {
                    // What is still on its way when the reset overtakes it is lost.
                    std::thread::sleep(Duration::from_millis(100));
                    reset(wire);
                }
            }
            Self::CutChunks => {
                wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").ok();
            }
            Self::SlowBody { pieces, pause } => {
                wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", pieces * 10)).ok();
                for _ in 0..*pieces {
                    std::thread::sleep(*pause);
                    if wire.try_send(b"0123456789").is_err() {
                        return false;
                    }
                }
                return true;
            }
            Self::Bytes(bytes) => drop(wire.try_send(bytes)),
        }
        false
    }
}

fn reset(wire: &mut Connection) {
    let stream = wire.stream();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}
