use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::testing::{Stage, asked, head, paused};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const DOWN: &[u8] = b"HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown";
/// A service, another one for when it fails, and a fixed answer for when that fails, too.
const CHAIN: &str = "
services:
  orders: { instances: ['127.0.0.1:1'], idle_timeout: 10m, timeout: 2s, retries: { max: 0 },
            fallback: { service: lite, status: 203, body: fixed } }
  lite: { instances: ['127.0.0.1:2'], idle_timeout: 10m, timeout: 3s, retries: { max: 0 } }
";
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

struct Scene {
    stage: Stage,
    client: DuplexStream,
    orders: Vec<DuplexStream>,
    lite: Vec<DuplexStream>,
}

fn scene(text: &str) -> Scene {
    let stage = Stage::new(text, 1);
    let (orders, lite) = (stage.side("orders").endpoints(), stage.side("lite").endpoints());
    Scene { client: stage.client(LOOPBACK), stage, orders, lite }
}

impl Scene {
    async fn send(&mut self, method: &str, fields: &str) {
        let request = format!("{method} /cart HTTP/1.1\r\nHost: orders\r\n{fields}\r\n");
        self.client.write_all(request.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, length: usize) -> (String, String) {
        let head = head(&mut self.client).await;
        let mut body = vec![0; length];
        self.client.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn in_flight(&self) -> [u32; 2] {
        ["orders", "lite"].map(|name| self.stage.side(name).gate.borrow().status().in_flight)
    }
}

fn mark(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("Outrigger-Degraded: "))
}

#[test]
fn another_services_answer_is_that_services_to_account_for() {
    paused(async {
        let mut scene = scene(CHAIN);
        scene.send("GET", "").await;
        asked(&mut scene.orders).await;
        // Until the first one's time is over.
        let (_, request) = asked(&mut scene.lite).await;
        assert!(request.contains("\r\nx-request-deadline: 3000\r\n"), "its own time, from now on: {request}");
        assert_eq!(scene.in_flight(), [0, 1], "the first holds no place any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
        scene.lite[0].write_all(OK).await.unwrap();
        let (head, body) = scene.answer(2).await;
        assert_eq!((mark(&head), &*body), (Some("service;reason=http_response_timeout;name=\"lite\""), "ok"));
        // What was waited for the first is nothing that the second took.
        let took = scene.stage.upstream("lite").latency().value(timer::now());
        assert!(took < 100_000.0, "{took} microseconds");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(scene.in_flight(), [0, 0]);
    });
}

#[test]
fn what_its_caller_still_waits_bounds_the_other_service_too() {
    paused(async {
        let mut scene = scene(CHAIN);
        let start = timer::now();
        scene.send("GET", "x-request-deadline: 1500\r\n").await;
        asked(&mut scene.orders).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        scene.orders[0].write_all(DOWN).await.unwrap();
        let (_, request) = asked(&mut scene.lite).await;
        assert!(request.contains("\r\nx-request-deadline: 1000\r\n"), "{request}");
        let (head, body) = scene.answer(5).await;
        assert_eq!((mark(&head), &*body), (Some("static;reason=upstream_status"), "fixed"), "{head}");
        assert_eq!((timer::now() - start).as_millis(), 1500);
    });
}

#[test]
fn after_the_last_way_the_first_failure_is_the_answer() {
    paused(async {
        let mut scene = scene(&CHAIN.replace(", status: 203, body: fixed", ""));
        scene.send("GET", "").await;
        asked(&mut scene.orders).await;
        scene.orders[0].write_all(DOWN).await.unwrap();
        asked(&mut scene.lite).await;
        scene.lite[0].write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh").await.unwrap();
        let (head, body) = scene.answer(4).await;
        assert!(head.starts_with("HTTP/1.1 503 Down\r\n"), "{head}");
        assert_eq!((mark(&head), &*body), (None, "down"));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(scene.in_flight(), [0, 0]);
    });
}

#[test]
fn a_fallback_of_the_other_service_is_not_used() {
    paused(async {
        let chain =
            CHAIN.replace("timeout: 3s, retries: { max: 0 }", "retries: { max: 0 }, fallback: { body: its own }");
        let mut scene = scene(&chain);
        scene.send("GET", "").await;
        asked(&mut scene.orders).await;
        scene.orders[0].write_all(DOWN).await.unwrap();
        asked(&mut scene.lite).await;
        scene.lite[0].write_all(DOWN).await.unwrap();
        let (head, body) = scene.answer(5).await;
        assert_eq!((mark(&head), &*body), (Some("static;reason=upstream_status"), "fixed"));
    });
}

/// A POST that was sent may have been carried out; one that was refused here was not.
#[test]
fn a_post_goes_to_the_other_service_only_where_nothing_of_it_was_sent() {
    paused(async {
        let mut scene = scene(CHAIN);
        let start = timer::now();
        scene.send("POST", "Content-Length: 0\r\n").await;
        asked(&mut scene.orders).await;
        scene.orders[0].write_all(DOWN).await.unwrap();
        let (head, _) = scene.answer(5).await;
        assert_eq!(mark(&head), Some("static;reason=upstream_status"));
        assert_eq!(timer::now(), start, "the other service was waited for");

        let limit = "limit: { max_in_flight: 1, queue: 0, adaptive: false }";
        let mut scene = self::scene(&CHAIN.replace("timeout: 2s", limit));
        let ask = crate::resilience::limit::Ask { priority: Default::default(), deadline: None };
        let orders = scene.stage.side("orders");
        let full = crate::forward::admission::admit(&orders, None, |_| Vec::new(), ask, timer::now()).await.unwrap();
        scene.send("POST", "Content-Length: 0\r\n").await;
        asked(&mut scene.lite).await;
        scene.lite[0].write_all(OK).await.unwrap();
        let (head, _) = scene.answer(2).await;
        assert_eq!(mark(&head), Some("service;reason=limit_reached;name=\"lite\""));
        drop(full);
    });
}

#[test]
fn what_the_client_did_wrong_calls_for_no_fallback() {
    paused(async {
        let mut scene = scene(CHAIN);
        for status in [404, 429, 501] {
            scene.send("GET", "").await;
            asked(&mut scene.orders).await;
            let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nso");
            scene.orders[0].write_all(answer.as_bytes()).await.unwrap();
            let (head, body) = scene.answer(2).await;
            assert_eq!((mark(&head), &*body), (None, "so"), "{status}");
        }
    });
}
