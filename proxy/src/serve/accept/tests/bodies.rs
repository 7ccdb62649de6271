//! Slow clients hold nothing: neither while their request comes nor while they read what fits a buffer.

use super::*;
use crate::forward::collect::COLLECT;
use crate::testing::head;

const ONE_PLACE: &str = "services: { orders: { instances: ['127.0.0.1:1'], timeout: 15s, retries: { max: 0 },
  limit: { max_in_flight: 1, queue: 0, adaptive: false } } }";
const LARGE_HEADS: &str = "
http: { max_head_size: 60KiB }
services: { orders: { instances: ['127.0.0.1:1'], retries: { max: 0 } } }";
const STREAMING: &str = "services: { orders: { instances: ['127.0.0.1:1'], hold: off, retries: { max: 0 } } }";

async fn read(stream: &mut DuplexStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_upload_that_fits_holds_no_place_and_no_connection_while_it_comes() {
    for rest in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        paused(async {
            let stage = Stage::new(ONE_PLACE, 1);
            let mut endpoint = stage.endpoint("orders");
            let mut slow = connect(&stage);
            slow.write_all(format!("POST /cart HTTP/1.1\r\nHost: orders\r\n{rest}").as_bytes()).await.unwrap();
            tokio::time::sleep(COLLECT / 10).await;

            let mut quick = connect(&stage);
            quick.write_all(GET).await.unwrap();
            assert!(head(&mut endpoint).await.starts_with("GET /cart "), "{rest}");
            endpoint.write_all(OK).await.unwrap();
            assert!(read_until(&mut quick, "ok").await.starts_with("HTTP/1.1 200"), "{rest}");

            let last = if rest.contains("chunked") { "5\r\nworld\r\n0\r\n\r\n" } else { "world" };
            slow.write_all(last.as_bytes()).await.unwrap();
            assert!(head(&mut endpoint).await.starts_with("POST /cart "), "{rest}");
            endpoint.write_all(OK).await.unwrap();
            assert!(read_until(&mut slow, "ok").await.starts_with("HTTP/1.1 200"), "{rest}");
        });
    }
}

#[test]
fn a_client_that_sends_five_bytes_and_waits_for_the_answer_gets_it() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = connect(&stage);
        let start = timer::now();
        client.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 10\r\n\r\nhello").await.unwrap();
        assert!(head(&mut endpoint).await.contains("Content-Length: 10\r\n"));
        assert_eq!(read(&mut endpoint, 5).await, "hello");
        let took = timer::now() - start;
        assert!(took >= COLLECT && took < COLLECT * 2, "{took:?}");
        endpoint.write_all(OK).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn what_may_be_a_conversation_or_does_not_fit_is_passed_on_at_once() {
    for (text, fields) in [
        (STREAMING, "Content-Length: 10"),
        (ORDERS, "Content-Length: 1000000"),
        (ORDERS, "Content-Length: 10\r\nExpect: 100-continue"),
    ] {
        paused(async {
            let stage = Stage::new(text, 1);
            let mut endpoint = stage.endpoint("orders");
            let mut client = connect(&stage);
            let start = timer::now();
            client
                .write_all(format!("POST /cart HTTP/1.1\r\nHost: orders\r\n{fields}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            assert!(head(&mut endpoint).await.starts_with("POST /cart "), "{fields}");
            assert_eq!(timer::now() - start, Duration::ZERO, "{fields}");
        });
    }
}

#[test]
fn an_answer_that_fits_is_taken_off_the_instance_although_its_client_does_not_read() {
    paused(async {
        let stage = Stage::new(STREAMING, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut slow = stage.client_with_room([192, 0, 2, 7], 1024);
        slow.write_all(GET).await.unwrap();
        head(&mut endpoint).await;
        let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n".to_vec(), vec![b'x'; 30_000]].concat();
        endpoint.write_all(&answer).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        endpoint.write_all(&[b'x'; 30_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;

        let mut quick = connect(&stage);
        quick.write_all(GET).await.unwrap();
        head(&mut endpoint).await;
        endpoint.write_all(OK).await.unwrap();
        assert!(read_until(&mut quick, "ok").await.starts_with("HTTP/1.1 200"));
        let seen = read_until(&mut slow, &"x".repeat(100)).await;
        assert!(seen.starts_with("HTTP/1.1 200"));
        assert_eq!(seen.len() + read(&mut slow, 60_000 - seen.split("\r\n\r\n").nth(1).unwrap().len()).await.len(), {
            seen.split("\r\n\r\n").next().unwrap().len() + 4 + 60_000
        });
    });
}

#[test]
fn trailers_that_reach_the_end_of_the_buffer_are_read() {
    let lines = |n| format!("X: {}\r\n", "y".repeat(8_000)).repeat(n);
    for (fields, body) in [(lines(5), String::new()), (String::new(), "1\r\nx\r\n".repeat(9_000))] {
        paused(async {
            let stage = Stage::new(LARGE_HEADS, 1);
            let mut endpoint = stage.endpoint("orders");
            let mut client = stage.client_with_room([192, 0, 2, 7], 1024 * 1024);
            let chunked = "POST /cart HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n";
            let message = format!("{chunked}{fields}\r\n{body}0\r\n{}\r\n", lines(5));
            client.write_all(message.as_bytes()).await.unwrap();
            read_until(&mut endpoint, "0\r\n\r\n").await;
            endpoint.write_all(OK).await.unwrap();
            assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200"));
        });
    }
}

#[test]
fn a_chunk_is_ended_before_the_next_one_comes() {
    paused(async {
        let stage = Stage::new(STREAMING, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = connect(&stage);
        let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        client.write_all(format!("POST /cart HTTP/1.1\r\nHost: orders\r\n{chunked}").as_bytes()).await.unwrap();
        read_until(&mut endpoint, "\r\n5\r\nhello\r\n").await;
        client.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut endpoint, 5).await, "0\r\n\r\n");

        endpoint.write_all(format!("HTTP/1.1 200 OK\r\n{chunked}").as_bytes()).await.unwrap();
        read_until(&mut client, "\r\n5\r\nhello\r\n").await;
        endpoint.write_all(b"5\r\nworld\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut client, 15).await, "5\r\nworld\r\n0\r\n\r\n");
    });
}
