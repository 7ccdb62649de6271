//! A worker: one thread, one runtime, its own listeners, its own connections to endpoints.
//!
//! [`serve`] is a plain future; only [`spawn`] makes a thread and a runtime for it, so that a simulation can bring
//! its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use super::accept::{self, Crew, Handed, Place};
use super::attempt::Why;
use super::body::EmptyPool;
use super::forward::Trail;
use super::headers::Identity;
use super::presence::{self, Among, Presence};
use super::request::Request;
use super::route_tally::RouteTallies;
use super::stale::Stale;
use super::tcp::{self, Line};
use super::timer;
use super::view::View;
use crate::clock::Instant;
use crate::config::settings::{HttpLimits, Policy};
use crate::drain::{Drained, Phase};
use crate::error::Reason;
use crate::http::{Budget, Buffer, Limits, Pools};
use crate::net::Io;
use crate::snapshot::Reader;
use crate::tcp::TcpDesk;
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::availability::{self, Account, Ended, First, Rescue};
use crate::telemetry::explain::{Explainer, Recorder};
use crate::telemetry::metrics::{ClientMetrics, ServiceMetrics, ServiceTally, Steering};
use crate::upstream::slow::Terms;

/// What all workers are made of.
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
    /// The process's way out.
    pub drained: Drained,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// The workers' connections, counted.
    pub crew: Arc<Crew>,
    /// Where records of requests go.
    pub explainer: Explainer,
    /// How much memory the buffers of all workers may take.
    pub budget: Arc<Budget>,
}

/// A thread's whole state.
#[derive(Debug)]
pub struct Worker {
    /// Which one, from 0.
    pub index: usize,
    /// Bounds on what a peer may send.
    pub http: Arc<HttpLimits>,
    /// Buffers, heads, scratch.
    pub pools: Rc<Pools>,
    /// Bodies of requests without any.
    pub empties: EmptyPool,
    /// What requests and answers over HTTP/1.1 need while they live.
    pub exchanges: crate::upstream::h1::ExchangePool,
    /// Where streams of HTTP/2 run.
    pub slots: super::h2::Slots,
    /// The joint.
    pub reader: Reader,
    /// Who the process is.
    pub identity: Arc<Identity>,
    /// The process's way out.
    pub drained: Drained,
    /// Whether a request is recorded, and where its record goes.
    pub recorder: Recorder,
    workers: usize,
    crew: Arc<Crew>,
    access_log: AccessLog,
    view: RefCell<Rc<View>>,
    phase: Cell<Phase>,
    random: RefCell<fastrand::Rng>,
    /// Earlier answers, for fallbacks.
    pub copies: Stale,
    /// Bytes of answers that are held back at the moment.
    held: Rc<Cell<usize>>,
    conns: RefCell<HashMap<u64, Rc<Presence>>>,
    /// TCP proxies that it carries connections for.
    lines: RefCell<Vec<Weak<Line>>>,
    next_conn: Cell<u64>,
    clients: RefCell<ClientMetrics>,
    routes: RefCell<RouteTallies>,
    unrouted: RefCell<ServiceTally>,
    unrouted_metrics: ServiceMetrics,
    told_of_memory: Cell<Option<Instant>>,
}

/// How often counts are handed over and a new snapshot is looked for even without traffic.
const TICK: Duration = Duration::from_millis(250);
/// What is said to a connection for which there is no memory.
const NO_MEMORY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 71\r\n\r\noutrigger: 503 memory_short: buffers take all the memory that they may\n";
/// How often a lack of memory is told of.
const TELL: Duration = Duration::from_secs(10);
/// How often idle connections are looked at.
const REAP: Duration = Duration::from_secs(1);

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
            exchanges: crate::upstream::h1::ExchangePool::new(pools, timer::now()),
            slots: super::h2::Slots::default(),
            reader: plan.reader.clone(),
            identity: Arc::clone(&plan.identity),
            drained: plan.drained.clone(),
            recorder: Recorder::new(plan.explainer.clone()),
            workers: plan.workers,
            crew: Arc::clone(&plan.crew),
            access_log: plan.access_log.clone(),
            view: RefCell::new(Rc::new(view)),
            phase: Cell::new(Phase::Serving),
            random: RefCell::new(random),
            copies: Stale::new(plan.http.max_stale_bytes / plan.workers.max(1)),
            held: Rc::default(),
            conns: RefCell::default(),
            lines: RefCell::default(),
            next_conn: Cell::new(0),
            clients: RefCell::new(ClientMetrics::new(index)),
            routes: RefCell::default(),
            unrouted: RefCell::default(),
            unrouted_metrics: ServiceMetrics::provisional(UNROUTED),
            told_of_memory: Cell::new(None),
        }
    }

    /// The current snapshot with this worker's things: one atomic load while nothing has changed.
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

    /// How far the process is on its way out.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// What holds against those who keep an endpoint's connections waiting.
    pub fn terms(&self, policy: &Policy) -> Terms {
        let short = self.pools.buffers.budget().excess() > 0;
        let limits = self.pools.limits;
        Terms { cap: policy.max_connections, min_rate: self.http.min_rate, workers: self.workers, short, limits }
    }

    /// A number in `0.0..1.0`.
    pub fn random(&self) -> f64 {
        self.random.borrow_mut().f64()
    }

    /// A place for so many bytes of an answer that is held back; none beyond this worker's share of what the process may
    /// hold.
    pub fn hold(&self, bytes: usize) -> Option<Holding> {
        let after = self.held.get() + bytes;
        (after <= self.http.max_held_bytes / self.workers).then(|| {
            self.held.set(after);
            Holding { held: Rc::clone(&self.held), bytes }
        })
    }

    /// A field was ignored because it makes no sense.
    pub fn malformed(&self, field: Steering) {
        self.clients.borrow_mut().malformed(field);
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
    pub fn crew(&self) -> &Arc<Crew> {
        &self.crew
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

    /// Has up to `most` clients' connections end that do nothing, or are slow to begin. Says how many.
    pub fn make_room(&self, among: Among, most: usize, now: Instant) -> usize {
        let conns = self.conns.borrow();
        let (resting, beginning) = presence::make_room(conns.values().map(Rc::as_ref), among, most, now);
        self.clients.borrow_mut().made_room(resting, beginning);
        resting + beginning
    }

    /// Remembers a TCP proxy for as long as it is carried, so that what it counts is handed over.
    pub fn carries(&self, line: &Rc<Line>) {
        self.lines.borrow_mut().push(Rc::downgrade(line));
    }

    /// Answers a connection for which there is no memory, whatever it may ask.
    pub fn turn_away(&self, mut io: Io) {
        let mut nobody = Context::from_waker(Waker::noop());
        // What a new socket does not take at once is not waited for.
        let _ = io.poll_write_from(&mut nobody, NO_MEMORY);
        self.clients.borrow_mut().turned_away();
        let now = timer::now();
        if self.told_of_memory.get().is_none_or(|told| now.saturating_duration_since(told) >= TELL) {
            self.told_of_memory.set(Some(now));
            let bytes = self.pools.buffers.budget().used();
            tracing::warn!(
                bytes,
                "buffers take all the memory they may (`http.max_buffered`): new connections are refused"
            );
        }
    }

    /// Counts and logs a request that is over.
    pub fn finished(&self, finished: &Finished, request: &Request, trail: &mut Trail) {
        let tell = |tally: &mut ServiceTally| {
            let heard = if finished.refused.is_some() { None } else { trail.heard };
            let latency = heard.unwrap_or_else(timer::now).saturating_duration_since(finished.started);
            match finished.refused {
                Some(reason) => tally.refused(reason, latency),
                None => tally.answered(finished.status, latency),
            }
            if let Some(account) = finished.account(latency, trail) {
                tally.finished(&account);
                if let Some(route) = &trail.route {
                    self.routes.borrow_mut().count(route, &account);
                }
            }
        };
        match &trail.side {
            Some(side) => tell(&mut side.counts.tally.borrow_mut()),
            None => tell(&mut self.unrouted.borrow_mut()),
        }
        if self.access_log.is_on() {
            self.access_log.log(finished.entry(request, trail));
        }
        if let Some(mut record) = trail.story.record.take() {
            let now = timer::now();
            let account = finished.account(now.saturating_duration_since(finished.started), trail);
            record.returned(now, finished.status, account.as_ref(), finished.refused.or(finished.broken));
            self.recorder.hand_in(record);
        }
    }

    fn tick(&self) {
        let now = timer::now();
        let view = self.view();
        view.report(self.reader.clock(now), now, self.random());
        view.relieve(|policy| self.terms(policy), now);
        // Some places are kept for whoever comes next.
        let short = self.pools.buffers.budget().excess().div_ceil(Buffer::SMALL).div_ceil(self.workers);
        self.make_room(Among::Beginning, short, now);
        self.make_room(Among::All, self.crew.excess().div_ceil(self.workers), now);
        self.unrouted_metrics.absorb(&mut self.unrouted.borrow_mut());
        self.routes.borrow_mut().flush();
        let mut clients = self.clients.borrow_mut();
        clients.held(self.held_bytes());
        clients.flush();
        drop(clients);
        self.recorder.tick();
        self.lines.borrow_mut().retain(|line| line.upgrade().inspect(|line| line.report()).is_some());
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase >= Phase::Closing {
            self.view().close_idle();
        }
        self.conns.borrow().values().for_each(|presence| presence.wake());
    }
}

/// The service label of requests that found none.
const UNROUTED: &str = "";

/// A place for bytes that are held back, until it is dropped.
#[derive(Debug)]
pub struct Holding {
    held: Rc<Cell<usize>>,
    bytes: usize,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes);
    }
}

/// A client's connection, counted and remembered until it is over.
#[derive(Debug)]
pub struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Registered {
    /// What others see of it.
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

/// What became of a request.
#[derive(Debug)]
pub struct Finished {
    started: Instant,
    status: u16,
    refused: Option<Reason>,
    broken: Option<Reason>,
    sent: u64,
    waited: bool,
}

impl Finished {
    /// A request whose head had come at `started`.
    pub fn new(started: Instant) -> Self {
        Self { started, status: 0, refused: None, broken: None, sent: 0, waited: false }
    }

    /// An endpoint answered.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// The proxy answered.
    pub fn refused(&mut self, reason: Reason) {
        self.status = reason.row().status;
        self.refused = Some(reason);
    }

    /// The answer broke off after its head.
    pub fn broken(&mut self, reason: Reason) {
        self.broken = Some(reason);
    }

    /// Bytes of body went to the client.
    pub fn sent(&mut self, n: usize) {
        self.sent += n as u64;
    }

    /// Its answer could not go out at once.
    pub fn waited(&mut self) {
        self.waited = true;
    }

    /// Whether its answer took longer than its head: only then another look at the clock is due for when it ended.
    pub fn has_waited(&self) -> bool {
        self.waited
    }

    /// Bytes of body that went to the client.
    pub fn bytes(&self) -> u64 {
        self.sent
    }

    /// How the request is accounted for, if it says anything about the service.
    fn account(&self, waited: Duration, trail: &Trail) -> Option<Account> {
        let (status, refused, broken) = (self.status, self.refused, self.broken);
        let degraded = trail.degraded.is_some();
        let ended = Ended { status, grpc: trail.grpc.filter(|_| !degraded), refused, broken, degraded, waited };
        let outcome = availability::outcome(&ended)?;
        let first = trail.first.unwrap_or(First::Failed);
        let rescued_by = match trail.by {
            _ if degraded => Some(Rescue::Fallback),
            Some(Why::First | Why::Replay) | None => None,
            Some(Why::Move) => Some(Rescue::OtherEndpoint),
            Some(Why::Retry) => Some(Rescue::Retry),
            Some(Why::TryTimeout) => Some(Rescue::TryTimeout),
            Some(Why::Hedge) => Some(Rescue::Hedge),
        };
        Some(Account { first, outcome, rescued_by, attempts: trail.attempts })
    }

    fn entry(&self, request: &Request, trail: &Trail) -> Entry {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = request.target();
        // Of a request that could not be parsed nothing is known, least of all that it was for `/`.
        let unread = request.head.method().is_empty();
        let or_dash = |text: String| if unread { "-".to_owned() } else { text };
        Entry {
            time: SystemTime::now(),
            method: or_dash(text(request.head.method())),
            host: text(target.host),
            path: or_dash(text(&target.origin)),
            service: trail.side.as_ref().map(|side| Arc::clone(&side.cluster.name)).or_else(|| trail.name.clone()),
            route: trail.route.as_ref().map(|route| Arc::clone(&route.name)),
            endpoint: trail.endpoint,
            status: self.status,
            reason: self.refused.or(self.broken),
            attempts: trail.attempts,
            request_bytes: request.body.taken(),
            response_bytes: self.sent,
            duration: timer::now().saturating_duration_since(self.started),
            client: Some(request.client.peer),
            faults: trail.struck.as_ref().map(|struck| struck.words()).unwrap_or_default(),
            request_id: text(request.id.as_bytes()),
            protocol: request.head.version().text(),
        }
    }
}

/// Runs a worker until the process closes and its connections are done, or out of time.
pub async fn serve(worker: Rc<Worker>, places: Vec<Place>, handed: tokio::sync::mpsc::Receiver<Handed>, tcp: TcpDesk) {
    let _busy = worker.drained.busy();
    let slots = Rc::new(accept::Slots::new(super::h1::exchange));
    let alive = Rc::new(());
    for place in places {
        tokio::task::spawn_local(accept::accept(Rc::clone(&worker), place, Rc::clone(&slots), Rc::clone(&alive)));
    }
    tokio::task::spawn_local(accept::take_over(Rc::clone(&worker), handed, Rc::clone(&slots), Rc::clone(&alive)));
    tokio::task::spawn_local(tcp::serve(Rc::clone(&worker), tcp, Rc::clone(&alive)));
    let ticking = Rc::clone(&worker);
    let ticks = tokio::task::spawn_local(async move {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reaped = timer::now();
        loop {
            tick.tick().await;
            ticking.tick();
            let now = timer::now();
            if now.saturating_duration_since(reaped) >= REAP {
                reaped = now;
                ticking.view().reap(now);
                ticking.pools.buffers.trim();
            }
        }
    });
    let telling = Rc::clone(&worker);
    // Listened to before anything can be missed: the task begins later.
    let mut bell = crate::fault::active::bell();
    let tells = tokio::task::spawn_local(async move {
        // It cannot fail: it rings as long as the process lives.
        while bell.changed().await.is_ok() {
            telling.view().tell_of_faults();
        }
    });
    let mut drained = worker.drained.clone();
    drained.reached(Phase::LameDuck).await;
    worker.enter(Phase::LameDuck);
    drained.reached(Phase::Closing).await;
    worker.enter(Phase::Closing);
    let finish = async {
        // One holder is this function.
        while Rc::strong_count(&alive) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = finish => {}
        () = drained.reached(Phase::Forced) => {}
    }
    ticks.abort();
    tells.abort();
    worker.tick();
}

/// How often the end of the connections is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A worker's thread with its runtime. The sockets are registered on it.
pub fn spawn(
    index: usize,
    plan: Plan,
    sockets: Vec<accept::Socket>,
    handed: tokio::sync::mpsc::Receiver<Handed>,
    tcp: TcpDesk,
) -> io::Result<std::thread::JoinHandle<()>> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        let _ = tell.send(Ok(()));
        let run = async move {
            let worker = Rc::new(Worker::new(index, &plan));
            let places = sockets.into_iter().filter_map(accept::Socket::register).collect();
            serve(worker, places, handed, tcp).await;
        };
        runtime.block_on(run);
    })?;
    told.recv().map_err(|_| io::Error::other("a worker ended before it began"))??;
    Ok(thread)
}

#[cfg(test)]
mod tests;
