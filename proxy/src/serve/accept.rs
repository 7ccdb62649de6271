//! How connections come in, and which worker gets them.
//!
//! Each worker accepts on a socket of its own. A connection goes to the worker that [`worker::connection_balancer`]
//! names, which is nearly always the one that accepted it; that module says why it may be another. From then on the
//! connection has one task of its own, which finds out what the client speaks and serves it until its end.
//!
//! [`worker::connection_balancer`]: crate::worker::connection_balancer

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::downstream::connection::Conn;
use crate::downstream::{http2, tls};
use crate::drain::Phase;
use crate::http::{Buffer, BufferPool};
use crate::http2::PREFACE;
use crate::net::accepting::{OUT_OF_FILES, is_of_one_connection};
use crate::net::{Bound, Io, Listener};
use crate::request::fields::Client;
use crate::request::{self, Entrance};
use crate::timer::{self, Timer};
use crate::tls::server::Acceptor;
use crate::worker::Worker;
use crate::worker::connection_balancer::{ConnectionPermit, FULL, Handed};
use crate::worker::presence::{Among, Does, Presence};

/// A bound socket on its way to its worker.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub socket: Bound,
    /// What holds for every request on it, if anything does.
    pub entrance: Option<Entrance>,
    /// TLS; none for cleartext.
    pub tls: Option<Arc<Acceptor>>,
}

impl Socket {
    /// Registers it with this thread's runtime.
    pub fn register(self) -> Option<Place> {
        match Listener::register(self.socket) {
            Ok(listener) => {
                let entry = Entry { entrance: self.entrance.map(Rc::new), tls: self.tls };
                Some(Place { listener, entry: Rc::new(entry) })
            }
            Err(error) => {
                tracing::error!(%error, "a listening socket could not be registered");
                None
            }
        }
    }
}

/// Where connections are accepted.
#[derive(Debug)]
pub struct Place {
    /// The socket.
    pub listener: Listener,
    /// What holds for all connections that come in by it.
    pub entry: Rc<Entry>,
}

/// What holds for all connections of a listener.
#[derive(Debug, Default)]
pub struct Entry {
    /// What holds for every request, if anything does.
    pub entrance: Option<Rc<Entrance>>,
    /// TLS; none for cleartext.
    pub tls: Option<Arc<Acceptor>>,
}

/// Accepts until the process closes. After that it accepts what waits in the backlog, which would be reset otherwise.
pub async fn accept<M, F>(worker: Rc<Worker>, place: Place, slots: Rc<Slots<M, F>>, alive: Rc<()>)
where
    M: Fn(Rc<Conn>) -> F + 'static,
    F: Future<Output = bool> + 'static,
{
    let mut drained = worker.drained.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = place.listener.accept() => accepted,
            () = drained.reached(Phase::Closing) => break,
        };
        match accepted {
            // Before a handshake there is nothing that a client of TLS would understand.
            Ok((_, _)) if worker.pools.buffers.budget().is_spent() && place.entry.tls.is_some() => {
                worker.turn_away(None)
            }
            Ok((io, _)) if worker.pools.buffers.budget().is_spent() => worker.turn_away(Some(io)),
            Ok((io, peer)) => {
                let permit = loop {
                    match worker.balancer().place(worker.index) {
                        Some(permit) => break permit,
                        // All permits are taken. Idle connections are closed, and this one waits for a permit; the next
                        // ones wait in the kernel's backlog.
                        None => {
                            let own = worker.balancer().connections(worker.index);
                            worker.make_room(Among::All, (own / 64).max(1), timer::now());
                            tokio::time::sleep(FULL).await;
                        }
                    }
                };
                settle(&worker, io, peer, &place.entry, &slots, permit, &alive);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                crate::net::tell_failing(&error);
                tokio::time::sleep(OUT_OF_FILES).await;
            }
        }
    }
    while let Some((io, peer)) = place.listener.accept_now() {
        let Some(permit) = worker.balancer().place(worker.index) else { break };
        settle(&worker, io, peer, &place.entry, &slots, permit, &alive);
    }
}

/// Takes in connections that other workers hand over.
pub async fn take_over<M, F>(
    worker: Rc<Worker>,
    mut queue: mpsc::Receiver<Handed>,
    slots: Rc<Slots<M, F>>,
    alive: Rc<()>,
) where
    M: Fn(Rc<Conn>) -> F + 'static,
    F: Future<Output = bool> + 'static,
{
    let held = alive;
    let alive = Rc::downgrade(&held);
    drop(held);
    while let Some(Handed { stream, peer, entrance, tls, permit }) = queue.recv().await {
        let (Ok(io), Some(alive)) = (Io::adopt(stream), alive.upgrade()) else { continue };
        let entry = Rc::new(Entry { entrance: entrance.map(Rc::new), tls });
        tokio::task::spawn_local(connection(Rc::clone(&worker), io, peer, entry, Rc::clone(&slots), permit, alive));
    }
}

fn settle<M, F>(
    worker: &Rc<Worker>,
    io: Io,
    peer: SocketAddr,
    entry: &Rc<Entry>,
    slots: &Rc<Slots<M, F>>,
    permit: ConnectionPermit,
    alive: &Rc<()>,
) where
    M: Fn(Rc<Conn>) -> F + 'static,
    F: Future<Output = bool> + 'static,
{
    let balancer = Arc::clone(worker.balancer());
    let queue = balancer
        .queues
        .get(permit.worker)
        .filter(|_| permit.worker != worker.index)
        .and_then(|queue| queue.try_reserve().ok());
    if let Some(queue) = queue {
        // Where the socket cannot be deregistered from this runtime, the connection is lost.
        if let Ok(stream) = io.release() {
            let (entrance, tls) = (entry.entrance.as_deref().cloned(), entry.tls.clone());
            queue.send(Handed { stream, peer, entrance, tls, permit });
        }
        return;
    }
    let permit = permit.at(worker.index);
    let task = connection(Rc::clone(worker), io, peer, Rc::clone(entry), Rc::clone(slots), permit, Rc::clone(alive));
    tokio::task::spawn_local(task);
}

/// A connection's own task, from its first byte to its last.
#[allow(
    clippy::manual_async_fn,
    reason = "an async fn keeps what it is given twice; every idle connection pays for it"
)]
fn connection<M, F>(
    worker: Rc<Worker>,
    io: Io,
    peer: SocketAddr,
    entry: Rc<Entry>,
    slots: Rc<Slots<M, F>>,
    permit: ConnectionPermit,
    alive: Rc<()>,
) -> impl Future<Output = ()>
where
    M: Fn(Rc<Conn>) -> F + 'static,
    F: Future<Output = bool> + 'static,
{
    async move {
        // Held until the connection is over.
        let _ = (&permit, &alive);
        let registered = worker.register();
        let timer = Timer::new(timer::now() + worker.http.idle_timeout);
        let Some(Begun { io, first, client }) =
            Box::pin(begin(io, peer, &entry, &timer, registered.presence(), &worker)).await
        else {
            return;
        };
        registered.presence().does(Does::Work);
        let entrance = entry.entrance.clone();
        drop(entry);
        let agreed = client.tls.as_ref().and_then(|tls| tls.is_http2());
        if agreed.unwrap_or_else(|| first.bytes().starts_with(PREFACE)) {
            let streams = slots.streams.clone();
            Box::pin(http2::serve(io.with_ahead(first), client, entrance, worker, streams)).await;
            return;
        }
        let conn = Rc::new(Conn::new(io, first, timer, client, entrance, registered.presence(), worker));
        while conn.next().await {
            let mut slot = slots.take();
            slot.as_mut().set(Some((slots.make)(Rc::clone(&conn))));
            let keep = poll_fn(|cx| match slot.as_mut().as_pin_mut() {
                Some(exchange) => exchange.poll(cx),
                None => Poll::Ready(false),
            })
            .await;
            slot.as_mut().set(None);
            slots.give(slot);
            if !keep {
                break;
            }
        }
        // A connection that was told to make room closes at once, without a last wait for its peer.
        if !conn.presence.is_told() {
            Box::pin(conn.close()).await;
        }
        drop(registered);
    }
}

/// A connection whose client has begun to speak.
struct Begun {
    io: Io,
    first: Buffer,
    client: Rc<Client>,
}

/// From the first moment of a connection to its first bytes, through the handshake where there is one.
async fn begin(
    io: Io,
    peer: SocketAddr,
    entry: &Entry,
    timer: &Timer,
    presence: Rc<Presence>,
    worker: &Worker,
) -> Option<Begun> {
    let mut client = request::client(peer, &worker.http.trusted);
    let mut io = io;
    if let Some(acceptor) = &entry.tls {
        let secured;
        (io, secured) = tls::accept(io, acceptor, timer, &presence, worker).await?;
        presence.does(Does::Rest(timer::now()));
        client.tls = Some(secured);
    }
    let (io, first) = first_bytes(io, timer, presence, worker).await?;
    Some(Begun { io, first, client: Rc::new(client) })
}

/// Reads until it is clear whether a connection opens with HTTP/2's preface. None when the client sent nothing in time.
async fn first_bytes(mut io: Io, timer: &Timer, presence: Rc<Presence>, worker: &Worker) -> Option<(Io, Buffer)> {
    let pool: &BufferPool = &worker.pools.buffers;
    let mut deadline = timer::now() + worker.http.idle_timeout;
    let mut drained = worker.drained.clone();
    let mut closing = std::pin::pin!(drained.reached(Phase::Closing));
    let mut first: Option<Buffer> = None;
    let mut lingered = false;
    let spoke = poll_fn(|cx| {
        loop {
            if first.is_some() || io.poll_readable(cx).is_ready() {
                let buffer = match &mut first {
                    Some(buffer) => buffer,
                    none => match pool.take_small() {
                        Ok(buffer) => none.insert(buffer),
                        Err(_) => return Poll::Ready(false),
                    },
                };
                match io.poll_read_into(cx, buffer.spare()) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        if buffer.is_empty() {
                            let now = timer::now();
                            deadline = now + worker.http.header_timeout;
                            presence.does(Does::Begin(now));
                        }
                        buffer.filled(n);
                        let seen = buffer.len().min(PREFACE.len());
                        if seen == PREFACE.len() || buffer.bytes()[..seen] != PREFACE[..seen] {
                            return Poll::Ready(true);
                        }
                        continue;
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending if buffer.is_empty() => {
                        if let Some(buffer) = first.take() {
                            pool.give(buffer);
                        }
                    }
                    Poll::Pending => {}
                }
            }
            presence.remember(cx);
            if presence.is_told() {
                return Poll::Ready(false);
            }
            if !lingered && closing.as_mut().poll(cx).is_ready() {
                // The connection may have come out of the backlog a moment ago, with a request on its way.
                lingered = true;
                deadline = deadline.min(timer::now() + LAST_CALL);
            }
            return timer.poll(cx, deadline).map(|()| false);
        }
    })
    .await;
    match (spoke, first) {
        (true, Some(first)) => Some((io, first)),
        (_, first) => {
            if let Some(first) = first {
                pool.give(first);
            }
            None
        }
    }
}

/// The pooled futures that requests run in. An idle connection has none.
#[derive(Debug)]
pub struct Slots<M, F> {
    make: M,
    free: RefCell<Vec<Pin<Box<Option<F>>>>>,
    /// The same for streams of HTTP/2.
    streams: http2::Slots,
}

impl<M: Fn(Rc<Conn>) -> F, F> Slots<M, F> {
    /// Slots for what `make` makes.
    pub fn new(make: M) -> Self {
        Self { make, free: RefCell::default(), streams: http2::Slots::default() }
    }

    fn take(&self) -> Pin<Box<Option<F>>> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Box::pin(None))
    }

    fn give(&self, slot: Pin<Box<Option<F>>>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_SLOTS {
            free.push(slot);
        }
    }
}

const FREE_SLOTS: usize = 256;
/// How long a connection without a request is waited for once the process is closing.
const LAST_CALL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
