use std::time::Instant;

use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::data::testing::{Stage, paused};

const ORDERS: &str = "
http: { header_timeout: 10s, idle_timeout: 120s, stream_idle_timeout: 300s }
services: { orders: { instances: ['127.0.0.1:1'], timeout: 15s, max_retries: 0 } }
";
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client at the other end of a connection's task.
fn connect(stage: &Stage) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let worker = Rc::clone(&stage.worker);
    let seat = worker.crew().place(0).unwrap();
    let slots = Rc::new(Slots::new(crate::data::h1::exchange));
    let peer = SocketAddr::from(([192, 0, 2, 7], 4000));
    tokio::task::spawn_local(connection(worker, Io::pipe(ours), peer, None, slots, seat, Rc::new(())));
    theirs
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

fn assert_about(taken: Duration, seconds: u64) {
    let wanted = Duration::from_secs(seconds);
    assert!(taken >= wanted && taken < wanted + Duration::from_millis(50), "{taken:?} instead of {wanted:?}");
}

#[test]
fn a_head_that_does_not_end_gets_408_after_the_header_timeout() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let start = timer::now();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (answer, taken) = read_all(&mut client, start).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_about(taken, 10);
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let start = timer::now();
        let (mut reading, mut writing) = tokio::io::split(&mut client);
        let drip = async {
            for byte in GET {
                writing.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let answered = async {
            let mut bytes = Vec::new();
            while !bytes.starts_with(b"HTTP/1.1 408 ") {
                assert_ne!(reading.read_buf(&mut bytes).await.unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
            }
            timer::now() - start
        };
        let taken = tokio::select! {
            taken = answered => taken,
            () = drip => panic!("the whole head was taken, {:?} after its first byte", timer::now() - start),
        };
        assert_about(taken, 10);
    });
}

#[test]
fn a_second_head_has_the_same_time_as_the_first() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        endpoint.write_all(OK).await.unwrap();
        read_until(&mut client, "ok").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = timer::now();
        client.write_all(b"G").await.unwrap();
        let (answer, taken) = read_all(&mut client, start).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_about(taken, 10);
    });
}

#[test]
fn a_connection_without_a_request_ends_after_the_idle_timeout() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let (answer, taken) = read_all(&mut client, timer::now()).await;
        assert_eq!(answer, "");
        assert_about(taken, 120);

        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        endpoint.write_all(OK).await.unwrap();
        read_until(&mut client, "ok").await;
        let (answer, taken) = read_all(&mut client, timer::now()).await;
        assert_eq!(answer, "");
        assert_about(taken, 120);
    });
}

#[test]
fn a_body_that_stops_arriving_gets_408_after_the_stream_idle_timeout() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 10\r\n\r\nfiv").await.unwrap();
        read_until(&mut endpoint, "fiv").await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        let start = timer::now();
        client.write_all(b"e.").await.unwrap();
        let (answer, taken) = read_all(&mut client, start).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_about(taken, 300);
    });
}

#[test]
fn an_endpoint_that_does_not_answer_costs_504_after_the_timeout() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let _endpoint = stage.endpoint("orders");
        let start = timer::now();
        client.write_all(GET).await.unwrap();
        let answer = read_until(&mut client, "within `timeout`\n").await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert!(answer.contains("\r\nProxy-Status: outrigger; error=http_response_timeout;"), "{answer}");
        assert_about(timer::now() - start, 15);
    });
}

#[test]
fn an_answer_that_stops_arriving_ends_the_connection_without_looking_whole() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        let start = timer::now();
        endpoint.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
        let (answer, taken) = read_all(&mut client, start).await;
        assert!(answer.ends_with("\r\n3\r\nabc"), "{answer}");
        assert_about(taken, 300);
    });
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        let start = timer::now();
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        assert_eq!(stage.upstream("orders").in_flight(), 1);
        drop(client);
        let (heard, taken) = read_all(&mut endpoint, start).await;
        assert_eq!(heard, "");
        assert!(taken < Duration::from_millis(10), "{taken:?}");
        assert_eq!(stage.upstream("orders").in_flight(), 0);
        while stage.worker.crew().connections(0) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn what_a_client_pipelines_is_answered_in_order() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(&[GET, GET, GET].concat()).await.unwrap();
        for n in 0..3 {
            read_until(&mut endpoint, "\r\n\r\n").await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn{n}");
            endpoint.write_all(answer.as_bytes()).await.unwrap();
        }
        let all = read_until(&mut client, "n2").await;
        let places: Vec<_> = ["n0", "n1", "n2"].iter().map(|body| all.find(body)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{all}");
    });
}

/// An endpoint that sends back what it is sent, trailers included, as it comes.
fn echo_at(stage: &Stage) {
    let echo = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
        let (parts, body) = request.into_parts();
        assert_eq!(parts.headers["host"], "orders");
        assert_eq!(parts.headers["x-forwarded-for"], "192.0.2.7");
        // hyper sends the trailers that are announced.
        Ok::<_, std::convert::Infallible>(http::Response::builder().header("trailer", "x-sum").body(body).unwrap())
    });
    let io = hyper_util::rt::TokioIo::new(stage.endpoint("orders"));
    tokio::task::spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(io, echo));
}

type Sent = StreamBody<futures_util::stream::Iter<std::array::IntoIter<Part, 2>>>;
type Part = Result<hyper::body::Frame<bytes::Bytes>, std::convert::Infallible>;

fn sized(size: u32) -> bytes::Bytes {
    (0..size).map(|n| (n ^ size) as u8).collect()
}

fn post(uri: &str, size: u32) -> http::Request<Sent> {
    let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), http::HeaderValue::from(size))]);
    let frames = [Ok(hyper::body::Frame::data(sized(size))), Ok(hyper::body::Frame::trailers(trailers))];
    // Of no stated length: after one there is no room for trailers in HTTP/1.1.
    let body = StreamBody::new(futures_util::stream::iter(frames));
    http::Request::post(uri).header("te", "trailers").header("trailer", "x-sum").body(body).unwrap()
}

async fn assert_echoed(answer: http::Response<hyper::body::Incoming>, size: u32) {
    assert_eq!(answer.status(), 200);
    let collected = answer.into_body().collect().await.unwrap();
    let sum = collected.trailers().and_then(|map| map.get("x-sum")).cloned();
    assert!(collected.to_bytes() == sized(size), "{size} bytes have changed");
    assert_eq!(sum, Some(size.into()), "after {size} bytes");
}

#[test]
fn hyper_at_both_ends_sees_bodies_and_trailers() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        echo_at(&stage);
        let io = hyper_util::rt::TokioIo::new(connect(&stage));
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(connection);
        for size in [0, 1, 1000, 60_000, 500_000] {
            let mut request = post("/echo", size);
            request.headers_mut().insert("host", http::HeaderValue::from_static("orders"));
            send.ready().await.unwrap();
            assert_echoed(send.send_request(request).await.unwrap(), size).await;
        }
    });
}

#[test]
fn hyper_over_h2_sees_bodies_and_trailers_of_many_streams() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let sizes = [0, 1, 1000, 60_000, 500_000, 300_000, 70_000, 16_384];
        sizes.iter().for_each(|_| echo_at(&stage));
        let io = hyper_util::rt::TokioIo::new(connect(&stage));
        let (send, connection) =
            hyper::client::conn::http2::handshake(crate::data::h2::LocalExecutor, io).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let streams = sizes.map(|size| {
            let mut send = send.clone();
            tokio::task::spawn_local(async move {
                let answer = send.send_request(post("http://orders/echo", size)).await.unwrap();
                assert_echoed(answer, size).await;
            })
        });
        for stream in streams {
            stream.await.unwrap();
        }
        assert_eq!(stage.upstream("orders").in_flight(), 0);

        // A stream that is given up takes its attempt with it.
        let mut send = send;
        let answer = send.send_request(post("http://orders/echo", 500_000)).await.unwrap();
        assert_eq!(stage.upstream("orders").in_flight(), 1);
        drop(answer);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(stage.upstream("orders").in_flight(), 0);
        drop(send);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn four_connections_over_two_workers_are_two_and_two() {
    let (crew, _desks) = Crew::new(2, 100);
    let seats: Vec<_> = (0..4).map(|_| crew.place(0).unwrap()).collect();
    assert_eq!((crew.connections(0), crew.connections(1)), (2, 2));
    drop(seats);
    assert_eq!((crew.connections(0), crew.connections(1)), (0, 0));
}

proptest! {
    #[test]
    fn no_worker_is_far_above_another(workers in 1usize..9, owners in proptest::collection::vec(0usize..8, 1..300)) {
        let (crew, _desks) = Crew::new(workers, usize::MAX);
        // Whatever the kernel's hash does: only opening, so that every imbalance is of our making.
        let _seats: Vec<_> = owners.iter().map(|owner| crew.place(owner % workers).unwrap()).collect();
        let counts: Vec<_> = (0..workers).map(|worker| crew.connections(worker)).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        prop_assert_eq!(counts.iter().sum::<usize>(), owners.len());
        prop_assert!(most - least <= 1 + most / 16, "{:?}", counts);
    }
}

#[test]
fn a_crew_seats_no_more_than_its_limit() {
    let (crew, _desks) = Crew::new(2, 3);
    let mut seats: Vec<_> = (0..3).map(|_| crew.place(0).unwrap()).collect();
    assert!(crew.place(1).is_none());
    // Moved to another worker, a seat is still one.
    let moved = seats.pop().unwrap().at(0);
    assert_eq!(crew.connections(0) + crew.connections(1), 3);
    assert!(crew.place(1).is_none());
    drop(moved);
    assert!(crew.place(1).is_some());
}

/// What an idle connection costs is the task's future, the connection, and what the runtime adds to each (a timer, a
/// registration, the task's own words; it rounds the task up to 128 bytes). A request's future is pooled: there are as
/// many as there have been requests at once. Measured: task 320, connection 224, request 2016; the bounds are 15 %
/// above.
#[test]
fn the_futures_are_no_larger_than_they_have_to_be() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let worker = Rc::clone(&stage.worker);
        let slots = Rc::new(Slots::new(crate::data::h1::exchange));
        let peer = SocketAddr::from(([192, 0, 2, 7], 4000));
        let seat = worker.crew().place(0).unwrap();
        let task = connection(Rc::clone(&worker), Io::nowhere(), peer, None, slots, seat, Rc::new(()));
        let task = std::mem::size_of_val(&task);
        let client = Rc::new(request::client(peer, &[]));
        let (first, timer) = (worker.pools.buffers.take(), Timer::new(timer::now()));
        let conn = Rc::new(Conn::new(Io::nowhere(), first, timer, client, None, Rc::clone(&worker)));
        let exchange = std::mem::size_of_val(&crate::data::h1::exchange(Rc::clone(&conn)));
        let conn = std::mem::size_of::<Conn>();
        eprintln!("task {task}, connection {conn}, request {exchange}");
        assert!(task <= 368, "the task of a connection has {task} bytes");
        assert!(conn <= 258, "a connection has {conn} bytes");
        assert!(exchange <= 2318, "a request's future has {exchange} bytes");
    });
}
