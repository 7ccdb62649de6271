//! What the pages say of a key or a metric is what the running proxy does.

use std::fs::File;
use std::time::Instant;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::{self, Proxy, outrigger};
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

/// A server that answers the rest after bodies, and `/early` before them.
fn origin() -> Scripted {
    Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let early = head.target().starts_with("/early");
            // What cannot be sent shows at the client.
            let _ = if early { peer.connection.try_send(answer) } else { Ok(()) };
            if peer.body(head).is_none() || !early && peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

/// A proxy whose access log is a file.
fn logging(origin: &Scripted, more: &[(&str, Value)]) -> (Proxy, std::path::PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut config = proxy::to(&[origin.address]);
    config["access_log"] = json!(true);
    for (key, value) in more {
        config[key] = value.clone();
    }
    let file = File::create(&path).unwrap();
    let proxy = Proxy::start_with(&config, |command| {
        command.stdout(file);
    });
    proxy.wait_ready();
    (proxy, path, folder)
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_access_log_has_the_bytes_of_a_body_as_they_were_received() {
    let origin = origin();
    let (proxy, path, _folder) = logging(&origin, &[]);
    let sizes = [0, 1, 1000, 60_000, 70_000, 1_000_000];
    for size in sizes {
        for (target, chunked) in [("/", false), ("/", true), ("/early", false), ("/early", true)] {
            let mut client = Connection::open(proxy.address);
            let body = "x".repeat(size);
            let (field, body) = match chunked {
                true if size > 0 => ("Transfer-Encoding: chunked".into(), format!("{size:x}\r\n{body}\r\n0\r\n\r\n")),
                true => ("Transfer-Encoding: chunked".into(), "0\r\n\r\n".into()),
                false => (format!("Content-Length: {size}"), body),
            };
            let head = format!("POST {target}?size={size} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            client.send(head + &body);
            assert_eq!(client.answer().status(), 200);
            // The next one on the connection is answered when all of this one was read.
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend");
            assert_eq!(client.answer().status(), 200);
        }
    }
    wait_for("the lines", SOON, || lines(&path).len() == sizes.len() * 8);
    let lines = lines(&path);
    let counted: Vec<u64> = lines.iter().map(|line| line["request_bytes"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = sizes.iter().flat_map(|size| [*size as u64, 3].repeat(4)).collect();
    assert_eq!(counted, expected, "{lines:#?}");
}

#[test]
fn values_of_queries_are_told_nowhere_unless_that_is_wanted() {
    let origin = origin();
    for (whole, told) in [(false, "/a?token=…&n=…"), (true, "/a?token=secret&n=1")] {
        let (proxy, path, _folder) = logging(&origin, &[("query_values", json!(whole))]);
        let mut client = Connection::open(proxy.address);
        client.send(
            "GET /a?token=secret&n=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nX-Outrigger-Explain: 1\r\n\r\n",
        );
        assert_eq!(client.answer().status(), 200);
        wait_for("a line", SOON, || !lines(&path).is_empty());
        assert_eq!(lines(&path)[0]["path"], told);
        let mut explained = String::new();
        wait_for("an explanation", SOON, || {
            let admin = format!("http://{}", proxy.admin);
            explained = String::from_utf8(outrigger(&["explain", "--admin", &admin, "mine"]).stdout).unwrap();
            explained.contains("/a?")
        });
        assert!(explained.contains(told), "{explained}");
        assert_eq!(explained.contains("secret") || proxy.log().contains("secret"), whole);
    }
}

#[test]
fn a_fixed_bound_is_what_the_concurrency_limit_shows() {
    let origin = origin();
    for (limit, shown) in [(json!({ "max_in_flight": 7 }), 7.0), (json!({}), 0.0)] {
        let mut config = proxy::to(&[origin.address]);
        config["services"]["app"]["limit"] = limit.clone();
        let proxy = Proxy::start(&config);
        assert_eq!(get(proxy.address, "a", "/").status(), 200);
        wait_for(&format!("{limit} to be shown as {shown}"), SOON, || {
            proxy.metric("outrigger_concurrency_limit", &["app"]) == [shown]
        });
    }
}

#[test]
fn a_port_that_there_is_not_is_refused_at_once_and_nobody_is_asked_for_it() {
    let origin = origin();
    let mut config = proxy::to(&[origin.address]);
    config["routes"] = json!([{ "host": "app", "service": "app" }]);
    config["names"] = json!({ "unknown": "direct" });
    let proxy = Proxy::start(&config);
    for authority in ["127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:65536", "host.invalid:99999", "[::1]:99999"] {
        let began = Instant::now();
        for _ in 0..100 {
            let mut client = Connection::open(proxy.address);
            client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
            assert_eq!(client.answer().status(), 400, "{authority}");
        }
        // Each would have waited a second.
        assert!(began.elapsed() < SOON, "{authority}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_fault_that_cannot_be_there_from_the_start_is_refused_by_check_and_by_run_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outrigger.json");
    for more in [
        json!({ "ttl": "2h", "place": "edge" }),
        json!({}),
        json!({ "endpoints": 2 }),
        json!({ "route": "routes[7]", "place": "edge" }),
        json!({ "percent": "60%", "place": "edge" }),
        json!({ "service": null, "proxy": "nobody", "type": "down", "attributes": {} }),
    ] {
        let mut fault = json!({ "type": "delay", "attributes": { "fixed": "1s" }, "service": "app" });
        for (key, value) in more.as_object().unwrap() {
            fault[key] = value.clone();
        }
        fault.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut config = proxy::to(&["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
        config["listeners"] = json!([{ "address": proxy::free_address() }]);
        config["admin"] = json!({ "enabled": false });
        config["faults"] = json!({ "enabled": true, "max_requests": "50%", "start": [fault] });
        std::fs::write(&file, config.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let (checked, run) = (outrigger(&["check", file]), outrigger(&["run", "--config", file]));
        for (what, output) in [("check", &checked), ("run", &run)] {
            assert_eq!(output.status.code(), Some(3), "{what}, {more}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("faults.start[0]"), "{what}, {more}: {said}");
        }
    }
}
