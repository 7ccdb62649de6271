//! A service, its clients and the proxy's workers in virtual time: events in order, no clock, a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::{Limit, Priority};
use crate::resilience::limit::adaptive::Done;
use crate::resilience::limit::{Ask, Entry, Limiter, Pass, Shared};

/// How long a request takes once it is served, relative to the mean.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    Constant,
    Exponential,
    /// Half of it is fixed, the other half exponential.
    Mixed,
    /// One in a hundred takes a hundred times as long as the others.
    SlowTail,
    /// As answers often are: p99 is 3.2 times the median.
    Lognormal,
    /// One in five takes six times as long as the others.
    Bimodal,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
pub enum Service {
    /// Servers with a queue each, first come first served, so many slots each. Whoever gives up is served nevertheless.
    Queues { servers: usize, slots: usize },
    /// As many at once as there are.
    Unbounded,
}

pub type At<T> = Box<dyn Fn(f64) -> T>;

pub struct World {
    pub seed: u64,
    pub workers: usize,
    /// The first worker's share of the requests.
    pub share: f64,
    pub service: Service,
    pub spread: Spread,
    /// Mean service time in seconds, at a time.
    pub mean: At<f64>,
    /// Requests a second, at a time.
    pub rate: At<f64>,
    /// How long clients wait.
    pub patience: f64,
    /// How often a client tries again, 100 ms after it was refused or gave up.
    pub retries: u32,
    /// Long polls, each 30 s long, in no server's slot.
    pub polls: usize,
    /// When they are opened.
    pub opened: Range<f64>,
    pub limit: Limit,
    pub until: f64,
}

impl World {
    pub fn new(seed: u64, service: Service, spread: Spread, mean: f64, rate: At<f64>, until: f64) -> Self {
        Self {
            seed,
            workers: 2,
            share: 0.5,
            service,
            spread,
            mean: Box::new(move |_| mean),
            rate,
            patience: 1.0,
            retries: 0,
            polls: 0,
            opened: 1.0..2.0,
            limit: Limit::default(),
            until,
        }
    }
}

/// What became of a request: when it came, and how long its client waited for an answer that was in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    pub came: f64,
    pub is_poll: bool,
    pub answered: Option<f64>,
    pub refused: bool,
}

#[derive(Debug, Default)]
pub struct History {
    pub fates: Vec<Fate>,
    /// When a worker limited, sampled at arrivals.
    pub limited: Vec<f64>,
    pub overloaded: usize,
    /// Time, latency now in seconds, limits, in flight.
    pub trace: Vec<(f64, f64, Option<u32>, u32)>,
}

impl History {
    /// Requests that came in this time, a second, polls aside.
    pub fn came(&self, from: f64, to: f64) -> f64 {
        self.rate(from, to, |_| true)
    }

    /// Those of them that were answered.
    pub fn goodput(&self, from: f64, to: f64) -> f64 {
        self.rate(from, to, |fate| fate.answered.is_some())
    }

    fn rate(&self, from: f64, to: f64, which: impl Fn(&Fate) -> bool) -> f64 {
        let counts = |fate: &&Fate| !fate.is_poll && (from..to).contains(&fate.came) && which(fate);
        self.fates.iter().filter(counts).count() as f64 / (to - from)
    }

    pub fn refused(&self, from: f64, to: f64) -> usize {
        self.fates.iter().filter(|fate| (from..to).contains(&fate.came) && fate.refused).count()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Poll,
    Again { tries: u32 },
    Served { server: usize, request: usize },
    GiveUp { request: usize },
    Check { worker: usize },
}

#[derive(Debug, Clone, Copy)]
struct Request {
    came: u64,
    sent: u64,
    worker: usize,
    server: usize,
    pass: Option<Pass>,
    ticket: u64,
    is_over: bool,
    is_poll: bool,
    tries: u32,
}

struct Run<'a> {
    world: &'a World,
    rng: fastrand::Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    now: u64,
    start: Instant,
    workers: Vec<Limiter<usize>>,
    loads: Vec<Vec<u32>>,
    queues: Vec<VecDeque<usize>>,
    busy: Vec<usize>,
    requests: Vec<Request>,
    waiting: HashSet<usize>,
    history: History,
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

pub fn run(world: &World) -> History {
    let start = Instant::now();
    let shared = Arc::new(Shared::default());
    let (servers, _) = world.size();
    let mut run = Run {
        rng: fastrand::Rng::with_seed(world.seed),
        events: BinaryHeap::new(),
        order: 0,
        now: 0,
        start,
        workers: (0..world.workers).map(|_| Limiter::new(&shared, &world.limit, world.workers, start)).collect(),
        loads: vec![vec![0; servers]; world.workers],
        queues: vec![VecDeque::new(); servers],
        busy: vec![0; servers],
        requests: Vec::new(),
        waiting: HashSet::new(),
        history: History::default(),
        world,
    };
    run.after(0.0, Event::Arrive);
    for n in 0..world.polls {
        let Range { start, end } = world.opened;
        run.after(start + (end - start) * n as f64 / world.polls as f64, Event::Poll);
    }
    while let Some(Reverse((at, _, event))) = run.events.pop() {
        run.now = at;
        if at > nanos(world.until + 3.0) {
            break;
        }
        run.step(event);
    }
    for worker in &mut run.workers {
        worker.report();
    }
    run.history
}

impl World {
    fn size(&self) -> (usize, usize) {
        match self.service {
            Service::Queues { servers, slots } => (servers, slots),
            Service::Unbounded => (5, usize::MAX),
        }
    }
}

impl Run<'_> {
    fn after(&mut self, seconds: f64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((self.now + nanos(seconds), self.order, event)));
    }

    fn time(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    fn seconds(&self) -> f64 {
        self.now as f64 / 1e9
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.rng.f64()).ln()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                let pause = self.exponential() / (self.world.rate)(self.seconds());
                if self.seconds() < self.world.until {
                    self.after(pause, Event::Arrive);
                    self.arrive(0, false);
                }
            }
            Event::Poll => self.arrive(0, true),
            Event::Again { tries } => self.arrive(tries, false),
            Event::Served { server, request } => self.served(server, request),
            Event::GiveUp { request } => self.give_up(request),
            Event::Check { worker } => self.settle(worker),
        }
    }

    fn arrive(&mut self, tries: u32, is_poll: bool) {
        let worker = if self.rng.f64() < self.world.share { 0 } else { self.rng.usize(1..self.world.workers.max(2)) };
        let worker = worker.min(self.world.workers - 1);
        let id = self.requests.len();
        self.requests.push(Request {
            came: self.now,
            sent: self.now,
            worker,
            server: 0,
            pass: None,
            ticket: 0,
            is_over: false,
            is_poll,
            tries,
        });
        self.history.fates.push(Fate { came: self.seconds(), is_poll, ..Fate::default() });
        let now = self.time();
        let ask = Ask { priority: Priority::Default, deadline: None };
        match self.workers[worker].enter(ask, || id, now) {
            Entry::Now(pass) => self.send(id, pass),
            Entry::Wait(ticket, out) => {
                self.requests[id].ticket = ticket;
                self.waiting.insert(id);
                let patience = self.world.limit.queue_timeout.as_secs_f64();
                self.after(patience, Event::Check { worker });
                if let Some(out) = out {
                    self.refuse(out);
                }
            }
            Entry::Refused => self.refuse(id),
        }
        if !is_poll {
            self.after(self.world.patience, Event::GiveUp { request: id });
        }
        let limiter = &self.workers[worker];
        let status = limiter.status();
        let seconds = self.seconds();
        if status.limit.is_some() {
            self.history.limited.push(seconds);
        }
        self.history.overloaded += usize::from(limiter.is_overloaded());
        if self.history.trace.last().is_none_or(|last| seconds - last.0 > 0.05) {
            let latency = limiter.adaptive.as_ref().map_or(0.0, |a| a.expected().as_secs_f64());
            self.history.trace.push((seconds, latency, status.limit, status.in_flight));
        }
    }

    fn refuse(&mut self, id: usize) {
        self.waiting.remove(&id);
        self.requests[id].is_over = true;
        self.history.fates[id].refused = true;
        self.again(id);
    }

    fn again(&mut self, id: usize) {
        let tries = self.requests[id].tries;
        if tries < self.world.retries {
            self.after(0.1, Event::Again { tries: tries + 1 });
        }
    }

    fn send(&mut self, id: usize, pass: Pass) {
        self.waiting.remove(&id);
        let (servers, slots) = self.world.size();
        let worker = self.requests[id].worker;
        let (a, b) = (self.rng.usize(0..servers), self.rng.usize(0..servers - 1));
        let b = if b >= a { b + 1 } else { b };
        let server = if self.loads[worker][a] <= self.loads[worker][b] { a } else { b };
        self.loads[worker][server] += 1;
        let request = &mut self.requests[id];
        (request.pass, request.server, request.sent) = (Some(pass), server, self.now);
        if request.is_poll {
            self.after(30.0, Event::Served { server: usize::MAX, request: id });
        } else if self.busy[server] < slots {
            self.serve(server, id);
        } else {
            self.queues[server].push_back(id);
        }
    }

    fn serve(&mut self, server: usize, id: usize) {
        self.busy[server] += 1;
        let mean = (self.world.mean)(self.seconds());
        let factor = match self.world.spread {
            Spread::Constant => 1.0,
            Spread::Exponential => self.exponential(),
            Spread::Mixed => 0.5 + 0.5 * self.exponential(),
            Spread::SlowTail => {
                let mixed = 0.5 + 0.5 * self.exponential();
                if self.rng.u32(0..100) == 0 { 100.0 * mixed } else { mixed }
            }
            Spread::Lognormal => {
                let normal =
                    (-2.0 * (1.0 - self.rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * self.rng.f64()).cos();
                (0.5 * normal - 0.125).exp()
            }
            Spread::Bimodal if self.rng.u32(0..5) == 0 => 3.0,
            Spread::Bimodal => 0.5,
        };
        self.after(mean * factor, Event::Served { server, request: id });
    }

    fn served(&mut self, server: usize, id: usize) {
        if server != usize::MAX {
            self.busy[server] -= 1;
            if let Some(next) = self.queues[server].pop_front() {
                self.serve(server, next);
            }
        }
        let request = self.requests[id];
        if !request.is_over {
            self.history.fates[id].answered = Some((self.now - request.came) as f64 / 1e9);
            let latency = Duration::from_nanos(self.now - request.sent);
            self.leave(id, Done::Answered(latency));
        }
    }

    fn give_up(&mut self, id: usize) {
        let request = self.requests[id];
        if request.is_over {
            return;
        }
        if request.pass.is_some() {
            self.leave(id, Done::Cancelled(Duration::from_nanos(self.now - request.sent)));
        } else {
            self.waiting.remove(&id);
            self.requests[id].is_over = true;
            self.workers[request.worker].gone(request.ticket);
        }
        self.again(id);
    }

    fn leave(&mut self, id: usize, done: Done) {
        let request = &mut self.requests[id];
        request.is_over = true;
        let (worker, server) = (request.worker, request.server);
        self.loads[worker][server] -= 1;
        if let Some(pass) = request.pass {
            self.workers[worker].done(&pass, done);
            if self.workers[worker].end(pass) {
                self.settle(worker);
            }
        }
    }

    fn settle(&mut self, worker: usize) {
        let now = self.time();
        while let Some((id, what)) = self.workers[worker].next(now) {
            match what {
                Ok(pass) => self.send(id, pass),
                Err(_) => self.refuse(id),
            }
        }
    }
}
