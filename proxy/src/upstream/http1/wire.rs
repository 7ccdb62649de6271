//! The connection of an attempt: what goes out over it, and what comes in.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::error::Reason;
use crate::http::framed::Framed;
use crate::http::{Buffer, Pools};
use crate::net::Io;
use crate::request::body::{Piece, Upload};
use crate::request::trailers::{self, Passing};
use crate::upstream::{Connection, Lease, Upstream};

/// The connection with what is going out over it and what came in.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) connection: Option<Connection>,
    pub(super) lease: Option<Lease>,
    pub(super) input: Option<Buffer>,
    /// Whether the task has already waited for the answer once. After that a wake most likely means that the answer
    /// is there.
    pub(super) waited: bool,
    pub(super) sending: Sending,
    pub(super) pools: Rc<Pools>,
}

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) body: Rc<Upload>,
    pub(super) trailers: Option<Passing>,
    pub(super) cursor: u64,
    pub(super) framed: Framed,
    pub(super) state: SendState,
    pub(super) written: bool,
    /// Whether the connection was reset, which is what an error of writing says.
    pub(super) reset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    Going,
    Done,
    /// The endpoint takes no more of the request. It may have answered.
    Refused,
    /// The client's message broke off or broke the rules.
    Failed(Reason),
}

impl Wire {
    /// The endpoint and the connection, where that has carried a request before.
    pub(super) fn reused(&self) -> Option<(&Rc<Upstream>, &Connection)> {
        let connection = self.connection.as_ref().filter(|connection| connection.reused)?;
        Some((self.lease.as_ref()?.in_flight.upstream(), connection))
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(0)) };
        // No buffer is taken before there is something to read. Where that is likely, trying is cheaper than asking
        // first.
        if self.input.is_none() && !(self.waited && self.sending.state == SendState::Done) {
            self.waited = true;
            ready!(connection.io.poll_readable(cx));
        }
        let input = match &mut self.input {
            Some(input) => input,
            none => match self.pools.buffers.take_lean() {
                Ok(buffer) => none.insert(buffer),
                Err(spent) => {
                    ready!(connection.io.poll_readable(cx));
                    return Poll::Ready(Err(spent.into()));
                }
            },
        };
        if !input.has_room() {
            input.compact();
            if !input.has_room() {
                // Only a head or trailers may need more than a buffer at once.
                self.pools.buffers.grow_on(input)?;
            }
        }
        let polled = connection.io.poll_read_into(cx, input.spare());
        if let Poll::Ready(Ok(n)) = polled {
            input.filled(n);
        } else if input.is_empty()
            && let Some(input) = self.input.take()
        {
            self.pools.buffers.give(input);
        }
        polled
    }

    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<SendState> {
        if let state @ (SendState::Done | SendState::Refused | SendState::Failed(_)) = self.sending.state {
            return Poll::Ready(state);
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(SendState::Done) };
        let state = ready!(self.sending.poll(cx, &mut connection.io));
        self.sending.state = state;
        self.pools.scratch.give(self.sending.framed.take_lead());
        Poll::Ready(state)
    }
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>, io: &mut Io) -> Poll<SendState> {
        loop {
            if self.framed.wants() {
                let fits = match self.body.poll_piece(cx, self.cursor) {
                    Poll::Ready(Ok(Piece::Data(len))) => self.framed.offer(len),
                    Poll::Ready(Ok(Piece::End)) => {
                        let came = self.body.trailers();
                        let these = self.trailers.as_ref().zip(came.as_deref()).map(|(rules, head)| rules.these(head));
                        self.framed.end(|out, first| trailers::write_last_chunk(out, first, these))
                    }
                    Poll::Ready(Err(reason)) => return Poll::Ready(SendState::Failed(reason)),
                    // What is there goes out: the client may wait for a 100 before it sends more (RFC 9110 section
                    // 10.1.1).
                    Poll::Pending => {
                        self.framed.end_chunk();
                        if self.framed.is_written() {
                            return Poll::Pending;
                        }
                        Ok(())
                    }
                };
                if fits.is_err() {
                    return Poll::Ready(SendState::Failed(Reason::BadRequest));
                }
            }
            if self.framed.is_over() {
                return Poll::Ready(SendState::Done);
            }
            if self.framed.is_written() {
                continue;
            }
            match ready!(self.framed.poll_write(|room| self.body.poll_send(cx, io, self.cursor, room))) {
                Ok(n) => {
                    self.written = true;
                    self.cursor += n as u64;
                }
                Err(_) => {
                    self.reset = true;
                    return Poll::Ready(SendState::Refused);
                }
            }
        }
    }
}
