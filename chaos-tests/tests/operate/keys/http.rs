//! What stands under `http` and `listeners`: bounds on heads, on rest and on memory, and the names of the control fields.

use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::{Connection, ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use super::{OK, Word, answering_after, with};

/// A request whose head, from its first byte to the empty line's last, has so many bytes.
fn head_of(bytes: usize) -> String {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Fill: \r\n\r\n";
    head.replace("X-Fill: ", &format!("X-Fill: {}", "a".repeat(bytes - head.len())))
}

#[test]
fn a_head_is_read_up_to_its_size_and_its_lines_and_no_further_from_either_side() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["http"] = json!({ "max_head_size": "2KiB", "max_headers": 20 });
    let proxy = Proxy::start(&config);
    let status = |request: String| ask(proxy.address, request).status();
    assert_eq!((status(head_of(2048)), status(head_of(2049))), (200, 431));
    let lines = |count| {
        let fields: String = (2..count).map(|n| format!("X-{n}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")
    };
    assert_eq!((status(lines(20)), status(lines(21))), (200, 431));
    // What hyper adds by itself stays below a hundred bytes and ten lines.
    let answer = |path: &str| get(proxy.address, "a", path).status();
    assert_eq!((answer("/wide/1900"), answer("/wide/2049")), (200, 502));
    assert_eq!((answer("/lines/10"), answer("/lines/21")), (200, 502));
}

#[test]
fn the_control_fields_have_the_names_that_they_were_given_and_no_others() {
    let go = Word::default();
    let origin = answering_after(&go);
    let mut config = with(&[origin.address], json!({ "limit": { "max_in_flight": 5, "queue": 0, "adaptive": false } }));
    config["services"]["app"]["bulkhead"] = json!({ "per": "caller", "max_in_flight": 4 });
    config["http"] = json!({ "deadline_header": "X-Wait-Ms", "priority_header": "x-worth", "caller_header": "x-who" });
    let proxy = Proxy::start(&config);
    let begin = |fields: &str| {
        let mut client = Connection::open(proxy.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"));
        client
    };
    let mut held = Vec::new();
    let mut hold = |fields: &str| {
        held.push(begin(fields));
        wait_for(fields, SOON, || origin.requests() == held.len());
    };
    for _ in 0..2 {
        hold("X-Who: greedy\r\nX-Outrigger-Caller: modest\r\n");
    }
    hold("X-Who: greedy\r\n");
    hold("X-Who: greedy\r\nX-Worth: default\r\nX-Outrigger-Priority: sheddable\r\n");
    let refused = |fields: &str| {
        let answer = begin(fields).answer();
        assert_eq!(answer.status(), 503, "{fields}");
        answer.text()
    };
    assert!(refused("X-Who: greedy\r\nX-Outrigger-Caller: another\r\n").contains("bulkhead_full"));
    // Four of five places are taken: the last is for nobody who may be shed.
    assert!(refused("X-Worth: sheddable\r\nX-Outrigger-Priority: critical\r\n").contains("limit_reached"));
    hold("X-Worth: default\r\nX-Outrigger-Priority: sheddable\r\n");
    go.say(true);
    assert!(held.iter_mut().all(|client| client.answer().status() == 200));

    let told = || origin.last().field("x-wait-ms").and_then(|ms| ms.parse::<u64>().ok()).unwrap();
    assert_eq!(begin("X-Wait-Ms: 9000\r\nX-Request-Deadline: 1\r\n").answer().status(), 200);
    assert!((1..=9000).contains(&told()), "{}", told());
    assert_eq!(begin("X-Wait-Ms: soon\r\n").answer().status(), 200);
    assert!((9001..=15_000).contains(&told()), "{}", told());
    // It is counted by its usual name.
    wait_for("the field to be counted", SOON, || {
        proxy.metric("outrigger_malformed_fields_total", &["\"x-request-deadline\""]) == [1.0]
    });
}

/// An origin that takes every upgrade, and sends back what it gets.
fn echoing() -> Scripted {
    Scripted::start(|peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
            while let Ok(byte) = peer.connection.bytes(1) {
                peer.connection.try_send(byte).ok();
            }
        }
    })
}

#[test]
fn a_tunnel_rests_as_long_as_it_may_and_for_ever_where_that_is_off() {
    let origin = echoing();
    let tunnel = |timeout: &str| {
        let mut config = proxy::to(&[origin.address]);
        config["http"] = json!({ "tunnel_idle_timeout": timeout });
        let proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
        assert_eq!(client.head().unwrap().status(), 101);
        (proxy, client)
    };
    let (_patient, mut forever) = tunnel("off");
    let (_proxy, mut client) = tunnel("1s");
    let mut started = Instant::now();
    // What moves keeps it.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        started = Instant::now();
        client.send("x");
        assert_eq!(client.bytes(1).unwrap(), b"x");
    }
    assert!(client.ended());
    assert!(started.elapsed() >= Duration::from_secs(1), "ended after {:?} already", started.elapsed());
    forever.send("y");
    assert_eq!(forever.bytes(1).unwrap(), b"y");
}

#[test]
fn a_body_may_stand_still_for_ever_where_its_timeout_is_off() {
    let go = Word::default();
    let word = go.clone();
    let origin = Scripted::start(move |peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100004\r\n\r\nhalf");
            word.wait();
            peer.connection.try_send(vec![b'x'; 100_000]).ok();
        }
    });
    let stream = |timeout: &str| {
        let mut config = proxy::to(&[origin.address]);
        config["http"] = json!({ "stream_idle_timeout": timeout });
        let proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        (proxy, client)
    };
    let (_patient, mut forever) = stream("off");
    let (_proxy, mut client) = stream("500ms");
    let started = Instant::now();
    assert_eq!(client.try_answer("GET").expect_err("a clean end").part.body, b"half");
    assert!(started.elapsed() >= Duration::from_millis(450), "ended after {:?} already", started.elapsed());
    go.say(true);
    assert_eq!(forever.answer().body.len(), 100_004);
}

#[test]
fn a_client_that_has_closed_its_sending_side_gets_its_answer_where_half_close_says_so() {
    let origin = Origin::named("a");
    for (half_close, served) in [(true, true), (false, false)] {
        let mut config = proxy::to(&[origin.address]);
        config["http"] = json!({ "half_close": half_close });
        let proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("GET /delay/300 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.finish();
        assert_eq!(client.try_answer("GET").is_ok_and(|answer| answer.status() == 200), served, "{half_close}");
    }
}

#[test]
fn answers_are_held_up_to_so_many_bytes_of_the_process_and_stream_beyond() {
    let go = Word::default();
    let word = go.clone();
    let origin = Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            let bytes: usize = request.head.target()[1..].parse().unwrap();
            peer.connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\nhalf"));
            word.wait();
            peer.connection.send("x".repeat(bytes - 4));
        }
    });
    let mut config = with(&[origin.address], json!({ "timeout": "60s" }));
    config["http"] = json!({ "max_held": "5KiB" });
    let proxy = Proxy::start(&config);
    let held = |bytes: f64| {
        wait_for("what is held", SOON, || proxy.metric("outrigger_held_bytes", &[]).iter().sum::<f64>() == bytes);
    };
    let begin = |bytes: usize| {
        let mut client = Connection::open(proxy.address);
        client.send(format!("GET /{bytes} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        client
    };
    let mut first = begin(3000);
    held(3000.0);
    // Together they are more than 5120: this one is begun while its instance has not ended it.
    let mut beyond = begin(2500);
    assert_eq!(beyond.head().expect("a head while the rest is still to come").status(), 200);
    let mut second = begin(2000);
    held(5000.0);
    go.say(true);
    assert_eq!((first.answer().body.len(), second.answer().body.len()), (3000, 2000));
    assert_eq!(beyond.bytes(2500).unwrap().len(), 2500);
    held(0.0);
}

#[test]
fn copies_for_fallbacks_are_kept_up_to_so_many_bytes_of_the_process() {
    for (most, kept) in [("5KiB", 1), ("1MiB", 2)] {
        let dead = Word::default();
        let origin = super::failing_while(
            &dead,
            &format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3000\r\n\r\n{}",
                "x".repeat(3000)
            ),
        );
        let mut config = with(&[origin.address], json!({ "fallback": { "stale": "60s" }, "retries": { "max": 0 } }));
        config["http"] = json!({ "max_stale": most });
        let proxy = Proxy::start(&config);
        let statuses = || ["/one", "/two"].map(|path| get(proxy.address, "a", path).status());
        assert_eq!(statuses(), [200, 200]);
        dead.say(true);
        let stale = statuses().iter().filter(|status| **status == 200).count();
        assert_eq!(stale, kept, "with {most}");
    }
}

#[test]
fn a_client_has_to_send_as_fast_as_the_least_rate_and_as_slow_as_it_likes_where_there_is_none() {
    const CAP: usize = 8;
    let origin = Scripted::answering(OK);
    let crowded = |rate: &str| {
        let mut config = with(&[origin.address], json!({ "max_connections": CAP }));
        config["http"] = json!({ "min_rate": rate });
        let proxy = Proxy::start(&config);
        let mut clients: Vec<_> = (0..CAP).map(|_| Connection::open(proxy.address)).collect();
        for client in &mut clients {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
        }
        (proxy, clients)
    };
    let ended = |proxy: &Proxy| -> f64 { proxy.metric("outrigger_refused_total", &["too_slow"]).iter().sum() };
    // All send 1000 bytes a second at most.
    let mut crowds = ["0B", "100B", "100KiB"].map(crowded);
    wait_for("those below the rate to be ended", SOON, || {
        for (_, clients) in &mut crowds {
            for client in clients {
                client.try_send([b'x'; 20]).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(15));
        ended(&crowds[2].0) >= (CAP / 4) as f64
    });
    assert_eq!([ended(&crowds[0].0), ended(&crowds[1].0)], [0.0, 0.0]);
}

#[test]
fn a_listener_can_lead_to_one_service_and_hand_over_only_who_has_spoken() {
    let [app, other] = ["app", "other"].map(Origin::named);
    let [open, deferred] = [free_address(), free_address()];
    let services: Value = json!({ "app": { "instances": [app.address] }, "other": { "instances": [other.address] } });
    let proxy = Proxy::start(&json!({ "services": services, "listeners": [
        { "address": open },
        { "address": deferred, "service": "other", "defer_accept": true },
    ] }));
    assert_eq!([get(open, "app", "/").text(), get(deferred, "app", "/").text()], ["app\n", "other\n"]);
    assert_eq!(get(open, "nobody", "/").status(), 404);
    let connections = || proxy.metric("outrigger_client_connections", &[]).iter().sum::<f64>();
    wait_for("nobody", SOON, || connections() == 0.0);
    let mut silent = Connection::open(deferred);
    let _seen = Connection::open(open);
    wait_for("the one that is seen", SOON, || connections() == 1.0);
    silent.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(silent.answer().text(), "other\n");
    wait_for("both", SOON, || connections() == 2.0);
}
