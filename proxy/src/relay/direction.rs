//! One direction of a [`Relay`](super::Relay).

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::now;
use super::watch::Change;
use crate::clock::Instant;
use crate::fault::spec::Kind;
use crate::fault::stream::{Chain, chain};
use crate::http::{Buffer, BufferPool};
use crate::net::Io;

/// One direction: what was read and not yet written, and the faults between.
#[derive(Debug, Default)]
pub(super) struct Direction {
    buffer: Option<Buffer>,
    chain: Option<Box<Chain>>,
    /// Whether nothing more is read.
    ended: bool,
    /// Whether the stream has ended with a reset. Like a clean end, a reset is an event in the stream's order: it
    /// comes through behind the bytes before it, when the stages that hold those let it.
    broken: bool,
    /// Whether the connection that it goes to is gone.
    lost: bool,
    /// Whether nothing more is written.
    over: bool,
    closed: bool,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Since when the other side takes nothing of what is ready for it.
    pub(super) stuck: Option<Instant>,
}

/// How far moving a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// As far as it can. The task is registered for what it waits for.
    Waits,
    /// The same, and it has to be polled again at this time.
    Due(Instant),
    /// A fault has closed it just now.
    Closed,
    /// A fault resets the connection.
    Reset,
    /// The reset of the connection that it comes from has come through.
    Broken,
    /// The connection that it goes to is gone, as writing has shown just now.
    Lost,
}

/// How often the chain is moved on before other tasks have their turn.
const ROUNDS: usize = 8;

impl Direction {
    /// Takes over bytes that were read already.
    pub(super) fn take_over(&mut self, buffer: Option<Buffer>) {
        self.received += buffer.as_ref().map_or(0, Buffer::len) as u64;
        self.buffer = buffer;
    }

    /// Whether nothing more is written.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the direction ended before its stream did: by a fault, or because its receiver was gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed || self.lost
    }

    /// The connection that it comes from was reset, as writing to it has shown. What came from it before still goes on, and
    /// so does a clean end.
    pub(super) fn bereave(&mut self) {
        self.broken |= !self.ended;
    }

    /// Nothing more is read: the connection that it comes from is closed.
    pub(super) fn cut(&mut self, now: Instant) {
        self.ended = true;
        if let Some(chain) = &mut self.chain {
            chain.end(now);
        }
    }

    /// Applies a change of a fault.
    pub(super) fn apply(&mut self, change: &Change, now: Instant, begun: bool) {
        let (buffer, ended) = (&mut self.buffer, self.ended);
        let chain = self.chain.get_or_insert_with(|| {
            let mut chain = Box::<Chain>::default();
            if let Some(buffer) = buffer {
                let bytes = buffer.bytes();
                if !bytes.is_empty() {
                    chain.push(Bytes::copy_from_slice(bytes), now);
                }
                buffer.consume(buffer.len());
            }
            if ended {
                chain.end(now);
            }
            chain
        });
        match change {
            Change::Insert(at, active) => {
                if let Kind::Toxic(_, toxic) = &active.fault.kind {
                    chain.insert(*at, active.id, toxic, now);
                    // As in Toxiproxy, a connection that was open before the fault is closed and not reset.
                    if begun && active.origin.exempt {
                        chain.soften(active.id);
                    }
                }
            }
            Change::Alter(active) => {
                if let Kind::Toxic(_, toxic) = &active.fault.kind {
                    chain.change(active.id, toxic);
                }
            }
            Change::Remove(id) => chain.remove(*id, now),
        }
    }

    /// Moves what can be moved without waiting, a buffer or two at most. `last`: the other direction is over, so the end of
    /// this one is the connection's.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        pool: &BufferPool,
        last: bool,
    ) -> Step {
        if self.over {
            return Step::Waits;
        }
        self.advance(cx, from, to, pool, last).unwrap_or_else(|error| {
            tracing::debug!(%error, "nobody takes what comes");
            (self.lost, self.ended, self.over, self.chain) = (true, true, true, None);
            if let Some(buffer) = self.buffer.take() {
                pool.give(buffer);
            }
            Step::Lost
        })
    }

    /// An error comes from writing. A failed read is an end of the stream.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        pool: &BufferPool,
        last: bool,
    ) -> io::Result<Step> {
        if self.chain.as_ref().is_some_and(|chain| chain.is_idle()) {
            self.chain = None;
        }
        if self.chain.is_some() {
            if let Some(buffer) = self.buffer.take() {
                pool.give(buffer);
            }
            return self.poll_chain(cx, from, to, pool, last);
        }
        self.fill(cx, from, pool);
        while let Some(buffer) = &mut self.buffer {
            if buffer.is_empty() {
                if let Some(buffer) = self.buffer.take() {
                    pool.give(buffer);
                }
                break;
            }
            let written = match self.ended && !self.broken {
                true => to.poll_write_last(cx, buffer.bytes()),
                false => to.poll_write_from(cx, buffer.bytes()),
            };
            match written? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    buffer.consume(n);
                    self.sent += n as u64;
                    self.stuck = None;
                }
                Poll::Pending => {
                    buffer.compact();
                    self.stuck.get_or_insert_with(now);
                    return Ok(Step::Waits);
                }
            }
        }
        if self.ended && self.buffer.is_none() {
            return self.finish(cx, to, last);
        }
        Ok(Step::Waits)
    }

    /// Reads what is there, as far as there is room. Returns true when something came, which may be the end.
    fn fill(&mut self, cx: &mut Context<'_>, from: &mut Io, pool: &BufferPool) -> bool {
        let room = self.buffer.as_ref().is_none_or(Buffer::has_room);
        if self.ended || !room || self.buffer.is_none() && from.poll_readable(cx).is_pending() {
            return false;
        }
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => match pool.take_lean() {
                Ok(buffer) => none.insert(buffer),
                // Without memory for what came the stream cannot go on, and it must not look whole.
                Err(_) => {
                    (self.ended, self.broken) = (true, true);
                    return true;
                }
            },
        };
        let mut came = false;
        // After a short read nothing more is there, which costs no system call to learn, or the end is, which goes on
        // with the bytes.
        while buffer.has_room() {
            match from.poll_read_into(cx, buffer.spare()) {
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    return true;
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection broke");
                    (self.ended, self.broken) = (true, true);
                    return true;
                }
                Poll::Ready(Ok(n)) => {
                    buffer.filled(n);
                    self.received += n as u64;
                    came = true;
                }
                Poll::Pending => break,
            }
        }
        came
    }

    /// The end is passed on.
    fn finish(&mut self, cx: &mut Context<'_>, to: &mut Io, last: bool) -> io::Result<Step> {
        if self.broken {
            return Ok(Step::Broken);
        }
        // Closing the connection says it, too, and is about to happen; under TLS it does not.
        if last && to.tls().is_none() || to.poll_end(cx)?.is_ready() {
            self.over = true;
        }
        Ok(Step::Waits)
    }

    fn poll_chain(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        pool: &BufferPool,
        last: bool,
    ) -> io::Result<Step> {
        let Some(mut chain) = self.chain.take() else { return Ok(Step::Waits) };
        let step = self.poll_through(&mut chain, cx, from, to, pool, last);
        self.chain = Some(chain);
        if let Some(buffer) = self.buffer.take() {
            pool.give(buffer);
        }
        step
    }

    fn poll_through(
        &mut self,
        chain: &mut Chain,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        pool: &BufferPool,
        last: bool,
    ) -> io::Result<Step> {
        let mut due = None;
        for round in 0..=ROUNDS {
            if round == ROUNDS {
                // Let others have their turn.
                cx.waker().wake_by_ref();
                break;
            }
            let mut moved = false;
            if chain.has_room() && self.fill(cx, from, pool) {
                moved = true;
                if let Some(buffer) = &mut self.buffer {
                    if !buffer.is_empty() {
                        chain.push(Bytes::copy_from_slice(buffer.bytes()), now());
                    }
                    buffer.consume(buffer.len());
                }
                if self.ended {
                    chain.end(now());
                }
            }
            due = chain.pump(now());
            if chain.is_reset() {
                return Ok(Step::Reset);
            }
            while let Some(piece) = chain.front() {
                match to.poll_write_from(cx, piece)? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(n) => {
                        moved = true;
                        chain.written(n);
                        self.sent += n as u64;
                        self.stuck = None;
                    }
                    Poll::Pending => {
                        self.stuck.get_or_insert_with(now);
                        break;
                    }
                }
            }
            if chain.front().is_none() {
                // What it took nothing of may have been swallowed since.
                self.stuck = None;
            }
            match chain.ended() {
                Some(chain::End::Closed) => {
                    // It is closed in any case.
                    let _said = self.finish(cx, to, last);
                    (self.closed, self.ended, self.over) = (true, true, true);
                    return Ok(Step::Closed);
                }
                Some(chain::End::Passed) => return self.finish(cx, to, last),
                None => {}
            }
            if !moved {
                break;
            }
        }
        Ok(due.map_or(Step::Waits, Step::Due))
    }
}
