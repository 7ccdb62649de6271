//! An HTTP/1.1 client's connection, as its requests use it one after the other.
//!
//! The connection is shared, by reference count, among everything that needs it at the same time: the task that
//! carries its requests, the body that is still being read from it (perhaps by another task, for an endpoint over
//! HTTP/2), and interim answers on their way back. Whoever waits for the socket registers its own task, so only one
//! may wait at a time. Until the body has ended that is the body's reader. After it, it is the exchange.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::Instant;
use crate::drain::Phase;
use crate::http::buffer::LITTLE;
use crate::http::{Buffer, Head, write};
use crate::net::Io;
use crate::request::Entrance;
use crate::request::fields::{self, Client};
use crate::request::peer::Peer;
use crate::timer::{self, Timer};
use crate::worker::Worker;
use crate::worker::presence::{Does, Presence};

/// A client's connection.
#[derive(Debug)]
pub struct Conn {
    pub(crate) io: RefCell<Io>,
    pub(crate) input: RefCell<Option<Buffer>>,
    /// Interim answers on their way out, before anything else.
    pub(crate) interim: RefCell<Vec<u8>>,
    pub(crate) continued: Cell<bool>,
    /// Whether the client once sent more than a small buffer holds. Its next request begins with a large buffer then,
    /// so that one read is enough.
    large: Cell<bool>,
    /// Bytes that were read before the answer to the current request was over. They are bounded.
    pub(crate) early: Cell<usize>,
    pub(crate) timer: Timer,
    /// About when something last happened. It spares an idle connection a look at the clock.
    pub(crate) last: Cell<Instant>,
    pub(crate) client: Rc<Client>,
    pub(crate) entrance: Option<Rc<Entrance>>,
    pub(crate) worker: Rc<Worker>,
    /// What the connection is doing, and its task, so that it can be woken from another task.
    pub(crate) presence: Rc<Presence>,
    pub(crate) gone: Cell<bool>,
    /// Whether the task has already waited for the next request once.
    waited: Cell<bool>,
}

/// How long a closing connection is read from, so that the last answer is not lost in a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// The same, when the process waits for it.
const LAST_LINGER: Duration = Duration::from_millis(250);

impl Conn {
    /// A connection. `first` is what was read to find out which protocol the client speaks.
    pub fn new(
        io: Io,
        first: Buffer,
        timer: Timer,
        client: Rc<Client>,
        entrance: Option<Rc<Entrance>>,
        presence: Rc<Presence>,
        worker: Rc<Worker>,
    ) -> Self {
        Self {
            io: RefCell::new(io),
            input: RefCell::new(Some(first)),
            interim: RefCell::default(),
            continued: Cell::new(false),
            large: Cell::new(false),
            early: Cell::new(0),
            timer,
            last: Cell::new(timer::now()),
            client,
            entrance,
            worker,
            presence,
            gone: Cell::new(false),
            waited: Cell::new(false),
        }
    }

    /// Waits for the next request. False when there will be none: the client is gone or idle for too long, or the
    /// process is closing.
    pub async fn next(&self) -> bool {
        if self.input.borrow().as_ref().is_some_and(|input| !input.is_empty()) {
            return true;
        }
        self.give_buffer_back();
        if self.gone.get() {
            return false;
        }
        let deadline = self.last.get() + self.worker.http.idle_timeout;
        self.waited.set(false);
        poll_fn(|cx| {
            // After a wake there is most likely a request: trying to read it is cheaper than asking for readiness
            // first.
            match self.poll_fill_if(cx, self.waited.replace(true)) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.presence.does(Does::Work);
                    return Poll::Ready(true);
                }
                // A request is there, and no memory for it. `read_head` finds that out again and answers 503.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory => return Poll::Ready(true),
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => self.presence.does(Does::Rest(self.last.get())),
            }
            self.presence.remember(cx);
            if self.worker.phase() >= Phase::Closing || self.presence.is_told() {
                return Poll::Ready(false);
            }
            self.timer.poll(cx, deadline).map(|()| false)
        })
        .await
    }

    /// Ends our side, and reads on for a moment so that what was written last is not lost in a reset.
    pub async fn close(&self) {
        self.give_buffer_back();
        let mut budget = LINGER_BYTES;
        let linger = if self.worker.phase() >= Phase::Closing { LAST_LINGER } else { LINGER };
        let deadline = timer::now() + linger;
        let mut ended = None;
        poll_fn(|cx| {
            // Under TLS what was not sent goes first, and to a client that takes nothing it never does.
            if ended.is_none() {
                match self.io.borrow_mut().poll_end(cx) {
                    Poll::Ready(end) => ended = Some(end.is_ok()),
                    Poll::Pending => return self.timer.poll(cx, deadline),
                }
            }
            if ended == Some(false) || self.gone.get() {
                return Poll::Ready(());
            }
            loop {
                if self.timer.poll(cx, deadline).is_ready() {
                    return Poll::Ready(());
                }
                match ready!(self.poll_fill(cx)) {
                    Ok(n) if n > 0 && n < budget => budget -= n,
                    _ => return Poll::Ready(()),
                }
                if let Some(input) = &mut *self.input.borrow_mut() {
                    input.consume(input.len());
                }
            }
        })
        .await;
        self.give_buffer_back();
        // The socket closes here. A body may hold this connection for longer, while its endpoint over HTTP/2 takes
        // nothing.
        self.io.replace(Io::nowhere());
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(&self) {
        self.gone.set(true);
        self.io.replace(Io::nowhere()).abort();
    }

    /// Keeps no more memory than the bytes in the buffer need, because what follows may take a long time.
    pub(crate) fn keep_little(&self) {
        if let Some(input) = &mut *self.input.borrow_mut()
            && !input.is_empty()
        {
            return self.worker.pools.buffers.shrink(input);
        }
        self.give_buffer_back();
    }

    fn give_buffer_back(&self) {
        if let Some(input) = self.input.borrow_mut().take() {
            self.worker.pools.buffers.give(input);
        }
    }

    /// Reads more into the buffer; 0 at the client's end. Pending also while the buffer is full.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_fill_if(cx, false)
    }

    /// The same. `likely` says that there is most likely something to read, so readiness is not asked for first.
    fn poll_fill_if(&self, cx: &mut Context<'_>, likely: bool) -> Poll<io::Result<usize>> {
        self.fill(cx, &mut self.input.borrow_mut(), likely)
    }

    fn fill(&self, cx: &mut Context<'_>, slot: &mut Option<Buffer>, likely: bool) -> Poll<io::Result<usize>> {
        let mut io = self.io.borrow_mut();
        // No buffer is taken before there is something to read.
        if slot.is_none() && !likely {
            ready!(io.poll_readable(cx));
        }
        let pool = &self.worker.pools.buffers;
        let input = match &mut *slot {
            Some(input) => input,
            none => match if self.large.get() { pool.take_lean() } else { pool.take_small() } {
                Ok(buffer) => none.insert(buffer),
                Err(spent) => {
                    ready!(io.poll_readable(cx));
                    return Poll::Ready(Err(spent.into()));
                }
            },
        };
        if !input.has_room() {
            if !pool.grow(input)? {
                return Poll::Pending;
            }
            self.large.set(true);
        }
        let polled = self.poll_read(cx, &mut io, input, usize::MAX);
        if input.is_empty()
            && let Some(input) = slot.take()
        {
            pool.give(input);
        }
        polled
    }

    fn poll_read(&self, cx: &mut Context<'_>, io: &mut Io, input: &mut Buffer, most: usize) -> Poll<io::Result<usize>> {
        let spare = input.spare();
        let most = most.min(spare.len());
        let polled = io.poll_read_into(cx, &mut spare[..most]);
        match &polled {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => self.gone.set(true),
            Poll::Ready(Ok(n)) => input.filled(*n),
            Poll::Pending => {}
        }
        polled
    }

    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.interim.borrow_mut();
        while !out.is_empty() {
            let n = ready!(self.io.borrow_mut().poll_write_from(cx, &out))?;
            out.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has gone while it was waiting for its answer. Bytes that the client sends early are
    /// kept.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>, look: &mut Option<Instant>) -> Poll<()> {
        if self.worker.http.half_close {
            return Poll::Pending;
        }
        match self.poll_early(cx) {
            Some(Poll::Ready(Ok(n))) if n > 0 => {
                // The client's end may follow these bytes: look again at the next wake.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Poll::Ready(_)) => Poll::Ready(()),
            Some(Poll::Pending) => Poll::Pending,
            // There is no room: the bytes stay in the kernel, and only the client's end is looked for.
            None => self.poll_left(cx, look),
        }
    }

    /// Reads what the client sends before its answer is over. It reads no more than a small buffer holds, since the
    /// answer may take for ever. None where there is no room, or where memory is short.
    fn poll_early(&self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let mut slot = self.input.borrow_mut();
        let mut io = self.io.borrow_mut();
        if slot.is_none() && io.poll_readable(cx).is_pending() {
            return Some(Poll::Pending);
        }
        let pool = &self.worker.pools.buffers;
        let room = LITTLE.saturating_sub(self.early.get());
        if room == 0 || slot.is_none() && pool.budget().excess() > 0 {
            return None;
        }
        let input = match &mut *slot {
            Some(input) => input,
            none => none.insert(pool.take_small().ok()?),
        };
        if !input.has_room() {
            input.compact();
            if !input.has_room() {
                return None;
            }
        }
        let polled = self.poll_read(cx, &mut io, input, room);
        if let Poll::Ready(Ok(n)) = polled {
            self.early.set(self.early.get() + n);
        }
        if input.is_empty()
            && let Some(input) = slot.take()
        {
            pool.give(input);
        }
        Some(polled)
    }

    /// Ready when the client has gone in the middle of its upload.
    ///
    /// The reader of the upload sees the client's end only while there is room for more of the upload. Behind bytes
    /// that the endpoint does not take the end stays unread, so it is asked for once a second.
    pub(crate) fn poll_left(&self, cx: &mut Context<'_>, look: &mut Option<Instant>) -> Poll<()> {
        while !self.gone.get() {
            let due = *look.get_or_insert_with(|| timer::now() + LOOK);
            ready!(self.timer.poll(cx, due));
            *look = None;
            self.gone.set(self.io.borrow().has_left(self.worker.http.half_close));
        }
        Poll::Ready(())
    }
}

impl Peer for Conn {
    fn poll_fill(&self, cx: &mut Context<'_>, input: &mut Option<Buffer>) -> Poll<io::Result<usize>> {
        self.fill(cx, input, false)
    }

    fn has_room(&self, input: Option<&Buffer>) -> bool {
        let may_grow = || self.worker.pools.buffers.budget().excess() == 0;
        input.is_none_or(|input| input.has_room() || input.is_small() && may_grow())
    }

    fn ended(&self, cx: Option<&Context<'_>>, beyond: &[u8]) -> io::Result<()> {
        if !beyond.is_empty() {
            let pool = &self.worker.pools.buffers;
            let mut next = if beyond.len() > LITTLE { pool.take_lean()? } else { pool.take_small()? };
            if next.spare().len() < beyond.len() {
                pool.grow(&mut next)?;
            }
            let Some(room) = next.spare().get_mut(..beyond.len()) else {
                return Err(io::ErrorKind::OutOfMemory.into());
            };
            room.copy_from_slice(beyond);
            next.filled(beyond.len());
            self.input.replace(Some(next));
        }
        // The exchange may listen for the client's end from now on, and its deadline begins to run.
        if let Some(cx) = cx {
            self.presence.wake_from(cx);
        }
        Ok(())
    }

    fn continue_now(&self) {
        if !self.continued.replace(true) {
            let mut out = self.interim.borrow_mut();
            write::status_line(&mut out, 100, b"Continue");
            write::end(&mut out);
            drop(out);
            self.presence.wake();
        }
    }

    /// A second 100 is left out: a further attempt may cause one.
    fn interim(&self, head: &Head) {
        if head.status() == 100 && self.continued.replace(true) {
            return;
        }
        fields::write_interim(head, &mut self.interim.borrow_mut());
        self.presence.wake();
    }
}

/// How often the client's end is asked for while its upload waits for the endpoint.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes that are read and thrown away after the last answer.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
