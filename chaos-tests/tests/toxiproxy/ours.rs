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
fn a_toxic_of_a_service_acts_on_the_connections_to_its_instances() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    // One that is open already, and idle.
    assert_eq!(status(&server), 200);
    server.toxic("app", &json!({ "type": "latency", "attributes": { "latency": 400 } }));
    let began = Instant::now();
    assert_eq!(status(&server), 200);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(server.call("POST", "/reset", "").status(), 204);
    let fastest = (0..5)
        .map(|_| {
            let began = Instant::now();
            status(&server);
            began.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
}

#[test]
fn a_service_that_is_disabled_is_down_until_it_is_enabled() {
    let origin = Origin::start("a", Speaks::Http1);
    let server = before(&origin);
    let app = parsed(&server.call("GET", "/proxies/app", ""));
    assert_eq!(status(&server), 200);
    // As clients do it: the whole proxy, with one field changed.
    let with = |enabled: bool| {
        let mut body = app.clone();
        body["enabled"] = enabled.into();
        let changed = server.call("POST", "/proxies/app", &body.to_string());
        assert_eq!(changed.status(), 200, "{}", changed.text());
        assert_eq!(parsed(&changed)["enabled"], enabled);
        assert_eq!(parsed(&changed)["toxics"], json!([]), "it is not listed as a toxic");
    };
    with(false);
    assert!(status(&server) >= 500, "nobody is there");
    let faults = parsed(&server.proxy.as_ref().unwrap().admin("/api/v1/faults").unwrap());
    assert_eq!(
        (&faults["faults"][0]["fault"]["type"], &faults["faults"][0]["fault"]["ttl"]),
        (&json!("down"), &json!("5m"))
    );
    with(false);
    with(true);
    wait_for("it is back", SOON, || status(&server) == 200);
    with(false);
    assert_eq!(server.call("POST", "/reset", "").status(), 204);
    wait_for("it is back", SOON, || status(&server) == 200);
    assert_eq!(parsed(&server.call("GET", "/proxies/app", ""))["enabled"], true);
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
        // For how long it is there is what is done here.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.call("DELETE", "/proxies/p/toxics/t", "").status(), 204);
        assert!(began.elapsed() < Duration::from_secs(5), "{kind}: {:?}", began.elapsed());
    }
    assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
    drop(stuck);
}

#[test]
fn many_hands_at_once_leave_nothing_half_done() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let places = [free_address(), free_address(), free_address()];
    let known = [200, 201, 204, 400, 404, 409, 500];
    std::thread::scope(|scope| {
        for hand in 0..8 {
            let (server, echo) = (&server, &echo);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(hand);
                for _ in 0..60 {
                    let name = ["a", "b", "c"][random.usize(..3)];
                    // Two names may want the same place.
                    let listen = places[random.usize(..3)];
                    let made = json!({ "name": name, "listen": listen, "upstream": echo.address });
                    let toxic = json!({ "type": "latency", "name": "t", "attributes": { "latency": 1 } });
                    let (method, path, body) = match random.usize(..9) {
                        0 | 1 => ("POST", "/proxies".to_owned(), made),
                        2 => ("POST", "/populate".to_owned(), json!([made])),
                        3 => ("PATCH", format!("/proxies/{name}"), json!({ "enabled": random.bool() })),
                        4 => ("PATCH", format!("/proxies/{name}"), json!({ "listen": listen })),
                        5 => ("POST", format!("/proxies/{name}/toxics"), toxic),
                        6 => ("DELETE", format!("/proxies/{name}/toxics/t"), json!(null)),
                        7 => ("DELETE", format!("/proxies/{name}"), json!(null)),
                        _ => ("POST", "/reset".to_owned(), json!(null)),
                    };
                    let answer = server.call(method, &path, &body.to_string());
                    assert!(known.contains(&answer.status()), "{method} {path} {body}: {}", answer.text());
                    // What is said to be enabled can be talked through.
                    if random.u8(..10) == 0
                        && let Ok(mut connection) = Connection::try_open(listen)
                    {
                        connection.try_send("ping").ok();
                    }
                }
            });
        }
    });
    for (name, proxy) in parsed(&server.call("GET", "/proxies", "")).as_object().unwrap() {
        let listen = proxy["listen"].as_str().unwrap().parse().unwrap();
        assert_eq!(proxy["enabled"] == true, Connection::try_open(listen).is_ok(), "{name}: {proxy}");
        assert_eq!(server.call("DELETE", &format!("/proxies/{name}"), "").status(), 204);
    }
    assert!(places.iter().all(|place| Connection::try_open(*place).is_err()), "nobody listens any more");
    let faults = parsed(&server.proxy.as_ref().unwrap().admin("/api/v1/faults").unwrap());
    assert_eq!(faults["faults"], json!([]));
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
    // Neither does a list with another upstream replace it, nor is it other than before after that.
    assert_eq!(server.call("POST", "/proxies/cache", r#"{"enabled":false}"#).status(), 200);
    let list = json!([{ "name": "cache", "listen": listen, "upstream": "127.0.0.1:1" }]).to_string();
    let refused = server.call("POST", "/populate", &list);
    assert_eq!(refused.status(), 403, "{}", refused.text());
    let cache = parsed(&server.call("GET", "/proxies/cache", ""));
    assert_eq!((&cache["enabled"], &cache["upstream"]), (&json!(false), &json!(echo.address)));
    assert!(Connection::try_open(listen).is_err(), "switched on by a list that was refused");
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
fn nothing_grows_without_bound() {
    let server = Toxiproxy::outrigger();
    assert_eq!(server.call("POST", "/proxies", &" ".repeat(65 << 10)).status(), 413);
    assert_eq!(server.call("POST", "/populate", &" ".repeat(65 << 10)).status(), 400);
    assert_eq!(server.call("POST", "/populate", &" ".repeat(5 << 20)).status(), 413);
    let long = json!({ "name": "n".repeat(1025), "listen": "127.0.0.1:0", "upstream": "x:1" }).to_string();
    let refused = server.call("POST", "/proxies", &long);
    assert_eq!((refused.status(), refused.text().contains("expected at most 1024")), (400, true));
    server.proxy("p", free_address());
    for n in 0..1000 {
        server.toxic("p", &json!({ "type": "latency", "name": n.to_string(), "toxicity": 0 }));
    }
    let refused = server.call("POST", "/proxies/p/toxics", r#"{"type":"latency"}"#);
    assert_eq!(refused.status(), 409, "{}", refused.text());
    assert_eq!(server.call("DELETE", "/proxies/p/toxics/500", "").status(), 204);
    server.toxic("p", &json!({ "type": "latency" }));
}
