//! The bounds that the page names are those that `outrigger check` holds.

use chaos_tests::proxy::outrigger;
use serde_json::{Value, json};

/// A key, the values at its bounds, and the nearest beyond them. Policies are those of a service.
fn bounds() -> Vec<(&'static str, [Value; 2], Vec<Value>)> {
    let row = |key, least: Value, most: Value, beyond: &[Value]| (key, [least, most], beyond.to_vec());
    vec![
        row("workers", json!(1), json!(1024), &[json!(0), json!(1025)]),
        row("ready_grace", json!("0s"), json!("8760h"), &[json!("8761h")]),
        row("shutdown.lame_duck", json!("0s"), json!("29999ms"), &[json!("30s")]),
        row("names.max_watches", json!(1), json!(100_000), &[json!(0), json!(100_001)]),
        row("http.max_head_size", json!("1KiB"), json!("60KiB"), &[json!("1023B"), json!("61441B")]),
        row("http.max_headers", json!(1), json!(256), &[json!(0), json!(257)]),
        row("http.max_buffered", json!("1MiB"), json!("1GiB"), &[json!("1048575B")]),
        row("http.header_timeout", json!("1ms"), json!("8760h"), &[json!("0s")]),
        row("http.idle_timeout", json!("1ms"), json!("8760h"), &[json!("0s")]),
        row("http.stream_idle_timeout", json!("1ms"), json!("off"), &[json!("0s")]),
        row("http.tunnel_idle_timeout", json!("1ms"), json!("off"), &[json!("0s")]),
        row("faults.max_active", json!(1), json!(100_000), &[json!(0), json!(100_001)]),
        row("faults.max_requests", json!("0%"), json!("100%"), &[json!("101%")]),
        row("faults.max_endpoints", json!("0%"), json!("100%"), &[json!("101%")]),
        row("timeout", json!("1ms"), json!("24h"), &[json!("0s"), json!("86401s")]),
        row("connect_timeout", json!("1ms"), json!("24h"), &[json!("0s"), json!("86401s")]),
        row("idle_timeout", json!("1ms"), json!("24h"), &[json!("0s"), json!("86401s")]),
        row("slow_start", json!("0s"), json!("24h"), &[json!("86401s")]),
        row("retries.max", json!(0), json!(7), &[json!(8)]),
        row("retries.budget", json!("0%"), json!("100%"), &[json!("101%")]),
        row("retries.min_per_second", json!(0), json!(10_000), &[json!(10_001)]),
        row("per_try_timeout.multiple", json!("100.1%"), json!("10000%"), &[json!("100%"), json!("10001%")]),
        row("hedge.share", json!("0%"), json!("100%"), &[json!("101%")]),
        row("hold.max_size", json!("0B"), json!("64KiB"), &[json!("65537B")]),
        row("hold.unknown_for", json!("0s"), json!("10s"), &[json!("10001ms")]),
        row("outlier.failure_share", json!("1%"), json!("100%"), &[json!("0.9%"), json!("101%")]),
        row("outlier.latency_factor", json!(2), json!(100), &[json!(1)]),
        row("outlier.max_ejected", json!("0%"), json!("100%"), &[json!("101%")]),
        row("breaker.consecutive", json!(2), json!(100), &[json!(1)]),
        row("health_check.interval", json!("2s"), json!("24h"), &[json!("86401s")]),
        row("health_check.timeout", json!("1ms"), json!("2s"), &[json!("0s"), json!("2001ms")]),
        row("health_check.healthy", json!(1), json!(1000), &[json!(0), json!(1001)]),
        row("health_check.unhealthy", json!(1), json!(1000), &[json!(0), json!(1001)]),
        row("health_check.keep_absent", json!("0s"), json!("8760h"), &[json!("8761h")]),
        row("fallback.stale", json!("1ms"), json!("8760h"), &[json!("0s"), json!("8761h")]),
        row("fallback.status", json!(200), json!(599), &[json!(199), json!(600)]),
        row("instances.0.weight", json!(0), json!(65535), &[json!(65536)]),
    ]
}

/// A configuration with these values, each at its key.
fn with(values: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let service = json!({ "instances": [{ "address": "127.0.0.1:1" }], "health_check": { "tcp": true } });
    let mut config = json!({ "services": { "app": service } });
    for (key, value) in values {
        let path = format!("/{}", key.replace('.', "/"));
        let of_the_file = ["workers", "ready_grace", "shutdown", "names", "http", "faults"];
        let top = of_the_file.contains(&key.split('.').next().unwrap());
        let place = if top { path } else { format!("/services/app{path}") };
        let mut at = &mut config;
        for part in place[1..].split('/') {
            at = match part.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[part],
            };
        }
        *at = value;
    }
    config
}

/// Whether a configuration is good, and what is said of it.
fn check(config: &Value) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outrigger.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let output = outrigger(&["check", file.to_str().unwrap()]);
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn values_at_a_bound_are_good_and_those_beyond_it_are_refused() {
    for side in [0, 1] {
        // What is a bound of another key is at its own default meanwhile.
        let (good, said) = check(&with(bounds().into_iter().map(|(key, ends, _)| (key, ends[side].clone()))));
        assert!(good, "{said}");
        let beyond = || bounds().into_iter().filter_map(|(key, _, beyond)| Some((key, beyond.get(side)?.clone())));
        let (good, said) = check(&with(beyond()));
        assert!(!good);
        for (key, value) in beyond() {
            let key = key.replace(".0.", "[0].");
            let told = said.lines().any(|line| line.contains(&format!("{key}: found ")));
            assert!(told, "{key}: {value} is not refused:\n{said}");
        }
    }
}
