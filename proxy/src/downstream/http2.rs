//! HTTP/2 from a client: one connection, one task, all of its streams in it.
//!
//! The `h2` crate reads and writes the frames. hyper's server uses it, too, and runs a task for each stream. That is
//! expensive: answers that are ready at the same time leave frame by frame, and each stream wakes the connection.
//! Here one task does all of it. A turn of the task takes in what has come, polls the streams that were woken, and
//! sends what they have answered in one call. Each stream is a request through the same
//! [`forward`](crate::forward::forward) as over HTTP/1.1. `docs/adr/0018-streams-in-one-task.md` has the figures.

mod ends;
mod guard;
mod slots;
mod stream;
mod tunnel;
mod wakes;
mod wire;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Connection, Handshake, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use tokio::task::coop::unconstrained;

use crate::drain::Phase;
use crate::error::Reason;
use crate::http::Head;
use crate::http::head::Version;
use crate::http2::blocks;
use crate::http2::head_from;
use crate::http2::websocket;
use crate::net::Io;
use crate::request::Entrance;
use crate::request::fields::Client;
use crate::worker::Worker;
use ends::{Due, Ends};
use guard::Abuse;
use slots::Slot;
pub use slots::Slots;
use stream::Caller;
use wakes::{CONNECTION, Wakes};
use wire::{Line, Wire};

/// Serves a connection that has opened with HTTP/2's preface, until it ends.
pub async fn serve(io: Io, client: Rc<Client>, entrance: Option<Rc<Entrance>>, worker: Rc<Worker>, slots: Slots) {
    let (mut first, mut second) = (worker.drained.clone(), worker.drained.clone());
    let mut lame = pin!(first.reached(Phase::LameDuck));
    let mut closing = pin!(second.reached(Phase::Closing));
    let mut phase = Phase::Serving;
    let mut told = false;
    let mut served = Served::new(io, Caller::new(client, entrance, worker), slots);
    let ended = poll_fn(|cx| {
        loop {
            if phase < Phase::LameDuck && lame.as_mut().poll(cx).is_ready() {
                phase = Phase::LameDuck;
            }
            if phase == Phase::LameDuck && closing.as_mut().poll(cx).is_ready() {
                phase = Phase::Closing;
            }
            if let Poll::Ready(ended) = served.poll(cx) {
                return Poll::Ready(ended);
            }
            // GOAWAY before the first request would turn away a client that has only just come.
            let mut tell = phase >= Phase::Closing || phase == Phase::LameDuck && served.called;
            if told || !tell {
                match ready!(served.ends.poll(cx)) {
                    Due::Tell => tell = true,
                    Due::Cut => return Poll::Ready(Ok(())),
                    Due::Ping => served.ask_for_a_sign(),
                    Due::Dead => served.give_up(),
                }
            }
            if tell && !told {
                told = true;
                served.say_goodbye();
            }
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP/2 connection from a client broke");
        let error = error.downcast_ref::<h2::Error>();
        if let Some(abuse) = error.and_then(|error| Abuse::found(error, served.line.borrow().said())) {
            served.streams.caller.ended_for(abuse);
        }
    }
    served.let_streams_know();
}

/// A connection and its streams.
struct Served {
    state: State,
    line: Rc<RefCell<Line>>,
    wakes: Wakes,
    streams: Streams,
    ends: Ends,
    /// Whether a request has come.
    called: bool,
}

#[allow(clippy::large_enum_variant, reason = "nearly every connection is the large one, and is in a box already")]
enum State {
    /// The two sides have not exchanged SETTINGS yet. The flag says that GOAWAY is to follow as soon as they have.
    Handshake(Handshake<Wire, Bytes>, bool),
    Open(Connection<Wire, Bytes>, Option<PingPong>),
}

/// The streams of a connection.
struct Streams {
    caller: Rc<Caller>,
    pool: Slots,
    /// Each stream at the index of its waker. Index 0 belongs to the connection itself and holds no stream.
    slots: Vec<Option<Box<dyn Slot>>>,
    free: Vec<usize>,
}

impl Served {
    fn new(io: Io, caller: Caller, pool: Slots) -> Self {
        let worker = &caller.worker;
        let (wire, line, seen) = Wire::new(io, &worker.pools);
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(blocks::list(worker.pools.limits))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_local_error_reset_streams(Some(MAX_ERRORS))
            .max_pending_accept_reset_streams(MAX_UNSEEN)
            .enable_connect_protocol()
            .handshake(wire);
        let mut wakes = Wakes::default();
        wakes.waker(CONNECTION).wake_by_ref();
        Self {
            state: State::Handshake(handshake, false),
            line,
            wakes,
            ends: Ends::new(seen, worker.http.idle_timeout, worker.http.header_timeout),
            streams: Streams { caller: Rc::new(caller), pool, slots: vec![None], free: Vec::new() },
            called: false,
        }
    }

    /// Polls whatever was woken, then sends what came of it. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<dyn std::error::Error>>> {
        self.line.borrow_mut().begin_turn();
        for _ in 0..ROUNDS {
            if self.wakes.take(CONNECTION) {
                let waker = self.wakes.waker(CONNECTION).clone();
                let polled = self.poll_connection(&mut Context::from_waker(&waker));
                if polled.is_ready() {
                    return polled.map_err(Into::into);
                }
            }
            self.streams.poll_woken(&mut self.wakes, &mut self.ends);
            if self.line.borrow().has_had_its_turn() {
                break;
            }
            if self.wakes.any() {
                continue;
            }
            self.drain()?;
            self.wakes.listen(cx);
            if !self.wakes.any() && self.line.borrow().abuse().is_none() {
                return Poll::Pending;
            }
        }
        // Other tasks of this worker have waited for long enough.
        self.drain()?;
        let abuse = self.line.borrow().abuse();
        if let Some(abuse) = abuse {
            return self.end_for(abuse);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the connection with GOAWAY. What the socket does not take of it at once is not sent: whoever sends without
    /// end may not read either.
    fn end_for(&mut self, abuse: Abuse) -> Poll<Result<(), Box<dyn std::error::Error>>> {
        self.streams.caller.ended_for(abuse);
        let mut cx = Context::from_waker(self.wakes.waker(CONNECTION));
        if let State::Open(connection, _) = &mut self.state {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            _ = connection.poll_closed(&mut cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let State::Handshake(handshake, told) = &mut self.state {
            let mut connection = ready!(Pin::new(handshake).poll(cx))?;
            if *told {
                connection.graceful_shutdown();
            }
            let signs = connection.ping_pong();
            self.state = State::Open(connection, signs);
            self.ends.met();
        }
        let State::Open(connection, signs) = &mut self.state else { return Poll::Pending };
        if let Some(signs) = signs
            && self.ends.waits_for_a_sign()
            && let Poll::Ready(Ok(_)) = signs.poll_pong(cx)
        {
            self.ends.met();
        }
        while let Some(accepted) = ready!(connection.poll_accept(cx)) {
            let (message, respond) = accepted?;
            self.called = true;
            self.ends.opened();
            self.streams.begin(message, respond, &mut self.wakes);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered. What the socket does not take now is sent when the connection is woken for it.
    /// Tokio's budget for the task is not charged: where it is used up, nothing that the streams have done would
    /// leave.
    fn drain(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(self.wakes.waker(CONNECTION));
        let mut drained = pin!(unconstrained(poll_fn(|cx| self.line.borrow_mut().poll_drained(cx))));
        match drained.as_mut().poll(&mut cx) {
            Poll::Ready(drained) => drained,
            Poll::Pending => Ok(()),
        }
    }

    fn say_goodbye(&mut self) {
        self.ends.told();
        match &mut self.state {
            State::Handshake(_, told) => *told = true,
            State::Open(connection, _) => connection.graceful_shutdown(),
        }
        self.wakes.waker(CONNECTION).wake_by_ref();
    }

    fn ask_for_a_sign(&mut self) {
        let asked = match &mut self.state {
            State::Open(_, Some(signs)) => signs.send_ping(Ping::opaque()).is_ok(),
            _ => false,
        };
        self.ends.asked(asked);
        self.wakes.waker(CONNECTION).wake_by_ref();
    }

    fn give_up(&mut self) {
        self.ends.asked(false);
        if let State::Open(connection, _) = &mut self.state {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
        }
        self.wakes.waker(CONNECTION).wake_by_ref();
    }

    /// The connection is over. Every stream is polled once more, so that it writes down what became of it.
    fn let_streams_know(&mut self) {
        if let State::Open(connection, _) = &mut self.state {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
        }
        let Streams { slots, pool, .. } = &mut self.streams;
        for mut slot in slots.drain(..).flatten() {
            _ = slot.poll(&mut Context::from_waker(std::task::Waker::noop()));
            pool.give(slot);
        }
    }
}

impl Streams {
    fn begin(&mut self, message: http::Request<RecvStream>, respond: SendResponse<Bytes>, wakes: &mut Wakes) {
        let mut slot = self.pool.take(&self.caller);
        slot.begin(&self.caller, message, respond);
        let part = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[part] = Some(slot);
        wakes.waker(part).wake_by_ref();
    }

    fn poll_woken(&mut self, wakes: &mut Wakes, ends: &mut Ends) {
        wakes.take_streams(|waker, part| {
            let Some(place) = self.slots.get_mut(part) else { return };
            let Some(slot) = place else { return };
            if slot.poll(&mut Context::from_waker(waker)).is_ready()
                && let Some(slot) = place.take()
            {
                self.pool.give(slot);
                self.free.push(part);
                ends.closed();
            }
        });
    }
}

/// Whether a request opens a tunnel for a WebSocket (RFC 8441 section 4). It is taken for what a client over HTTP/1.1
/// would have sent: a GET that asks for an upgrade.
fn is_tunnel(parts: &http::request::Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    parts.method == http::Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == websocket::PROTOCOL)
}

/// RFC 9113 section 8.3.1: `:authority` is what `Host` would be; where both are there they have to agree.
pub fn request_head(parts: &http::request::Parts, head: &mut Head) -> Result<(), Reason> {
    let reason = crate::request::reason_of;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = parts.headers.get(http::header::HOST).map(http::HeaderValue::as_bytes);
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.as_bytes().eq_ignore_ascii_case(host)
    {
        return Err(Reason::BadRequest);
    }
    let tunnel = is_tunnel(parts);
    if parts.method == http::Method::CONNECT && !tunnel {
        head.set_request(b"CONNECT", b"*", Version::Http2).map_err(reason)?;
        return Err(Reason::ConnectMethod);
    }
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // The `h2` crate takes UTF-8 too; HTTP/1.1 has no such targets, and none are taken over it.
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Reason::BadRequest);
    }
    let method = if tunnel { "GET" } else { parts.method.as_str() };
    head.set_request(method.as_bytes(), target.as_bytes(), Version::Http2).map_err(reason)?;
    if let (Some(authority), None) = (authority, host) {
        head.push(b"host", authority.as_bytes()).map_err(reason)?;
    }
    head_from(&parts.headers, head).map_err(reason)
}

/// A client's streams at a time on one connection.
const MAX_STREAMS: u32 = 256;
/// What a client may send on a stream before the proxy has read it. A request holds this and its buffer, and no more.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Enough for all streams to be full at once, so that an upload that its endpoint does not read holds up no other
/// (`docs/adr/0014-windows.md`).
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
const MAX_FRAME: u32 = 16 * 1024;
/// How much of one answer may wait for the socket in the `h2` crate.
const SEND_BUFFER: usize = 400 * 1024;
/// How many streams of one connection may be reset for what the client did wrong before the connection ends, all told.
/// [`guard`] ends it sooner, unless the client reads nothing.
const MAX_ERRORS: usize = 1024;
/// How many streams a client may have opened and reset before the proxy has seen them: what [`guard`] lets it reset at
/// once.
const MAX_UNSEEN: usize = 256;
/// How many rounds of polling make a turn, before other tasks have theirs.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests;
