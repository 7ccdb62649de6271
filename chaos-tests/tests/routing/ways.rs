//! Where a route leads other than to one service, and what it does to requests and answers on their way.

use std::fs::File;

use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, Message};
use chaos_tests::{SOON, h2, wait_for};
use serde_json::{Value, json};

use crate::stage::Stage;

fn shop(mut route: Value) -> Value {
    route["host"] = json!("shop");
    json!([route])
}

fn location(answer: &Message) -> &str {
    answer.field("location").unwrap_or_default()
}

#[test]
fn a_redirect_says_where_and_keeps_what_it_does_not_replace() {
    let stage = Stage::of(
        &["a"],
        json!([
            { "host": "shop", "path": "/old", "redirect": { "prefix": "/new", "status": 301 } },
            { "host": "shop", "path": "/tls", "redirect": { "scheme": "https" } },
            { "host": "shop", "path": "/away", "redirect": { "host": "new.example:81", "path": "/", "status": 302 } },
            { "host": "shop", "path": "/v", "redirect": { "regex": "/v/([0-9]+)(.*)", "with": "/api/$1$2", "status": 307 },
              "response_headers": { "set": { "x-moved": "yes" } } },
            { "host": "shop", "service": "a" }
        ]),
    );
    let post = stage.ask("POST /v/7/x?q=1 HTTP/1.1\r\nHost: shop:8080\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((post.status(), location(&post)), (307, "http://shop:8080/api/7/x?q=1"));
    assert_eq!((post.field("x-moved"), post.field("content-length")), (Some("yes"), Some("0")));
    assert_eq!(post.field("via"), None, "it came from nobody else");
    let old = stage.get("/old/1?x=%2F", "");
    assert_eq!((old.status(), location(&old)), (301, "http://shop/new/1?x=%2F"));
    let tls = stage.ask("GET /tls HTTP/1.1\r\nHost: shop:8080\r\n\r\n");
    assert_eq!((tls.status(), location(&tls)), (308, "https://shop/tls"));
    assert_eq!(location(&stage.get("/away/far?x", "")), "http://new.example:81/?x");
    // Who asked by TLS is kept there, if a trusted hop says so.
    assert_eq!(location(&stage.get("/old", "X-Forwarded-Proto: https\r\n")), "https://shop/new");
    // A path of two slashes is no host.
    assert_eq!(stage.get("/v//evil.example/x", "").status(), 307);
    assert!(location(&stage.get("/old//evil.example", "")).starts_with("http://shop/new"));
    assert_eq!(stage.services[0].requests(), 0, "no service was asked");
    assert_eq!(stage.get("/", "").text(), "a");
}

#[test]
fn a_fixed_answer_asks_nobody() {
    let stage = Stage::of(
        &["a"],
        json!([
            { "host": "shop", "path": "/robots.txt",
              "answer": { "headers": { "content-type": "text/plain", "Cache-Control": "max-age=60" }, "body": "none\n" } },
            { "host": "shop", "path": "/gone", "answer": { "status": 410 } },
            { "host": "shop", "path": "/empty", "answer": { "status": 204 } },
            { "host": "shop", "service": "a" }
        ]),
    );
    // On one connection, so that each has its end where it says.
    let mut client = Connection::open(stage.proxy.address);
    let mut ask = |method: &str, path: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
        client.try_answer(method).unwrap()
    };
    let robots = ask("GET", "/robots.txt");
    assert_eq!(
        (robots.status(), robots.text().as_str(), robots.field("content-type")),
        (200, "none\n", Some("text/plain"))
    );
    assert_eq!((robots.field("cache-control"), robots.field("via")), (Some("max-age=60"), None));
    assert!(robots.field("date").is_some());
    let head = ask("HEAD", "/robots.txt");
    assert_eq!((head.status(), head.field("content-length"), head.text().as_str()), (200, Some("5"), ""));
    let gone = ask("GET", "/gone");
    assert_eq!((gone.status(), gone.text().as_str(), gone.field("cache-control")), (410, "", Some("no-store")));
    let empty = ask("GET", "/empty");
    assert_eq!((empty.status(), empty.field("content-length")), (204, None));
    assert_eq!(ask("GET", "/").text(), "a");
    assert_eq!(stage.services[0].requests(), 1);
    let mut client = h2::Client::open(stage.proxy.address, "shop");
    let robots = client.get("/robots.txt");
    assert_eq!((robots.status(), &robots.body[..]), (200, &b"none\n"[..]));
}

#[test]
fn a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them() {
    let stage = Stage::of(
        &["a"],
        shop(json!({
            "path": "/api",
            "service": "a",
            "rewrite": { "prefix": "/", "host": "a.internal:81" },
            "request_headers": { "set": { "X-Tenant": "7" }, "add": { "X-Step": "proxy" }, "remove": ["X-Secret", "Cookie"] },
            "response_headers": { "set": { "Server": "shop" }, "add": { "x-served": "1" } }
        })),
    );
    let fields = "X-Tenant: forged\r\nx-step: client\r\nX-SECRET: s\r\nCookie: c\r\nX-Other: o\r\n";
    let answer = stage.get("/api/cart%2F1?x=1&y", fields);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
    assert_eq!((answer.field("server"), answer.field("x-served")), (Some("shop"), Some("1")));
    let sent = stage.services[0].last().head;
    assert_eq!((sent.target(), sent.field("host")), ("/cart%2F1?x=1&y", Some("a.internal:81")));
    assert_eq!(sent.all("host").len(), 1);
    assert_eq!(sent.field("x-forwarded-host"), Some("shop"), "what was asked for");
    assert_eq!((sent.all("x-tenant"), sent.all("x-step")), (vec!["7"], vec!["client", "proxy"]));
    assert_eq!((sent.field("x-secret"), sent.field("cookie"), sent.field("x-other")), (None, None, Some("o")));

    // A body, its framing and an upgrade are what they were.
    let post = stage.ask("POST /api HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(post.status(), 200);
    let sent = stage.services[0].last();
    assert_eq!((sent.head.target(), sent.text().as_str()), ("/", "abc"));
    // In absolute form the host of the target is the one that was asked for.
    let absolute = stage.ask("GET http://shop/api/x HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(absolute.status(), 200);
    let sent = stage.services[0].last().head;
    assert_eq!(
        (sent.target(), sent.field("host"), sent.field("x-forwarded-host")),
        ("/x", Some("a.internal:81"), Some("shop"))
    );
    let mut client = h2::Client::open(stage.proxy.address, "shop");
    let answer = client.ask("GET", "/api/two", &[("x-secret", "s")], Vec::new(), http::HeaderMap::new());
    assert_eq!((answer.status(), answer.field("server")), (200, Some("shop")));
    let sent = stage.services[0].last().head;
    assert_eq!((sent.target(), sent.field("host"), sent.field("x-secret")), ("/two", Some("a.internal:81"), None));
}

#[test]
fn a_path_that_a_rewrite_would_make_dangerous_is_refused_and_the_connection_lives() {
    let stage = Stage::of(&["a"], shop(json!({ "service": "a", "rewrite": { "regex": "/x(.*)", "with": "/$1" } })));
    let mut client = Connection::open(stage.proxy.address);
    client.send("GET /xa HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(client.answer().text(), "a");
    assert_eq!(stage.services[0].last().head.target(), "/a");
    assert_eq!(stage.get("/x../etc", "").status(), 400);
    assert_eq!(stage.get("/x%2e%2e", "").status(), 400);
    assert_eq!(stage.services[0].requests(), 1);
    // What the pattern is not stays.
    assert_eq!(stage.get("/y", "").status(), 200);
    assert_eq!(stage.services[0].last().head.target(), "/y");
}

#[test]
fn a_retry_is_sent_what_the_first_attempt_was() {
    // Nobody listens at the first instance, so that about half of the requests are tried again.
    let stage = Stage::with(
        &["a"],
        json!({ "routes": shop(json!({ "path": "/api", "service": "b", "rewrite": { "prefix": "/v1" } })),
        "services": { "b": { "instances": ["127.0.0.1:1"] } } }),
    );
    let mut config =
        json!({ "routes": shop(json!({ "path": "/api", "service": "b", "rewrite": { "prefix": "/v1" } })) });
    config["services"]["b"]["instances"] = json!(["127.0.0.1:1", stage.services[0].address.to_string()]);
    let proxy = Proxy::start(&config);
    for _ in 0..4 {
        assert_eq!(chaos_tests::raw::get(proxy.address, "shop", "/api/x").text(), "a");
    }
    assert!(stage.services[0].seen().iter().all(|seen| seen.head.target() == "/v1/x"));
}

/// How many of these requests went to each of two services.
fn shared_out(stage: &Stage, fields: impl Fn(usize) -> String, requests: usize) -> [usize; 2] {
    let mut counts = [0; 2];
    for n in 0..requests {
        match stage.get("/", &fields(n)).text().as_str() {
            "a" => counts[0] += 1,
            "b" => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    counts
}

#[test]
fn a_split_shares_requests_out_by_weight() {
    let split = |a: u32, b: u32| json!([{ "service": "a", "weight": a }, { "service": "b", "weight": b }]);
    let stage = Stage::with(&["a", "b"], json!({ "workers": 1, "routes": shop(json!({ "split": split(9, 1) })) }));
    let [a, b] = shared_out(&stage, |_| String::new(), 200);
    assert!((17..=23).contains(&b) && a + b == 200, "{a} and {b}");
    // The metrics say which service had how many, and so does the log.
    wait_for("the metrics", SOON, || {
        stage.proxy.metric("outrigger_attempts_total", &["service=\"b\""]).iter().sum::<f64>() == b as f64
    });
    let none = Stage::with(&["a", "b"], json!({ "workers": 1, "routes": shop(json!({ "split": split(0, 3) })) }));
    assert_eq!(shared_out(&none, |_| String::new(), 20), [0, 20]);
}

#[test]
fn requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process() {
    let config = |by: Value| {
        json!({ "workers": 2, "routes": shop(json!({
        "split": [{ "service": "a", "weight": 1 }, { "service": "b", "weight": 1 }], "sticky": by })) })
    };
    let mut placed: Vec<String> = Vec::new();
    for round in 0..2 {
        let stage = Stage::with(&["a", "b"], config(json!({ "cookie": "session" })));
        let mut here = Vec::new();
        for n in 0..32 {
            let fields = format!("Cookie: x=1; session={n}\r\n");
            let first = stage.get("/", &fields).text();
            for _ in 0..3 {
                assert_eq!(stage.get("/", &fields).text(), first, "session {n}");
            }
            here.push(first);
        }
        assert!(here.iter().any(|s| s == "a") && here.iter().any(|s| s == "b"), "{here:?}");
        if round == 0 {
            placed = here;
        } else {
            assert_eq!(here, placed, "another process");
        }
        // Without the cookie it is as if nothing were said.
        let [a, b] = shared_out(&stage, |_| String::new(), 40);
        assert!(a >= 10 && b >= 10, "{a} and {b}");
    }
    let stage = Stage::with(&["a", "b"], config(json!({ "header": "X-User" })));
    let [a, b] = shared_out(&stage, |_| "X-User: 7\r\n".into(), 20);
    assert!(a == 0 || b == 0, "{a} and {b}");
}

#[test]
fn the_access_log_says_which_part_of_a_split_had_the_request_and_which_rule_refused_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let origin = chaos_tests::fleet::Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let instances = json!({ "instances": [origin.address.to_string()] });
    let config = json!({ "access_log": true, "services": { "a": instances, "b": instances }, "routes": [
        { "host": "shop", "split": [{ "service": "a" }, { "service": "b" }] },
        { "host": "shop", "path": "/private", "service": "a", "access": { "deny": ["127.0.0.0/8"] } },
        { "host": "shop", "path": "/moved", "redirect": { "scheme": "https" } }
    ]});
    let file = File::create(&path).unwrap();
    let proxy = Proxy::start_with(&config, |command| {
        command.stdout(file);
    });
    proxy.wait_ready();
    for target in ["/", "/", "/", "/", "/", "/", "/private?t=1", "/moved"] {
        chaos_tests::raw::get(proxy.address, "shop", target);
    }
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_for("the lines", SOON, || lines().len() == 8);
    let lines = lines();
    let find =
        |path: &str| lines.iter().filter(|line| line["path"].as_str().unwrap().starts_with(path)).collect::<Vec<_>>();
    let mut split: Vec<_> = lines
        .iter()
        .filter(|line| line["path"] == "/")
        .map(|line| (line["route"].clone(), line["service"].clone()))
        .collect();
    split.sort_by_key(|line| line.1.to_string());
    split.dedup();
    assert_eq!(split, [(json!("routes[0]"), json!("a")), (json!("routes[0]"), json!("b"))]);
    let private = find("/private")[0];
    assert_eq!((&private["status"], &private["reason"]), (&json!(403), &json!("access_denied")));
    assert_eq!((&private["rule"], &private["endpoint"]), (&json!("routes[1].access.deny: 127.0.0.0/8"), &Value::Null));
    let moved = find("/moved")[0];
    assert_eq!(
        (&moved["status"], &moved["route"], &moved["service"]),
        (&json!(308), &json!("routes[2]"), &Value::Null)
    );
}

#[test]
fn a_call_that_no_rule_lets_in_is_answered_403_and_told_nothing() {
    let stage = Stage::of(
        &["a"],
        json!([
            { "host": "shop", "path": "/in", "service": "a", "access": { "allow": ["127.0.0.0/8", "10.0.0.0/8"], "deny": ["10.1.0.0/16"] } },
            { "host": "shop", "path": "/out", "service": "a", "access": { "allow": ["192.0.2.0/24"] } },
            { "host": "shop", "path": "/moved", "redirect": { "scheme": "https" }, "access": { "deny": ["10.0.0.0/8"] } }
        ]),
    );
    assert_eq!(stage.get("/in", "").status(), 200);
    for (target, fields, status) in [
        // Loopback is trusted to say for whom it forwards: the last one in line is the hop's own peer.
        ("/in", "X-Forwarded-For: 10.2.0.1\r\n", 200),
        ("/in", "X-Forwarded-For: 10.2.0.1:4711\r\n", 200),
        ("/in", "X-Forwarded-For: ::ffff:10.2.0.1\r\n", 200),
        ("/in", "X-Forwarded-For: 10.1.0.1\r\n", 403),
        ("/in", "X-Forwarded-For: 10.2.0.1, 203.0.113.9\r\n", 403),
        ("/in", "X-Forwarded-For: 203.0.113.9, 10.2.0.1\r\n", 200),
        ("/in", "X-Forwarded-For: unknown\r\n", 403),
        ("/out", "", 403),
        ("/out", "X-Forwarded-For: 192.0.2.7\r\n", 200),
        ("/moved", "", 308),
        ("/moved", "X-Forwarded-For: 10.2.0.1\r\n", 403),
    ] {
        assert_eq!(stage.get(target, fields).status(), status, "{target} {fields:?}");
    }
    let refused = stage.get("/out", "");
    let told = format!("{:?} {}", refused.head, refused.text());
    assert!(refused.text().contains("access_denied"), "{told}");
    for secret in ["192.0.2", "routes[", "allow", "/24"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    wait_for("the rule in the log", SOON, || {
        let log = stage.proxy.log();
        log.contains("access denied") && log.contains("routes[0].access.deny: 10.1.0.0/16")
    });
}

#[test]
fn a_listener_lets_in_who_may_call_there_whatever_is_asked_for() {
    let listener =
        |access: Value| json!([{ "address": chaos_tests::proxy::free_address(), "service": "a", "access": access }]);
    for (access, status) in [(json!({ "allow": ["127.0.0.1"] }), 200), (json!({ "allow": ["10.0.0.0/8"] }), 403)] {
        let stage = Stage::with(&["a"], json!({ "listeners": listener(access) }));
        assert_eq!(stage.get("/", "").status(), status);
        let mut client = h2::Client::open(stage.proxy.address, "shop");
        assert_eq!(client.get("/").status(), status);
        assert_eq!(stage.services[0].requests(), if status == 200 { 2 } else { 0 });
    }
}
