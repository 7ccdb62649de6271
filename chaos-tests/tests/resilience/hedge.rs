//! A second attempt beside one that is slow, and for whom there is none.

use std::time::Instant;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{STUCK, Word, dozing, get_with, metric, one_by_one, record};

/// Requests until it is known how long they take.
fn teach(proxy: &Proxy) {
    let mut client = Connection::open(proxy.address);
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
    }
    wait_for("the p99 to be known", SOON, || {
        let answer = ask(proxy.address, get_with("/", &[("x-outrigger-explain", "1")]));
        record(proxy, &answer)["policy"]["hedge_after_ms"] != Value::Null
    });
}

fn only_hedges(origins: &[&Scripted]) -> Value {
    let mut config = one_by_one(&origins.iter().map(|origin| origin.address).collect::<Vec<_>>());
    config["services"]["app"]["per_try_timeout"] = json!("off");
    config
}

#[test]
fn a_get_that_is_slower_than_nearly_all_is_hedged_elsewhere_and_the_first_good_answer_wins() {
    let slow = Word::default();
    let origins = [dozing(&slow), dozing(&slow)];
    let proxy = Proxy::start(&only_hedges(&origins.each_ref()));
    teach(&proxy);
    slow.say(true);
    let before = origins.each_ref().map(Scripted::requests);
    let start = Instant::now();
    let answer = ask(proxy.address, get_with("/", &[("x-outrigger-explain", "1")]));
    let took = start.elapsed();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert!(took < STUCK / 2, "the first attempt was waited for: {took:?}");
    let asked: Vec<_> = origins.iter().zip(before).map(|(origin, before)| origin.requests() - before).collect();
    assert_eq!(asked, [1, 1], "one attempt at each");
    let record = record(&proxy, &answer);
    let starts: Vec<_> = record["attempts"].as_array().unwrap().iter().map(|a| a["start"].as_str().unwrap()).collect();
    assert_eq!(starts, ["first", "hedge"], "{record}");
    // On a busy machine some of those that it learned from were hedged, too.
    for (name, labels) in [
        ("outrigger_hedges_total", &["service=\"app\""][..]),
        ("outrigger_hedges_won_total", &["service=\"app\""]),
        // Nobody waits for as long as the first attempt takes, so nobody can say that it was rescued.
        ("outrigger_account_total", &["service=\"app\"", "fate=\"unknown\""]),
    ] {
        wait_for(name, SOON, || metric(&proxy, name, labels) >= 1.0);
    }
}

#[test]
fn a_post_is_never_hedged_however_slow_it_is() {
    let slow = Word::default();
    let origins = [dozing(&slow), dozing(&slow)];
    let proxy = Proxy::start(&only_hedges(&origins.each_ref()));
    teach(&proxy);
    // As well known as the GET's.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"1\"\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = Connection::open(proxy.address);
    for _ in 0..100 {
        client.send(post);
        assert_eq!(client.answer().status(), 200);
    }
    // Until the next tick, and what it takes to see it: the GET of which it is known.
    teach(&proxy);
    slow.say(true);
    let start = Instant::now();
    client.patience(2 * STUCK);
    client.send(post);
    assert_eq!(client.answer().status(), 200);
    assert!(start.elapsed() >= STUCK, "it was answered by another attempt");
    // GETs may have been hedged meanwhile, on a busy machine.
    let seen = origins.iter().flat_map(Scripted::seen).filter(|request| request.head.method() == "POST");
    assert_eq!(seen.count(), 101, "attempts of 101 POSTs");
}
