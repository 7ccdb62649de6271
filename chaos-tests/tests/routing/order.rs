//! The order in which a route's policies act, and that the page says the same as the code.

use std::path::Path;

use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::Stage;

/// Where each of these lines stands, in a text.
fn places(text: &str, lines: &[&str]) -> Vec<usize> {
    lines.iter().map(|line| text.find(line).unwrap_or_else(|| panic!("`{line}` stands nowhere"))).collect()
}

#[test]
fn the_page_and_the_code_state_one_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/routing.md")).unwrap();
    let page = page.split("## The order").nth(1).unwrap();
    let code = std::fs::read_to_string(root.join("proxy/src/forward.rs")).unwrap();
    let shared = [
        "who may call",
        "redirect, fixed answer",
        "edge faults",
        "changed answers",
        "changed requests",
        "mirror",
        "fallback",
    ];
    for text in [page, &code] {
        let places = places(text, &shared[..6]);
        assert!(places.is_sorted(), "{places:?}");
    }
    // In the code itself, and not only at its head, each comes before the next.
    let body = code.split("pub async fn forward").nth(1).unwrap();
    let calls = [
        "find::service(",
        "route_extras::reply(",
        "edge(&asking",
        "route_extras::changed(",
        "collect::collect(",
        "mirror::copy(",
        "asking.ask(",
        "fallback::run_fallback(",
        "route_extras::change_answer(",
    ];
    let places = places(body, &calls);
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn who_may_call_comes_before_everything_and_the_listener_before_the_route() {
    let denied = json!({ "deny": ["10.0.0.0/8"] });
    let stage = Stage::with(
        &["a"],
        json!({
            "listeners": [{ "address": chaos_tests::proxy::free_address(), "access": { "deny": ["10.1.0.0/16"] } }],
            "faults": { "enabled": true, "start": [
                { "type": "abort", "attributes": { "status": 418 }, "service": "a", "place": "edge", "path": "/faulty" }
            ] },
            "routes": [
                { "host": "shop", "path": "/moved", "redirect": { "scheme": "https" }, "access": denied },
                { "host": "shop", "path": "/faulty", "service": "a", "access": denied, "rewrite": { "prefix": "/other" } },
                { "host": "shop", "path": "/other", "service": "a" }
            ]
        }),
    );
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    for target in ["/moved", "/faulty", "/other"] {
        assert_eq!(stage.get(target, &from("10.1.0.1")).status(), 403, "{target}");
    }
    wait_for("the listener's rule in the log", SOON, || {
        stage.proxy.log().contains("listeners[0].access.deny: 10.1.0.0/16")
    });
    assert_eq!(stage.get("/moved", &from("10.2.0.1")).status(), 403, "before the redirect");
    assert_eq!(stage.get("/faulty", &from("10.2.0.1")).status(), 403, "before the fault");
    // A fault at the edge is aimed by what was asked for, not by what it becomes.
    assert_eq!(stage.get("/faulty", "").status(), 418);
    assert_eq!(stage.get("/other", "").status(), 200);
}

#[test]
fn an_edge_fault_is_not_mirrored_an_upstream_fault_is_aimed_by_what_is_sent_and_a_fallback_is_changed() {
    let fault = |place: &str, path: &str| {
        let mut spec =
            json!({ "type": "abort", "attributes": { "status": 503 }, "service": "a", "place": place, "path": path });
        if place == "upstream" {
            spec["endpoints"] = json!("all");
        }
        spec
    };
    let stage = Stage::with(
        &["a", "shadow"],
        json!({
            "workers": 1,
            "faults": { "enabled": true, "start": [fault("edge", "/edge"), fault("upstream", "/sent")] },
            "routes": [
                { "host": "shop", "path": "/edge", "service": "a", "mirror": { "service": "shadow" } },
                { "host": "shop", "path": "/asked", "service": "a", "rewrite": { "prefix": "/sent" },
                  "fallback": { "status": 203, "body": "instead" }, "response_headers": { "set": { "x-changed": "1" } },
                  "mirror": { "service": "shadow" } }
            ]
        }),
    );
    assert_eq!(stage.get("/edge", "").status(), 503);
    let fallen = stage.get("/asked/x", "");
    assert_eq!((fallen.status(), fallen.text().as_str(), fallen.field("x-changed")), (203, "instead", Some("1")));
    wait_for("the copy", SOON, || stage.services[1].requests() >= 1);
    let seen: Vec<_> = stage.services[1].seen().iter().map(|seen| seen.head.target().to_owned()).collect();
    assert_eq!(seen, ["/sent/x"]);
    assert_eq!(stage.services[0].requests(), 0);
}
