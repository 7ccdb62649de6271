//! A slow side slows the other down, and costs no memory.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted, Speaks};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use chaos_tests::{SOON, wait_for};
use serde_json::json;

/// What two sockets and the proxy may hold of one stream: the kernel lets a socket's buffers grow to 10 MiB, and
/// there are two pairs of them.
const HELD: usize = 48 << 20;

/// What `streams` slow streams may cost the proxy: far less than one of them has sent.
const COST: usize = 16 << 20;

#[test]
fn a_client_that_does_not_read_stops_the_origin_and_costs_no_memory() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let before = proxy.memory();
    let mut clients: Vec<_> = (0..10).map(|_| Connection::open(proxy.address)).collect();
    for client in &mut clients {
        client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().status(), 200);
    }
    let held = still(|| origin.produced());
    assert!(held < HELD * clients.len(), "{held} bytes were taken from the origin for nobody");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < COST, "ten streams that nobody reads cost {grown} bytes");
    // Whoever reads again is served again.
    clients[3].bytes(4 * HELD / 3).expect("more than anybody could have held");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < COST, "{grown} bytes");
}

#[test]
fn an_http2_stream_that_nobody_reads_stops_its_origin_and_not_its_neighbours() {
    for protocol in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("a", protocol);
        let mut config = proxy::to(&[origin.address]);
        config["services"]["app"]["protocol"] = json!(if protocol == Speaks::Http2 { "http2" } else { "http1" });
        let proxy = Proxy::start(&config);
        let before = proxy.memory();
        let mut client = chaos_tests::h2::Client::open(proxy.address, "a");
        // Two of hyper's windows for a stream fit into its window for the connection, which is the client's affair.
        let unread: Vec<_> = (0..2).map(|_| client.begin("/endless")).collect();
        let held = still(|| origin.produced());
        assert!(held < HELD * unread.len(), "{held} bytes were taken from the origin for nobody");
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < COST, "two streams that nobody reads cost {grown} bytes");
        assert_eq!(client.get("/").status(), 200, "a neighbour on the same connection");
        drop(unread);
        wait_for("the end at the origin", SOON, || origin.gone() == 2);
    }
}

#[test]
fn what_is_held_of_an_answer_can_be_seen_and_is_let_go() {
    let (go_on, going_on) = mpsc::channel::<()>();
    let going_on = std::sync::Mutex::new(going_on);
    let origin = Scripted::start(move |peer| {
        if peer.head().is_some() {
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\nbegun");
            going_on.lock().unwrap().recv_timeout(Duration::from_secs(60)).ok();
            peer.connection.send("x".repeat(2995));
        }
    });
    let mut config = proxy::to(&[origin.address]);
    (config["services"]["app"]["timeout"], config["services"]["app"]["per_try_timeout"]) = (json!("60s"), json!("off"));
    let proxy = Proxy::start(&config);
    let held = || proxy.metric("outrigger_held_bytes", &[]).iter().sum::<f64>();
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("3000 bytes held", SOON, || held() == 3_000.0);
    go_on.send(()).unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    wait_for("nothing held", SOON, || held() == 0.0);
}

#[test]
fn an_origin_that_does_not_read_stops_the_client_and_costs_no_memory() {
    let (end, ended) = mpsc::channel::<()>();
    let ended = std::sync::Mutex::new(ended);
    let origin = Scripted::start(move |peer| {
        if peer.head().is_some() {
            ended.lock().unwrap().recv_timeout(Duration::from_secs(60)).ok();
        }
    });
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("60s");
    let proxy = Proxy::start(&config);
    let before = proxy.memory();
    let mut client = Connection::open(proxy.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let piece = vec![b'a'; 1 << 20];
    let mut sent = 0;
    while let Ok(n) = std::io::Write::write(&mut &stream, &piece) {
        sent += n;
        assert!(sent < HELD, "{sent} bytes were taken for an origin that reads nothing");
    }
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < COST, "an upload that nobody reads costs {grown} bytes");
    end.send(()).unwrap();
}

#[test]
fn bytes_pass_when_they_come_in_both_directions() {
    let origin = Scripted::start(|peer| {
        let Some(head) = peer.head() else { return };
        assert_eq!(head.field("transfer-encoding"), Some("chunked"));
        peer.connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..5 {
            assert_eq!(data(&mut peer.connection, n), b'0' + n);
            peer.connection.send(format!("1\r\n{n}\r\n"));
        }
        assert_eq!(peer.connection.bytes(7).expect("the last chunk"), b"\r\n0\r\n\r\n");
        peer.connection.send("0\r\n\r\n");
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..5 {
        // Each piece is sent only when the one before has come back all the way.
        client.send(format!("1\r\n{n}\r\n"));
        if n == 0 {
            assert_eq!(client.head().unwrap().status(), 200);
        }
        assert_eq!(data(&mut client, n), b'0' + n);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.bytes(7).unwrap(), b"\r\n0\r\n\r\n");
}

/// The data of the next chunk, of one byte. The CRLF after it may come with it or with what follows.
fn data(connection: &mut Connection, nth: u8) -> u8 {
    if nth > 0 {
        assert_eq!(connection.bytes(2).expect("the end of a chunk"), b"\r\n");
    }
    let chunk = connection.bytes(4).expect("a chunk");
    assert_eq!(&chunk[..3], b"1\r\n");
    chunk[3]
}

#[test]
fn a_body_that_trickles_outlives_the_timeout_for_the_answers_head() {
    // Large, or of a length that nobody stated: such answers are passed on as they come.
    let scripts = [
        ("Content-Length: 150015", vec!["x".repeat(10_001); 15]),
        ("Transfer-Encoding: chunked", [vec!["5\r\nhello\r\n".to_owned(); 14], vec!["0\r\n\r\n".to_owned()]].concat()),
    ];
    for (framing, pieces) in scripts {
        let origin = Scripted::start(move |peer| {
            if peer.request().is_some() {
                peer.connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
                for piece in &pieces {
                    peer.connection.send(piece);
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        let mut config = proxy::to(&[origin.address]);
        config["services"]["app"]["timeout"] = json!("700ms");
        let proxy = Proxy::start(&config);
        let answer = chaos_tests::raw::get(proxy.address, "a", "/");
        assert_eq!((answer.status(), answer.body.len() >= 70), (200, true), "{framing}");
    }
}

#[test]
fn a_small_answer_that_trickles_is_within_the_timeout() {
    let fault = chaos_tests::fleet::Fault::SlowBody { pieces: 15, pause: Duration::from_millis(100) };
    let origin = Scripted::faulty(fault);
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("700ms");
    let proxy = Proxy::start(&config);
    assert_eq!(chaos_tests::raw::get(proxy.address, "a", "/").status(), 504);
}

#[test]
fn a_stream_on_which_nothing_moves_is_ended() {
    let origin = Scripted::start(|peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf");
            peer.connection.rest();
        }
    });
    let mut config = proxy::to(&[origin.address]);
    config["http"] = json!({ "stream_idle_timeout": "1s" });
    let proxy = Proxy::start(&config);
    let started = Instant::now();
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let broken = client.try_answer("GET").map(|m| m.head).expect_err("a clean end");
    assert_eq!(broken.part.body, b"half", "{broken}");
    assert!(started.elapsed() >= Duration::from_millis(900), "ended after {:?} already", started.elapsed());
}

#[test]
fn a_client_without_a_request_is_let_go_after_the_idle_timeout() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["http"] = json!({ "idle_timeout": "1s" });
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.answer();
    let started = Instant::now();
    assert!(client.ended());
    assert!(started.elapsed() >= Duration::from_millis(900), "ended after {:?} already", started.elapsed());
}

/// A figure when it has stopped to change.
fn still(figure: impl Fn() -> usize) -> usize {
    let (mut last, mut since) = (figure(), Instant::now());
    wait_for("a figure that stands still", SOON, || {
        let now = figure();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}
