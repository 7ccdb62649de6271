//! A service as one worker sees it: its endpoints, and the policies' state between requests.
//!
//! A policy is a small synchronous piece that knows nothing of requests. Here the policies meet what they decide
//! about: which endpoint is picked, what is learned from an attempt, whether a further attempt is paid for. State
//! that all workers share hangs on the published cluster and its endpoints. State of one worker is here.

mod judge;
mod single_try;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::judge::Case;
use self::single_try::Safe;
use crate::balance::slow_start::{self, Newcomers};
use crate::balance::{self, Candidates, Load, LoadBalancer, ewma};
use crate::clock::Instant;
use crate::counts::{Circuit, Ejection, Level, ServiceTally};
use crate::relay::StreamFaultHooks;
use crate::resilience::budget::Terms;
use crate::resilience::limit::Limiter;
use crate::resilience::outlier::{Cause, Change};
use crate::route::key;
use crate::snapshot::{Cluster, EndpointId};
use crate::timer;
use crate::upstream::Upstream;
use crate::worker::gate::Gate;
use crate::worker::latency_classes::LatencyClasses;

/// A cluster as one worker sees it.
pub struct WorkerCluster {
    /// The cluster as published.
    pub cluster: Arc<Cluster>,
    /// How many idle connections to one endpoint this worker keeps.
    pub keep: usize,
    /// What was counted since the last tick. Outlives this view of the cluster.
    pub counts: Rc<Counts>,
    /// The service's limits. Outlive this view of the cluster.
    pub gate: Rc<Gate>,
    /// Wakes this service's connections when its faults change. Outlives this view of the cluster.
    pub fault_hooks: Rc<StreamFaultHooks>,
    /// How long the service's answers take. Outlives this view of the cluster.
    pub latency_classes: Rc<RefCell<LatencyClasses>>,
    pub(crate) upstreams: Vec<Member>,
    balancer: Box<dyn LoadBalancer>,
    newcomers: Newcomers,
    /// When it was last worked out what endpoints count as that have not answered yet; none once all have.
    supposed: Cell<Option<Instant>>,
    terms: Terms,
    safe: RefCell<Safe>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) upstream: Rc<Upstream>,
    relative_weight: f64,
}

/// What a worker has counted of a service since its last tick.
#[derive(Debug, Default)]
pub struct Counts {
    /// For the metrics.
    pub tally: RefCell<ServiceTally>,
    /// Whether the service was asked for since the last tick.
    pub used: Cell<bool>,
    /// Requests that have not been deposited in the retry budget yet.
    requests: Cell<u32>,
    /// Recent picks, halved at each tick: for requests that may be repeated, for those that may not.
    picks: Cell<[u32; 2]>,
    /// The limits as they were last shown.
    levels: Cell<[u32; 3]>,
    /// Picks that had found nobody but ejected endpoints, at the last tick.
    panics: Cell<u64>,
}

/// Endpoints that a request has tried: as many as it has moves and retries.
#[derive(Debug, Default)]
pub struct Tried(Vec<EndpointId>);

impl Tried {
    /// Remembers an endpoint.
    pub fn add(&mut self, id: EndpointId) {
        if !self.has(id) {
            self.0.push(id);
        }
    }

    /// Whether no endpoint was tried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn has(&self, id: EndpointId) -> bool {
        self.0.contains(&id)
    }
}

/// An endpoint that was picked.
#[derive(Debug)]
pub struct Pick<'s> {
    /// The endpoint as this worker sees it.
    pub upstream: Rc<Upstream>,
    /// Its place in the pool.
    pub index: usize,
    /// Whether the attempt tries an endpoint that is ejected, or that came while its service was dead.
    pub probe: Option<Probe<'s>>,
}

/// The right to try an endpoint. Once it is dropped, another attempt may try the endpoint.
#[derive(Debug)]
pub struct Probe<'s> {
    side: &'s WorkerCluster,
    index: usize,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let ms = self.side.ms(timer::now());
        self.side.cluster.shared.pool.released(&*self.side.cluster.endpoints, self.index, ms);
    }
}

/// A token of the retry budget, for a further attempt. It is given back if it is dropped before the attempt is made.
#[derive(Debug)]
pub struct Token<'s> {
    side: &'s WorkerCluster,
    hedge: bool,
}

impl Token<'_> {
    /// The attempt was made.
    pub fn spend(self) {
        std::mem::forget(self);
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        self.side.cluster.shared.budget.give_back(self.hedge);
    }
}

impl WorkerCluster {
    pub(crate) fn new(
        cluster: &Arc<Cluster>,
        before: Option<&WorkerCluster>,
        workers: usize,
        seed: u64,
        now: Instant,
    ) -> Self {
        let survivors: HashMap<EndpointId, &Rc<Upstream>> = before
            .map(|side| side.upstreams.iter().map(|m| (m.upstream.id, &m.upstream)).collect())
            .unwrap_or_default();
        let known = before.map(|side| &side.upstreams[..]).unwrap_or_default();
        let fault_hooks =
            before.map_or_else(|| StreamFaultHooks::new(&cluster.shared.faults), |side| Rc::clone(&side.fault_hooks));
        let typical = ewma::typical(known.iter().map(|member| member.upstream.latency()), now);
        let weights: Vec<u32> = cluster.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let identity =
            |index: usize| cluster.endpoints.get(index).map_or(0, |endpoint| key::of_address(endpoint.address));
        let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / weights.len().max(1) as f64;
        let upstreams = cluster.endpoints.iter().map(|endpoint| Member {
            upstream: survivors.get(&endpoint.id).map_or_else(
                || Rc::new(Upstream::new(endpoint, &fault_hooks, typical, now)),
                |upstream| Rc::clone(upstream),
            ),
            relative_weight: f64::from(endpoint.weight) / mean,
        });
        let joined = cluster.endpoints.iter().map(|e| (e.shared.joined.load(Ordering::Relaxed), e.weight));
        let newcomers = Newcomers::of(joined, cluster.policy.slow_start, cluster.shared.ms(now));
        let max_idle = cluster.policy.max_idle as usize;
        let limit = &cluster.policy.limit;
        let gate = match before {
            Some(side) => {
                side.gate.borrow_mut().configure(limit, workers, now);
                Rc::clone(&side.gate)
            }
            None => Rc::new(RefCell::new(Limiter::new(&cluster.shared.limits, limit, workers, now))),
        };
        let latency_classes = match before {
            Some(side) => Rc::clone(&side.latency_classes),
            None => Rc::new(RefCell::new(LatencyClasses::new(cluster.shared.paces.slot()))),
        };
        Self {
            gate,
            upstreams: upstreams.collect(),
            fault_hooks: Rc::clone(&fault_hooks),
            balancer: balance::build(cluster.policy.balance, &weights, &identity, seed),
            newcomers,
            supposed: Cell::new(Some(now)),
            keep: if max_idle == 0 { 0 } else { (max_idle / workers.max(1)).max(1) },
            counts: before.map(|side| Rc::clone(&side.counts)).unwrap_or_default(),
            latency_classes,
            terms: Terms::of(&cluster.policy.retries, &cluster.policy.hedge),
            safe: RefCell::default(),
            cluster: Arc::clone(cluster),
        }
    }

    /// Milliseconds on the service's clock.
    pub fn ms(&self, now: Instant) -> u64 {
        self.cluster.shared.ms(now)
    }

    // Who is picked.

    /// An endpoint that has not been tried. A request that may not be `repeatable` gets one of the safest, and a further
    /// attempt one of which nothing bad is known, where there is one.
    pub fn pick(&self, tried: &Tried, repeatable: bool, now: Instant) -> Option<Pick<'_>> {
        self.pick_for(None, tried, repeatable, now)
    }

    /// The same for a request that has this in common with others.
    pub fn pick_for(&self, key: Option<u64>, tried: &Tried, repeatable: bool, now: Instant) -> Option<Pick<'_>> {
        let (shared, rules) = (&self.cluster.shared, &self.cluster.policy.outlier);
        let ms = self.ms(now);
        if let Some(at) = self.supposed.get()
            && now.saturating_duration_since(at) >= self.suppose_every()
        {
            self.suppose(now);
        }
        let mut picks = self.counts.picks.get();
        picks[usize::from(!repeatable)] += 1;
        self.counts.picks.set(picks);
        let untried = |index: usize| self.upstreams.get(index).is_some_and(|m| !tried.has(m.upstream.id));
        // Only a first attempt probes an ejected endpoint: a retry is there to succeed.
        if tried.is_empty()
            && let Some(index) = shared.pool.claim_probe(&*self.cluster.endpoints, rules, repeatable, ms, untried)
        {
            let probe = Some(Probe { side: self, index });
            return Some(Pick { upstream: Rc::clone(&self.upstreams[index].upstream), index, probe });
        }
        let safe = if repeatable { None } else { self.safest(ms, now) };
        let choice = |only: Only<'_>| {
            let Self { upstreams: members, cluster, newcomers, .. } = self;
            let choice = Choice { members, cluster, newcomers, tried, key, only, ms, now };
            self.balancer.pick(&choice)
        };
        let sound = if tried.is_empty() { None } else { Some(self.sound(ms, now)) };
        // Where a dead one has to stay in, it is there for when nobody else is.
        let short = shared.pool.is_short(ms) && rules.max_ejected > 0.0;
        let index = safe
            .as_deref()
            .and_then(|left| choice(Only::Among(left)))
            .or_else(|| sound.as_deref().and_then(|left| choice(Only::Among(left))))
            .or_else(|| if short { choice(Only::Alive) } else { None })
            .or_else(|| choice(Only::In))
            // Only ejected endpoints are left: one of them is better than none.
            .or_else(|| choice(Only::Untried).inspect(|_| shared.pool.panicked(ms)))?;
        self.upstreams.get(index).map(|m| Pick { upstream: Rc::clone(&m.upstream), index, probe: None })
    }

    /// Tells each endpoint's average what is typical of the pool.
    fn suppose(&self, now: Instant) {
        let latencies = || self.upstreams.iter().map(|member| member.upstream.latency());
        if let Some(typical) = ewma::typical(latencies(), now) {
            latencies().for_each(|latency| latency.suppose(typical.as_secs_f64() * 1e6));
        }
        self.supposed.set(latencies().any(|latency| !latency.heard()).then_some(now));
    }

    /// How often that is done while some have not answered: it takes time linear in the size of the pool.
    fn suppose_every(&self) -> Duration {
        Duration::from_micros(self.upstreams.len() as u64).max(SUPPOSE_EVERY)
    }

    /// Whether there is an endpoint that has not been tried.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        self.upstreams.iter().any(|member| !tried.has(member.upstream.id))
    }

    /// Whether there is one of them that is not ejected: nobody hedges with an endpoint that is known to be bad.
    pub fn has_untried_in(&self, tried: &Tried) -> bool {
        let members = self.upstreams.iter().zip(self.cluster.endpoints.iter());
        members.into_iter().any(|(member, e)| !tried.has(member.upstream.id) && !e.shared.outlier.is_out())
    }

    /// Whether the service is overloaded. A second attempt beside the first would only add to the load then.
    pub fn is_overloaded(&self) -> bool {
        self.gate.borrow().is_overloaded()
    }

    // Who pays.

    /// A request is for the service.
    pub fn asked(&self) {
        self.counts.used.set(true);
        self.counts.requests.set(self.counts.requests.get().saturating_add(1));
    }

    fn deposit(&self) {
        let requests = self.counts.requests.take();
        if requests > 0 {
            self.cluster.shared.budget.deposit(requests);
        }
    }

    /// Takes a token for a further attempt, if there is one.
    pub fn withdraw(&self, hedge: bool, case: &Case<'_>, now: Instant) -> Option<Token<'_>> {
        self.deposit();
        let (budget, ms) = (&self.cluster.shared.budget, self.ms(now));
        let granted = if hedge {
            budget.withdraw_hedge(&self.terms, ms)
        } else if self.fails_alone(case) {
            budget.withdraw_modestly(&self.terms, ms)
        } else {
            budget.withdraw(&self.terms, ms)
        };
        if !granted {
            self.counts.tally.borrow_mut().budget_refused();
        }
        // A `Token` is made only where one was granted, because dropping it gives one back.
        granted.then(|| Token { side: self, hedge })
    }

    /// Hands over what was counted, and re-evaluates what only shows over time. `clock` is the joint's.
    pub(crate) fn report(&self, clock: u64, now: Instant, random: f64) {
        let shared = &self.cluster.shared;
        if self.counts.used.replace(false) {
            shared.last_used.store(clock, Ordering::Relaxed);
            self.suppose(now);
        }
        self.counts.picks.set(self.counts.picks.get().map(|count| count / 2));
        self.show_limits();
        shared.metrics.absorb(&mut self.counts.tally.borrow_mut());
        let ms = self.ms(now);
        for member in &self.upstreams {
            member.upstream.report(now, ms);
        }
        self.deposit();
        shared.budget.settle(&self.terms, ms);
        self.latency_classes.borrow_mut().refresh(&shared.shared_estimates, now);
        self.tell(&shared.pool.evaluate(&*self.cluster.endpoints, &self.cluster.policy.outlier, ms, random));
        self.show(ms);
    }

    /// Counts and logs who was ejected, and who came back.
    fn tell(&self, changes: &[Change]) {
        let address =
            |index: usize| self.cluster.endpoints.get(index).map(|endpoint| tracing::field::display(endpoint.address));
        for change in changes {
            match *change {
                Change::Out(index, cause) => {
                    let counted = match cause {
                        Cause::Latency => Ejection::Latency,
                        Cause::Share => Ejection::Share,
                        Cause::Silent => Ejection::Silence,
                        Cause::Consecutive | Cause::Probe => Ejection::Consecutive,
                    };
                    self.counts.tally.borrow_mut().ejected(counted);
                    let text = cause.text();
                    tracing::warn!(service = &*self.cluster.name, endpoint = address(index), "ejected: {text}");
                }
                Change::Back(index) => {
                    tracing::info!(service = &*self.cluster.name, endpoint = address(index), "takes requests again");
                }
            }
        }
    }

    fn show_limits(&self) {
        let now = {
            let mut gate = self.gate.borrow_mut();
            gate.report();
            let status = gate.status();
            [status.limit.unwrap_or(0), status.in_flight, status.queued]
        };
        if now != self.counts.levels.replace(now) {
            let mut tally = self.counts.tally.borrow_mut();
            for (level, value) in [Level::Limit, Level::LetIn, Level::Queued].into_iter().zip(now) {
                tally.level(level, value);
            }
        }
    }

    /// Sets what metrics show of the service's state.
    fn show(&self, ms: u64) {
        let shared = &self.cluster.shared;
        let out = self.cluster.endpoints.iter().filter(|e| e.shared.look(ms)).count();
        let gauges = shared.metrics.gauges();
        gauges.endpoints_ejected(u32::try_from(out).unwrap_or(u32::MAX));
        let panics = shared.pool.panics();
        let panicked = self.counts.panics.replace(panics) != panics;
        gauges.fail_open(panicked || out > 0 && out == self.cluster.endpoints.len());
        gauges.breaker(match shared.breaker.status(ms) {
            status if status.open_for.is_none() => Circuit::Closed,
            status if status.half_open => Circuit::HalfOpen,
            _ => Circuit::Open,
        });
        gauges.budget(shared.budget.balance().tokens);
    }
}

impl std::fmt::Debug for WorkerCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerCluster")
            .field("cluster", &self.cluster.name)
            .field("endpoints", &self.upstreams.len())
            .finish()
    }
}

/// How often it is worked out, at most, what endpoints count as that have not answered yet.
const SUPPOSE_EVERY: Duration = Duration::from_millis(1);

/// Which of the untried endpoints may be picked.
#[derive(Clone, Copy)]
enum Only<'a> {
    /// These, if they are not ejected.
    Among(&'a [bool]),
    /// Those that are neither ejected nor dead.
    Alive,
    /// Those that are not ejected.
    In,
    /// All, ejected or not.
    Untried,
}

struct Choice<'a> {
    members: &'a [Member],
    cluster: &'a Cluster,
    newcomers: &'a Newcomers,
    tried: &'a Tried,
    key: Option<u64>,
    only: Only<'a>,
    ms: u64,
    now: Instant,
}

impl Candidates for Choice<'_> {
    fn load(&self, index: usize) -> Load {
        match self.members.get(index) {
            Some(member) => member.upstream.load(self.now, member.relative_weight),
            None => Load { latency: f64::MAX, in_flight: 0, weight: 1.0 },
        }
    }

    fn key(&self) -> Option<u64> {
        self.key
    }

    fn share(&self, index: usize) -> f64 {
        let Some(shared) = self.cluster.endpoints.get(index).map(|e| &e.shared) else { return 1.0 };
        let mut share = self.newcomers.share(shared.joined.load(Ordering::Relaxed), self.ms);
        let returned = shared.outlier.returned();
        if returned != 0 {
            let age = Duration::from_millis(self.ms.saturating_sub(returned));
            share = slow_start::ramp(age, self.cluster.policy.slow_start, slow_start::FLOOR).min(share);
        }
        // What one that is new would not take would go to those who fail.
        if share < 1.0 && self.cluster.shared.pool.is_short(self.ms) { 1.0 } else { share }
    }

    fn usable(&self, index: usize) -> bool {
        let Some(member) = self.members.get(index) else { return false };
        let outlier = || self.cluster.endpoints.get(index).map(|endpoint| &endpoint.shared.outlier);
        let is_in = || outlier().is_some_and(|state| !state.is_out());
        let may = match self.only {
            Only::Among(left) => left.get(index).is_some_and(|left| *left) && is_in(),
            Only::Alive => is_in() && outlier().is_some_and(|state| !state.is_dead(&self.cluster.policy.outlier)),
            Only::In => is_in(),
            Only::Untried => true,
        };
        may && !self.tried.has(member.upstream.id)
    }
}

#[cfg(test)]
mod tests;
