//! A copy for another service: never slower, never failing, never seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask, get};
use chaos_tests::{SOON, h2, wait_for};
use serde_json::{Value, json};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(a: &Scripted, shadow: std::net::SocketAddr, mirror: Value) -> Value {
    let mut route =
        json!({ "host": "shop", "path": "/api", "service": "a", "rewrite": { "prefix": "/" }, "mirror": mirror });
    route["mirror"]["service"] = json!("shadow");
    json!({
        "workers": 1,
        "services": {
            "a": { "instances": [a.address.to_string()] },
            "shadow": { "instances": [shadow.to_string()], "timeout": "30s" }
        },
        "routes": [route]
    })
}

#[test]
fn a_copy_is_the_request_as_it_was_sent_with_its_body() {
    let (a, shadow) =
        (Scripted::answering(GOOD), Scripted::answering("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad"));
    let proxy = Proxy::start(&config(&a, shadow.address, json!({})));
    assert_eq!(get(proxy.address, "shop", "/api/x?y").text(), "ok");
    wait_for("the copy", SOON, || shadow.requests() >= 1);
    assert_eq!(shadow.last().head.target(), "/x?y");
    let post = "POST /api HTTP/1.1\r\nHost: shop\r\nX-Mine: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(ask(proxy.address, post).text(), "ok");
    wait_for("the copy of the POST", SOON, || shadow.seen().iter().any(|seen| seen.head.method() == "POST"));
    let seen = shadow.seen();
    let copy = seen.iter().find(|seen| seen.head.method() == "POST").unwrap();
    assert_eq!(
        (copy.text().as_str(), copy.field("x-mine"), copy.field("content-length")),
        ("abcde", Some("1"), Some("5"))
    );
    let body = "x".repeat(40_000);
    let mut client = h2::Client::open(proxy.address, "shop");
    let answer = client.ask("POST", "/api", &[], body.clone().into_bytes(), http::HeaderMap::new());
    assert_eq!(answer.body, b"ok");
    wait_for("the copy over HTTP/2", SOON, || shadow.seen().iter().any(|seen| seen.text() == body));
    // Its account is its service's own: what fails there is nobody else's.
    wait_for("the account", SOON, || {
        proxy.metric("outrigger_requests_total", &["service=\"shadow\"", "5xx"]).iter().sum::<f64>() >= 1.0
    });
    assert_eq!(proxy.metric("outrigger_requests_total", &["service=\"a\"", "5xx"]).iter().sum::<f64>(), 0.0);
}

#[test]
fn a_service_that_hangs_or_is_gone_neither_slows_nor_fails_the_original() {
    let a = Scripted::answering(GOOD);
    let open = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&open);
    let hanging = Scripted::start(move |peer| {
        while peer.request().is_some() {
            seen.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(3));
        }
    });
    let gone = "127.0.0.1:1".parse().unwrap();
    for (shadow, most) in [(hanging.address, 3), (gone, 100)] {
        let proxy = Proxy::start(&config(&a, shadow, json!({ "max_in_flight": most })));
        let mut client = Connection::open(proxy.address);
        let started = Instant::now();
        for _ in 0..50 {
            client.send("GET /api HTTP/1.1\r\nHost: shop\r\n\r\n");
            assert_eq!(client.answer().text(), "ok");
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        if most == 3 {
            wait_for("copies", SOON, || open.load(Ordering::SeqCst) >= 1);
            assert!(open.load(Ordering::SeqCst) <= 6, "at most three at once, each tried again once");
        }
    }
}

#[test]
fn a_share_is_a_share_and_a_body_that_is_not_held_whole_is_not_copied() {
    let (a, shadow) = (Scripted::answering(GOOD), Scripted::answering(GOOD));
    let proxy = Proxy::start(&config(&a, shadow.address, json!({ "share": "30%", "max_in_flight": 1000 })));
    let mut client = Connection::open(proxy.address);
    for _ in 0..400 {
        client.send("GET /api HTTP/1.1\r\nHost: shop\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
    // Each of 400 is drawn: 120, and five standard deviations around it.
    wait_for("copies", SOON, || shadow.requests() > 74);
    std::thread::sleep(Duration::from_millis(50));
    assert!((74..=166).contains(&shadow.requests()), "{}", shadow.requests());

    let (a, shadow) = (Scripted::answering(GOOD), Scripted::answering(GOOD));
    let proxy = Proxy::start(&config(&a, shadow.address, json!({})));
    let large = "x".repeat(200_000);
    let answer =
        ask(proxy.address, format!("POST /api HTTP/1.1\r\nHost: shop\r\nContent-Length: 200000\r\n\r\n{large}"));
    assert_eq!(answer.text(), "ok");
    assert_eq!(get(proxy.address, "shop", "/api/after").text(), "ok");
    wait_for("the copy of the second", SOON, || shadow.requests() >= 1);
    assert_eq!(shadow.seen().iter().map(|seen| seen.head.method().to_owned()).collect::<Vec<_>>(), ["GET"]);
}
