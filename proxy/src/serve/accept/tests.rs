use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::clock::Instant;
use crate::testing::{Stage, paused};
use crate::worker::connection_balancer::ConnectionBalancer;

mod bodies;
mod ends;
mod flow;
mod frames;
mod instances;
mod messages;
mod resets;
mod streams;
mod time;

const ORDERS: &str = "
http: { header_timeout: 10s, idle_timeout: 120s, stream_idle_timeout: 300s }
services: { orders: { instances: ['127.0.0.1:1'], timeout: 15s, retries: { max: 0 } } }
";
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Stage {
    /// A client that calls from an address, at the other end of a connection's task.
    pub fn client(&self, address: [u8; 4]) -> DuplexStream {
        self.client_with_room(address, 64 * 1024)
    }

    /// The same; so many bytes are on their way at most, in either direction.
    pub fn client_with_room(&self, address: [u8; 4], room: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(room);
        let worker = Rc::clone(&self.worker);
        let permit = worker.balancer().place(0).unwrap();
        let slots = Rc::new(Slots::new(crate::downstream::http1::exchange));
        let peer = SocketAddr::from((address, 4000));
        tokio::task::spawn_local(connection(worker, Io::pipe(ours), peer, Rc::default(), slots, permit, Rc::new(())));
        theirs
    }
}

/// One whose word does not count.
fn connect(stage: &Stage) -> DuplexStream {
    stage.client([192, 0, 2, 7])
}

/// Reads to the end; what came, and how long after `since`.
async fn read_all(stream: &mut DuplexStream, since: Instant) -> (String, Duration) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    (String::from_utf8(bytes).unwrap(), timer::now() - since)
}

/// Reads until `end` has come.
async fn read_until(stream: &mut DuplexStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// A body that has stopped is collected for a moment before it is passed on, and moves once more then.
fn assert_about(taken: Duration, seconds: u64) {
    let wanted = Duration::from_secs(seconds);
    assert!(taken >= wanted && taken < wanted + Duration::from_millis(300), "{taken:?} instead of {wanted:?}");
}

#[test]
fn four_connections_over_two_workers_are_two_and_two() {
    let (balancer, _desks) = ConnectionBalancer::new(2, 100);
    let permits: Vec<_> = (0..4).map(|_| balancer.place(0).unwrap()).collect();
    assert_eq!((balancer.connections(0), balancer.connections(1)), (2, 2));
    drop(permits);
    assert_eq!((balancer.connections(0), balancer.connections(1)), (0, 0));
}

proptest! {
    #[test]
    fn no_worker_is_far_above_another(workers in 1usize..9, owners in proptest::collection::vec(0usize..8, 1..300)) {
        let (balancer, _desks) = ConnectionBalancer::new(workers, usize::MAX);
        // Whatever the kernel's hash does: only opening, so that every imbalance is of our making.
        let _seats: Vec<_> = owners.iter().map(|owner| balancer.place(owner % workers).unwrap()).collect();
        let counts: Vec<_> = (0..workers).map(|worker| balancer.connections(worker)).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        prop_assert_eq!(counts.iter().sum::<usize>(), owners.len());
        prop_assert!(most - least <= 1 + most / 16, "{:?}", counts);
    }
}

#[test]
fn a_crew_seats_no_more_than_its_limit() {
    let (balancer, _desks) = ConnectionBalancer::new(2, 3);
    let mut permits: Vec<_> = (0..3).map(|_| balancer.place(0).unwrap()).collect();
    assert!(balancer.place(1).is_none());
    // Moved to another worker, a seat is still one.
    let moved = permits.pop().unwrap().at(0);
    assert_eq!(balancer.connections(0) + balancer.connections(1), 3);
    assert!(balancer.place(1).is_none());
    drop(moved);
    assert!(balancer.place(1).is_some());
}

/// What an idle connection costs is its task, the connection (224 bytes), a timer (96) and the socket's registration
/// (128). The runtime adds 104 bytes to the task's future and rounds up to a multiple of 128: 280 make 384, one more 512.
/// A request's future (2520 bytes, two thirds of them `forward` with its policies) is pooled: there are as many as there have been requests
/// at once. The other bounds are 15 % above what was measured.
#[test]
fn the_futures_are_no_larger_than_they_have_to_be() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let worker = Rc::clone(&stage.worker);
        let slots = Rc::new(Slots::new(crate::downstream::http1::exchange));
        let peer = SocketAddr::from(([192, 0, 2, 7], 4000));
        let permit = worker.balancer().place(0).unwrap();
        let task = connection(Rc::clone(&worker), Io::nowhere(), peer, Rc::default(), slots, permit, Rc::new(()));
        let task = std::mem::size_of_val(&task);
        let client = Rc::new(request::client(peer, &[]));
        let (first, timer) = (worker.pools.buffers.take().unwrap(), Timer::new(timer::now()));
        let conn = Rc::new(Conn::new(
            Io::nowhere(),
            first,
            timer,
            client,
            None,
            worker.register().presence(),
            Rc::clone(&worker),
        ));
        let exchange = std::mem::size_of_val(&crate::downstream::http1::exchange(Rc::clone(&conn)));
        let conn = std::mem::size_of::<Conn>();
        eprintln!("task {task}, connection {conn}, request {exchange}");
        assert!(task <= 280, "the task of a connection has {task} bytes");
        assert!(conn <= 258, "a connection has {conn} bytes");
        assert!(exchange <= 2898, "a request's future has {exchange} bytes");
    });
}
