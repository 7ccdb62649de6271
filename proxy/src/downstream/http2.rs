//! HTTP/2 from a client: one connection, one task, all of its streams in it.
//!
//! The frames are the `h2` crate's, on which hyper stands, too. What hyper does above them, a task for each stream, is what
//! costs: what streams have ready at the same time leaves frame by frame, and each wakes the connection. Here a turn of the task
//! takes in what has come, polls the streams that were woken, each through the same [`forward`](crate::forward::forward) as a
//! request over HTTP/1.1, and sends what they have answered in one call. `docs/adr/0018-streams-in-one-task.md` has the figures.

mod ends;
mod slots;
mod stream;
mod wakes;
mod wire;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Connection, Handshake, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use tokio::task::coop::unconstrained;

use crate::drain::Phase;
use crate::error::Reason;
use crate::http::Head;
use crate::http::head::Version;
use crate::http2::blocks::Blocks;
use crate::http2::head_from;
use crate::net::Io;
use crate::request::fields::Client;
use crate::worker::Worker;
use ends::{Due, Ends};
use slots::Slot;
pub use slots::Slots;
use stream::Caller;
use wakes::{CONNECTION, Wakes};
use wire::{Line, Wire};

/// Serves a connection that has opened with HTTP/2's preface, until it ends.
pub async fn serve(io: Io, client: Rc<Client>, service: Option<Arc<str>>, worker: Rc<Worker>, slots: Slots) {
    let (mut first, mut second) = (worker.drained.clone(), worker.drained.clone());
    let mut lame = pin!(first.reached(Phase::LameDuck));
    let mut closing = pin!(second.reached(Phase::Closing));
    let mut phase = Phase::Serving;
    let mut told = false;
    let mut served = Served::new(io, Caller::new(client, service, worker), slots);
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
    /// Neither has heard the other, and whether the client is to be told to go when they have.
    Handshake(Handshake<Blocks<Wire>, Bytes>, bool),
    Open(Connection<Blocks<Wire>, Bytes>, Option<PingPong>),
}

/// The streams of a connection.
struct Streams {
    caller: Rc<Caller>,
    pool: Slots,
    /// Each at the place of its waker. The first is the connection's own.
    slots: Vec<Option<Box<dyn Slot>>>,
    free: Vec<usize>,
}

impl Served {
    fn new(io: Io, caller: Caller, pool: Slots) -> Self {
        let worker = &caller.worker;
        let (wire, line, seen) = Wire::new(io, &worker.pools);
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(Blocks::<Wire>::list(worker.pools.limits))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_local_error_reset_streams(Some(MAX_ERRORS))
            .handshake(Blocks::of_client(wire, worker.pools.limits));
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

    /// Polls whatever was woken, and then has sent what came of it. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<dyn std::error::Error>>> {
        for _ in 0..ROUNDS {
            if self.wakes.take(CONNECTION) {
                let waker = self.wakes.waker(CONNECTION).clone();
                let polled = self.poll_connection(&mut Context::from_waker(&waker));
                if polled.is_ready() {
                    return polled.map_err(Into::into);
                }
            }
            self.streams.poll_woken(&mut self.wakes, &mut self.ends);
            if self.wakes.any() {
                continue;
            }
            self.drain()?;
            self.wakes.listen(cx);
            if !self.wakes.any() {
                return Poll::Pending;
            }
        }
        // Others have waited for long enough.
        self.drain()?;
        cx.waker().wake_by_ref();
        Poll::Pending
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

    /// Sends what was gathered. What has to wait for the client is sent when the connection is woken for it. It is not counted
    /// against the task: without it, nothing that was done would come to an end.
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

    /// Each writes down what became of it.
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
    if parts.method == http::Method::CONNECT {
        head.set_request(b"CONNECT", b"*", Version::Http2).map_err(reason)?;
        return Err(Reason::ConnectMethod);
    }
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // The `h2` crate takes UTF-8 too; HTTP/1.1 has no such targets, and none are taken over it.
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Reason::BadRequest);
    }
    head.set_request(parts.method.as_str().as_bytes(), target.as_bytes(), Version::Http2).map_err(reason)?;
    if let (Some(authority), None) = (authority, host) {
        head.push(b"host", authority.as_bytes()).map_err(reason)?;
    }
    head_from(&parts.headers, head).map_err(reason)
}

/// A client's streams at a time on one connection.
const MAX_STREAMS: u32 = 256;
/// What a client may send on a stream before it is read on. With what is at hand of a request it is all that one can hold.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Enough for every stream to be full: what an instance does not read of one upload holds up no other
/// (`docs/adr/0014-windows.md`).
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
const MAX_FRAME: u32 = 16 * 1024;
/// What of one answer may wait for the socket.
const SEND_BUFFER: usize = 400 * 1024;
/// Streams that were reset for what their client did wrong, on one connection.
const MAX_ERRORS: usize = 1024;
/// How often what was woken is polled before other tasks have their turn.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests;
