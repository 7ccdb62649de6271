//! Every order in which workers can meet, for what they share.
//!
//! `RUSTFLAGS='--cfg outrigger_loom' cargo test -p outrigger --test loom --target-dir target/loom`

#![cfg(outrigger_loom)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by ending")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::thread;
use outrigger::clock::Instant;
use outrigger::config::settings::{Breaker, Limit, Outlier, Priority};
use outrigger::resilience::breaker::{Admission, CircuitBreaker};
use outrigger::resilience::budget::{RetryBudget, Terms};
use outrigger::resilience::limit::bulkhead::Bulkheads;
use outrigger::resilience::limit::{Ask, Entry, Limiter, RECHECK, Shared, TURN};
use outrigger::resilience::outlier::{Change, Failure, Members, OutlierState, PoolState};
use outrigger::resilience::shape::{Record, Shape};

const TERMS: Terms = Terms { budget: 0.2, min_per_second: 0.1, hedge_share: 0.05 };

/// The same in every order in which a thread is interrupted three times at most: what looks at every endpoint of a pool has
/// more steps than can be told apart in all of them. Races show with one or two (M. Musuvathi and S. Qadeer, "Iterative context
/// bounding for systematic testing of multithreaded programs", 2007).
fn up_to_three_interruptions(model: impl Fn() + Sync + Send + 'static) {
    let mut every = loom::model::Builder::new();
    every.preemption_bound = Some(3);
    every.check(model);
}

/// Runs both at once, in every order.
fn together<T: Send + Sync + 'static>(shared: &Arc<T>, one: impl FnOnce(&T) + Send + 'static, other: impl FnOnce(&T)) {
    let theirs = Arc::clone(shared);
    let thread = thread::spawn(move || one(&theirs));
    other(shared);
    thread.join().unwrap();
}

#[test]
fn two_that_withdraw_at_once_never_take_the_same_token() {
    loom::model(|| {
        // One token, and no income while they are at it.
        let budget = Arc::new((RetryBudget::new(&TERMS, 1_000), AtomicUsize::new(0)));
        assert_eq!(budget.0.balance().tokens, 1.0);
        let take = |shared: &(RetryBudget, AtomicUsize)| {
            shared.1.fetch_add(usize::from(shared.0.withdraw(&TERMS, 1_010)), Ordering::SeqCst);
        };
        together(&budget, take, take);
        assert_eq!(budget.1.load(Ordering::SeqCst), 1);
        assert_eq!(budget.0.balance().tokens, 0.0);
    });
}

#[test]
fn the_income_of_a_time_is_reckoned_once() {
    loom::model(|| {
        let terms = Terms { min_per_second: 1.0, ..TERMS };
        let budget = Arc::new((RetryBudget::new(&terms, 1_000), AtomicUsize::new(0)));
        while budget.0.withdraw(&terms, 1_000) {}
        let settle = |shared: &(RetryBudget, AtomicUsize)| {
            shared.0.settle(&Terms { min_per_second: 1.0, ..TERMS }, 3_000);
        };
        together(&budget, settle, settle);
        assert_eq!(budget.0.balance().tokens, 2.0, "two seconds of one token each");
    });
}

const BREAKER: Breaker =
    Breaker { enabled: true, consecutive: 2, silence: Duration::ZERO, probe_every: Duration::from_millis(100) };

fn shape(path: &str) -> Shape {
    Shape::of(b"GET", path.as_bytes())
}

#[test]
fn one_of_those_who_come_at_once_probes_a_dead_service() {
    loom::model(|| {
        let shared = Arc::new((CircuitBreaker::default(), AtomicUsize::new(0)));
        (0..2).for_each(|_| _ = shared.0.failed(&BREAKER, shape("/"), 1_000, 1_000));
        let admit = |shared: &(CircuitBreaker, AtomicUsize)| {
            let passed = shared.0.admit(&BREAKER, shape("/"), 1_200) != Admission::Refused;
            shared.1.fetch_add(usize::from(passed), Ordering::SeqCst);
        };
        together(&shared, admit, admit);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_breaker_opens_once_for_failures_that_come_at_once() {
    // Of what a failure looks at there are too many orders; three switches in the middle of something show what there is.
    let mut some = loom::model::Builder::new();
    some.preemption_bound = Some(3);
    some.check(|| {
        let shared = Arc::new((CircuitBreaker::default(), AtomicUsize::new(0)));
        let fail = |shared: &(CircuitBreaker, AtomicUsize)| {
            (0..2).for_each(|_| {
                _ = shared
                    .1
                    .fetch_add(usize::from(shared.0.failed(&BREAKER, shape("/"), 1_000, 1_000)), Ordering::SeqCst)
            });
        };
        together(&shared, fail, fail);
        assert!(shared.0.is_open());
        assert_eq!((shared.1.load(Ordering::SeqCst), shared.0.status(1_000).openings), (1, 1));
    });
}

const FIXED: Limit =
    Limit { max_in_flight: Some(1), adaptive: false, queue: 4, queue_timeout: Duration::from_secs(60) };
const ASK: Ask = Ask { priority: Priority::Default, deadline: None };

#[test]
fn workers_that_let_in_at_once_share_one_fixed_number() {
    let now = Instant::now();
    loom::model(move || {
        let shared = Arc::new((Arc::new(Shared::default()), AtomicUsize::new(0)));
        let enter = move |(shared, within): &(Arc<Shared>, AtomicUsize)| {
            let mut limiter = Limiter::<()>::new(shared, &FIXED, 2, now);
            if let Entry::Now(pass) = limiter.enter(ASK, || (), now) {
                assert_eq!(within.fetch_add(1, Ordering::SeqCst), 0, "two where one may be");
                within.fetch_sub(1, Ordering::SeqCst);
                limiter.end(pass);
            }
        };
        together(&shared, enter, enter);
        assert_eq!(shared.0.counted(), 0, "a place was lost");
        assert_eq!(shared.0.status().queued, 0);
    });
}

#[test]
fn whoever_waits_at_one_worker_gets_the_place_that_another_leaves() {
    let now = Instant::now();
    loom::model(move || {
        let shared = Arc::new(Shared::default());
        let mut busy = Limiter::<()>::new(&shared, &FIXED, 2, now);
        let Entry::Now(pass) = busy.enter(ASK, || (), now) else { panic!("it is free") };
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut waiting = Limiter::<()>::new(&theirs, &FIXED, 2, now);
            match waiting.enter(ASK, || (), now) {
                Entry::Wait(..) => {
                    // Once to say that it wants one, and once more however late the other one leaves.
                    let later = now + TURN;
                    let first = waiting.next(later).is_some();
                    (waiting, first)
                }
                _ => (waiting, true),
            }
        });
        busy.end(pass);
        // It would take what is free again, and must not where another one has said that it waits.
        let again = matches!(busy.enter(ASK, || (), now), Entry::Now(_));
        let (mut waiting, mut served) = thread.join().unwrap();
        served |= waiting.next(now + TURN + RECHECK).is_some();
        assert!(served != again, "one place: the waiting one has it: {served}, the busy one: {again}");
        assert_eq!(shared.counted(), 1);
    });
}

#[test]
fn a_caller_that_comes_twice_at_once_has_one_count() {
    // Whoever is there first may sit where the caller's count would be, and leave just then.
    for other in [b"b", b"c", b"d", b"e"] {
        // Of three threads there are too many orders; three switches in the middle of something show what there is.
        let mut some = loom::model::Builder::new();
        some.preemption_bound = Some(3);
        some.check(move || {
            let shared = Arc::new((Bulkheads::default(), AtomicUsize::new(0)));
            let first = shared.0.enter(other, 1).unwrap();
            let enter = |(bulkheads, entered): &(Bulkheads, AtomicUsize)| {
                entered.fetch_add(usize::from(bulkheads.enter(b"a", 1).is_some()), Ordering::SeqCst);
            };
            let threads = [(); 2].map(|()| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || enter(&shared))
            });
            shared.0.leave(first);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(shared.1.load(Ordering::SeqCst), 1, "of one place");
        });
    }
}

#[test]
fn bulkheads_are_empty_when_all_have_left() {
    loom::model(|| {
        let shared = Arc::new(Bulkheads::default());
        let come_and_go = |bulkheads: &Bulkheads| {
            if let Some(place) = bulkheads.enter(b"a", 2) {
                bulkheads.leave(place);
            }
        };
        together(&shared, come_and_go, come_and_go);
        assert_eq!(shared.callers(), 0);
    });
}

#[test]
fn an_open_breaker_passes_those_who_have_not_failed_and_one_of_the_others() {
    loom::model(|| {
        let shared = Arc::new((CircuitBreaker::default(), AtomicUsize::new(0)));
        (0..2).for_each(|_| _ = shared.0.failed(&BREAKER, shape("/bad"), 1_000, 1_000));
        let bad = |shared: &(CircuitBreaker, AtomicUsize)| {
            let passed = shared.0.admit(&BREAKER, shape("/bad"), 1_200) != Admission::Refused;
            shared.1.fetch_add(usize::from(passed), Ordering::SeqCst);
            _ = shared.0.failed(&BREAKER, shape("/bad"), 1_200, 1_200);
        };
        let good = |shared: &(CircuitBreaker, AtomicUsize)| {
            assert_eq!(shared.0.admit(&BREAKER, shape("/"), 1_200), Admission::Pass);
            _ = shared.0.succeeded(|| shape("/"), 1_200, 1_200);
        };
        together(&shared, bad, good);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
        assert_eq!(shared.0.admit(&BREAKER, shape("/"), 1_201), Admission::Pass);
    });
}

#[test]
fn what_fails_while_others_are_answered_is_no_evidence_in_the_end() {
    loom::model(|| {
        let record = Arc::new((Record::default(), AtomicUsize::new(0)));
        let fail = |shared: &(Record, AtomicUsize)| _ = shared.0.failed(shape("/bad"), 10_000, 1_000);
        let succeed = |shared: &(Record, AtomicUsize)| shared.0.succeeded(shape("/"), 1_000);
        together(&record, fail, succeed);
        // Whoever was first, the next answer settles it.
        record.0.succeeded(shape("/"), 1_001);
        assert!(!record.0.failed(shape("/bad"), 10_000, 1_002));
    });
}

struct Rig {
    states: Vec<OutlierState>,
    pool: PoolState,
    counted: AtomicUsize,
}

impl Members for Rig {
    fn count(&self) -> usize {
        self.states.len()
    }

    fn state(&self, index: usize) -> &OutlierState {
        &self.states[index]
    }

    fn median_us(&self, _: usize) -> u64 {
        0
    }

    fn quarter_us(&self, _: usize) -> u64 {
        0
    }
}

impl Rig {
    fn of(count: usize) -> Arc<Self> {
        let states = (0..count).map(|_| OutlierState::default()).collect();
        Arc::new(Self { states, pool: PoolState::default(), counted: AtomicUsize::new(0) })
    }

    fn fail(&self, index: usize) {
        let rules = Outlier { consecutive: 1, max_ejected: 0.5, ..Outlier::default() };
        let failure = Failure { shape: shape("/"), trouble: 1, begun: 60_000 };
        let held = self.pool.failed(self, index, &rules, failure, 60_000, 0.5);
        let ejected = held.changes.iter().filter(|change| matches!(change, Change::Out(..))).count();
        self.counted.fetch_add(ejected, Ordering::SeqCst);
    }

    fn out(&self) -> usize {
        self.states.iter().filter(|state| state.is_out()).count()
    }
}

#[test]
fn two_that_eject_at_once_leave_the_cap_whole() {
    up_to_three_interruptions(|| {
        // Of three at half, one.
        let rig = Rig::of(3);
        together(&rig, |rig| rig.fail(0), |rig| rig.fail(1));
        assert!(rig.out() <= 1, "{} are out", rig.out());
        assert_eq!(rig.counted.load(Ordering::SeqCst), rig.out());
    });
}

#[test]
fn one_of_those_who_come_at_once_tries_an_endpoint() {
    loom::model(|| {
        let rig = Rig::of(3);
        rig.fail(0);
        assert_eq!(rig.out(), 1);
        rig.counted.store(0, Ordering::SeqCst);
        let claim = |rig: &Rig| {
            let claimed = rig.pool.claim_probe(rig, &Outlier::default(), true, 90_000, |_| true);
            rig.counted.fetch_add(usize::from(claimed.is_some()), Ordering::SeqCst);
        };
        together(&rig, claim, claim);
        assert_eq!(rig.counted.load(Ordering::SeqCst), 1);
    });
}
