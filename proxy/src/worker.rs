//! What one worker has to itself: its view of the services, its pools, its counts.
//!
//! A worker is one thread with one runtime. It shares nothing that is written while requests succeed (`docs/adr/0001-thread-per-core.md`),
//! so most of what is here is a plain cell. [`crate::serve`] is its event loop.

pub mod attempt_info;
pub mod cluster;
pub mod clusters;
pub mod connection_balancer;
pub mod gate;
pub mod latency_classes;
pub mod presence;
pub mod route;
pub mod stale_copies;
pub mod view;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use self::connection_balancer::ConnectionBalancer;
use self::presence::{Among, Presence};
use crate::clock::Instant;
use crate::config::settings::{HttpLimits, Policy};
use crate::counts::{ServiceMetrics, ServiceTally};
use crate::drain::{Drained, Phase};
use crate::http::{Budget, Buffer, Limits, Pools};
use crate::net::Io;
use crate::request::Hop;
use crate::request::body::EmptyPool;
use crate::request::fields::Identity;
use crate::snapshot::Reader;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::explain::{Explainer, Recorder};
use crate::telemetry::metrics::{ClientMetrics, Handshake, Steering};
use crate::timer;
use crate::upstream::held::Holding;
use crate::upstream::slow::Terms;
use crate::worker::stale_copies::Stale;
use crate::worker::view::View;

/// What every worker is made from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many workers there are.
    pub workers: usize,
    /// Bounds on what a peer may send.
    pub http: Arc<HttpLimits>,
    /// The joint.
    pub reader: Reader,
    /// Who the process is.
    pub identity: Arc<Identity>,
    /// The phase of the process's drain.
    pub drained: Drained,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// The workers' connections, counted.
    pub balancer: Arc<ConnectionBalancer>,
    /// Where records of requests go.
    pub explainer: Explainer,
    /// How much memory the buffers of all workers may take.
    pub budget: Arc<Budget>,
}

/// Something that a worker carries beside HTTP, and that hands over what it has counted at every tick.
pub trait Carried: std::fmt::Debug {
    /// Hands over what was counted.
    fn report(&self);
}

/// The whole state of a worker's thread.
#[derive(Debug)]
pub struct Worker {
    /// The worker's number, from 0.
    pub index: usize,
    /// Bounds on what a peer may send.
    pub http: Arc<HttpLimits>,
    /// Buffers, heads, scratch.
    pub pools: Rc<Pools>,
    /// Free bodies of requests without a body.
    pub empties: EmptyPool,
    /// Free exchanges with endpoints over HTTP/1.1.
    pub exchanges: crate::upstream::http1::ExchangePool,
    /// The joint.
    pub reader: Reader,
    /// Who the process is.
    pub identity: Arc<Identity>,
    /// The process's way out.
    pub drained: Drained,
    /// Whether a request is recorded, and where its record goes.
    pub recorder: Recorder,
    workers: usize,
    balancer: Arc<ConnectionBalancer>,
    pub(crate) access_log: AccessLog,
    pub(crate) view: RefCell<Rc<View>>,
    phase: Cell<Phase>,
    random: RefCell<fastrand::Rng>,
    /// Stale copies, for fallbacks.
    pub copies: Stale,
    /// Bytes of answers that are held back at the moment.
    held: Rc<Cell<usize>>,
    conns: RefCell<HashMap<u64, Rc<Presence>>>,
    /// TCP proxies that it carries connections for.
    carried: RefCell<Vec<Weak<dyn Carried>>>,
    next_conn: Cell<u64>,
    clients: RefCell<ClientMetrics>,
    pub(crate) unrouted: RefCell<ServiceTally>,
    unrouted_metrics: ServiceMetrics,
    told_of_memory: Cell<Option<Instant>>,
    told_of_denial: Cell<Option<Instant>>,
    told_of_abuse: Cell<Option<Instant>>,
}

/// The answer to a connection for which there is no memory.
const NO_MEMORY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 71\r\n\r\noutrigger: 503 memory_short: buffers take all the memory that they may\n";
/// How often a lack of memory is logged at most, and how often an abuse.
const TELL: Duration = Duration::from_secs(10);

impl Worker {
    /// A worker that has not begun.
    pub fn new(index: usize, plan: &Plan) -> Self {
        let mut random = fastrand::Rng::new();
        let limits = Limits { bytes: plan.http.max_head_bytes, lines: plan.http.max_headers };
        let view = View::of(&plan.reader.snapshot(), None, plan.workers, random.u64(..), timer::now());
        let pools = Rc::new(Pools::new(limits, &plan.budget));
        Self {
            index,
            http: Arc::clone(&plan.http),
            pools: Rc::clone(&pools),
            empties: EmptyPool::default(),
            exchanges: crate::upstream::http1::ExchangePool::new(pools, timer::now()),
            reader: plan.reader.clone(),
            identity: Arc::clone(&plan.identity),
            drained: plan.drained.clone(),
            recorder: Recorder::new(plan.explainer.clone()),
            workers: plan.workers,
            balancer: Arc::clone(&plan.balancer),
            access_log: plan.access_log.clone(),
            view: RefCell::new(Rc::new(view)),
            phase: Cell::new(Phase::Serving),
            random: RefCell::new(random),
            copies: Stale::new(plan.http.max_stale_bytes / plan.workers.max(1)),
            held: Rc::default(),
            conns: RefCell::default(),
            carried: RefCell::default(),
            next_conn: Cell::new(0),
            clients: RefCell::new(ClientMetrics::new(index)),
            unrouted: RefCell::default(),
            unrouted_metrics: ServiceMetrics::provisional(UNROUTED),
            told_of_memory: Cell::new(None),
            told_of_denial: Cell::new(None),
            told_of_abuse: Cell::new(None),
        }
    }

    /// The current snapshot with this worker's own state beside it. While nothing has changed, this is one atomic
    /// load.
    pub fn view(&self) -> Rc<View> {
        let view = Rc::clone(&self.view.borrow());
        if view.generation == self.reader.generation() {
            return view;
        }
        let seed = self.random.borrow_mut().u64(..);
        let next = Rc::new(View::of(&self.reader.snapshot(), Some(&view), self.workers, seed, timer::now()));
        self.view.replace(Rc::clone(&next));
        next
    }

    /// What this worker brings to each message that passes through it.
    pub fn hop(&self) -> Hop<'_> {
        Hop { identity: &self.identity, http: &self.http, pools: &self.pools }
    }

    /// The phase of the process's drain.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The terms for clients that keep an endpoint's connections waiting.
    pub fn terms(&self, policy: &Policy) -> Terms {
        let short = self.pools.buffers.budget().excess() > 0;
        let limits = self.pools.limits;
        Terms { cap: policy.max_connections, min_rate: self.http.min_rate, workers: self.workers, short, limits }
    }

    /// A number in `0.0..1.0`.
    pub fn random(&self) -> f64 {
        self.random.borrow_mut().f64()
    }

    /// This worker's share of a bound for the process: at least one.
    pub fn share_of(&self, most: u32) -> u32 {
        (most / u32::try_from(self.workers).unwrap_or(u32::MAX).max(1)).max(1)
    }

    /// Reserves memory for an answer that is held back. None beyond this worker's share of what the process may hold.
    pub fn hold(&self, bytes: usize) -> Option<Holding> {
        let after = self.held.get() + bytes;
        (after <= self.http.max_held_bytes / self.workers).then(|| {
            self.held.set(after);
            Holding { held: Rc::clone(&self.held), bytes }
        })
    }

    /// Logs that an access rule has refused a call: once a second at most, or whoever is refused could fill the disk.
    pub fn tell_denied(&self, rule: &str, client: std::net::SocketAddr) {
        let now = timer::now();
        if self.told_of_denial.get().is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
            self.told_of_denial.set(Some(now));
            tracing::warn!(rule, %client, "access denied (told once a second at most)");
        }
    }

    /// Counts a field that was ignored because it makes no sense.
    pub fn malformed(&self, field: Steering) {
        self.clients.borrow_mut().malformed(field);
    }

    /// A client's handshake is over, one way or the other.
    pub fn shook_hands(&self, result: Handshake) {
        self.clients.borrow_mut().shook_hands(result);
    }

    /// Bytes of answers that are held back at the moment.
    pub fn held_bytes(&self) -> usize {
        self.held.get()
    }

    /// Bits for a request's id.
    pub fn random_id(&self) -> u128 {
        self.random.borrow_mut().u128(..)
    }

    /// The workers' connections.
    pub fn balancer(&self) -> &Arc<ConnectionBalancer> {
        &self.balancer
    }

    /// Counts a client's connection and remembers it for as long as the guard lives, so that it can be told of a new phase or
    /// to make room.
    pub fn register(self: &Rc<Self>) -> Registered {
        self.clients.borrow_mut().opened();
        let id = self.next_conn.get();
        self.next_conn.set(id + 1);
        self.conns.borrow_mut().insert(id, Rc::new(Presence::new(timer::now())));
        Registered { worker: Rc::clone(self), id }
    }

    /// Closes up to `most` clients' connections that are idle or whose head is slow. Returns how many.
    pub fn make_room(&self, among: Among, most: usize, now: Instant) -> usize {
        let conns = self.conns.borrow();
        let (resting, beginning) = presence::make_room(conns.values().map(Rc::as_ref), among, most, now);
        self.clients.borrow_mut().made_room(resting, beginning);
        resting + beginning
    }

    /// Remembers a TCP proxy for as long as it is carried, so that what it counts is handed over.
    pub fn carries(&self, carried: Weak<dyn Carried>) {
        self.carried.borrow_mut().push(carried);
    }

    /// Answers a connection for which there is no memory, whatever it may ask. None for one that is closed without a word.
    pub fn turn_away(&self, io: Option<Io>) {
        if let Some(mut io) = io {
            let mut nobody = Context::from_waker(Waker::noop());
            // Nobody waits for a socket that does not take this at once.
            let _ = io.poll_write_from(&mut nobody, NO_MEMORY);
        }
        self.clients.borrow_mut().turned_away();
        if is_time_to_tell(&self.told_of_memory) {
            let bytes = self.pools.buffers.budget().used();
            tracing::warn!(
                bytes,
                "buffers take all the memory they may (`http.max_buffered`): new connections are refused"
            );
        }
    }

    /// A client's HTTP/2 connection was ended for what it sent.
    pub fn ended_for(&self, what: &'static str, client: SocketAddr) {
        self.clients.borrow_mut().ended_for(what);
        if is_time_to_tell(&self.told_of_abuse) {
            tracing::warn!(%client, what, "an HTTP/2 connection was ended for what its client sent");
        }
    }

    pub(crate) fn tick(&self) {
        let now = timer::now();
        let view = self.view();
        view.report(self.reader.clock(now), now, self.random());
        view.relieve(|policy| self.terms(policy), now);
        // Some memory and some permits are kept free for whoever comes next.
        let short = self.pools.buffers.budget().excess().div_ceil(Buffer::SMALL).div_ceil(self.workers);
        self.make_room(Among::Beginning, short, now);
        self.make_room(Among::All, self.balancer.excess().div_ceil(self.workers), now);
        self.unrouted_metrics.absorb(&mut self.unrouted.borrow_mut());
        let mut clients = self.clients.borrow_mut();
        clients.held(self.held_bytes());
        clients.flush();
        drop(clients);
        self.recorder.tick();
        self.carried.borrow_mut().retain(|it| it.upgrade().inspect(|it| it.report()).is_some());
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase >= Phase::Closing {
            self.view().close_idle();
        }
        self.conns.borrow().values().for_each(|presence| presence.wake());
    }
}

/// Whether what was logged at this time may be logged again. Then it is, from now on.
fn is_time_to_tell(told: &Cell<Option<Instant>>) -> bool {
    let now = timer::now();
    let is_time = told.get().is_none_or(|told| now.saturating_duration_since(told) >= TELL);
    if is_time {
        told.set(Some(now));
    }
    is_time
}

/// The service label of requests that found no service.
const UNROUTED: &str = "";

/// A client's connection, counted and remembered until it is over.
#[derive(Debug)]
pub struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Registered {
    /// What the connection is doing, as others see it.
    pub fn presence(&self) -> Rc<Presence> {
        let known = self.worker.conns.borrow().get(&self.id).map(Rc::clone);
        known.unwrap_or_else(|| Rc::new(Presence::new(timer::now())))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.conns.borrow_mut().remove(&self.id);
        self.worker.clients.borrow_mut().closed();
    }
}

#[cfg(test)]
mod tests;
