//! What an HTTP/2 client gets on its streams, frame by frame.

use super::frames::{self, END_HEADERS, END_STREAM, Frame, Peer, frame};
use super::*;

/// A GET on a stream, whose answer is up to whoever holds the endpoint.
async fn get(client: &mut Peer, stream: u32) {
    client.send(&frame(frames::HEADERS, END_HEADERS | END_STREAM, stream, &frames::asks("GET"))).await;
}

/// What comes until a stream has ended.
async fn until_ended(client: &mut Peer, stream: u32) -> Vec<Frame> {
    let mut all = Vec::new();
    loop {
        let came = client.next().await.expect("the connection goes on");
        let ended = came.stream == stream && (came.kind == frames::RESET || came.flags & END_STREAM != 0);
        if came.kind != frames::WINDOW {
            all.push(came);
        }
        if ended {
            return all;
        }
    }
}

fn kinds(came: &[Frame]) -> Vec<(u8, u8)> {
    came.iter().map(|frame| (frame.kind, frame.flags)).collect()
}

#[test]
fn the_end_of_an_answer_of_a_stated_length_goes_with_its_last_byte() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = Peer::client(connect(&stage), 65_535).await;
        for stream in [1, 3] {
            get(&mut client, stream).await;
            read_until(&mut endpoint, "\r\n\r\n").await;
            endpoint.write_all(OK).await.unwrap();
            let came = until_ended(&mut client, stream).await;
            assert_eq!(kinds(&came), [(frames::HEADERS, END_HEADERS), (frames::DATA, END_STREAM)]);
            assert_eq!(came[1].payload, b"ok");
        }
    });
}

#[test]
fn an_answer_before_the_whole_upload_ends_it_with_a_reset_that_says_no_error() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = Peer::client(connect(&stage), 65_535).await;
        client.send(&frame(frames::HEADERS, END_HEADERS, 1, &frames::asks("POST"))).await;
        client.send(&frame(frames::DATA, 0, 1, b"some")).await;
        read_until(&mut endpoint, "some\r\n").await;
        endpoint.write_all(OK).await.unwrap();
        until_ended(&mut client, 1).await;
        let reset = client.until(frames::RESET).await;
        assert_eq!((reset.stream, &reset.payload[..]), (1, &[0, 0, 0, 0][..]));
    });
}

#[test]
fn an_answer_that_breaks_off_is_reset_and_its_connection_goes_on() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = Peer::client(connect(&stage), 1 << 20).await;
        client.send(&frame(frames::WINDOW, 0, 0, &(1u32 << 20).to_be_bytes())).await;
        get(&mut client, 1).await;
        read_until(&mut endpoint, "\r\n\r\n").await;
        let breaking = tokio::task::spawn_local(async move {
            endpoint.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n").await.unwrap();
            endpoint.write_all(&[b'x'; 200_000]).await.unwrap();
        });
        let came = until_ended(&mut client, 1).await;
        breaking.await.unwrap();
        let reset = came.last().unwrap();
        assert_eq!((reset.kind, &reset.payload[..]), (frames::RESET, &[0, 0, 0, 2][..]));
        let mut endpoint = stage.endpoint("orders");
        get(&mut client, 3).await;
        read_until(&mut endpoint, "\r\n\r\n").await;
        endpoint.write_all(OK).await.unwrap();
        assert_eq!(until_ended(&mut client, 3).await.last().unwrap().payload, b"ok");
    });
}

#[test]
fn a_client_that_resets_a_stream_cancels_its_request_and_no_other() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let (mut first, mut second) = (stage.endpoint("orders"), stage.endpoint("orders"));
        let mut client = Peer::client(connect(&stage), 65_535).await;
        get(&mut client, 1).await;
        get(&mut client, 3).await;
        // The last that was lent is the first that is used.
        read_until(&mut first, "\r\n\r\n").await;
        read_until(&mut second, "\r\n\r\n").await;
        client.send(&frame(frames::RESET, 0, 1, &[0, 0, 0, 8])).await;
        let (mut one, mut two) = ([0; 1], [0; 1]);
        let (cancelled, open) = tokio::select! {
            read = first.read(&mut one) => (read.unwrap(), &mut second),
            read = second.read(&mut two) => (read.unwrap(), &mut first),
        };
        assert_eq!(cancelled, 0, "the endpoint's connection went on");
        open.write_all(OK).await.unwrap();
        assert_eq!(until_ended(&mut client, 3).await.last().unwrap().payload, b"ok");
        assert_eq!(stage.upstream("orders").in_flight(), 0);
    });
}

#[test]
fn a_client_that_goes_cancels_what_all_its_streams_wait_for() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoints: Vec<_> = (0..70).map(|_| stage.endpoint("orders")).collect();
        let mut client = Peer::client(connect(&stage), 65_535).await;
        for stream in (1..140).step_by(2) {
            get(&mut client, stream).await;
        }
        for endpoint in &mut endpoints {
            read_until(endpoint, "\r\n\r\n").await;
        }
        drop(client);
        for endpoint in &mut endpoints {
            assert_eq!(endpoint.read(&mut [0; 1]).await.unwrap(), 0);
        }
        assert_eq!(stage.upstream("orders").in_flight(), 0);
    });
}

#[test]
fn an_answer_without_a_date_gets_one_and_none_has_two() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let io = hyper_util::rt::TokioIo::new(connect(&stage));
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(crate::upstream::http2::pulse::Watch::default(), io).await.unwrap();
        tokio::task::spawn_local(connection);
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (said, ours) in [("", true), (&*format!("Date: {old}\r\n"), false)] {
            let request = http::Request::get("http://orders/").body(http_body_util::Empty::<bytes::Bytes>::new());
            let answer = tokio::task::spawn_local(send.send_request(request.unwrap()));
            read_until(&mut endpoint, "\r\n\r\n").await;
            endpoint.write_all(format!("HTTP/1.1 200 OK\r\n{said}Content-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            let answer = answer.await.unwrap().unwrap();
            let dates: Vec<_> = answer.headers().get_all("date").iter().map(|date| date.to_str().unwrap()).collect();
            assert_eq!(dates.len(), 1);
            assert_eq!(dates[0] != old, ours, "{dates:?}");
            httpdate::parse_http_date(dates[0]).unwrap();
        }
    });
}

#[test]
fn more_streams_than_a_task_may_poll_at_once_are_all_answered() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let endpoints: Vec<_> = (0..200).map(|_| stage.endpoint("orders")).collect();
        for mut endpoint in endpoints {
            tokio::task::spawn_local(async move {
                read_until(&mut endpoint, "\r\n\r\n").await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 100_000);
                endpoint.write_all(&[head.as_bytes(), &[b'x'; 100_000]].concat()).await.unwrap();
                endpoint
            });
        }
        let mut client = Peer::client(connect(&stage), 1 << 20).await;
        client.send(&frame(frames::WINDOW, 0, 0, &(1u32 << 30).to_be_bytes())).await;
        for stream in (1..400).step_by(2) {
            get(&mut client, stream).await;
        }
        let (mut ended, mut bytes) = (0, 0);
        while ended < 200 {
            let came = client.next().await.expect("the connection goes on");
            if came.kind == frames::DATA {
                bytes += came.payload.len();
                ended += usize::from(came.flags & END_STREAM != 0);
            }
        }
        assert_eq!(bytes, 200 * 100_000);
    });
}

#[test]
fn a_request_that_ends_with_its_stream_or_its_connection_is_accounted_for() {
    for reset in [true, false] {
        // Who leaves at once has left; who leaves after a while has waited in vain.
        for (waits, fate) in [(10, "abandoned"), (500, "lost")] {
            paused(async {
                let stage = Stage::new(ORDERS, 1);
                let mut endpoint = stage.endpoint("orders");
                let mut client = Peer::client(connect(&stage), 65_535).await;
                get(&mut client, 1).await;
                read_until(&mut endpoint, "\r\n\r\n").await;
                tokio::time::sleep(std::time::Duration::from_millis(waits)).await;
                if reset {
                    client.send(&frame(frames::RESET, 0, 1, &[0, 0, 0, 8])).await;
                } else {
                    drop(client);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                stage.worker.tick();
                let account = stage.side("orders").cluster.shared.metrics.totals();
                let fates: Vec<_> = account.fates().into_iter().filter(|(_, requests)| *requests > 0).collect();
                assert_eq!((account.started, fates), (1, vec![(fate, 1)]), "reset: {reset}");
                assert!(account.reconciles(), "{account:?}");
            });
        }
    }
}
