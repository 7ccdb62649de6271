//! A response's body: one type, wherever the bytes come from.
//!
//! It owns everything that has to live until its last byte: the endpoint's connection, the attempt's load, what is
//! left of the upload.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::error::Reason;
use crate::forward::faulted::Faulted;
use crate::http::framed::Room;
use crate::http::{Head, Length};
use crate::net::Io;
use crate::upstream::held::Holding;
use crate::upstream::{self, Upstream};

/// A response's body.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every body is the large one, and a box is an allocation")]
pub enum Download {
    /// None.
    Empty,
    /// Made here.
    Held(Bytes),
    /// Coming from an endpoint over HTTP/1.1.
    H1(upstream::http1::Answer),
    /// Coming from an endpoint over HTTP/2.
    H2(Box<upstream::http2::Answer>),
    /// Coming from an endpoint or made here, and falsified on the way.
    Faulted(Box<Faulted>),
}

impl Download {
    /// How the end of the body is known, for the head that states it.
    pub fn length(&self) -> Length {
        match self {
            Self::Empty => Length::NONE,
            Self::Held(bytes) => Length::Exact(bytes.len() as u64),
            Self::H1(answer) => answer.length(),
            Self::H2(answer) => answer.length(),
            Self::Faulted(faulted) => faulted.length(),
        }
    }

    /// Ends the body, and keeps what the next exchange can use.
    pub fn recycle(self, exchanges: &upstream::http1::ExchangePool) {
        if let Self::H1(answer) = self {
            exchanges.give(answer);
        }
    }

    /// Drops the body where its answer's head has no room for one.
    pub fn keep_within(&mut self, room: Length) {
        if room == Length::NONE && self.length() != Length::NONE {
            *self = Self::Empty;
        }
    }

    /// The endpoint of which this body occupies a whole connection. None once the connection was given back, and over
    /// HTTP/2.
    pub fn occupies(&self) -> Option<&Rc<Upstream>> {
        match self {
            Self::H1(answer) => answer.occupies(),
            Self::Faulted(faulted) => faulted.occupies(),
            Self::Empty | Self::Held(_) | Self::H2(_) => None,
        }
    }

    /// Whether nothing more comes: neither a byte nor trailers.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Held(bytes) => bytes.is_empty(),
            Self::H1(_) => false,
            Self::H2(answer) => answer.is_over(),
            Self::Faulted(faulted) => faulted.is_over(),
        }
    }

    /// Whether all of the body is here already.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Empty | Self::Held(_) => true,
            Self::H1(answer) => answer.is_whole(),
            Self::H2(answer) => answer.is_whole(),
            Self::Faulted(_) => false,
        }
    }

    /// All of the body, if it is here and no trailers follow it.
    pub fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Held(bytes) => Some(bytes),
            Self::H1(answer) => answer.whole(),
            Self::H2(answer) => answer.whole(),
            Self::Faulted(_) => None,
        }
    }

    /// Ready when all of the body is here, or as much as is held at most. With `first`, ready when anything of it is.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<Result<(), Reason>> {
        match self {
            Self::Empty | Self::Held(_) => Poll::Ready(Ok(())),
            Self::H1(answer) => answer.poll_hold(cx, first),
            Self::H2(answer) => answer.poll_hold(cx, first),
            Self::Faulted(faulted) => faulted.poll_hold(cx, first),
        }
    }

    /// Keeps the reservation for held bytes for as long as the body lives.
    pub fn keep(&mut self, held: Holding) {
        match self {
            Self::Empty | Self::Held(_) => {}
            Self::H1(answer) => answer.keep(held),
            Self::H2(answer) => answer.keep(held),
            Self::Faulted(faulted) => faulted.keep(held),
        }
    }

    /// How many bytes can be sent at once; 0 at the end. Also sends what is left of the request's body.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reason>> {
        match self {
            Self::Empty => Poll::Ready(Ok(0)),
            Self::Held(bytes) => Poll::Ready(Ok(bytes.len())),
            Self::H1(answer) => answer.poll_piece(cx),
            Self::H2(answer) => answer.poll_piece(cx),
            Self::Faulted(faulted) => faulted.poll_piece(cx),
        }
    }

    /// Sends what is left of the request's body while nothing of the answer is wanted. An error comes up again at
    /// [`poll_piece`](Self::poll_piece).
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::H1(answer) => _ = answer.poll_upload(cx),
            Self::Faulted(faulted) => faulted.poll_upload(cx),
            Self::Empty | Self::Held(_) | Self::H2(_) => {}
        }
    }

    /// Reads from the endpoint what fits the buffer while the client reads nothing, so that the connection can be
    /// given back.
    pub fn take_off(&mut self, cx: &mut Context<'_>) {
        if let Self::H1(answer) = self {
            answer.take_off(cx);
        }
    }

    /// Whether nothing more of the request's body is sent.
    pub fn has_sent(&self) -> bool {
        match self {
            Self::Empty | Self::Held(_) => true,
            Self::H1(answer) => answer.has_sent(),
            Self::H2(answer) => answer.has_sent(),
            Self::Faulted(faulted) => faulted.has_sent(),
        }
    }

    /// Sends no more of the request's body: another attempt sends it from now on.
    pub fn stop_upload(&mut self) {
        match self {
            Self::H1(answer) => answer.stop_upload(),
            Self::H2(answer) => answer.stop_upload(),
            Self::Faulted(faulted) => faulted.stop_upload(),
            Self::Empty | Self::Held(_) => {}
        }
    }

    /// Sends the lead of `room` and then bytes of the body, as many as `room` allows. Returns how many bytes of both
    /// were sent.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, io: &mut Io, room: Room<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Empty => io.poll_write_from(cx, room.lead()),
            Self::Held(bytes) => io.poll_write_both(cx, room.lead(), room.of(bytes)),
            Self::H1(answer) => answer.poll_send(cx, io, room),
            Self::H2(answer) => answer.poll_send(cx, io, room),
            Self::Faulted(faulted) => io.poll_write_both(cx, room.lead(), room.of(faulted.piece())),
        }
    }

    /// Takes up to `len` bytes out.
    pub fn take(&mut self, len: usize) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Held(bytes) => bytes.split_to(len.min(bytes.len())),
            Self::H1(answer) => answer.take(len),
            Self::H2(answer) => answer.take(len),
            Self::Faulted(faulted) => faulted.take(len),
        }
    }

    /// The first `n` bytes were sent.
    pub fn consume(&mut self, n: usize) {
        match self {
            Self::Empty => {}
            Self::Held(bytes) => bytes.advance(n.min(bytes.len())),
            Self::H1(answer) => answer.consume(n),
            Self::H2(answer) => answer.consume(n),
            Self::Faulted(faulted) => faulted.consume(n),
        }
    }

    /// The trailers, once they have come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        match self {
            Self::Empty | Self::Held(_) => None,
            Self::H1(answer) => answer.trailers(),
            Self::H2(answer) => answer.trailers(),
            Self::Faulted(faulted) => faulted.trailers(),
        }
    }
}
