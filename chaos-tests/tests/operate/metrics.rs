//! Every metric of the page is caused, and shows exactly that.
//!
//! A table says where: in a scene below, which causes what it counts and knows the number, or in another test, which has to name
//! it. A metric of the page that stands in no place fails.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use nix::sys::signal::Signal;
use outrigger::telemetry::metrics::{Kind, TABLE};
use serde_json::{Value, json};

use crate::crowds::few_descriptors;

/// What a metric has to show, as a sum over the series that have these labels.
#[derive(Debug, Clone, Copy)]
enum Shows {
    Exactly(f64),
    Between(f64, f64),
}
use Shows::{Between, Exactly};

/// Metrics that another test causes, by its file.
const ELSEWHERE: [(&str, &str); 31] = [
    ("outrigger_upstream_connections", "protocol/pressure.rs"),
    ("outrigger_endpoint_failures_total", "resilience/endpoints.rs"),
    ("outrigger_endpoint_overtaken_total", "resilience/endpoints.rs"),
    ("outrigger_endpoint_ejected", "resilience/endpoints.rs"),
    ("outrigger_rescued_total", "resilience/account.rs"),
    ("outrigger_refused_by_limits_total", "resilience/account.rs"),
    ("outrigger_hedges_total", "resilience/hedge.rs"),
    ("outrigger_hedges_won_total", "resilience/hedge.rs"),
    ("outrigger_breaker_state", "resilience/breaker.rs"),
    ("outrigger_breaker_opened_total", "resilience/breaker.rs"),
    ("outrigger_concurrency_limit", "operate/promises.rs"),
    ("outrigger_limited_requests", "resilience/limits.rs"),
    ("outrigger_queued_requests", "resilience/limits.rs"),
    ("outrigger_health_checks_total", "health.rs"),
    ("outrigger_health_check_endpoints", "health.rs"),
    ("outrigger_held_bytes", "protocol/pace.rs"),
    ("outrigger_malformed_fields_total", "protocol/fields.rs"),
    ("outrigger_access_log_dropped_total", "operate/outputs.rs"),
    ("outrigger_log_dropped_total", "operate/outputs.rs"),
    ("outrigger_audit_log_dropped_total", "operate/outputs.rs"),
    ("outrigger_client_connections_made_room_total", "protocol/pressure.rs"),
    ("outrigger_client_connections_refused_total", "protocol/pressure.rs"),
    ("outrigger_tcp_connections", "tcp/proxies.rs"),
    ("outrigger_tcp_connections_accepted_total", "tcp/proxies.rs"),
    ("outrigger_tcp_connections_failed_total", "tcp/proxies.rs"),
    ("outrigger_tcp_received_bytes_total", "tcp/proxies.rs"),
    ("outrigger_tcp_sent_bytes_total", "tcp/proxies.rs"),
    ("outrigger_instances_skipped", "operate/keys/found.rs"),
    ("outrigger_client_http2_abuses_total", "protocol/hostile.rs"),
    ("outrigger_tls_handshakes_total", "tls/stage.rs"),
    ("outrigger_tls_certificate_not_after_timestamp_seconds", "tls/renewal.rs"),
];

#[test]
fn every_metric_of_the_page_is_caused_and_shows_exactly_that() {
    let mut caused = BTreeMap::new();
    for (name, labels, shows) in [traffic(), trouble(), registry(), shortage()].concat() {
        caused.entry(name).or_insert_with(Vec::new).push((labels, shows));
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for metric in TABLE {
        let places = [caused.contains_key(metric.name), ELSEWHERE.iter().any(|(name, _)| *name == metric.name)];
        assert_eq!(places.iter().filter(|place| **place).count(), 1, "{} has to stand in one place", metric.name);
    }
    for (name, file) in ELSEWHERE {
        let text = fs::read_to_string(tests.join(file)).unwrap();
        assert!(text.contains(&format!("\"{name}\"")), "{file} has nothing of {name} any more");
    }
    let known = |name: &str| TABLE.iter().any(|metric| metric.name == name);
    let named = ELSEWHERE.iter().map(|(name, _)| *name).chain(caused.into_keys());
    let gone: Vec<&str> = named.filter(|name| !known(name)).collect();
    assert!(gone.is_empty(), "there are no metrics {gone:?}");
}

type Caused = Vec<(&'static str, &'static str, Shows)>;

/// Waits until the page shows all of it.
fn see(proxy: &Proxy, caused: Caused) -> Caused {
    for (name, labels, shows) in &caused {
        let kind = TABLE.iter().find(|metric| metric.name == *name).map(|metric| metric.kind);
        let series = if kind == Some(Kind::Histogram) { format!("{name}_count") } else { (*name).to_owned() };
        let labels: Vec<&str> = labels.split(' ').collect();
        let mut seen = Vec::new();
        let as_it_should = |seen: &[f64]| match *shows {
            Exactly(value) => !seen.is_empty() && (seen.iter().sum::<f64>() - value).abs() < 1e-9,
            Between(low, high) => !seen.is_empty() && (low..=high).contains(&seen.iter().sum::<f64>()),
        };
        wait_for(&format!("{name} {labels:?} to show {shows:?}"), SOON, || {
            seen = proxy.metric(&series, &labels);
            as_it_should(&seen)
        });
    }
    caused
}

fn quiet(instances: &[Value]) -> Value {
    json!({ "instances": instances, "hedge": "off", "per_try_timeout": "off", "breaker": "off", "outlier": "off",
        "retries": { "max": 1, "budget": "100%", "min_per_second": 100 } })
}

/// Requests that go well and that do not, one that is under way, and the process itself.
fn traffic() -> Caused {
    let origins = [Origin::named("a"), Origin::named("b")];
    let [a, b] = origins.each_ref().map(|origin| json!(origin.address));
    let mut config = json!({ "workers": 1 });
    config["services"] = json!({
        "app": quiet(&[a.clone(), b]),
        "dead": quiet(&[json!(free_address())]),
        "half": quiet(&[a, json!({ "address": free_address(), "weight": 0 })]),
    });
    config["faults"] = json!({ "enabled": true });
    let mut proxy = Proxy::start(&config);
    let host = |path: &str| get(proxy.address, "app", path).status();
    let statuses = [host("/"), host("/"), host("/"), host("/status/503")];
    assert_eq!(statuses, [200, 200, 200, 503]);
    assert_eq!(get(proxy.address, "dead", "/").status(), 502);
    let fault = json!({ "type": "abort", "attributes": { "status": 500 }, "service": "half", "place": "edge" });
    assert_eq!(proxy.change("POST", "/api/v1/faults", Some(&fault)).status(), 201);
    assert_eq!(get(proxy.address, "half", "/").status(), 500);
    proxy.signal(Signal::SIGHUP);
    let mut slow = Connection::open(proxy.address);
    slow.send("GET /delay/600000 HTTP/1.1\r\nHost: app\r\n\r\n");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let lately = Between(now - 600.0, now + 600.0);
    let seen = see(
        &proxy,
        vec![
            ("outrigger_requests_total", "service=\"app\" code=\"2xx\"", Exactly(3.0)),
            ("outrigger_requests_total", "service=\"app\" code=\"5xx\"", Exactly(1.0)),
            ("outrigger_requests_total", "service=\"dead\" code=\"5xx\"", Exactly(1.0)),
            ("outrigger_refused_total", "service=\"dead\"", Exactly(1.0)),
            ("outrigger_request_duration_seconds", "service=\"app\"", Exactly(4.0)),
            ("outrigger_attempts_total", "service=\"app\" result=\"ok\"", Exactly(3.0)),
            ("outrigger_attempts_total", "service=\"app\"", Exactly(5.0)),
            ("outrigger_retries_total", "service=\"app\"", Exactly(1.0)),
            ("outrigger_upstream_connections_opened_total", "service=\"app\"", Between(1.0, 3.0)),
            // One that was refused was begun.
            ("outrigger_upstream_connections_opened_total", "service=\"dead\"", Between(1.0, 2.0)),
            ("outrigger_in_flight_requests", "service=\"app\"", Exactly(1.0)),
            ("outrigger_endpoints", "service=\"app\"", Exactly(2.0)),
            ("outrigger_endpoint_attempts_total", "service=\"app\"", Exactly(6.0)),
            ("outrigger_endpoint_latency_seconds", "service=\"app\" quantile=\"0.99\"", Between(1e-6, 60.0)),
            ("outrigger_endpoint_score_seconds", "service=\"app\"", Between(1e-6, 60.0)),
            ("outrigger_endpoints", "service=\"half\"", Exactly(1.0)),
            ("outrigger_instances_left_out", "service=\"half\"", Exactly(1.0)),
            ("outrigger_outcomes_total", "service=\"app\" outcome=\"success\"", Exactly(3.0)),
            ("outrigger_outcomes_total", "service=\"app\" outcome=\"failure\"", Exactly(1.0)),
            ("outrigger_requests_started_total", "service=\"app\"", Exactly(5.0)),
            ("outrigger_account_total", "service=\"app\" fate=\"first_good\"", Exactly(3.0)),
            ("outrigger_account_total", "service=\"app\" fate=\"lost\"", Exactly(1.0)),
            ("outrigger_account_in_flight", "service=\"app\"", Exactly(1.0)),
            ("outrigger_lost_total", "service=\"app\"", Exactly(1.0)),
            ("outrigger_availability_ratio", "service=\"app\" stage=\"after\" window=\"1h\"", Exactly(0.75)),
            ("outrigger_retry_budget_tokens", "service=\"app\"", Between(1.0, f64::MAX)),
            ("outrigger_faults_active", "subject=\"half\" type=\"abort\"", Exactly(1.0)),
            ("outrigger_faults_injected_total", "subject=\"half\" type=\"abort\"", Exactly(1.0)),
            ("outrigger_reloads_total", "result=\"applied\"", Exactly(1.0)),
            ("outrigger_reloads_total", "result=\"refused\"", Exactly(0.0)),
            ("outrigger_last_reload_timestamp_seconds", "", lately),
            ("outrigger_client_connections", "", Exactly(1.0)),
            ("outrigger_client_connections_accepted_total", "", Exactly(7.0)),
            ("outrigger_build_info", "", Exactly(1.0)),
            ("process_cpu_seconds_total", "", Between(0.0, 600.0)),
            ("process_resident_memory_bytes", "", Between(1e6, 1e9)),
            ("process_virtual_memory_bytes", "", Between(1e6, 1e15)),
            ("process_open_fds", "", Between(5.0, 1000.0)),
            ("process_max_fds", "", Between(64.0, f64::MAX)),
            ("process_threads", "", Between(2.0, 1000.0)),
            ("process_start_time_seconds", "", lately),
        ],
    );
    drop(slow);
    see(&proxy, vec![("outrigger_in_flight_requests", "service=\"app\"", Exactly(0.0))]);
    proxy.signal(Signal::SIGKILL);
    proxy.wait_end(SOON);
    seen
}

/// An instance that fails where the other does not, a budget that is used up, and more failures than are explained.
fn trouble() -> Caused {
    let good = Origin::named("a");
    let bad = Scripted::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let mut poor = quiet(&[json!(bad.address)]);
    poor["retries"] = json!({ "max": 1, "budget": "1%", "min_per_second": 1 });
    let mut compared = quiet(&[json!(good.address), json!(bad.address)]);
    compared["balance"] = json!("round_robin");
    compared["outlier"] = json!({ "consecutive": 3, "base_ejection": "10m", "max_ejection": "10m" });
    let proxy = Proxy::start(&json!({ "workers": 1, "services": { "poor": poor, "compared": compared } }));
    let mut client = Connection::open(proxy.address);
    for _ in 0..500 {
        client.send("GET / HTTP/1.1\r\nHost: poor\r\n\r\n");
        assert_eq!(client.answer().status(), 503);
    }
    wait_for("the ejection", SOON, || {
        client.send("GET / HTTP/1.1\r\nHost: compared\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
        proxy.metric("outrigger_endpoints_ejected", &["service=\"compared\""]) == [1.0]
    });
    see(
        &proxy,
        vec![
            ("outrigger_retry_budget_refused_total", "service=\"poor\"", Between(1.0, 500.0)),
            ("outrigger_explain_dropped_total", "", Between(1.0, 500.0)),
            ("outrigger_ejections_total", "service=\"compared\"", Exactly(1.0)),
            ("outrigger_endpoints_ejected", "service=\"compared\"", Exactly(1.0)),
        ],
    )
}

/// A registry that is lost, and one that names nobody any more but an instance that was ejected.
fn registry() -> Caused {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services.json");
    let write = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &file).unwrap();
    };
    let bad = Scripted::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let of = |instances: &[SocketAddr]| json!({ "services": { "app": instances } }).to_string();
    let good = of(&[origin.address, bad.address]);
    write(&good);
    let mut config = proxy::to(&[]);
    config["registries"] = json!({ "file": { "path": file } });
    let outlier = json!({ "consecutive": 2, "base_ejection": "10m", "max_ejection": "10m" });
    config["services"]["app"] = json!({ "outlier": outlier, "balance": "round_robin" });
    let proxy = Proxy::start(&config);
    let failing = |shown| ("outrigger_registry_failing", "service=\"app\"", Exactly(shown));
    let mut seen = see(
        &proxy,
        vec![
            failing(0.0),
            ("outrigger_registry_age_seconds", "service=\"app\"", Between(0.0, 60.0)),
            ("outrigger_snapshot_generation", "", Between(1.0, 100.0)),
        ],
    );
    write("{");
    see(&proxy, vec![failing(1.0)]);
    write(&good);
    see(&proxy, vec![failing(0.0)]);
    let open = |shown| ("outrigger_fail_open", "service=\"app\"", Exactly(shown));
    wait_for("the ejection", SOON, || {
        get(proxy.address, "app", "/");
        proxy.metric("outrigger_endpoints_ejected", &["service=\"app\""]) == [1.0]
    });
    see(&proxy, vec![open(0.0)]);
    write(&of(&[bad.address]));
    wait_for("the last one to be asked", SOON, || get(proxy.address, "app", "/").status() == 503);
    seen.extend(see(&proxy, vec![open(1.0)]));
    seen
}

/// A process without another descriptor.
fn shortage() -> Caused {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["health_check"] = json!({ "tcp": true, "interval": "50ms" });
    let proxy = Proxy::start_with(&config, |command| few_descriptors(command, 100));
    proxy.wait_ready();
    let not_made = |least| ("outrigger_health_checks_not_made_total", "", Between(least, f64::MAX));
    see(&proxy, vec![("outrigger_health_checks_not_made_total", "", Exactly(0.0))]);
    let _crowd: Vec<_> = (0..200).filter_map(|_| std::net::TcpStream::connect(proxy.address).ok()).collect();
    see(&proxy, vec![not_made(1.0)])
}
