//! What a caller's time is worth: it ends the request, and what is left of it goes along with every attempt.

use std::time::{Duration, Instant};

use chaos_tests::SOON;
use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Message, ask};
use serde_json::json;

use crate::stage::{OK, UNAVAILABLE, Word, answering_after, begin, error, get_with, in_turn, one_by_one};

/// How long the failing origin takes.
const LATE: Duration = Duration::from_millis(150);

/// Answers after a while: 200 at `/good`, else 503.
fn late() -> Scripted {
    Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            std::thread::sleep(LATE);
            let answer = if request.head.start.contains(" /good ") { OK } else { UNAVAILABLE };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

fn told(request: &Message) -> u64 {
    request.field("x-request-deadline").expect("a deadline").parse().expect("milliseconds")
}

/// In microseconds, which eight digits are enough for here.
fn grpc_told(request: &Message) -> u64 {
    let text = request.field("grpc-timeout").expect("a deadline");
    text.strip_suffix('u').expect("microseconds").parse().expect("a number")
}

#[test]
fn every_attempt_is_told_what_is_left_of_the_least_of_all_deadlines() {
    let (one, two) = (late(), late());
    let mut config = one_by_one(&[one.address, two.address]);
    config["services"]["app"]["retries"] = json!({ "max": 1 });
    let proxy = Proxy::start(&config);
    let fields =
        [("x-request-deadline", "30000"), ("grpc-timeout", "20S"), ("x-envoy-upstream-rq-timeout-ms", "10000")];
    assert_eq!(ask(proxy.address, get_with("/", &fields)).status(), 503);
    let mut seen = [one.last(), two.last()];
    seen.sort_by_key(|request| request.field("x-envoy-attempt-count").is_some());
    let [first, second] = &seen;
    assert!(told(first) <= 10_000 && told(first) > 1_000, "{}", told(first));
    let passed = LATE.as_millis() as u64;
    assert!(told(second) + passed <= told(first), "{} and {passed} ms later {}", told(first), told(second));
    assert!(told(second) > 1_000, "{}", told(second));
    for request in [first, second] {
        assert!(grpc_told(request) / 1000 <= told(request), "{} and {}", grpc_told(request), told(request));
        assert_eq!(request.field("x-envoy-upstream-rq-timeout-ms"), None, "it is stated anew, once");
    }
    assert_eq!(second.field("x-envoy-attempt-count"), Some("2"));
}

#[test]
fn who_names_no_deadline_has_the_routes() {
    let origin = Scripted::answering(OK);
    let mut config = in_turn(&[origin.address]);
    config["services"]["app"]["timeout"] = json!("12s");
    let proxy = Proxy::start(&config);
    assert_eq!(ask(proxy.address, get_with("/", &[])).status(), 200);
    let told = told(&origin.last());
    assert!(told <= 12_000 && told > 1_000, "{told}");
    assert_eq!(origin.last().field("grpc-timeout"), None);
}

#[test]
fn time_spent_in_our_own_line_is_told_as_gone() {
    let go = Word::default();
    let origin = answering_after(&go);
    let mut config = one_by_one(&[origin.address]);
    config["services"]["app"]["limit"] =
        json!({ "max_in_flight": 1, "queue": 4, "queue_timeout": "20s", "adaptive": false });
    let proxy = Proxy::start(&config);
    let mut first = begin(&proxy, &get_with("/", &[]));
    chaos_tests::wait_for("the first to arrive", SOON, || origin.requests() == 1);
    let waits = Duration::from_millis(400);
    let mut second = begin(&proxy, &get_with("/", &[("x-request-deadline", "10000")]));
    std::thread::sleep(waits);
    go.say(true);
    assert_eq!((first.answer().status(), second.answer().status()), (200, 200));
    let told = told(&origin.last());
    // What the machine took between our request and the proxy's reading it is no part of the wait.
    assert!(told <= 10_000 - waits.as_millis() as u64 / 2, "{told} of 10000 after {waits:?} in line");
}

#[test]
fn a_request_whose_callers_time_is_up_is_a_504_that_says_so() {
    for field in [("x-request-deadline", "200"), ("grpc-timeout", "200m"), ("x-envoy-upstream-rq-timeout-ms", "200")] {
        let origins = [Scripted::faulty(Fault::Hang), Scripted::faulty(Fault::Hang)];
        let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
        config["services"]["app"]["timeout"] = json!("60s");
        let proxy = Proxy::start(&config);
        let start = Instant::now();
        let answer = ask(proxy.address, get_with("/", &[field]));
        assert_eq!(answer.status(), 504, "{field:?}: {}", answer.text());
        assert!(error(&answer).contains("error=http_response_timeout"), "{}", error(&answer));
        assert!(start.elapsed() >= Duration::from_millis(190) && start.elapsed() < SOON, "{:?}", start.elapsed());
        // Nobody is left to wait for nothing.
        let zero = ask(proxy.address, get_with("/", &[(field.0, &field.1.replace("200", "0"))]));
        assert_eq!(zero.status(), 504, "{field:?}");
    }
}

#[test]
fn no_further_attempt_starts_that_cannot_be_expected_to_be_in_time() {
    let origins = [late(), late()];
    let mut config = one_by_one(&origins.each_ref().map(|origin| origin.address));
    // A second attempt beside a slow one is another matter.
    config["services"]["app"]["hedge"] = json!("off");
    config["services"]["app"]["per_try_timeout"] = json!("off");
    let proxy = Proxy::start(&config);
    let arrived = || origins.iter().map(Scripted::requests).sum::<usize>();
    // What an answer takes is known from the fifth on, of each.
    for _ in 0..12 {
        assert_eq!(ask(proxy.address, get_with("/good", &[])).status(), 200);
    }
    let before = arrived();
    assert_eq!(ask(proxy.address, get_with("/", &[])).status(), 503);
    assert_eq!(arrived() - before, 3, "with time enough, all of the attempts");
    // Of this a good deal is left after the first answer, and less than another one would take.
    let before = arrived();
    let answer = ask(proxy.address, get_with("/", &[("x-request-deadline", "280")]));
    assert!(matches!(answer.status(), 503 | 504), "{}", answer.head.start);
    assert_eq!(arrived() - before, 1);
}
