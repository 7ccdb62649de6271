//! hyper, polled by hand over memory.
//!
//! The wire hands out bytes only up to a mark that the check moves. So "hyper sees the same end" is exact: with the
//! mark one byte before our end of a message hyper must not be done, with the mark at our end it must be, and
//! bytes that come after can have no part in it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};

/// What hyper understood of one message.
pub struct Seen {
    /// The method of a request, the reason phrase of a response where it is not the standard one.
    pub text: Vec<u8>,
    /// The target of a request, as hyper writes it.
    pub target: String,
    /// The status of a response.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The fields, names in lower case.
    pub fields: HeaderMap,
    /// The body so far.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
    /// Whether the body has ended.
    pub whole: bool,
}

impl Seen {
    fn request(parts: http::request::Parts) -> Self {
        Self {
            text: parts.method.as_str().as_bytes().to_vec(),
            target: parts.uri.to_string(),
            status: 0,
            version: parts.version,
            fields: parts.headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
            whole: false,
        }
    }

    fn response(parts: http::response::Parts) -> Self {
        let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes());
        let reason = reason.unwrap_or_else(|| parts.status.canonical_reason().unwrap_or_default().as_bytes());
        Self {
            text: reason.to_vec(),
            target: String::new(),
            status: parts.status.as_u16(),
            version: parts.version,
            fields: parts.headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
            whole: false,
        }
    }
}

/// What is shared between a check, the wire and whoever takes messages off hyper's hands.
pub struct Shared {
    input: Vec<u8>,
    read: Cell<usize>,
    mark: Cell<usize>,
    closed: Cell<bool>,
    /// Whether bodies are read to their end; without it a message is seen once its head is.
    bodies: bool,
    /// Every message whose head hyper accepted.
    pub seen: RefCell<Vec<Seen>>,
    /// hyper refused something.
    pub refused: Cell<bool>,
}

impl Shared {
    fn new(input: &[u8], bodies: bool) -> Rc<Self> {
        Rc::new(Self {
            input: input.to_vec(),
            read: Cell::new(0),
            mark: Cell::new(0),
            closed: Cell::new(false),
            bodies,
            seen: RefCell::new(Vec::new()),
            refused: Cell::new(false),
        })
    }

    /// How many messages hyper has read to their end (or to their heads' end, where bodies are not read).
    pub fn whole(&self) -> usize {
        self.seen.borrow().iter().filter(|seen| seen.whole).count()
    }

    fn with_last(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(last) = self.seen.borrow_mut().last_mut() {
            change(last);
        }
    }

    /// Takes a message's body off hyper's hands.
    async fn drain(&self, body: Incoming) {
        if self.bodies {
            let mut body = pin!(body);
            while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                let Ok(frame) = frame else { return self.refused.set(true) };
                match frame.into_data() {
                    Ok(data) => self.with_last(|seen| seen.body.extend_from_slice(&data)),
                    Err(frame) => self.with_last(|seen| seen.trailers = frame.into_trailers().unwrap_or_default()),
                }
            }
        }
        self.with_last(|seen| seen.whole = true);
    }
}

/// A hyper connection and its wire.
pub struct Peer {
    /// What it has done so far.
    pub shared: Rc<Shared>,
    connection: Pin<Box<dyn Future<Output = ()>>>,
    /// Whether the connection is done with.
    pub finished: bool,
}

impl Peer {
    /// A server that is about to be sent `input`.
    pub fn server(input: &[u8], bodies: bool) -> Self {
        let shared = Shared::new(input, bodies);
        let state = Rc::clone(&shared);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let state = Rc::clone(&state);
            async move {
                let (parts, body) = request.into_parts();
                state.seen.borrow_mut().push(Seen::request(parts));
                state.drain(body).await;
                Ok::<_, Infallible>(Response::new(Nothing))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .half_close(true)
            .auto_date_header(false)
            .serve_connection(Wire(Rc::clone(&shared)), service);
        let state = Rc::clone(&shared);
        let connection = Box::pin(async move {
            if connection.await.is_err() {
                state.refused.set(true);
            }
        });
        Self { shared, connection, finished: false }
    }

    /// A client that has asked with `method` and is about to be answered with `input`.
    pub fn client(input: &[u8], method: Method, bodies: bool) -> Self {
        let shared = Shared::new(input, bodies);
        let state = Rc::clone(&shared);
        let connection = Box::pin(async move {
            let wire = Wire(Rc::clone(&state));
            let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(wire).await else {
                return state.refused.set(true);
            };
            let mut request = Request::new(Nothing);
            *request.method_mut() = method;
            let mut connection = pin!(connection);
            let mut connected = true;
            let mut exchange = pin!(async {
                match sender.send_request(request).await {
                    Err(_) => state.refused.set(true),
                    Ok(response) => {
                        let (parts, body) = response.into_parts();
                        state.seen.borrow_mut().push(Seen::response(parts));
                        state.drain(body).await;
                    }
                }
            });
            poll_fn(|cx| {
                let exchange = exchange.as_mut().poll(cx);
                if connected && connection.as_mut().poll(cx).is_ready() {
                    connected = false;
                    cx.waker().wake_by_ref();
                }
                exchange
            })
            .await;
        });
        let mut peer = Self { shared, connection, finished: false };
        // The request goes out first: bytes that come before it hyper takes as an error, whatever they are.
        peer.turn();
        peer
    }

    /// Lets hyper read up to `mark` and do what it can with that.
    pub fn advance(&mut self, mark: usize) {
        self.shared.mark.set(mark);
        self.turn();
    }

    /// Ends the stream at the mark.
    pub fn close(&mut self) {
        self.shared.closed.set(true);
        self.turn();
    }

    fn turn(&mut self) {
        thread_local! {
            static ALARM: Arc<Alarm> = Arc::new(Alarm(AtomicBool::new(false)));
        }
        ALARM.with(|alarm| {
            let waker = Waker::from(Arc::clone(alarm));
            let mut cx = Context::from_waker(&waker);
            while !self.finished {
                alarm.0.store(false, Ordering::Relaxed);
                self.finished = self.connection.as_mut().poll(&mut cx).is_ready();
                if !alarm.0.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
}

struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Wire(Rc<Shared>);

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let shared = &self.0;
        let ready = &shared.input[shared.read.get()..shared.mark.get()];
        if ready.is_empty() && !shared.closed.get() {
            return Poll::Pending;
        }
        let len = ready.len().min(buf.remaining());
        buf.put_slice(&ready[..len]);
        shared.read.set(shared.read.get() + len);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
