//! Which instance fails, and which is slow: in the table, in its JSON and in the metrics.

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, Word, dozing, metric, one_by_one, printed, wait_for_metric};

fn told(proxy: &Proxy) -> Vec<Value> {
    let answer = proxy.admin("/api/v1/services/app").expect("an answer");
    let service: Value = serde_json::from_slice(&answer.body).expect("JSON");
    service["endpoints"].as_array().expect("endpoints").clone()
}

#[test]
fn who_fails_and_who_is_overtaken_is_told_apart_everywhere() {
    let slow = Word::default();
    let (good, bad, late) = (Scripted::answering(OK), Scripted::faulty(Fault::Status(503)), dozing(&slow));
    let mut config = one_by_one(&[good.address, bad.address, late.address]);
    config["services"]["app"]["per_try_timeout"] = json!("50ms");
    config["services"]["app"]["retries"] = json!({ "max": 2, "min_per_second": 1000 });
    config["services"]["app"]["outlier"] = json!({ "consecutive": 2 });
    let proxy = Proxy::start(&config);
    let series = |name: &str, address: &dyn std::fmt::Display| {
        metric(&proxy, name, &["service=\"app\"", &format!("endpoint=\"{address}\"")])
    };
    for (name, whose) in
        [("outrigger_endpoint_ejected", bad.address), ("outrigger_endpoint_overtaken_total", late.address)]
    {
        wait_for(name, SOON, || {
            assert_eq!(get(proxy.address, "a", "/").status(), 200);
            series(name, &whose) > 0.0
        });
        slow.say(true);
    }
    assert!(series("outrigger_endpoint_failures_total", &bad.address) >= 2.0);
    assert_eq!(series("outrigger_endpoint_overtaken_total", &bad.address), 0.0);
    assert_eq!(series("outrigger_endpoint_failures_total", &late.address), 0.0, "being overtaken is no failure");
    assert_eq!(series("outrigger_endpoint_failures_total", &good.address), 0.0);

    let endpoints = told(&proxy);
    let of = |address: &dyn std::fmt::Display| {
        let address = address.to_string();
        endpoints.iter().find(|endpoint| endpoint["address"] == *address).expect("the endpoint").clone()
    };
    let (good_one, bad_one, late_one) = (of(&good.address), of(&bad.address), of(&late.address));
    assert_eq!((&bad_one["state"], &bad_one["overtaken"]), (&"ejected".into(), &0.into()), "{bad_one}");
    assert!(bad_one["why"].as_str().is_some_and(|why| why.starts_with("ejected (")), "{bad_one}");
    assert!(bad_one["failures"].as_u64().is_some_and(|failures| failures >= 2), "{bad_one}");
    assert_eq!((&late_one["failures"], &good_one["failures"]), (&0.into(), &0.into()), "{late_one} {good_one}");
    // It was given up after as long.
    assert!(late_one["p99_ms"].as_f64().is_some_and(|p99| p99 >= 50.0), "{late_one}");
    assert!(good_one["answers"].as_u64().is_some_and(|answers| answers > 0), "{good_one}");
    for endpoint in &endpoints {
        assert!(endpoint["since_ms"].is_u64(), "{endpoint}");
        assert!(endpoint["p50_ms"].as_f64() <= endpoint["p99_ms"].as_f64(), "{endpoint}");
    }

    let table = printed(&proxy, &["services", "app"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for column in ["ATTEMPTS", "FAILED", "OVERTAKEN", "P50", "P99", "SCORE"] {
        assert!(table.contains(column), "{table}");
    }
    let row = table.lines().position(|line| line.trim_start().starts_with(&bad.address.to_string())).expect("its row");
    let below = table.lines().nth(row + 1).expect("what it comes to");
    assert!(below.trim_start().starts_with("ejected for "), "{table}");
}

#[test]
fn the_series_of_an_endpoint_end_with_it() {
    let (first, second) = (Scripted::answering(OK), Scripted::answering(OK));
    let proxy = Proxy::start(&one_by_one(&[first.address, second.address]));
    let series = |origin: &Scripted| {
        proxy.metric("outrigger_endpoint_attempts_total", &[&format!("endpoint=\"{}\"", origin.address)]).len()
    };
    assert_eq!((series(&first), series(&second)), (1, 1));
    proxy.rewrite(&one_by_one(&[second.address]));
    wait_for("the first to be gone", SOON, || series(&first) == 0);
    assert_eq!(series(&second), 1);
}

#[test]
fn the_series_of_endpoints_can_be_switched_off() {
    let origin = Scripted::answering(OK);
    let mut config = one_by_one(&[origin.address]);
    config["admin"] = json!({ "endpoint_metrics": false });
    let proxy = Proxy::start(&config);
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    wait_for_metric(&proxy, "outrigger_attempts_total", &["service=\"app\""], 1.0);
    let text = proxy.admin("/metrics").expect("/metrics").text();
    assert!(!text.contains("outrigger_endpoint_"), "{text}");
    // What is asked for by name is told all the same.
    wait_for("its attempt", SOON, || told(&proxy)[0]["attempts"] == 1);
}
