//! A request's body: bytes that are lent to whoever sends them, never handed over.
//!
//! The body is read from the client once, and it may be sent more than once. [`Upload`] owns the buffer that the body
//! lies in, and keeps what it has read for as long as that fits. Each attempt sends from a cursor of its own. Once
//! the front had to be let go for lack of room, the request cannot be sent again ([`Upload::is_replayable`]).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;

use crate::clock::Instant;
use crate::error::Reason;
use crate::http::framed::Room;
use crate::http::gather::SMALL;
use crate::http::{Buffer, Content, Head, Length, Pools};
use crate::net::Io;
use crate::request::peer::Peer;
use crate::timer;

mod copied;
mod empties;
mod held;
mod http1;

pub use empties::EmptyPool;
use held::Held;
use http1::OverH1;

/// A request's body, shared by its attempts.
#[derive(Debug)]
pub struct Upload {
    source: Source,
    length: Length,
    /// How many bytes of the front have been let go, because they were sent or for lack of room.
    gone: Cell<u64>,
    /// How many bytes were thrown away unsent: those that were kept until the answer went out, and those that came
    /// after an early answer.
    drained: Cell<u64>,
    /// When the last byte had come.
    ended: Cell<Option<Instant>>,
    /// When a byte last moved, from the client or to an endpoint.
    moved: Cell<Instant>,
    /// Whether the client is being waited for, and not the endpoint.
    starved: Cell<bool>,
    /// What went wrong with the body, where only its reader has seen it.
    failed: Cell<Option<Reason>>,
    /// Whether its exchange is over. Its connection belongs to the next request then.
    over: Cell<bool>,
    /// Whether an answer is going out, so that no further attempt sends the body from its beginning.
    committed: Cell<bool>,
    /// Other tasks that wait for more of the body (an endpoint's over HTTP/2).
    readers: RefCell<Vec<Waker>>,
    /// The task that waits for the end of the body without reading it.
    waiting: RefCell<Option<Waker>>,
}

#[derive(Debug)]
enum Source {
    Empty,
    H1(Box<RefCell<OverH1>>),
    H2 {
        incoming: RefCell<RecvStream>,
        held: RefCell<Held>,
        pools: Rc<Pools>,
    },
    /// A copy of another request's, which is whole.
    Copied(Bytes),
}

/// What there is of a body behind a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// That many bytes, at least one.
    Data(usize),
    /// Nothing, ever.
    End,
}

/// Bytes of a request's body that are kept for another attempt: what fits a buffer.
pub const KEEP: usize = crate::http::buffer::ROOM;

impl Upload {
    /// No body.
    pub fn empty(now: Instant) -> Self {
        Self::new(Source::Empty, Length::NONE, now, Some(now))
    }

    /// A body over HTTP/1.1. `input` is what the connection has read behind the request's head; the body begins there
    /// and owns that buffer from now on.
    pub fn h1(
        peer: Rc<dyn Peer>,
        input: Option<Buffer>,
        length: Length,
        pools: Rc<Pools>,
        now: Instant,
    ) -> Result<Self, Reason> {
        let mut body = OverH1 { peer, content: Content::new(length), input, pools };
        body.advance(None)?;
        let ended = body.content.is_complete().then_some(now);
        Ok(Self::new(Source::H1(Box::new(RefCell::new(body))), length, now, ended))
    }

    /// A body over HTTP/2, with a stated length or without.
    pub fn h2(incoming: RecvStream, length: Option<u64>, pools: Rc<Pools>, now: Instant) -> Self {
        if incoming.is_end_stream() {
            return Self::empty(now);
        }
        let length = length.map_or(Length::Chunked, Length::Exact);
        let source = Source::H2 { incoming: RefCell::new(incoming), held: RefCell::default(), pools };
        Self::new(source, length, now, None)
    }

    fn new(source: Source, length: Length, now: Instant, ended: Option<Instant>) -> Self {
        Self {
            source,
            length,
            gone: Cell::new(0),
            drained: Cell::new(0),
            ended: Cell::new(ended),
            moved: Cell::new(now),
            starved: Cell::new(false),
            failed: Cell::new(None),
            over: Cell::new(false),
            committed: Cell::new(false),
            readers: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// How the end of the body is known.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether the request has no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// When its last byte had come; none while it has not.
    pub fn ended(&self) -> Option<Instant> {
        self.ended.get()
    }

    /// When something last moved.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the client is being waited for.
    pub fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Whether the body can still be sent from its beginning.
    pub fn is_replayable(&self) -> bool {
        self.gone.get() == 0
    }

    /// Remembers what went wrong with the body.
    pub fn fail(&self, reason: Reason) {
        self.failed.set(Some(reason));
    }

    /// What went wrong with the body.
    pub fn failure(&self) -> Option<Reason> {
        self.failed.get()
    }

    /// Tells a client that waits for 100 to send its body.
    pub fn continue_now(&self) {
        if let Source::H1(body) = &self.source {
            body.borrow().peer.continue_now();
        }
    }

    /// The trailers, once they have come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        match &self.source {
            Source::Empty | Source::Copied(_) => None,
            Source::H1(body) => body.borrow().content.trailers().cloned(),
            Source::H2 { held, .. } => held.borrow().trailers.clone(),
        }
    }

    /// What there is at the cursor; reads more where there is nothing. Bytes before the cursor are let go only where
    /// nothing else makes room.
    pub fn poll_piece(&self, cx: &mut Context<'_>, cursor: u64) -> Poll<Result<Piece, Reason>> {
        self.starved.set(false);
        // The rest was thrown away. An attempt that had not sent all of the body gets an error and not the end.
        if self.drained.get() > 0 {
            let whole = self.ended.get().is_some() && cursor == self.taken();
            return Poll::Ready(if whole { Ok(Piece::End) } else { Err(Reason::ClientGone) });
        }
        let Some(at) = cursor.checked_sub(self.gone.get()) else { return Poll::Ready(Err(Reason::Internal)) };
        let polled = match &self.source {
            Source::Empty => return Poll::Ready(Ok(Piece::End)),
            Source::Copied(bytes) => {
                let left = (bytes.len() as u64).saturating_sub(at);
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                return Poll::Ready(Ok(if left > 0 { Piece::Data(left) } else { Piece::End }));
            }
            Source::H1(body) => self.poll_h1(cx, &mut body.borrow_mut(), at),
            Source::H2 { incoming, held, pools } => {
                self.poll_h2(cx, &mut incoming.borrow_mut(), &mut held.borrow_mut(), pools, at)
            }
        };
        self.starved.set(polled.is_pending());
        polled
    }

    /// Ready when all of the body has come, or as much as can be kept.
    pub fn poll_collect(&self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        match &self.source {
            Source::Empty | Source::Copied(_) => Poll::Ready(Ok(())),
            Source::H1(body) => self.poll_collect_h1(cx, &mut body.borrow_mut()),
            Source::H2 { incoming, held, pools } => {
                let (incoming, held) = (&mut incoming.borrow_mut(), &mut held.borrow_mut());
                while held.len < KEEP {
                    let at = held.len as u64;
                    if ready!(self.poll_h2(cx, incoming, held, pools, at))? == Piece::End {
                        break;
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_collect_h1(&self, cx: &mut Context<'_>, body: &mut OverH1) -> Poll<Result<(), Reason>> {
        while !body.content.is_complete() && body.peer.has_room(body.input.as_ref()) {
            if !ready!(body.poll_fill(cx))? {
                return Poll::Ready(Err(Reason::ClientGone));
            }
            self.moved.set(timer::now());
        }
        if body.content.is_complete() {
            self.note_end(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_h1(&self, cx: &mut Context<'_>, body: &mut OverH1, at: u64) -> Poll<Result<Piece, Reason>> {
        let mut at = usize::try_from(at).unwrap_or(usize::MAX);
        loop {
            if body.content.ready() > at {
                return Poll::Ready(Ok(Piece::Data(body.content.ready() - at)));
            }
            if body.content.is_complete() {
                self.note_end(cx);
                return Poll::Ready(Ok(Piece::End));
            }
            // The bytes that come from now on belong to the next request.
            if self.over.get() {
                return Poll::Ready(Err(Reason::ClientGone));
            }
            // Once the front is gone, or an answer goes out, the body is not sent again: there is no reason to keep
            // more.
            if at > 0 && (self.gone.get() > 0 || self.committed.get() || !body.peer.has_room(body.input.as_ref())) {
                body.consume(at);
                self.gone.set(self.gone.get() + at as u64);
                at = 0;
            }
            if !ready!(body.poll_fill(cx))? {
                return Poll::Ready(Err(Reason::ClientGone));
            }
            self.moved.set(timer::now());
            if body.content.is_complete() {
                self.note_end(cx);
            }
        }
    }

    fn poll_h2(
        &self,
        cx: &mut Context<'_>,
        incoming: &mut RecvStream,
        held: &mut Held,
        pools: &Pools,
        at: u64,
    ) -> Poll<Result<Piece, Reason>> {
        let mut at = usize::try_from(at).unwrap_or(usize::MAX);
        loop {
            let beyond = held.len.saturating_sub(at);
            if beyond >= SMALL || beyond > 0 && held.done {
                return Poll::Ready(Ok(Piece::Data(beyond)));
            }
            if held.done {
                if let Some(reason) = self.failure() {
                    return Poll::Ready(Err(reason));
                }
                self.note_end(cx);
                return Poll::Ready(Ok(Piece::End));
            }
            if at > 0 && beyond == 0 && (self.gone.get() > 0 || held.len >= KEEP) {
                held.drop_front(at);
                self.gone.set(self.gone.get() + at as u64);
                at = 0;
            }
            let came = match incoming.poll_data(cx) {
                Poll::Ready(Some(data)) => data.map(Some),
                Poll::Ready(None) => match incoming.poll_trailers(cx) {
                    Poll::Ready(trailers) => {
                        if let Ok(Some(map)) = &trailers {
                            // Kept for further attempts, too: without trailers the message would not be whole.
                            held.trailers = Some(crate::http2::trailers_from(map, pools).map_err(|bad| {
                                let reason = crate::request::reason_of(bad);
                                held.done = true;
                                self.fail(reason);
                                reason
                            })?);
                        }
                        trailers.map(|_| None)
                    }
                    Poll::Pending if beyond > 0 => return Poll::Ready(Ok(Piece::Data(beyond))),
                    Poll::Pending => return Poll::Pending,
                },
                // Bytes that are there already are sent without waiting for more.
                Poll::Pending if beyond > 0 => return Poll::Ready(Ok(Piece::Data(beyond))),
                Poll::Pending => return Poll::Pending,
            };
            self.moved.set(timer::now());
            match came {
                // A reset is never the end of the body, whatever its code says.
                Err(_) => return Poll::Ready(Err(Reason::ClientGone)),
                Ok(None) => held.done = true,
                Ok(Some(data)) => {
                    // The window is opened at once: how much is kept for another attempt is bounded here.
                    _ = incoming.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        held.push(data);
                    }
                }
            }
        }
    }

    fn note_end(&self, cx: &Context<'_>) {
        if self.ended.get().is_none() {
            self.ended.set(Some(timer::now()));
            if let Some(waiting) = self.waiting.take()
                && !waiting.will_wake(cx.waker())
            {
                waiting.wake();
            }
        }
    }

    /// Has the caller's task woken when all of the body has come, because the request's deadline begins to run then.
    /// Another task may be the one that reads the body.
    pub fn wake_at_end(&self, cx: &Context<'_>) {
        // Over HTTP/1.1, `Peer::ended` wakes the connection's task.
        if let Source::H2 { .. } = &self.source {
            let mut waiting = self.waiting.borrow_mut();
            match &mut *waiting {
                Some(known) => known.clone_from(cx.waker()),
                None => *waiting = Some(cx.waker().clone()),
            }
        }
    }

    /// How many bytes of the body have come so far.
    pub fn taken(&self) -> u64 {
        let kept = match &self.source {
            Source::Empty => 0,
            Source::Copied(bytes) => bytes.len(),
            Source::H1(body) => body.borrow().content.ready(),
            Source::H2 { held, .. } => held.borrow().len,
        };
        self.gone.get() + self.drained.get() + kept as u64
    }

    /// Sends the lead of `room` and then bytes from the cursor, as many as `room` allows. Returns how many bytes of
    /// both were sent.
    pub fn poll_send(&self, cx: &mut Context<'_>, io: &mut Io, cursor: u64, room: Room<'_>) -> Poll<io::Result<usize>> {
        if self.drained.get() > 0 && !room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let at = usize::try_from(cursor - self.gone.get()).unwrap_or(usize::MAX);
        let sent = match &self.source {
            Source::Empty => io.poll_write_from(cx, room.lead()),
            Source::Copied(bytes) => {
                let rest = bytes.get(at..).unwrap_or_default();
                io.poll_write_both(cx, room.lead(), room.of(rest))
            }
            Source::H1(body) => body.borrow_mut().poll_send_to(cx, io, at, room),
            Source::H2 { held, .. } => io.poll_write_both(cx, room.lead(), room.of(held.borrow().slice(at))),
        };
        if !room.is_empty() && sent.is_ready() {
            self.moved.set(timer::now());
        }
        sent
    }

    /// A copy of up to `len` bytes from the cursor.
    pub fn copy(&self, cursor: u64, len: usize) -> Bytes {
        let at = usize::try_from(cursor - self.gone.get()).unwrap_or(usize::MAX);
        match &self.source {
            Source::Empty => Bytes::new(),
            Source::Copied(bytes) => bytes.slice(at.min(bytes.len())..bytes.len().min(at.saturating_add(len))),
            Source::H1(body) => body.borrow().copy(at, len),
            Source::H2 { held, .. } => {
                let held = held.borrow();
                let mut skip = at;
                for chunk in &held.chunks {
                    if skip < chunk.len() {
                        return chunk.slice(skip..chunk.len().min(skip + len));
                    }
                    skip -= chunk.len();
                }
                Bytes::new()
            }
        }
    }

    /// Has the caller's task woken when the exchange is over.
    pub fn remember(&self, cx: &Context<'_>) {
        let mut readers = self.readers.borrow_mut();
        if !readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            readers.push(cx.waker().clone());
        }
    }

    /// The exchange is over: no more of the body is read. An attempt that is still sending may send what has come. If
    /// the body has not come whole, that attempt gets an error in place of the end.
    pub fn close(&self) {
        if !self.over.replace(true) {
            self.readers.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Ends the exchange. Returns whether the client's connection can carry another request: nothing of this body is
    /// left to come.
    pub fn finish(&self) -> bool {
        self.close();
        match &self.source {
            Source::H1(body) => body.borrow().content.is_complete(),
            Source::Empty | Source::H2 { .. } | Source::Copied(_) => true,
        }
    }

    /// An answer goes out. From now on only the attempt that gave it sends the body.
    pub fn commit(&self) {
        self.committed.set(true);
    }

    /// Throws away what is kept, once the body has come whole and no attempt sends it any more.
    pub fn let_go(&self) {
        if self.ended.get().is_some()
            && let Source::H1(body) = &self.source
        {
            self.drain(&mut body.borrow_mut());
        }
    }

    fn drain(&self, body: &mut OverH1) {
        let ready = body.content.ready();
        body.consume(ready);
        self.drained.set(self.drained.get() + ready as u64);
    }

    /// Reads and throws away what is still to come, so that the connection can go on or close without a reset.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let Source::H1(body) = &self.source else { return Poll::Ready(true) };
        let mut body = body.borrow_mut();
        loop {
            self.drain(&mut body);
            if body.content.is_complete() {
                return Poll::Ready(true);
            }
            match ready!(body.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(false),
            }
        }
    }
}

#[cfg(test)]
mod tests;
