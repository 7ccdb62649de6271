//! The loads of a soak beside its steady GETs: bodies of all sizes over both protocols, and clients that behave badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderMap;

use crate::h2;
use crate::load::Tally;
use crate::pattern;
use crate::raw::Connection;

/// What became of a load's requests.
#[derive(Debug)]
pub struct Told {
    pub name: &'static str,
    pub good: usize,
    pub failed: Vec<String>,
}

impl Told {
    pub fn of(name: &'static str, tally: Tally) -> Self {
        Self { name, good: tally.good, failed: tally.failed }
    }

    fn nothing(name: &'static str) -> Self {
        Self { name, good: 0, failed: Vec::new() }
    }

    fn count(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.good += 1,
            Err(why) => self.failed.push(why),
        }
    }
}

/// The largest body.
const MOST: usize = 2 << 20;
/// From one request of a load to the next.
const EVERY: Duration = Duration::from_millis(50);

/// Starts all of them, until they are told to stop.
pub fn all(to: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Told>> {
    let loads: [fn(SocketAddr, &AtomicBool) -> Told; 4] = [over_http2, over_http1, rude, rude];
    let start = |load: fn(SocketAddr, &AtomicBool) -> Told| {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || load(to, &stop))
    };
    loads.into_iter().map(start).collect()
}

/// Few are large, and many small.
fn size() -> usize {
    let most = [100, 10_000, 200_000, MOST][fastrand::usize(..4)];
    fastrand::usize(..most)
}

fn over_http2(to: SocketAddr, stop: &AtomicBool) -> Told {
    let mut told = Told::nothing("bodies over h2");
    let mut client = h2::Client::open(to, "wares");
    while !stop.load(Ordering::SeqCst) {
        let size = size();
        let (method, path, body) = match fastrand::bool() {
            true => ("PUT", "/echo".to_owned(), pattern(size)),
            false => ("GET", format!("/bytes/{size}"), Vec::new()),
        };
        let outcome = client.try_ask(method, &path, &[], body, HeaderMap::new());
        let outcome = match outcome {
            Ok(answer) if answer.status() == 200 && answer.body == pattern(size) => Ok(()),
            Ok(answer) => {
                Err(format!("{method} {path} of {size}: {} and {} bytes", answer.status(), answer.body.len()))
            }
            Err(error) => Err(format!("{method} {path} of {size}: {error:?}")),
        };
        if outcome.is_err() {
            client = h2::Client::open(to, "wares");
        }
        told.count(outcome);
        std::thread::sleep(EVERY);
    }
    told
}

fn over_http1(to: SocketAddr, stop: &AtomicBool) -> Told {
    let mut told = Told::nothing("bodies over h1");
    while !stop.load(Ordering::SeqCst) {
        let size = size();
        let (head, body) = match fastrand::bool() {
            true => (format!("PUT /echo HTTP/1.1\r\nHost: files\r\nContent-Length: {size}\r\n"), pattern(size)),
            false => (format!("GET /bytes/{size} HTTP/1.1\r\nHost: files\r\n"), Vec::new()),
        };
        let outcome = exchange(to, &format!("{head}Connection: close\r\n\r\n"), body, size);
        told.count(outcome.map_err(|why| format!("{head:?}: {why}")));
        std::thread::sleep(EVERY);
    }
    told
}

/// An echo begins before the upload ends, so both go on at once.
fn exchange(to: SocketAddr, head: &str, body: Vec<u8>, size: usize) -> Result<(), String> {
    let mut client = Connection::try_open(to).map_err(|error| error.to_string())?;
    client.try_send(head).map_err(|error| error.to_string())?;
    let mut upload = Connection::from(client.stream());
    let uploading = std::thread::spawn(move || upload.try_send(body));
    let answer = client.try_answer("GET").map_err(|broken| broken.to_string());
    let sent = uploading.join().map_err(|_| "the upload ended in a panic".to_owned())?;
    let answer = answer?;
    match (answer.status(), answer.body == pattern(size)) {
        (200, true) => sent.map_err(|error| error.to_string()),
        (status, _) => Err(format!("{status} and {} bytes", answer.body.len())),
    }
}

/// Clients that begin and do not go on, read nothing, or say what is no HTTP. Nothing is owed to them.
fn rude(to: SocketAddr, stop: &AtomicBool) -> Told {
    let mut held = std::collections::VecDeque::new();
    while !stop.load(Ordering::SeqCst) {
        if let Ok(mut client) = Connection::try_open(to) {
            let said: &[u8] = match fastrand::u8(..6) {
                0 => b"GET /half HTTP/1.1\r\nHost: fi",
                1 => b"PUT /echo HTTP/1.1\r\nHost: files\r\nContent-Length: 100000\r\n\r\nonly a part",
                2 => b"GET /bytes/8000000 HTTP/1.1\r\nHost: files\r\n\r\n",
                3 => b"\x16\x03\x01\x00\x05hello",
                4 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff",
                _ => b"",
            };
            client.try_send(said).ok();
            held.push_back(client);
        }
        // Some end at once, the others a while later, half of them with a reset.
        if held.len() > 40 || fastrand::u8(..4) == 0 {
            match (held.pop_front(), fastrand::bool()) {
                (Some(client), true) => client.reset(),
                (client, _) => drop(client),
            }
        }
        std::thread::sleep(EVERY);
    }
    Told::nothing("rude")
}
