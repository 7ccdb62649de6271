//! How often a proxy allocates for a request, counted on the thread that serves it.
//!
//! The counting allocator belongs to this test program alone, and counts by thread: the origin and the client have
//! threads of their own and may allocate as they like. What serves must be a future of one thread: a worker's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what is wrong by ending"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use chaos_tests::proxies::origin::{Origin, local_runtime};
use outrigger::drain::Drain;
use outrigger::request::fields::Identity;
use outrigger::serve::accept::Socket;
use outrigger::serve::serve;
use outrigger::tcp::TcpQueue;
use outrigger::telemetry::access_log::AccessLog;
use outrigger::telemetry::explain::Explainer;
use outrigger::worker::connection_balancer::ConnectionBalancer;
use outrigger::worker::{Plan, Worker};
use outrigger::{config, control, net, snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// Allocations of the serving thread while it carries keep-alive GETs of 1 KiB, batch by batch.
#[derive(Debug)]
struct Counted {
    batches: Vec<AllocationInfo>,
}

/// Requests of a batch.
const REQUESTS: u32 = 200;
const BATCHES: usize = 5;

impl Counted {
    /// The batch with the fewest. What a request costs is in every one of them; what the clock adds (a tick, a second
    /// attempt beside one that was slow because the machine was) is in some.
    fn least(&self) -> u64 {
        self.batches.iter().map(|batch| batch.count_total).min().unwrap()
    }
}

/// Starts a server on a local runtime of this thread by `serve`, which is given the origin's addresses, spawns its tasks,
/// and says where it listens; has it carry requests until pools and buffers are what they will be; then counts.
fn allocations_of<F>(serve: impl FnOnce(Vec<SocketAddr>) -> F) -> Counted
where
    F: Future<Output = SocketAddr>,
{
    const WARM_UP: u32 = 200;
    let origin = Origin::in_background(3).unwrap();
    let runtime = local_runtime().unwrap();
    let address = runtime.block_on(serve(origin));
    let (warm, is_warm) = oneshot::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    let (done, all_done): (Vec<_>, Vec<_>) = (0..BATCHES).map(|_| oneshot::channel()).unzip();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        (0..WARM_UP).for_each(|_| get(&mut stream));
        warm.send(()).unwrap();
        for done in done {
            may_go.recv().unwrap();
            (0..REQUESTS).for_each(|_| get(&mut stream));
            done.send(()).unwrap();
        }
    });
    runtime.block_on(is_warm).unwrap();
    let batch = |is_done: oneshot::Receiver<()>| {
        measure(|| {
            go.send(()).unwrap();
            runtime.block_on(is_done).unwrap();
        })
    };
    let batches = all_done.into_iter().map(batch).collect();
    client.join().unwrap();
    Counted { batches }
}

fn get(stream: &mut TcpStream) {
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: origin\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).unwrap();
        assert_ne!(read, 0, "the connection closed");
        held += read;
        let head = buffer[..held].windows(4).position(|w| w == b"\r\n\r\n");
        if head.is_some_and(|head| held == head + 4 + 1024) {
            return;
        }
    }
}

/// The proxy's own worker, in front of these origins, with these policies. The requests' host is `origin`.
async fn worker(origins: Vec<SocketAddr>, policies: &str) -> SocketAddr {
    let instances: Vec<String> = origins.iter().map(|origin| format!("\"{origin}\"")).collect();
    let text = format!("services: {{ origin: {{ instances: [{}], {policies} }} }}", instances.join(", "));
    let settings = config::parse("allocations.yaml", &text, &|_| None, |_| ()).unwrap().settings;
    let (publisher, reader, demands) = snapshot::joint(control::first_snapshot(&settings));
    let (drain, drained) = Drain::new();
    let (balancer, mut queues) = ConnectionBalancer::new(1, settings.http.max_connections);
    let plan = Plan {
        workers: 1,
        http: Arc::new(settings.http.clone()),
        reader,
        identity: Arc::new(Identity::new(1)),
        drained,
        access_log: AccessLog::off(),
        balancer,
        explainer: Explainer::off(),
        budget: outrigger::http::Budget::new(256 << 20),
    };
    let mut bound = net::bind_group("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
    let address = bound[0].address().unwrap();
    let place = Socket { socket: bound.remove(0), entrance: None, tls: None }.register().unwrap();
    let worker = Rc::new(Worker::new(0, &plan));
    tokio::task::spawn_local(async move {
        serve(worker, vec![place], queues.remove(0), TcpQueue::idle()).await;
        drop((publisher, demands, drain));
    });
    address
}

/// A server that answers by itself, and allocates as often as it is told.
async fn answer(allocations: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = [&b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n"[..], &[b'x'; 1024]].concat();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.unwrap() > 0 {
            (0..allocations).for_each(|n| drop(std::hint::black_box(Box::new(n))));
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[test]
fn the_counter_sees_the_serving_thread_and_no_other() {
    let none = allocations_of(|_| answer(0));
    let three = allocations_of(|_| answer(3));
    // Waiting for the client's word at the end takes one or two, whatever the number of requests.
    assert!(none.least() <= 5, "{none:?}");
    assert!((three.least() as f64 / f64::from(REQUESTS) - 3.0).abs() < 0.05, "{three:?}");
}

/// The bound is not of requests, and so not multiplied by their number: the wait for the client's word, and what a tick
/// hands over while the requests take their time.
fn nothing_per_request(policies: &'static str) {
    let counted = allocations_of(async |origins| worker(origins, policies).await);
    println!("{policies:?}: {} allocations for {REQUESTS} requests: {counted:?}", counted.least());
    assert!(counted.least() <= 10, "{policies:?}: {counted:?}");
}

#[test]
fn a_proxied_get_of_1_kib_allocates_nothing() {
    // Without what makes attempts of its own where a machine is slow.
    nothing_per_request("hedge: off, per_try_timeout: off, outlier: off");
}

#[test]
fn policies_that_go_by_the_clock_allocate_nothing_while_nothing_is_late() {
    nothing_per_request("");
}
