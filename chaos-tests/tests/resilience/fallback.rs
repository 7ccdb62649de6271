//! What is answered when a service has failed: an earlier answer, another service's, a fixed one. Each is marked and counted.

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{ask, get};
use serde_json::{Value, json};

use crate::stage::{POST, Word, failing_while, one_by_one, wait_for_metric};

/// Of no use to anybody a second later, but for an operator who says otherwise.
const CARD: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nX-Card: 7\r\nContent-Length: 4\r\n\r\ncard";
const SECRET: &str = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 6\r\n\r\nsecret";
const MARK: &str = "outrigger-degraded";

fn with(fallback: Value, origin: &Scripted) -> Value {
    let mut config = one_by_one(&[origin.address]);
    config["services"]["app"]["fallback"] = fallback;
    config["services"]["app"]["retries"] = json!({ "max": 0 });
    config
}

fn assert_counted(proxy: &Proxy, degraded: f64, failed: f64) {
    let app = "service=\"app\"";
    wait_for_metric(proxy, "outrigger_outcomes_total", &[app, "outcome=\"degraded\""], degraded);
    wait_for_metric(proxy, "outrigger_outcomes_total", &[app, "outcome=\"failure\""], failed);
    wait_for_metric(proxy, "outrigger_account_total", &[app, "fate=\"degraded\""], degraded);
}

#[test]
fn an_earlier_answer_is_served_when_the_service_fails_and_is_marked_and_counted() {
    let dead = Word::default();
    let origin = failing_while(&dead, CARD);
    let proxy = Proxy::start(&with(json!({ "stale": "60s" }), &origin));
    let first = get(proxy.address, "a", "/card");
    assert_eq!((first.status(), first.text().as_str(), first.field(MARK)), (200, "card", None));
    dead.say(true);
    let stale = get(proxy.address, "a", "/card");
    assert_eq!((stale.status(), stale.text().as_str(), stale.field("x-card")), (200, "card", Some("7")));
    let mark = stale.field(MARK).expect("a mark");
    assert!(mark.starts_with("stale;reason=upstream_status;age="), "{mark}");
    assert!(stale.field("age").is_some(), "{:?}", stale.head);
    // Of what was never answered there is no copy.
    let other = get(proxy.address, "a", "/other");
    assert_eq!((other.status(), other.field(MARK)), (503, None));
    assert_eq!(ask(proxy.address, POST).status(), 503);
    assert_counted(&proxy, 1.0, 2.0);
    dead.say(false);
    assert_eq!(get(proxy.address, "a", "/card").field(MARK), None, "the service is asked again at once");
}

#[test]
fn an_answer_that_must_not_be_stored_is_never_served_again() {
    let dead = Word::default();
    let origin = failing_while(&dead, SECRET);
    let proxy = Proxy::start(&with(json!({ "stale": "60s" }), &origin));
    assert_eq!(get(proxy.address, "a", "/").text(), "secret");
    dead.say(true);
    let answer = get(proxy.address, "a", "/");
    assert_eq!((answer.status(), answer.text().as_str(), answer.field(MARK)), (503, "", None));
}

#[test]
fn another_service_answers_for_one_that_failed_but_not_a_post_that_may_have_been_carried_out() {
    let dead = Word::default();
    dead.say(true);
    let (origin, other) = (failing_while(&dead, CARD), Origin::named("lite"));
    let mut config = with(json!({ "service": "lite" }), &origin);
    config["services"]["lite"] = json!({ "instances": [other.address.to_string()] });
    let proxy = Proxy::start(&config);
    let answer = get(proxy.address, "a", "/");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "lite\n"));
    assert_eq!(answer.field(MARK), Some("service;reason=upstream_status;name=\"lite\""));
    assert_eq!((ask(proxy.address, POST).status(), other.requests()), (503, 1));
    assert_counted(&proxy, 1.0, 1.0);
}

#[test]
fn a_fixed_answer_stands_in_for_a_service_that_failed_whatever_the_method() {
    let dead = Word::default();
    dead.say(true);
    let origin = failing_while(&dead, CARD);
    let fixed = json!({ "status": 200, "headers": { "content-type": "application/json" }, "body": "[]" });
    let proxy = Proxy::start(&with(fixed, &origin));
    for request in [POST.to_owned(), POST.replace("POST", "GET")] {
        let answer = ask(proxy.address, request);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "[]"));
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.field(MARK), Some("static;reason=upstream_status"));
    }
    assert_counted(&proxy, 2.0, 0.0);
    dead.say(false);
    assert_eq!(get(proxy.address, "a", "/").text(), "card");
}
