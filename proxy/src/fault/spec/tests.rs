use serde_json::json;

use super::*;

fn spec(value: Value) -> Result<Fault, Invalid> {
    serde_json::from_value::<Spec>(value).map_err(|e| Invalid::new("", e.to_string()))?.understand()
}

/// Under which key something is found wrong, and that the message says so much.
#[track_caller]
fn wrong(value: Value, key: &str, says: &str) {
    let invalid = spec(value.clone()).expect_err(&value.to_string());
    assert!(invalid.key == key && invalid.message.contains(says), "{value}: {invalid}");
}

#[test]
fn what_is_not_said_means_all_upstream_and_at_once() {
    let fault = spec(json!({ "type": "delay", "service": "a", "attributes": { "fixed": "2s" } })).unwrap();
    assert_eq!((fault.place, fault.percent, fault.after), (Place::Upstream, 1.0, Duration::ZERO));
    assert_eq!((fault.first, fault.every, fault.scope), (None, None, Scope::default()));
}

#[test]
fn what_makes_no_sense_is_told_with_its_key() {
    let delay = |more: Value| {
        let mut spec = json!({ "type": "delay", "service": "a", "attributes": { "fixed": "2s" } });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    wrong(json!({ "type": "dealy", "service": "a" }), "type", "perhaps `delay`");
    wrong(json!({ "type": "xyz", "service": "a" }), "type", "one of delay");
    wrong(json!({ "type": "latency", "service": "a", "attributes": { "latencyy": 1 } }), "attributes", "latencyy");
    wrong(json!({ "type": "latency", "service": "a", "attributes": { "latency": "1s" } }), "attributes", "u64");
    wrong(json!({ "type": "latency", "service": "a", "attributes": { "latency": -1 } }), "attributes", "-1");
    wrong(json!({ "type": "delay", "service": "a" }), "attributes", "`fixed`");
    wrong(
        json!({ "type": "delay", "service": "a", "attributes": { "min": "2s", "max": "1s" } }),
        "attributes",
        "above",
    );
    wrong(json!({ "type": "abort", "service": "a", "attributes": { "status": 99 } }), "attributes", "200 to 599");
    wrong(
        json!({ "type": "abort", "service": "a", "attributes": { "status": 500, "reset": true } }),
        "attributes",
        "one of",
    );
    wrong(json!({ "type": "abort", "service": "a", "attributes": { "grpc_status": 17 } }), "attributes", "0 to 16");
    wrong(json!({ "type": "corrupt", "service": "a", "attributes": { "bytes": "0%" } }), "attributes", "above 0%");
    wrong(json!({ "type": "throttle", "service": "a", "attributes": { "rate": 0 } }), "attributes", "");
    wrong(delay(json!({ "percent": "150%" })), "percent", "0% to 100%");
    wrong(delay(json!({ "every": 0 })), "every", "at least 1");
    wrong(delay(json!({ "first": 0 })), "first", "at least 1");
    wrong(delay(json!({ "ttl": "0s" })), "ttl", "how long");
    wrong(delay(json!({ "heartbeat": "1s" })), "heartbeat", "`controller`");
    wrong(delay(json!({ "proxy": "b" })), "service", "either");
    wrong(delay(json!({ "stream": "upstream" })), "stream", "requests");
    wrong(delay(json!({ "place": "edge", "endpoints": "all" })), "endpoints", "above the choice");
    wrong(delay(json!({ "endpoints": "some" })), "endpoints", "50%");
    wrong(delay(json!({ "endpoints": [] })), "endpoints", "[]");
    wrong(delay(json!({ "headers": { "a b": "1" } })), "headers", "no field name");
    wrong(delay(json!({ "unknown": 1 })), "", "unknown field");
    wrong(json!({ "type": "delay", "proxy": "a", "attributes": { "fixed": "1s" } }), "type", "knows no requests");
    wrong(json!({ "type": "latency", "service": "a", "place": "edge" }), "place", "connections");
    wrong(json!({ "type": "latency", "service": "a", "methods": ["GET"] }), "methods", "narrowed by");
}

#[test]
fn endpoints_are_said_in_five_ways() {
    let aim = |value: Value| {
        let value = json!({ "type": "down", "service": "a", "endpoints": value });
        spec(value).map(|fault| fault.scope.endpoints)
    };
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    assert_eq!(aim(json!("all")), Ok(Aim::All));
    assert_eq!(aim(json!(2)), Ok(Aim::Some(2)));
    assert_eq!(aim(json!("2")), Ok(Aim::Some(2)));
    assert_eq!(aim(json!("50%")), Ok(Aim::Share(0.5)));
    assert_eq!(aim(json!("10.0.0.1:80")), Ok(Aim::These(vec![address])));
    assert_eq!(aim(json!(["10.0.0.1:80", "10.0.0.1:80"])), Ok(Aim::These(vec![address; 2])));
}

#[test]
fn a_spec_that_is_written_reads_the_same() {
    let written = json!({
        "name": "x", "type": "abort", "attributes": { "status": 503 }, "service": "a", "place": "edge", "route": "routes[0]",
        "methods": ["GET"], "path": "/a", "headers": { "x-user": "*" }, "caller": "b", "percent": "2.5%", "first": 3, "every": 2,
        "after": "1s", "ttl": "1m", "controller": "c", "heartbeat": "2s",
    });
    let read: Spec = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
}

#[test]
fn delays_are_spread_as_was_asked() {
    let draws = |attributes: Value| {
        let Ok(Kind::Http(HttpFault::Delay(delay))) = Kind::parse("delay", Stream::Downstream, &attributes) else {
            panic!("{attributes}");
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut drawn: Vec<f64> = (0..100_000).map(|_| delay.draw(random.f64(), random.f64()).as_secs_f64()).collect();
        drawn.sort_by(f64::total_cmp);
        drawn
    };
    let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.05, "{found} for {wanted}");
    let fixed = draws(json!({ "fixed": "2s" }));
    assert_eq!((fixed[0], fixed[99_999]), (2.0, 2.0));
    let even = draws(json!({ "min": "100ms", "max": "300ms" }));
    assert!(even[0] >= 0.1 && even[99_999] <= 0.3);
    near(even[25_000], 0.15);
    near(even[75_000], 0.25);
    let skewed = draws(json!({ "median": "80ms", "p99": "2s" }));
    near(skewed[50_000], 0.08);
    near(skewed[99_000], 2.0);
    assert!(skewed[99_999] <= 20.0);
}

#[test]
fn a_share_above_all_is_not_written_as_all() {
    let mut spec: Spec =
        serde_json::from_value(json!({ "type": "delay", "service": "a", "attributes": { "fixed": "1s" } })).unwrap();
    spec.percent = Share(1.2);
    assert_eq!(serde_json::to_value(&spec).unwrap()["percent"], "120%");
}
