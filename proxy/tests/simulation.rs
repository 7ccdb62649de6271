//! The whole data plane on a simulated network: real workers, real `forward`, virtual time, and losses on demand.
//!
//! Compiled only under `cfg(sim)`, which swaps the sockets in `net.rs` for turmoil's:
//!
//! ```text
//! RUSTFLAGS='--cfg sim' cargo test -p outrigger --test simulation --target-dir target/sim
//! ```
//!
//! Every test runs under several seeds and names the one at work, so that what failed once fails again:
//! `OUTRIGGER_SEED=7` runs that one alone.

#![cfg(sim)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what is wrong by ending"
)]

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger::config;
use outrigger::control::first_snapshot;
use outrigger::data::accept::{Crew, Place};
use outrigger::data::headers::Identity;
use outrigger::data::worker::{Plan, Worker, serve};
use outrigger::drain::Drain;
use outrigger::net::Listener;
use outrigger::snapshot;
use outrigger::telemetry::access_log::AccessLog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

const PORT: u16 = 80;
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_goes_through() {
    for_each_seed(|seed| {
        let mut sim = network(seed);
        let served = origin(&mut sim, "a", Habit::Answer);
        proxy(&mut sim, &["a"], 1);
        sim.client("client", async {
            let answer = ask("proxy", GET).await?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.ends_with("\r\n\r\nfrom a"), "{answer}");
            Ok(())
        });
        sim.run().unwrap();
        assert_eq!(served.get(), 1);
    });
}

#[test]
fn an_endpoint_behind_a_partition_costs_no_request() {
    for_each_seed(|seed| {
        let mut sim = network(seed);
        let (lost, reached) = (origin(&mut sim, "a", Habit::Answer), origin(&mut sim, "b", Habit::Answer));
        proxy(&mut sim, &["a", "b"], 1);
        sim.client("client", async {
            turmoil::partition("proxy", "a");
            for _ in 0..8 {
                let answer = ask("proxy", GET).await?;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            Ok(())
        });
        sim.run().unwrap();
        assert_eq!((lost.get(), reached.get()), (0, 8));
    });
}

#[test]
fn an_endpoint_that_hangs_up_costs_no_idempotent_request() {
    for_each_seed(|seed| {
        let mut sim = network(seed);
        let (rude, kind) = (origin(&mut sim, "a", Habit::HangUp), origin(&mut sim, "b", Habit::Answer));
        proxy(&mut sim, &["a", "b"], 1);
        let failed = Rc::new(Cell::new(0));
        let counted = Rc::clone(&failed);
        sim.client("client", async move {
            for _ in 0..8 {
                let answer = ask("proxy", GET).await?;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            for _ in 0..8 {
                // What was written and may have been processed is the client's to repeat.
                let post = b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
                let answer = ask("proxy", post).await?;
                assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 502 "), "{answer}");
                counted.set(counted.get() + u32::from(answer.starts_with("HTTP/1.1 502 ")));
            }
            Ok(())
        });
        sim.run().unwrap();
        assert!(rude.get() > 0, "the rude one was never asked, so nothing was shown");
        assert_eq!(kind.get(), 16 - failed.get(), "a POST was sent twice, or a GET was lost");
    });
}

#[test]
fn four_connections_to_one_worker_end_up_two_and_two() {
    for_each_seed(|seed| {
        let mut sim = network(seed);
        origin(&mut sim, "a", Habit::Answer);
        let crew = proxy(&mut sim, &["a"], 2);
        sim.client("client", async move {
            let mut open = Vec::new();
            for _ in 0..4 {
                let mut stream = TcpStream::connect(("proxy", PORT)).await?;
                stream.write_all(b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n").await?;
                let mut answer = [0; 512];
                let n = stream.read(&mut answer).await?;
                assert!(answer[..n].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..n]));
                open.push(stream);
            }
            let crew = crew.take().unwrap();
            assert_eq!((crew.connections(0), crew.connections(1)), (2, 2));
            Ok(())
        });
        sim.run().unwrap();
    });
}

fn for_each_seed(test: impl Fn(u64)) {
    let chosen = std::env::var("OUTRIGGER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = chosen.map_or(1..=5, |seed: u64| seed..=seed);
    for seed in seeds {
        eprintln!("OUTRIGGER_SEED={seed}");
        fastrand::seed(seed);
        test(seed);
    }
}

fn network(seed: u64) -> Sim<'static> {
    Builder::new().rng_seed(seed).simulation_duration(Duration::from_secs(60)).build()
}

#[derive(Debug, Clone, Copy)]
enum Habit {
    Answer,
    /// Reads the request, and closes without a word.
    HangUp,
}

/// An endpoint; counts the requests that it has read.
fn origin(sim: &mut Sim<'static>, name: &'static str, habit: Habit) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    sim.host(name, move || {
        let counted = Rc::clone(&counted);
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::task::spawn_local(converse(stream, name, habit, Rc::clone(&counted)));
            }
        }
    });
    count
}

async fn converse(mut stream: TcpStream, name: &str, habit: Habit, counted: Rc<Cell<u32>>) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        while !held.windows(4).any(|w| w == b"\r\n\r\n") {
            if stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        }
        if held.starts_with(b"POST") && !held.ends_with(b"hi") {
            stream.read_buf(&mut held).await?;
        }
        counted.set(counted.get() + 1);
        held.clear();
        match habit {
            Habit::HangUp => return Ok(()),
            Habit::Answer => {
                let body = format!("from {name}");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await?;
            }
        }
    }
}

/// A proxy in front of some origins. Every worker listens on a port of its own, the first on [`PORT`].
fn proxy(sim: &mut Sim<'static>, origins: &'static [&str], workers: usize) -> Rc<Cell<Option<Arc<Crew>>>> {
    let seen = Rc::new(Cell::new(None));
    let show = Rc::clone(&seen);
    sim.host("proxy", move || {
        let show = Rc::clone(&show);
        async move {
            let instances: Vec<String> =
                origins.iter().map(|o| format!("\"{}:{PORT}\"", turmoil::lookup(*o))).collect();
            let text = format!("services: {{ orders: {{ instances: [{}] }} }}", instances.join(", "));
            let settings = config::parse("simulation.yaml", &text, &|_| None, |_| ()).unwrap().settings;
            let (_publisher, reader, _demands) = snapshot::joint(first_snapshot(&settings));
            let (_drain, drained) = Drain::new();
            let (crew, desks) = Crew::new(workers, settings.http.max_connections);
            show.set(Some(Arc::clone(&crew)));
            let plan = Plan {
                workers,
                http: Arc::new(settings.http.clone()),
                reader,
                identity: Arc::new(Identity::new(1)),
                drained,
                access_log: AccessLog::off(),
                crew,
            };
            let mut serving = Vec::new();
            for (index, desk) in desks.into_iter().enumerate() {
                let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT + u16::try_from(index)?));
                let place = Place { listener: Listener::simulated(address).await?, service: None };
                let worker = Rc::new(Worker::new(index, &plan));
                serving.push(tokio::task::spawn_local(serve(worker, vec![place], desk)));
            }
            for worker in serving {
                worker.await?;
            }
            Ok(())
        }
    });
    seen
}

/// Sends a request on a connection of its own and reads to the end.
async fn ask(host: &str, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect((host, PORT)).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
