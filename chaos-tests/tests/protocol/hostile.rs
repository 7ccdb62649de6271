//! Clients that mean harm over HTTP/2: each kind of flood ends with its own connection, for the right reason, and nobody
//! else notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::fleet::Scripted;
use chaos_tests::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame,
};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, ask};
use chaos_tests::wait_for;
use serde_json::json;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;
/// What is opened beyond a window of any size.
const TOO_FAR: [u8; 4] = 0x7fff_ffff_u32.to_be_bytes();
/// How often a flood repeats itself, where nobody ends it.
const ROUNDS: u32 = 20_000;

/// A flood: what a client sends on its connection again and again.
struct Flood {
    name: &'static str,
    /// What it begins with.
    first: fn() -> Vec<u8>,
    /// What it goes on with, for each round. Streams are odd from 3.
    round: fn(u32) -> Vec<u8>,
    /// How it is counted.
    kind: &'static str,
    /// What GOAWAY says.
    code: u32,
}

fn nothing() -> Vec<u8> {
    Vec::new()
}

/// A request that the instance does not answer.
fn asks(method: &str, flags: u8, stream: u32) -> Vec<u8> {
    let head = [(":method", method), (":scheme", "http"), (":path", "/slow"), (":authority", "a")];
    frame(HEADERS, END_HEADERS | flags, stream, &frames::fields(&head))
}

fn upload() -> Vec<u8> {
    asks("POST", 0, 1)
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "streams that are reset at once",
        first: nothing,
        round: |stream| [asks("GET", END_STREAM, stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat(),
        kind: "resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "windows that are opened too far, so that the proxy resets the stream",
        first: nothing,
        round: |stream| [asks("POST", 0, stream), frame(WINDOW_UPDATE, 0, stream, &TOO_FAR)].concat(),
        kind: "provoked_resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "DATA on streams that the client has ended",
        first: nothing,
        round: |stream| [asks("GET", END_STREAM, stream), frame(DATA, 0, stream, b"more")].concat(),
        kind: "protocol",
        code: PROTOCOL_ERROR,
    },
    Flood {
        name: "more DATA than was said",
        first: nothing,
        round: |stream| {
            let said = [asks("POST", 0, stream)[9..].to_vec(), frames::field("content-length", "1")].concat();
            [frame(HEADERS, END_HEADERS, stream, &said), frame(DATA, 0, stream, b"more")].concat()
        },
        kind: "provoked_resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "streams that depend on themselves",
        first: nothing,
        round: |stream| {
            let on_itself = [&stream.to_be_bytes()[..], &[16]].concat();
            [asks("POST", 0, stream), frame(PRIORITY, 0, stream, &on_itself)].concat()
        },
        kind: "provoked_resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "heads without a method",
        first: nothing,
        round: |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[]),
        kind: "provoked_resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "more streams than are allowed",
        first: nothing,
        round: |stream| asks("GET", END_STREAM, stream),
        kind: "provoked_resets",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "a head that goes on in empty frames",
        first: || frame(HEADERS, END_STREAM, 1, &[]),
        round: |_| frame(CONTINUATION, 0, 1, &[]),
        kind: "continuations",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "a head that goes on in full frames",
        first: || frame(HEADERS, END_STREAM, 1, &frames::fields(&[(":method", "GET")])),
        round: |_| frame(CONTINUATION, 0, 1, &frames::field("x", "y").repeat(3000)),
        kind: "heads",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "a field of 4 kB, said again in one byte each time",
        first: || {
            // A literal that is put into the table (RFC 7541 section 6.2.1), of 4000 bytes.
            let length = [0x7f, 0xa1, 0x1e];
            let field = [&[0x40, 1, b'x'][..], &length, &[b'y'; 4000]].concat();
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[asks("GET", 0, 1)[9..].to_vec(), field].concat())
        },
        round: |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0xbe; 16_000]),
        kind: "heads",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "SETTINGS",
        first: nothing,
        round: |_| frame(SETTINGS, 0, 0, &[]),
        kind: "settings",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "SETTINGS that move all windows to and fro",
        first: upload,
        round: |round| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, round.to_be_bytes()[3], 0]),
        kind: "settings",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "PINGs",
        first: nothing,
        round: |_| frame(PING, 0, 0, &[7; 8]),
        kind: "pings",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "answers to PINGs that nobody sent",
        first: nothing,
        round: |_| frame(PING, 1, 0, &[7; 8]),
        kind: "pings",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "windows of the connection that grow by a byte",
        first: nothing,
        round: |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        kind: "window_updates",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "windows of a stream that grow by a byte",
        first: upload,
        round: |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        kind: "window_updates",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "priorities",
        first: nothing,
        round: |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]),
        kind: "priorities",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "frames of a type that nobody knows",
        first: nothing,
        round: |_| frame(0x42, 0, 0, &[]),
        kind: "other_frames",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "DATA without data",
        first: upload,
        round: |_| frame(DATA, 0, 1, &[]),
        kind: "data",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "DATA that is all padding",
        first: upload,
        round: |_| frame(DATA, PADDED, 1, &[[31].as_slice(), &[0; 31]].concat()),
        kind: "data",
        code: ENHANCE_YOUR_CALM,
    },
    Flood {
        name: "a window that is opened by nothing",
        first: nothing,
        round: |_| frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        kind: "protocol",
        code: PROTOCOL_ERROR,
    },
    Flood {
        name: "a window of the connection that is opened too far",
        first: nothing,
        round: |_| frame(WINDOW_UPDATE, 0, 0, &TOO_FAR),
        kind: "protocol",
        code: FLOW_CONTROL_ERROR,
    },
    Flood {
        name: "a field that is in no table",
        first: nothing,
        round: |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0xff, 0x80, 0x01]),
        kind: "protocol",
        code: PROTOCOL_ERROR,
    },
];

/// An instance that answers at once, but for what is asked of `/slow`.
fn instance() -> Scripted {
    Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            if head.target() == "/slow" {
                peer.connection.ended();
                return;
            }
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

fn over(instance: &Scripted) -> Proxy {
    let mut config = proxy::to(&[instance.address]);
    // What the instance keeps waiting is not to be what limits the floods.
    config["services"]["app"]["max_connections"] = json!(4096);
    config["services"]["app"]["timeout"] = json!("60s");
    config["workers"] = json!(1);
    Proxy::start(&config)
}

impl Flood {
    /// Sends it, until nobody takes more. Returns what GOAWAY says then.
    fn send(&self, address: SocketAddr) -> Option<u32> {
        let mut client = Frames::open(address);
        let mut open = client.press(&(self.first)());
        let mut batch = Vec::new();
        for round in 0..ROUNDS {
            if !open {
                break;
            }
            batch.extend((self.round)(2 * round + 3));
            if batch.len() > 4096 {
                open = client.press(&batch);
                batch.clear();
            }
        }
        let told = client.find(GOAWAY)?;
        told.payload.get(4..8)?.try_into().ok().map(u32::from_be_bytes)
    }
}

#[test]
fn a_client_that_floods_over_http2_loses_its_connection_and_is_told_why() {
    let instance = instance();
    let proxy = over(&instance);
    for flood in FLOODS {
        let counted = || {
            let kind = format!("kind=\"{}\"", flood.kind);
            proxy.metric("outrigger_client_http2_abuses_total", &[&kind]).iter().sum::<f64>()
        };
        let before = counted();
        assert_eq!(flood.send(proxy.address), Some(flood.code), "{}", flood.name);
        wait_for(flood.name, Duration::from_secs(20), || counted() > before);
        assert_eq!(counted(), before + 1.0, "{}", flood.name);
        assert_eq!(ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status(), 200);
    }
}

/// The answers' times of so many requests on one connection, in order of length.
fn times(address: SocketAddr, count: usize) -> Vec<Duration> {
    let mut client = Connection::open(address);
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

#[test]
fn clients_that_flood_over_http2_do_not_slow_down_another() {
    let instance = instance();
    let proxy = over(&instance);
    let address = proxy.address;
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    times(address, 200);
    let before = p99(&times(address, 1000));
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicUsize::new(0));
    // One that comes again and again with each kind of flood.
    let (stop, count) = (Arc::clone(&over), Arc::clone(&ended));
    let flooding = std::thread::spawn(move || {
        for flood in FLOODS.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            count.fetch_add(usize::from(flood.send(address).is_some()), Ordering::Relaxed);
        }
    });
    wait_for("the floods", Duration::from_secs(60), || ended.load(Ordering::Relaxed) > FLOODS.len());
    let during = p99(&times(address, 1000));
    over.store(true, Ordering::Relaxed);
    flooding.join().unwrap();
    println!("p99 {before:?} alone, {during:?} beside {} floods", ended.load(Ordering::Relaxed));
    // Ten times, of what a busy machine may take from anybody.
    assert!(during < 10 * before.max(Duration::from_millis(50)), "{before:?} became {during:?}");
}
