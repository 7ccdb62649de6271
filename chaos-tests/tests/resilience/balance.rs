//! Who gets a request: shares by weight, less for those that are slow, and no more connections than are allowed.

use std::time::Duration;

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use serde_json::json;

use crate::stage::{OK, error};

#[test]
fn weights_are_shares() {
    for balance in ["round_robin", "p2c"] {
        let (light, heavy, none) = (Origin::named("light"), Origin::named("heavy"), Origin::named("none"));
        let mut config = proxy::to(&[]);
        // On a busy machine some answers are slow, and would be asked for twice or counted against their instance.
        config["services"]["app"] = json!({ "balance": balance, "hedge": "off", "per_try_timeout": "off", "outlier": "off",
            "instances": [
            light.address.to_string(),
            { "address": heavy.address.to_string(), "weight": 9 },
            { "address": none.address.to_string(), "weight": 0 },
        ]});
        let proxy = Proxy::start(&config);
        let requests = 10_000;
        // From several connections, so that both workers have their part in it.
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let address = proxy.address;
                std::thread::spawn(move || {
                    let mut client = Connection::open(address);
                    for _ in 0..requests / 8 {
                        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                        assert_eq!(client.answer().status(), 200);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        let share = light.requests() as f64 / requests as f64;
        assert!((share - 0.1).abs() < 0.1 * 0.05, "{balance}: the share of 1 in 10 came to {share}");
        assert_eq!(none.requests(), 0, "weight 0 takes nothing");
    }
}

#[test]
fn connections_to_an_instance_are_kept_and_capped() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["max_connections"] = json!(4);
    let proxy = Proxy::start(&config);
    let mut clients: Vec<_> = (0..8).map(|_| Connection::open(proxy.address)).collect();
    for _ in 0..20 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
        }
    }
    assert!(origin.connections() <= 4, "{} connections for one request at a time", origin.connections());
    for client in &mut clients {
        client.send("GET /delay/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut statuses: Vec<_> = clients.iter_mut().map(|client| client.answer()).collect();
    let refused: Vec<_> = statuses.extract_if(.., |answer| answer.status() != 200).collect();
    assert!(statuses.len() >= 4, "only {} served over four connections", statuses.len());
    for answer in refused {
        assert_eq!(answer.status(), 503);
        assert!(error(&answer).contains("connection_limit_reached"), "{}", error(&answer));
    }
    assert!(origin.connections() <= 4, "{} connections where four are allowed", origin.connections());
}

#[test]
fn fast_instances_get_more_than_slow_ones() {
    let fast = Origin::named("fast");

    let dawdling = Scripted::start(|peer| {
        while peer.request().is_some() {
            std::thread::sleep(Duration::from_millis(100));
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&[fast.address, dawdling.address]);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = proxy.address;
            std::thread::spawn(move || {
                let mut client = Connection::open(address);
                for _ in 0..50 {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(client.answer().status(), 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let (fast, slow) = (fast.requests(), dawdling.requests());
    assert!(fast > 3 * slow, "{fast} to the fast one, {slow} to the slow one");
}
