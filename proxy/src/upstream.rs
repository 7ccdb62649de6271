//! One endpoint as one worker sees it: its connections, its load, its latency, and when it last answered.
//!
//! Workers share nothing that is written when a request succeeds, so each has pools and averages of its own. An
//! operator's cap means the whole process, and there are two. Open connections are counted in one shared counter,
//! which is written when a connection is opened or closed. The cap on idle connections is divided among the workers.

pub mod held;
pub mod http1;
pub mod http2;
mod idle_life;
pub mod slow;
mod tls;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::balance::{Ewma, Load, ewma};
use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::counts::EndpointTally;
use crate::error::Reason;
use crate::http::Buffer;
use crate::net::{Io, is_own_lack};
use crate::relay::StreamFaultHooks;
pub use crate::resilience::retry::Broken;
use crate::resilience::sketch::RunningMedian;
use crate::snapshot::{Endpoint, EndpointId, EndpointShared};
use crate::timer;
use crate::tls::client::Inside;
use idle_life::IdleLife;

/// An endpoint as one worker sees it. It outlives snapshots, as the endpoint does.
#[derive(Debug)]
pub struct Upstream {
    /// The endpoint's id.
    pub id: EndpointId,
    /// Where it is dialled.
    pub address: SocketAddr,
    shared: Arc<EndpointShared>,
    fault_hooks: Rc<StreamFaultHooks>,
    /// Free connections. The one that was used last is at the end and is taken first, so that the others can time
    /// out.
    idle: RefCell<Vec<Idle>>,
    /// How long they stay good.
    idle_life: IdleLife,
    /// Connections that a client keeps waiting.
    slow: slow::Slow,
    h2: RefCell<Vec<Rc<http2::Connection>>>,
    /// The dial over HTTP/2 that is under way.
    h2_dial: RefCell<Option<Rc<http2::Dial>>>,
    load: Ewma,
    in_flight: Cell<u32>,
    /// Attempts whose answer has not begun.
    waiting: Cell<u32>,
    /// Since when the endpoint owes an answer.
    waits_since: Cell<Instant>,
    /// When it last answered well. Before its first answer, when it joined the pool.
    answered_at: Cell<Instant>,
    reported: Cell<u32>,
    median: Cell<RunningMedian>,
    /// For whoever asks which endpoint fails, or is slow.
    tally: EndpointTally,
    good: Cell<u64>,
    failures: Cell<u64>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// An HTTP/1.1 connection to an endpoint, for one request at a time.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub io: Io,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// When it was made.
    pub opened: Instant,
    /// For how long it was idle before it was used the last time.
    pub idled: Duration,
    /// Counts the connection as open until it is dropped.
    pub open: Open,
}

impl Connection {
    /// One that has carried nothing yet.
    fn new(io: Io, open: Open, now: Instant) -> Self {
        Self { io, reused: false, opened: now, idled: Duration::ZERO, open }
    }
}

/// An endpoint's end of a tunnel.
#[derive(Debug)]
pub struct Tunnelled {
    /// A connection, which is never used again for requests, or a pipe to a stream.
    pub io: Io,
    /// Load, until the tunnel ends.
    pub lease: Lease,
    /// What was read beyond the head.
    pub input: Option<Buffer>,
    /// What the tunnel keeps until it ends.
    pub kept: Kept,
}

/// What a tunnel keeps until it ends.
#[derive(Debug)]
pub enum Kept {
    /// A connection of its own, and its part of what tunnels may hold.
    Connection(Open, Share),
    /// A stream. Dropping this ends it.
    Stream(tokio::sync::oneshot::Sender<()>),
}

/// Counts one open connection.
#[derive(Debug)]
pub struct Open(Arc<EndpointShared>);

impl Open {
    fn new(shared: &Arc<EndpointShared>, cap: u32) -> Option<Self> {
        let counted = shared
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < cap).then_some(open + 1));
        counted.ok().map(|_| Self(Arc::clone(shared)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

/// The part of an endpoint's silence that counts as its latency.
const SILENCE: f64 = 1.0 / 16.0;
/// How long a request waits for a connection after a slow client was told to let go of one.
const SOON: Duration = Duration::from_millis(500);

/// Counts a connection that has become a tunnel.
#[derive(Debug)]
pub struct Share(Arc<EndpointShared>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// A tunnel begins.
    pub fn tunnel(&self) -> Share {
        self.shared.tunnels.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(&self.shared))
    }

    /// Whether tunnels hold as many of the endpoint's connections as they may. A tunnel may be quiet for as long as
    /// it likes.
    pub fn has_tunnels_enough(&self, cap: u32) -> bool {
        self.shared.tunnels.load(Ordering::Relaxed) >= slow::plenty(cap).max(1)
    }

    /// An endpoint without connections. `typical` is how long the pool's other endpoints take for an answer.
    pub fn new(
        endpoint: &Endpoint,
        fault_hooks: &Rc<StreamFaultHooks>,
        typical: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            id: endpoint.id,
            address: endpoint.address,
            shared: Arc::clone(&endpoint.shared),
            fault_hooks: Rc::clone(fault_hooks),
            idle: RefCell::default(),
            idle_life: IdleLife::default(),
            slow: slow::Slow::default(),
            h2: RefCell::default(),
            h2_dial: RefCell::default(),
            load: Ewma::new(typical, now),
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            waits_since: Cell::new(now),
            answered_at: Cell::new(now),
            reported: Cell::new(0),
            median: Cell::default(),
            tally: EndpointTally::default(),
            good: Cell::new(0),
            failures: Cell::new(0),
        }
    }

    /// What the balancer compares.
    ///
    /// Silence counts as latency: an endpoint that owes answers and gives none takes at least that long, and its average
    /// does not say so before it answers. Of one that has answered before, a sixteenth of its silence counts, because among
    /// many requests some take several times what is typical. One that was never heard of has no such credit.
    pub fn load(&self, now: Instant, weight: f64) -> Load {
        let mut latency = self.load.value(now).max(ewma::FLOOR_US);
        if self.waiting.get() > 0 {
            let silent = self.silent_for(now).as_secs_f64() * 1e6;
            latency = latency.max(if self.load.heard() { silent * SILENCE } else { silent });
        }
        Load { latency, in_flight: self.in_flight.get(), weight }
    }

    fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.waits_since.get().max(self.answered_at.get()))
    }

    /// The endpoint's latency average. New endpoints of the pool begin with what is typical of the others.
    pub fn latency(&self) -> &Ewma {
        &self.load
    }

    /// Requests in flight from this worker.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// An attempt begins; it counts as load until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.tally.attempted();
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// An attempt waits for its answer to begin, until [`heard`](Self::heard).
    pub fn wait(&self, now: Instant) {
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.waits_since.set(now);
        }
    }

    /// An attempt no longer waits for its answer to begin, whatever became of it.
    pub fn heard(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// An attempt has waited for longer than nearly all do. All workers see that until [`in_time`](Self::in_time) is
    /// called.
    pub fn overdue(&self) {
        self.shared.overdue.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt that was overdue no longer waits.
    pub fn in_time(&self) {
        self.shared.overdue.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is a sign that the endpoint hangs: an attempt of any worker is overdue, or the endpoint owes
    /// this worker an answer and has been silent for `silence`.
    pub fn is_silent(&self, silence: Duration, now: Instant) -> bool {
        let waits = self.waiting.get() > 0 && self.silent_for(now) >= silence;
        waits || self.shared.overdue.load(Ordering::Relaxed) > 0
    }

    /// When it last answered well, as far as this worker knows.
    pub fn answered_at(&self) -> Instant {
        self.answered_at.get()
    }

    /// An answer's head came after `latency`.
    pub fn answered(&self, latency: Duration, now: Instant) {
        self.answered_at.set(now);
        self.good.set(self.good.get() + 1);
        self.tally.took(latency);
        self.load.observe(latency, now);
        self.note(latency);
    }

    /// An attempt was given up after `elapsed`. Its answer would have taken at least as long. That is no failure.
    pub fn outlasted(&self, elapsed: Duration, now: Instant) {
        self.tally.overtaken(elapsed);
        self.load.outlast(elapsed, now);
        self.note(elapsed);
    }

    /// The median time of its answers; none while too few are known.
    pub fn expected(&self) -> Option<Duration> {
        self.median.get().value()
    }

    fn note(&self, latency: Duration) {
        let mut median = self.median.get();
        median.observe(latency);
        self.median.set(median);
    }

    /// An attempt failed by the endpoint's fault.
    pub fn failed(&self, now: Instant) {
        self.failures.set(self.failures.get() + 1);
        self.tally.failed();
        self.load.penalise(now);
    }

    /// A free connection: the one that was used last and is not closed. A request that is not `replayable` gets a
    /// connection that was used within the last second, or within the time that the endpoint's connections were found to
    /// stay good (`IdleLife`), and only after the socket was asked whether the endpoint has closed it.
    pub fn reuse(&self, replayable: bool, idle_timeout: Duration, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let last = idle.last()?;
            let age = now.saturating_duration_since(last.since);
            if !replayable && age >= self.idle_life.good_for(now) {
                return None;
            }
            let mut connection = idle.pop()?.connection;
            if age >= idle_timeout {
                continue;
            }
            if if replayable { connection.io.is_idle() } else { connection.io.is_surely_idle() } {
                connection.idled = age;
                return Some(connection);
            }
            self.idle_life.died(connection.opened, age, now);
        }
    }

    /// The answer to a request over a connection that had been idle has begun, or the connection broke before it did.
    fn reused(&self, connection: &Connection, lives: bool, now: impl FnOnce() -> Instant) {
        if lives {
            self.idle_life.lived(connection.idled, now);
        } else {
            self.idle_life.died(connection.opened, connection.idled, now());
        }
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.shared.tls.is_some()
    }

    /// Dials, within the cap and the connect timeout; a handshake has as long again.
    pub async fn dial(&self, policy: &Policy, terms: slow::Terms, inside: Inside) -> Result<Connection, Reason> {
        let open = match Open::new(&self.shared, terms.cap) {
            Some(open) => open,
            None => self.room(terms).await.ok_or(Reason::ConnectionLimit)?,
        };
        let tap = self.fault_hooks.tap(self.address);
        if tap.is_down() {
            return Err(Reason::ConnectFailed);
        }
        let io = match tokio::time::timeout(policy.connect_timeout, Io::connect(self.address)).await {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => {
                tracing::debug!(address = %self.address, %error, "connect failed");
                return Err(not_connected(&error));
            }
            Err(_) => return Err(Reason::ConnectTimeout),
        };
        let io = match &self.shared.tls {
            None => io,
            Some(proof) => tls::secure(io, proof, inside, policy.connect_timeout).await?,
        };
        Ok(Connection::new(io.hooked(tap), open, timer::now()))
    }

    /// Makes room for a connection at the cap: closes a free connection that this request may not use, or ends the
    /// slowest of the clients that are too slow. Where there is neither, the request does not wait here: it goes to
    /// another endpoint or fails.
    async fn room(&self, terms: slow::Terms) -> Option<Open> {
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        if oldest.is_none() && !self.slow.make_room(terms, timer::now()) {
            return None;
        }
        drop(oldest);
        let freed = async {
            loop {
                if let Some(open) = Open::new(&self.shared, terms.cap) {
                    return open;
                }
                self.shared.freed.notified().await;
            }
        };
        tokio::time::timeout(SOON, freed).await.ok()
    }

    /// Ends exchanges whose client is too slow, as far as connections are short. Called at the worker's ticks.
    pub fn relieve(&self, terms: slow::Terms, now: Instant) {
        self.slow.relieve(self.shared.connections.load(Ordering::Relaxed), terms, now);
    }

    /// Takes a connection back that can carry another request. `keep` is this worker's share of the idle cap.
    pub fn give_back(&self, mut connection: Connection, keep: usize, now: Instant) {
        connection.reused = true;
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= keep && !idle.is_empty() {
            // The oldest is closed: the endpoint is the most likely to close that one next.
            idle.remove(0);
        }
        if keep > 0 {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes connections that have been idle for too long or that the endpoint has closed. Called once a second.
    pub fn reap(&self, idle_timeout: Duration, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let is_idle = age < idle_timeout && idle.connection.io.is_idle();
            if !is_idle && age < idle_timeout {
                self.idle_life.died(idle.connection.opened, age, now);
            }
            is_idle
        });
        self.h2.borrow_mut().retain(|connection| !connection.is_over(idle_timeout, now));
    }

    /// Ends all free connections.
    pub fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().clear();
    }

    /// Adds to the endpoint's shared numbers what this worker has counted since the last time. `ms` is `now` on the joint's
    /// clock.
    pub fn report(&self, now: Instant, ms: u64) {
        let in_flight = self.in_flight.get();
        let before = self.reported.replace(in_flight);
        if in_flight != before {
            self.shared.in_flight.fetch_add(i64::from(in_flight) - i64::from(before), Ordering::Relaxed);
        }
        let attempts = self.tally.drain(&self.shared.counts, ms);
        let (good, failures) = (self.good.take(), self.failures.take());
        self.shared.outlier.count(good, failures);
        if attempts > 0 {
            self.shared.lately.add(attempts, ms);
        }
        if attempts + good + failures > 0 {
            // Latencies are far below the range of either type.
            self.shared.score_us.store(self.load.value(now) as u64, Ordering::Relaxed);
            let median = self.expected().map_or(0, |median| median.as_micros() as u64);
            self.shared.median_us.store(median, Ordering::Relaxed);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let before = self.reported.get();
        if before > 0 {
            self.shared.in_flight.fetch_sub(i64::from(before), Ordering::Relaxed);
        }
    }
}

/// Why a connection was not made.
pub fn not_connected(error: &std::io::Error) -> Reason {
    if is_own_lack(error) { Reason::OutOfResources } else { Reason::ConnectFailed }
}

/// An attempt in flight. It counts as load until it is dropped, at the end of the answer's body.
#[derive(Debug)]
pub struct InFlight(Rc<Upstream>);

impl InFlight {
    /// The endpoint as this worker sees it.
    pub fn upstream(&self) -> &Rc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// Where a finished attempt gives its connection back to.
#[derive(Debug)]
pub struct Lease {
    /// The endpoint, which counts the attempt as load until then.
    pub in_flight: InFlight,
    /// This worker's share of the idle cap.
    pub keep: usize,
}

impl Lease {
    /// Takes the connection back.
    pub fn give_back(self, connection: Connection, now: Instant) {
        self.in_flight.upstream().give_back(connection, self.keep, now);
    }
}

#[cfg(test)]
impl Upstream {
    /// Takes a connection in that was not dialled.
    pub fn lend(&self, io: Io, now: Instant) {
        let open = Open::new(&self.shared, u32::MAX).unwrap();
        self.give_back(Connection::new(io, open, now), usize::MAX, now);
    }

    /// Takes an HTTP/2 connection in that was not dialled.
    pub async fn lend_h2(&self, io: Io) {
        let open = Open::new(&self.shared, u32::MAX).unwrap();
        let connection = Connection::new(io, open, timer::now());
        let connection = http2::handshake(connection, crate::http::Limits::default()).await.unwrap();
        self.h2.borrow_mut().push(Rc::new(connection));
    }

    /// Failures since the last report.
    pub fn own_failures(&self) -> u64 {
        self.failures.get()
    }

    /// Connections that are counted as open.
    pub fn open_connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}
