//! The sockets: only here does anything that carries requests name `TcpStream` and `TcpListener`.
//!
//! Everything above reads and writes through [`Io`], so that a test can put an in-memory pipe in a socket's place
//! (and, under `cfg(sim)`, a simulated network), and so that a connection whose first bytes were read to find out
//! what it speaks can be handed on whole.
//!
//! Two things about readiness are known here and nowhere else. A short read tells tokio that a socket is drained,
//! so a message costs one read, not two. And after a read that fills its buffer exactly, tokio still says
//! "readable": what looks like a dead idle connection is confirmed by a read before it is thrown away.

pub mod accepting;
#[cfg(not(sim))]
pub mod descriptors;
mod listen;
pub mod names;
mod tls;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

#[cfg(not(sim))]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::http::{Buffer, BufferPool};

#[cfg(not(sim))]
use tokio::net::TcpStream;
#[cfg(sim)]
use turmoil::net::TcpStream;

use tls::Tls;

pub use listen::{Bound, Listener, bind_group, hold, tell_failing};

/// A connection, whatever carries it.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    beside: Option<Box<Beside>>,
}

/// What a connection may have beside its stream. One at a time: every byte of an idle connection counts.
#[derive(Debug)]
enum Beside {
    /// Bytes that were read ahead and come before the stream's own: a client's.
    Ahead(Buffer),
    /// What looks after byte-stream faults: a connection to an endpoint.
    Hook(Box<dyn FaultHook>),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    /// The same under TLS.
    Tls(Box<Tls>),
    Pipe(DuplexStream),
    /// What is left of a connection that was moved elsewhere.
    Nowhere,
}

/// What looks after the byte-stream faults of one connection, whose bytes it may move elsewhere.
pub trait FaultHook: std::fmt::Debug + Send {
    /// Whether the faults have changed since it looked. At every look at the connection, so it has to be cheap.
    fn is_stale(&self) -> bool;

    /// Looks at what there is.
    fn look(&mut self);

    /// Whether a fault ends the connection.
    fn is_down(&self) -> bool;

    /// Whether a fault acts on the connection, or may yet.
    fn is_struck(&self) -> bool;

    /// Whoever waits for the connection is woken when the faults change.
    fn remember(&self, cx: &Context<'_>);

    /// Carries the connection's bytes from now on: `near` is the end of the pipe that was put in its place.
    fn divert(self: Box<Self>, near: Io, far: Io);
}

/// Whether a connection could not be made for something that is lacking here: descriptors, memory, local ports. The other
/// side has nothing to do with it.
pub fn is_own_lack(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let ours = [EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL, EAGAIN];
    error.raw_os_error().is_some_and(|code| ours.contains(&code))
}

/// Whether there was nothing to read, and may be later.
#[cfg(not(sim))]
fn is_drained(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Io {
    /// Dials an address.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        #[cfg(not(sim))]
        descriptors::within_reach(&stream)?;
        stream.set_nodelay(true)?;
        Ok(Self::tcp(stream))
    }

    /// One end of an in-memory pipe.
    pub fn pipe(end: DuplexStream) -> Self {
        Self { stream: Stream::Pipe(end), beside: None }
    }

    /// The socket, where it is one.
    #[cfg(not(sim))]
    #[inline]
    fn socket(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(tls) => Some(tls.socket()),
            Stream::Pipe(_) | Stream::Nowhere => None,
        }
    }

    /// Closes with a reset: what was not sent is lost, and the peer knows it.
    pub fn abort(mut self) {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.say_nothing_more();
        }
        self.reset_at_close();
    }

    /// Whenever it is closed, and by whomever, that will be a reset.
    pub fn reset_at_close(&self) {
        #[cfg(not(sim))]
        if let Some(stream) = self.socket() {
            // Where it fails the connection is closed all the same.
            let _ = stream.set_zero_linger();
        }
    }

    /// Throws away what has come and was not read, a few buffers at most: closing over it would be a reset, and the peer would
    /// lose what was sent last.
    pub fn read_away(&mut self, pool: &BufferPool) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..4 {
            if self.poll_readable(&mut cx).is_pending() {
                return;
            }
            let Ok(mut buffer) = pool.take() else { return };
            let read = self.poll_read_into(&mut cx, buffer.spare());
            pool.give(buffer);
            if !matches!(read, Poll::Ready(Ok(n)) if n > 0) {
                return;
            }
        }
    }

    /// The same connection, under the faults of its service.
    pub fn hooked(mut self, hook: Box<dyn FaultHook>) -> Self {
        self.beside = Some(Box::new(Beside::Hook(hook)));
        self.obey();
        self
    }

    /// Looks whether the faults have changed. At every look at the connection.
    #[inline]
    fn heed(&mut self) {
        if let Some(Beside::Hook(hook)) = self.beside.as_deref_mut()
            && hook.is_stale()
        {
            hook.look();
            self.obey();
        }
    }

    #[cold]
    fn obey(&mut self) {
        let acts =
            |beside: &mut Box<Beside>| matches!(&**beside, Beside::Hook(hook) if hook.is_down() || hook.is_struck());
        let Some(Beside::Hook(hook)) = self.beside.take_if(acts).map(|beside| *beside) else { return };
        if hook.is_down() {
            std::mem::replace(self, Self::nowhere()).abort();
            return;
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let far = Self { stream: std::mem::replace(&mut self.stream, Stream::Pipe(ours)), beside: None };
        hook.divert(Self::pipe(theirs), far);
    }

    /// Whoever waits is woken when the faults change.
    #[inline]
    fn waits<T>(&self, cx: &Context<'_>, polled: Poll<T>) -> Poll<T> {
        if let (Some(Beside::Hook(hook)), Poll::Pending) = (self.beside.as_deref(), &polled) {
            hook.remember(cx);
        }
        polled
    }

    /// Takes the place of a connection that is moved elsewhere: at its end, and deaf.
    pub fn nowhere() -> Self {
        Self { stream: Stream::Nowhere, beside: None }
    }

    fn tcp(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), beside: None }
    }

    /// Takes over a connection that another worker accepted.
    pub fn adopt(loose: Loose) -> io::Result<Self> {
        #[cfg(not(sim))]
        let stream = TcpStream::from_std(loose.0)?;
        #[cfg(sim)]
        let stream = loose.0;
        Ok(Self::tcp(stream))
    }

    /// Lets go of the socket, so that another worker can adopt it. Only for one that was just accepted.
    pub fn release(self) -> io::Result<Loose> {
        match self.stream {
            #[cfg(not(sim))]
            Stream::Tcp(stream) => stream.into_std().map(Loose),
            #[cfg(sim)]
            Stream::Tcp(stream) => Ok(Loose(stream)),
            Stream::Tls(_) | Stream::Pipe(_) | Stream::Nowhere => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The same connection, with bytes that were read from it put back.
    pub fn with_ahead(mut self, ahead: Buffer) -> Self {
        if !ahead.is_empty() {
            self.beside = Some(Box::new(Beside::Ahead(ahead)));
        }
        self
    }

    /// Reads at least one byte into `into`; 0 at the end of the stream.
    pub fn poll_read_into(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(Beside::Ahead(ahead)) = self.beside.as_deref_mut() {
            let n = ahead.len().min(into.len());
            into[..n].copy_from_slice(&ahead.bytes()[..n]);
            ahead.consume(n);
            if ahead.is_empty() {
                self.beside = None;
            }
            return Poll::Ready(Ok(n));
        }
        self.heed();
        if let Stream::Tls(tls) = &mut self.stream {
            let read = tls.poll_read(cx, into);
            return self.waits(cx, read);
        }
        let mut buf = ReadBuf::new(into);
        let read = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Stream::Pipe(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Stream::Tls(_) | Stream::Nowhere => Poll::Ready(Ok(())),
        };
        ready!(self.waits(cx, read))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ready when a read may give something; it may still turn out not to. A buffer is taken only after this.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.look(cx);
        self.waits(cx, polled)
    }

    #[inline]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.heed();
        match &mut self.stream {
            _ if matches!(self.beside.as_deref(), Some(Beside::Ahead(_))) => Poll::Ready(()),
            #[cfg(not(sim))]
            // An error comes up again at the read.
            Stream::Tcp(stream) => stream.poll_read_ready(cx).map(|_| ()),
            Stream::Tls(tls) => tls.poll_readable(cx),
            _ => {
                let _ = cx;
                Poll::Ready(())
            }
        }
    }

    /// Whether an idle connection is still one: open, and nothing has come on it. Costs no system call while that
    /// is so. Under TLS what has come is read: it may be a session ticket.
    pub fn is_idle(&mut self) -> bool {
        self.heed();
        if let Stream::Tls(tls) = &mut self.stream
            && self.beside.as_deref().is_none_or(|beside| !matches!(beside, Beside::Ahead(_)))
        {
            return tls.is_idle(false);
        }
        #[cfg(not(sim))]
        if let Stream::Tcp(stream) = &self.stream
            && !matches!(self.beside.as_deref(), Some(Beside::Ahead(_)))
        {
            // Nobody waits here, so nobody takes the place of whoever does.
            return stream.try_io(Interest::READABLE, || Ok(())).is_err() || is_drained(stream.try_read(&mut [0]));
        }
        let mut cx = Context::from_waker(Waker::noop());
        if self.look(&mut cx).is_pending() {
            return true;
        }
        let mut byte = [0; 1];
        self.poll_read_into(&mut cx, &mut byte).is_pending()
    }

    /// As [`is_idle`](Self::is_idle), at the price of a system call: what arrived since the worker last looked counts, too.
    pub fn is_surely_idle(&mut self) -> bool {
        if let Stream::Tls(tls) = &mut self.stream
            && !tls.is_idle(true)
        {
            return false;
        }
        #[cfg(not(sim))]
        if let Stream::Tcp(stream) = &self.stream {
            let mut byte = [std::mem::MaybeUninit::uninit()];
            let seen = socket2::SockRef::from(stream).peek(&mut byte);
            if !is_drained(seen) {
                return false;
            }
        }
        self.is_idle()
    }

    /// Whether the peer has left, be it that what it sent before has not been read: by a reset, or by its end, too, unless it
    /// may end its side alone. At the price of a system call.
    pub fn has_left(&self, half_close: bool) -> bool {
        #[cfg(not(sim))]
        if let Some(stream) = self.socket() {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            use std::os::fd::AsFd;
            // Errors and the end of both sides are told without being asked for.
            let asked = if half_close { 0 } else { nix::libc::POLLRDHUP };
            let mut ends = [PollFd::new(stream.as_fd(), PollFlags::from_bits_retain(asked))];
            return poll(&mut ends, PollTimeout::ZERO).is_ok_and(|told| told > 0);
        }
        let _ = half_close;
        false
    }

    /// Writes some of `bytes`.
    pub fn poll_write_from(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heed();
        // What is short nearly always fits, and tokio need not be told who would wait if it did not.
        #[cfg(not(sim))]
        if let Stream::Tcp(stream) = &self.stream
            && bytes.len() <= SHORT
        {
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(tls) => tls.poll_write(cx, &[], bytes),
            Stream::Pipe(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Nowhere => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        self.waits(cx, polled)
    }

    /// Writes some of `bytes`, the last before the end: the kernel may keep them for the moment until the end is said or the
    /// connection closed, so that both leave in one segment.
    pub fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        #[cfg(not(sim))]
        if let (Stream::Tcp(stream), None) = (&self.stream, &self.beside) {
            loop {
                ready!(stream.poll_write_ready(cx))?;
                let send = || socket2::SockRef::from(stream).send_with_flags(bytes, nix::libc::MSG_MORE);
                match stream.try_io(Interest::WRITABLE, send) {
                    // That it is not ready is known now, and waited for.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            }
        }
        self.poll_write_from(cx, bytes)
    }

    /// Writes some of `lead`, then of `bytes`.
    pub fn poll_write_both(&mut self, cx: &mut Context<'_>, lead: &[u8], bytes: &[u8]) -> Poll<io::Result<usize>> {
        if lead.is_empty() {
            return self.poll_write_from(cx, bytes);
        }
        if bytes.is_empty() {
            return self.poll_write_from(cx, lead);
        }
        let slices = [IoSlice::new(lead), IoSlice::new(bytes)];
        self.heed();
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, &slices),
            Stream::Tls(tls) => tls.poll_write(cx, lead, bytes),
            Stream::Pipe(stream) => Pin::new(stream).poll_write_vectored(cx, &slices),
            Stream::Nowhere => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        self.waits(cx, polled)
    }

    /// Writes some of `lead`, then of the first `len` bytes of `buffer`: in one piece, by putting `lead` in front
    /// of them, wherever there is room (two pieces cost a microsecond more).
    pub fn poll_write_fronted(
        &mut self,
        cx: &mut Context<'_>,
        lead: &[u8],
        buffer: &mut Buffer,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        if !lead.is_empty() && buffer.write_before(0, lead) {
            return self.poll_write_from(cx, buffer.from_front(lead.len(), 0, len));
        }
        self.poll_write_both(cx, lead, &buffer.bytes()[..len.min(buffer.len())])
    }

    /// Ends our side of the stream.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(tls) => tls.poll_end(cx),
            Stream::Pipe(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Nowhere => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if matches!(self.beside.as_deref(), Some(Beside::Ahead(_))) || matches!(self.stream, Stream::Tls(_)) {
            let n = ready!(self.poll_read_into(cx, buf.initialize_unfilled()))?;
            buf.advance(n);
            return Poll::Ready(Ok(()));
        }
        self.heed();
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Pipe(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(_) | Stream::Nowhere => Poll::Ready(Ok(())),
        };
        self.waits(cx, polled)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.heed();
        if let Stream::Tls(_) = &self.stream {
            let first = bufs.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write_from(cx, first);
        }
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Pipe(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(_) | Stream::Nowhere => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        self.waits(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        // Copying a frame together is cheaper than a vectored send of small pieces.
        false
    }
}

/// A connection on its way from one worker's runtime to another's.
#[derive(Debug)]
pub struct Loose(#[cfg(not(sim))] std::net::TcpStream, #[cfg(sim)] TcpStream);

/// Bytes that a socket takes at once unless its peer has stopped reading. Of more it may take a part, and tokio should see that
/// to spare the next attempt.
#[cfg(not(sim))]
const SHORT: usize = 8 * 1024;
/// What stands in a pipe between a faulted connection and whoever uses it.
const PIPE: usize = 64 * 1024;

#[cfg(all(test, not(sim)))]
mod tests;
