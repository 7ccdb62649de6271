//! Upstream faults: the proxy sees a bad instance, and it shows what absorbs it.

use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::h2;
use chaos_tests::raw::{ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::{add, before, end, fault, json};

#[test]
fn a_failing_instance_is_absorbed_and_the_account_says_by_what() {
    let origins = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let mut config = crate::stage::open(&crate::stage::addresses(&origins.each_ref()));
    config["services"]["app"]["outlier"] = json!("off");
    config["services"]["app"]["balance"] = json!("round_robin");
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    let bad = origins[0].address.to_string();
    let id = add(&proxy, &fault("abort", json!({ "status": 503 }), json!({ "endpoints": bad, "name": "one-bad" })));
    // As many as the budget pays for.
    for _ in 0..12 {
        assert_eq!(get(proxy.address, "app", "/").status(), 200);
    }
    assert_eq!(origins[0].requests(), 0);
    let report = || json(&proxy.admin("/api/v1/availability?window=1m").unwrap());
    wait_for("the account", SOON, || report()["services"][0]["rescued"]["retry"].as_u64().is_some_and(|n| n >= 3));
    let log = json(&proxy.admin("/api/v1/explain").unwrap());
    let id_of = log["requests"][0]["id"].as_str().expect("a request that met trouble").to_owned();
    let page = proxy.admin(&format!("/api/v1/explain/{id_of}")).unwrap().text();
    assert!(page.contains("\"one-bad\"") && page.contains("\"upstream\""), "{page}");
    assert!(
        proxy.metric("outrigger_faults_injected_total", &["subject=\"app\"", "place=\"upstream\"", "type=\"abort\""])
            [0]
            >= 4.0
    );
    end(&proxy, id);
    assert_eq!(proxy.metric("outrigger_faults_active", &["subject=\"app\"", "type=\"abort\""]), [0.0]);
}

#[test]
fn a_reset_upstream_is_retried_elsewhere_like_a_real_one() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let origins = [Origin::start("a", speaks), Origin::start("b", speaks)];
        let mut config = crate::stage::open(&crate::stage::addresses(&origins.each_ref()));
        if speaks == Speaks::Http2 {
            config["services"]["app"]["protocol"] = json!("http2");
        }
        let proxy = chaos_tests::proxy::Proxy::start(&config);
        let bad = origins[0].address.to_string();
        add(&proxy, &fault("abort", json!({ "reset": true }), json!({ "endpoints": bad })));
        for _ in 0..10 {
            assert_eq!(get(proxy.address, "app", "/").field("x-served-by"), Some("b"));
        }
    }
}

#[test]
fn a_truncated_answer_that_is_held_is_never_seen() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let bad = origins[0].address.to_string();
    add(&proxy, &fault("truncate", json!({ "after": "10B" }), json!({ "endpoints": bad })));
    for _ in 0..10 {
        let answer = get(proxy.address, "app", "/bytes/5000");
        assert_eq!((answer.status(), answer.body.len()), (200, 5000));
    }
}

#[test]
fn all_of_a_service_can_be_met_where_that_is_said() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let all = json!({ "endpoints": "all", "first": 4 });
    add(&proxy, &fault("delay", json!({ "fixed": "1s" }), all));
    let start = Instant::now();
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn ending_an_upstream_delay_lets_its_attempts_go() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("a", speaks);
        let mut config = crate::stage::open(&[origin.address]);
        if speaks == Speaks::Http2 {
            config["services"]["app"]["protocol"] = json!("http2");
        }
        config["services"]["app"]["timeout"] = json!("10m");
        let proxy = chaos_tests::proxy::Proxy::start(&config);
        let id = add(&proxy, &fault("delay", json!({ "fixed": "9m" }), json!({ "endpoints": "all" })));
        let mut client = chaos_tests::raw::Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        wait_for("it to be held", SOON, || crate::stage::faults(&proxy)[0]["injected"] == 1);
        end(&proxy, id);
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn over_http2_from_the_client_it_is_the_same() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let bad = origins[0].address.to_string();
    add(&proxy, &fault("abort", json!({ "status": 503 }), json!({ "endpoints": bad })));
    let mut client = h2::Client::open(proxy.address, "app");
    for _ in 0..5 {
        assert_eq!(client.get("/").field("x-served-by"), Some("b"));
    }
}

#[test]
fn a_post_whose_status_is_rewritten_is_not_sent_twice() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    add(&proxy, &fault("rewrite_status", json!({ "status": 503 }), json!({ "endpoints": "all" })));
    let post = "POST / HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(ask(proxy.address, post).status(), 503);
    assert_eq!(origins.iter().map(Origin::requests).sum::<usize>(), 1);
}
