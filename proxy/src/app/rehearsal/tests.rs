//! Faults that are there from the start are held to what holds for all.

use crate::app::rehearsed;
use crate::config;

/// Exactly these errors, each begun like this: `line: key: message`.
#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    let loaded = config::parse("f", text, &|_| None, |_| ()).and_then(rehearsed);
    let told: Vec<String> = loaded.err().into_iter().flat_map(|errors| errors.errors).map(told).collect();
    let fits = told.len() == expected.len() && told.iter().zip(expected).all(|(t, e)| t.starts_with(e));
    assert!(fits, "told {told:#?}\nexpected {expected:#?}");
}

fn told(error: config::ConfigError) -> String {
    format!("{}: {}: {}", error.mark.map_or(0, |mark| mark.line), error.path, error.message)
}

/// A service with four instances and a route, one in a registry, a TCP proxy, and a fault.
fn with(fault: &str) -> String {
    with_more("", fault)
}

fn with_more(limits: &str, faults: &str) -> String {
    format!(
        "registries: {{consul: {{}}}}
services:
  app: {{instances: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4']}}
  lone: {{instances: ['127.0.0.1:1']}}
  found: {{}}
routes: [{{host: a, service: app}}]
tcp: [{{name: cache, listen: '127.0.0.1:9', upstream: '127.0.0.1:10'}}]
faults:
  enabled: true
{limits}  start:
{faults}"
    )
}

#[test]
fn a_fault_that_would_be_refused_at_the_start_is_an_error_of_its_line() {
    const DELAY: &str = "  - {type: delay, attributes: {fixed: 1s}, service: ";
    for (fault, said) in [
        ("app}", "11: faults.start[0]: this leaves no healthy endpoint of `app` alone (4 of 4 are met)"),
        ("app, endpoints: 4}", "11: faults.start[0]: this leaves no healthy endpoint of `app` alone (4 of 4 are met)"),
        (
            "app, endpoints: 3}",
            "11: faults.start[0]: this meets 3 of the 4 healthy endpoints of `app`, more than the 50%",
        ),
        ("app, endpoints: 75%}", "11: faults.start[0]: this meets 3 of the 4 healthy endpoints of `app`"),
        ("app, endpoints: '127.0.0.1:5'}", "11: faults.start[0].endpoints: `app` has no endpoint 127.0.0.1:5"),
        ("lone, endpoints: 1}", "11: faults.start[0]: this leaves no healthy endpoint of `lone` alone"),
        ("found, endpoints: 1}", "11: faults.start[0]: this leaves no healthy endpoint of `found` alone"),
        ("app, place: edge, ttl: 2h}", "11: faults.start[0]: a life of 2h is longer than the 1h that `faults.max_ttl`"),
        ("app, place: edge, route: 'routes[1]'}", "11: faults.start[0].route: found `routes[1]`, which is no route"),
        (
            "lone, place: edge, route: 'routes[0]'}",
            "11: faults.start[0].route: `routes[0]` leads to `app`, not to `lone`",
        ),
        ("ap, place: edge}", "11: faults.start[0].service: found `ap`"),
    ] {
        wrong(&with(&format!("{DELAY}{fault}\n")), &[said]);
    }
    wrong(
        &with("  - {type: down, proxy: cash}\n"),
        &["11: faults.start[0]: there is no TCP proxy `cash`; perhaps `cache`"],
    );
    for (limit, fault, said) in [
        (
            "max_requests: 10%",
            "app, place: edge, percent: 11%}",
            "12: faults.start[0]: 11% of the requests is more than the 10%",
        ),
        ("max_ttl: 1m", "app, place: edge, ttl: 2m}", "12: faults.start[0]: a life of 2m is longer than the 1m"),
        ("max_endpoints: 25%", "app, endpoints: 2}", "12: faults.start[0]: this meets 2 of the 4"),
    ] {
        wrong(&with_more(&format!("  {limit}\n"), &format!("{DELAY}{fault}\n")), &[said]);
    }
    // What stands before it counts, and what is refused does not.
    let named = |more: &str| format!("{DELAY}app, name: x, {more}}}\n");
    let three = [named("endpoints: 3"), named("endpoints: 1"), named("place: edge")].concat();
    let taken = "13: faults.start[2]: `app` has a fault called `x` already";
    wrong(&with(&three), &["11: faults.start[0]: this meets 3", taken]);
    let two = format!("{DELAY}app, place: edge}}\n").repeat(2);
    wrong(&with_more("  max_active: 1\n", &two), &["13: faults.start[1]: 1 faults are active, as many as"]);
}

#[test]
fn faults_that_may_be_there_from_the_start_are_no_errors() {
    let good = [
        "{type: delay, attributes: {fixed: 1s}, service: app, place: edge, route: 'routes[0]', ttl: 1h}",
        "{type: delay, attributes: {fixed: 1s}, service: app, endpoints: 50%}",
        "{type: delay, attributes: {fixed: 1s}, service: app, endpoints: 1}",
        "{type: latency, service: app, endpoints: all}",
        "{type: delay, attributes: {fixed: 1s}, service: lone, endpoints: all}",
        "{type: delay, attributes: {fixed: 1s}, service: found, endpoints: all}",
        "{type: down, proxy: cache}",
    ];
    let faults: String = good.iter().map(|fault| format!("  - {fault}\n")).collect();
    wrong(&with(&faults), &[]);
}

#[test]
fn what_the_environment_says_is_not_told() {
    let text = with("  - {type: delay, attributes: {fixed: 1s}, service: app, endpoints: 1, name: '${WHO}'}\n");
    let twice =
        format!("{text}  - {{type: delay, attributes: {{fixed: 1s}}, service: app, place: edge, name: secret}}\n");
    let env = |name: &str| (name == "WHO").then(|| "secret".to_owned());
    let errors = config::parse("f", &twice, &env, |_| ()).and_then(rehearsed).unwrap_err();
    assert_eq!(errors.errors[0].message, "`app` has a fault called `${WHO}` already");
    assert_eq!(errors.file, "f");
}
