//! Whole messages over pipes: bodies, trailers, retries, and peers that break the rules.

use http_body_util::{BodyExt, StreamBody};

use super::*;

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

/// Endpoints that say that they keep trailers apart.
fn taking_trailers() -> String {
    ORDERS.replace("timeout: 15s", "timeout: 15s, request_trailers: true")
}

#[test]
fn a_requests_trailers_end_here_unless_the_service_takes_them() {
    for (config, expected) in
        [(ORDERS.to_owned(), "5\r\nhello\r\n0\r\n\r\n"), (taking_trailers(), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")]
    {
        paused(async {
            let stage = Stage::new(&config, 1);
            let mut client = connect(&stage);
            let mut endpoint = stage.endpoint("orders");
            let head = "POST / HTTP/1.1\r\nHost: orders\r\nConnection: X-Hop\r\nTrailer: X-Sum\r\n";
            let body = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
            let trailers = "X-Sum: 1\r\nX-Hop: 2\r\nX-Outrigger-Priority: critical\r\nConnection: close\r\n\r\n";
            client.write_all(format!("{head}{body}{trailers}").as_bytes()).await.unwrap();
            let sent = read_until(&mut endpoint, expected).await;
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            assert_eq!(head.contains("\r\nTrailer: X-Sum"), expected.contains("X-Sum"), "{head}");
            assert_eq!(body, expected);
        });
    }
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
        let stage = Stage::new(&taking_trailers(), 1);
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
        let stage = Stage::new(&taking_trailers(), 1);
        let sizes = [0, 1, 1000, 60_000, 500_000, 300_000, 70_000, 16_384];
        sizes.iter().for_each(|_| echo_at(&stage));
        let io = hyper_util::rt::TokioIo::new(connect(&stage));
        let (send, connection) =
            hyper::client::conn::http2::handshake(crate::upstream::http2::pulse::Watch::default(), io).await.unwrap();
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
fn a_reused_connection_that_dies_costs_a_get_nothing_and_a_post_502() {
    paused(async {
        for (request, status) in [
            (GET, "HTTP/1.1 200 "),
            (b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 502 "),
        ] {
            let stage = Stage::new(ORDERS, 1);
            let mut client = connect(&stage);
            // The connection that was used last is taken first.
            let (mut sound, mut dying) = (stage.endpoint("orders"), stage.endpoint("orders"));
            client.write_all(request).await.unwrap();
            read_until(&mut dying, "\r\n\r\n").await;
            drop(dying);
            if status.contains("200") {
                read_until(&mut sound, "\r\n\r\n").await;
                sound.write_all(OK).await.unwrap();
            }
            let mut answer = [0; 13];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(std::str::from_utf8(&answer).unwrap(), status);
        }
    });
}

#[test]
fn a_connection_that_spoke_out_of_turn_is_not_used_again() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let (mut sound, mut rude) = (stage.endpoint("orders"), stage.endpoint("orders"));
        rude.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await.unwrap();
        client.write_all(GET).await.unwrap();
        read_until(&mut sound, "\r\n\r\n").await;
        sound.write_all(OK).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 "));
        let mut nothing = Vec::new();
        rude.read_to_end(&mut nothing).await.unwrap();
        assert_eq!(nothing, b"", "a request was written to it");
    });
}

#[test]
fn more_than_an_answer_is_never_the_next_one() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let (mut sound, mut rude) = (stage.endpoint("orders"), stage.endpoint("orders"));
        client.write_all(GET).await.unwrap();
        read_until(&mut rude, "\r\n\r\n").await;
        rude.write_all(&[OK, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"].concat()).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 "));
        client.write_all(GET).await.unwrap();
        read_until(&mut sound, "\r\n\r\n").await;
        sound.write_all(OK).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn an_answer_before_the_whole_upload_reaches_the_client() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        let (mut reading, mut writing) = tokio::io::split(client);
        let upload = tokio::task::spawn_local(async move {
            writing.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 9000000\r\n\r\n").await.unwrap();
            // It may be cut off.
            let _ = writing.write_all(&vec![b'x'; 9_000_000]).await;
        });
        endpoint.read_exact(&mut [0; 10_000]).await.unwrap();
        endpoint.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await.unwrap();
        drop(endpoint);
        let mut answer = Vec::new();
        reading.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        upload.await.unwrap();
    });
}

#[test]
fn a_client_that_waits_to_be_told_is_told_once() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client
            .write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        let head = read_until(&mut endpoint, "\r\n\r\n").await;
        assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
        endpoint.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(read_until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hi").await.unwrap();
        read_until(&mut endpoint, "hi").await;
        endpoint.write_all(OK).await.unwrap();
        let answer = read_until(&mut client, "ok").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn a_client_that_has_closed_its_side_gets_its_answer_where_that_is_allowed() {
    paused(async {
        for (half_close, answered) in [(true, true), (false, false)] {
            let text = format!(
                "http: {{ half_close: {half_close} }}\nservices: {{ orders: {{ instances: ['127.0.0.1:1'] }} }}"
            );
            let stage = Stage::new(&text, 1);
            let mut client = connect(&stage);
            let mut endpoint = stage.endpoint("orders");
            client.write_all(GET).await.unwrap();
            client.shutdown().await.unwrap();
            read_until(&mut endpoint, "\r\n\r\n").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = endpoint.write_all(OK).await;
            let (answer, _) = read_all(&mut client, timer::now()).await;
            assert_eq!(answer.ends_with("ok"), answered, "half_close {half_close}: {answer}");
        }
    });
}
