//! An end is an event in its stream's order: a reset comes behind what came before it, and what holds that holds the reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use chaos_tests::SOON;
use chaos_tests::raw::Fault;
use chaos_tests::toxiproxy::Toxiproxy;
use serde_json::{Value, json};

/// On the real server, where it is to be had, and on Outrigger.
fn on_both(test: impl Fn(&Toxiproxy)) {
    for server in Toxiproxy::real().into_iter().chain([Toxiproxy::outrigger()]) {
        test(&server);
    }
}

/// A proxy before a server of our own.
struct Between {
    listener: TcpListener,
    at: SocketAddr,
}

impl Between {
    fn new(server: &Toxiproxy, toxics: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = server.proxy("p", listener.local_addr().unwrap());
        toxics.iter().for_each(|toxic| server.toxic("p", toxic));
        Self { listener, at }
    }

    /// Both ends of a connection through it.
    fn connect(&self) -> [TcpStream; 2] {
        let client = TcpStream::connect(self.at).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(SOON)).unwrap();
        }
        [client, server]
    }
}

fn toxic(kind: &str, stream: &str, attributes: &Value) -> Value {
    json!({ "name": format!("{kind}_{stream}"), "type": kind, "stream": stream, "attributes": attributes })
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// All that comes, and how it ends.
fn rest(stream: &mut TcpStream) -> (Vec<u8>, Fault) {
    let (mut all, mut some) = (Vec::new(), [0; 100]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return (all, Fault::Cut),
            Ok(n) => all.extend_from_slice(&some[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (all, Fault::Late),
            Err(_) => return (all, Fault::Reset),
        }
    }
}

/// The ends of a connection, the one that the stream comes from first.
fn by_stream(stream: &str, ends: [TcpStream; 2]) -> [TcpStream; 2] {
    let [client, server] = ends;
    if stream == "upstream" { [client, server] } else { [server, client] }
}

/// Waits until a connection is carried: a server that ends before that was never reached.
fn carried(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}

const SENT: &[u8] = &[7; 200];

#[test]
fn a_reset_comes_behind_what_came_before_it_through_every_toxic_and_in_both_directions() {
    let ms = Duration::from_millis;
    // What arrives, how long it takes at least, and how it ends: where it is the source's end, Toxiproxy makes a clean one of it.
    let (source, own) = (|| None, Some);
    let table = [
        ("noop", json!({}), 200, ms(0), source()),
        ("latency", json!({ "latency": 300 }), 200, ms(300), source()),
        ("bandwidth", json!({ "rate": 1 }), 200, ms(150), source()),
        ("slow_close", json!({ "delay": 300 }), 200, ms(300), source()),
        ("slicer", json!({ "average_size": 50, "delay": 80_000 }), 200, ms(200), source()),
        ("limit_data", json!({ "bytes": 40 }), 40, ms(0), own(Fault::Cut)),
        ("timeout", json!({ "timeout": 300 }), 0, ms(0), source()),
        ("reset_peer", json!({ "timeout": 300 }), 0, ms(250), own(Fault::Reset)),
    ];
    on_both(|server| {
        let passed = if server.name == "toxiproxy" { Fault::Cut } else { Fault::Reset };
        for (kind, attributes, bytes, time, end) in &table {
            for stream in ["upstream", "downstream"] {
                let between = Between::new(server, &[toxic(kind, stream, attributes)]);
                let [mut from, mut to] = by_stream(stream, between.connect());
                carried(&mut to, &mut from);
                let began = Instant::now();
                from.write_all(SENT).unwrap();
                reset(from);
                let seen = rest(&mut to);
                let took = began.elapsed();
                let expected = (SENT[..*bytes].to_vec(), end.clone().unwrap_or_else(|| passed.clone()));
                assert_eq!(seen, expected, "{} {kind} {stream}", server.name);
                assert!(took >= *time, "{} {kind} {stream}: {took:?}", server.name);
                assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
            }
        }
    });
}

#[test]
fn behind_a_partition_nobody_hears_of_a_reset_until_it_is_over() {
    on_both(|server| {
        for stream in ["upstream", "downstream"] {
            let cut = ["upstream", "downstream"].map(|stream| toxic("bandwidth", stream, &json!({ "rate": 0 })));
            let between = Between::new(server, &[]);
            let [mut from, mut to] = by_stream(stream, between.connect());
            carried(&mut to, &mut from);
            cut.iter().for_each(|toxic| server.toxic("p", toxic));
            from.write_all(SENT).unwrap();
            reset(from);
            // Whoever writes into a partition does not hear of it either.
            to.write_all(b"anybody there?").unwrap();
            to.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            assert_eq!(rest(&mut to), (Vec::new(), Fault::Late), "{} {stream}", server.name);
            to.set_read_timeout(Some(SOON)).unwrap();
            assert_eq!(server.call("POST", "/reset", "").status(), 204);
            let (seen, end) = rest(&mut to);
            assert_ne!(end, Fault::Late, "{} {stream}", server.name);
            // Toxiproxy may lose what it holds to the other direction's end.
            assert!(seen == SENT || server.name == "toxiproxy", "{} {stream}: {}", server.name, seen.len());
            assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
        }
    });
}

#[test]
fn reset_peer_closes_what_was_open_before_it_and_resets_what_comes_after() {
    on_both(|server| {
        for stream in ["upstream", "downstream"] {
            let between = Between::new(server, &[]);
            let [mut before_from, mut before_to] = by_stream(stream, between.connect());
            carried(&mut before_from, &mut before_to);
            server.toxic("p", &toxic("reset_peer", stream, &json!({ "timeout": 50 })));
            let [mut after_from, mut after_to] = by_stream(stream, between.connect());
            for (from, to, end) in
                [(&mut before_from, &mut before_to, Fault::Cut), (&mut after_from, &mut after_to, Fault::Reset)]
            {
                from.write_all(b"dropped").unwrap();
                assert_eq!(rest(to), (Vec::new(), end.clone()), "{} {stream}", server.name);
                assert_eq!(rest(from), (Vec::new(), end), "{} {stream}", server.name);
            }
            assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
        }
    });
}

#[test]
fn a_connection_that_began_under_reset_peer_is_reset_whatever_ends_it() {
    on_both(|server| {
        for how in ["removed", "switched off"] {
            let between = Between::new(server, &[toxic("reset_peer", "downstream", &json!({ "timeout": 0 }))]);
            let mut ends = between.connect();
            // Nothing goes the toxic's way.
            let [client, upstream] = &mut ends;
            carried(client, upstream);
            if how == "removed" {
                assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
            } else {
                assert_eq!(server.call("POST", "/proxies/p", r#"{"enabled":false}"#).status(), 200);
            }
            for end in &mut ends {
                assert_eq!(rest(end), (Vec::new(), Fault::Reset), "{} {how}", server.name);
            }
            server.call("DELETE", "/proxies/p", "");
        }
    });
}
