//! Those who take what others need, and do not use it.

use std::time::Duration;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, ask};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

/// Connections that the instance may have.
const CAP: usize = 16;

/// An instance that answers a GET of `/large` with more than any buffer holds, a POST when its body has come, and all else
/// at once.
fn instance() -> Scripted {
    Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            match (head.method(), head.target()) {
                ("POST", _) => {
                    if peer.body(head).is_none() {
                        return;
                    }
                    peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
                (_, "/large") => {
                    let sent = peer
                        .connection
                        .try_send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
                        .and_then(|()| peer.connection.try_send(vec![b'x'; 64 << 20]));
                    if sent.is_err() {
                        return;
                    }
                }
                _ => peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            }
        }
    })
}

fn config(instance: &Scripted) -> Value {
    let mut config = proxy::to(&[instance.address]);
    config["services"]["app"]["max_connections"] = json!(CAP);
    // On a machine that is busy a connection takes its time, and that is not what is looked at here.
    config["services"]["app"]["connect_timeout"] = json!("10s");
    config
}

fn good(proxy: &Proxy) -> bool {
    ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status() == 200
}

/// After a while that a rate is measured in, everybody else is served, although those who hold the connections have the same
/// address. Each worker makes room for its own requests, and may have been kept waiting later than another.
fn all_are_served(proxy: &Proxy) {
    wait_for("a connection for those who use it, at each worker", SOON, || (0..20).all(|_| good(proxy)));
    for n in 0..50 {
        assert!(good(proxy), "request {n}");
    }
}

fn refused(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("outrigger_refused_total", &[&format!("reason=\"{reason}\"")]).iter().sum()
}

#[test]
fn bodies_that_come_by_the_byte_leave_connections_to_others() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let mut slow: Vec<_> = (0..CAP).map(|_| Connection::open(proxy.address)).collect();
    for client in &mut slow {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx");
    }
    wait_for("all connections taken", SOON, || {
        proxy.metric("outrigger_upstream_connections", &[]).iter().sum::<f64>() == CAP as f64
    });
    all_are_served(&proxy);
    wait_for("some of them ended", SOON, || refused(&proxy, "too_slow") >= (CAP / 4) as f64);
    let told = slow[..].iter_mut().find_map(|client| {
        client.patience(Duration::from_millis(100));
        client.try_answer("POST").ok()
    });
    let told = told.expect("a client that was told why");
    assert_eq!(told.status(), 408);
    assert!(told.text().contains("`http.min_rate`"), "{}", told.text());
}

#[test]
fn answers_that_nobody_reads_leave_connections_to_others() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let mut slow: Vec<_> = (0..CAP).map(|_| Connection::open(proxy.address)).collect();
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().status(), 200);
    }
    all_are_served(&proxy);
}

#[test]
fn while_connections_are_plenty_nobody_is_too_slow() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let mut slow: Vec<_> = (0..CAP / 2).map(|_| Connection::open(proxy.address)).collect();
    for client in &mut slow {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx");
    }
    // Several looks of every worker, and longer than a rate takes to tell.
    let (from, mut asked) = (std::time::Instant::now(), 0);
    while from.elapsed() < Duration::from_secs(3) {
        assert!(good(&proxy));
        asked += 1;
    }
    assert!(asked > 0);
    for client in &mut slow {
        client.send("xxxx");
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!(refused(&proxy, "too_slow"), 0.0);
}

/// Clients' connections that there may be.
const SEATS: usize = 64;

fn few_seats(instance: &Scripted, workers: usize) -> Proxy {
    let mut config = config(instance);
    config["workers"] = json!(workers);
    config["http"] = json!({ "max_connections": SEATS, "header_timeout": "10m", "idle_timeout": "10m" });
    Proxy::start(&config)
}

#[test]
fn idle_connections_make_room_the_longest_first() {
    for speaks_first in [false, true] {
        let instance = instance();
        // Each worker asks its own: which one took whom is the kernel's to say.
        let proxy = few_seats(&instance, 1);
        let mut idle = Vec::new();
        for _ in 0..2 * SEATS {
            let mut client = Connection::open(proxy.address);
            if speaks_first {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(client.answer().status(), 200);
            }
            idle.push(client);
        }
        for n in 0..50 {
            assert!(good(&proxy), "request {n}");
        }
        assert!(idle[0].ended(), "the first to come had to go");
        // The last to come is there still.
        let mut last = idle.pop().unwrap();
        last.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(last.answer().status(), 200);
        assert!(proxy.metric("outrigger_client_connections_made_room_total", &["idle"]).iter().sum::<f64>() > 0.0);
    }
}

#[test]
fn heads_that_do_not_end_make_room() {
    let instance = instance();
    let proxy = few_seats(&instance, 2);
    let mut slow: Vec<_> = (0..SEATS).map(|_| Connection::open(proxy.address)).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    }
    for n in 0..50 {
        assert!(good(&proxy), "request {n}");
    }
    wait_for("them counted", SOON, || {
        proxy.metric("outrigger_client_connections_made_room_total", &["slow_head"]).iter().sum::<f64>() > 0.0
    });
}

#[test]
fn partial_heads_take_no_more_memory_than_they_may_and_give_it_back() {
    const BUDGET: usize = 8 << 20;
    let instance = instance();
    let mut config = config(&instance);
    config["http"] = json!({ "max_buffered": "8MiB" });
    let proxy = Proxy::start(&config);
    assert!(good(&proxy));
    let before = proxy.memory();
    for round in 0..2 {
        let clients: Vec<_> = (0..600)
            .filter_map(|_| {
                let mut client = Connection::try_open(proxy.address).ok()?;
                // Whoever is refused does not take all of it.
                client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000))).ok()?;
                Some(client)
            })
            .collect();
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < 2 * BUDGET, "round {round}: {grown} bytes for the heads of {} clients", clients.len());
        wait_for("room for those who come now", SOON, || good(&proxy));
        drop(clients);
        wait_for("the memory back", SOON, || proxy.memory().saturating_sub(before) < BUDGET / 2);
    }
    let refused = proxy.metric("outrigger_client_connections_refused_total", &["memory"]).iter().sum::<f64>();
    let ended = proxy.metric("outrigger_refused_total", &["memory_short"]).iter().sum::<f64>();
    assert!(refused + ended > 0.0, "600 clients had all that they wanted");
}

#[test]
fn tunnels_leave_connections_to_requests() {
    let instance = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            if head.lists("connection", "upgrade") {
                peer.connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: any\r\n\r\n");
                peer.connection.ended();
                return;
            }
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::start(&config(&instance));
    let mut tunnels: Vec<_> = (0..CAP).map(|_| Connection::open(proxy.address)).collect();
    let statuses: Vec<_> = tunnels
        .iter_mut()
        .map(|client| {
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: any\r\n\r\n");
            client.head().unwrap().status()
        })
        .collect();
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(101), count(503)), (CAP * 3 / 4, CAP / 4), "{statuses:?}");
    for n in 0..50 {
        assert!(good(&proxy), "request {n}");
    }
    // Whoever leaves makes room for another.
    tunnels.truncate(1);
    wait_for("another tunnel", SOON, || {
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: any\r\n\r\n");
        client.head().unwrap().status() == 101
    });
}
