//! The bytes of a client's HTTP/2 connection: gathered on their way out, and watched for the connection's deadlines.
//!
//! The `h2` crate writes each frame by itself, in two writes where it does not copy the payload. Eight answers that
//! are ready together would be sixteen system calls and eight packets. So what the crate writes is gathered here. It
//! leaves when the connection's task has nothing more to do ([`Line::poll_drained`]), or when much has been gathered.
//! A large payload is not copied: it goes out behind what was gathered, in the same call.
//!
//! The deadlines need to know two things: whether a head has begun and does not end, and when a byte of an answer
//! last left. Both are seen in the frames. A frame says in nine bytes what it is and how long (RFC 9113 section 4.1),
//! so frames are counted off as they pass. A PING, a WINDOW_UPDATE or SETTINGS are no progress, whoever sends them.
//!
//! Each frame is judged as it passes ([`Guard`]). With one too many, nothing is read any more, and the connection's
//! task ends the connection. Nor does a turn of that task take in more than [`A_TURN`] frames: whoever sends without
//! a pause takes turns with the other connections of the worker.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::{Abuse, CONTINUATION, DATA, FrameHead, GOAWAY, Guard, HEADERS, RST_STREAM};
use crate::clock::Instant;
use crate::http::Pools;
use crate::net::Io;
use crate::timer;

/// What the deadlines need to know of the frames that have passed.
#[derive(Debug)]
pub struct Seen {
    /// When a frame other than DATA, or a head of several frames, began that has not ended yet.
    pub unfinished: Cell<Option<Instant>>,
    /// When a byte of an answer's body last went out.
    pub sent: Cell<Instant>,
    /// When anything last came from the client.
    pub came: Cell<Instant>,
}

/// The `h2` crate's end of a connection.
#[derive(Debug)]
pub struct Wire(Rc<RefCell<Line>>);

/// A connection whose frames are looked at.
#[derive(Debug)]
pub struct Line {
    io: Io,
    seen: Rc<Seen>,
    reads: Frames,
    writes: Frames,
    guard: Guard,
    abuse: Option<Abuse>,
    /// How many frames the task's turn has taken in.
    turn: u32,
    pools: Rc<Pools>,
    /// What was gathered. Bytes before `left` have left.
    gathered: Vec<u8>,
    left: usize,
}

/// How much is gathered at most. A write beyond that goes out at once, behind what was gathered, and waits for the
/// socket.
const GATHERED: usize = 16 * 1024;
/// How many frames a turn of the connection's task takes in, and what has come with the last of them.
const A_TURN: u32 = 128;
/// How much is read at once behind the payload that is under way.
const A_READ: usize = 2 * 1024;
/// The slices that the `h2` crate offers at once: a frame's head and its payload.
const SLICES: usize = 4;

impl Wire {
    /// A client's connection, from its preface on. Returns the `h2` crate's end, the end of the connection's task,
    /// and what is seen of the frames.
    pub fn new(io: Io, pools: &Rc<Pools>) -> (Self, Rc<RefCell<Line>>, Rc<Seen>) {
        let now = timer::now();
        let seen = Rc::new(Seen { unfinished: Cell::new(None), sent: Cell::new(now), came: Cell::new(now) });
        let reads = Frames { skip: crate::http2::PREFACE.len() as u32, ..Frames::default() };
        let line = Line {
            io,
            seen: Rc::clone(&seen),
            reads,
            writes: Frames::default(),
            guard: Guard::new(pools.limits),
            abuse: None,
            turn: 0,
            pools: Rc::clone(pools),
            gathered: Vec::new(),
            left: 0,
        };
        let line = Rc::new(RefCell::new(line));
        (Self(Rc::clone(&line)), line, seen)
    }
}

impl Line {
    /// The task's turn begins.
    pub fn begin_turn(&mut self) {
        self.turn = 0;
    }

    /// Whether nothing more is read in this turn.
    pub fn has_had_its_turn(&self) -> bool {
        self.turn >= A_TURN || self.abuse.is_some()
    }

    /// What the connection has to end for.
    pub fn abuse(&self) -> Option<Abuse> {
        self.abuse
    }

    /// What GOAWAY has said to the client, as far as it has gone out.
    pub fn said(&self) -> &[u8] {
        &self.writes.said
    }

    /// Ready when all that was written has left.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.gathered.len() {
            ready!(self.poll_send(cx, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered and then `follows`, as far as the socket has room. Returns how much of `follows` was
    /// sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, follows: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let waiting = &self.gathered[self.left..];
        let mut slices = [IoSlice::new(waiting); SLICES + 1];
        let count = follows.len().min(SLICES);
        slices[1..=count].copy_from_slice(&follows[..count]);
        let polled = match count {
            0 => self.io.poll_write_from(cx, waiting),
            _ => Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..=count]),
        };
        let n = ready!(polled)?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_gathered = n.min(waiting.len());
        let Self { writes, guard, abuse, .. } = self;
        let mut judge = |seen| match seen {
            Passes::Frame(frame) => guard.went(frame),
            Passes::Reset(code) => *abuse = abuse.or(guard.resets(code).err()),
        };
        let mut passed = writes.pass(&self.gathered[self.left..][..of_gathered], &mut judge).data;
        let mut rest = n - of_gathered;
        for slice in follows {
            let of_slice = rest.min(slice.len());
            passed |= writes.pass(&slice[..of_slice], &mut judge).data;
            rest -= of_slice;
        }
        if passed {
            self.seen.sent.set(timer::now());
        }
        self.left += of_gathered;
        if self.left == self.gathered.len() {
            self.left = 0;
            self.pools.scratch.give(std::mem::take(&mut self.gathered));
        }
        Poll::Ready(Ok(n - of_gathered))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bufs = &bufs[..bufs.len().min(SLICES)];
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        while self.gathered.len() + len > GATHERED {
            let sent = ready!(self.poll_send(cx, bufs))?;
            if sent > 0 {
                return Poll::Ready(Ok(sent));
            }
        }
        if len > 0 && self.gathered.capacity() == 0 {
            self.gathered = self.pools.scratch.take();
        }
        bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
        Poll::Ready(Ok(len))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        if line.has_had_its_turn() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // A body comes in large reads. Of small frames not more come at once than a turn takes.
        let most = (line.reads.left as usize + A_READ).min(buf.remaining());
        let into = buf.initialize_unfilled_to(most);
        let n = ready!(line.io.poll_read_into(cx, into))?;
        let Line { reads, guard, abuse, turn, .. } = line;
        let passed = reads.pass(&into[..n], |seen| {
            if let Passes::Frame(frame) = seen {
                *turn += 1;
                *abuse = abuse.or_else(|| guard.came(frame).err());
            }
        });
        if abuse.is_some() {
            // The `h2` crate need not see what has come with the frame that was one too many.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        buf.advance(n);
        let (now, since) = (timer::now(), line.seen.unfinished.get());
        line.seen.came.set(now);
        line.seen.unfinished.set(match line.reads.is_midway() {
            false => None,
            true if passed.finished || since.is_none() => Some(now),
            true => since,
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bufs)
    }

    /// Does nothing: the `h2` crate flushes behind every frame with a payload, and the connection's task decides when
    /// to send.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        ready!(line.poll_drained(cx))?;
        Pin::new(&mut line.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// How far the frames of one direction have been counted off.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes that still come before the first frame (the preface).
    skip: u32,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: u32,
    /// The current frame's type.
    kind: u8,
    /// As much of its payload as has passed, if it is RST_STREAM.
    code: u32,
    /// The payloads of GOAWAY frames.
    said: Vec<u8>,
    /// Whether a head goes on in the next frame.
    goes_on: bool,
}

/// What is seen as frames pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    Frame(FrameHead),
    /// A stream is reset, with this code.
    Reset(u32),
}

/// What was found among some bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Passed {
    /// At least a byte of a DATA frame's payload.
    data: bool,
    /// The end of a frame or a head that had begun.
    finished: bool,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Passes)) -> Passed {
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
                each(Passes::Frame(FrameHead { kind: self.kind, len: self.left }));
            } else {
                let n = bytes.len().min(self.left as usize);
                self.left -= n as u32;
                if self.kind == RST_STREAM {
                    self.code = bytes[..n].iter().fold(self.code, |code, byte| code << 8 | u32::from(*byte));
                    if self.left == 0 {
                        each(Passes::Reset(self.code));
                    }
                }
                if self.kind == GOAWAY && self.said.len() < GOODBYE {
                    self.said.extend_from_slice(&bytes[..n.min(GOODBYE)]);
                }
                bytes = &bytes[n..];
            }
            passed.data |= self.kind == DATA;
            passed.finished |= !self.is_midway();
        }
        passed
    }

    fn begin(&mut self) {
        self.have = 0;
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.kind = kind;
        self.code = 0;
        if kind == HEADERS || kind == CONTINUATION {
            self.goes_on = flags & END_HEADERS == 0;
        }
    }

    /// Whether a frame or a head has begun that has to end soon. A body has no such deadline here.
    fn is_midway(&self) -> bool {
        self.have > 0 || self.goes_on || self.left > 0 && self.kind != DATA
    }
}

/// A frame's head.
const HEAD: usize = 9;
/// How much of a GOAWAY is remembered, about.
const GOODBYE: usize = 64;
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
                let passed = frames.pass(&[*byte], |_| {});
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
        assert_eq!(frames.pass(&all, |_| {}), Passed { data: true, finished: true });
        assert!(frames.is_midway());
    }

    /// What can be read at the other end at this moment.
    fn there(stream: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while Pin::new(&mut *stream).poll_read(&mut cx, &mut buffer).is_ready() && buffer.remaining() > 0 {}
        buffer.filled().to_vec()
    }

    #[test]
    fn small_frames_leave_together_when_they_are_let_go_and_large_ones_take_them_along() {
        let (ours, mut theirs) = tokio::io::duplex(40_000);
        let budget = crate::http::Budget::new(1 << 20);
        let pools = Rc::new(Pools::new(crate::http::Limits::default(), &budget));
        let (mut wire, line, _) = Wire::new(Io::pipe(ours), &pools);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let small = frame(DATA, 1, &[7; 1024]);
        for _ in 0..8 {
            let (head, payload) = small.split_at(HEAD);
            let slices = [IoSlice::new(head), IoSlice::new(payload)];
            assert!(matches!(Pin::new(&mut wire).poll_write_vectored(&mut cx, &slices), Poll::Ready(Ok(1033))));
            assert!(Pin::new(&mut wire).poll_flush(&mut cx).is_ready());
        }
        assert!(there(&mut theirs).is_empty());
        assert!(line.borrow_mut().poll_drained(&mut cx).is_ready());
        assert_eq!(there(&mut theirs), small.repeat(8));

        // Behind what is small, and as far as there is room for it.
        assert!(Pin::new(&mut wire).poll_write(&mut cx, &small).is_ready());
        let large = frame(DATA, 1, &[8; 60_000]);
        let mut sent = 0;
        let mut got = Vec::new();
        while sent < large.len() {
            match Pin::new(&mut wire).poll_write(&mut cx, &large[sent..]) {
                Poll::Ready(n) => sent += n.unwrap(),
                Poll::Pending => got.extend(there(&mut theirs)),
            }
        }
        while line.borrow_mut().poll_drained(&mut cx).is_pending() {
            got.extend(there(&mut theirs));
        }
        got.extend(there(&mut theirs));
        assert!(got == [small, large].concat());
    }
}
