use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::Ordering::Relaxed;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::door::CONNECTIONS;
use super::*;
use crate::control::first_snapshot;
use crate::control::testing::{declare_static, settings};
use crate::counts::ServiceTally;
use crate::counts::paces::Pace;
use crate::counts::{Account, EndpointTally, Fate, Rescue};
use crate::error::Reason;
use crate::fault_manager::FaultManager;
use crate::resilience::latency_policy::Known;
use crate::resilience::sketch::Quantile;
use crate::snapshot::{EndpointId, Publisher, joint};
use crate::tcp::TcpProxies;
use crate::telemetry::metrics;
use crate::telemetry::status::{LeftOut, ServiceStatus};

struct Running {
    admin: AdminHandle,
    board: StatusBoard,
    draining: Arc<AtomicBool>,
    publisher: Publisher,
    hand_in: mpsc::Sender<Box<Record>>,
}

fn start(waiting: Option<&str>) -> Running {
    let mut settings = settings(&["orders"]);
    declare_static(&mut settings, "legacy", &[("10.0.0.1", 80)]);
    let (publisher, reader, _) = joint(first_snapshot(&settings));
    let draining = Arc::new(AtomicBool::new(false));
    let board = StatusBoard::default();
    let (hand_in, records) = mpsc::channel(8);
    let status = ServiceStatus {
        declared: true,
        source: "consul at http://127.0.0.1:8500".into(),
        last_error: Some("refused".into()),
        left_out: vec![LeftOut { instance: "dc1/node/orders-1".into(), reason: "critical".into() }],
        all_failing: true,
        ..ServiceStatus::default()
    };
    let checked = ServiceStatus {
        checks: BTreeMap::from([("10.0.0.1:80".parse().unwrap(), "passing".into())]),
        absent: vec![EndpointId(1)],
        ..ServiceStatus::default()
    };
    board.write(BTreeMap::from([("orders".into(), Arc::new(status)), ("legacy".into(), Arc::new(checked))]));
    let inputs = AdminInputs {
        reader: reader.clone(),
        board: board.clone(),
        readiness: Readiness::fixed(waiting),
        draining: Arc::clone(&draining),
        metrics: metrics::install(),
        endpoint_metrics: true,
        tcp: TcpProxies::new(FaultManager::new(Default::default(), reader.clone()), 0).0,
        fault_manager: FaultManager::new(Default::default(), reader),
        access: Default::default(),
        records,
    };
    let admin = bind("admin", "127.0.0.1:0".parse().unwrap()).unwrap().serve(inputs).unwrap();
    Running { admin, board, draining, publisher, hand_in }
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// hyper's client, over a connection of its own.
fn ask(running: &Running, method: Method, path: &str, host: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = async {
        let stream = TcpStream::connect(running.admin.address().unwrap()).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", host);
        let answer = client.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    };
    runtime.block_on(async { timeout(Duration::from_secs(20), asked).await.unwrap() })
}

fn get(running: &Running, path: &str) -> Answer {
    ask(running, Method::GET, path, "localhost")
}

#[test]
fn probes_say_what_the_process_is() {
    let running = start(Some("waiting for the first answer about orders"));
    assert_eq!(get(&running, "/livez").status, 200);
    let not_yet = get(&running, "/readyz");
    assert_eq!(not_yet.status, 503);
    assert_eq!(not_yet.json(), json!({"status": "not ready", "reason": "waiting for the first answer about orders"}));
    let running = start(None);
    let ready = get(&running, "/readyz?verbose");
    assert_eq!((ready.status.as_u16(), ready.json()), (200, json!({"status": "ready"})));
    running.draining.store(true, Relaxed);
    let draining = get(&running, "/readyz");
    assert_eq!(draining.status, 503);
    assert_eq!(draining.json(), json!({"status": "not ready", "reason": "draining"}));
    assert_eq!(get(&running, "/livez").status, 200, "alive while it drains");
    running.admin.shutdown();
}

#[test]
fn the_shape_of_services_is_exact() {
    let running = start(None);
    let snapshot = running.publisher.current();
    let endpoint = &snapshot.clusters["legacy"].endpoints[0];
    endpoint.shared.connections.store(2, Relaxed);
    endpoint.shared.counts.attempts.store(10, Relaxed);
    endpoint.shared.in_flight.store(-1, Relaxed);
    let orders = json!({
        "name": "orders", "standing": "awaited", "source": "consul at http://127.0.0.1:8500", "age_ms": null,
        "last_error": "refused", "breaker": "closed", "all_failing": true, "endpoints": [],
        "left_out": [{"instance": "dc1/node/orders-1", "reason": "critical"}], "learned": [],
    });
    let mut legacy = json!({
        "name": "legacy", "standing": "known", "source": "", "age_ms": null, "last_error": null,
        "breaker": "closed", "all_failing": false,
        "endpoints": [{"id": 1, "instance": "10.0.0.1:80", "address": "10.0.0.1:80", "tls": null,
            "weight": 1, "health": "passing",
            "check": "passing", "absent": true, "state": "in", "share": 1.0, "due": 1.0, "got": null, "deviates": null,
            "why": "no longer in the registry, kept because its checks pass", "since_ms": null, "in_flight": 0, "connections": 2, "attempts": 10,
            "failures": 0, "overtaken": 0, "answers": 0, "p50_ms": null, "p99_ms": null, "score_ms": null}],
        "left_out": [], "learned": [],
    });
    let answer = get(&running, "/api/v1/services");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json(), json!({"generation": 0, "services": [legacy, orders]}));

    endpoint.shared.score_us.store(1200, Relaxed);
    legacy["endpoints"][0]["score_ms"] = json!(1.2);
    let tally = EndpointTally::default();
    (0..99).for_each(|_| tally.took(Duration::from_micros(1_000)));
    tally.failed();
    tally.overtaken(Duration::from_millis(60));
    let clock = snapshot.clock.ms(Instant::now());
    tally.drain(&endpoint.shared.counts, clock);
    for (key, value) in [("failures", json!(1)), ("overtaken", json!(1)), ("answers", json!(100))] {
        legacy["endpoints"][0][key] = value;
    }
    for (key, value) in [("p50_ms", json!(1.024)), ("p99_ms", json!(1.024))] {
        legacy["endpoints"][0][key] = value;
    }
    assert_eq!(get(&running, "/api/v1/services/leg%61cy").json(), legacy);
    assert_eq!(get(&running, "/api/v1/services/nobody").status, 404);

    let slot = snapshot.clusters["legacy"].shared.paces.slot();
    let within = |ms| Quantile::Within(Duration::from_millis(ms));
    let known = Known { p50: within(4), p99: within(10), samples: 120, ..Known::default() };
    let pace = |route: Option<&str>| Pace { route: route.map(Arc::from), method: "GET", known, samples: 120 };
    slot.write(vec![pace(None), pace(Some("routes[9]"))]);
    let learned = json!([{"route": null, "method": "GET", "samples": 120, "p50_ms": 4.0, "p99_ms": 10.0,
        "per_try_ms": 5000.0, "per_try": "the ceiling: a worker needs 500 answers and has 120",
        "hedge_ms": 10.0, "hedge": "the p99, and not below the floor"}]);
    let shown = &get(&running, "/api/v1/services/legacy").json()["learned"];
    assert_eq!(*shown, learned, "and nothing of a route that is gone");

    snapshot.clusters["orders"].shared.confirmed.store(1, Relaxed);
    assert!(get(&running, "/api/v1/services/orders").json()["age_ms"].is_u64());
}

#[test]
fn metrics_are_prometheus() {
    let running = start(None);
    let answer = get(&running, "/metrics");
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.body.contains("\noutrigger_endpoints{service=\"legacy\"} 1\n"), "{}", answer.body);
    assert!(answer.body.contains("\noutrigger_registry_failing{service=\"orders\"} 1\n"), "{}", answer.body);
    assert!(answer.body.contains("\noutrigger_instances_left_out{service=\"orders\"} 1\n"), "{}", answer.body);
    assert!(answer.body.contains("\nprocess_open_fds "), "{}", answer.body);
}

/// Ten requests: one of the first attempts failed and was retried, one was lost, one degraded. An eleventh is in flight.
fn ten() -> ServiceTally {
    let mut tally = ServiceTally::default();
    for _ in 0..7 {
        tally.finished(&Account::GOOD);
    }
    tally.finished(&Account::of(Fate::Rescued(Rescue::Retry), 2));
    tally.finished(&Account::of(Fate::Degraded, 1));
    tally.finished(&Account::of(Fate::Lost(Reason::Timeout), 3));
    tally.opened(true);
    tally
}

#[test]
fn the_shape_of_availability_is_exact() {
    let running = start(None);
    let snapshot = running.publisher.current();
    snapshot.clusters["orders"].shared.metrics.absorb(&mut ten());
    let orders = json!({
        "name": "orders", "declared": true, "seconds": 0, "requests": 10, "before": 0.7, "after": 0.9,
        "success": 8, "failure": 1, "attempts": 13,
        "first": {"good": 7, "failed": 3, "overtaken": 0},
        "carried": 0, "started": 11, "first_good": 7,
        "rescued": {"retry": 1, "other_endpoint": 0, "try_timeout": 0, "hedge": 0},
        "unknown": 0, "degraded": 1, "lost": {"http_response_timeout": 1}, "refused": {}, "abandoned": 0, "client_errors": 0,
        "in_flight": 1,
    });
    let mut answer = get(&running, "/api/v1/availability").json();
    assert_eq!(answer["window"], "5m");
    assert_eq!(answer["services"][0]["name"], "legacy");
    assert_eq!(answer["services"][0]["before"], Value::Null, "nobody asked it");
    answer["services"][1]["seconds"] = json!(0);
    assert_eq!(answer["services"][1], orders);
    assert_eq!(answer["product"], json!({"over": "declared", "services": 1, "before": 0.7, "after": 0.9}));

    snapshot.clusters["orders"].shared.metrics.absorb(&mut ten());
    let answer = get(&running, "/api/v1/availability?x=y&window=24h").json();
    assert_eq!((&answer["window"], &answer["services"][1]["requests"]), (&json!("24h"), &json!(20)));
    let all = get(&running, "/api/v1/availability?window=all").json();
    assert_eq!((&all["window"], &all["services"][1]["requests"]), (&json!("all"), &json!(20)));
    let refused = get(&running, "/api/v1/availability?window=2h");
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str().unwrap().contains("5m")), (400, true));
    let metrics = get(&running, "/metrics").body;
    let line = "\noutrigger_availability_ratio{service=\"orders\",stage=\"after\",window=\"1h\"} 0.9\n";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn the_product_is_over_all_that_are_used_where_none_is_declared() {
    let running = start(None);
    running.board.write(BTreeMap::new());
    let snapshot = running.publisher.current();
    snapshot.clusters["orders"].shared.metrics.absorb(&mut ten());
    snapshot.clusters["legacy"].shared.metrics.absorb(&mut ten());
    let product = &get(&running, "/api/v1/availability").json()["product"];
    assert_eq!((&product["over"], &product["services"]), (&json!("used"), &json!(2)));
    assert!((product["after"].as_f64().unwrap() - 0.81).abs() < 1e-12, "{product}");
}

#[test]
fn a_service_that_is_no_longer_followed_takes_its_past_with_it() {
    let mut running = start(None);
    let snapshot = running.publisher.current();
    snapshot.clusters["orders"].shared.metrics.absorb(&mut ten());
    assert_eq!(get(&running, "/api/v1/availability").json()["services"][1]["requests"], 10);
    drop(snapshot);
    running.publisher.publish(first_snapshot(&settings(&["orders"])));
    let services = get(&running, "/api/v1/availability").json()["services"].clone();
    assert_eq!((services.as_array().unwrap().len(), &services[0]["requests"]), (1, &json!(0)), "another one, from 0");
}

#[test]
fn a_request_that_was_handed_in_can_be_explained() {
    let running = start(None);
    let began = Instant::now();
    let record = |id: &str, reason| {
        let mut record = Record::new(id.as_bytes(), false, began, std::time::SystemTime::now());
        record.returned(began + Duration::from_millis(7), 504, Fate::Lost(reason), None);
        running.hand_in.blocking_send(Box::new(record)).unwrap();
    };
    record("a/b", Reason::Timeout);
    let until = Instant::now() + Duration::from_secs(20);
    let found = loop {
        let found = get(&running, "/api/v1/explain/a%2Fb");
        if found.status == 200 || Instant::now() > until {
            break found;
        }
    };
    let record: Record = serde_json::from_str(&found.body).unwrap();
    assert!(record.to_string().contains("504, failure (http_response_timeout) after 7.0 ms"), "{record}");
    let list = get(&running, "/api/v1/explain").json();
    let line = &list["requests"][0];
    assert_eq!(
        (&line["id"], &line["kept"], &line["reason"]),
        (&json!("a/b"), &json!("failed"), &json!("http_response_timeout"))
    );
    let unknown = get(&running, "/api/v1/explain/nobody");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("no record of this request"), "{}", unknown.body);
}

#[test]
fn everything_else_is_refused_by_the_book() {
    let running = start(None);
    assert!(get(&running, "/").body.contains("/api/v1/services"));
    assert_eq!(get(&running, "/nothing").status, 404);
    assert_eq!(get(&running, "/livez/").status, 404);
    let post = ask(&running, Method::POST, "/readyz", "localhost");
    assert_eq!((post.status.as_u16(), post.headers["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    assert_eq!(ask(&running, Method::DELETE, "/nothing", "localhost").status, 404);
    let head = ask(&running, Method::HEAD, "/", "localhost");
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-length"], get(&running, "/").body.len().to_string());
}

#[test]
fn a_foreign_name_for_loopback_is_refused() {
    let running = start(None);
    for host in ["evil.example", "evil.example:9901", "localhost.evil.example"] {
        assert_eq!(ask(&running, Method::GET, "/api/v1/services", host).status, 403, "{host}");
    }
    for host in ["localhost:9901", "127.0.0.1", "[::1]:9901"] {
        assert_eq!(ask(&running, Method::GET, "/metrics", host).status, 200, "{host}");
    }
    assert_eq!(ask(&running, Method::GET, "http://evil.example/metrics", "localhost").status, 403);
    // A probe tells nothing, and an orchestrator may name what it likes.
    assert_eq!(ask(&running, Method::GET, "/livez", "evil.example").status, 200);
}

#[test]
fn a_port_in_use_is_an_error_at_the_start() {
    let taken = bind("admin", "127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind("admin", taken.address()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("admin: cannot listen on {}: ", taken.address())), "{error}");
}

#[test]
fn whoever_sends_no_head_is_cut_off_and_the_others_are_answered() {
    let running = start(None);
    let mut silent: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(running.admin.address().unwrap()).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&running, "/livez").status, 200, "after the silent ones have been cut off");
    let stream = &mut silent[0];
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    let mut rest = Vec::new();
    // It was closed for the one that asked, over what it had sent.
    let _reset = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200"), "{rest:?}");
}
