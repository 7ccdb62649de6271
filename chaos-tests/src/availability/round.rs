//! One round of one scenario: every contender before a fleet of its own, all under the same schedule at the same time.
//!
//! The load is open: when user requests start is drawn before the round, from the round's seed and for all contenders
//! alike, and a start waits for nothing. All starts of a round are on this one thread, so a proxy that is slow cannot slow
//! the load of another; how late the starts were is measured, and a round in which they were late is no measurement.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::client::{Client, DEADLINE};
use super::fault::Fault;
use super::fleet::Fleet;
use super::numbers::{Call, Tally, amplification, goodput, percentile, recovery};
use super::peers::{Peer, Running, Setting};
use super::scenario::{Scenario, Step};
use super::weather::{Busy, Weather, control_clients, controlled};

/// How rounds are run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Rounds of every cell.
    pub rounds: usize,
    /// Before every round, not counted.
    pub warm_up: f64,
    /// Calls per second and contender, where the scenario says nothing else.
    pub rate: f64,
    /// Whether the contenders take turns, in place of running side by side.
    pub one_by_one: bool,
    /// Of everything that is drawn.
    pub seed: u64,
}

impl Plan {
    /// Whether contenders take turns. What is asked for in a burst, or where the capacity is large, could not be started in
    /// time for all of them at once.
    fn in_turn(&self, scenario: &Scenario) -> bool {
        let asked = scenario.capacity.as_ref().map(|capacity| 2.0 * scenario.capacity_of(capacity));
        self.one_by_one || scenario.burst.is_some() || asked.is_some_and(|asked| asked > self.rate)
    }

    /// Before a burst there is none: it comes to what has just started.
    fn warm_up(&self, scenario: &Scenario) -> f64 {
        if scenario.burst.is_some() { 0.0 } else { self.warm_up }
    }
}

/// Calls of one user request that are under way at once.
const AT_ONCE: usize = 10;

/// Of the calls, those that must not be repeated.
const POSTS: f64 = 0.1;

/// What one contender did in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Which.
    pub peer: String,
    /// From 0.
    pub round: usize,
    /// Users and calls.
    pub tally: Tally,
    /// POSTs that were executed more than once.
    pub doubled: u64,
    /// Requests that came to the service in trouble while it was, by calls that were made to it; without one, those of the
    /// whole round.
    pub amplification: f64,
    /// From the end of the trouble until calls succeed again, in seconds; none for never.
    pub recovery_s: Option<f64>,
    /// What was done of what could have been, while too much was asked.
    pub goodput: Option<f64>,
    /// Failed calls to services that nothing was wrong with, where it is wrong with one.
    pub others_failed: u64,
    /// GETs that the client sent again because a reused connection had been closed.
    pub stale: u64,
    /// CPU time that its process took, in milliseconds.
    pub cpu_ms: f64,
}

/// A scenario's rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub scenario: String,
    /// How it was run, in words.
    pub how: String,
    /// What each contender did in each round.
    pub cells: Vec<Cell>,
    /// How the machine was in each round.
    pub weather: Vec<Weather>,
    /// Contenders that could not take part, and why.
    pub absent: BTreeMap<String, String>,
}

impl Outcome {
    /// Whether what a cell says is of a round that says nothing.
    pub fn disturbed(&self, cell: &Cell) -> bool {
        let its = |w: &&Weather| w.round == cell.round && w.peer.as_ref().is_none_or(|p| *p == cell.peer);
        self.weather.iter().filter(its).any(Weather::disturbed)
    }
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Programs {
    /// What a fleet's processes run, with `fleet` as its first argument.
    pub fleet: PathBuf,
    /// Cargo's, where our own programs and some peers are.
    pub target: PathBuf,
    /// Another Outrigger than the usual one.
    pub outrigger: Option<PathBuf>,
}

struct Contender {
    peer: Peer,
    running: RefCell<Running>,
    fleet: RefCell<Fleet>,
}

/// Runs a scenario with those of `peers` that take part. To be called on a local runtime.
///
/// # Errors
/// A fleet does not start, or the kernel keeps no statistics.
pub async fn run(plan: &Plan, scenario: &Scenario, peers: &[Peer], programs: &Programs) -> io::Result<Outcome> {
    let program = programs.fleet.as_path();
    let directory = tempfile::tempdir()?;
    let standby = if scenario.fallback { Some(Fleet::standby(program)?) } else { None };
    let standby_address = standby.as_ref().and_then(|s| s.addresses(0).first().copied());
    let setting = Setting {
        target: &programs.target,
        outrigger: programs.outrigger.as_deref(),
        directory: directory.path(),
        scenario,
        standby: standby_address,
    };
    let mut outcome = Outcome { scenario: scenario.name.into(), how: how(plan, scenario), ..Outcome::default() };
    let mut contenders = Vec::new();
    for peer in peers.iter().filter(|p| p.takes_part(scenario)) {
        let fleet = Fleet::start(program, scenario.services, scenario.instances, plan.seed)?;
        match peer.start(&setting, &fleet.all_addresses()).await {
            Ok(running) => contenders.push(Rc::new(Contender {
                peer: *peer,
                running: RefCell::new(running),
                fleet: RefCell::new(fleet),
            })),
            Err(error) => drop(outcome.absent.insert(peer.name.into(), error.to_string())),
        }
    }
    let control = Fleet::start(program, scenario.services, 1, plan.seed)?;
    // Half as many again, for those that something else spoilt.
    for round in 0..plan.rounds + plan.rounds / 2 {
        let groups = if plan.in_turn(scenario) {
            contenders.iter().map(|c| vec![Rc::clone(c)]).collect()
        } else {
            vec![contenders.clone()]
        };
        for group in groups {
            let (cells, mut weather) = one(plan, &setting, round, &group, &control).await?;
            weather.peer = plan.in_turn(scenario).then(|| group[0].peer.name.into());
            outcome.cells.extend(cells);
            outcome.weather.push(weather);
        }
        if (0..=round).filter(|r| !outcome.weather.iter().any(|w| w.round == *r && w.disturbed())).count()
            == plan.rounds
        {
            break;
        }
    }
    Ok(outcome)
}

fn how(plan: &Plan, scenario: &Scenario) -> String {
    let rate = match (&scenario.capacity, scenario.burst) {
        (_, Some(posts)) => format!("{posts} POSTs at once, the proxy started anew"),
        (Some(_), _) => "half, then twice, then half its capacity".into(),
        (None, None) => format!("{} calls a second", plan.rate),
    };
    let side = if plan.in_turn(scenario) { "one by one" } else { "side by side" };
    format!(
        "{} rounds of {} s after {} s of warm-up, {rate}, {side}",
        plan.rounds,
        scenario.length(),
        plan.warm_up(scenario)
    )
}

/// One user request that will start.
struct Start {
    at: f64,
    posts: Vec<bool>,
}

fn schedule(plan: &Plan, scenario: &Scenario, round: usize) -> Vec<Start> {
    if let Some(posts) = scenario.burst {
        return (0..posts).map(|_| Start { at: 0.0, posts: vec![true; scenario.services] }).collect();
    }
    let mut rng = fastrand::Rng::with_seed(plan.seed.wrapping_add(round as u64 + 1));
    let mut at = -plan.warm_up;
    let mut starts = Vec::new();
    loop {
        let users = scenario.rate(at, plan.rate) / scenario.services as f64;
        at -= (1.0 - rng.f64()).ln() / users;
        if at >= scenario.length() {
            return starts;
        }
        starts.push(Start { at, posts: (0..scenario.services).map(|_| rng.f64() < POSTS).collect() });
    }
}

async fn one(
    plan: &Plan,
    setting: &Setting<'_>,
    round: usize,
    contenders: &[Rc<Contender>],
    control: &Fleet,
) -> io::Result<(Vec<Cell>, Weather)> {
    let scenario = setting.scenario;
    let starts = Rc::new(schedule(plan, scenario, round));
    for contender in contenders {
        contender.mend(true)?;
        for (_, step) in scenario.steps.iter().filter(|(at, _)| *at == f64::NEG_INFINITY) {
            contender.apply(step)?;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    if scenario.burst.is_some() {
        // Not before: what is idle since then would be a connection to an instance that has vanished.
        for contender in contenders {
            contender.start_again(setting).await?;
        }
    }
    let busy = Busy::now()?;
    let zero = Instant::now() + Duration::from_secs_f64(plan.warm_up(scenario) + 0.05);
    let control = tokio::task::spawn_local(controlled(control_clients(control), scenario.length(), zero, round));
    let tasks = contenders.iter().map(|contender| {
        let (contender, starts) = (Rc::clone(contender), Rc::clone(&starts));
        let scenario = scenario.clone();
        tokio::task::spawn_local(async move { contender.round(&scenario, round, &starts, zero).await })
    });
    let tasks = tasks.collect::<Vec<_>>();
    let (mut cells, mut late) = (Vec::new(), Vec::new());
    for task in tasks {
        let (cell, its) = task.await.map_err(io::Error::other)??;
        cells.push(cell);
        // Of a burst the last ones start when the first ones have been sent: that is what it is.
        if scenario.burst.is_none() {
            late.extend(its);
        }
    }
    late.sort_by(f64::total_cmp);
    let (all, failed) = control.await.map_err(io::Error::other)?;
    let weather = Weather {
        round,
        peer: None,
        busy: busy.share_since()?,
        late_p99_ms: percentile(&late, 0.99).unwrap_or_default() * 1000.0,
        control: all,
        control_failed: failed,
    };
    for contender in contenders {
        contender.mend(false)?;
    }
    Ok((cells, weather))
}

impl Contender {
    /// Every process is there, and without a fault.
    fn mend(&self, quietly: bool) -> io::Result<()> {
        let mut fleet = self.fleet.borrow_mut();
        for instance in 0..fleet.instances() {
            if !fleet.is_alive(instance) {
                if !quietly {
                    eprintln!("{}: instance {instance} had ended", self.peer.name);
                }
                fleet.revive(instance)?;
            }
        }
        fleet.fault(None, None, &Fault::None)
    }

    /// A new process in place of the one that has learned.
    async fn start_again(&self, setting: &Setting<'_>) -> io::Result<()> {
        let services = self.fleet.borrow().all_addresses();
        let running = self.peer.start(setting, &services).await?;
        self.running.replace(running);
        Ok(())
    }

    fn apply(&self, step: &Step) -> io::Result<()> {
        let mut fleet = self.fleet.borrow_mut();
        match step {
            Step::Fault(service, instance, fault) => fleet.fault(*service, *instance, fault)?,
            Step::Kill(instance) => fleet.signal(*instance, Signal::SIGKILL),
            Step::Term(instance) => fleet.signal(*instance, Signal::SIGTERM),
            Step::Revive(instance) => fleet.revive(*instance)?,
        }
        Ok(())
    }

    fn requests(&self, focus: Option<usize>) -> u64 {
        let fleet = self.fleet.borrow();
        focus.map_or_else(|| fleet.ledger.all_requests(), |service| fleet.ledger.requests(service))
    }

    async fn round(
        self: &Rc<Self>,
        scenario: &Scenario,
        round: usize,
        starts: &Rc<Vec<Start>>,
        zero: Instant,
    ) -> io::Result<(Cell, Vec<f64>)> {
        let cpu = self.running.borrow().process.cpu()?.used;
        let client = Rc::new(Client::new(self.running.borrow().address));
        let calls = Rc::new(RefCell::new(Vec::new()));
        let load = self.load(scenario, round, starts, zero, &client, &calls);
        let happens = self.happens(scenario, zero);
        let counted = self.counted(scenario, zero);
        let (late, happened, (before, after)) = tokio::join!(load, happens, counted);
        happened?;
        let calls = calls.take();
        let mut cell = Cell { peer: self.peer.name.into(), round, tally: Tally::of(&calls), ..Cell::default() };
        let (from, to) = Self::counting(scenario);
        let asked = calls.iter().filter(|c| scenario.focus.is_none_or(|f| f as u32 == c.service));
        cell.amplification = amplification(after - before, asked.clone(), from, to);
        if let Some((from, to)) = scenario.window {
            cell.recovery_s = recovery(asked, to, scenario.length());
            if let Some(capacity) = &scenario.capacity {
                cell.goodput = Some(goodput(&calls, from, to, scenario.capacity_of(capacity)));
            }
        }
        if let Some(focus) = scenario.focus {
            let others = calls.iter().filter(|c| c.sent >= 0.0 && c.service != focus as u32);
            cell.others_failed = others.filter(|c| !c.end.is_answered()).count() as u64;
        }
        let ids = format!("{round}-");
        let doubled = self.fleet.borrow().ledger.doubled();
        cell.doubled = doubled.iter().filter(|id| id.starts_with(&ids)).count() as u64;
        cell.stale = client.stale.get();
        cell.cpu_ms = self.running.borrow().process.cpu()?.used.saturating_sub(cpu).as_secs_f64() * 1000.0;
        Ok((cell, late))
    }

    /// When requests are counted for the amplification.
    fn counting(scenario: &Scenario) -> (f64, f64) {
        scenario.window.filter(|_| scenario.focus.is_some()).unwrap_or((0.0, scenario.length()))
    }

    async fn counted(&self, scenario: &Scenario, zero: Instant) -> (u64, u64) {
        // A fleet says every 25 ms what has come.
        const LATER: f64 = 0.04;
        let (from, to) = Self::counting(scenario);
        tokio::time::sleep_until((zero + Duration::from_secs_f64(from + LATER)).into()).await;
        let before = self.requests(scenario.focus);
        tokio::time::sleep_until((zero + Duration::from_secs_f64(to + LATER)).into()).await;
        (before, self.requests(scenario.focus))
    }

    async fn happens(&self, scenario: &Scenario, zero: Instant) -> io::Result<()> {
        for (at, step) in scenario.steps.iter().filter(|(at, _)| *at >= 0.0) {
            tokio::time::sleep_until((zero + Duration::from_secs_f64(*at)).into()).await;
            self.apply(step)?;
        }
        Ok(())
    }

    /// Starts every user request when it is due; gives how late each was, in seconds.
    async fn load(
        &self,
        scenario: &Scenario,
        round: usize,
        starts: &Rc<Vec<Start>>,
        zero: Instant,
        client: &Rc<Client>,
        calls: &Rc<RefCell<Vec<Call>>>,
    ) -> Vec<f64> {
        let since = |zero: Instant| {
            let now = Instant::now();
            now.saturating_duration_since(zero).as_secs_f64() - zero.saturating_duration_since(now).as_secs_f64()
        };
        let mut late = Vec::with_capacity(starts.len());
        let mut users = tokio::task::JoinSet::new();
        for (user, start) in starts.iter().enumerate() {
            let due = if start.at < 0.0 {
                zero - Duration::from_secs_f64(-start.at)
            } else {
                zero + Duration::from_secs_f64(start.at)
            };
            tokio::time::sleep_until(due.into()).await;
            late.push(Instant::now().saturating_duration_since(due).as_secs_f64());
            let (client, calls, starts) = (Rc::clone(client), Rc::clone(calls), Rc::clone(starts));
            let services = scenario.services;
            users.spawn_local(async move {
                let one = |n: usize| {
                    // Not every user begins with the same service.
                    let service = (user + n) % services;
                    let (client, post) = (&client, starts[user].posts[service]);
                    async move {
                        let id = format!("{round}-{user}-{service}");
                        let sent = since(zero);
                        let end = client.call(service, &id, post).await;
                        let (user, service) = (user as u32, service as u32);
                        Call { user, service, post, sent, ended: since(zero), end }
                    }
                };
                let mut done = stream::iter(0..services).map(one).buffer_unordered(AT_ONCE.min(services));
                while let Some(call) = done.next().await {
                    calls.borrow_mut().push(call);
                }
            });
        }
        // Whoever has not ended by now has only its deadline to wait for, or several in a row.
        let patience = DEADLINE * u32::try_from(scenario.services.div_ceil(AT_ONCE) + 1).unwrap_or(2);
        let _ = tokio::time::timeout(patience, async { while users.join_next().await.is_some() {} }).await;
        late
    }
}
