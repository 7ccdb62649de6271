//! What an operator does to a running proxy, and that nobody notices: reloads, restarts, mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::load::Load;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, Fault, get};
use chaos_tests::{SOON, h2, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let config = |n: usize| {
        let mut config = proxy::to(&[origins[n % 2].address]);
        // Other policies too, so that everything that can be rebuilt is.
        config["services"]["app"]["timeout"] = json!(format!("{}ms", 5000 + n));
        config["defaults"] = json!({ "max_idle": 10 + n });
        config
    };
    let proxy = Proxy::start(&config(0));
    let address = proxy.address;
    let load = Load::start(move || address, "a", 200, 4);
    for n in 1..=100 {
        proxy.rewrite(&config(n));
        // By the signal and by the file alone, in turn.
        if n % 4 < 2 {
            proxy.signal(Signal::SIGHUP);
        }
        let name = ["a", "b"][n % 2];
        wait_for(&format!("reload {n}"), SOON, || get(address, "a", "/").field("x-served-by") == Some(name));
    }
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{} of {} failed: {:?}", tally.failed.len(), tally.good, tally.failed);
    assert!(tally.good > 100 && tally.by.len() == 2, "{tally:?}");
}

#[test]
fn a_reload_leaves_requests_in_flight_and_connections_alone() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let proxy = Proxy::start(&proxy::to(&[old.address]));
    let mut client = Connection::open(proxy.address);
    client.send("GET /delay/2000 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request at the origin", SOON, || old.requests() == 1);
    proxy.rewrite(&proxy::to(&[new.address]));
    proxy.signal(Signal::SIGHUP);
    wait_for("the reload", SOON, || get(proxy.address, "a", "/").field("x-served-by") == Some("new"));
    assert_eq!(client.answer().text(), "old\n");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "new\n");
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_said() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let proxy = Proxy::start(&proxy::to(&[old.address]));
    let bad = ["services: [", "serivces: {}\n", "services: { app: { instances: [\"nowhere\"] } }\n"];
    for (n, text) in bad.iter().enumerate() {
        let said = proxy.log().len();
        proxy.rewrite_text(text);
        proxy.signal(Signal::SIGHUP);
        wait_for(&format!("a word about the bad configuration {n}"), SOON, || {
            assert!(!proxy.has_ended(), "it ended: {}", proxy.log());
            let log = proxy.log()[said..].to_lowercase();
            log.contains("config") && (log.contains("error") || log.contains("warn"))
        });
        assert_eq!(get(proxy.address, "a", "/").text(), "old\n");
        assert!(proxy.ready());
    }
    proxy.rewrite(&proxy::to(&[new.address]));
    proxy.signal(Signal::SIGHUP);
    wait_for("the good one after it", SOON, || get(proxy.address, "a", "/").text() == "new\n");
}

#[test]
fn a_drain_under_load_with_a_second_proxy_taking_over_fails_no_request() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["shutdown"] = json!({ "lame_duck": "3s", "deadline": "20s" });
    let mut first = Proxy::start(&config);
    let second = Proxy::start(&config);
    let (to, over) = (first.address, second.address);
    // What a load balancer does: it asks /readyz now and then, and moves the load when that says no.
    let moved = Arc::new(AtomicBool::new(false));
    let (watch, admin) = (Arc::clone(&moved), first.admin);
    let watcher = std::thread::spawn(move || {
        let ready = || {
            let mut connection = Connection::try_open(admin).ok()?;
            connection.try_send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
            Some(connection.try_answer("GET").ok()?.status() == 200)
        };
        while ready() == Some(true) {
            std::thread::sleep(Duration::from_millis(100));
        }
        watch.store(true, Ordering::SeqCst);
    });
    let target = Arc::clone(&moved);
    let load = Load::start(move || if target.load(Ordering::SeqCst) { over } else { to }, "a", 200, 8);
    let mut slow = Connection::open(first.address);
    wait_for("requests at the origin", SOON, || origin.requests() > 50);
    // One that is still at work when the lame duck's time is over.
    let before = origin.requests();
    slow.send("GET /delay/4500 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("it and others at the origin", SOON, || origin.requests() > before + 20);
    let started = Instant::now();
    first.signal(Signal::SIGTERM);
    assert_eq!(slow.answer().text(), "a\n", "what was in flight is finished");
    let status = first.wait_end(SOON * 2);
    let took = started.elapsed();
    assert!(status.success(), "{status}: {}", first.log());
    assert!(took >= Duration::from_millis(2900), "it did not stay for its lame duck: {took:?}");
    watcher.join().unwrap();
    let before = origin.requests();
    wait_for("requests by way of the second", SOON, || origin.requests() > before + 50);
    let tally = load.finish();
    assert!(moved.load(Ordering::SeqCst));
    assert!(tally.failed.is_empty(), "{} of {} failed: {:?}", tally.failed.len(), tally.good, tally.failed);
    assert!(tally.good > 100, "{tally:?}");
}

#[test]
fn a_lame_duck_serves_says_close_and_is_not_ready() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["shutdown"] = json!({ "lame_duck": "10s", "deadline": "60s" });
    let proxy = Proxy::start(&config);
    let mut kept = Connection::open(proxy.address);
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!kept.answer().head.lists("connection", "close"));
    proxy.signal(Signal::SIGTERM);
    wait_for("unreadiness", SOON / 4, || proxy.admin("/readyz").is_some_and(|answer| answer.status() == 503));
    assert_eq!(proxy.admin("/livez").expect("the admin API").status(), 200);
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = kept.answer();
    assert!(answer.status() == 200 && answer.head.lists("connection", "close"), "{:?}", answer.head);
    assert!(kept.ended());
    let mut new = Connection::open(proxy.address);
    new.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = new.answer();
    assert!(answer.status() == 200 && answer.head.lists("connection", "close"), "{:?}", answer.head);
    let mut streams = h2::Client::open(proxy.address, "a");
    assert_eq!(streams.get("/").status(), 200, "HTTP/2 is served, with a GOAWAY");
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["shutdown"] = json!({ "lame_duck": "100ms", "deadline": "120s" });
    let mut proxy = Proxy::start(&config);
    let mut idle = Connection::open(proxy.address);
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.answer();
    let _silent = Connection::open(proxy.address);
    let _streams = h2::Client::open(proxy.address, "a");
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.wait_end(SOON).success(), "{}", proxy.log());
    assert!(idle.ended());
}

#[test]
fn a_second_signal_cuts_what_is_in_flight_and_tells_of_nothing_else() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("60s");
    config["shutdown"] = json!({ "lame_duck": "100s", "deadline": "120s" });
    for busy in [false, true] {
        let mut proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
        if busy {
            let before = origin.requests();
            client.send("GET /delay/60000 HTTP/1.1\r\nHost: a\r\n\r\n");
            wait_for("the request at the origin", SOON, || origin.requests() > before);
        }
        proxy.signal(Signal::SIGTERM);
        wait_for("the drain", SOON, || proxy.log().contains("draining"));
        proxy.signal(Signal::SIGTERM);
        assert_eq!(proxy.wait_end(SOON).code(), Some(i32::from(busy)), "{}", proxy.log());
        assert_eq!(proxy.log().contains("were cut"), busy, "{}", proxy.log());
    }
}

#[test]
fn what_is_in_flight_at_the_deadline_is_cut() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("60s");
    config["shutdown"] = json!({ "lame_duck": "100ms", "deadline": "1s" });
    let mut proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    client.send("GET /delay/60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request at the origin", SOON, || origin.requests() == 1);
    let started = Instant::now();
    proxy.signal(Signal::SIGTERM);
    proxy.wait_end(SOON);
    assert!(started.elapsed() >= Duration::from_millis(900), "cut before the deadline");
    assert!(client.try_answer("GET").map_or(true, |answer| answer.status() == 503));
}

#[test]
fn what_waits_in_the_backlog_of_a_closing_listener_is_served() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut config = proxy::to(&[origin.address]);
    config["shutdown"] = json!({ "lame_duck": "10ms", "deadline": "30s" });
    let mut proxy = Proxy::start(&config);
    // A process that is stopped accepts nothing: whoever connects now waits in the backlog.
    proxy.signal(Signal::SIGSTOP);
    let mut waiting: Vec<_> = (0..50)
        .map(|_| {
            let mut client = Connection::open(proxy.address);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    proxy.signal(Signal::SIGTERM);
    proxy.signal(Signal::SIGCONT);
    let outcomes: Vec<Result<u16, Fault>> =
        waiting.iter_mut().map(|c| c.try_answer("GET").map(|a| a.status()).map_err(|b| b.fault)).collect();
    let lost = outcomes.iter().filter(|outcome| **outcome != Ok(200)).count();
    assert_eq!(lost, 0, "{lost} of 50 were lost: {outcomes:?}");
    assert!(proxy.wait_end(SOON).success(), "{}", proxy.log());
}

#[test]
fn a_second_instance_on_the_same_port_is_refused() {
    let origin = Origin::named("a");
    let first = Proxy::before(&[origin.address]);
    for taken in ["listeners", "admin"] {
        let mut config = proxy::to(&[origin.address]);
        match taken {
            "listeners" => config["listeners"] = json!([{ "address": first.address }]),
            _ => config["admin"] = json!({ "address": first.admin }),
        }
        let mut second = Proxy::start_unready(&config, &[]);
        let status = second.wait_end(SOON);
        assert_eq!(status.code(), Some(1), "{taken}: {}", second.log());
        // The threads that collect its output may be a moment behind its end.
        wait_for("a word about the address", SOON, || {
            second.log().to_lowercase().contains("address already in use")
                || second.log().to_lowercase().contains("address in use")
        });
        let port = if taken == "admin" { first.admin.port() } else { first.address.port() };
        assert!(second.log().contains(&port.to_string()), "which address: {}", second.log());
    }
    for _ in 0..20 {
        assert_eq!(get(first.address, "a", "/").status(), 200);
    }
}

#[test]
fn a_port_is_free_again_at_once_after_the_end() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["listeners"] = json!([{ "address": proxy::free_address() }]);
    config["shutdown"] = json!({ "lame_duck": "10ms", "deadline": "30s" });
    for _ in 0..3 {
        // Its side closes first, so its side keeps the connection in TIME_WAIT.
        let mut proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
        assert!(client.ended());
        drop(client);
        proxy.signal(Signal::SIGTERM);
        assert!(proxy.wait_end(SOON).success());
    }
}

#[test]
fn a_few_long_connections_are_shared_out_evenly_among_the_workers() {
    let origin = Origin::named("a");
    for round in 0..5 {
        let proxy = Proxy::before(&[origin.address]);
        let mut clients: Vec<_> = (0..4).map(|_| Connection::open(proxy.address)).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
        }
        let held = |worker: usize| -> f64 {
            let label = format!("worker=\"{worker}\"");
            proxy.metric("outrigger_client_connections", &[&label]).iter().sum()
        };
        wait_for("four connections in the metrics", SOON, || held(0) + held(1) == 4.0);
        let (one, two) = (held(0), held(1));
        assert!((one - two).abs() <= 1.0, "round {round}: {one} and {two}");
    }
}

#[test]
fn a_load_balancer_needs_no_file() {
    let (light, heavy) = (Origin::named("light"), Origin::named("heavy"));
    let (light_at, heavy_at) = (light.address.to_string(), format!("{},weight=3", heavy.address));
    let proxy = Proxy::with_arguments(&["lb", &light_at, &heavy_at]);
    for host in ["a", "b.example:80"] {
        for _ in 0..20 {
            assert_eq!(get(proxy.address, host, "/").status(), 200);
        }
    }
    assert!(light.requests() > 0 && heavy.requests() > light.requests() / 2);
    assert_eq!(light.requests() + heavy.requests(), 40);
}

#[test]
fn an_unreadable_configuration_is_an_error_that_names_the_file() {
    let output = proxy::outrigger(&["run", "--config", "/nonexistent/outrigger.yaml"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nonexistent/outrigger.yaml"), "{said}");
}

#[test]
fn clients_beyond_the_limit_of_connections_do_not_disturb_those_within() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["http"] = json!({ "max_connections": 10 });
    let proxy = Proxy::start(&config);
    let mut within: Vec<_> = (0..10).map(|_| Connection::open(proxy.address)).collect();
    // At work: connections at rest would make room.
    for client in &mut within {
        client.send("GET /delay/8000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait_for("the requests of those within", SOON, || origin.requests() == 10);
    let mut beyond: Vec<_> = (0..10).map(|_| Connection::open(proxy.address)).collect();
    let mut served = 0;
    for client in &mut beyond {
        client.patience(Duration::from_millis(200));
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok();
        served += usize::from(client.try_answer("GET").is_ok_and(|answer| answer.status() == 200));
    }
    assert_eq!(served, 0, "more than ten were served");
    for client in &mut within {
        assert_eq!(client.answer().status(), 200);
    }
    drop(within);
    drop(beyond);
    wait_for("room for others", SOON, || {
        let Ok(mut client) = Connection::try_open(proxy.address) else { return false };
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
            && client.try_answer("GET").is_ok_and(|answer| answer.status() == 200)
    });
}
