//! What was asked for is what is done, within stated bounds.

use std::net::SocketAddr;
use std::time::Instant;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::Connection;
use serde_json::json;

use crate::stage::{add, end, fault, faults, open};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// How many of so many requests, over a few connections, are answered with a status.
fn count(address: SocketAddr, requests: usize, status: u16) -> usize {
    let clients = 4;
    let counts: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Connection::open(address);
                // Pipelined, so that a hundred thousand are not a minute of waiting.
                let batch = 50;
                let text = "GET / HTTP/1.1\r\nHost: app\r\n\r\n".repeat(batch);
                (0..requests / clients / batch)
                    .map(|_| {
                        client.send(&text);
                        (0..batch).filter(|_| client.answer().status() == status).count()
                    })
                    .sum::<usize>()
            })
        })
        .collect();
    counts.into_iter().map(|client| client.join().unwrap()).sum()
}

#[test]
fn percentages_are_within_the_binomial_error_of_a_hundred_thousand_requests() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::start(&open(&[origin.address]));
    let n = 100_000;
    for percent in [0.05, 0.5] {
        let written = format!("{}%", percent * 100.0);
        let id = add(&proxy, &fault("abort", json!({ "status": 418 }), json!({ "place": "edge", "percent": written })));
        let struck = count(proxy.address, n, 418) as f64;
        // Four standard deviations: one run in 16,000 by chance.
        let (expected, error) = (n as f64 * percent, 4.0 * (n as f64 * percent * (1.0 - percent)).sqrt());
        assert!((struck - expected).abs() <= error, "{struck} of {n}, expected {expected} ± {error}");
        assert_eq!(faults(&proxy)[0]["injected"].as_f64(), Some(struck), "and it knows how often it has struck");
        end(&proxy, id);
    }
}

#[test]
fn the_first_n_and_every_nth_are_exact() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::start(&open(&[origin.address]));
    let id = add(&proxy, &fault("abort", json!({ "status": 418 }), json!({ "place": "edge", "every": 7 })));
    assert_eq!(count(proxy.address, 7_000, 418), 1_000);
    end(&proxy, id);
    add(&proxy, &fault("abort", json!({ "status": 418 }), json!({ "place": "edge", "first": 123 })));
    assert_eq!(count(proxy.address, 7_000, 418), 123);
}

/// How often what is too slow is measured.
const TRIES: usize = 5;

#[test]
fn a_delay_is_within_two_milliseconds_and_two_percent_of_what_was_asked() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::start(&open(&[origin.address]));
    let mut client = Connection::open(proxy.address);
    // The quickest of many: what is asked for is in every one of them, and a busy machine is not.
    let mut least = |times: usize| {
        let one = |_| {
            let start = Instant::now();
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
            start.elapsed()
        };
        (0..times).map(one).min().unwrap()
    };
    let plain = least(51);
    for (place, endpoints) in [("edge", json!(null)), ("upstream", json!("all"))] {
        for asked in [20, 200] {
            let scope = json!({ "place": place, "endpoints": endpoints });
            let id = add(&proxy, &fault("delay", json!({ "fixed": format!("{asked}ms") }), scope));
            let asked = f64::from(asked);
            // What is too slow may be the machine, and is measured again; what is too fast never is.
            let exact = (0..TRIES).any(|_| {
                let added = least(20).saturating_sub(plain).as_secs_f64() * 1e3;
                let off = added - asked;
                assert!(off >= -2.0 - asked * 0.02, "{place}: {added} ms for {asked} ms");
                off <= 2.0 + asked * 0.02
            });
            assert!(exact, "{place}: later than {asked} ms, {TRIES} times");
            end(&proxy, id);
        }
    }
}
