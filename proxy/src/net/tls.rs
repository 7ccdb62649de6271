//! TLS under an [`Io`]: records on the socket, plaintext above it.
//!
//! rustls keeps its records in buffers of its own and knows no socket. Three rules make of it what the rest of the program
//! expects of a connection:
//!
//! * **What was written is with the kernel.** Whoever writes to a connection may then wait for something else and never look
//!   at it again, so nothing may be left behind in rustls. A write that the socket does not take whole is therefore answered
//!   with what it has surely taken, and the rest is remembered as `owed`: the caller offers the same bytes again, and they
//!   are not encrypted twice.
//! * **An end is an end only with `close_notify`.** A connection that just stops is an error (`UnexpectedEof`): a body that
//!   ends with its connection would else be whole to us wherever somebody cut it.
//! * **What is no data is no sign of life or death.** A session ticket on an idle connection is taken in, and the
//!   connection is as idle as before.
//!
//! rustls' buffered interface is used, not the unbuffered one: a record costs an allocation and a copy more, and all the
//! turns that a connection may take (key updates, tickets, alerts) are rustls' own affair.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Io, Stream};

#[cfg(not(sim))]
use tokio::net::TcpStream;
#[cfg(sim)]
use turmoil::net::TcpStream;

/// A TCP connection under TLS.
pub(super) struct Tls {
    stream: TcpStream,
    session: Connection,
    /// Ciphertext that has come and that the session has no room for yet.
    rest: Vec<u8>,
    /// Plaintext that waits in the session.
    ready: usize,
    /// Plaintext that was encrypted and of which the caller does not know yet that it was taken.
    owed: usize,
    /// Ciphertext of it that is with the kernel.
    sent: usize,
    /// What the peer sends has come to an end, clean or not.
    ended: bool,
    /// Nothing more is said, not even that this is the end.
    mute: bool,
}

impl Io {
    /// The same connection under TLS, as its server. Its handshake is to come: [`poll_handshake`](Self::poll_handshake).
    /// Only for one that was just accepted.
    pub fn into_tls_server(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        match self.stream {
            Stream::Tcp(stream) => Ok(Self { stream: Stream::Tls(Tls::server(stream, config)?), beside: None }),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The same connection under TLS, as the client of whoever can prove to be `name`. Only for one that was just made.
    pub fn into_tls_client(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        match self.stream {
            Stream::Tcp(stream) => Ok(Self { stream: Stream::Tls(Tls::client(stream, config, name)?), beside: None }),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Ready when the connection can carry data: at once, unless it is under TLS.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tls(tls) => tls.poll_handshake(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// What TLS has agreed upon with the peer; none in cleartext.
    pub fn tls(&self) -> Option<&rustls::Connection> {
        match &self.stream {
            Stream::Tls(tls) => Some(tls.session()),
            _ => None,
        }
    }
}

/// Plaintext that is encrypted at a time.
const WRITE: usize = 64 * 1024;
/// Ciphertext that is read at a time: what a large buffer takes, and what records add to it.
const READ: usize = 68 * 1024;
/// The least that is asked for, however little the caller wants.
const LEAST: usize = 4 * 1024;
/// What a record has beside its plaintext is less than this, with any cipher.
const RECORD: usize = 64;
/// The plaintext of a full record.
const FULL: usize = 16 * 1024;

thread_local! {
    /// What was read, on its way into a session. Nothing stays in it from one read to the next.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("owed", &self.owed).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The socket as rustls wants it: without waiting.
struct Now<'t, 'c, 'w> {
    stream: &'t mut TcpStream,
    cx: &'c mut Context<'w>,
}

impl Read for Now<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(into);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Now<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write_vectored(self.cx, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pending<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl Tls {
    pub(super) fn server(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(stream, Connection::Server(session)))
    }

    pub(super) fn client(
        stream: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Box<Self>> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(stream, Connection::Client(session)))
    }

    fn new(stream: TcpStream, mut session: Connection) -> Box<Self> {
        // A write is bounded where it is made.
        session.set_buffer_limit(None);
        Box::new(Self { stream, session, rest: Vec::new(), ready: 0, owed: 0, sent: 0, ended: false, mute: false })
    }

    #[cfg(not(sim))]
    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn session(&self) -> &Connection {
        &self.session
    }

    /// Whatever becomes of the connection, its peer is not told that it is complete.
    pub(super) fn say_nothing_more(&mut self) {
        self.mute = true;
    }

    /// Ready when both sides know their keys, and what the peer needs for that has been sent.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            if !self.session.is_handshaking() {
                break;
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fetch(cx, LEAST))?;
        }
        self.poll_flush(cx)
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(into) {
                Ok(n) => {
                    self.ready = self.ready.saturating_sub(n);
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.ended => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_fetch(cx, into.len()))?;
        }
    }

    /// Takes in some ciphertext. What it asks to be answered (a key update) goes out as far as it may at once.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<()>> {
        let Self { stream, session, rest, ready, ended, .. } = self;
        let mut taking = Taking { session, rest, ready, ended };
        let fetched = pending(taking.fetch(most, |into| Now { stream: &mut *stream, cx: &mut *cx }.read(into)));
        if self.owed == 0 && self.session.wants_write() {
            // Whether it may or not, and whatever goes wrong: the next read or write finds out.
            let _ = self.poll_flush(cx);
        }
        fetched
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_something() {
            return Poll::Ready(());
        }
        #[cfg(not(sim))]
        return self.stream.poll_read_ready(cx).map(|_| ());
        #[cfg(sim)]
        {
            let _ = cx;
            Poll::Ready(())
        }
    }

    fn has_something(&self) -> bool {
        self.ready > 0 || !self.rest.is_empty() || self.ended
    }

    /// Whether nothing but what is no data has come. `sure`: also what the runtime has not noticed yet.
    pub(super) fn is_idle(&mut self, sure: bool) -> bool {
        loop {
            if self.has_something() {
                return false;
            }
            let Self { stream, session, rest, ready, ended, .. } = self;
            let mut taking = Taking { session, rest, ready, ended };
            #[cfg(not(sim))]
            let taken = match sure {
                true => taking.fetch(LEAST, |into| (&*socket2::SockRef::from(&*stream)).read(into)),
                false => taking.fetch(LEAST, |into| stream.try_read(into)),
            };
            #[cfg(sim)]
            let taken = {
                let _ = sure;
                let mut cx = Context::from_waker(std::task::Waker::noop());
                taking.fetch(LEAST, |into| Now { stream: &mut *stream, cx: &mut cx }.read(into))
            };
            match taken {
                Ok(()) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes some of `lead`, then of `bytes`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, lead: &[u8], bytes: &[u8]) -> Poll<io::Result<usize>> {
        let lead = &lead[..lead.len().min(WRITE)];
        let bytes = &bytes[..bytes.len().min(WRITE - lead.len())];
        if lead.is_empty() && bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.owed == 0 {
            // What rustls has to say for itself goes first.
            ready!(self.poll_flush(cx))?;
            let slices = [IoSlice::new(lead), IoSlice::new(bytes)];
            self.owed = self.session.writer().write_vectored(&slices)?;
            self.sent = 0;
        }
        let flushed = self.poll_flush(cx)?;
        let sure = match flushed {
            Poll::Ready(()) => self.owed,
            // Of what went out so much may have been frames of records; the last byte is not told before all have left.
            Poll::Pending => {
                let frames = RECORD * (self.sent / FULL + 1);
                self.sent.saturating_sub(frames).min(self.owed - 1)
            }
        };
        // Whoever offers less than before gets the rest told when it is offered again.
        let taken = sure.min(lead.len() + bytes.len());
        if taken == 0 {
            return Poll::Pending;
        }
        self.owed -= taken;
        self.sent = self.sent.saturating_sub(taken);
        Poll::Ready(Ok(taken))
    }

    /// Ready when nothing is left in the session.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, session, sent, .. } = self;
        while session.wants_write() {
            match ready!(pending(session.write_tls(&mut Now { stream: &mut *stream, cx: &mut *cx })))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *sent += n,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, and ends our side.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.mute, true) {
            self.session.send_close_notify();
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Tls {
    /// An endpoint is told that its connection is no longer needed. A client is not, unless [`Tls::poll_end`] has done so:
    /// what was dropped here may be in the middle of an answer that ends with its connection.
    fn drop(&mut self) {
        let is_client = matches!(self.session, Connection::Client(_));
        if !is_client || self.mute || self.owed > 0 || self.session.is_handshaking() {
            return;
        }
        self.session.send_close_notify();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_flush(&mut cx);
    }
}

/// The part of a connection that takes in what has come.
struct Taking<'t> {
    session: &'t mut Connection,
    rest: &'t mut Vec<u8>,
    ready: &'t mut usize,
    ended: &'t mut bool,
}

impl Taking<'_> {
    /// Reads once and takes that in. What was left over the last time goes first.
    fn fetch(&mut self, most: usize, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(self.rest);
            return self.take(&rest);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let most = (most + RECORD).clamp(LEAST, scratch.len());
            match read(&mut scratch[..most]) {
                Ok(0) => self.end(),
                Ok(n) => self.take(&scratch[..n]),
                Err(error) => {
                    // A reset is an end as well; whoever reads on learns of it.
                    *self.ended |= error.kind() != io::ErrorKind::WouldBlock;
                    Err(error)
                }
            }
        })
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.session.read_tls(&mut bytes) {
                // Behind `close_notify` nothing counts.
                Ok(0) => break,
                Ok(_) => self.process()?,
                // There is no room for more plaintext until some of it is read.
                Err(error) if error.kind() == io::ErrorKind::Other => {
                    *self.rest = bytes.to_vec();
                    break;
                }
                Err(error) => {
                    *self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        *self.ended = true;
        self.session.read_tls(&mut io::empty())?;
        self.process()
    }

    fn process(&mut self) -> io::Result<()> {
        match self.session.process_new_packets() {
            Ok(state) => {
                *self.ready = state.plaintext_bytes_to_read();
                *self.ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                *self.ended = true;
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}
