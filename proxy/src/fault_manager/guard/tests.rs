use serde_json::{Value, json};

use super::*;
use crate::control::first_snapshot;
use crate::control::testing::{declare_static, settings};
use crate::counts::ServiceTally;
use crate::counts::{Account, Fate};
use crate::error::Reason;
use crate::fault::spec::Invalid;

fn understood(value: Value) -> Result<Terms, Invalid> {
    serde_json::from_value::<GuardSpec>(value).map_err(|e| Invalid::new("", e.to_string()))?.understand()
}

fn guard(value: Value) -> Guard {
    let spec: GuardSpec = serde_json::from_value(value).unwrap();
    let terms = spec.understand().unwrap();
    Guard::new(1, spec, terms)
}

fn snapshot() -> Snapshot {
    let mut settings = settings(&[]);
    declare_static(&mut settings, "orders", &[("10.0.0.1", 1)]);
    first_snapshot(&settings)
}

fn count(snapshot: &Snapshot, good: u32, lost: u32, took: Duration) {
    let mut tally = ServiceTally::default();
    for n in 0..good + lost {
        let account = if n < good { Account::GOOD } else { Account::of(Fate::Lost(Reason::Timeout), 1) };
        tally.answered(200, took);
        tally.finished(&account);
    }
    snapshot.clusters["orders"].shared.metrics.absorb(&mut tally);
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn success_within_the_window_trips_and_what_was_before_it_does_not() {
    let snapshot = snapshot();
    let facts = Facts { snapshot: &snapshot, metrics: &String::new };
    let mut guard = guard(json!({ "metric": "success", "service": "orders", "below": "99%", "over": "5s" }));
    // An old disaster: it was before the guard.
    count(&snapshot, 0, 1000, SECOND);
    let mut now = Instant::now();
    assert_eq!(guard.look(&facts, now), None);
    for _ in 0..20 {
        now += SECOND;
        count(&snapshot, 99, 1, SECOND);
        assert_eq!(guard.look(&facts, now), None, "99 % is not below 99 %");
    }
    now += SECOND;
    count(&snapshot, 90, 10, SECOND);
    let saw = guard.look(&facts, now).unwrap();
    assert_eq!(&*saw, "success of orders was 97.2% over 5s, below 99%");
}

#[test]
fn few_requests_say_nothing() {
    let snapshot = snapshot();
    let facts = Facts { snapshot: &snapshot, metrics: &String::new };
    let mut guard = guard(json!({ "metric": "success", "service": "orders", "below": "99%" }));
    let now = Instant::now();
    guard.look(&facts, now);
    count(&snapshot, 0, 19, SECOND);
    assert_eq!(guard.look(&facts, now + SECOND), None);
    count(&snapshot, 0, 1, SECOND);
    assert!(guard.look(&facts, now + SECOND * 2).is_some());
}

#[test]
fn the_ninety_ninth_percentile_is_that_of_the_window() {
    let snapshot = snapshot();
    let facts = Facts { snapshot: &snapshot, metrics: &String::new };
    let mut guard = guard(json!({ "metric": "p99", "service": "orders", "above": "2s" }));
    let now = Instant::now();
    guard.look(&facts, now);
    count(&snapshot, 99, 0, Duration::from_millis(3));
    count(&snapshot, 1, 0, Duration::from_secs(4));
    assert_eq!(guard.look(&facts, now + SECOND), None);
    count(&snapshot, 2, 0, Duration::from_secs(4));
    assert_eq!(&*guard.look(&facts, now + SECOND * 2).unwrap(), "p99 of orders was 5.000 s over 5s, above 2 s");
}

#[test]
fn any_metric_can_be_watched_a_counter_by_its_increase_a_second() {
    let snapshot = snapshot();
    let page = |value: u32| {
        move || {
            format!(
                "# TYPE outrigger_x_total counter\noutrigger_x_total{{service=\"a\",code=\"5xx\"}} {value}\n\
                 outrigger_x_total{{service=\"b\",code=\"5xx\"}} 1000\noutrigger_x_totally 7\noutrigger_g 4\n"
            )
        }
    };
    let mut counter =
        guard(json!({ "metric": "outrigger_x_total", "labels": { "service": "a" }, "above": 10, "over": "2s" }));
    let now = Instant::now();
    let look = |guard: &mut Guard, value, at| guard.look(&Facts { snapshot: &snapshot, metrics: &page(value) }, at);
    assert_eq!(look(&mut counter, 500, now), None);
    assert_eq!(look(&mut counter, 510, now + SECOND), None);
    assert_eq!(
        look(&mut counter, 540, now + SECOND * 2).as_deref(),
        Some("outrigger_x_total rose by 20 a second over 2s, above 10")
    );
    let mut gauge = guard(json!({ "metric": "outrigger_g", "below": 5 }));
    assert_eq!(look(&mut gauge, 0, now).as_deref(), Some("outrigger_g was 4, below 5"));
    let mut absent = guard(json!({ "metric": "outrigger_none", "below": 5 }));
    assert_eq!(look(&mut absent, 0, now), None);
}

#[test]
fn a_guard_that_makes_no_sense_is_told_with_its_key() {
    let wrong = |value: Value, key: &str| assert_eq!(understood(value.clone()).unwrap_err().key, key, "{value}");
    wrong(json!({ "metric": "success", "below": "99%" }), "service");
    wrong(json!({ "metric": "success", "service": "a" }), "below");
    wrong(json!({ "metric": "success", "service": "a", "below": 0.99 }), "below");
    wrong(json!({ "metric": "success", "service": "a", "below": "120%" }), "below");
    wrong(json!({ "metric": "p99", "service": "a", "above": "fast" }), "above");
    wrong(json!({ "metric": "latency", "service": "a", "above": "1s" }), "metric");
    wrong(json!({ "metric": "outrigger_x", "above": "many" }), "above");
    wrong(json!({ "metric": "success", "service": "a", "below": "99%", "over": "10ms" }), "over");
    wrong(json!({ "metric": "success", "service": "a", "below": "99%", "heartbeat": "1s" }), "heartbeat");
    wrong(json!({ "metric": "success", "service": "a", "below": "99%", "x": 1 }), "");
}
