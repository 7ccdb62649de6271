//! Where connections to an admin port come in.
//!
//! Probes and metrics have to be answered whatever other clients do, or an orchestrator restarts a proxy that is well. So
//! there is always room for one more: where all places are taken, the connection that has shown nothing for the longest is
//! closed for it. Waiting in the backlog behind clients that stall would be a way to silence the probes, and places kept
//! back for probes would help nobody before their request was read.
//!
//! Descriptors are kept back as well ([`net::descriptors`](crate::net::descriptors)): the data plane stops short of the
//! process's limit, and an admin port does not.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};

use super::Bound;
use crate::clock::Instant;

/// Connections at one time.
pub(super) const CONNECTIONS: usize = 64;
/// Connections that are sent away before they get to close: few enough that the descriptors that are kept back suffice, and
/// that whoever has just come is not sent away before it was heard.
const LEAVING: usize = 8;
/// What an answer may still take once a connection's time is over.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unread: nobody holds a place by not reading.
const UNREAD: Duration = Duration::from_secs(30);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a request's head, and for the next request on a connection.
    pub head: Duration,
    /// After this long a connection is closed behind its next answer, so that nobody holds a place for good.
    pub life: Option<Duration>,
}

/// A door that is not on its thread yet.
#[derive(Debug)]
pub(super) struct Doorway {
    what: &'static str,
    listener: tokio::net::TcpListener,
    pub loopback: bool,
}

/// Where connections come in, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Door {
    what: &'static str,
    listener: tokio::net::TcpListener,
    seats: RefCell<Vec<Weak<Seat>>>,
    leaving: usize,
    failing: bool,
    /// Until when nothing is accepted, after an error.
    pause: Option<Instant>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    /// When it last asked for something or was answered.
    moved: Cell<Instant>,
    leave: Notify,
}

impl Doorway {
    /// Inside the runtime that it will be used in.
    pub(super) fn new(what: &'static str, bound: Bound) -> io::Result<Self> {
        let loopback = bound.address.ip().is_loopback();
        let listener = tokio::net::TcpListener::from_std(bound.listener)?;
        Ok(Self { what, listener, loopback })
    }
}

impl Door {
    pub(super) fn open(Doorway { what, listener, .. }: Doorway) -> Self {
        Self { what, listener, seats: RefCell::default(), leaving: 0, failing: false, pause: None }
    }

    pub(super) async fn next(&mut self) -> (TcpStream, Rc<Seat>) {
        loop {
            // Nothing is waited for while a connection is in hand: whoever waits for the next one may stop doing so.
            if let Some(until) = self.pause {
                sleep_until(until.into()).await;
                self.pause = None;
            }
            if self.leaving >= LEAVING {
                // Their tasks have to run for their sockets to be closed. Not for each: all others run then as well, and
                // whoever stands at the end of the queue would wait for all of them each time.
                tokio::task::yield_now().await;
                self.leaving = 0;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.failing = false;
                    self.leaving += usize::from(self.make_room(CONNECTIONS));
                    // Where it cannot be set, the life of a connection is the bound.
                    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
                    return (stream, self.seat());
                }
                Err(error) => {
                    // Out of descriptors, mostly: it passes, and one line is enough.
                    if !self.failing {
                        tracing::warn!(%error, "{}: cannot accept", self.what);
                    }
                    self.failing = true;
                    self.make_room(1);
                    self.pause = Some(Instant::now() + Duration::from_millis(100));
                }
            }
        }
    }

    fn seat(&self) -> Rc<Seat> {
        let seat = Rc::new(Seat { moved: Cell::new(Instant::now()), leave: Notify::new() });
        self.seats.borrow_mut().push(Rc::downgrade(&seat));
        seat
    }

    /// Sends the one away that has shown nothing for the longest, where there are as many as that. True when it did.
    fn make_room(&self, most: usize) -> bool {
        let mut seats = self.seats.borrow_mut();
        seats.retain(|seat| seat.strong_count() > 0);
        if seats.len() < most {
            return false;
        }
        let moved = |seat: &Weak<Seat>| seat.upgrade().map(|seat| seat.moved.get());
        let Some(oldest) = (0..seats.len()).min_by_key(|at| moved(&seats[*at])) else { return false };
        if let Some(seat) = seats.swap_remove(oldest).upgrade() {
            seat.leave.notify_one();
        }
        true
    }
}

/// Answers on a connection, to its end or until its place is wanted.
pub(super) async fn converse<F, A>(stream: TcpStream, seat: Rc<Seat>, patience: Patience, respond: F)
where
    F: Fn(Request<Incoming>, SocketAddr) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    let peer = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let answer = service_fn(|request| {
        seat.moved.set(Instant::now());
        let (answer, seat) = (respond(request, peer), &seat);
        async move {
            // One that sends many requests at once has them answered in turn with others.
            tokio::task::yield_now().await;
            let answer = answer.await;
            seat.moved.set(Instant::now());
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(16 << 10);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let talk = async {
        let Some(life) = patience.life else {
            // However it ends: there is nobody to tell.
            let _ended = connection.await;
            return;
        };
        if timeout(life, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            // Whoever has not read the answer by now is cut off.
            let _cut = timeout(LAST_ANSWER, connection).await;
        }
    };
    tokio::select! {
        () = talk => {}
        () = seat.leave.notified() => {}
    }
}
