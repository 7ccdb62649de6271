//! Guards: when what they watch is no longer true, every fault ends within a second.

use std::time::{Duration, Instant};

use chaos_tests::fleet::Origin;
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::{add, before, fault, faults, json, last_audit, open};

/// What a guard's answer to a request is: the status.
fn statuses(address: std::net::SocketAddr, until: impl Fn() -> bool) -> Vec<(Instant, u16)> {
    let mut client = Connection::open(address);
    let mut seen = Vec::new();
    while !until() {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        seen.push((Instant::now(), client.answer().status()));
    }
    seen
}

#[test]
fn a_guard_ends_every_fault_within_a_second_under_load() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        // Enough good requests that the window is full of them.
        let start = Instant::now();
        statuses(proxy.address, || start.elapsed() > Duration::from_millis(500));
        let guard = json!({ "metric": "success", "service": "app", "below": "99%", "over": "1s" });
        assert_eq!(proxy.change("POST", "/api/v1/guards", Some(&guard)).status(), 201);
        std::thread::sleep(Duration::from_millis(200));
        add(&proxy, &fault("abort", json!({ "status": 500 }), json!({ "place": "edge" })));
        let begin = Instant::now();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let address = proxy.address;
                std::thread::spawn(move || statuses(address, || begin.elapsed() > Duration::from_secs(3)))
            })
            .collect();
        let seen: Vec<(Instant, u16)> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let last = seen.iter().filter(|(_, status)| *status == 500).map(|(at, _)| *at).max().unwrap();
        slowest = slowest.max(last - begin);
        assert!(faults(&proxy).is_empty(), "round {round}");
        assert!(last_audit(&proxy)["why"].as_str().unwrap().starts_with("guard: success of app was"));
    }
    // From the first request that failed: the guard's condition cannot hold before that.
    assert!(slowest < Duration::from_millis(1000), "{slowest:?}");
}

#[test]
fn whoever_a_guard_has_stopped_learns_it_and_may_not_go_on() {
    let origin = Origin::named("a");
    let mut config = open(&[origin.address]);
    config["routes"] = json!([{ "path": "/watched", "service": "app" }, { "service": "app" }]);
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    let guard = json!({
        "controller": "drill", "heartbeat": "30s", "metric": "success", "route": "routes[0]", "below": "90%", "over": "2s",
    });
    assert_eq!(proxy.change("POST", "/api/v1/guards", Some(&guard)).status(), 201);
    let held = json!({ "place": "edge", "controller": "drill", "heartbeat": "30s" });
    let spec = fault("abort", json!({ "status": 500 }), held);
    add(&proxy, &spec);
    let beat = || json(&proxy.change("POST", "/api/v1/heartbeat", Some(&json!({ "controller": "drill" }))));
    for _ in 0..50 {
        get(proxy.address, "app", "/another");
    }
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(beat()["aborted"], json!(null), "another route is not watched");
    for _ in 0..50 {
        get(proxy.address, "app", "/watched");
    }
    wait_for("the guard", SOON, || beat()["aborted"] != json!(null));
    let beat = beat();
    assert_eq!(beat["faults"], json!([]));
    assert!(beat["aborted"].as_str().unwrap().contains("routes[0]"), "{beat}");
    let again = proxy.change("POST", "/api/v1/faults", Some(&spec));
    assert_eq!(again.status(), 409, "{}", again.text());
    assert!(again.text().contains("stopped by a guard"), "{}", again.text());
}

#[test]
fn any_metric_that_is_exposed_can_be_watched() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let guard = json!({ "metric": "outrigger_requests_total", "labels": { "service": "app", "code": "5xx" }, "above": 5, "over": "1s" });
    assert_eq!(proxy.change("POST", "/api/v1/guards", Some(&guard)).status(), 201);
    add(&proxy, &fault("abort", json!({ "status": 503 }), json!({ "place": "edge" })));
    wait_for("the guard", SOON, || {
        get(proxy.address, "app", "/");
        faults(&proxy).is_empty()
    });
    assert!(last_audit(&proxy)["why"].as_str().unwrap().contains("outrigger_requests_total rose by"));
}
