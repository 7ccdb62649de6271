//! Nothing gets out of hand: faults end by themselves, with their controller, and reach no further than they may.

use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::fleet::Origin;
use chaos_tests::load::Load;
use chaos_tests::proxy::{Proxy, binary, outrigger};
use chaos_tests::raw::{ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::{add, before, end, fault, faults, json, last_audit, open};

#[test]
fn in_production_faults_are_refused_unless_they_were_allowed_at_the_start() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let answer = proxy.change(
        "POST",
        "/api/v1/faults",
        Some(&fault("abort", json!({ "status": 503 }), json!({ "place": "edge" }))),
    );
    assert_eq!(answer.status(), 403);
    assert!(answer.text().contains("faults: { enabled: true }"), "{}", answer.text());
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
    assert_eq!(last_audit(&proxy)["what"], "refused");
    // A reload does not open the lock.
    let mut config = open(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("3s");
    proxy.rewrite(&config);
    wait_for("the reload", SOON, || proxy.metric("outrigger_reloads_total", &["applied"]) == [1.0]);
    assert_eq!(json(&proxy.admin("/api/v1/faults").unwrap())["enabled"], false);
    let named = || proxy.log().matches("`faults` has changed and takes effect at the next start").count();
    assert_eq!(named(), 1, "{}", proxy.log());
    // It is compared with what runs, not with what the file said last.
    config["services"]["app"]["timeout"] = json!("4s");
    proxy.rewrite(&config);
    wait_for("the reload", SOON, || proxy.metric("outrigger_reloads_total", &["applied"]) == [2.0]);
    assert_eq!(named(), 2, "{}", proxy.log());
}

#[test]
fn a_fault_ends_by_itself_when_its_time_is_over() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    add(&proxy, &fault("abort", json!({ "status": 503 }), json!({ "place": "edge", "ttl": "1s" })));
    assert_eq!(get(proxy.address, "app", "/").status(), 503);
    wait_for("its end", SOON, || get(proxy.address, "app", "/").status() == 200);
    wait_for("the entry", SOON, || last_audit(&proxy)["why"] == "its time to live was over");
}

#[test]
fn a_controller_that_is_killed_takes_its_faults_with_it() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let admin = format!("http://{}", proxy.admin);
    let mut held = Command::new(binary())
        .args([
            "fault",
            "add",
            "abort",
            "status=503",
            "--service",
            "app",
            "--place",
            "edge",
            "--hold",
            "--admin",
            &admin,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the fault", SOON, || get(proxy.address, "app", "/").status() == 503);
    // It outlives its heartbeat while its controller lives.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(get(proxy.address, "app", "/").status(), 503);
    // SIGKILL: nothing can be tidied up.
    held.kill().unwrap();
    held.wait().unwrap();
    wait_for("the end of the fault", SOON, || get(proxy.address, "app", "/").status() == 200);
    wait_for("the entry", SOON, || last_audit(&proxy)["why"] == "its controller was not heard of");
}

#[test]
fn the_last_healthy_endpoint_is_left_alone_unless_all_are_asked_for() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let down = |endpoints| fault("abort", json!({ "status": 503 }), json!({ "endpoints": endpoints }));
    let unsaid = fault("abort", json!({ "status": 503 }), json!({}));
    for refused in [unsaid, down(json!(2)), down(json!("100%"))] {
        let answer = proxy.change("POST", "/api/v1/faults", Some(&refused));
        assert_eq!(answer.status(), 409, "{refused}");
        assert!(answer.text().contains("say `all`"), "{}", answer.text());
    }
    let [first, second] = origins.each_ref().map(|origin| down(json!(origin.address.to_string())));
    add(&proxy, &first);
    assert_eq!(proxy.change("POST", "/api/v1/faults", Some(&second)).status(), 409);
    assert_eq!(get(proxy.address, "app", "/").status(), 200);
    add(&proxy, &down(json!("all")));
}

#[test]
fn everything_can_be_cleared_while_requests_are_held_and_workers_are_busy() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    for n in 0..200 {
        let scope = json!({ "place": "edge", "path": format!("/{n}") });
        add(&proxy, &fault("delay", json!({ "fixed": "5m" }), scope));
    }
    let address = proxy.address;
    let load = Load::start(move || address, "app", 500, 8);
    let admin = format!("http://{}", proxy.admin);
    let output = outrigger(&["fault", "clear", "--admin", &admin]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ended 200\n");
    assert!(faults(&proxy).is_empty());
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
}

#[test]
fn a_thousand_faults_come_and_go_under_load_and_fail_no_request_outside_their_scope() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = before(&origins.each_ref());
    let address = proxy.address;
    let load = Load::start(move || address, "app", 500, 8);
    let mut ids = Vec::new();
    for n in 0..1000 {
        let (place, endpoints) = if n % 2 == 0 { ("edge", json!(null)) } else { ("upstream", json!("all")) };
        let scope = json!({ "place": place, "path": "/never", "endpoints": endpoints });
        ids.push(add(&proxy, &fault("abort", json!({ "status": 500 }), scope)));
    }
    assert_eq!(get(proxy.address, "app", "/never").status(), 500);
    for id in ids {
        end(&proxy, id);
    }
    let tally = load.finish();
    assert!(tally.failed.is_empty() && tally.good > 100, "{} good, failed: {:?}", tally.good, tally.failed);
    assert_eq!(get(proxy.address, "app", "/never").status(), 200);
}

#[test]
fn faults_can_stand_in_the_configuration() {
    let origin = Origin::named("a");
    let mut config = open(&[origin.address]);
    config["faults"]["start"] =
        json!([fault("abort", json!({ "status": 503 }), json!({ "place": "edge", "ttl": "1s", "name": "x" }))]);
    let proxy = Proxy::start(&config);
    let first = ask(proxy.address, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    assert!(first.status() == 503 || faults(&proxy).is_empty());
    wait_for("its end", SOON, || get(proxy.address, "app", "/").status() == 200);
    let audit = json(&proxy.admin("/api/v1/audit").unwrap());
    assert_eq!((&audit["entries"][0]["by"], &audit["entries"][0]["fault"]), (&json!("configuration"), &json!("x")));
}

#[test]
fn a_web_page_cannot_add_a_fault() {
    let origin = Origin::named("a");
    let proxy = before(&[&origin]);
    let body = fault("abort", json!({ "status": 503 }), json!({ "place": "edge" })).to_string();
    for (field, status) in [
        ("Origin: http://evil.example\r\nContent-Type: application/json", 403),
        ("Sec-Fetch-Site: cross-site\r\nContent-Type: application/json", 403),
        ("Content-Type: text/plain", 415),
    ] {
        let request = format!(
            "POST /api/v1/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(ask(proxy.admin, request).status(), status, "{field}");
    }
    assert!(faults(&proxy).is_empty());
}
