//! Byte-stream faults beneath HTTP: on connections to instances, HTTP/1.1 and HTTP/2, new ones and those that live.

use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::h2;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{self, Message};
use chaos_tests::{SOON, pattern, wait_for};
use serde_json::{Value, json};

use crate::stage::{add, end};

const BOTH: [(Speaks, &str); 2] = [(Speaks::Http1, "http1"), (Speaks::Http2, "http2")];

/// A proxy before `app`, with nothing that would hide what happens to one attempt.
fn before(origins: &[&Origin], protocol: &str, retries: u32) -> Proxy {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut config = proxy::to(&addresses);
    config["faults"] = json!({ "enabled": true });
    config["services"]["app"]["protocol"] = protocol.into();
    config["services"]["app"]["retries"] = json!({ "max": retries });
    config["services"]["app"]["hedge"] = "off".into();
    config["services"]["app"]["outlier"] = "off".into();
    config["services"]["app"]["breaker"] = "off".into();
    config["services"]["app"]["timeout"] = "15s".into();
    Proxy::start(&config)
}

fn fault(proxy: &Proxy, kind: &str, attributes: Value, more: Value) -> u64 {
    let mut all = json!({ "service": "app", "endpoints": "all" });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    add(proxy, kind, attributes, all)
}

fn get(proxy: &Proxy, path: &str) -> (Message, Duration) {
    let began = Instant::now();
    (raw::get(proxy.address, "app", path), began.elapsed())
}

#[test]
fn a_latency_delays_answers_over_connections_that_are_kept_and_its_end_is_felt_at_once() {
    for (speaks, protocol) in BOTH {
        let origin = Origin::start("a", speaks);
        let proxy = before(&[&origin], protocol, 0);
        assert_eq!(get(&proxy, "/").0.status(), 200);
        let connections = origin.connections();
        let id = fault(&proxy, "latency", json!({ "latency": 150 }), json!({}));
        for _ in 0..3 {
            let (answer, took) = get(&proxy, "/");
            assert_eq!(answer.status(), 200);
            assert!(took >= Duration::from_millis(150), "{protocol}: {took:?}");
        }
        end(&proxy, id);
        let (answer, took) = get(&proxy, "/bytes/300000");
        assert_eq!(answer.body, pattern(300_000));
        assert!(took < Duration::from_millis(150), "{protocol}: {took:?}");
        // Two workers may have one each.
        assert!(origin.connections() <= connections + 1, "{protocol}: connections are kept");
    }
}

#[test]
fn a_request_that_waits_for_its_answer_meets_a_fault_that_is_added_then() {
    for (speaks, protocol) in BOTH {
        for client_h2 in [false, true] {
            let origin = Origin::start("a", speaks);
            let proxy = before(&[&origin], protocol, 0);
            let address = proxy.address;
            let waiting = std::thread::spawn(move || {
                if client_h2 {
                    h2::Client::open(address, "app").get("/delay/12000").status()
                } else {
                    raw::get(address, "app", "/delay/12000").status()
                }
            });
            wait_for("the request at the origin", SOON, || origin.requests() == 1);
            let began = Instant::now();
            fault(&proxy, "down", json!({}), json!({}));
            let status = waiting.join().unwrap();
            assert!((500..600).contains(&status), "{protocol}: {status}");
            assert!(began.elapsed() < Duration::from_secs(5), "{protocol}: {:?}", began.elapsed());
            assert!(get(&proxy, "/").0.status() >= 500);
        }
    }
}

#[test]
fn what_is_held_for_a_request_comes_when_the_fault_ends() {
    for (speaks, protocol) in BOTH {
        let origin = Origin::start("a", speaks);
        let proxy = before(&[&origin], protocol, 0);
        let id = fault(&proxy, "latency", json!({ "latency": 600_000 }), json!({}));
        let address = proxy.address;
        let waiting = std::thread::spawn(move || raw::get(address, "app", "/bytes/100000"));
        wait_for("the request at the origin", SOON, || origin.requests() == 1 || protocol == "http2");
        // What is done here is to hold it for a while; that it is held shows nowhere.
        std::thread::sleep(Duration::from_millis(100));
        end(&proxy, id);
        assert_eq!(waiting.join().unwrap().body, pattern(100_000), "{protocol}");
    }
}

#[test]
fn only_the_instance_that_is_meant_is_struck_and_a_retry_goes_elsewhere() {
    for kind in ["down", "reset_peer"] {
        let (bad, good) = (Origin::named("bad"), Origin::named("good"));
        let proxy = before(&[&bad, &good], "http1", 2);
        let aim = json!({ "endpoints": [bad.address] });
        fault(&proxy, kind, json!({}), aim);
        for _ in 0..20 {
            let (answer, _) = get(&proxy, "/");
            assert_eq!((answer.status(), answer.field("x-served-by")), (200, Some("good")), "{kind}");
        }
    }
}

#[test]
fn a_cut_answer_is_a_failure_and_not_a_short_answer() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin], "http1", 0);
    fault(&proxy, "limit_data", json!({ "bytes": 200_000 }), json!({}));
    let mut connection = raw::Connection::open(proxy.address);
    connection.send("GET /bytes/1000000 HTTP/1.1\r\nHost: app\r\n\r\n");
    let broken = connection.try_answer("GET").expect_err("an answer that breaks off");
    let _ = broken;
}

#[test]
fn a_service_s_faults_meet_tcp_connections_to_it_too() {
    let server = crate::stage::Server::echo();
    let services = json!({ "app": { "instances": [server.address] } });
    let (proxy, address) = crate::stage::start(json!({ "service": "app", "services": services }));
    let mut client = crate::stage::connect(address);
    crate::stage::exchange(&mut client, b"hello");
    let id = fault(&proxy, "latency", json!({ "latency": 150 }), json!({}));
    let began = Instant::now();
    crate::stage::exchange(&mut client, b"hello");
    assert!(began.elapsed() >= Duration::from_millis(150));
    end(&proxy, id);
    fault(&proxy, "down", json!({}), json!({}));
    assert_eq!(crate::stage::rest(&mut crate::stage::connect(address)).0, b"");
}
