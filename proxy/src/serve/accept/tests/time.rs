//! How long a connection waits, on a clock that jumps: for whom, and what comes then.

use super::*;

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
fn the_time_for_the_next_request_begins_at_the_end_of_the_answer() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        // More than is held back until it is whole.
        endpoint.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        let mut most = [0; 90_000];
        let (sent, _) = tokio::join!(endpoint.write_all(&[b'x'; 99_999]), client.read_exact(&mut most));
        sent.unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
        endpoint.write_all(b"!").await.unwrap();
        read_until(&mut client, "!").await;
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
        assert!(answer.ends_with("\r\n3\r\nabc\r\n"), "{answer}");
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
        while stage.worker.balancer().connections(0) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_client_that_was_never_told_loses_its_connection_after_the_answer() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client
            .write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        endpoint.write_all(OK).await.unwrap();
        let (answer, taken) = read_all(&mut client, timer::now()).await;
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("ok"), "{answer}");
        assert!(taken < Duration::from_secs(3), "{taken:?}");
    });
}

/// A tunnel through a stage, and what its client says and hears.
async fn tunnel(stage: &Stage) -> (DuplexStream, DuplexStream) {
    let mut client = connect(stage);
    let mut endpoint = stage.endpoint("orders");
    let ask = b"GET /ws HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(ask).await.unwrap();
    read_until(&mut endpoint, "\r\n\r\n").await;
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    endpoint.write_all(answer).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    (client, endpoint)
}

#[test]
fn a_tunnel_ends_when_one_side_takes_nothing_although_it_goes_on_to_send() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let (mut client, endpoint) = tunnel(&stage).await;
        let (mut reading, mut writing) = tokio::io::split(endpoint);
        let start = timer::now();
        let flood = tokio::task::spawn_local(async move {
            while writing.write_all(&[0; 10_000]).await.is_ok() {}
            timer::now()
        });
        let hear = tokio::task::spawn_local(async move { reading.read_to_end(&mut Vec::new()).await });
        while client.write_all(b"I am here").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_about(flood.await.unwrap() - start, 300);
        hear.await.unwrap().unwrap();
    });
}

#[test]
fn a_tunnel_that_may_rest_for_ever_does() {
    paused(async {
        let stage = Stage::new(&ORDERS.replacen("http: {", "http: { tunnel_idle_timeout: off,", 1), 1);
        let (mut client, mut endpoint) = tunnel(&stage).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        client.write_all(b"still here").await.unwrap();
        read_until(&mut endpoint, "still here").await;
    });
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_ends_when_nothing_moves() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client
            .write_all(b"GET /ws HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
            .await
            .unwrap();
        let head = read_until(&mut endpoint, "\r\n\r\n").await;
        assert!(head.contains("\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"), "{head}");
        endpoint
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await
            .unwrap();
        let answer = read_until(&mut client, "hello").await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        read_until(&mut endpoint, "early").await;
        let sent: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let (mut reading, mut writing) = tokio::io::split(client);
        let (_, came) = tokio::join!(writing.write_all(&sent), async {
            let mut came = vec![0; sent.len()];
            endpoint.read_exact(&mut came).await.unwrap();
            came
        });
        assert!(came == sent);
        assert_eq!(stage.upstream("orders").in_flight(), 1);
        let start = timer::now();
        let mut rest = Vec::new();
        reading.read_to_end(&mut rest).await.unwrap();
        assert_about(timer::now() - start, 300);
        assert_eq!(stage.upstream("orders").in_flight(), 0);
    });
}

#[test]
fn who_says_grpc_over_http_1_1_has_the_routes_timeout_all_the_same() {
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto"] {
        paused(async {
            let stage = Stage::new(ORDERS, 1);
            let mut client = connect(&stage);
            let mut endpoint = stage.endpoint("orders");
            let start = timer::now();
            let fields = format!("Content-Type: {kind}\r\nTE: trailers\r\nConnection: TE, close\r\n");
            let request = format!("POST /shop.Cart/Add HTTP/1.1\r\nHost: orders\r\n{fields}Content-Length: 0\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            read_until(&mut endpoint, "\r\n\r\n").await;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_about(timer::now() - start, 15);
            let expected: &[u8] = if kind.contains("web") { b"HTTP/1.1 200 " } else { b"HTTP/1.1 504 " };
            assert!(answer.starts_with(expected), "{kind}: {}", String::from_utf8_lossy(&answer));
        });
    }
}

#[test]
fn an_empty_line_after_a_request_leaves_the_idle_timeout_as_it_was() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let start = timer::now();
        client.write_all(b"\r").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.write_all(b"\n").await.unwrap();
        // Half a line is the beginning of a head, and has its time; a whole one is nothing.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            client.write_all(b"\r\n").await.unwrap();
        }
        let (answer, taken) = read_all(&mut client, start).await;
        assert_eq!(answer, "");
        assert_about(taken, 120);
    });
}

#[test]
fn a_client_that_reads_no_interim_answers_has_the_idle_time_for_them() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        // Far more than the pipe holds.
        let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: </{}>\r\n\r\n", "a".repeat(30_000));
        for _ in 0..10 {
            endpoint.write_all(hint.as_bytes()).await.unwrap();
        }
        endpoint.write_all(OK).await.unwrap();
        let start = timer::now();
        while stage.worker.balancer().connections(0) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // And the two seconds in which a connection that ends is read from.
        assert_about(timer::now() - start, 302);
        // Who reads in time has all of them, and the answer behind them.
        let mut client = connect(&stage);
        let mut endpoint = stage.endpoint("orders");
        client.write_all(GET).await.unwrap();
        read_until(&mut endpoint, "\r\n\r\n").await;
        for _ in 0..10 {
            endpoint.write_all(hint.as_bytes()).await.unwrap();
        }
        endpoint.write_all(OK).await.unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(read_until(&mut client, "\r\n\r\nok").await.matches("103 Early Hints").count(), 10);
    });
}
