//! An endpoint's HTTP/2 connections.
//!
//! One connection carries many requests, so the pool is short. Another connection is opened when all existing ones
//! have reached the endpoint's limit on streams. For a request with a body another one is also opened where uploads
//! stand still on the others: they may have used up the endpoint's window for the connection, which all streams
//! share.
//!
//! One dial is under way at a time, and it belongs to no request. All requests that wait share the connection that it
//! opens, or its failure.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::slow::Terms;
use super::super::{self as upstream, Open, Upstream};
use super::Outbound;
use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::error::Reason;
use crate::http::Limits;
use crate::http2::blocks::{self, Blocks};
use crate::net::Io;
use crate::timer;
use crate::tls::client::Inside;
use crate::upstream::http2::pulse::{Pulse, Watch};

/// A connection to an endpoint that many requests share.
#[derive(Debug)]
pub struct Connection {
    pub(super) sender: RefCell<SendRequest<Outbound>>,
    /// Whether the connection has ended because a block of fields was far too large.
    pub(super) too_large: Rc<Cell<bool>>,
    shared: Rc<Shared>,
    watch: Watch,
    /// The pulse of the task that has the socket. It ends that task a while after this connection is dropped.
    parting: Rc<Pulse>,
}

#[derive(Debug)]
struct Shared {
    /// How many streams are open now.
    streams: Cell<usize>,
    /// How many streams the endpoint allows.
    limit: Cell<usize>,
    over: Cell<bool>,
    /// Whether the connection has carried a request.
    carried: Cell<bool>,
    used: Cell<Instant>,
    /// When the connection was made.
    opened: Instant,
    /// Bodies on their way out.
    uploads: RefCell<Vec<Weak<Pulse>>>,
    /// Whether the endpoint takes extended CONNECT, as far as it has said.
    tunnels: Cell<bool>,
    /// Wakes the task that reads what it has said. hyper tells of it only there, and wakes that task for requests alone.
    driver: RefCell<Option<Waker>>,
    /// Whether it has answered a request, and so has sent its SETTINGS.
    answered: Cell<bool>,
}

/// What a request asks of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// It has a body.
    pub uploads: bool,
    /// It may be sent again where the connection turns out to be dead.
    pub replayable: bool,
}

/// A dial that is under way, shared by all requests that wait for it.
#[derive(Debug, Default)]
pub struct Dial {
    outcome: Cell<Option<Result<(), Reason>>>,
    done: tokio::sync::Notify,
}

impl Dial {
    async fn outcome(&self) -> Result<(), Reason> {
        loop {
            let done = self.done.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            done.await;
        }
    }
}

/// A place for one stream on a connection, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    pub(super) connection: Rc<Connection>,
    pub(super) fresh: bool,
    /// For how long the connection had been idle; none where other streams were open, or it was new.
    idled: Option<Duration>,
}

impl Stream {
    /// Whether the endpoint takes extended CONNECT (RFC 8441 section 3). On a connection that has just opened, what it
    /// says is waited for.
    pub async fn takes_tunnels(&self, bound: Duration) -> bool {
        let shared = &self.connection.shared;
        let until = timer::now() + bound;
        let mut has_said = false;
        while !shared.tunnels.get() && !has_said {
            has_said = shared.answered.get() || timer::now() >= until;
            if let Some(driver) = &*shared.driver.borrow() {
                driver.wake_by_ref();
            }
            tokio::time::sleep(LOOK).await;
        }
        shared.tunnels.get()
    }

    /// The answer has begun, or the connection ended before it did.
    pub(super) fn learn(&self, upstream: &Upstream, lives: bool) {
        self.connection.shared.answered.set(self.connection.shared.answered.get() || lives);
        match self.idled {
            Some(age) if lives => upstream.idle_life.lived(age, timer::now),
            Some(age) => upstream.idle_life.died(self.connection.shared.opened, age, timer::now()),
            None => {}
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let shared = &self.connection.shared;
        shared.streams.set(shared.streams.get().saturating_sub(1));
        shared.used.set(timer::now());
    }
}

impl Connection {
    fn place(self: &Rc<Self>) -> Stream {
        let idled = self.idle_for(timer::now());
        let fresh = !self.shared.carried.replace(true);
        self.shared.streams.set(self.shared.streams.get() + 1);
        Stream { connection: Rc::clone(self), fresh, idled }
    }

    /// Since when a connection that has carried requests carries none.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let is_idle = self.shared.carried.get() && self.shared.streams.get() == 0;
        is_idle.then(|| now.saturating_duration_since(self.shared.used.get()))
    }

    /// Whether the connection has room for another stream. For one that `uploads`, its uploads must not stand still.
    fn has_room(&self, uploads: bool) -> bool {
        let room = !self.shared.over.get() && self.shared.streams.get() < self.shared.limit.get();
        room && !(uploads && self.is_choked())
    }

    /// The connection takes no more streams.
    pub(super) fn end(&self) {
        self.shared.over.set(true);
    }

    /// A pulse for a body on its way out, and the watch that has to be told of it when the body is first polled.
    pub(super) fn watch_upload(&self, idle: Duration) -> (Rc<Pulse>, Watch) {
        let pulse = Pulse::new(idle);
        let mut uploads = self.shared.uploads.borrow_mut();
        uploads.retain(|upload| upload.strong_count() > 0);
        uploads.push(Rc::downgrade(&pulse));
        (pulse, self.watch.clone())
    }

    /// Whether an upload stands still because the endpoint takes nothing, so that there may be no window left for
    /// another.
    fn is_choked(&self) -> bool {
        let uploads = self.shared.uploads.borrow();
        let waits = |pulse: &Weak<Pulse>| pulse.upgrade().and_then(|pulse| pulse.waits_since());
        let Some(since) = uploads.iter().filter_map(waits).min() else { return false };
        timer::now().saturating_duration_since(since) >= CHOKED
    }

    /// Whether the connection has ended, or has been idle for the idle timeout.
    pub fn is_over(&self, idle_timeout: Duration, now: Instant) -> bool {
        let idle =
            self.shared.streams.get() == 0 && now.saturating_duration_since(self.shared.used.get()) >= idle_timeout;
        self.shared.over.get() || idle
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closing means a last write. An endpoint that does not read it must not keep the task.
        self.parting.handed();
    }
}

impl Upstream {
    /// A place on a connection that has room, or on a new connection. `dialled` is called where one is opened for
    /// this request.
    pub async fn h2(
        self: &Rc<Self>,
        policy: &Policy,
        terms: Terms,
        wanted: Wanted,
        dialled: impl FnOnce(),
    ) -> Result<Stream, Reason> {
        let mut dialled = Some(dialled);
        let mut dials = 0;
        loop {
            if let Some(place) = self.h2_place(wanted) {
                return Ok(place);
            }
            let under_way = self.h2_dial.borrow().clone();
            let own = under_way.is_none();
            let dial = under_way.unwrap_or_else(|| self.begin_dial(policy, terms));
            match dial.outcome().await {
                Ok(()) => {}
                // At the cap the request joins an open connection, beyond its limit, and waits there for its turn.
                Err(Reason::ConnectionLimit) => return self.h2_any().ok_or(Reason::ConnectionLimit),
                Err(reason) => return Err(reason),
            }
            if own && let Some(dialled) = dialled.take() {
                dialled();
            }
            dials += u32::from(own);
            if dials > DIALS {
                // It takes connections and ends them at once, so that none of them has a place when it is looked for.
                return self.h2_any().ok_or(Reason::ConnectFailed);
            }
        }
    }

    fn begin_dial(self: &Rc<Self>, policy: &Policy, terms: Terms) -> Rc<Dial> {
        let dial = Rc::new(Dial::default());
        self.h2_dial.replace(Some(Rc::clone(&dial)));
        let (upstream, policy, told) = (Rc::clone(self), policy.clone(), Rc::clone(&dial));
        // Whoever asked first may be gone before it is done; the others wait for it still.
        tokio::task::spawn_local(async move {
            let connected = upstream.connect_h2(&policy, terms).await;
            upstream.h2_dial.take();
            told.outcome.set(Some(connected));
            told.done.notify_waiters();
        });
        dial
    }

    async fn connect_h2(&self, policy: &Policy, terms: Terms) -> Result<(), Reason> {
        let link = self.dial(policy, terms, Inside::Http2).await?;
        let connection = tokio::time::timeout(policy.connect_timeout, handshake(link, terms.limits))
            .await
            .map_err(|_| Reason::ConnectTimeout)?
            .map_err(|_| Reason::ConnectFailed)?;
        self.h2.borrow_mut().push(Rc::new(connection));
        Ok(())
    }

    fn h2_place(&self, wanted: Wanted) -> Option<Stream> {
        let now = timer::now();
        let is_good = |connection: &Connection| {
            let idle = if wanted.replayable { None } else { connection.idle_for(now) };
            idle.is_none_or(|age| age < self.idle_life.good_for(now))
        };
        let connections = self.h2.borrow();
        let mut fit = connections.iter().filter(|connection| connection.has_room(wanted.uploads));
        fit.find(|connection| is_good(connection)).map(Connection::place)
    }

    fn h2_any(&self) -> Option<Stream> {
        let connections = self.h2.borrow();
        let open = connections.iter().filter(|connection| !connection.shared.over.get());
        open.min_by_key(|connection| connection.shared.streams.get()).map(Connection::place)
    }
}

pub async fn handshake(link: upstream::Connection, limits: Limits) -> Result<Connection, hyper::Error> {
    let upstream::Connection { io, open, opened, .. } = link;
    let io = Blocks::of_endpoint(Socket { io, _open: open }, limits);
    let too_large = io.over();
    let (watch, parting) = (Watch::default(), Pulse::new(GRACE));
    // The first task that hyper makes is the socket's.
    watch.next(&parting);
    let (sender, driver) = hyper::client::conn::http2::Builder::new(watch.clone())
        .timer(TokioTimer::new())
        .max_header_list_size(blocks::list(limits))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .handshake(TokioIo::new(io))
        .await?;
    let shared = Rc::new(Shared {
        streams: Cell::new(0),
        limit: Cell::new(FIRST_STREAMS),
        over: Cell::new(false),
        carried: Cell::new(false),
        used: Cell::new(timer::now()),
        opened,
        uploads: RefCell::default(),
        tunnels: Cell::new(false),
        driver: RefCell::default(),
        answered: Cell::new(false),
    });
    let told = Rc::clone(&shared);
    tokio::task::spawn_local(async move {
        let mut driver = std::pin::pin!(driver);
        let ended = std::future::poll_fn(|cx| {
            let polled = driver.as_mut().poll(cx);
            told.limit.set(driver.current_max_send_streams().max(1));
            told.tunnels.set(driver.is_extended_connect_protocol_enabled());
            told.driver.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "an HTTP/2 connection to an endpoint broke");
        }
        told.over.set(true);
    });
    Ok(Connection { sender: RefCell::new(sender), too_large, shared, watch, parting })
}

/// A connection, counted as open for as long as hyper has it.
struct Socket {
    io: Io,
    _open: Open,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What an endpoint may send on a stream before it is read: all that a stream whose reader is slow can hold.
const STREAM_WINDOW: u32 = 256 * 1024;
/// No bound of its own (RFC 9113 section 6.9.1), so that nothing is held back on one stream for what is not read on
/// others: what is held is bounded by the streams (`docs/adr/0014-windows.md`).
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Own dials of one request, at most, whose connections have no place for it.
const DIALS: u32 = 3;
/// An upload of which the endpoint has taken nothing for so long stands still.
const CHOKED: Duration = Duration::from_millis(100);
/// How long a connection that is closed has to say so.
const GRACE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How often is looked at what an endpoint has said, while somebody waits for it.
const LOOK: Duration = Duration::from_millis(1);
/// Until the endpoint has said how many streams it allows.
const FIRST_STREAMS: usize = 100;
