//! Attempts over HTTP/2: hyper's, with the pool around it ours.
//!
//! One connection carries many requests, so the pool is short: another connection is opened when the endpoint's limit
//! on streams is reached on all there are. One dial at a time: a burst of first requests shares the connection that
//! the first of them opens.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::h1::upstream_reason;
use super::slow::Terms;
use super::{Broken, Home, Link, Upstream};
use crate::config::settings::Policy;
use crate::data::body::{Piece, Upload};
use crate::data::h2::{LocalExecutor, head_from, trailers_from};
use crate::data::headers::Onward;
use crate::data::request::Request;
use crate::data::worker::{Holding, Worker};
use crate::data::{headers, timer};
use crate::error::Reason;
use crate::http::{Head, HeadPool, Length, framing};
use crate::net::Io;

/// A connection to an endpoint that many requests share.
#[derive(Debug)]
pub struct Connection {
    sender: RefCell<SendRequest<Outbound>>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Streams open now.
    streams: Cell<usize>,
    /// Streams that the endpoint allows.
    limit: Cell<usize>,
    over: Cell<bool>,
    used: Cell<Instant>,
}

/// A place on a connection, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Connection>,
    fresh: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let shared = &self.connection.shared;
        shared.streams.set(shared.streams.get().saturating_sub(1));
        shared.used.set(timer::now());
    }
}

impl Connection {
    fn place(self: &Rc<Self>, fresh: bool) -> Stream {
        self.shared.streams.set(self.shared.streams.get() + 1);
        Stream { connection: Rc::clone(self), fresh }
    }

    fn has_room(&self) -> bool {
        !self.shared.over.get() && self.shared.streams.get() < self.shared.limit.get()
    }

    /// Whether it has ended, or carried nothing for the idle time.
    pub fn is_over(&self, idle_timeout: Duration, now: Instant) -> bool {
        let idle =
            self.shared.streams.get() == 0 && now.saturating_duration_since(self.shared.used.get()) >= idle_timeout;
        self.shared.over.get() || idle
    }
}

impl Upstream {
    /// A place on a connection that has one, or on a new one. `dialled` is called where one is opened.
    pub async fn h2(&self, policy: &Policy, terms: Terms, dialled: impl FnOnce()) -> Result<Stream, Reason> {
        if let Some(place) = self.h2_place() {
            return Ok(place);
        }
        let _turn = self.h2_turn.acquire().await.map_err(|_| Reason::Internal)?;
        if let Some(place) = self.h2_place() {
            return Ok(place);
        }
        let link = match self.dial(policy, terms).await {
            Ok(link) => link,
            // More streams than are allowed wait on a connection for their turn.
            Err(Reason::ConnectionLimit) => return self.h2_any().ok_or(Reason::ConnectionLimit),
            Err(reason) => return Err(reason),
        };
        dialled();
        let connection = tokio::time::timeout(policy.connect_timeout, handshake(link))
            .await
            .map_err(|_| Reason::ConnectTimeout)?
            .map_err(|_| Reason::ConnectFailed)?;
        let connection = Rc::new(connection);
        self.h2.borrow_mut().push(Rc::clone(&connection));
        Ok(connection.place(true))
    }

    fn h2_place(&self) -> Option<Stream> {
        self.h2.borrow().iter().find(|connection| connection.has_room()).map(|connection| connection.place(false))
    }

    fn h2_any(&self) -> Option<Stream> {
        let connections = self.h2.borrow();
        let open = connections.iter().filter(|connection| !connection.shared.over.get());
        open.min_by_key(|connection| connection.shared.streams.get()).map(|connection| connection.place(false))
    }
}

async fn handshake(link: Link) -> Result<Connection, hyper::Error> {
    let Link { io, open, .. } = link;
    let (sender, driver) = hyper::client::conn::http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .handshake(TokioIo::new(io))
        .await?;
    let shared = Rc::new(Shared {
        streams: Cell::new(0),
        limit: Cell::new(FIRST_STREAMS),
        over: Cell::new(false),
        used: Cell::new(timer::now()),
    });
    let told = Rc::clone(&shared);
    tokio::task::spawn_local(async move {
        let mut driver = std::pin::pin!(driver);
        let ended = std::future::poll_fn(|cx| {
            let polled = driver.as_mut().poll(cx);
            told.limit.set(driver.current_max_send_streams().max(1));
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "an HTTP/2 connection to an endpoint broke");
        }
        told.over.set(true);
        drop(open);
    });
    Ok(Connection { sender: RefCell::new(sender), shared })
}

impl Stream {
    /// Sends a request and waits for the answer's head.
    pub async fn send(
        self,
        worker: &Rc<Worker>,
        request: &Request,
        home: Home,
        onward: Onward<'_>,
    ) -> Result<(Rc<Head>, Answer), Broken> {
        let message = outbound(worker, request, onward).map_err(Broken::unwritten)?;
        let mut sender = self.connection.sender.borrow().clone();
        let response = sender.send_request(message).await.map_err(|error| self.broken(&error, &request.body))?;
        let (parts, incoming) = response.into_parts();
        let mut head = worker.pools.heads.take();
        let understood = match Rc::get_mut(&mut head) {
            Some(empty) => empty
                .set_status(parts.status.as_u16(), b"", crate::http::Version::Http2)
                .and_then(|()| head_from(&parts.headers, empty)),
            None => Ok(()),
        };
        understood.map_err(|bad| Broken { reason: upstream_reason(bad), written: true, stale: false })?;
        let length = framing::of_response(&head, request.to()).map_err(|bad| Broken {
            reason: upstream_reason(bad),
            written: true,
            stale: false,
        })?;
        // DATA after a head that ends the answer is nobody's. Letting go of the stream resets it, if it has not ended.
        let incoming = (!framing::ends_at_head(head.status(), request.to())).then_some(incoming);
        let ended = incoming.as_ref().is_none_or(Incoming::is_end_stream);
        let answer = Answer {
            incoming,
            heads: worker.pools.heads.clone(),
            ready: Bytes::new(),
            length,
            trailers: None,
            ended,
            held: None,
            _home: home,
            _stream: self,
        };
        Ok((head, answer))
    }

    fn broken(&self, error: &hyper::Error, body: &Upload) -> Broken {
        if self.connection.sender.borrow().is_closed() {
            self.connection.shared.over.set(true);
        }
        if let Some(reason) = body.failure() {
            return Broken { reason, written: true, stale: false };
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut unprocessed = error.is_canceled();
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<h2::Error>() {
                // RFC 9113 sections 6.8 and 8.7: the endpoint says that it has not looked at the request.
                unprocessed |= cause.reason() == Some(h2::Reason::REFUSED_STREAM)
                    || cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR);
            }
            source = cause.source();
        }
        Broken { reason: Reason::UpstreamClosed, written: !unprocessed, stale: !self.fresh && unprocessed }
    }
}

fn outbound(worker: &Rc<Worker>, request: &Request, onward: Onward<'_>) -> Result<http::Request<Outbound>, Reason> {
    let outgoing = request.outgoing(worker, onward);
    let target = &outgoing.target;
    let uri = if &*target.origin == b"*" {
        http::Uri::builder().scheme("http").authority(target.host).path_and_query("*").build()
    } else {
        http::Uri::builder().scheme("http").authority(target.host).path_and_query(&*target.origin).build()
    };
    let mut message =
        http::Request::new(Outbound { body: Rc::clone(&request.body), cursor: 0, ended: request.body.is_empty() });
    *message.uri_mut() = uri.map_err(|_| Reason::BadRequest)?;
    *message.method_mut() = http::Method::from_bytes(request.head.method()).map_err(|_| Reason::BadRequest)?;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = outgoing.fields().fields_h2();
    Ok(message)
}

/// A request's body on its way out.
#[derive(Debug)]
struct Outbound {
    body: Rc<Upload>,
    cursor: u64,
    ended: bool,
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Reason;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.body.poll_piece(cx, self.cursor);
        if polled.is_pending() {
            // The endpoint is ready for the body; hyper tells us so by asking for it, and in no other way.
            self.body.continue_now();
            self.body.remember(cx);
        }
        match ready!(polled) {
            Ok(Piece::Data(len)) => {
                let data = self.body.copy(self.cursor, len.min(FRAME));
                self.cursor += data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(Piece::End) => {
                self.ended = true;
                Poll::Ready(self.body.trailers().map(|trailers| Ok(Frame::trailers(headers::trailers_h2(&trailers)))))
            }
            Err(reason) => {
                self.ended = true;
                self.body.fail(reason);
                Poll::Ready(Some(Err(reason)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.length() {
            Length::Exact(n) => SizeHint::with_exact(n),
            _ => SizeHint::default(),
        }
    }
}

/// An answer's body on its way in.
#[derive(Debug)]
pub struct Answer {
    /// None where the answer ended at its head.
    incoming: Option<Incoming>,
    heads: HeadPool,
    ready: Bytes,
    length: Length,
    trailers: Option<Rc<Head>>,
    ended: bool,
    held: Option<Holding>,
    _home: Home,
    _stream: Stream,
}

impl Answer {
    /// How its end is known.
    pub fn length(&self) -> Length {
        self.length
    }

    /// How many bytes there are; 0 at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reason>> {
        while self.ready.is_empty() && !self.ended {
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(self.ready.len()))
    }

    /// Takes in one frame, or learns that there is none.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let frame = match &mut self.incoming {
            Some(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            None => None,
        };
        match frame {
            None => self.ended = true,
            Some(Err(_)) => return Poll::Ready(Err(Reason::UpstreamClosed)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if self.ready.is_empty() => self.ready = data,
                Ok(data) => self.ready = [&self.ready[..], &data[..]].concat().into(),
                Err(frame) => {
                    if let Ok(map) = frame.into_trailers() {
                        self.trailers = trailers_from(&map, &self.heads);
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the whole body is here.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    /// The whole body, where it is here and has no trailers.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.ended && self.trailers.is_none()).then_some(&*self.ready)
    }

    /// Ready when the whole body is here, or as much of it as is kept; with `first`, when anything of it is.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<Result<(), Reason>> {
        while !self.ended && self.ready.len() < FRAME {
            if first && (!self.ready.is_empty() || self.trailers.is_some()) {
                break;
            }
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps the place of what was held until the body is gone.
    pub fn keep(&mut self, held: Holding) {
        self.held = Some(held);
    }

    /// Sends some of `lead`, then of the first `len` bytes.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        lead: &[u8],
        len: usize,
    ) -> Poll<std::io::Result<usize>> {
        io.poll_write_both(cx, lead, &self.ready[..len.min(self.ready.len())])
    }

    /// Takes up to `len` bytes out.
    pub fn take(&mut self, len: usize) -> Bytes {
        self.ready.split_to(len.min(self.ready.len()))
    }

    /// The first `n` bytes are done with.
    pub fn consume(&mut self, n: usize) {
        self.ready.advance(n.min(self.ready.len()));
    }

    /// Whether nothing more comes: neither a byte nor trailers.
    pub fn is_over(&self) -> bool {
        self.ended && self.ready.is_empty() && self.trailers.is_none()
    }

    /// What followed the last byte.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        self.trailers.clone()
    }
}

const FRAME: usize = 64 * 1024;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Until the endpoint has said how many streams it allows.
const FIRST_STREAMS: usize = 100;
