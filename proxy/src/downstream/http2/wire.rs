//! What passes over a client's HTTP/2 connection, as far as its deadlines have to know.
//!
//! hyper tells of whole requests only. Whether a head has begun that does not end, and whether a byte of an answer has
//! left since a moment, is seen in the frames themselves: a frame says in nine bytes what it is and how long (RFC 9113
//! section 4.1), so they are counted off as they pass, and nothing is held or copied. A PING, a WINDOW_UPDATE or SETTINGS
//! are no progress, whoever sends them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Instant;
use crate::net::Io;
use crate::timer;

/// What was seen of a connection.
#[derive(Debug)]
pub struct Seen {
    /// Since when a frame that is no DATA, or a head of several frames, has begun and not ended.
    pub unfinished: Cell<Option<Instant>>,
    /// When something of an answer's body last went out.
    pub sent: Cell<Instant>,
}

/// A connection whose frames are looked at.
#[derive(Debug)]
pub struct Wire {
    io: Io,
    seen: Rc<Seen>,
    reads: Frames,
    writes: Frames,
}

impl Wire {
    /// A client's connection, from its preface on.
    pub fn new(io: Io) -> (Self, Rc<Seen>) {
        let seen = Rc::new(Seen { unfinished: Cell::new(None), sent: Cell::new(timer::now()) });
        let reads = Frames { skip: super::PREFACE.len() as u32, ..Frames::default() };
        (Self { io, seen: Rc::clone(&seen), reads, writes: Frames::default() }, seen)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let passed = self.reads.pass(&buf.filled()[before..]);
        let since = self.seen.unfinished.get();
        self.seen.unfinished.set(match self.reads.is_midway() {
            false => None,
            true if passed.finished || since.is_none() => Some(timer::now()),
            true => since,
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        if self.writes.pass(&buf[..n]).data {
            self.seen.sent.set(timer::now());
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where one direction stands.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes that come before the first frame.
    skip: u32,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: u32,
    /// Whether the frame that comes is DATA.
    is_data: bool,
    /// Whether a head goes on in the next frame.
    goes_on: bool,
}

/// What was among some bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Passed {
    /// Something of a DATA frame.
    data: bool,
    /// The end of something that had begun.
    finished: bool,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = bytes.len().min(self.skip as usize);
                self.skip -= n as u32;
                bytes = &bytes[n..];
                continue;
            }
            if self.left == 0 {
                let n = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < HEAD {
                    break;
                }
                self.begin();
            } else {
                let n = bytes.len().min(self.left as usize);
                self.left -= n as u32;
                bytes = &bytes[n..];
            }
            passed.data |= self.is_data;
            passed.finished |= !self.is_midway();
        }
        passed
    }

    fn begin(&mut self) {
        self.have = 0;
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.is_data = kind == DATA;
        if kind == HEADERS || kind == CONTINUATION {
            self.goes_on = flags & END_HEADERS == 0;
        }
    }

    /// Whether something has begun that has to be ended soon. A body takes the time that it takes.
    fn is_midway(&self) -> bool {
        self.have > 0 || self.goes_on || self.left > 0 && !self.is_data
    }
}

/// A frame's head.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn what_has_begun_and_not_ended_is_known_after_every_byte() {
        let sent = [
            (frame(4, 0, b"settin"), false),
            (frame(HEADERS, 0, b"half a head"), true),
            (frame(CONTINUATION, 0, b""), true),
            (frame(CONTINUATION, END_HEADERS, b"the rest"), false),
            (frame(DATA, 0, b"a body"), false),
            (frame(6, 0, b"a ping.."), false),
        ];
        let mut frames = Frames::default();
        for (bytes, after) in sent {
            let is_data = bytes[3] == DATA;
            for (at, byte) in bytes.iter().enumerate() {
                let passed = frames.pass(&[*byte]);
                let last = at + 1 == bytes.len();
                let midway = if last { after } else { !is_data || at + 1 < HEAD };
                assert_eq!(frames.is_midway(), midway, "{bytes:?} at {at}");
                assert_eq!(passed.data, is_data && at + 1 >= HEAD, "{bytes:?} at {at}");
            }
        }
    }

    #[test]
    fn many_frames_at_once_are_told_apart() {
        let mut frames = Frames { skip: 3, ..Frames::default() };
        let all = [b"PRI".to_vec(), frame(4, 0, b""), frame(DATA, 1, b"xyz"), frame(HEADERS, 0, b"h")].concat();
        assert_eq!(frames.pass(&all), Passed { data: true, finished: true });
        assert!(frames.is_midway());
    }
}
