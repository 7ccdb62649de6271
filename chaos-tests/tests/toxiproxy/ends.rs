//! How proxies end: at once, whatever they were about to do.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use chaos_tests::proxy::free_address;
use chaos_tests::raw::Connection;
use chaos_tests::toxiproxy::Toxiproxy;
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::echo::Echo;

#[test]
fn a_proxy_that_was_made_a_moment_ago_is_removed_or_switched_off_at_once() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let make = json!({ "name": "p", "listen": "127.0.0.1:0", "upstream": echo.address }).to_string();
    for round in 0..200 {
        let began = Instant::now();
        assert_eq!(server.call("POST", "/proxies", &make).status(), 201);
        if round % 2 == 1 {
            for enabled in [false, true] {
                let switch = json!({ "enabled": enabled }).to_string();
                assert_eq!(server.call("POST", "/proxies/p", &switch).status(), 200);
            }
        }
        assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
        // A worker that missed it would be waited for for five seconds.
        assert!(began.elapsed() < Duration::from_secs(4), "round {round}: {:?}", began.elapsed());
    }
}

#[test]
fn a_proxy_leaves_no_metric_behind() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let admin = server.proxy.as_ref().unwrap();
    let page = || admin.admin("/metrics").unwrap().text();
    for n in 0..20 {
        let name = format!("made-up-{n}");
        server.proxy(&name, echo.address);
        server.toxic(&name, &json!({ "type": "latency", "attributes": { "latency": 1 } }));
        let active = admin.metric("outrigger_faults_active", &[&format!("subject=\"tcp {name}\""), "type=\"latency\""]);
        assert_eq!(active, [1.0]);
        assert_eq!(server.call("DELETE", &format!("/proxies/{name}"), "").status(), 204);
        assert!(!page().contains(&name), "{}", page());
    }
}

/// Outrigger with a proxy `cache` of its configuration, and where that listens.
fn configured(echo: &Echo) -> (Toxiproxy, SocketAddr) {
    let listen = free_address();
    let tcp = json!([{ "name": "cache", "listen": listen, "upstream": echo.address }]);
    (Toxiproxy::outrigger_with(json!({ "tcp": tcp })), listen)
}

fn talks(listen: SocketAddr) -> Connection {
    let mut connection = Connection::open(listen);
    connection.send("ping");
    assert_eq!(connection.bytes(4).unwrap(), b"ping");
    connection
}

#[test]
fn a_proxy_of_the_configuration_is_switched_off_and_on_like_any_other() {
    let echo = Echo::start();
    let (server, listen) = configured(&echo);
    let admin = server.proxy.as_ref().unwrap();
    let off = || admin.metric("outrigger_faults_active", &["subject=\"tcp cache\"", "type=\"down\""]);
    for round in ["by name", "by a reset", "by whoever ends faults"] {
        let mut open = talks(listen);
        let switched = server.call("POST", "/proxies/cache", r#"{"enabled":false}"#);
        assert_eq!(switched.status(), 200, "{}", switched.text());
        assert!(switched.text().contains(r#""enabled":false"#) && switched.text().contains(r#""toxics":[]"#));
        assert!(open.ended(), "what was open ends");
        assert!(Connection::try_open(listen).is_err(), "nobody listens");
        assert!(TcpListener::bind(listen).is_err(), "and nobody else can take its place");
        assert_eq!(off(), [1.0]);
        match round {
            "by name" => assert_eq!(server.call("PATCH", "/proxies/cache", r#"{"enabled":true}"#).status(), 200),
            "by a reset" => assert_eq!(server.call("POST", "/reset", "").status(), 204),
            _ => assert_eq!(admin.change("DELETE", "/api/v1/faults", None).status(), 200),
        }
        wait_for(round, SOON, || Connection::try_open(listen).is_ok());
        assert_eq!(off(), [0.0]);
        assert!(server.call("GET", "/proxies/cache", "").text().contains(r#""enabled":true"#));
    }
    talks(listen);
    let audit = admin.admin("/api/v1/audit").unwrap().text();
    assert!(audit.contains(r#""fault":"disabled","type":"down","place":"upstream","subject":"tcp cache""#), "{audit}");
}

#[test]
fn a_proxy_of_the_configuration_is_moved_and_removed_nowhere_else() {
    let echo = Echo::start();
    let (server, listen) = configured(&echo);
    let moved = json!({ "listen": free_address(), "enabled": false }).to_string();
    for (method, body) in [("POST", moved.as_str()), ("PATCH", r#"{"upstream":"127.0.0.1:1"}"#), ("DELETE", "")] {
        let refused = server.call(method, "/proxies/cache", body);
        assert_eq!(refused.status(), 403, "{}", refused.text());
        assert!(refused.text().contains("`cache` stands in the configuration; change it there"));
    }
    // Saying what is so changes nothing.
    let same = json!({ "listen": listen, "upstream": echo.address, "enabled": true }).to_string();
    assert_eq!(server.call("POST", "/proxies/cache", &same).status(), 200);
    talks(listen);
}
