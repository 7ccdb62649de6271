//! Everything at once: toxics that come and go at random, proxies that do, and clients that leave in every way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::raw::{Connection, Fault};
use chaos_tests::toxiproxy::Toxiproxy;
use chaos_tests::{SOON, pattern, wait_for};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::echo::Echo;

const STORM: Duration = Duration::from_secs(10);
/// Longer than any call takes that waits for nobody.
const ANSWER: Duration = Duration::from_secs(10);

fn toxic(random: &mut Rng) -> Value {
    let few = random.u32(..300);
    let (kind, attributes) = match random.usize(..10) {
        0 => ("latency", json!({ "latency": few, "jitter": random.u32(..300) })),
        1 => ("bandwidth", json!({ "rate": random.u32(..3) * 500 })),
        2 => ("slow_close", json!({ "delay": few })),
        3 => ("timeout", json!({ "timeout": random.u32(..2) * few })),
        4 => ("reset_peer", json!({ "timeout": random.u32(..2) * few })),
        5 => ("slicer", json!({ "average_size": few, "size_variation": random.u32(..300), "delay": few })),
        6 => ("limit_data", json!({ "bytes": random.u32(..100_000) })),
        7 => ("noop", json!({})),
        8 => ("down", json!({})),
        _ => ("latency", json!({ "latency": 600_000 })),
    };
    let stream = if random.bool() { "upstream" } else { "downstream" };
    let (name, toxicity) = (random.u8(..6).to_string(), f64::from(random.u8(..5)) / 4.0);
    json!({ "name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes })
}

/// A call at random. It is answered, whatever it is.
fn meddle(server: &Toxiproxy, echo: &Echo, listen: &str, random: &mut Rng) {
    let make = json!({ "name": "p", "listen": listen, "upstream": echo.address }).to_string();
    let one = format!("/proxies/p/toxics/{}", random.u8(..6));
    let (method, path, body) = match random.usize(..16) {
        0..=6 => ("POST", "/proxies/p/toxics".to_owned(), toxic(random).to_string()),
        7..=9 => ("DELETE", one, String::new()),
        10 | 11 => ("PATCH", one, json!({ "toxicity": random.f32(), "attributes": {} }).to_string()),
        12 => ("POST", "/reset".to_owned(), String::new()),
        13 => ("POST", "/proxies/p".to_owned(), json!({ "enabled": random.bool() }).to_string()),
        14 if random.bool() => ("DELETE", "/proxies/p".to_owned(), String::new()),
        _ => ("POST", "/proxies".to_owned(), make),
    };
    let began = Instant::now();
    let answer = server.call(method, &path, &body);
    let took = began.elapsed();
    assert!([200, 201, 204, 404, 409].contains(&answer.status()), "{method} {path} {body}: {}", answer.text());
    assert!(took < ANSWER, "{method} {path} {body}: {took:?}");
}

/// A client that comes, talks and leaves, however it can. What it gets back is what it sent, as far as it gets.
fn visit(listen: &str, random: &mut Rng) -> usize {
    let Ok(mut connection) = Connection::try_open(listen.parse().unwrap()) else { return 0 };
    connection.patience(Duration::from_millis(random.u64(1..400)));
    let bytes = pattern(random.usize(1..60_000));
    connection.try_send(&bytes).ok();
    if random.bool() {
        connection.finish();
    }
    let (got, end) = connection.rest();
    // While the proxy is deleted, another program may have its port for a moment: these bytes say whose they are.
    let first = String::from_utf8_lossy(&got[..got.len().min(80)]);
    assert!(bytes.starts_with(&got), "{} bytes of {}, not as they were sent: {first:?}", got.len(), bytes.len());
    assert!(matches!(end, Fault::Cut | Fault::Reset | Fault::Late | Fault::Closed), "{end:?}");
    if random.bool() {
        connection.reset();
    }
    got.len()
}

#[test]
fn in_a_storm_of_toxics_every_byte_is_right_every_call_answered_and_nothing_is_left() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let admin = server.proxy.as_ref().unwrap();
    let listen = server.proxy("p", echo.address).to_string();
    let files = || admin.metric("process_open_fds", &[])[0];
    let (before, seed) = (files(), fastrand::u64(..));
    let (over, moved) = (AtomicBool::new(false), AtomicUsize::new(0));
    let storm = |nth: u64, act: &dyn Fn(&mut Rng)| {
        let mut random = Rng::with_seed(seed.wrapping_add(nth));
        while !over.load(Ordering::Relaxed) {
            act(&mut random);
        }
    };
    std::thread::scope(|scope| {
        let (storm, server, echo, listen, moved) = (&storm, &server, &echo, &listen, &moved);
        let hands = (0..2).map(|nth| scope.spawn(move || storm(nth, &|random| meddle(server, echo, listen, random))));
        let clients = (2..10).map(|nth| {
            let visit = move |random: &mut Rng| {
                moved.fetch_add(visit(listen, random), Ordering::Relaxed);
            };
            scope.spawn(move || storm(nth, &visit))
        });
        let all: Vec<_> = hands.chain(clients).collect();
        let until = Instant::now() + STORM;
        while Instant::now() < until && !all.iter().any(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        for thread in all {
            assert!(thread.join().is_ok(), "seed {seed}");
        }
    });
    assert!(moved.load(Ordering::Relaxed) > 0, "nobody was served");
    assert_eq!(server.call("POST", "/reset", "").status(), 204);
    server.call("DELETE", "/proxies/p", "");
    wait_for("every socket to be closed", SOON, || files() <= before);
    assert!(admin.metric("outrigger_faults_active", &["tcp p"]).is_empty());
}
