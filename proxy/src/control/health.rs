//! Checks of our own: whether an endpoint answers, asked by us, and not by the registry or by the requests.
//!
//! Why, when the registry checks too, and requests show who fails? Because the registry checks from elsewhere, by its
//! own schedule, and is the first to be wrong when the network between it and the instances breaks: then it takes away
//! instances that answer, and keeps what is gone. And requests find out by failing. So a service may have checks
//! declared: they take out what the registry still has, and keep for a while what it has lost. How the two views
//! become one is [`reconcile`](super::reconcile)'s table.
//!
//! One small task per checked address, which sleeps, asks and tells. Why not one scheduler with a queue? It would be
//! tokio's timer wheel over again. What has to be bounded is what runs at the same time: at most [`AT_ONCE`] checks hold
//! a connection; the others wait, and their timeout begins when they are asked.
//!
//! A check lives as long as its place in a [`Targets`]: dropping that ends it, in the middle of a connection if need be.

mod grpc;
pub mod probe;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

pub use self::probe::{Fault, Question};
pub use self::verdict::{Change, CheckState};
use crate::clock::Instant;
use crate::config::settings::{HealthCheck, Policy, Protocol};
use crate::telemetry::metrics::count_check_not_made;
use crate::telemetry::status::CheckStatus;
use crate::tls::client::Proof;

/// Checks that run at the same time.
pub const AT_ONCE: usize = 256;

/// How one check is made, or a test's way.
pub type Ask = Arc<dyn Fn(Question) -> Answer + Send + Sync>;
/// A check on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// What the checks of a service have come to, by address. An address that is not there is not checked.
pub type Verdicts = BTreeMap<SocketAddr, CheckState>;

/// A check that has ended.
#[derive(Debug)]
pub struct Checked {
    /// The service's name with us.
    pub pool: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// Which task asked: one that was replaced may still have something on its way.
    pub task: u64,
    /// Good, or why not.
    pub result: Result<(), Arc<str>>,
}

/// Makes checks for all services.
pub struct Checker {
    ask: Ask,
    slots: Arc<Semaphore>,
    results: mpsc::Sender<Checked>,
    tasks: u64,
}

impl Checker {
    /// Sends what it finds out to `results`.
    pub fn new(ask: Ask, results: mpsc::Sender<Checked>) -> Self {
        Self { ask, slots: Arc::new(Semaphore::new(AT_ONCE)), results, tasks: 0 }
    }

    fn start(&mut self, pool: &Arc<str>, rules: &Rules, address: SocketAddr, tls: Option<Proof>) -> Checking {
        self.tasks += 1;
        let (task, pool) = (self.tasks, Arc::clone(pool));
        let (ask, slots, results) = (Arc::clone(&self.ask), Arc::clone(&self.slots), self.results.clone());
        let question = Question {
            address,
            port: rules.check.port,
            probe: rules.check.probe.clone(),
            protocol: rules.protocol,
            tls,
            service: Arc::clone(&pool),
            timeout: rules.check.timeout,
        };
        let interval = rules.check.interval;
        let spawned = tokio::spawn(async move {
            let mut first = true;
            loop {
                // Nobody closes the semaphore.
                let Ok(slot) = slots.acquire().await else { return };
                let started = Instant::now();
                let result = ask(question.clone()).await;
                drop(slot);
                let result = match result {
                    Ok(()) => Some(Ok(())),
                    Err(Fault::Theirs(why)) => Some(Err(why.into())),
                    Err(Fault::Ours(why)) => {
                        count_check_not_made();
                        tracing::warn!(service = &*pool, %address, why, "a health check could not be made");
                        None
                    }
                };
                if let Some(result) = result {
                    let checked = Checked { pool: Arc::clone(&pool), address, task, result };
                    if results.send(checked).await.is_err() {
                        return;
                    }
                }
                sleep_until((started + verdict::gap(interval, first, fastrand::f64())).into()).await;
                first = false;
            }
        });
        Checking { task, handle: spawned.abort_handle() }
    }
}

/// How a service is checked.
#[derive(Debug, Clone, PartialEq)]
struct Rules {
    check: HealthCheck,
    protocol: Protocol,
}

/// A check that goes on; dropping it ends it.
#[derive(Debug)]
struct Checking {
    task: u64,
    handle: AbortHandle,
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The addresses of one service that are checked.
#[derive(Debug, Default)]
pub struct Targets {
    rules: Option<Rules>,
    /// What those that speak TLS have to prove.
    proofs: BTreeMap<SocketAddr, Proof>,
    checking: BTreeMap<SocketAddr, Checking>,
}

impl Targets {
    /// Takes a service's policy. True if what was found out so far no longer counts: another question is asked now, or
    /// none. New times and counts begin to hold, and keep the verdicts.
    pub fn follow(&mut self, policy: &Policy) -> bool {
        let new = policy.health_check.clone().map(|check| Rules { check, protocol: policy.protocol });
        if new == self.rules {
            return false;
        }
        let question = |rules: &Option<Rules>| {
            rules.as_ref().map(|rules| (rules.check.probe.clone(), rules.check.port, rules.protocol))
        };
        let another = question(&new) != question(&self.rules);
        self.rules = new;
        self.checking.clear();
        another
    }

    /// From now on these have to prove something, when they are checked.
    pub fn prove(&mut self, proofs: BTreeMap<SocketAddr, Proof>) {
        self.checking.retain(|address, _| self.proofs.get(address) == proofs.get(address));
        self.proofs = proofs;
    }

    /// From now on exactly these addresses are checked, each at once if it was not.
    pub fn want(&mut self, pool: &Arc<str>, wanted: &BTreeSet<SocketAddr>, verdicts: &mut Verdicts, by: &mut Checker) {
        let Some(rules) = &self.rules else {
            verdicts.clear();
            return;
        };
        self.checking.retain(|address, _| wanted.contains(address));
        verdicts.retain(|address, _| wanted.contains(address));
        for address in wanted {
            verdicts.entry(*address).or_default();
            let proof = || self.proofs.get(address).cloned();
            self.checking.entry(*address).or_insert_with(|| by.start(pool, rules, *address, proof()));
        }
    }

    /// Takes a result in. `now` is the joint's clock.
    pub fn take(&self, checked: Checked, verdicts: &mut Verdicts, now: u64) -> Change {
        let Some(rules) = &self.rules else { return Change::None };
        if self.checking.get(&checked.address).is_none_or(|checking| checking.task != checked.task) {
            return Change::None;
        }
        let verdict = verdicts.entry(checked.address).or_default();
        let (before, bad) = (verdict.word(), checked.result.is_err());
        let change = verdict.take(checked.result, &rules.check, now);
        if change == Change::Status {
            let (service, address) = (&*checked.pool, checked.address);
            match (before, bad) {
                (_, true) => tracing::warn!(service, %address, why = verdict.why(), "the health check fails"),
                (CheckStatus::Failing, false) => tracing::info!(service, %address, "the health check passes again"),
                _ => tracing::debug!(service, %address, "the health check passes"),
            }
        }
        change
    }
}

/// Real connections.
pub fn system() -> Ask {
    Arc::new(|question| Box::pin(probe::ask(question)))
}

#[cfg(test)]
mod tests;
