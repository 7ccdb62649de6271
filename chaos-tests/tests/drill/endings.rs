//! However a drill ends, what it injected ends with it.

use std::time::{Duration, Instant};

use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::stage::{Product, assert_ended, run};

#[test]
fn a_guard_that_trips_ends_the_drill_with_4() {
    let product = Product::start();
    let mut plan = product.plan("60s");
    plan["guards"] =
        json!([{ "metric": "success", "service": "app", "below": "50%", "over": "1s", "min_requests": 5 }]);
    let began = Instant::now();
    let said = assert_ended(&run(&product.write(&plan), &[]), 4);
    assert!(began.elapsed() < Duration::from_secs(40), "it ran to its end");
    assert!(said.contains("guard: success of app was") && said.contains("every fault has been ended"), "{said}");
    product.is_as_before();
    assert_eq!(get(product.proxy.address, "app", "/").status(), 200);
}

#[test]
fn a_drill_that_is_interrupted_puts_everything_back_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let product = Product::start();
        let mut drill = product.begin(&product.plan("60s"));
        kill(drill.pid(), signal).unwrap();
        assert_eq!(drill.end(SOON), Some(130));
        product.is_as_before();
    }
}

#[test]
fn a_drill_that_is_killed_leaves_nothing_behind_when_its_heartbeat_is_missed() {
    let product = Product::start();
    let mut drill = product.begin(&product.plan("60s"));
    assert_eq!(get(product.proxy.address, "app", "/").status(), 503);
    kill(drill.pid(), Signal::SIGKILL).unwrap();
    drill.end(SOON);
    // Five seconds, and not the minute that the fault would live.
    wait_for("the end of its faults", Duration::from_secs(30), || product.faults() == 0);
    let last = product.audit().pop().unwrap();
    assert_eq!((&last["what"], &last["why"]), (&json!("ended"), &json!("its controller was not heard of")));
    let first = product.audit().remove(0);
    assert!(first["by"].as_str().unwrap().starts_with("drill product "), "{first}");
    wait_for("another drill", SOON, || {
        let lease = json!({ "controller": "test", "name": "test", "heartbeat": "5s" });
        product.proxy.change("POST", "/api/v1/drills", Some(&lease)).status() == 201
    });
    assert_eq!(get(product.proxy.address, "app", "/").status(), 200);
}

#[test]
fn a_drill_whose_fault_somebody_else_ends_stops() {
    let product = Product::start();
    let mut drill = product.begin(&product.plan("60s"));
    assert_eq!(product.proxy.change("DELETE", "/api/v1/faults", None).status(), 200);
    assert_eq!(drill.end(SOON), Some(1));
    product.is_as_before();
}

#[test]
fn a_drill_that_loses_its_proxy_ends() {
    let product = Product::start();
    let mut drill = product.begin(&product.plan("60s"));
    product.proxy.signal(Signal::SIGKILL);
    assert_eq!(drill.end(Duration::from_secs(60)), Some(1));
}

#[test]
fn a_product_that_does_not_recover_stops_the_drill() {
    let product = Product::start();
    let mut plan = product.plan("2s");
    plan["recovery"] = json!("1s");
    // A fault of somebody else's, which begins with the drill's and stays.
    plan["dependencies"] =
        json!([{ "service": "app", "faults": ["down", "slow"], "places": ["edge"], "slow": "10ms" }]);
    let lasting = json!({
        "type": "abort", "attributes": { "status": 500 }, "service": "app", "place": "edge", "headers": { "x-user": "ada" },
        "after": "1500ms",
    });
    plan["probes"][0]["headers"]["x-user"] = json!("ada");
    assert_eq!(product.proxy.change("POST", "/api/v1/faults", Some(&lasting)).status(), 201);
    let said = assert_ended(&run(&product.write(&plan), &[]), 1);
    assert!(
        said.contains("the product was not well again 1s after app down (edge): page: unavailable (status 500)"),
        "{said}"
    );
    assert!(said.contains("1 fault of somebody else's at"), "{said}");
    assert!(said.contains("the drill was not finished, so no file was written"), "{said}");
    assert_eq!(product.faults(), 1, "only the other's is left");
}
