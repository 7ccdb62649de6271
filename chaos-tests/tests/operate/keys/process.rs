//! What is the process's own: its workers, its admin API, how far faults may reach, Toxiproxy's API.

use std::net::TcpStream;
use std::path::Path;

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::{Connection, Message, ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use super::OK;

/// Threads of a process that are called like this.
fn threads(proxy: &Proxy, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|task| task.starts_with(name)).count()
}

#[test]
fn there_are_as_many_workers_as_were_asked_for() {
    let origin = Origin::named("a");
    for workers in [1, 5] {
        let mut config = proxy::to(&[origin.address]);
        config["workers"] = json!(workers);
        let proxy = Proxy::start(&config);
        assert_eq!(threads(&proxy, "worker-"), workers);
    }
}

#[test]
fn requests_are_logged_where_that_is_wanted_and_nowhere_else() {
    let origin = Origin::named("a");
    for wanted in [None, Some(false), Some(true)] {
        let mut config = proxy::to(&[origin.address]);
        if let Some(wanted) = wanted {
            config["access_log"] = json!(wanted);
        }
        let proxy = Proxy::start(&config);
        assert_eq!(get(proxy.address, "a", "/which/is/logged").status(), 200);
        wait_for("the request to be counted", SOON, || {
            proxy.metric("outrigger_requests_total", &["app"]).iter().sum::<f64>() == 1.0
        });
        let wanted = wanted == Some(true);
        if wanted {
            wait_for("its line", SOON, || proxy.log().contains("/which/is/logged"));
        }
        assert_eq!(proxy.log().contains("/which/is/logged"), wanted, "{}", proxy.log());
    }
}

/// A request to the admin API under a name, with further fields.
fn admin(proxy: &Proxy, method: &str, path: &str, host: &str, fields: &str) -> Message {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n");
    ask(proxy.admin, format!("{head}{fields}\r\n"))
}

#[test]
fn the_admin_api_answers_to_its_names_and_changes_need_its_token() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let mut config = proxy::to(&[origin.address]);
    config["admin"] = json!({ "hosts": ["outrigger.shop.svc"], "token_file": token });
    config["faults"] = json!({ "enabled": true });
    let proxy = Proxy::start(&config);
    let read = |host: &str, path: &str| admin(&proxy, "GET", path, host, "").status();
    let answers = ["localhost", "127.0.0.1", "outrigger.shop.svc:9901", "shop.svc"].map(|host| read(host, "/metrics"));
    assert_eq!(answers, [200, 200, 200, 403]);
    assert_eq!((read("shop.svc", "/livez"), read("shop.svc", "/readyz")), (200, 200));
    let change = |token: &str| {
        let field = format!("Authorization: Bearer {token}\r\n");
        admin(&proxy, "DELETE", "/api/v1/faults", "localhost", if token.is_empty() { "" } else { &field }).status()
    };
    assert_eq!([change(""), change("wrong"), change("s3cret")], [401, 401, 200]);
    std::fs::write(&token, "another").unwrap();
    assert_eq!([change("s3cret"), change("another")], [401, 200]);
    assert_eq!(read("localhost", "/api/v1/faults"), 200, "reading needs none");
}

#[test]
fn the_admin_api_is_where_it_was_put_or_nowhere() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    let address = free_address();
    for enabled in [true, false] {
        config["admin"] = json!({ "enabled": enabled, "address": address });
        let proxy = Proxy::start_unready(&config, &[]);
        wait_for("requests to be served", SOON, || {
            Connection::try_open(proxy.address).is_ok() && get(proxy.address, "a", "/").status() == 200
        });
        if enabled {
            proxy.wait_ready();
        }
        assert_eq!(TcpStream::connect(address).is_ok(), enabled);
    }
}

fn with_faults(faults: Value) -> (Proxy, Vec<Origin>) {
    let origins: Vec<_> = ["a", "b", "c", "d"].map(Origin::named).into_iter().collect();
    let mut config = proxy::to(&origins.iter().map(|origin| origin.address).collect::<Vec<_>>());
    config["faults"] = faults;
    config["faults"]["enabled"] = json!(true);
    (Proxy::start(&config), origins)
}

fn add(proxy: &Proxy, more: Value) -> Message {
    let mut fault = json!({ "type": "delay", "attributes": { "fixed": "1ms" }, "service": "app" });
    fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    proxy.change("POST", "/api/v1/faults", Some(&fault))
}

#[test]
fn faults_reach_as_far_as_they_may_and_no_further() {
    for (limit, good, bad) in [
        (json!({ "max_endpoints": "25%" }), json!({ "endpoints": 1 }), json!({ "endpoints": 2 })),
        (
            json!({ "max_requests": "30%" }),
            json!({ "place": "edge", "percent": "30%" }),
            json!({ "place": "edge", "percent": "31%" }),
        ),
        (
            json!({ "max_ttl": "1m" }),
            json!({ "place": "edge", "ttl": "60s" }),
            json!({ "place": "edge", "ttl": "61s" }),
        ),
        (json!({ "max_active": 1 }), json!({ "place": "edge" }), json!({ "place": "edge" })),
    ] {
        let (proxy, _origins) = with_faults(limit.clone());
        assert_eq!(add(&proxy, good).status(), 201, "{limit}");
        if limit["max_active"].is_null() {
            proxy.change("DELETE", "/api/v1/faults", None);
        }
        let refused = add(&proxy, bad);
        assert_eq!(refused.status(), 409, "{limit}");
        let key = limit.as_object().unwrap().keys().next().unwrap();
        assert!(refused.text().contains(&format!("faults.{key}")), "{limit}: {}", refused.text());
    }
    // More than the half that is built in.
    let (proxy, _origins) = with_faults(json!({ "max_endpoints": "75%" }));
    assert_eq!(add(&proxy, json!({ "endpoints": 3 })).status(), 201);
    // Where a fault does not say, it lives five minutes, or less where that is less.
    let life = |limit: Value| {
        let (proxy, _origins) = with_faults(limit);
        let added: Value = serde_json::from_slice(&add(&proxy, json!({ "place": "edge" })).body).unwrap();
        added["remaining_ms"].as_f64().unwrap_or_else(|| panic!("{added}"))
    };
    let (default, less) = (life(json!({})), life(json!({ "max_ttl": "1m" })));
    assert!((240_000.0..=300_000.0).contains(&default) && (30_000.0..=60_000.0).contains(&less), "{default} {less}");
}

#[test]
fn what_is_done_with_faults_is_a_line_of_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    std::fs::write(&file, "{\"before\":true}\n").unwrap();
    let (proxy, _origins) = with_faults(json!({ "audit_log": file }));
    assert_eq!(add(&proxy, json!({ "place": "edge", "name": "mine" })).status(), 201);
    proxy.change("DELETE", "/api/v1/faults", None);
    let lines = |file: &Path| -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_for("three lines", SOON, || lines(&file).len() == 3);
    let told: Vec<_> = lines(&file).iter().map(|line| line["what"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(told, ["", "added", "ended"], "{:?}", lines(&file));
}

#[test]
fn toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for() {
    let echo = Scripted::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("toxiproxy.json");
    for (metrics, runtime) in [(true, false), (false, true), (false, false)] {
        let (api, listen) = (free_address(), free_address());
        let proxies = json!([{ "name": "one", "listen": listen, "upstream": echo.address }]);
        std::fs::write(&file, proxies.to_string()).unwrap();
        let toxiproxy = json!({ "enabled": true, "address": api, "populate": file, "metrics": metrics,
            "runtime_metrics": runtime });
        let _proxy = Proxy::start(&json!({ "faults": { "enabled": true, "toxiproxy": toxiproxy } }));
        wait_for("the proxy of the file", SOON, || TcpStream::connect(listen).is_ok());
        assert_eq!(get(listen, "a", "/").text(), "ok");
        let page = get(api, "localhost", "/metrics");
        assert_eq!(page.status() == 200, metrics || runtime);
        let mut text = page.text();
        if metrics {
            wait_for("its bytes", SOON, || {
                text = get(api, "localhost", "/metrics").text();
                text.contains("toxiproxy_proxy_received_bytes_total")
            });
        }
        assert_eq!(text.contains("toxiproxy_proxy_"), metrics, "{text}");
        assert_eq!(text.contains("process_open_fds "), runtime, "{text}");
    }
}

#[test]
fn faults_of_the_configuration_are_what_was_written() {
    let (app, listen) = (Origin::named("a"), free_address());
    let fault = |more: Value| {
        let mut fault = json!({ "type": "delay", "attributes": { "fixed": "1ms" } });
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fault
    };
    let start = json!([
        fault(
            json!({ "name": "one", "service": "app", "place": "edge", "route": "routes[0]", "methods": ["GET"], "path": "/a",
            "headers": { "x-user": "*" }, "caller": "web", "percent": "50%", "first": 3, "every": 2, "after": "1s", "ttl": "10m",
            "controller": "me", "heartbeat": "1m" })
        ),
        fault(json!({ "name": "two", "service": "app", "endpoints": "all", "ttl": "5m" })),
        fault(
            json!({ "name": "three", "proxy": "db", "type": "latency", "attributes": { "latency": 5 }, "stream": "upstream",
            "ttl": "5m" })
        ),
    ]);
    let mut config = proxy::to(&[app.address]);
    config["tcp"] = json!([{ "name": "db", "listen": listen, "service": "app" }]);
    config["faults"] = json!({ "enabled": true, "start": start });
    let proxy = Proxy::start(&config);
    let told = || -> Value { serde_json::from_slice(&proxy.admin("/api/v1/faults").unwrap().body).unwrap() };
    wait_for("three faults", SOON, || told()["faults"].as_array().unwrap().len() == 3);
    for written in start.as_array().unwrap() {
        let all = told();
        let name = |fault: &&Value| fault["fault"]["name"] == written["name"];
        let fault = &all["faults"].as_array().unwrap().iter().find(name).unwrap()["fault"];
        for (key, value) in written.as_object().unwrap() {
            assert_eq!(&fault[key], value, "{key} of {fault}");
        }
    }
}
