//! Steady traffic, and what became of each request.
//!
//! The load is open: requests start at their own times whatever became of those before, so that a pause of the
//! proxy is seen by all the requests that fall into it. A client here does what every HTTP client does, and no
//! more: it keeps connections, obeys `Connection: close`, and sends a GET again, once and on a new connection, when
//! a *reused* one was closed without a byte of an answer (RFC 9112 section 9.3.1). Everything else is a failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::raw::{Connection, Fault, Message};

/// Traffic that runs until it is told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered with 200.
    pub good: usize,
    /// What went wrong, and when, from the start.
    pub failed: Vec<String>,
    /// Sent again because a reused connection had been closed.
    pub stale: usize,
    /// Good answers by their `x-served-by`.
    pub by: BTreeMap<String, usize>,
}

impl Load {
    /// `rate` requests per second, from `clients` connections, each to where `target` says at that time.
    pub fn start(
        target: impl Fn() -> SocketAddr + Send + Sync + 'static,
        host: &str,
        rate: usize,
        clients: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let target = Arc::new(target);
        let request: Arc<str> = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into();
        let gap = Duration::from_secs_f64(clients as f64 / rate as f64);
        let clients = (0..clients)
            .map(|n| {
                let (stop, target, request) = (Arc::clone(&stop), Arc::clone(&target), Arc::clone(&request));
                let phase = gap.mul_f64(n as f64 / clients as f64);
                std::thread::spawn(move || client(&stop, &*target, &request, gap, phase))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends it, and says what became of it.
    #[track_caller]
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for client in self.clients {
            let one = client.join().expect("a client");
            all.good += one.good;
            all.stale += one.stale;
            all.failed.extend(one.failed);
            for (name, count) in one.by {
                *all.by.entry(name).or_default() += count;
            }
        }
        all
    }
}

fn client(stop: &AtomicBool, target: &dyn Fn() -> SocketAddr, request: &str, gap: Duration, phase: Duration) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<(SocketAddr, Connection)> = None;
    let start = Instant::now();
    let mut due = start + phase;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        let address = target();
        let reused = kept.take().filter(|(to, _)| *to == address).map(|(_, connection)| connection);
        let was_reused = reused.is_some();
        let mut outcome = exchange(address, reused, request);
        if was_reused && matches!(outcome, Err(Outcome::Unanswered)) {
            tally.stale += 1;
            outcome = exchange(address, None, request);
        }
        match outcome {
            Ok((answer, connection)) if answer.status() == 200 => {
                tally.good += 1;
                if let Some(name) = answer.field("x-served-by") {
                    *tally.by.entry(name.into()).or_default() += 1;
                }
                kept = connection.map(|connection| (address, connection));
            }
            Ok((answer, _)) => {
                let what = format!("{:?}: {} {}", start.elapsed(), answer.head.start, answer.text());
                tally.failed.push(what);
            }
            Err(outcome) => tally.failed.push(format!("{:?}: {outcome:?}", start.elapsed())),
        }
    }
    tally
}

#[derive(Debug)]
enum Outcome {
    Refused(#[allow(dead_code, reason = "read by Debug")] std::io::Error),
    Unanswered,
    Broken(#[allow(dead_code, reason = "read by Debug")] String),
}

fn exchange(
    address: SocketAddr,
    reused: Option<Connection>,
    request: &str,
) -> Result<(Message, Option<Connection>), Outcome> {
    let mut connection = match reused {
        Some(connection) => connection,
        None => Connection::try_open(address).map_err(Outcome::Refused)?,
    };
    if connection.try_send(request).is_err() {
        return Err(Outcome::Unanswered);
    }
    match connection.try_answer("GET") {
        Ok(answer) => {
            let close = answer.head.lists("connection", "close");
            Ok((answer, (!close).then_some(connection)))
        }
        Err(broken) if broken.part.head.start.is_empty() && matches!(broken.fault, Fault::Closed | Fault::Reset) => {
            Err(Outcome::Unanswered)
        }
        Err(broken) => Err(Outcome::Broken(broken.to_string())),
    }
}
