//! Edge faults: the application sees a dependency that is slow or failing, whatever the proxy could have done about it.

use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::h2;
use chaos_tests::raw::{Connection, Fault, ask, get};
use chaos_tests::{SOON, pattern, wait_for};
use http::HeaderMap;
use serde_json::json;

use crate::stage::{add, before, end, fault};

#[test]
fn an_abort_at_the_edge_is_what_the_application_gets_and_no_instance_is_asked() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let id = add(
        &proxy,
        &fault("abort", json!({ "status": 503, "body": "gone" }), json!({ "place": "edge", "name": "x y" })),
    );
    let answer = get(proxy.address, "app", "/");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "gone"));
    assert_eq!(answer.field("outrigger-fault"), Some("x_y; place=edge"));
    assert_eq!(origins.iter().map(Origin::requests).sum::<usize>(), 0);
    // It can be explained, although nobody asked for that.
    let path = format!("/api/v1/explain/{}", answer.field("x-request-id").unwrap());
    wait_for("its record", SOON, || {
        proxy.admin(&path).is_some_and(|record| record.text().contains("\"place\":\"edge\""))
    });
    end(&proxy, id);
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
}

#[test]
fn a_reset_at_the_edge_is_a_reset_for_the_client() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    add(&proxy, &fault("abort", json!({ "reset": true }), json!({ "place": "edge" })));
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.try_answer("GET").unwrap_err().fault, Fault::Reset);
    // Over HTTP/2 it is the stream that is reset, and the connection lives on.
    let mut client = h2::Client::open(proxy.address, "app");
    assert!(client.try_ask("GET", "/", &[], Vec::new(), HeaderMap::new()).is_err());
    assert_eq!(proxy.change("DELETE", "/api/v1/faults", None).status(), 200);
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn a_grpc_client_gets_a_grpc_status() {
    let origin = Origin::start("a", Speaks::Http2);
    let proxy = before(&[&origin]);
    add(&proxy, &fault("abort", json!({ "grpc_status": 14 }), json!({ "place": "edge" })));
    let mut client = h2::Client::open(proxy.address, "app");
    let answer = client.get("/pkg.Service/Method");
    assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some("14")));
}

#[test]
fn ending_a_delay_lets_go_of_what_it_holds_at_once() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let hour = fault("delay", json!({ "fixed": "10m" }), json!({ "place": "edge", "ttl": "30m" }));
    for clear in ["/api/v1/faults/1", "/api/v1/faults"] {
        add(&proxy, &hour);
        let mut clients: Vec<Connection> = (0..20).map(|_| Connection::open(proxy.address)).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        }
        wait_for("all to be held", SOON, || crate::stage::faults(&proxy)[0]["injected"] == 20);
        let start = Instant::now();
        assert!(proxy.change("DELETE", clear, None).status() < 300);
        for client in &mut clients {
            assert_eq!(client.answer().status(), 200);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn a_delay_at_the_edge_does_not_use_up_the_services_own_time() {
    let origin = Origin::named("a");
    let mut config = crate::stage::open(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("1s");
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    add(&proxy, &fault("delay", json!({ "fixed": "1500ms" }), json!({ "place": "edge" })));
    let start = Instant::now();
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn only_what_is_within_the_scope_is_met() {
    let origin = Origin::named("a");
    let mut config = crate::stage::open(&[origin.address]);
    config["routes"] = json!([{ "path": "/cart", "service": "app" }, { "service": "app" }]);
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    let status = |request: &str| ask(proxy.address, request).status();
    let plain = |method: &str, path: &str, fields: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}Content-Length: 0\r\n\r\n")
    };
    let cases = [
        (json!({ "methods": ["post"] }), plain("POST", "/", ""), plain("GET", "/", "")),
        (json!({ "route": "routes[0]" }), plain("GET", "/cart/1", ""), plain("GET", "/other", "")),
        (json!({ "path": "/a/" }), plain("GET", "/a/b", ""), plain("GET", "/b/a/", "")),
        (
            json!({ "headers": { "X-User": "42" } }),
            plain("GET", "/", "x-user: 42\r\n"),
            plain("GET", "/", "x-user: 43\r\n"),
        ),
        (json!({ "headers": { "cookie": "*" } }), plain("GET", "/", "Cookie: a\r\n"), plain("GET", "/", "")),
        (
            json!({ "caller": "web" }),
            plain("GET", "/", "x-outrigger-caller: web\r\n"),
            plain("GET", "/", "x-outrigger-caller: job\r\n"),
        ),
    ];
    for (scope, within, outside) in cases {
        let mut spec = fault("abort", json!({ "status": 418 }), scope.clone());
        spec["place"] = json!("edge");
        let id = add(&proxy, &spec);
        assert_eq!((status(&within), status(&outside)), (418, 200), "{scope}");
        end(&proxy, id);
    }
}

#[test]
fn an_answer_is_falsified_as_was_asked() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let edge = |kind: &str, attributes| add(&proxy, &fault(kind, attributes, json!({ "place": "edge" })));
    let request = "GET /bytes/100000 HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";

    let id = edge("rewrite_status", json!({ "status": 500 }));
    let answer = ask(proxy.address, request);
    assert_eq!((answer.status(), answer.body == pattern(100_000)), (500, true));
    assert_eq!(origin.requests(), 1, "the instance has done its work");
    assert_eq!(get(proxy.address, "app", "/status/404").status(), 404, "what failed by itself stays");
    end(&proxy, id);

    let id = edge("truncate", json!({ "after": "1000B" }));
    let mut client = Connection::open(proxy.address);
    client.send(request);
    let broken = client.try_answer("GET").unwrap_err();
    assert_eq!((broken.part.status(), broken.part.body), (200, pattern(100_000)[..1000].to_vec()));
    assert_eq!(get(proxy.address, "app", "/bytes/1000").body.len(), 1000, "no longer than that: whole");
    end(&proxy, id);

    let id = edge("corrupt", json!({ "bytes": "10%" }));
    let answer = ask(proxy.address, request);
    let wrong = answer.body.iter().zip(pattern(100_000)).filter(|(got, sent)| **got != *sent).count();
    assert_eq!((answer.status(), answer.body.len()), (200, 100_000));
    // Five standard deviations of 100,000 draws.
    assert!((9_500..10_500).contains(&wrong), "{wrong}");
    assert_ne!(get(proxy.address, "app", "/bytes/1").body, pattern(1), "at least one byte of every body");
    end(&proxy, id);

    let id = edge("throttle", json!({ "rate": "50KiB" }));
    let start = Instant::now();
    let answer = ask(proxy.address, request);
    let took = start.elapsed().as_secs_f64();
    assert!(answer.body == pattern(100_000) && took >= 1.9, "{took} s for 2 s worth of bytes");
    end(&proxy, id);
}
