//! A body that comes over HTTP/1.1. It takes over the buffer that the request's head was read into.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::error::Reason;
use crate::http::framed::Room;
use crate::http::{Bad, Buffer, Content, Pools};
use crate::net::Io;
use crate::request::peer::Peer;

/// The part of a body that has come and is kept, and the connection that the rest comes from.
#[derive(Debug)]
pub(super) struct OverH1 {
    pub peer: Rc<dyn Peer>,
    pub content: Content,
    pub input: Option<Buffer>,
    pub pools: Rc<Pools>,
}

impl OverH1 {
    /// Reads more and decodes it. False at the client's end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Reason>> {
        // A full buffer is read into by nobody. Where nothing of it is body, framing fills it: the head's place, and chunk
        // lines before trailers.
        if let Some(input) = self.input.as_mut().filter(|input| !input.has_room()) {
            self.content.consume(input, 0);
            input.compact();
        }
        match ready!(self.peer.poll_fill(cx, &mut self.input)) {
            Ok(0) => Poll::Ready(Ok(false)),
            Ok(_) => Poll::Ready(self.advance(Some(cx)).map(|()| true)),
            Err(error) => Poll::Ready(Err(gone(&error))),
        }
    }

    /// Decodes what was read. What follows the body goes back to the connection.
    pub fn advance(&mut self, cx: Option<&Context<'_>>) -> Result<(), Reason> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let content = &mut self.content;
        // An error in a body is an error of its framing. Only trailers have limits, which are those of a head.
        content.advance(input, self.pools.limits, &self.pools.heads).map_err(|bad| match bad {
            Bad::TooLarge | Bad::TooManyLines if content.is_at_trailers() => Reason::HeadTooLarge,
            _ => Reason::BadRequest,
        })?;
        if content.is_complete() {
            self.peer.ended(cx, content.beyond(input)).map_err(|error| gone(&error))?;
            content.cut(input);
            self.give_back();
        }
        Ok(())
    }

    /// Lets go of the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        if let Some(input) = &mut self.input {
            self.content.consume(input, n);
            input.compact();
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        if self.content.is_complete()
            && let Some(input) = self.input.take_if(|input| input.is_empty())
        {
            self.pools.buffers.give(input);
        }
    }

    /// Sends the lead of `room` and then bytes from `at`, as many as `room` allows.
    pub fn poll_send_to(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        at: usize,
        room: Room<'_>,
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) if at == 0 => io.poll_write_fronted(cx, room.lead(), input, room.len()),
            Some(input) => io.poll_write_both(cx, room.lead(), room.of(input.bytes().get(at..).unwrap_or_default())),
            None => io.poll_write_from(cx, room.lead()),
        }
    }

    /// A copy of up to `len` bytes at `at`.
    pub fn copy(&self, at: usize, len: usize) -> Bytes {
        let bytes = self.input.as_ref().map(Buffer::bytes).unwrap_or_default();
        Bytes::copy_from_slice(bytes.get(at..bytes.len().min(at + len)).unwrap_or_default())
    }
}

impl Drop for OverH1 {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            self.pools.buffers.give(input);
        }
    }
}

/// Why nothing more can be read from a client: the client has gone, or the proxy has no memory.
fn gone(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Reason::MemoryShort,
        _ => Reason::ClientGone,
    }
}
