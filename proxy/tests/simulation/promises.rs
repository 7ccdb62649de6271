//! What is promised, under two hundred seeds; and that each promise breaks once what keeps it is taken out.

use std::time::Duration;

use outrigger::config::settings::Priority;
use outrigger::resilience::limit::Ask;

use crate::client::Outcome;
use crate::faults;
use crate::invariants::{self, ALWAYS, Invariant};
use crate::seeds;
use crate::world::{self, CALM, MENDED, Report, Scenario};

/// So many seeds are run where nothing else is said.
const SEEDS: u64 = 200;
/// So many where a run is only to show one thing more.
const FEWER: u64 = 40;

/// Ends the test if an invariant is broken, and says by what and under which seed.
fn hold(report: &Report, invariants: &[Invariant]) {
    for (name, invariant) in invariants {
        let broken = invariant(report);
        let (seed, first) = (report.seed, broken.iter().take(5).cloned().collect::<Vec<_>>().join("\n  "));
        let count = broken.len();
        assert!(
            broken.is_empty(),
            "OUTRIGGER_SEED={seed}: not so: {name}; {count} times:\n  {first}\n{:#?}",
            report.strikes
        );
    }
}

/// What share of GETs a set of runs has answered.
#[derive(Default)]
struct Tally {
    gets: usize,
    answered: usize,
    promised: usize,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        let gets = || report.asked.iter().filter(|asked| !asked.is_post);
        self.gets += gets().count();
        self.answered += gets().filter(|asked| asked.outcome == Outcome::Right).count();
        self.promised += gets().filter(|asked| invariants::is_promised(asked)).count();
    }

    /// Ends the test if less than this share was answered. One seed alone shows nothing.
    fn at_least(&self, share: f64) {
        let Self { gets, answered, promised } = *self;
        eprintln!("{gets} GETs, {answered} answered, {promised} promised");
        let enough = answered as f64 >= share * gets as f64;
        assert!(enough || gets < 10_000, "{answered} of {gets} GETs were answered");
    }
}

fn one_endpoint_at_a_time(part: u64) {
    let scenario = Scenario::new(faults::one_at_a_time);
    let mut tally = Tally::default();
    for seed in seeds::part(part, 2, SEEDS) {
        let report = world::run(seed, &scenario);
        tally.add(&report);
        hold(&report, &ALWAYS);
        hold(&report, &[("every promised GET is answered", invariants::every_promised_get_is_answered)]);
    }
    tally.at_least(0.999);
    // The promise would be worth nothing if it were seldom given.
    let Tally { gets, promised, .. } = tally;
    assert!(promised as f64 >= 0.99 * gets as f64, "{promised} of {gets} GETs were promised an answer");
}

#[test]
fn one_endpoint_in_trouble_costs_no_get_under_odd_seeds() {
    one_endpoint_at_a_time(1);
}

#[test]
fn one_endpoint_in_trouble_costs_no_get_under_even_seeds() {
    one_endpoint_at_a_time(0);
}

/// Under harsher faults a single GET is promised nothing, and all the rest still holds.
fn two_endpoints_at_a_time(part: u64) {
    let scenario = Scenario::new(faults::two_at_a_time);
    let mut tally = Tally::default();
    for seed in seeds::part(part, 2, SEEDS) {
        let report = world::run(seed, &scenario);
        tally.add(&report);
        hold(&report, &ALWAYS);
    }
    tally.at_least(0.995);
}

#[test]
fn two_endpoints_in_trouble_cost_few_gets_under_odd_seeds() {
    two_endpoints_at_a_time(1);
}

#[test]
fn two_endpoints_in_trouble_cost_few_gets_under_even_seeds() {
    two_endpoints_at_a_time(0);
}

/// Before anything is known of how long answers take, what is slow is not told from what hangs.
#[test]
fn trouble_from_the_first_request_on_costs_few_gets() {
    let scenario = Scenario::new(|_, until| faults::two_at_a_time(Duration::ZERO, until));
    let mut tally = Tally::default();
    for seed in seeds::part(0, 1, FEWER) {
        let report = world::run(seed, &scenario);
        tally.add(&report);
        hold(&report, &ALWAYS);
    }
    tally.at_least(0.98);
}

#[test]
fn an_outage_gets_no_more_than_its_budget_and_ends_when_it_ends() {
    let scenario = Scenario::new(faults::outage);
    for seed in seeds::part(0, 1, FEWER) {
        let report = world::run(seed, &scenario);
        hold(&report, &ALWAYS);
        let outage: [Invariant; 2] = [
            ("an outage is not made worse", |report| invariants::an_outage_is_not_made_worse(report, CALM, MENDED)),
            ("an outage is over when it ends", |report| invariants::an_outage_is_over_when_it_ends(report, MENDED)),
        ];
        hold(&report, &outage);
        let lost =
            report.asked.iter().filter(|asked| (CALM..MENDED).contains(&asked.at) && asked.outcome != Outcome::Right);
        assert!(lost.count() > 400, "OUTRIGGER_SEED={seed}: that was no outage");
    }
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in seeds::part(0, 1, 3) {
        let [first, second] = [(); 2].map(|()| world::run(seed, &Scenario::new(faults::two_at_a_time)).digest);
        assert_eq!(first, second, "OUTRIGGER_SEED={seed}");
        assert_ne!(first, world::run(seed + 1, &Scenario::new(faults::two_at_a_time)).digest);
    }
}

// And without what keeps them, under one of a few seeds.

fn breaks(scenario: &Scenario, invariant: fn(&Report) -> Vec<String>) {
    let broken =
        (1..=10).map(|seed| (seed, invariant(&world::run(seed, scenario)))).find(|(_, broken)| !broken.is_empty());
    let (seed, broken) = broken.expect("the invariant holds without its policy, so it shows nothing");
    eprintln!("OUTRIGGER_SEED={seed}: {} times; the first: {:?}", broken.len(), broken.first());
}

#[test]
fn without_retries_gets_are_lost() {
    let scenario = Scenario::new(faults::one_at_a_time).with("retries: { max: 0 }");
    breaks(&scenario, invariants::every_promised_get_is_answered);
}

#[test]
fn without_second_attempts_beside_slow_ones_gets_are_lost() {
    let scenario = Scenario::new(faults::one_at_a_time).with("hedge: off, per_try_timeout: off");
    breaks(&scenario, invariants::every_promised_get_is_answered);
}

#[test]
fn without_held_answers_gets_are_lost() {
    let scenario = Scenario::new(faults::one_at_a_time).with("hold: off");
    breaks(&scenario, invariants::every_promised_get_is_answered);
}

#[test]
fn where_posts_may_be_repeated_they_are_executed_twice() {
    let scenario = Scenario::new(faults::one_at_a_time).with("retries: { any_method: true }");
    breaks(&scenario, invariants::no_post_is_executed_twice);
}

#[test]
fn with_an_account_that_is_never_empty_it_is_exceeded() {
    let boundless = "retries: { budget: 100%, min_per_second: 1000 }, breaker: off";
    let scenario = Scenario::new(faults::outage).with(boundless);
    breaks(&scenario, invariants::the_account_is_never_exceeded);
    breaks(&scenario, |report| invariants::an_outage_is_not_made_worse(report, CALM, MENDED));
}

#[test]
fn without_the_breaker_the_account_is_still_not_exceeded() {
    let scenario = Scenario::new(faults::outage).with("breaker: off");
    for seed in seeds::part(0, 1, 10) {
        hold(&world::run(seed, &scenario), &ALWAYS);
    }
}

#[test]
fn where_a_clients_deadline_is_not_believed_requests_outlive_it() {
    let scenario = Scenario { trusting: false, ..Scenario::new(faults::outage) };
    breaks(&scenario, invariants::every_request_ends_by_its_deadline);
}

#[test]
fn a_guard_that_is_forgotten_is_seen() {
    let scenario = Scenario {
        meddle: |handles| {
            let worker = &handles.workers[0];
            std::mem::forget(worker.hold(100));
            let view = worker.view();
            let side = view.cluster("orders").expect("the service is gone");
            side.cluster.shared.limits.bulkheads().enter(b"somebody", 1);
            let ask = Ask { priority: Priority::Default, deadline: None };
            side.gate.borrow_mut().enter(ask, std::rc::Rc::default, outrigger::clock::Instant::now());
        },
        ..Scenario::new(faults::one_at_a_time)
    };
    let broken = invariants::every_guard_is_freed(&world::run(1, &scenario));
    let told = ["places in the limit of worker 0", "bytes of held answers of worker 0", "callers in bulkheads"];
    for name in told {
        assert!(broken.iter().any(|line| line.ends_with(name)), "{name} is not among {broken:?}");
    }
}
