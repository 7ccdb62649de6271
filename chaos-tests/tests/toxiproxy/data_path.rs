//! What a client sees of each toxic, through Toxiproxy and through Outrigger: the same, within what a busy machine allows.
//!
//! How exact Outrigger is on its own is measured elsewhere. Here both are asked the same, and what they are asked is coarse:
//! did it take so long at least, what arrived, how did it end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chaos_tests::raw::{Connection, Fault};
use chaos_tests::toxiproxy::Toxiproxy;
use chaos_tests::{SOON, pattern, wait_for};
use serde_json::{Value, json};

use crate::echo::{Echo, source};

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    bytes: usize,
    intact: bool,
    end: Fault,
}

/// Runs a test on the real server, where it is to be had, and on Outrigger.
fn on_both(test: impl Fn(&Toxiproxy, &Echo)) {
    let servers = Toxiproxy::real().into_iter().chain([Toxiproxy::outrigger()]);
    for server in servers {
        test(&server, &Echo::start());
    }
}

/// Asks a [`source`] for so many bytes, and reads until the end.
fn fetch(address: SocketAddr, bytes: usize) -> (Seen, Duration) {
    let began = Instant::now();
    let mut connection = Connection::open(address);
    connection.send(u32::try_from(bytes).unwrap().to_be_bytes());
    let (got, end) = connection.rest();
    (Seen { bytes: got.len(), intact: pattern(bytes).starts_with(&got), end }, began.elapsed())
}

/// All of it, and a clean end.
fn whole(bytes: usize) -> Seen {
    Seen { bytes, intact: true, end: Fault::Cut }
}

fn toxic(kind: &str, stream: &str, attributes: Value) -> Value {
    json!({ "type": kind, "stream": stream, "attributes": attributes })
}

#[test]
fn without_a_toxic_everything_comes_through_and_ends_as_it_ended() {
    on_both(|server, _| {
        let listen = server.proxy("p", source());
        assert_eq!(fetch(listen, 3_000_000).0, whole(3_000_000), "{}", server.name);
    });
}

#[test]
fn latency_delays_in_the_direction_that_it_was_given() {
    for stream in ["upstream", "downstream"] {
        on_both(|server, echo| {
            let listen = server.proxy("p", echo.address);
            server.toxic("p", &toxic("latency", stream, json!({ "latency": 400 })));
            let mut connection = Connection::open(listen);
            let began = Instant::now();
            connection.send("ping");
            if stream == "downstream" {
                wait_for("the origin has it at once", SOON, || echo.received() == 4);
            }
            assert_eq!(connection.bytes(4).unwrap(), b"ping");
            assert!(began.elapsed() >= Duration::from_millis(400), "{} {stream}: {:?}", server.name, began.elapsed());
        });
    }
}

#[test]
fn bandwidth_lets_through_as_much_as_it_says() {
    on_both(|server, _| {
        let listen = server.proxy("p", source());
        server.toxic("p", &toxic("bandwidth", "downstream", json!({ "rate": 200 })));
        let (seen, took) = fetch(listen, 200_000);
        assert_eq!(seen, whole(200_000), "{}", server.name);
        assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(10), "{}: {took:?}", server.name);
    });
}

#[test]
fn slow_close_delays_the_end_and_nothing_else() {
    on_both(|server, _| {
        let listen = server.proxy("p", source());
        server.toxic("p", &toxic("slow_close", "downstream", json!({ "delay": 500 })));
        let (seen, took) = fetch(listen, 4);
        assert_eq!(seen, whole(4), "{}", server.name);
        assert!(took >= Duration::from_millis(500), "{}: {took:?}", server.name);
    });
}

#[test]
fn timeout_lets_nothing_through_and_closes() {
    on_both(|server, echo| {
        let listen = server.proxy("p", echo.address);
        server.toxic("p", &toxic("timeout", "downstream", json!({ "timeout": 300 })));
        let mut connection = Connection::open(listen);
        let began = Instant::now();
        connection.send("ping");
        let (rest, end) = connection.rest();
        assert_eq!((rest, end), (Vec::new(), Fault::Cut), "{}", server.name);
        assert!(began.elapsed() >= Duration::from_millis(250), "{}: {:?}", server.name, began.elapsed());
    });
}

#[test]
fn timeout_0_holds_the_connection_until_it_is_removed_and_closes_it_then() {
    on_both(|server, echo| {
        let listen = server.proxy("p", echo.address);
        server.toxic("p", &toxic("timeout", "downstream", json!({})));
        let mut connection = Connection::open(listen);
        connection.send("ping");
        connection.patience(Duration::from_millis(500));
        assert_eq!(connection.bytes(1), Err(Fault::Late), "{}", server.name);
        assert_eq!(server.call("DELETE", "/proxies/p/toxics/timeout_downstream", "").status(), 204);
        connection.patience(SOON);
        assert!(connection.ended(), "{}", server.name);
    });
}

#[test]
fn reset_peer_resets() {
    for stream in ["upstream", "downstream"] {
        on_both(|server, echo| {
            let listen = server.proxy("p", echo.address);
            server.toxic("p", &toxic("reset_peer", stream, json!({ "timeout": 200 })));
            let mut connection = Connection::open(listen);
            let began = Instant::now();
            connection.send("ping");
            let (rest, end) = connection.rest();
            assert_eq!(end, Fault::Reset, "{} {stream} after {rest:?}", server.name);
            assert!(began.elapsed() >= Duration::from_millis(150), "{}: {:?}", server.name, began.elapsed());
        });
    }
}

#[test]
fn slicer_changes_nothing_but_the_pieces() {
    on_both(|server, _| {
        let listen = server.proxy("p", source());
        let attributes = json!({ "average_size": 100, "size_variation": 50, "delay": 2000 });
        server.toxic("p", &toxic("slicer", "downstream", attributes));
        let (seen, took) = fetch(listen, 20_000);
        assert_eq!(seen, whole(20_000), "{}", server.name);
        // About two hundred pieces, two milliseconds between them.
        assert!(took >= Duration::from_millis(200), "{}: {took:?}", server.name);
    });
}

#[test]
fn limit_data_lets_through_that_many_bytes_and_closes() {
    for limit in [1, 1000, 100_000] {
        on_both(|server, echo| {
            let listen = server.proxy("p", echo.address);
            server.toxic("p", &toxic("limit_data", "downstream", json!({ "bytes": limit })));
            let mut connection = Connection::open(listen);
            connection.send(pattern(limit));
            assert_eq!(connection.bytes(limit).unwrap(), pattern(limit), "{}", server.name);
            connection.try_send("more").ok();
            assert!(connection.ended(), "{} closes after {limit}", server.name);
        });
    }
}

#[test]
fn a_disabled_proxy_refuses_and_drops_what_was_open() {
    on_both(|server, echo| {
        let listen = server.proxy("p", echo.address);
        let mut connection = Connection::open(listen);
        connection.send("ping");
        assert_eq!(connection.bytes(4).unwrap(), b"ping");
        assert_eq!(server.call("PATCH", "/proxies/p", r#"{"enabled":false}"#).status(), 200);
        assert!(connection.ended(), "{}: what was open ends", server.name);
        assert!(Connection::try_open(listen).is_err(), "{}: nothing new", server.name);
        assert_eq!(server.call("PATCH", "/proxies/p", r#"{"enabled":true}"#).status(), 200);
        let mut again = Connection::open(listen);
        again.send("ping");
        assert_eq!(again.bytes(4).unwrap(), b"ping", "{}", server.name);
    });
}

#[test]
fn another_upstream_drops_what_was_open_and_serves_what_comes() {
    on_both(|server, echo| {
        let listen = server.proxy("p", echo.address);
        let mut connection = Connection::open(listen);
        connection.send("ping");
        assert_eq!(connection.bytes(4).unwrap(), b"ping");
        let other = Echo::start();
        let change = json!({ "upstream": other.address }).to_string();
        assert_eq!(server.call("PATCH", "/proxies/p", &change).status(), 200);
        assert!(connection.ended(), "{}", server.name);
        let mut again = Connection::open(listen);
        again.send("ping");
        assert_eq!(again.bytes(4).unwrap(), b"ping", "{}", server.name);
        assert_eq!((echo.received(), other.received()), (4, 4), "{}", server.name);
    });
}

#[test]
fn an_upstream_that_is_not_there_closes_the_connection() {
    on_both(|server, _| {
        let nobody = chaos_tests::proxy::free_address();
        let listen = server.proxy("p", nobody);
        let mut connection = Connection::open(listen);
        assert!(connection.ended(), "{}", server.name);
    });
}

#[test]
fn a_toxic_reaches_connections_that_are_open_already_and_lets_them_go_again() {
    on_both(|server, echo| {
        let listen = server.proxy("p", echo.address);
        let mut connection = Connection::open(listen);
        let mut ping = || {
            let began = Instant::now();
            connection.send("ping");
            assert_eq!(connection.bytes(4).unwrap(), b"ping");
            began.elapsed()
        };
        ping();
        server.toxic("p", &toxic("latency", "downstream", json!({ "latency": 600 })));
        assert!(ping() >= Duration::from_millis(600), "{}", server.name);
        let change = json!({ "attributes": { "latency": 300 } }).to_string();
        assert_eq!(server.call("POST", "/proxies/p/toxics/latency_downstream", &change).status(), 200);
        assert!(ping() >= Duration::from_millis(300), "{}", server.name);
        assert_eq!(server.call("DELETE", "/proxies/p/toxics/latency_downstream", "").status(), 204);
        let fastest = (0..5).map(|_| ping()).min().unwrap();
        assert!(fastest < Duration::from_millis(200), "{}: {fastest:?}", server.name);
    });
}

#[test]
fn a_client_that_has_no_more_to_say_is_still_answered() {
    // Toxiproxy closes both directions when one ends.
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let listen = server.proxy("p", echo.address);
    let mut connection = Connection::open(listen);
    connection.send(pattern(100_000));
    connection.finish();
    assert_eq!(connection.rest(), (pattern(100_000), Fault::Cut));
}
