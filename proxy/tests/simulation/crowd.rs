//! A crowd: good clients of both protocols, with bodies of up to a few MiB each way, beside others that read nothing, send
//! nothing more, or ask for what always fails; before pools of one and two endpoints, of which some stand still for a while,
//! come and go, and have their policies changed while requests are under way.
//!
//! What [`world`](crate::world) is for the policies of attempts, this is for everything that one request may take away from
//! another: connections, windows, buffers, places, the breaker. Its clients and endpoints are hyper's on both sides. All of it
//! follows from the seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrigger::config;
use outrigger::control::first_snapshot;
use outrigger::snapshot::{Cluster, Endpoint, EndpointId, EndpointShared, Snapshot};

use crate::proxy::{self, Handles, PORT, Setup};
use client::{Asked, Shared};
use server::{Book, Mood, Taken};

pub mod body;
pub mod client;
pub mod invariants;
mod promises;
pub mod rude;
pub mod server;

/// The services, and their endpoints' hosts. Those of `framed` speak HTTP/2.
pub const SERVICES: [(&str, &[&str]); 3] =
    [("solo", &["solo"]), ("pair", &["paira", "pairb"]), ("framed", &["frameda", "framedb"])];

/// What a crowd is made of.
#[derive(Clone)]
pub struct Scenario {
    /// What is written for every service.
    pub policies: &'static str,
    /// What is written for clients' connections.
    pub http: &'static str,
    /// Whether there are clients that behave badly.
    pub rude: bool,
    /// Whether some of them do so over HTTP/2.
    pub streams: bool,
    /// Whether one URL of `pair` is asked for often, and always fails.
    pub bad_url: bool,
    /// How the second endpoint of each pair stands still for a while, or is slow.
    pub stalls: Stalls,
    /// Whether endpoints come and go, and policies change.
    pub changes: bool,
}

impl Scenario {
    /// Good clients alone.
    pub const CALM: Self = Self {
        policies: "",
        http: "header_timeout: 3s, idle_timeout: 3s, stream_idle_timeout: 5s",
        rude: false,
        streams: false,
        bad_url: false,
        stalls: Stalls::None,
        changes: false,
    };
}

/// What endpoints do to bodies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stalls {
    /// They are well.
    None,
    /// Some stand still, three times, for less than any deadline.
    Passing,
    /// Some stand still, once, for longer than any client waits.
    Lasting,
    /// They are well, and give what is not the answer.
    Lies,
    /// Some answer 503 to what they have taken.
    Fails,
}

/// What happened.
pub struct Report {
    pub seed: u64,
    pub asked: Vec<Asked>,
    pub begun: u64,
    pub taken: Vec<Taken>,
    /// What is held at the end, when good clients have gone and bad ones have been still for longer than any deadline.
    pub held: Vec<(String, u64)>,
}

/// When the last good request begins.
pub const LAST: Duration = Duration::from_secs(8);
/// How long after it everything has to have ended by a deadline of the proxy's.
const REST: Duration = Duration::from_secs(30);

/// Runs a scenario under a seed.
pub fn run(seed: u64, scenario: &Scenario) -> Report {
    crate::seeds::under(seed, || simulate(seed, scenario))
}

fn simulate(seed: u64, scenario: &Scenario) -> Report {
    let workers = fastrand::usize(1..3);
    let latency = Duration::from_millis(fastrand::u64(1..6));
    let mut sim = proxy::network(seed).max_message_latency(latency).tcp_capacity(64).build();
    let book = Book::default();
    let mut moods = Vec::new();
    for (service, hosts) in SERVICES {
        for (nth, host) in hosts.iter().enumerate() {
            let mood = Rc::new(Cell::new(Mood::Well));
            server::add(&mut sim, host, service == "framed", &mood, &book);
            if nth == 1 {
                moods.push(mood);
            }
        }
    }
    let text = configuration(scenario);
    let handles = proxy::proxy(&mut sim, Setup { origins: &[], workers, text: Rc::new(text) });
    let shared = Shared::default();
    for name in ["client-a", "client-b"] {
        let (shared, bad_url) = (shared.clone(), scenario.bad_url);
        sim.client(name, client::run(shared, name == "client-b", bad_url));
    }
    let over = LAST + REST;
    if scenario.rude {
        rude::add(&mut sim, over, scenario.streams);
    }
    let mut seen: Option<Handles> = None;
    let stalls = plan(scenario.stalls, &moods);
    let mut changes = if scenario.changes { times(14) } else { Vec::new() };
    let removed = RefCell::new(None);
    while sim.elapsed() < over {
        let step = sim.step();
        assert!(step.is_ok(), "OUTRIGGER_SEED={seed}: {step:?}");
        seen = handles.take().or(seen);
        let now = sim.elapsed();
        for (mood, at, until, what) in &stalls {
            mood.set(if (*at..*until).contains(&now) { *what } else { mood.get() });
            if now >= *until && mood.get() == *what {
                mood.set(Mood::Well);
            }
        }
        if changes.last().is_some_and(|at| *at <= now) {
            changes.pop();
            change(seen.as_ref().expect("the proxy has begun"), &removed);
        }
    }
    let held = held(&seen.expect("the proxy never began"));
    Report { seed, asked: shared.asked.take(), begun: shared.next.get(), taken: book.take(), held }
}

/// Times between the first second and the last request, the latest first.
fn times(count: usize) -> Vec<Duration> {
    let any = |_| Duration::from_millis(fastrand::u64(1_000..LAST.as_millis() as u64));
    let mut times: Vec<_> = (0..count).map(any).collect();
    times.sort_by(|one, other| other.cmp(one));
    times
}

type Stall = (Rc<Cell<Mood>>, Duration, Duration, Mood);

/// The second endpoint of each pair is in trouble three times, or once.
fn plan(stalls: Stalls, moods: &[Rc<Cell<Mood>>]) -> Vec<Stall> {
    let once = |what| moods.iter().map(move |m| (Rc::clone(m), Duration::from_secs(2), LAST + REST, what)).collect();
    match stalls {
        Stalls::None => return Vec::new(),
        Stalls::Lasting => return once(Mood::WritingNothing),
        Stalls::Lies => return once(Mood::Lying),
        Stalls::Fails => return once(Mood::Failing),
        Stalls::Passing => {}
    }
    let mut stalls = Vec::new();
    for mood in moods {
        let mut at = Duration::from_millis(fastrand::u64(1_000..2_000));
        for _ in 0..3 {
            let until = at + Duration::from_millis(fastrand::u64(300..1_500));
            let what = [Mood::ReadingNothing, Mood::WritingNothing, Mood::Slow][fastrand::usize(..3)];
            stalls.push((Rc::clone(mood), at, until, what));
            at = until + Duration::from_millis(fastrand::u64(200..800));
        }
    }
    stalls
}

fn configuration(scenario: &Scenario) -> impl Fn(&str) -> String + 'static {
    let Scenario { policies, http, .. } = *scenario;
    move |_| {
        let mut services = String::new();
        for (service, hosts) in SERVICES {
            let at: Vec<_> = hosts.iter().map(|host| format!("\"{}:{PORT}\"", turmoil::lookup(*host))).collect();
            let protocol = if service == "framed" { "protocol: http2, " } else { "" };
            let timeout = client::TIMEOUT.as_millis();
            services += &format!(
                "  {service}: {{ instances: [{}], timeout: {timeout}ms, {protocol}{policies} }}\n",
                at.join(", ")
            );
        }
        format!("http: {{ {http} }}\nservices:\n{services}")
    }
}

/// Something that the control plane does: an endpoint goes, comes back as another one, or policies are read anew.
fn change(handles: &Handles, removed: &RefCell<Option<(Arc<str>, Arc<Endpoint>)>>) {
    let mut publisher = handles.publisher.borrow_mut();
    let now = publisher.current();
    let mut clusters = now.clusters.clone();
    let replace = |cluster: &Arc<Cluster>, endpoints: Vec<Arc<Endpoint>>| {
        let Cluster { name, policy, standing, shared, .. } = &**cluster;
        let (name, policy, shared) = (Arc::clone(name), Arc::clone(policy), Arc::clone(shared));
        Arc::new(Cluster { name, policy, standing: *standing, endpoints: endpoints.into(), shared })
    };
    match (removed.take(), fastrand::bool()) {
        (Some((name, gone)), _) => {
            let cluster = &clusters[&name];
            let taken = now.clusters.values().flat_map(|cluster| cluster.endpoints.iter()).map(|e| e.id.0);
            let id = EndpointId(taken.chain([gone.id.0]).max().unwrap_or_default() + 1);
            let (instance, address) = (Arc::clone(&gone.instance), gone.address);
            let shared = Arc::new(EndpointShared::default());
            let back = Endpoint { id, instance, address, weight: gone.weight, health: gone.health, shared };
            let endpoints = cluster.endpoints.iter().cloned().chain([Arc::new(back)]).collect();
            clusters.insert(name, replace(cluster, endpoints));
        }
        (None, true) => {
            let name: Arc<str> = ["pair", "framed"][fastrand::usize(..2)].into();
            let mut endpoints = clusters[&name].endpoints.to_vec();
            removed.replace(Some((Arc::clone(&name), endpoints.pop().expect("an endpoint"))));
            let cluster = replace(&clusters[&name], endpoints);
            clusters.insert(name, cluster);
        }
        (None, false) => {
            // Only policies are taken from it.
            let settings = config::parse("reload.yaml", &handles.text, &|_| None, |_| ()).expect("settings").settings;
            let fresh = first_snapshot(&settings);
            for (name, cluster) in &mut clusters {
                let mut changed = replace(cluster, cluster.endpoints.to_vec());
                if let (Some(new), Some(changed)) = (fresh.clusters.get(name), Arc::get_mut(&mut changed)) {
                    changed.policy = Arc::clone(&new.policy);
                }
                *cluster = changed;
            }
        }
    }
    let (clock, routes) = (now.clock, Arc::clone(&now.routes));
    publisher.publish(Snapshot { generation: 0, clock, routes, clusters, changes: Default::default() });
}

/// What there is of everything that requests and connections hold while they live.
fn held(handles: &Handles) -> Vec<(String, u64)> {
    let mut held = Vec::new();
    for worker in &handles.workers {
        let (view, index) = (worker.view(), worker.index);
        // Idle connections are nobody's; what is open after this is.
        view.close_idle();
        held.push((format!("bytes of held answers of worker {index}"), worker.held_bytes() as u64));
        held.push((format!("client connections of worker {index}"), handles.balancer.connections(index) as u64));
        for (name, _) in SERVICES {
            let status = view.cluster(name).expect("the service is gone").gate.borrow().status();
            held.push((format!("places of {name} at worker {index}"), status.in_flight.into()));
            held.push((format!("waiting for {name} at worker {index}"), status.queued.into()));
        }
    }
    let view = handles.workers[0].view();
    for (name, _) in SERVICES {
        let cluster = &view.cluster(name).expect("the service is gone").cluster;
        held.push((format!("places in the shared limit of {name}"), cluster.shared.limits.counted().into()));
        held.push((format!("callers in bulkheads of {name}"), cluster.shared.limits.bulkheads().callers() as u64));
        let account = cluster.shared.metrics.totals();
        held.push((format!("requests in flight in the account of {name}"), account.in_flight));
        let ended: u64 = account.fates().iter().map(|(_, requests)| requests).sum();
        held.push((format!("requests that the account of {name} does not have"), account.started.abs_diff(ended)));
        for endpoint in &*cluster.endpoints {
            let (shared, at) = (&endpoint.shared, endpoint.address);
            held.push((format!("attempts at {at}"), shared.in_flight.load(Ordering::Relaxed).unsigned_abs()));
            held.push((format!("connections to {at}"), shared.connections.load(Ordering::Relaxed).into()));
        }
    }
    held.retain(|(_, amount)| *amount > 0);
    held
}
