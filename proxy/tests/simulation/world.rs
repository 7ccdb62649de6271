//! A world: a proxy before five endpoints, two clients, and a schedule of what goes wrong.
//!
//! [`run`] returns everything that happened, for the [invariants](crate::invariants) to be held against. All of it follows
//! from the seed.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrigger::counts::Totals;
use outrigger::resilience::outlier::EjectionState;
use tokio::time::sleep;

use crate::client::{self, Asked, Load, Shared};
use crate::endpoint::{self, Book, Fate, Mood, NAMES, Read};
use crate::faults::{self, Strike};
use crate::proxy::{self, Handles, Setup};

/// What a run is made of.
#[derive(Clone)]
pub struct Scenario {
    /// What goes wrong, from the first time to the second.
    pub schedule: fn(Duration, Duration) -> Vec<Strike>,
    /// What is written for the service, beside its endpoints; empty for the defaults.
    pub policies: &'static str,
    /// Whether the proxy believes what its clients say of their deadlines.
    pub trusting: bool,
    /// Whether some seeds have limits as well, none of which is ever reached.
    pub limits: bool,
    /// What else is done to the proxy once all is over, before its guards are counted.
    pub meddle: fn(&Handles),
}

impl Scenario {
    /// The defaults, under these faults.
    pub fn new(schedule: fn(Duration, Duration) -> Vec<Strike>) -> Self {
        Self { schedule, policies: "", trusting: true, limits: true, meddle: |_| () }
    }

    /// The same with other policies.
    pub fn with(self, policies: &'static str) -> Self {
        Self { policies, limits: false, ..self }
    }
}

/// What happened.
pub struct Report {
    pub seed: u64,
    pub strikes: Vec<Strike>,
    /// In the order in which they ended.
    pub asked: Vec<Asked>,
    /// When each began.
    pub begun: Vec<Duration>,
    pub read: Vec<Rc<Read>>,
    /// The service's account when all is over.
    pub account: Totals,
    /// What of it did not add up when it was looked at, which was at each step.
    pub unsound: Vec<String>,
    /// What is still held when all is over: its name, and how much of it.
    pub held: Vec<(String, u64)>,
    pub digest: u64,
}

/// From the beginning until something goes wrong: what is slow has to be learned first.
pub const CALM: Duration = Duration::from_millis(2_500);
/// When everything is well again.
pub const MENDED: Duration = Duration::from_secs(8);
/// When the last request begins.
pub const LAST: Duration = Duration::from_millis(9_500);
/// For this long after the last request has ended, what was overtaken may still end by itself.
const PAUSE: Duration = Duration::from_millis(700);
/// From one request to the next, of each of two clients.
const EVERY: Duration = Duration::from_millis(20);

/// Runs a scenario under a seed.
pub fn run(seed: u64, scenario: &Scenario) -> Report {
    crate::seeds::under(seed, || simulate(seed, scenario))
}

fn simulate(seed: u64, scenario: &Scenario) -> Report {
    let strikes = (scenario.schedule)(CALM, MENDED);
    let latency = Duration::from_millis(fastrand::u64(2..15));
    let workers = fastrand::usize(1..3);
    let limits = scenario.limits && fastrand::bool();
    let mut sim = proxy::network(seed).max_message_latency(latency).tcp_capacity(1_024).build();
    let book = Book::default();
    let moods: Vec<Rc<Cell<Mood>>> = NAMES.iter().map(|_| Rc::new(Cell::new(Mood::Well))).collect();
    for (name, mood) in NAMES.iter().zip(&moods) {
        endpoint::add(&mut sim, name, mood, &book);
    }
    let text = configuration(scenario, limits);
    let handles = proxy::proxy(&mut sim, Setup { origins: &NAMES, workers, text: Rc::new(text) });
    let shared = Shared::default();
    for name in ["client-a", "client-b"] {
        let (shared, load) = (shared.clone(), Load { every: EVERY, lasts: LAST, posts: 0.1 });
        sim.client(name, async move {
            client::run(shared, load).await?;
            sleep(PAUSE).await;
            Ok(())
        });
    }
    let mut handles_seen: Option<Handles> = None;
    let (mut begun, mut ended) = (vec![false; strikes.len()], vec![false; strikes.len()]);
    let mut unsound = Vec::new();
    loop {
        let step = sim.step();
        assert!(step.is_ok(), "OUTRIGGER_SEED={seed}: {step:?}");
        if handles_seen.is_none()
            && let Some(handles) = handles.take()
        {
            let view = handles.workers[0].view();
            shared.cluster.replace(view.cluster("orders").map(|side| side.cluster.clone()));
            handles_seen = Some(handles);
        }
        let now = sim.elapsed();
        let account = shared.cluster.borrow().as_ref().map(|cluster| cluster.shared.metrics.totals());
        unsound
            .extend(account.filter(|account| !account.reconciles()).map(|account| format!("at {now:?}: {account:?}")));
        for (index, strike) in strikes.iter().enumerate() {
            if !begun[index] && strike.at <= now {
                begun[index] = true;
                strike.whom.iter().for_each(|whom| faults::strike(&mut sim, &moods, strike.fault, *whom));
            }
            if !ended[index] && strike.at + strike.lasts <= now {
                ended[index] = true;
                strike.whom.iter().for_each(|whom| faults::mend(&mut sim, &moods, strike.fault, *whom, latency));
            }
        }
        if step.is_ok_and(|over| over) {
            break;
        }
    }
    let handles = handles_seen.expect("the proxy never began");
    (scenario.meddle)(&handles);
    let held = held(&handles);
    let account = shared.cluster.borrow().as_ref().expect("the service is gone").shared.metrics.totals();
    let asked = shared.asked.take();
    let read: Vec<Rc<Read>> = book.take();
    // The end of the simulation is nobody's fault.
    read.iter().filter(|read| read.fate.get() == Fate::Open).for_each(|read| read.fate.set(Fate::Left));
    let digest = digest(&asked, &read);
    Report { seed, strikes, asked, begun: shared.begun.take(), read, account, unsound, held, digest }
}

fn configuration(scenario: &Scenario, limits: bool) -> impl Fn(&str) -> String + 'static {
    let trusted = if scenario.trusting { "\"192.168.0.0/16\"" } else { "" };
    let limits = match limits {
        true => "limit: { max_in_flight: 500 }, bulkhead: { per: caller, max_in_flight: 300 },",
        false => "",
    };
    let policies = scenario.policies;
    move |instances| {
        format!(
            "http: {{ trusted_cidrs: [{trusted}] }}\n\
             services: {{ orders: {{ instances: [{instances}], {limits} {policies} }} }}"
        )
    }
}

/// What there is of everything that a request holds while it lives.
fn held(handles: &Handles) -> Vec<(String, u64)> {
    let mut held = Vec::new();
    for worker in &handles.workers {
        let (view, index) = (worker.view(), worker.index);
        // Idle connections are nobody's; what is open after this is.
        view.close_idle();
        let status = view.cluster("orders").expect("the service is gone").gate.borrow().status();
        held.push((format!("places in the limit of worker {index}"), status.in_flight.into()));
        held.push((format!("places in the queue of worker {index}"), status.queued.into()));
        held.push((format!("bytes of held answers of worker {index}"), worker.held_bytes() as u64));
        held.push((format!("client connections of worker {index}"), handles.balancer.connections(index) as u64));
    }
    let view = handles.workers[0].view();
    let cluster = &view.cluster("orders").expect("the service is gone").cluster;
    held.push(("places in the shared limit".into(), cluster.shared.limits.counted().into()));
    held.push(("callers in bulkheads".into(), cluster.shared.limits.bulkheads().callers() as u64));
    for (name, endpoint) in NAMES.iter().zip(&*cluster.endpoints) {
        let shared = &endpoint.shared;
        held.push((format!("attempts in flight at {name}"), shared.in_flight.load(Ordering::Relaxed).unsigned_abs()));
        held.push((format!("connections to {name}"), shared.connections.load(Ordering::Relaxed).into()));
        let probing = shared.outlier.standing(0) == EjectionState::Probing;
        held.push((format!("attempts that try {name}"), probing.into()));
    }
    held.retain(|(_, amount)| *amount > 0);
    held
}

/// A number that two runs share only if the same happened in both, at the same times.
fn digest(asked: &[Asked], read: &[Rc<Read>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for asked in asked {
        (asked.id, asked.at, asked.took, format!("{:?}", asked.outcome)).hash(&mut hasher);
    }
    for read in read {
        (read.id, read.at, read.reused, format!("{:?}", read.fate)).hash(&mut hasher);
    }
    hasher.finish()
}
