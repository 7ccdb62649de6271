//! Faults as those who carry requests see them.
//!
//! Every service and every TCP proxy has a [`FaultTarget`], on which its faults hang. The list is replaced whole whenever one is
//! added or ended, so a request sees a consistent one, and where there is none, finding that out is one relaxed load. An
//! [`Active`] fault knows when it is over by itself: the fault manager tells it, or its time has come.

mod over;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Place;
use super::spec::{Fault, Spec};
use crate::clock::Instant;

/// What faults hang on.
#[derive(Debug)]
pub struct FaultTarget {
    /// The service's or the TCP proxy's name.
    pub name: Arc<str>,
    /// Which of them it is.
    pub sort: Sort,
    count: AtomicUsize,
    generation: AtomicU64,
    current: ArcSwap<Vec<Arc<Active>>>,
    tallies: ArcSwap<Vec<Arc<Tally>>>,
    wake: watch::Sender<u64>,
}

/// What is counted of a subject's faults of one place and type. It goes with its subject: names that a test suite makes up
/// leave no metrics behind.
#[derive(Debug)]
pub struct Tally {
    /// Where they act.
    pub place: Place,
    /// Their type's name.
    pub kind: &'static str,
    /// Those that are not over.
    pub active: AtomicUsize,
    /// How often they have struck.
    pub injected: AtomicU64,
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A service of the snapshot.
    Service,
    /// A TCP proxy.
    TcpProxy,
}

impl FaultTarget {
    /// One without faults.
    pub fn new(name: &str, sort: Sort) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            sort,
            count: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            current: ArcSwap::default(),
            tallies: ArcSwap::default(),
            wake: watch::Sender::new(0),
        })
    }

    /// As it is called where services and TCP proxies stand side by side: `orders`, `tcp cache`.
    pub fn label(&self) -> String {
        match self.sort {
            Sort::Service => self.name.to_string(),
            Sort::TcpProxy => format!("tcp {}", self.name),
        }
    }

    /// Whether there is no fault: one relaxed load.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Rises with every change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Its faults, in the order in which they were added. Some may be over already: ask each.
    pub fn faults(&self) -> Arc<Vec<Arc<Active>>> {
        self.current.load_full()
    }

    /// What was counted of its faults.
    pub fn tallies(&self) -> Arc<Vec<Arc<Tally>>> {
        self.tallies.load_full()
    }

    /// The tally of a place and a type. The fault manager's alone.
    fn tally(&self, place: Place, kind: &'static str) -> Arc<Tally> {
        let known = self.tallies.load();
        if let Some(tally) = known.iter().find(|tally| tally.place == place && tally.kind == kind) {
            return Arc::clone(tally);
        }
        let tally = Arc::new(Tally { place, kind, active: AtomicUsize::new(0), injected: AtomicU64::new(0) });
        let all = known.iter().cloned().chain([Arc::clone(&tally)]).collect();
        self.tallies.store(Arc::new(all));
        tally
    }

    /// Returns the generation once it is another one than `seen`.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut wake = self.wake.subscribe();
        // It cannot fail: the sender is here.
        let _ = wake.wait_for(|generation| *generation != seen).await;
        self.generation()
    }

    /// Replaces its faults. The fault manager's alone.
    pub(crate) fn set(&self, faults: Vec<Arc<Active>>) {
        let count = faults.len();
        self.current.store(Arc::new(faults));
        self.count.store(count, Ordering::Relaxed);
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake.send_replace(generation);
        BELL.send_modify(|rings| *rings += 1);
    }
}

/// Rings whenever any subject changes: one place to wait at for whoever carries requests for many.
static BELL: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// Tells of changes from now on. Which subject it was shows in its generation.
pub fn bell() -> watch::Receiver<u64> {
    BELL.subscribe()
}

/// Where a fault comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who asked for it, for the audit log: `admin 127.0.0.1:5312`, `toxiproxy 127.0.0.1:5312`, `configuration`, `drill shop`.
    pub by: Arc<str>,
    /// Whether neither time to live nor caps apply: a proxy that was made through Toxiproxy's API is its user's own.
    pub exempt: bool,
}

/// A fault that has been added.
pub struct Active {
    /// Never used twice.
    pub id: u64,
    /// No other fault of its subject is called the same.
    pub name: Arc<str>,
    /// What it hangs on.
    pub subject: Arc<FaultTarget>,
    /// As it was asked for.
    pub spec: Spec,
    /// As it is used.
    pub fault: Fault,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was added.
    pub began: Instant,
    /// When its time is over; none where it has no end of its own.
    pub until: Option<Instant>,
    over: AtomicBool,
    ended: watch::Sender<bool>,
    met: AtomicU64,
    injected: AtomicU64,
    tally: Arc<Tally>,
}

impl Active {
    #[allow(clippy::too_many_arguments, reason = "the fault manager's alone, once")]
    pub(crate) fn new(
        id: u64,
        name: Arc<str>,
        subject: Arc<FaultTarget>,
        spec: Spec,
        fault: Fault,
        origin: Origin,
        began: Instant,
        until: Option<Instant>,
    ) -> Self {
        let tally = subject.tally(fault.place, fault.kind.name());
        tally.active.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            name,
            subject,
            spec,
            fault,
            origin,
            began,
            until,
            over: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            met: AtomicU64::new(0),
            injected: AtomicU64::new(0),
            tally,
        }
    }

    /// Whether it is over: ended, or out of time.
    pub fn is_over(&self, now: Instant) -> bool {
        self.over.load(Ordering::Acquire) || self.until.is_some_and(|until| now >= until)
    }

    /// Ends it. The fault manager's alone.
    pub(crate) fn end(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            self.tally.active.fetch_sub(1, Ordering::Relaxed);
        }
        self.ended.send_replace(true);
    }

    /// Whether it strikes a request or a connection that its scope takes in: draws, counts. `random` is in `0.0..1.0`.
    pub fn strikes(&self, random: f64, now: Instant) -> bool {
        let fault = &self.fault;
        if self.is_over(now) || now.saturating_duration_since(self.began) < fault.after || random >= fault.percent {
            return false;
        }
        if fault.first.is_some() || fault.every.is_some() {
            let met = self.met.fetch_add(1, Ordering::Relaxed) + 1;
            if fault.every.is_some_and(|every| !met.is_multiple_of(every)) {
                return false;
            }
            let nth = fault.every.map_or(met, |every| met / every);
            if fault.first.is_some_and(|first| nth > first) {
                return false;
            }
        }
        self.injected.fetch_add(1, Ordering::Relaxed);
        self.tally.injected.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Whether it was for its first ones only, and has struck them.
    pub fn is_used_up(&self) -> bool {
        let Some(first) = self.fault.first else { return false };
        self.met.load(Ordering::Relaxed) >= first.saturating_mul(self.fault.every.unwrap_or(1))
    }

    /// How often it has struck.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Active").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
