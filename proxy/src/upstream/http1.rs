//! An attempt over HTTP/1.1, and the answer that comes of it.
//!
//! An attempt has no task of its own: whoever waits for the answer drives it. Sending and receiving go on side by
//! side, because an endpoint may answer before it has read everything. The answer is looked for even when sending
//! failed: a server that refuses a large body says why and then resets.

mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Broken, Connection, Kept, Lease, Tunnelled, Upstream};
use crate::clock::Instant;
use crate::error::Reason;
use crate::http::framed::{Framed, Room};
use crate::http::framing::{self, To};
use crate::http::head::{Name, Version};
use crate::http::{Bad, Content, Head, Length, Pools, Scan};
use crate::net::Io;
use crate::request::Asked;
use crate::request::body::Upload;
use crate::request::trailers::Passing;
use crate::timer;
use crate::upstream::held::Holding;
use wire::{SendState, Sending, Wire};

/// A request on its way, until the head of its answer is there.
#[derive(Debug)]
pub struct Attempt(Box<Exchange>);

/// A request and its answer over one connection. It is in a box because it is large, and an answer is moved a dozen
/// times.
#[derive(Debug)]
struct Exchange {
    wire: Wire,
    scan: Scan,
    to: To,
    upgrade: bool,
    heard: bool,
    interims: u32,
    /// Whether an interim answer has stated a length. What follows it may be meant as its body, so the connection is
    /// not used again.
    belied: bool,
    content: Content,
    length: Length,
    persistent: bool,
    /// When the head came, as long as nothing was read since. It spares a short answer a look at the clock.
    heard_at: Option<Instant>,
    /// The reservation for bytes that are held back.
    held: Option<Holding>,
    /// Why nothing more of the answer comes.
    failed: Option<Reason>,
}

/// A worker's free exchanges.
#[derive(Debug)]
pub struct ExchangePool {
    #[allow(clippy::vec_box, reason = "it is the boxes that are used again")]
    free: RefCell<Vec<Box<Exchange>>>,
    /// The body of a free exchange, which has to have one.
    none: Rc<Upload>,
    pools: Rc<Pools>,
}

/// How many free ones are kept.
const KEPT: usize = 256;

impl ExchangePool {
    /// A pool without free exchanges.
    pub fn new(pools: Rc<Pools>, now: Instant) -> Self {
        Self { free: RefCell::default(), none: Rc::new(Upload::empty(now)), pools }
    }

    /// Begins an attempt. `head` is the whole outgoing head, in a vector from the scratch pool. Without `trailers` no
    /// trailers are sent, whatever follows the body.
    pub fn begin(
        &self,
        connection: Connection,
        lease: Lease,
        head: Vec<u8>,
        body: Rc<Upload>,
        trailers: Option<Passing>,
        asked: Asked,
    ) -> Attempt {
        let framed = Framed::new(head, body.length());
        let sending =
            Sending { body, trailers, cursor: 0, framed, state: SendState::Going, written: false, reset: false };
        Attempt(self.put(Exchange {
            wire: Wire {
                connection: Some(connection),
                lease: Some(lease),
                input: None,
                waited: false,
                sending,
                pools: Rc::clone(&self.pools),
            },
            scan: Scan::default(),
            to: asked.to,
            upgrade: asked.upgrade,
            heard: false,
            interims: 0,
            belied: false,
            content: Content::new(Length::NONE),
            length: Length::NONE,
            persistent: false,
            heard_at: None,
            held: None,
            failed: None,
        }))
    }

    fn put(&self, exchange: Exchange) -> Box<Exchange> {
        match self.free.borrow_mut().pop() {
            Some(mut free) => {
                *free = exchange;
                free
            }
            None => Box::new(exchange),
        }
    }

    /// Takes back the box of an answer that is done with.
    pub fn give(&self, answer: Answer) {
        let Answer(mut exchange) = answer;
        let wire = &mut exchange.wire;
        (wire.connection, wire.lease, wire.input) = (None, None, None);
        wire.sending.body = Rc::clone(&self.none);
        (wire.sending.trailers, exchange.held) = (None, None);
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT {
            free.push(exchange);
        }
    }
}

/// A head that came in.
#[derive(Debug)]
pub enum HeadEvent {
    /// An interim answer (100, 102, 103). More is to come.
    Interim(Rc<Head>),
    /// The answer's head.
    Final(Rc<Head>),
}

impl Attempt {
    /// The next head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeadEvent, Broken>> {
        if let Poll::Ready(SendState::Failed(reason)) = self.0.wire.poll_upload(cx) {
            return Poll::Ready(Err(self.broken(reason)));
        }
        loop {
            if let Some(read) = self.read_head() {
                return Poll::Ready(read.and_then(|head| self.understand(head)));
            }
            match ready!(self.0.wire.poll_fill(cx)) {
                Ok(n) if n > 0 => self.hear(),
                // The connection ended before the answer's head was whole.
                Ok(_) => return Poll::Ready(Err(self.broken(Reason::UpstreamClosed))),
                Err(error) => return Poll::Ready(Err(self.broken(closed(&error)))),
            }
        }
    }

    /// Bytes of the answer have come.
    fn hear(&mut self) {
        if !std::mem::replace(&mut self.0.heard, true)
            && let Some((upstream, connection)) = self.0.wire.reused()
        {
            upstream.reused(connection, true, timer::now);
        }
    }

    /// Reads a head from the bytes that have come. None while it is not whole.
    fn read_head(&mut self) -> Option<Result<Rc<Head>, Broken>> {
        let Exchange { wire: Wire { input, pools, .. }, scan, .. } = &mut *self.0;
        let input = input.as_mut().filter(|input| !input.is_empty())?;
        let mut head = pools.heads.take();
        let empty = Rc::get_mut(&mut head).ok_or(Bad::Grammar);
        let read = empty.and_then(|empty| scan.response(input.bytes(), pools.limits, empty));
        let end = match read {
            Ok(Some(end)) => end,
            Ok(None) => {
                pools.heads.give(head);
                return None;
            }
            Err(bad) => return Some(Err(self.broken(upstream_reason(bad)))),
        };
        input.consume(end);
        *scan = Scan::default();
        Some(Ok(head))
    }

    fn understand(&mut self, head: Rc<Head>) -> Result<HeadEvent, Broken> {
        match head.status() {
            101 if self.0.upgrade => Ok(HeadEvent::Final(head)),
            // A 101 that was not asked for: nothing that follows can be read.
            101 => Err(self.broken(Reason::UpstreamProtocol)),
            100..=199 => {
                self.0.interims += 1;
                self.0.belied |= framing::belies_its_end(&head, self.0.to);
                match self.0.interims <= INTERIMS {
                    true => Ok(HeadEvent::Interim(head)),
                    false => Err(self.broken(Reason::UpstreamProtocol)),
                }
            }
            _ => Ok(HeadEvent::Final(head)),
        }
    }

    /// The rest of the answer, after its head.
    pub fn into_answer(self, head: &Head, now: Instant) -> Result<Answer, Broken> {
        let length = framing::of_response(head, self.0.to).map_err(|bad| {
            let rule = framing::broken_rule(head);
            tracing::debug!(rule, status = head.status(), "an instance's answer breaks a rule of framing");
            self.broken(upstream_reason(bad))
        })?;
        let belied = self.0.belied || framing::belies_its_end(head, self.0.to);
        let persistent = length != Length::UntilClose
            && !belied
            && match head.version() {
                Version::Http10 => head.lists(Name::Connection, b"keep-alive"),
                _ => !head.lists(Name::Connection, b"close"),
            };
        let Self(mut exchange) = self;
        exchange.content = Content::new(length);
        (exchange.length, exchange.persistent, exchange.heard_at) = (length, persistent, Some(now));
        let mut answer = Answer(exchange);
        if let Err(bad) = answer.advance() {
            return Err(Broken { reason: upstream_reason(bad), written: true, stale: false });
        }
        Ok(answer)
    }

    /// Whether the whole request is on its way.
    pub fn is_sent(&self) -> bool {
        self.0.wire.sending.state == SendState::Done
    }

    /// The bare connection and what was read beyond the head, after 101.
    pub fn into_tunnel(self) -> Option<Tunnelled> {
        let Self(mut exchange) = self;
        let Wire { connection, lease, input, .. } = &mut exchange.wire;
        let lease = lease.take()?;
        let share = lease.in_flight.upstream().tunnel();
        let Connection { io, open, .. } = connection.take()?;
        Some(Tunnelled { io, lease, input: input.take(), kept: Kept::Connection(open, share) })
    }

    fn broken(&self, reason: Reason) -> Broken {
        let reused = self.0.wire.reused().filter(|_| !self.0.heard);
        if reason == Reason::UpstreamClosed
            && let Some((upstream, connection)) = reused
        {
            upstream.reused(connection, false, timer::now);
        }
        let stale = reused.is_some();
        Broken { reason, written: self.0.wire.sending.written, stale }
    }
}

/// An answer's body on its way in. The connection is given back with the body's last byte, before the client has seen
/// it.
#[derive(Debug)]
pub struct Answer(Box<Exchange>);

impl Answer {
    /// Whether the whole request is on its way.
    pub fn is_sent(&self) -> bool {
        self.0.wire.sending.state == SendState::Done
    }

    /// Whether nothing more of the request is sent.
    pub fn has_sent(&self) -> bool {
        self.0.wire.sending.state != SendState::Going
    }

    /// How its end is known.
    pub fn length(&self) -> Length {
        self.0.length
    }

    /// Sends no more of the request's body: another attempt sends it from now on. The connection is not used again.
    pub fn stop_upload(&mut self) {
        if self.0.wire.sending.state == SendState::Going {
            self.0.wire.sending.state = SendState::Refused;
        }
    }

    /// How many bytes there are; 0 at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reason>> {
        let upload = self.poll_upload(cx);
        loop {
            if self.0.content.ready() > 0 {
                return Poll::Ready(Ok(self.0.content.ready()));
            }
            if self.0.content.is_complete() {
                self.go_home();
                return Poll::Ready(Ok(0));
            }
            upload?;
            ready!(self.poll_more(cx))?;
        }
    }

    /// Reads more and decodes it. What went wrong stays so: a socket tells of a reset once, be it to who writes or to who
    /// reads, and of an end from then on, which an answer without a stated length would be whole with.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if let Some(reason) = self.0.failed {
            return Poll::Ready(Err(reason));
        }
        self.0.heard_at = None;
        let more = match ready!(self.0.wire.poll_fill(cx)) {
            Ok(n) if n > 0 => self.advance().map_err(upstream_reason),
            Ok(_) if !self.0.wire.sending.reset && self.0.content.close() => {
                self.go_home();
                Ok(())
            }
            Ok(_) => Err(Reason::UpstreamClosed),
            Err(error) => Err(closed(&error)),
        };
        self.0.failed = more.err();
        Poll::Ready(more)
    }

    /// The endpoint, until its connection was given back.
    pub fn occupies(&self) -> Option<&Rc<Upstream>> {
        self.0.wire.lease.as_ref().map(|lease| lease.in_flight.upstream())
    }

    /// Whether the whole body is here.
    pub fn is_whole(&self) -> bool {
        self.0.content.is_complete()
    }

    /// The whole body, where it is here and has no trailers.
    pub fn whole(&self) -> Option<&[u8]> {
        let ready = self.0.content.ready();
        let is_whole = self.0.content.is_complete() && self.0.content.trailers().is_none();
        is_whole.then(|| self.0.wire.input.as_ref().and_then(|input| input.bytes().get(..ready)).unwrap_or_default())
    }

    /// Ready when the whole body is here, or as much of it as fits a buffer; with `first`, when anything of it is.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<Result<(), Reason>> {
        let upload = self.poll_upload(cx);
        loop {
            if self.0.content.is_complete() || first && self.0.content.ready() > 0 {
                return Poll::Ready(Ok(()));
            }
            upload?;
            if let Some(input) = &mut self.0.wire.input
                && !input.has_room()
            {
                input.compact();
                if !input.has_room() && self.0.wire.pools.buffers.grow_on(input) != Ok(true) {
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Reads from the endpoint what fits the buffer while the client reads nothing, so that the connection can be
    /// given back. An error comes up again at [`poll_piece`](Self::poll_piece).
    pub fn take_off(&mut self, cx: &mut Context<'_>) {
        while self.0.wire.connection.is_some() && !self.0.content.is_complete() {
            let Some(input) = &mut self.0.wire.input else { return };
            if !input.has_room() {
                input.compact();
                let tight = self.0.wire.pools.buffers.budget().is_tight();
                if !input.has_room() && (tight || self.0.wire.pools.buffers.grow_on(input) != Ok(true)) {
                    return;
                }
            }
            if !matches!(self.poll_more(cx), Poll::Ready(Ok(()))) {
                return;
            }
        }
    }

    /// Keeps the reservation for held bytes until the body is gone.
    pub fn keep(&mut self, held: Holding) {
        self.0.held = Some(held);
    }

    /// Sends what is left of the request's body. An error where the rest will never come: the endpoint might wait for
    /// it without end, and the client for the endpoint.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        match self.0.wire.poll_upload(cx) {
            Poll::Ready(SendState::Failed(reason)) => Err(reason),
            // An endpoint that has answered may stop reading. That ends the upload and not the answer.
            _ => Ok(()),
        }
    }

    /// Sends the lead of `room` and then bytes of the body, as many as `room` allows.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, io: &mut Io, room: Room<'_>) -> Poll<std::io::Result<usize>> {
        match &mut self.0.wire.input {
            Some(input) => io.poll_write_fronted(cx, room.lead(), input, room.len()),
            None => io.poll_write_from(cx, room.lead()),
        }
    }

    /// Takes up to `len` bytes out, as a copy.
    pub fn take(&mut self, len: usize) -> Bytes {
        let Some(input) = &self.0.wire.input else { return Bytes::new() };
        let bytes = Bytes::copy_from_slice(&input.bytes()[..len.min(self.0.content.ready())]);
        self.consume(bytes.len());
        bytes
    }

    /// Lets go of the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        if let Some(input) = &mut self.0.wire.input {
            self.0.content.consume(input, n);
        }
        self.go_home();
    }

    /// What followed the last chunk.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        self.0.content.trailers().cloned()
    }

    fn advance(&mut self) -> Result<(), Bad> {
        if let Some(input) = &mut self.0.wire.input {
            self.0.content.advance(input, self.0.wire.pools.limits, &self.0.wire.pools.heads)?;
        }
        self.go_home();
        Ok(())
    }

    /// Gives the connection back when the whole answer was read and the whole request was sent, and the buffer when
    /// it is empty.
    fn go_home(&mut self) {
        if !self.0.content.is_complete() {
            return;
        }
        let drained = self.0.content.ready() == 0;
        let left_over = self.0.wire.input.as_ref().is_some_and(|input| self.0.content.leaves(input));
        if self.0.wire.sending.state == SendState::Done
            && let (Some(connection), Some(lease)) = (self.0.wire.connection.take(), self.0.wire.lease.take())
            && self.0.persistent
            && !left_over
        {
            lease.give_back(connection, self.0.heard_at.take().unwrap_or_else(timer::now));
        }
        if drained && let Some(input) = self.0.wire.input.take() {
            self.0.wire.pools.buffers.give(input);
            self.0.held = None;
        }
    }
}

/// The most interim answers to one request; no server has a use for more.
const INTERIMS: u32 = 32;

/// Why nothing more can be read: the endpoint closed, or the proxy has no memory.
fn closed(error: &std::io::Error) -> Reason {
    match error.kind() {
        std::io::ErrorKind::OutOfMemory => Reason::MemoryShort,
        _ => Reason::UpstreamClosed,
    }
}

/// The reason for which an endpoint's malformed head is refused.
pub(super) fn upstream_reason(bad: Bad) -> Reason {
    match bad {
        Bad::Grammar | Bad::Coding => Reason::UpstreamProtocol,
        Bad::TooLarge | Bad::TooManyLines => Reason::UpstreamHeadTooLarge,
    }
}
