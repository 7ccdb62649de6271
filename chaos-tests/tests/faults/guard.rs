//! Guards: when what they watch is no longer true, every fault ends within a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::{add, before, fault, faults, json, last_audit, open};

/// Requests a second, by all clients together.
const RATE: u32 = 5_000;
const CLIENTS: u32 = 8;
/// Requests that a client sends at a time.
const BATCH: u32 = 10;

/// Sends requests at a steady rate for so long: when each was answered, and with what.
fn load(address: SocketAddr, within: Duration) -> Vec<(Instant, u16)> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = Connection::open(address);
                let text = "GET / HTTP/1.1\r\nHost: app\r\n\r\n".repeat(BATCH as usize);
                let gap = Duration::from_secs(1) * BATCH * CLIENTS / RATE;
                let begin = Instant::now() + gap * n / CLIENTS;
                let mut seen = Vec::new();
                for step in 0.. {
                    std::thread::sleep((begin + gap * step).saturating_duration_since(Instant::now()));
                    if begin.elapsed() >= within {
                        return seen;
                    }
                    client.send(&text);
                    seen.extend((0..BATCH).map(|_| {
                        let status = client.answer().status();
                        (Instant::now(), status)
                    }));
                }
                seen
            })
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// `OUTRIGGER_GUARD_ROUNDS` says how often, for a figure: `docs/benchmarks.md`.
#[test]
fn a_guard_ends_every_fault_within_a_second_under_load() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::start(&open(&[origin.address]));
    let rounds = std::env::var("OUTRIGGER_GUARD_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let (mut took, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let guard = json!({ "metric": "success", "service": "app", "below": "99%", "over": "1s" });
        assert_eq!(proxy.change("POST", "/api/v1/guards", Some(&guard)).status(), 201);
        let address = proxy.address;
        let clients = std::thread::spawn(move || load(address, Duration::from_millis(3500)));
        // Enough good requests that the window is full of them.
        std::thread::sleep(Duration::from_millis(1500));
        add(&proxy, &fault("abort", json!({ "status": 500 }), json!({ "place": "edge" })));
        let seen = clients.join().unwrap();
        let struck = || seen.iter().filter(|(_, status)| *status == 500).map(|(at, _)| *at);
        let (first, last) = (struck().min().unwrap(), struck().max().unwrap());
        assert!(faults(&proxy).is_empty());
        assert!(last_audit(&proxy)["why"].as_str().unwrap().starts_with("guard: success of app was"));
        // What the guard watches is true for a while yet, so this is more than what the guard takes.
        took.push(last - first);
        rates.push(seen.len() as f64 / 3.5);
    }
    took.sort();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    let rate = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "first to last request struck, {rounds} rounds at {rate:.0} req/s: {:?}, p99 {p99:?}",
        took[took.len() / 2]
    );
    // A machine that does something else as well makes a round later, and none earlier.
    assert!(took[0] < Duration::from_secs(1) && p99 < SOON, "{took:?}");
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
    // More than a guard takes to look; that it has looked and found nothing shows nowhere.
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
