//! A client that leaves takes with it all that was held for it, wherever its exchange stands and whoever is waited for.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use chaos_tests::fleet::Scripted;
use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use chaos_tests::{SOON, wait_for};
use serde_json::json;

/// How far the answer has come when the client leaves. None of the instances waits for the request's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    NotBegun,
    /// It has begun, and the proxy keeps it back until it is whole.
    Held,
    Begun,
    Ended,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Way {
    Close,
    Reset,
    /// It ends its side and stays; without `http.half_close` that is leaving, too.
    HalfClose,
    /// It gives its stream up.
    Cancel,
}

/// Who is waited for when the client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// It has more of its upload to send.
    Client,
    /// It takes no more of the upload.
    Instance,
}

/// Clients that leave at once.
const CLIENTS: usize = 3;
/// Connections that may be kept for others: one over HTTP/2 by each worker.
const KEPT: usize = 2;

/// How the instances of a test answer.
#[derive(Debug, Default)]
struct Play {
    answer: Mutex<Option<Answer>>,
    /// Requests that have come to them.
    asked: AtomicUsize,
    /// Shut until the test is over.
    gate: RwLock<()>,
}

impl Play {
    fn is(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn asked(&self) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().unwrap_or(Answer::NotBegun)
    }
}

fn http1(play: &Arc<Play>, awaited: Awaited) -> Scripted {
    let play = Arc::clone(play);
    Scripted::start(move |peer| {
        if peer.head().is_none() {
            return;
        }
        peer.connection.send(match play.asked() {
            Answer::NotBegun => "",
            Answer::Held => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
            Answer::Begun => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
            Answer::Ended => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbegun",
        });
        match awaited {
            Awaited::Client => drop(peer.connection.rest()),
            Awaited::Instance => drop(play.gate.read().ok()),
        }
    })
}

/// Opens no window: what it awaits is settled by how much the client sends.
fn http2(play: &Arc<Play>) -> SocketAddr {
    let play = Arc::clone(play);
    frames::serve(&[], move |frames| {
        while let Some(frame) = frames.receive() {
            if frame.kind != HEADERS {
                continue;
            }
            let answer = play.asked();
            let mut fields = frames::fields(&[(":status", "200")]);
            match answer {
                Answer::NotBegun => continue,
                Answer::Held => fields.extend(frames::fields(&[("content-length", "100")])),
                Answer::Begun | Answer::Ended => {}
            }
            frames.send(HEADERS, END_HEADERS, frame.stream, &fields);
            let last = if answer == Answer::Ended { END_STREAM } else { 0 };
            frames.send(DATA, last, frame.stream, b"begun");
        }
    })
}

/// A client in the middle of its upload.
enum Client {
    Http1(Connection),
    Http2(Frames),
}

impl Client {
    fn begin(proxy: &Proxy, (protocol, instance): (u8, u8), awaited: Awaited) -> Self {
        if protocol == 1 {
            let mut client = Connection::open(proxy.address);
            client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\npart");
            match (awaited, instance) {
                (Awaited::Client, _) => {}
                (Awaited::Instance, 1) => {
                    let stream = client.stream();
                    stream.set_write_timeout(Some(Duration::from_millis(250))).unwrap();
                    let piece = vec![b'a'; 1 << 20];
                    while (&stream).write(&piece).is_ok() {}
                }
                // More than the instance's window and less than what can lie before the proxy: the client's end arrives.
                (Awaited::Instance, _) => client.send(vec![b'a'; 96 << 10]),
            }
            return Self::Http1(client);
        }
        let mut client = Frames::open(proxy.address);
        let head = [(":method", "PUT"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        client.send(HEADERS, END_HEADERS, 1, &frames::fields(&head));
        client.send(DATA, 0, 1, b"part");
        Self::Http2(client)
    }

    fn sees_the_answer_begin(&mut self) {
        match self {
            Self::Http1(client) => {
                let head = client.head().unwrap();
                assert_eq!(head.status(), 200);
                let framed: &[u8] = if head.field("content-length").is_some() { b"begun" } else { b"5\r\nbegun" };
                assert_eq!(client.bytes(framed.len()).unwrap(), framed);
            }
            Self::Http2(client) => assert_eq!(client.find(DATA).unwrap().payload, b"begun"),
        }
    }

    /// What is left of it stays open until the proxy has let go.
    fn leave(self, way: Way) -> Option<Self> {
        let connection = match (self, way) {
            (Self::Http2(mut client), Way::Cancel) => {
                client.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
                return Some(Self::Http2(client));
            }
            (Self::Http2(client), _) => Connection::from(client.into_stream()),
            (Self::Http1(connection), _) => connection,
        };
        match way {
            Way::HalfClose => {
                let mut connection = connection;
                connection.finish();
                return Some(Self::Http1(connection));
            }
            Way::Reset => connection.reset(),
            Way::Close | Way::Cancel => drop(connection),
        }
        None
    }
}

fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).map_or(0, Iterator::count)
}

fn walk(protocol: u8, instance: u8, awaited: Awaited) {
    let play = Arc::<Play>::default();
    let shut = play.gate.write().unwrap();
    let scripted = (instance == 1).then(|| http1(&play, awaited));
    let mut config = proxy::to(&[scripted.as_ref().map_or_else(|| http2(&play), |scripted| scripted.address)]);
    let app = &mut config["services"]["app"];
    app["protocol"] = json!(if instance == 1 { "http1" } else { "http2" });
    // Nothing else may end an exchange.
    (app["timeout"], app["per_try_timeout"]) = (json!("10m"), json!("off"));
    let proxy = Proxy::start(&config);
    let before = descriptors(&proxy);
    for answer in [Answer::NotBegun, Answer::Held, Answer::Begun, Answer::Ended] {
        if awaited == Awaited::Instance && answer != Answer::NotBegun {
            continue;
        }
        play.is(answer);
        for way in [Way::Close, Way::Reset, Way::HalfClose, Way::Cancel] {
            // An end behind bytes that no kernel has room for does not arrive.
            let arrives = awaited == Awaited::Client || instance == 2 || matches!(way, Way::Reset);
            if !arrives || matches!(way, Way::Cancel) && protocol == 1 {
                continue;
            }
            let case = format!("HTTP/{protocol} to HTTP/{instance}, {answer:?}, {awaited:?} awaited, {way:?}");
            let asked = play.asked.load(Ordering::SeqCst) + CLIENTS;
            let mut clients: Vec<_> =
                (0..CLIENTS).map(|_| Client::begin(&proxy, (protocol, instance), awaited)).collect();
            wait_for(&format!("all requests at the instance: {case}"), SOON, || {
                play.asked.load(Ordering::SeqCst) == asked
            });
            if matches!(answer, Answer::Begun | Answer::Ended) {
                clients.iter_mut().for_each(Client::sees_the_answer_begin);
            }
            let held = descriptors(&proxy);
            let left: Vec<_> = clients.into_iter().filter_map(|client| client.leave(way)).collect();
            // A client that gives up a stream alone keeps its own connection.
            let own = if matches!(way, Way::Cancel) { CLIENTS } else { 0 };
            wait_for(&format!("of {held} descriptors no more than {before} and {KEPT}: {case}"), SOON, || {
                descriptors(&proxy) <= before + KEPT + own
            });
            drop(left);
            wait_for(&format!("the clients' own end: {case}"), SOON, || descriptors(&proxy) <= before + KEPT);
        }
    }
    drop(shut);
}

#[test]
fn a_client_that_leaves_half_way_through_its_upload_takes_nothing_with_it() {
    std::thread::scope(|scope| {
        for (protocol, instance) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            scope.spawn(move || walk(protocol, instance, Awaited::Client));
        }
    });
}

#[test]
fn a_client_that_leaves_while_its_instance_takes_nothing_is_missed() {
    std::thread::scope(|scope| {
        for instance in [1, 2] {
            scope.spawn(move || walk(1, instance, Awaited::Instance));
        }
    });
}
