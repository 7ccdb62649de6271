//! One endpoint as one worker sees it: its connections, its load, what it was last like.
//!
//! Workers share nothing that is written when a request succeeds, so each has pools and averages of its own. Two
//! things are held against a number for the whole process, because an operator's cap means the process: open
//! connections (a shared counter, touched when a connection is opened or closed) and idle ones (each worker keeps
//! its share).

pub mod held;
pub mod http1;
pub mod http2;
pub mod slow;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::balance::ewma::PeakEwma;
use crate::clock::Instant;
use crate::config::settings::Policy;
use crate::error::Reason;
use crate::net::{Io, is_own_lack};
use crate::relay::Taps;
pub use crate::resilience::retry::Broken;
use crate::resilience::sketch::RunningMedian;
use crate::snapshot::{Endpoint, EndpointId, EndpointShared};
use crate::timer;

/// An endpoint's side that belongs to one worker. Outlives snapshots as the endpoint does.
#[derive(Debug)]
pub struct Upstream {
    /// Who it is.
    pub id: EndpointId,
    /// Where it is dialled.
    pub address: SocketAddr,
    shared: Arc<EndpointShared>,
    taps: Rc<Taps>,
    /// Free connections, the one used last at the end: the others can grow old and go.
    idle: RefCell<Vec<Idle>>,
    /// Connections that a client keeps waiting.
    slow: slow::Slow,
    h2: RefCell<Vec<Rc<http2::Connection>>>,
    /// The dial over HTTP/2 that is under way.
    h2_dial: RefCell<Option<Rc<http2::Dial>>>,
    load: PeakEwma,
    in_flight: Cell<u32>,
    /// Attempts whose answer has not begun.
    waiting: Cell<u32>,
    /// When it began to have something to answer.
    waits_since: Cell<Instant>,
    /// When it last answered well; when it came, until then.
    answered_at: Cell<Instant>,
    reported: Cell<u32>,
    median: Cell<RunningMedian>,
    attempts: Cell<u64>,
    good: Cell<u64>,
    failures: Cell<u64>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Instant,
}

/// An HTTP/1.1 connection to an endpoint that nobody else uses.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub io: Io,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// Counted as open, as long as it is.
    pub open: Open,
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

/// A connection idle for longer than this may be closing at this moment; a request that cannot be sent twice does
/// not take it.
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection is waited for that somebody has been told to let go of.
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

    /// Whether tunnels, which may be quiet for as long as they like, hold as many connections as they may.
    pub fn has_tunnels_enough(&self, cap: u32) -> bool {
        self.shared.tunnels.load(Ordering::Relaxed) >= slow::plenty(cap).max(1)
    }

    /// A side without connections. `typical` is what the pool's other endpoints take for an answer.
    pub fn new(endpoint: &Endpoint, taps: &Rc<Taps>, typical: Option<Duration>, now: Instant) -> Self {
        Self {
            id: endpoint.id,
            address: endpoint.address,
            shared: Arc::clone(&endpoint.shared),
            taps: Rc::clone(taps),
            idle: RefCell::default(),
            slow: slow::Slow::default(),
            h2: RefCell::default(),
            h2_dial: RefCell::default(),
            load: PeakEwma::new(typical, now),
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            waits_since: Cell::new(now),
            answered_at: Cell::new(now),
            reported: Cell::new(0),
            median: Cell::default(),
            attempts: Cell::new(0),
            good: Cell::new(0),
            failures: Cell::new(0),
        }
    }

    /// What the balancer compares: latency times what is in flight, relative to the weight.
    pub fn load(&self, now: Instant, relative_weight: f64) -> f64 {
        self.load.load(self.in_flight.get(), relative_weight, now)
    }

    /// How slow it is, for what is to be expected of a new endpoint of its pool.
    pub fn latency(&self) -> &PeakEwma {
        &self.load
    }

    /// Requests in flight from this worker.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// An attempt begins; it counts as load until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.attempts.set(self.attempts.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// An attempt waits for its answer to begin, until [`heard`](Self::heard).
    pub fn wait(&self, now: Instant) {
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.waits_since.set(now);
        }
    }

    /// An attempt no longer waits, whatever became of it.
    pub fn heard(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// An attempt has waited longer than nearly all do, until [`in_time`](Self::in_time): all workers shall know.
    pub fn overdue(&self) {
        self.shared.overdue.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt that was overdue no longer waits.
    pub fn in_time(&self) {
        self.shared.overdue.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is a sign that it hangs: an attempt of any worker is overdue, or it has something to answer and has been
    /// silent for this time.
    pub fn is_silent(&self, silence: Duration, now: Instant) -> bool {
        let since = self.waits_since.get().max(self.answered_at.get());
        let waits = self.waiting.get() > 0 && now.saturating_duration_since(since) >= silence;
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
        self.load.observe(latency, now);
        self.note(latency);
    }

    /// Nobody waited any longer for an answer, after `elapsed`: it would have taken at least as long.
    pub fn outlasted(&self, elapsed: Duration, now: Instant) {
        self.failures.set(self.failures.get() + 1);
        self.load.outlast(elapsed, now);
        self.note(elapsed);
    }

    /// What half of its answers stay within; none while too few are known.
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
        self.load.penalise(now);
    }

    /// A free connection, the one used last first; dead ones are thrown away on the way. What is not `replayable` gets one
    /// that was used lately, and that the other side has not closed up to this moment.
    pub fn reuse(&self, replayable: bool, idle_timeout: Duration, now: Instant) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let last = idle.last()?;
            let age = now.saturating_duration_since(last.since);
            if !replayable && age >= FRESH {
                return None;
            }
            let mut link = idle.pop()?.link;
            if age < idle_timeout && if replayable { link.io.is_idle() } else { link.io.is_surely_idle() } {
                return Some(link);
            }
        }
    }

    /// Dials, within the cap and the connect timeout.
    pub async fn dial(&self, policy: &Policy, terms: slow::Terms) -> Result<Link, Reason> {
        let open = match Open::new(&self.shared, terms.cap) {
            Some(open) => open,
            None => self.room(terms).await.ok_or(Reason::ConnectionLimit)?,
        };
        let tap = self.taps.tap(self.address);
        if tap.is_down() {
            return Err(Reason::ConnectFailed);
        }
        match tokio::time::timeout(policy.connect_timeout, Io::connect(self.address)).await {
            Ok(Ok(io)) => Ok(Link { io: io.hooked(tap), reused: false, open }),
            Ok(Err(error)) => {
                tracing::debug!(address = %self.address, %error, "connect failed");
                Err(not_connected(&error))
            }
            Err(_) => Err(Reason::ConnectTimeout),
        }
    }

    /// A place for a connection where there is none: that of a free one which this request may not have, or of who is too
    /// slow. Where nobody is, another endpoint or an answer is had at once.
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

    /// Ends those that keep connections waiting, as far as connections are short. Called at the worker's ticks.
    pub fn relieve(&self, terms: slow::Terms, now: Instant) {
        self.slow.relieve(self.shared.connections.load(Ordering::Relaxed), terms, now);
    }

    /// Takes a connection back that can carry another request. `keep` is this worker's share of the idle cap.
    pub fn give_back(&self, mut link: Link, keep: usize, now: Instant) {
        link.reused = true;
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= keep && !idle.is_empty() {
            // The oldest goes: the newest is the least likely to be closed by the other side.
            idle.remove(0);
        }
        if keep > 0 {
            idle.push(Idle { link, since: now });
        }
    }

    /// Ends what has been idle for too long or was closed by the other side. Called at the worker's ticks.
    pub fn reap(&self, idle_timeout: Duration, now: Instant) {
        self.idle
            .borrow_mut()
            .retain_mut(|idle| now.saturating_duration_since(idle.since) < idle_timeout && idle.link.io.is_idle());
        self.h2.borrow_mut().retain(|connection| !connection.is_over(idle_timeout, now));
    }

    /// Ends all free connections.
    pub fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().clear();
    }

    /// Adds to the endpoint's shared numbers what this worker has counted since the last time.
    pub fn report(&self, now: Instant) {
        let in_flight = self.in_flight.get();
        let before = self.reported.replace(in_flight);
        if in_flight != before {
            self.shared.in_flight.fetch_add(i64::from(in_flight) - i64::from(before), Ordering::Relaxed);
        }
        let attempts = self.attempts.take();
        let (good, failures) = (self.good.take(), self.failures.take());
        self.shared.outlier.count(good, failures);
        if attempts + good + failures > 0 {
            self.shared.attempts.fetch_add(attempts, Ordering::Relaxed);
            self.shared.failures.fetch_add(failures, Ordering::Relaxed);
            // Latencies are far below the range of either type.
            self.shared.latency_us.store(self.load.value(now) as u64, Ordering::Relaxed);
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

/// An attempt in flight: load until it is dropped, at the end of the answer's body.
#[derive(Debug)]
pub struct InFlight(Rc<Upstream>);

impl InFlight {
    /// The endpoint's side.
    pub fn upstream(&self) -> &Rc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// What a finished attempt leaves its connection to.
#[derive(Debug)]
pub struct Home {
    /// The endpoint, and the load that the attempt is.
    pub in_flight: InFlight,
    /// This worker's share of the idle cap.
    pub keep: usize,
}

impl Home {
    /// Takes the connection back.
    pub fn give_back(self, link: Link, now: Instant) {
        self.in_flight.upstream().give_back(link, self.keep, now);
    }
}

#[cfg(test)]
impl Upstream {
    /// Takes a connection in that was not dialled.
    pub fn lend(&self, io: Io, now: Instant) {
        let open = Open::new(&self.shared, u32::MAX).unwrap();
        self.give_back(Link { io, reused: false, open }, usize::MAX, now);
    }

    /// Takes an HTTP/2 connection in that was not dialled.
    pub async fn lend_h2(&self, io: Io) {
        let open = Open::new(&self.shared, u32::MAX).unwrap();
        let connection =
            http2::handshake(Link { io, reused: false, open }, crate::http::Limits::default()).await.unwrap();
        self.h2.borrow_mut().push(Rc::new(connection));
    }

    /// Connections that are counted as open.
    pub fn open_connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}
