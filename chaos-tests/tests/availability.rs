//! The harness of `docs/availability.md` in small: Outrigger alone, one short round of two rows, generous bounds. What it
//! really reaches is measured by `just availability`.
#![allow(clippy::unwrap_used, reason = "tests")]

use chaos_tests::availability::peers::Peer;
use chaos_tests::availability::round::{self, Outcome, Plan, Programs};
use chaos_tests::availability::scenario;
use chaos_tests::proxies::origin::local_runtime;
use chaos_tests::proxy;

fn measured(row: &str) -> Outcome {
    let program = std::path::PathBuf::from(env!("CARGO_BIN_EXE_availability"));
    let target = program.ancestors().nth(2).unwrap().to_owned();
    let programs = Programs { fleet: program, target, outrigger: Some(proxy::binary().to_owned()) };
    let plan = Plan { rounds: 1, warm_up: 1.0, rate: 80.0, one_by_one: false, seed: 1 };
    let scenario = scenario::all().into_iter().find(|s| s.name == row).unwrap();
    let outrigger = Peer::ALL.into_iter().filter(|p| p.name == "outrigger").collect::<Vec<_>>();
    let outcome = local_runtime().unwrap().block_on(round::run(&plan, &scenario, &outrigger, &programs)).unwrap();
    assert!(outcome.absent.is_empty(), "{:?}", outcome.absent);
    outcome
}

/// At most this share of user requests fails, and no POST is executed twice.
#[track_caller]
fn all_but(outcome: &Outcome, percent: f64) {
    let cell = &outcome.cells[0];
    assert!(cell.tally.users.all > 50, "too few to say anything: {cell:?}");
    assert!(cell.tally.users.percent() >= 100.0 - percent, "{cell:#?} {:?}", outcome.weather);
    assert!(cell.tally.gets.percent() >= 100.0 - percent / 10.0, "{cell:#?} {:?}", outcome.weather);
    assert_eq!(cell.doubled, 0, "{cell:#?}");
}

#[test]
fn users_of_ten_services_get_their_answers_while_one_of_five_instances_refuses() {
    all_but(&measured("refuse"), 5.0);
}

#[test]
fn users_of_ten_services_get_their_answers_through_a_rolling_restart_by_kill() {
    all_but(&measured("restart-abrupt"), 5.0);
}
