//! What Toxiproxy does not have: services as proxies, toxics that end, and none of what hurts its users.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::proxy::{Proxy, free_address};
use chaos_tests::raw::{Connection, Fault, Message};
use chaos_tests::toxiproxy::Toxiproxy;
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::echo::{Echo, source};

fn parsed(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// Outrigger before one service, `app`.
fn before(origin: &Origin) -> Toxiproxy {
    Toxiproxy::outrigger_with(chaos_tests::proxy::to(&[origin.address]))
}

fn status(server: &Toxiproxy) -> u16 {
    let mut connection = Connection::open(server.proxy.as_ref().unwrap().address);
    connection.send("GET /x HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    connection.answer().status()
}

#[test]
fn every_service_is_a_proxy() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    let app = parsed(&server.call("GET", "/proxies", ""))["app"].clone();
    assert_eq!(app["listen"], server.proxy.as_ref().unwrap().address.to_string());
    assert_eq!((&app["upstream"], &app["enabled"]), (&json!(origin.address), &json!(true)));
    assert_eq!(parsed(&server.call("GET", "/proxies/app", "")), app);
}

#[test]
fn a_service_is_not_the_users_own() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    for (method, body) in [
        ("DELETE", String::new()),
        ("POST", json!({ "listen": free_address() }).to_string()),
        ("PATCH", json!({ "upstream": "127.0.0.1:1" }).to_string()),
    ] {
        let refused = server.call(method, "/proxies/app", &body);
        assert_eq!(refused.status(), 403, "{method}: {}", refused.text());
        assert!(parsed(&refused)["error"].as_str().unwrap().contains("`app` is a service that was discovered"));
    }
    let taken = server.call("POST", "/proxies", r#"{"name":"app","listen":"127.0.0.1:0","upstream":"127.0.0.1:1"}"#);
    assert_eq!(taken.status(), 409);
    let populate = json!([{ "name": "app", "listen": free_address(), "upstream": "127.0.0.1:1" }]).to_string();
    assert_eq!(server.call("POST", "/populate", &populate).status(), 403);
    assert_eq!(status(&server), 200);
}

#[test]
fn http_faults_are_toxics_of_services_and_of_nothing_else() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    let abort =
        json!({ "name": "no", "type": "http_abort", "attributes": { "status": 418 }, "place": "edge", "ttl": "1m" });
    let made = server.call("POST", "/proxies/app/toxics", &abort.to_string());
    assert_eq!(made.status(), 200, "{}", made.text());
    let expected = json!({
        "name": "no", "type": "http_abort", "stream": "downstream", "toxicity": 1, "attributes": { "status": 418 },
        "place": "edge", "ttl": "1m",
    });
    assert_eq!(parsed(&made), expected);
    assert_eq!(status(&server), 418);
    let changed = server.call("POST", "/proxies/app/toxics/no", r#"{"attributes":{"status":429}}"#);
    assert_eq!(changed.status(), 200, "{}", changed.text());
    assert_eq!(status(&server), 429);
    assert_eq!(server.call("DELETE", "/proxies/app/toxics/no", "").status(), 204);
    assert_eq!(status(&server), 200);
    server.proxy("plain", origin.address);
    let refused = server.call("POST", "/proxies/plain/toxics", &abort.to_string());
    assert_eq!((refused.status(), parsed(&refused)["error"].as_str()), (400, Some("invalid toxic type")));
}

#[test]
fn a_toxic_of_a_service_ends_by_itself_and_is_held_to_the_limits() {
    let origin = Origin::start("a", Speaks::Http1);
    let mut config = chaos_tests::proxy::to(&[origin.address]);
    config["faults"] = json!({ "max_ttl": "10m", "max_requests": "50%" });
    let server = Toxiproxy::outrigger_with(config);
    let add = |toxic: Value| server.call("POST", "/proxies/app/toxics", &toxic.to_string());
    let abort = json!({ "type": "http_abort", "attributes": { "status": 503 }, "place": "edge", "toxicity": 0.5 });
    let with = |key: &str, value: Value| {
        let mut toxic = abort.clone();
        toxic[key] = value;
        add(toxic)
    };
    assert_eq!(parsed(&with("name", json!("default")))["ttl"], "5m");
    let too_long = with("ttl", json!("1h"));
    assert_eq!(too_long.status(), 409);
    assert!(parsed(&too_long)["error"].as_str().unwrap().contains("faults.max_ttl"), "{}", too_long.text());
    let too_many = with("toxicity", json!(0.6));
    assert!(parsed(&too_many)["error"].as_str().unwrap().contains("faults.max_requests"), "{}", too_many.text());
    let raised = server.call("POST", "/proxies/app/toxics/default", r#"{"toxicity":0.6}"#);
    assert!(parsed(&raised)["error"].as_str().unwrap().contains("faults.max_requests"), "{}", raised.text());
    assert_eq!(with("ttl", json!("300ms")).status(), 200);
    wait_for("it is over", SOON, || {
        server.call("GET", "/proxies/app/toxics/http_abort_downstream", "").status() == 404
    });
}

#[test]
fn reset_removes_the_toxics_of_services_too_and_the_audit_log_says_who() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    let abort = json!({ "type": "http_abort", "attributes": { "status": 503 }, "place": "edge" });
    server.toxic("app", &abort);
    assert_eq!(status(&server), 503);
    assert_eq!(server.call("POST", "/reset", "").status(), 204);
    assert_eq!(status(&server), 200);
    let audit = server.proxy.as_ref().unwrap().admin("/api/v1/audit").unwrap();
    let entries = parsed(&audit)["entries"].as_array().unwrap().clone();
    let by: Vec<&str> = entries.iter().map(|entry| entry["by"].as_str().unwrap()).collect();
    assert!(by.len() == 2 && by.iter().all(|by| by.starts_with("toxiproxy 127.0.0.1:")), "{by:?}");
}

#[test]
fn a_toxic_of_a_plain_proxy_stays_unless_it_is_told_not_to() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    server.proxy("p", echo.address);
    let made = server.call("POST", "/proxies/p/toxics", r#"{"type":"latency","name":"stays"}"#);
    assert!(parsed(&made)["ttl"].is_null(), "{}", made.text());
    server.toxic("p", &json!({ "type": "latency", "name": "goes", "ttl": "200ms" }));
    wait_for("its end", SOON, || server.call("GET", "/proxies/p/toxics/goes", "").status() == 404);
    assert_eq!(server.call("GET", "/proxies/p/toxics/stays", "").status(), 200);
}

#[test]
fn a_toxic_that_is_given_with_a_proxy_meets_its_first_connection() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    for n in 0..20 {
        let address = free_address();
        let body = json!({
            "name": format!("p{n}"), "listen": address, "upstream": echo.address,
            "toxics": [{ "type": "reset_peer", "stream": "upstream" }],
        });
        let connecting = std::thread::spawn(move || {
            loop {
                if let Ok(mut connection) = Connection::try_open(address) {
                    connection.try_send("ping").ok();
                    return connection.rest();
                }
            }
        });
        let made = server.call("POST", "/proxies", &body.to_string());
        assert_eq!(made.status(), 201, "{}", made.text());
        assert_eq!(connecting.join().unwrap(), (Vec::new(), Fault::Reset));
    }
    assert_eq!(echo.received(), 0);
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let server = Toxiproxy::outrigger();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let toxics = json!([{ "type": "latency" }]);
    let body = |listen: Value, toxics: &Value| {
        json!({ "name": "p", "listen": listen, "upstream": "127.0.0.1:1", "toxics": toxics }).to_string()
    };
    let busy = json!(taken.local_addr().unwrap());
    let address = free_address();
    for (listen, toxics, status) in [
        (&busy, &json!([]), 500),
        (&busy, &toxics, 500),
        (&json!("nonsense"), &toxics, 500),
        (&json!(address), &json!([{ "type": "latency" }, { "type": "nonsense" }]), 400),
        (&json!(address), &json!([{ "type": "latency" }, { "type": "latency" }]), 409),
    ] {
        let refused = server.call("POST", "/proxies", &body(listen.clone(), toxics));
        assert_eq!(refused.status(), status, "{}", refused.text());
        assert_eq!(server.call("GET", "/proxies", "").text(), "{}");
        assert!(Connection::try_open(address).is_err(), "nobody listens");
    }
    let faults = parsed(&server.proxy.as_ref().unwrap().admin("/api/v1/faults").unwrap());
    assert_eq!(faults["faults"], json!([]));
}

#[test]
fn toxicity_0_does_nothing() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let listen = server.proxy("p", echo.address);
    for (kind, attributes) in [
        ("latency", json!({ "latency": 60_000 })),
        ("timeout", json!({})),
        ("reset_peer", json!({})),
        ("limit_data", json!({})),
    ] {
        for stream in ["upstream", "downstream"] {
            let toxic = json!({ "type": kind, "stream": stream, "toxicity": 0, "attributes": attributes });
            server.toxic("p", &toxic);
        }
    }
    for _ in 0..100 {
        let mut connection = Connection::open(listen);
        connection.send("ping");
        assert_eq!(connection.bytes(4).unwrap(), b"ping");
    }
}

#[test]
fn removing_a_toxic_waits_for_nobody() {
    let server = Toxiproxy::outrigger();
    let listen = server.proxy("p", source());
    // A hundred clients that ask for more than they will ever read.
    let stuck: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = Connection::open(listen);
            connection.send(50_000_000_u32.to_be_bytes());
            connection
        })
        .collect();
    let kinds = [
        ("latency", json!({ "latency": 60_000 })),
        ("bandwidth", json!({ "rate": 1 })),
        ("bandwidth", json!({ "rate": 0 })),
        ("slicer", json!({ "average_size": 1, "delay": 100_000 })),
        ("slow_close", json!({ "delay": 60_000 })),
        ("timeout", json!({})),
    ];
    for (kind, attributes) in kinds {
        let began = Instant::now();
        server.toxic("p", &json!({ "type": kind, "name": "t", "attributes": attributes }));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.call("DELETE", "/proxies/p/toxics/t", "").status(), 204);
        assert!(began.elapsed() < Duration::from_secs(5), "{kind}: {:?}", began.elapsed());
    }
    assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
    drop(stuck);
}

#[test]
fn proxies_and_toxics_of_the_configuration_are_there_from_the_start() {
    let echo = Echo::start();
    let listen = free_address();
    let server = Toxiproxy::outrigger_with(json!({
        "tcp": [{ "name": "cache", "listen": listen, "upstream": echo.address.to_string() }],
        "faults": { "start": [{ "proxy": "cache", "type": "latency", "name": "late", "attributes": { "latency": 300 } }] },
    }));
    let cache = parsed(&server.call("GET", "/proxies/cache", ""));
    assert_eq!((&cache["listen"], &cache["upstream"]), (&json!(listen), &json!(echo.address)));
    assert_eq!(cache["toxics"][0]["name"], "late");
    let began = Instant::now();
    let mut connection = Connection::open(listen);
    connection.send("ping");
    assert_eq!(connection.bytes(4).unwrap(), b"ping");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let refused = server.call("DELETE", "/proxies/cache", "");
    assert_eq!(refused.status(), 403, "{}", refused.text());
    assert!(refused.text().contains("stands in the configuration"), "{}", refused.text());
}

#[test]
fn it_is_there_without_the_admin_api() {
    let api = free_address();
    let _proxy = Proxy::start_unready(
        &json!({
            "admin": { "enabled": false, "address": free_address() },
            "faults": { "enabled": true, "toxiproxy": { "enabled": true, "address": api } },
        }),
        &[],
    );
    let ask = || {
        let mut connection = Connection::try_open(api).ok()?;
        connection.try_send("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        connection.try_answer("GET").ok()
    };
    wait_for("an answer", SOON, || ask().is_some_and(|answer| answer.status() == 200));
}

#[test]
fn a_web_page_is_turned_away_whatever_it_says_of_itself() {
    let server = Toxiproxy::outrigger();
    for fields in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let refused =
            server.call_with("POST", "/proxies", br#"{"name":"p","listen":"127.0.0.1:0","upstream":"x:1"}"#, fields);
        assert_eq!(refused.status(), 403, "{fields}");
    }
    assert_eq!(server.call("GET", "/proxies", "").text(), "{}");
}

#[test]
fn a_body_without_end_is_refused() {
    let server = Toxiproxy::outrigger();
    let refused = server.call("POST", "/proxies", &" ".repeat(5 << 20));
    assert_eq!(refused.status(), 413);
}
