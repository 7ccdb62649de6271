//! What faults do to plain TCP connections: to new ones, to those that live, and when they end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::{SOON, pattern, wait_for};
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Server, add, connect, end, exchange, rest, to};

const NOTHING: fn() -> Value = || json!({});

/// How long an exchange takes.
fn timed(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    exchange(stream, b"hello");
    began.elapsed()
}

#[test]
fn a_fault_meets_a_connection_that_is_open_and_its_end_is_felt_at_once() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    exchange(&mut client, b"before");
    let id = add(&proxy, "latency", json!({ "latency": 1_000 }), NOTHING());
    assert!(timed(&mut client) >= Duration::from_secs(1));
    end(&proxy, id);
    assert!(timed(&mut client) < Duration::from_secs(1));
    // What is held when it ends comes at once, and in order.
    let id = add(&proxy, "latency", json!({ "latency": 600_000 }), NOTHING());
    let bytes = pattern(100_000);
    client.write_all(&bytes).unwrap();
    // What is done here is to hold them for a while; that they are held shows nowhere.
    std::thread::sleep(Duration::from_millis(100));
    end(&proxy, id);
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).unwrap();
    assert!(back == bytes);
}

#[test]
fn a_fault_that_runs_out_of_time_lets_go_by_itself() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    add(&proxy, "latency", json!({ "latency": 600_000 }), json!({ "ttl": "500ms" }));
    let took = timed(&mut client);
    assert!((Duration::from_millis(300)..PATIENCE).contains(&took), "{took:?}");
}

#[test]
fn faults_are_added_and_removed_under_load_and_nothing_hangs_or_is_lost() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|nth| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut client, bytes) = (connect(address), pattern(20_000 + nth * 7_777));
                let mut rounds = 0;
                while !over.load(Ordering::Relaxed) {
                    exchange(&mut client, &bytes);
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let kinds = [
        ("latency", json!({ "latency": 30, "jitter": 30 })),
        ("bandwidth", json!({ "rate": 1_000 })),
        ("slicer", json!({ "average_size": 500, "size_variation": 100, "delay": 20 })),
        ("bandwidth", json!({ "rate": 0 })),
        ("slow_close", json!({ "delay": 100 })),
        ("limit_data", json!({ "bytes": 1_u64 << 50 })),
        ("latency", json!({ "latency": 600_000 })),
    ];
    for round in 0..30 {
        let (kind, attributes) = &kinds[round % kinds.len()];
        let stream = if round % 2 == 0 { "upstream" } else { "downstream" };
        let first = add(&proxy, kind, attributes.clone(), json!({ "stream": stream }));
        let (kind, attributes) = &kinds[(round * 3 + 1) % kinds.len()];
        let second = add(&proxy, kind, attributes.clone(), json!({ "stream": stream }));
        // For how long faults are there, and are not, is what is done here.
        std::thread::sleep(Duration::from_millis(20));
        end(&proxy, first);
        end(&proxy, second);
        std::thread::sleep(Duration::from_millis(5));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("a client that was served to the end") > 10);
    }
}

#[test]
fn a_share_of_nothing_does_nothing() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    for kind in ["timeout", "reset_peer", "limit_data", "down"] {
        add(&proxy, kind, json!({}), json!({ "percent": "0%" }));
    }
    for _ in 0..50 {
        exchange(&mut connect(address), b"hello");
    }
}

#[test]
fn a_timeout_that_is_removed_closes_what_it_was_on() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    exchange(&mut client, b"hello");
    let id = add(&proxy, "timeout", json!({ "timeout": 0 }), NOTHING());
    client.write_all(b"into the void").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(rest(&mut client).1, Some(ErrorKind::WouldBlock));
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    end(&proxy, id);
    assert_eq!(rest(&mut client), (Vec::new(), None));
    exchange(&mut connect(address), b"hello");
}

#[test]
fn a_reset_is_a_reset_to_the_client() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut open = connect(address);
    exchange(&mut open, b"hello");
    add(&proxy, "reset_peer", json!({ "timeout": 0 }), NOTHING());
    let mut new = connect(address);
    for client in [&mut open, &mut new] {
        client.write_all(b"hello").unwrap();
        assert_eq!(rest(client), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    }
}

#[test]
fn what_is_down_ends_what_is_open_and_takes_nothing_until_it_is_up() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut open = connect(address);
    exchange(&mut open, b"hello");
    let id = add(&proxy, "down", json!({}), NOTHING());
    assert_eq!(rest(&mut open).0, b"");
    let refused = TcpStream::connect(address).and_then(|mut client| client.read(&mut [0; 1]));
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    end(&proxy, id);
    exchange(&mut connect(address), b"hello");
}

#[test]
fn only_the_first_connections_are_struck_and_stay_so() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    add(&proxy, "latency", json!({ "latency": 600 }), json!({ "first": 2 }));
    let mut clients: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut client = connect(address);
            // One after the other: who is first is no matter of chance.
            timed(&mut client);
            client
        })
        .collect();
    // Longer than it takes for a used-up fault to be noticed.
    std::thread::sleep(Duration::from_millis(400));
    let slow = clients.iter_mut().map(|client| timed(client) >= Duration::from_millis(600)).collect::<Vec<_>>();
    assert_eq!(slow, [true, true, false, false]);
}

#[test]
fn a_fault_that_begins_later_meets_what_is_open_by_then() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    exchange(&mut client, b"hello");
    add(&proxy, "timeout", json!({ "timeout": 1 }), json!({ "after": "400ms" }));
    let began = Instant::now();
    exchange(&mut client, b"not yet");
    assert_eq!(rest(&mut client), (Vec::new(), None));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
fn a_slow_reader_behind_a_latency_holds_the_sender_up_and_not_the_memory() {
    let server = Server::sending(200 << 20);
    let (proxy, address) = to(&server);
    add(&proxy, "latency", json!({ "latency": 600_000 }), NOTHING());
    let before = proxy.memory();
    let clients: Vec<_> = (0..2).map(|_| connect(address)).collect();
    wait_for("the buffers to fill", SOON, || proxy.memory() > before + (20 << 20));
    std::thread::sleep(Duration::from_millis(500));
    let grown = proxy.memory() - before;
    assert!(grown < 80 << 20, "{} MiB for {} connections", grown >> 20, clients.len());
}
