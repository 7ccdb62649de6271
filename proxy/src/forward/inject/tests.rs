use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::config::settings::FaultLimits;
use crate::fault_manager::FaultManager;
use crate::testing::{Stage, asked, head, paused};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n";
const MS: Duration = Duration::from_millis(1);
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Two instances, what else there is to say of them, and a manager with the lock open.
fn orders(keys: &str) -> (Stage, Arc<FaultManager>) {
    let text = format!(
        "services: {{ orders: {{ instances: ['127.0.0.1:1', '127.0.0.1:2'], idle_timeout: 1h, balance: round_robin, {keys} }} }}"
    );
    let stage = Stage::new(&text, 1);
    let limits = FaultLimits { enabled: true, ..FaultLimits::default() };
    let fault_manager = FaultManager::new(limits, stage.plan.reader.clone());
    (stage, fault_manager)
}

fn add(fault_manager: &FaultManager, kind: &str, attributes: Value, more: Value) -> Arc<Active> {
    let mut spec = json!({ "type": kind, "attributes": attributes, "service": "orders" });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    fault_manager.add(serde_json::from_value(spec).unwrap(), "test", timer::now()).unwrap()
}

/// Asks for something, and waits until an endpoint is asked: which.
async fn ask(stage: &Stage, ends: &mut [DuplexStream]) -> (DuplexStream, usize) {
    let mut client = stage.client(LOOPBACK);
    client.write_all(GET).await.unwrap();
    let (index, _) = asked(ends).await;
    (client, index)
}

async fn status(client: &mut DuplexStream) -> String {
    head(client).await.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_edge_delay_takes_what_it_was_asked_to_and_no_instance_sees_the_request_before() {
    paused(async {
        let (stage, fault_manager) = orders("");
        let mut ends = stage.side("orders").endpoints();
        add(&fault_manager, "delay", json!({ "fixed": "20s" }), json!({ "place": "edge" }));
        let start = timer::now();
        let (mut client, index) = ask(&stage, &mut ends).await;
        // Longer than the service's own 15 s: they begin now.
        assert_eq!(timer::now() - start, 20_000 * MS);
        tokio::time::sleep(10_000 * MS).await;
        ends[index].write_all(OK).await.unwrap();
        assert_eq!(status(&mut client).await, "HTTP/1.1 200 OK");
    });
}

#[test]
fn an_upstream_delay_is_an_attempt_that_is_slow_and_another_one_is_started_beside_it() {
    paused(async {
        let (stage, fault_manager) = orders("per_try_timeout: 100ms, hedge: off");
        let mut ends = stage.side("orders").endpoints();
        let first = json!({ "endpoints": "all", "first": 1 });
        let delay = add(&fault_manager, "delay", json!({ "fixed": "5s" }), first);
        let mut client = stage.client(LOOPBACK);
        let start = timer::now();
        client.write_all(GET).await.unwrap();
        let (index, request) = asked(&mut ends).await;
        assert_eq!((timer::now() - start, delay.injected()), (100 * MS, 1));
        assert!(request.contains("X-Envoy-Attempt-Count: 2"), "{request}");
        ends[index].write_all(OK).await.unwrap();
        assert_eq!(status(&mut client).await, "HTTP/1.1 200 OK");
    });
}

#[test]
fn a_fault_that_ends_while_it_holds_an_abort_back_does_not_abort() {
    paused(async {
        let (stage, fault_manager) = orders("");
        let mut ends = stage.side("orders").endpoints();
        add(&fault_manager, "delay", json!({ "fixed": "2s" }), json!({ "place": "edge" }));
        let abort = add(&fault_manager, "abort", json!({ "status": 503 }), json!({ "place": "edge" }));
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        tokio::time::sleep(1_000 * MS).await;
        assert_eq!(abort.injected(), 1);
        assert!(fault_manager.end(abort.id, "test"));
        let (index, _) = asked(&mut ends).await;
        ends[index].write_all(OK).await.unwrap();
        assert_eq!(status(&mut client).await, "HTTP/1.1 200 OK");
    });
}

#[test]
fn a_throttled_answer_that_is_held_takes_its_time_before_its_head_is_passed_on() {
    paused(async {
        let (stage, fault_manager) = orders("per_try_timeout: off, hedge: off");
        let mut ends = stage.side("orders").endpoints();
        add(&fault_manager, "throttle", json!({ "rate": "2B" }), json!({ "endpoints": "all" }));
        let (mut client, index) = ask(&stage, &mut ends).await;
        let start = timer::now();
        ends[index].write_all(LONG).await.unwrap();
        assert_eq!(status(&mut client).await, "HTTP/1.1 200 OK");
        assert_eq!(timer::now() - start, 5_000 * MS, "ten bytes at two a second");
    });
}

#[test]
fn a_throttled_answer_at_the_edge_comes_byte_by_byte_until_the_fault_ends() {
    paused(async {
        let (stage, fault_manager) = orders("");
        let mut ends = stage.side("orders").endpoints();
        let throttle = add(&fault_manager, "throttle", json!({ "rate": "1B" }), json!({ "place": "edge" }));
        let (mut client, index) = ask(&stage, &mut ends).await;
        let start = timer::now();
        ends[index].write_all(LONG).await.unwrap();
        assert_eq!(status(&mut client).await, "HTTP/1.1 200 OK");
        assert_eq!(timer::now() - start, Duration::ZERO, "the head comes at once");
        let mut bytes = [0; 3];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!((&bytes, timer::now() - start), (b"012", 3_000 * MS));
        fault_manager.end(throttle.id, "test");
        let mut rest = [0; 7];
        client.read_exact(&mut rest).await.unwrap();
        assert_eq!((&rest, timer::now() - start), (b"3456789", 3_000 * MS));
    });
}

#[test]
fn the_narrowest_of_several_wins_and_they_add_up_where_they_can() {
    paused(async {
        let (stage, fault_manager) = orders("");
        let mut ends = stage.side("orders").endpoints();
        let edge = |kind, attributes| add(&fault_manager, kind, attributes, json!({ "place": "edge" }));
        edge("delay", json!({ "fixed": "1s" }));
        edge("delay", json!({ "fixed": "2s" }));
        edge("truncate", json!({ "after": "7B" }));
        edge("truncate", json!({ "after": "4B" }));
        edge("rewrite_status", json!({ "status": 203 }));
        let start = timer::now();
        let (mut client, index) = ask(&stage, &mut ends).await;
        assert_eq!(timer::now() - start, 3_000 * MS);
        ends[index].write_all(LONG).await.unwrap();
        assert!(status(&mut client).await.starts_with("HTTP/1.1 203"));
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.unwrap();
        assert_eq!(body, b"0123");
    });
}

#[test]
fn a_corrupted_body_has_its_length_and_other_bytes() {
    paused(async {
        let (stage, fault_manager) = orders("");
        let mut ends = stage.side("orders").endpoints();
        add(&fault_manager, "corrupt", json!({ "bytes": "100%" }), json!({ "place": "edge" }));
        let (mut client, index) = ask(&stage, &mut ends).await;
        ends[index].write_all(LONG).await.unwrap();
        assert!(head(&mut client).await.contains("Content-Length: 10\r\n"));
        let mut body = [0; 10];
        client.read_exact(&mut body).await.unwrap();
        assert!(body.iter().zip(b"0123456789").all(|(got, sent)| got != sent), "{body:?}");
    });
}
