//! Policies: what can be written, what it comes to, and what is refused.

use super::*;
use crate::config::settings::Settings;
use crate::config::settings::{Bulkhead, PerTry, Policy, Priority, Probe};

fn settings(text: &str) -> Settings {
    parse(text).unwrap().settings
}

fn policy(text: &str) -> Policy {
    settings(&format!("services:\n  a: {{instances: ['h:1']}}\n  b: {{instances: ['h:2'], {text}}}")).services["b"]
        .policy
        .clone()
}

#[test]
fn a_fallback_that_could_not_be_answered_as_written_is_refused() {
    let wrong = |fallback: &str| {
        let text = format!("services: {{a: {{instances: ['x:1'], fallback: {fallback}}}}}");
        crate::config::parse("f", &text, &|_| None, |_| ()).err().map(|errors| errors.errors[0].path.clone())
    };
    assert_eq!(wrong("{headers: {x-a: b}}").as_deref(), Some("services.a.fallback.headers"));
    for status in [204, 205, 304] {
        let path = wrong(&format!("{{status: {status}, body: x}}"));
        assert_eq!(path.as_deref(), Some("services.a.fallback.body"), "{status}");
        assert_eq!(wrong(&format!("{{status: {status}, headers: {{x-a: b}}}}")), None);
    }
    assert_eq!(wrong("{body: x, headers: {x-a: b}}"), None);
}

#[test]
fn every_policy_can_be_written() {
    let p = policy(
        "retries: {max: 1, budget: 10%, min_per_second: 5, any_method: true}, per_try_timeout: {multiple: 250%, floor: 5ms, ceiling: 2s},
         hedge: {share: 2.5%, floor: 1ms}, hold: {max_size: 16KiB, unknown_for: 5ms},
         outlier: {consecutive: 3, failure_share: 40%, min_attempts: 10, latency_factor: 4, base_ejection: 2s, max_ejection: 20s, max_ejected: 50%},
         breaker: {consecutive: 30, silence: 2s, probe_every: 50ms}, limit: {max_in_flight: 200, adaptive: false, queue: 10, queue_timeout: 20ms},
         bulkhead: {per: caller, max_in_flight: 5}, priority: critical,
         health_check: {http: /healthz, host: x, port: 81, interval: 3s, timeout: 500ms, healthy: 1, unhealthy: 2, keep_absent: 10s},
         slow_start: 10s, fallback: {stale: 10m, service: a, status: 203, headers: {content-type: text/plain}, body: hi}",
    );
    assert_eq!((p.retries.max, p.retries.budget, p.retries.min_per_second, p.retries.any_method), (1, 0.1, 5.0, true));
    assert!(matches!(p.per_try, PerTry::Learned { multiple, .. } if multiple == 2.5));
    assert_eq!(
        (p.hedge.share, p.hold.max_bytes, p.outlier.consecutive, p.outlier.max_ejected),
        (0.025, 16 << 10, 3, 0.5)
    );
    assert_eq!((p.breaker.consecutive, p.breaker.silence.as_secs()), (30, 2));
    assert_eq!((p.breaker.consecutive, p.limit.max_in_flight, p.limit.adaptive), (30, Some(200), false));
    assert_eq!((p.bulkhead, p.priority), (Some(Bulkhead::PerCaller(5)), Priority::Critical));
    let check = p.health_check.unwrap();
    assert!(matches!(check.probe, Probe::Http { path, .. } if &*path == "/healthz"));
    assert_eq!((check.port, check.healthy, check.keep_absent.as_secs(), p.slow_start.as_secs()), (Some(81), 1, 10, 10));
    let fallback = p.fallback.unwrap();
    assert_eq!((fallback.stale.unwrap().as_secs(), fallback.service.as_deref()), (600, Some("a")));
    let answer = fallback.answer.as_ref().unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.headers.len()), (203, &b"hi"[..], 1));
}

#[test]
fn what_is_not_written_is_the_default_of_the_policy() {
    assert_eq!(policy(""), Policy::default());
    assert_eq!(settings("").defaults, Policy::default());
    assert_eq!(policy("retries: {max: 2}"), Policy::default());
}

#[test]
fn groups_can_be_off_and_the_narrower_wins_key_by_key() {
    let p = policy(
        "hedge: off, hold: off, outlier: off, breaker: off, per_try_timeout: off, fallback: off, health_check: off",
    );
    assert_eq!((p.hedge.share, p.hold.max_bytes, p.outlier.enabled, p.breaker.enabled), (0.0, 0, false, false));
    assert_eq!((p.per_try, p.fallback, p.health_check), (PerTry::Off, None, None));
    assert_eq!(policy("per_try_timeout: 300ms").per_try, PerTry::Fixed(std::time::Duration::from_millis(300)));
    let s = settings(
        "
defaults: {retries: {max: 3, budget: 10%}, hedge: off, per_try_timeout: {floor: 5ms}}
services: {a: {instances: ['h:1'], retries: {min_per_second: 7}, hedge: {share: 1%}}}
routes: [{path: /x, service: a, retries: {max: 0}, per_try_timeout: {ceiling: 1s}}]",
    );
    let (a, route) = (&s.services["a"].policy, &s.routes[0].parts()[0].policy);
    assert_eq!((a.retries.max, a.retries.budget, a.retries.min_per_second, a.hedge.share), (3, 0.1, 7.0, 0.01));
    assert_eq!((route.retries.max, route.retries.budget, route.retries.min_per_second), (0, 0.1, 7.0));
    let PerTry::Learned { floor, ceiling, .. } = route.per_try else { panic!("{:?}", route.per_try) };
    assert_eq!((floor.as_millis(), ceiling.as_millis()), (5, 1_000));
}

#[test]
fn a_short_timeout_alone_is_no_contradiction() {
    assert_eq!(policy("timeout: 800ms").timeout.as_millis(), 800);
    assert_eq!(settings("defaults: {timeout: 800ms}").defaults.timeout.as_millis(), 800);
}

#[test]
fn contradictory_and_absurd_policies_are_refused() {
    for (text, expected) in [
        (
            "timeout: 1s, per_try_timeout: 2s",
            "b.per_try_timeout: found 2s, expected no more than `timeout`, which is 1s",
        ),
        (
            "timeout: 1s, per_try_timeout: {ceiling: 2s}",
            "b.per_try_timeout.ceiling: found 2s, expected no more than `timeout`",
        ),
        (
            "per_try_timeout: {floor: 2s, ceiling: 1s}",
            "b.per_try_timeout.floor: found 2s, expected no more than `ceiling`",
        ),
        ("per_try_timeout: {multiple: 100%}", "b.per_try_timeout.multiple: found 100%, expected more than 100%"),
        ("per_try_timeout: soon", "b.per_try_timeout: found `soon`, expected a duration"),
        ("retries: {budget: 150%}", "b.retries.budget: found 150%, expected 0% to 100%"),
        ("retries: {budget: -5%}", "b.retries.budget: found `-5%`, expected a share"),
        ("retries: {budget: 0.2}", "b.retries.budget: found `0.2`, expected a share"),
        ("retries: {max: 8}", "b.retries.max: found 8, expected 0 to 7"),
        ("hedge: {share: 101%}", "b.hedge.share: found 101%"),
        ("hedge: on", "b.hedge: found `on`, expected `off`, or a map of keys"),
        ("hold: {max_size: 65KiB}", "b.hold.max_size: found 65KiB, expected at most 64KiB"),
        (
            "outlier: {base_ejection: 2m, max_ejection: 1m}",
            "b.outlier.base_ejection: found 2m, expected no more than `max_ejection`",
        ),
        ("outlier: {latency_factor: 1}", "b.outlier.latency_factor: found 1, expected 2"),
        ("breaker: {probe_every: 0s}", "b.breaker.probe_every: found 0s, expected at least 1ms"),
        ("timeout: 25h", "b.timeout: found 25h, expected at most a day"),
        ("slow_start: 48h", "b.slow_start: found 48h, expected at most a day"),
        ("limit: {max_in_flight: 0}", "b.limit.max_in_flight: found 0"),
        ("bulkhead: {per: caller}", "b.bulkhead: the key `max_in_flight` is missing"),
        ("bulkhead: {per: house, max_in_flight: 1}", "b.bulkhead.per: found `house`, expected `caller` or `route`"),
        ("priority: urgent", "b.priority: found `urgent`, expected"),
        (
            "health_check: {interval: 1s}",
            "b.health_check: expected one of `http: /healthz`, `tcp: true` and `grpc: NAME`",
        ),
        ("health_check: {tcp: true, http: /x}", "b.health_check: found several of"),
        (
            "health_check: {tcp: true, interval: 1s, timeout: 2s}",
            "b.health_check.timeout: found 2s, expected no more than `interval`",
        ),
        ("fallback: {service: b}", "services.b.fallback.service: falls back in a circle: b → b"),
        ("fallback: {service: nobody}", "b.fallback.service: found `nobody`, expected a service that is declared"),
        ("fallback: {status: 100}", "b.fallback.status: found 100, expected 200 to 599"),
        (
            "fallback: {body: x, headers: {content-length: '1'}}",
            "b.fallback.headers.content-length: says how a message is framed",
        ),
        ("fallback: {}", "b.fallback: says nothing to fall back to"),
        ("max_retries: 1", "b.max_retries: unknown key `max_retries`"),
        ("outlier: {consecutiv: 1}", "b.outlier.consecutiv: unknown key `consecutiv`; did you mean `consecutive`?"),
    ] {
        let told = errors(&format!("services:\n  a: {{instances: ['h:1']}}\n  b: {{instances: ['h:2'], {text}}}"));
        assert!(told.iter().any(|line| line.contains(expected)), "{text}: {told:?}");
        assert_eq!(told.len(), 1, "{text}: {told:?}");
    }
}

#[test]
fn services_that_fall_back_in_a_circle_are_refused() {
    let told = errors(
        "services:\n  a: {instances: ['h:1'], fallback: {service: b}}\n  b: {instances: ['h:2'], fallback: {service: a}}",
    );
    assert!(told[0].contains("services.a.fallback.service: falls back in a circle: a → b → a"), "{told:?}");
    let told = errors("services: {a: {instances: ['h:1']}}\nroutes: [{path: /x, service: a, fallback: {service: a}}]");
    assert!(
        told[0].contains("routes[0].fallback.service: found `a`, which is the service that has failed then"),
        "{told:?}"
    );
}

#[test]
fn what_is_a_services_is_refused_in_a_route() {
    for (text, key) in [
        ("outlier: off", "outlier"),
        ("limit: {queue: 1}", "limit"),
        ("health_check: off", "health_check"),
        ("slow_start: 1s", "slow_start"),
        ("retries: {budget: 5%}", "retries.budget"),
    ] {
        let told =
            errors(&format!("services: {{a: {{instances: ['h:1']}}}}\nroutes: [{{path: /x, service: a, {text}}}]"));
        assert!(told[0].contains(&format!("routes[0].{key}: is one for all routes to a service")), "{text}: {told:?}");
    }
}

#[test]
fn control_fields_can_be_called_otherwise_and_not_like_others() {
    let http = settings("http: {deadline_header: X-Budget-Ms, max_held: 1MiB, max_stale: 2MiB}").http;
    assert_eq!((&*http.deadline_header, http.max_held_bytes, http.max_stale_bytes), ("x-budget-ms", 1 << 20, 2 << 20));
    for name in ["content-length", "host", "x y", ""] {
        let told = errors(&format!("http: {{deadline_header: '{name}'}}"));
        assert!(told[0].contains("http.deadline_header"), "{name}: {told:?}");
    }
    for (http, said) in [
        (
            "deadline_header: X-Outrigger-Caller",
            "http.deadline_header: found `x-outrigger-caller`, which is `http.caller_header`",
        ),
        (
            "caller_header: x-request-deadline",
            "http.caller_header: found `x-request-deadline`, which is `http.deadline_header`",
        ),
        ("deadline_header: a, priority_header: A", "http.priority_header: found `a`, which is `http.deadline_header`"),
    ] {
        let told = errors(&format!("http: {{{http}}}"));
        assert!(told.len() == 1 && told[0].contains(said), "{http}: {told:?}");
    }
    assert!(errors("http: {deadline_header: x-outrigger-caller, caller_header: x-request-deadline}").is_empty());
}

#[test]
fn memory_in_which_no_connection_fits_is_refused() {
    let told = errors("http: {max_buffered: 1023KiB}");
    assert!(told[0].contains("http.max_buffered: found 1023KiB, expected at least 1MiB"), "{told:?}");
    assert!(errors("http: {max_buffered: 1MiB}").is_empty());
}
