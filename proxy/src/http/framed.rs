//! A message on its way out over HTTP/1.1: its head, and as much of a body as that head has room for.
//!
//! One byte too many behind a head is the beginning of the next message, and whoever chose it has split the stream. So nobody
//! writes a body to a connection: pieces of it are offered here, and what the head has announced makes a [`Room`], without
//! which no body can be sent (`forward::response_body`,
//! [`Upload::poll_send`](crate::request::body::Upload::poll_send)). There is no other way to make one. What a head has no room for is
//! refused before a byte of it is written, and so is an end that comes too early; the connection is of no use then, and closes.

use std::io;
use std::task::{Poll, ready};

use crate::http::framing::Rest;
use crate::http::{Bad, Length, write};

/// What is left to write of a message.
#[derive(Debug)]
pub struct Framed {
    /// The head, and the lines between chunks.
    lead: Vec<u8>,
    /// Bytes of it that are written.
    sent: usize,
    /// Bytes of the body that were announced and are not written.
    piece: usize,
    rest: Rest,
    chunked: bool,
    /// Whether the line that ends the last chunk is still to be written.
    open_chunk: bool,
    begun: bool,
    ended: bool,
}

/// Leave to write so many bytes of a body, after what goes before them.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    lead: &'a [u8],
    len: usize,
}

impl<'a> Room<'a> {
    /// What goes out first.
    pub fn lead(self) -> &'a [u8] {
        self.lead
    }

    /// Bytes of the body that may follow.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether nothing of the body may follow.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Of the body's bytes, those that may follow.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[..bytes.len().min(self.len)]
    }
}

impl Framed {
    /// A message with that head, which says that its body is so long.
    pub fn new(head: Vec<u8>, body: Length) -> Self {
        Self {
            lead: head,
            sent: 0,
            piece: 0,
            rest: Rest::of(body),
            chunked: body == Length::Chunked,
            open_chunk: false,
            begun: false,
            ended: false,
        }
    }

    /// Whether it is time for more of the body, or for its end.
    pub fn wants(&self) -> bool {
        self.piece == 0 && !self.ended
    }

    /// There are `len` bytes more of the body, at least one.
    pub fn offer(&mut self, len: usize) -> Result<(), Bad> {
        if !self.wants() {
            return Err(Bad::Grammar);
        }
        self.rest.take(len)?;
        if self.chunked {
            self.drop_sent();
            write::chunk_line(&mut self.lead, len, !self.open_chunk);
            self.open_chunk = true;
        }
        self.piece = len;
        Ok(())
    }

    /// The body is at its end. `last` writes what ends one in chunks; it is told whether no line is owed to the chunk before.
    pub fn end(&mut self, last: impl FnOnce(&mut Vec<u8>, bool)) -> Result<(), Bad> {
        if !self.wants() {
            return Err(Bad::Grammar);
        }
        self.rest.end()?;
        if self.chunked {
            self.drop_sent();
            last(&mut self.lead, !self.open_chunk);
        }
        self.ended = true;
        Ok(())
    }

    /// Nothing more of the body is there at the moment. The line that ends the last chunk goes out before its time, which
    /// would be with the next chunk: there are readers that take a chunk for whole with that line only.
    pub fn end_chunk(&mut self) {
        if self.wants() && std::mem::take(&mut self.open_chunk) {
            self.drop_sent();
            write::end(&mut self.lead);
        }
    }

    /// Whether all that was announced is written.
    pub fn is_written(&self) -> bool {
        self.sent == self.lead.len() && self.piece == 0
    }

    /// Whether the whole message is written.
    pub fn is_over(&self) -> bool {
        self.ended && self.is_written()
    }

    /// Whether a byte of it is written: nothing else may go out before its end.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Has something written; says how many bytes of it were the body's.
    pub fn poll_write(&mut self, send: impl FnOnce(Room<'_>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let room = Room { lead: &self.lead[self.sent..], len: self.piece };
        let n = ready!(send(room))?;
        let of_lead = n.min(room.lead.len());
        let of_body = n - of_lead;
        if n == 0 || of_body > self.piece {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        self.sent += of_lead;
        self.piece -= of_body;
        Poll::Ready(Ok(of_body))
    }

    /// The memory of its head, to be used again.
    pub fn take_lead(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.lead)
    }

    fn drop_sent(&mut self) {
        self.lead.drain(..std::mem::take(&mut self.sent));
    }
}

#[cfg(test)]
mod tests;
