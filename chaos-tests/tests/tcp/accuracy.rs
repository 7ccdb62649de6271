//! How exact byte-stream faults are. What the machine adds is measured beside and taken off, and a median is not moved by a
//! few exchanges during which another program had the core. A machine that is busy all the time makes everything slower, and
//! nothing makes it faster: so what is too slow is measured again, and what is too fast is an error at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Server, add, connect, end, exchange, rest, to};

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median time of an exchange, in milliseconds.
fn round_trip(client: &mut TcpStream, times: usize) -> f64 {
    let one = |_| {
        let began = Instant::now();
        exchange(client, b"hello");
        began.elapsed().as_secs_f64() * 1e3
    };
    median((0..times).map(one).collect())
}

#[test]
fn a_latency_is_within_2_ms_and_2_percent_of_what_was_asked_for() {
    let _alone = ALONE.lock();
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    for (asked, times) in [(1, 51), (10, 51), (50, 31), (200, 11), (1_000, 3)] {
        let mut measured = (0..TRIES).map(|_| {
            let without = round_trip(&mut client, 51);
            let id = add(&proxy, "latency", json!({ "latency": asked }), json!({}));
            let with = round_trip(&mut client, times);
            end(&proxy, id);
            let asked = f64::from(asked);
            eprintln!("latency {asked} ms: {:.2} ms", with - without);
            assert!(with >= asked, "{asked} ms: {with} ms is too early");
            (with - without - asked, 2.0 + asked * 0.02)
        });
        assert!(measured.any(|(off, allowed)| off.abs() <= allowed), "{asked} ms, {TRIES} times");
    }
}

/// How often what is too slow is measured.
const TRIES: usize = 8;

/// Two of these at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes a second that arrive, from the first to the last.
fn rate(address: SocketAddr) -> f64 {
    let mut client = connect(address);
    let mut buffer = vec![0; 256 << 10];
    let mut first = None;
    let (mut bytes, mut last) = (0, Instant::now());
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        last = Instant::now();
        match first {
            // The first bytes have waited for no others.
            None => first = Some(last),
            Some(_) => bytes += n,
        }
    }
    bytes as f64 / last.duration_since(first.expect("some bytes")).as_secs_f64()
}

#[test]
fn a_bandwidth_is_within_3_percent_of_what_was_asked_for() {
    let _alone = ALONE.lock();
    for asked in [20, 500, 10_000, 100_000] {
        let server = Server::sending(asked * 1_000);
        let (proxy, address) = to(&server);
        add(&proxy, "bandwidth", json!({ "rate": asked }), json!({}));
        let mut rates = (0..TRIES).map(|_| {
            let rate = rate(address) / 1e3;
            eprintln!("bandwidth {asked} KB/s: {rate:.1}");
            (rate - asked as f64) / asked as f64
        });
        let exact = |off: f64| {
            assert!(off <= 0.03, "{asked} KB/s: {:.1} % too fast", off * 100.0);
            off >= -0.03
        };
        assert!(rates.any(exact), "{asked} KB/s, {TRIES} times");
    }
}

#[test]
fn a_limit_is_kept_to_the_byte() {
    let _alone = ALONE.lock();
    let server = Server::sending(2 << 20);
    let (proxy, address) = to(&server);
    for limit in [0_usize, 1, 1_000, 65_535, 65_536, 65_537, 1_000_000] {
        let id = add(&proxy, "limit_data", json!({ "bytes": limit }), json!({}));
        let (bytes, error) = rest(&mut connect(address));
        assert_eq!((bytes.len(), error), (limit, None));
        end(&proxy, id);
    }
    // Counted for each connection by itself, however small the pieces are.
    let server = Server::echo();
    let (proxy, address) = to(&server);
    add(&proxy, "limit_data", json!({ "bytes": 1_000 }), json!({}));
    for _ in 0..3 {
        let mut client = connect(address);
        for _ in 0..100 {
            exchange(&mut client, b"ten bytes!");
        }
        assert_eq!(rest(&mut client), (Vec::new(), None));
    }
}

#[test]
fn a_share_strikes_as_many_connections_as_it_says_within_binomial_error() {
    let _alone = ALONE.lock();
    let server = Server::echo();
    let (proxy, address) = to(&server);
    let (connections, share) = (4_000_u32, 0.3);
    let id = add(&proxy, "timeout", json!({ "timeout": 1 }), json!({ "percent": "30%" }));
    let mut struck = 0;
    for _ in 0..connections {
        let mut client = connect(address);
        let answered = client.write_all(b"x").and_then(|()| client.read(&mut [0; 1]));
        struck += u32::from(!matches!(answered, Ok(1)));
        // The ports of connections that were closed by their clients first wait for a minute.
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    end(&proxy, id);
    let n = f64::from(connections);
    let sigma = (n * share * (1.0 - share)).sqrt();
    let off = (f64::from(struck) - n * share) / sigma;
    eprintln!("{struck} of {connections} at 30%: {off:.2} sigma");
    // Once in two million runs by chance.
    assert!(off.abs() < 5.0, "{struck} of {connections}");
}
