//! What makes no sense is told, with what was expected, and nothing is left injected.

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::outrigger;
use chaos_tests::raw::get;
use serde_json::{Value, json};

use crate::stage::{before, faults, json};

#[test]
fn a_fault_that_makes_no_sense_is_refused_with_its_key() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let edge = |more: Value| {
        let mut spec = json!({ "type": "delay", "attributes": { "fixed": "1s" }, "service": "app", "place": "edge" });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    for (spec, status, key, says) in [
        (edge(json!({ "type": "dely" })), 400, json!("type"), "perhaps `delay`"),
        (edge(json!({ "attributes": { "fixed": "1s", "x": 1 } })), 400, json!("attributes"), "unknown field `x`"),
        (edge(json!({ "attributes": { "fixed": -1 } })), 400, json!("attributes"), "-1"),
        (edge(json!({ "percent": "150%" })), 400, json!("percent"), "0% to 100%"),
        (edge(json!({ "percent": 1.5 })), 400, json!(null), "expected a share"),
        (edge(json!({ "service": "ap" })), 404, json!(null), "perhaps `app`"),
        (edge(json!({ "route": "routes[9]" })), 400, json!("route"), "no route"),
        (edge(json!({ "ttl": "2h" })), 409, json!(null), "faults.max_ttl"),
        (
            edge(json!({ "type": "latency", "attributes": { "latency": -5 }, "place": "upstream" })),
            400,
            json!("attributes"),
            "-5",
        ),
        (json!([]), 400, json!(null), "the body"),
        (json!({}), 400, json!(null), "type"),
    ] {
        let answer = proxy.change("POST", "/api/v1/faults", Some(&spec));
        let told = json(&answer);
        assert_eq!((answer.status(), &told["key"]), (status, &key), "{spec}: {told}");
        assert!(told["error"].as_str().unwrap().contains(says), "{spec}: {told}");
    }
    assert_eq!(proxy.change("DELETE", "/api/v1/faults/77", None).status(), 404);
    assert_eq!(proxy.change("PUT", "/api/v1/faults", Some(&json!({}))).status(), 405);
    assert!(faults(&proxy).is_empty());
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
}

#[test]
fn the_command_says_what_is_wrong_and_fails() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let admin = format!("http://{}", proxy.admin);
    for (arguments, says) in [
        (&["abort", "status=5", "--service", "app"][..], "200 to 599"),
        (&["abort", "status=503", "--service", "app"], "say `all`"),
        (&["abort", "status=503", "--service", "ap", "--place", "edge"], "perhaps `app`"),
        (&["latency", "latency=1s", "--service", "app", "--endpoints", "all"], "u64"),
    ] {
        let output = outrigger(&[&["fault", "add"], arguments, &["--admin", &admin]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(says), "{arguments:?}: {told}");
    }
    let usage = outrigger(&["fault", "add", "abort", "--admin", &admin]);
    assert_eq!(usage.status.code(), Some(2), "neither --service nor --proxy");
    assert!(faults(&proxy).is_empty());
}
