//! How many requests may be at a service, who waits, and who is refused first.

use std::time::Duration;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, Message, ask};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{POST, Word, answering_after, begin, error, get_with, one_by_one, wait_for_metric};

fn limited(origin: &Scripted, policy: &str, keys: Value) -> Proxy {
    let mut config = one_by_one(&[origin.address]);
    config["services"]["app"][policy] = keys;
    Proxy::start(&config)
}

fn of(caller: &str) -> String {
    get_with("/", &[("x-outrigger-caller", caller)])
}

fn worth(priority: &str) -> String {
    get_with("/", &[("x-outrigger-priority", priority)])
}

/// A request that has arrived at the origin, and is not answered.
fn held(proxy: &Proxy, origin: &Scripted, request: &str) -> Connection {
    let before = origin.requests();
    let client = begin(proxy, request);
    wait_for("a request to arrive", SOON, || origin.requests() > before);
    client
}

fn waiting(proxy: &Proxy, request: &str, queued: f64) -> Connection {
    let client = begin(proxy, request);
    wait_for_metric(proxy, "outrigger_queued_requests", &["service=\"app\""], queued);
    client
}

fn assert_refused(answer: &Message, reason: &str) {
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(error(answer).contains("error=connection_limit_reached"), "{}", error(answer));
    assert!(answer.text().contains(reason), "{}", answer.text());
}

#[test]
fn a_caller_that_has_used_up_its_part_is_refused_and_no_other_is() {
    let go = Word::default();
    let origin = answering_after(&go);
    let proxy = limited(&origin, "bulkhead", json!({ "per": "caller", "max_in_flight": 2 }));
    let mut greedy = [held(&proxy, &origin, &of("greedy")), held(&proxy, &origin, &of("greedy"))];
    assert_refused(&ask(proxy.address, of("greedy")), "bulkhead_full");
    let mut modest = held(&proxy, &origin, &of("modest"));
    assert_eq!(origin.requests(), 3, "who is refused is not sent");
    go.say(true);
    assert!(greedy.iter_mut().all(|client| client.answer().status() == 200));
    assert_eq!(modest.answer().status(), 200);
    // What ends makes room.
    for _ in 0..5 {
        assert_eq!(ask(proxy.address, of("greedy")).status(), 200);
    }
}

#[test]
fn what_finds_no_room_waits_its_turn_and_no_more_are_at_the_service_than_may_be() {
    let go = Word::default();
    let origin = answering_after(&go);
    let limit = json!({ "max_in_flight": 1, "queue": 2, "queue_timeout": "20s", "adaptive": false });
    let proxy = limited(&origin, "limit", limit);
    let mut clients = vec![held(&proxy, &origin, &of("a"))];
    clients.push(waiting(&proxy, &of("a"), 1.0));
    clients.push(waiting(&proxy, &of("a"), 2.0));
    assert_refused(&ask(proxy.address, of("a")), "limit_reached");
    assert_eq!(origin.requests(), 1);
    go.say(true);
    assert!(clients.iter_mut().all(|client| client.answer().status() == 200));
    assert_eq!(origin.requests(), 3);
    wait_for_metric(&proxy, "outrigger_queued_requests", &["service=\"app\""], 0.0);
    wait_for_metric(&proxy, "outrigger_limited_requests", &["service=\"app\""], 0.0);
}

#[test]
fn who_has_waited_long_enough_is_refused_and_who_goes_away_leaves_no_place_taken() {
    let go = Word::default();
    let origin = answering_after(&go);
    let limit = json!({ "max_in_flight": 1, "queue": 1, "queue_timeout": "300ms", "adaptive": false });
    let proxy = limited(&origin, "limit", limit);
    let mut first = held(&proxy, &origin, &of("a"));
    assert_refused(&ask(proxy.address, of("a")), "queue_timeout");
    for _ in 0..10 {
        // Gone while it waits, or before: how long it stays is what is done here.
        drop(begin(&proxy, &of("a")));
        std::thread::sleep(Duration::from_millis(5));
    }
    go.say(true);
    assert_eq!(first.answer().status(), 200);
    for _ in 0..10 {
        assert_eq!(ask(proxy.address, of("a")).status(), 200, "a place was lost");
    }
    // Those in the line were gone before their turn, or as good as.
    wait_for_metric(&proxy, "outrigger_limited_requests", &["service=\"app\""], 0.0);
}

#[test]
fn sheddable_requests_are_refused_first() {
    let go = Word::default();
    let origin = answering_after(&go);
    let proxy = limited(&origin, "limit", json!({ "max_in_flight": 5, "queue": 0, "adaptive": false }));
    let mut clients: Vec<_> = (0..4).map(|_| held(&proxy, &origin, &worth("sheddable"))).collect();
    assert_refused(&ask(proxy.address, worth("sheddable")), "limit_reached");
    clients.push(held(&proxy, &origin, &worth("default")));
    assert_refused(&ask(proxy.address, worth("default")), "limit_reached");
    go.say(true);
    assert!(clients.iter_mut().all(|client| client.answer().status() == 200));
}

#[test]
fn a_critical_request_takes_the_place_of_a_sheddable_one_in_line() {
    let go = Word::default();
    let origin = answering_after(&go);
    let limit = json!({ "max_in_flight": 1, "queue": 1, "queue_timeout": "20s", "adaptive": false });
    let proxy = limited(&origin, "limit", limit);
    let mut first = held(&proxy, &origin, &worth("default"));
    let mut sheddable = waiting(&proxy, &worth("sheddable"), 1.0);
    let mut critical = begin(&proxy, &worth("critical"));
    assert_refused(&sheddable.answer(), "limit_reached");
    go.say(true);
    assert_eq!(first.answer().status(), 200);
    assert_eq!(critical.answer().status(), 200);
}

#[test]
fn at_the_cap_a_post_has_the_place_of_an_idle_connection_that_is_too_old_for_it() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut config = one_by_one(&[origin.address]);
    config["services"]["app"]["max_connections"] = json!(1);
    config["services"]["app"]["idle_timeout"] = json!("30s");
    let proxy = Proxy::start(&config);
    let ask = |request: &str| ask(proxy.address, request).status();
    assert_eq!(ask(&get_with("/", &[])), 200);
    // A connection that was used within the last second is taken for anything.
    assert_eq!((ask(POST), origin.connections()), (200, 1));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!((ask(POST), origin.connections()), (200, 2));
}
