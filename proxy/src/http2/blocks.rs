//! How large a block of fields may be on an HTTP/2 connection.
//!
//! `http.max_head_size` and `http.max_headers` hold for heads and trailers over either protocol, and exceeding them
//! is an error that names the limit. The `h2` crate's own limit cannot give that error. Trailers beyond it silently
//! lose fields, perhaps `grpc-status`. A head beyond it is a stream that was reset. So the crate's limit is set high
//! enough that it never drops a field of a message that our limits would accept, and our limits are applied to what
//! comes through.
//!
//! This needs one more bound, on the bytes of a block as they come over the wire (RFC 9113 section 4.3). The crate
//! drops a field with which the list becomes larger than [`list`], and all fields after it. A field is either
//! in HPACK's table, which holds 4 KiB, or spelled out. No letter is spelled with less than five bits (RFC 7541,
//! appendix B), so in a block of `w` bytes no field is longer than 1.6 w. What the crate has kept of a list that lost
//! a field is then longer than `list - 1.6 w`, which is above what a head may have, at 32 bytes a line. A block above
//! the bound ends its connection: HPACK's state is lost with it, and nothing after it could be read. Here it is measured
//! on connections to endpoints; on a client's, where its frames are judged.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::Limits;
use crate::http::parse::MAX_LINES;

/// A connection whose blocks of fields are measured as they come in.
#[derive(Debug)]
pub struct Blocks<T> {
    io: T,
    frames: Frames,
    over: Rc<Cell<bool>>,
}

/// How far the frames of a connection have been read.
#[derive(Debug)]
struct Frames {
    /// How many bytes of a payload are to be skipped.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    /// The size of the block of fields that is under way, or of the last one.
    block: usize,
    most: usize,
}

/// A frame's head: RFC 9113 section 4.1.
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

impl<T> Blocks<T> {
    /// A connection to an endpoint.
    pub fn of_endpoint(io: T, limits: Limits) -> Self {
        let frames = Frames { skip: 0, head: [0; HEAD], have: 0, block: 0, most: most(limits) };
        Self { io, frames, over: Rc::default() }
    }

    /// Set once a block was too large.
    pub fn over(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.over)
    }
}

/// The size of a list of fields from which the `h2` crate may lose some.
pub fn list(limits: Limits) -> u32 {
    u32::try_from(most(limits) / 5 * 8 + limits.bytes + 32 * (MAX_LINES + 8)).unwrap_or(u32::MAX)
}

/// Bytes of one block: room for a head that is too large to be told so.
pub fn most(limits: Limits) -> usize {
    3 * limits.bytes.max(1024)
}

impl Frames {
    /// Reads on. False when a block is too large.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let taken = (HEAD - self.have).min(bytes.len() - skipped);
            let (now, rest) = bytes[skipped..].split_at(taken);
            self.head[self.have..self.have + taken].copy_from_slice(now);
            self.have += taken;
            bytes = rest;
            if self.have < HEAD {
                continue;
            }
            self.have = 0;
            let [a, b, c, kind, ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            match kind {
                HEADERS | PUSH_PROMISE => self.block = self.skip,
                CONTINUATION => self.block += self.skip,
                _ => continue,
            }
            if self.block > self.most {
                return false;
            }
        }
        true
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Blocks<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.frames.read(&buf.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        this.over.set(true);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a block of fields far above `http.max_head_size`")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Blocks<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![(len >> 16) as u8, (len >> 8) as u8, len as u8, kind, 0, 0, 0, 0, 1];
        // A payload that would be the head of a large block, were it taken for one.
        bytes.extend([0xff, 0xff, 0xff, HEADERS, 0, 0, 0, 0, 1].iter().cycle().take(len));
        bytes
    }

    fn frames() -> Frames {
        Frames { skip: 0, head: [0; HEAD], have: 0, block: 0, most: 1000 }
    }

    #[test]
    fn a_block_is_its_headers_and_all_that_continues_them_however_it_arrives() {
        let fits = [frame(0, 5000), frame(HEADERS, 600), frame(CONTINUATION, 400), frame(6, 8), frame(HEADERS, 1000)];
        let [large, larger] = [[frame(HEADERS, 600), frame(CONTINUATION, 401)].concat(), frame(HEADERS, 1001)];
        let wire = fits.concat();
        for piece in [1, 2, 8, 9, 10, 25, 1000, wire.len()] {
            let mut seen = frames();
            assert!(wire.chunks(piece).all(|bytes| seen.read(bytes)), "in pieces of {piece}");
            for over in [&large, &larger] {
                let mut seen = frames();
                assert!(!over.chunks(piece).all(|bytes| seen.read(bytes)), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_was_kept_of_a_list_that_lost_a_field_is_above_the_limits() {
        for bytes in [1024, 32 * 1024, crate::http::head::MAX_HEAD] {
            let limits = Limits { bytes, lines: MAX_LINES };
            let longest = most(limits) * 8 / 5;
            // A line has 32 bytes of overhead there and 4 here.
            let kept = list(limits) as usize - longest - 32;
            assert!(kept - 32 * MAX_LINES > bytes && most(limits) > 2 * bytes, "{bytes}");
        }
    }
}
