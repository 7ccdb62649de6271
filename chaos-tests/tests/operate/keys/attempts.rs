//! When another attempt is made, how many there may be, and what is held back until it is whole.

use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use super::{OK, Word, app, failing_while, gets, with};

/// An origin whose first attempts wait for nobody until the word is given, and from then on for ever.
fn dozing(word: &Word) -> Scripted {
    let word = word.clone();
    Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            if word.is_so() && request.field("x-envoy-attempt-count").is_none() {
                peer.connection.rest();
                return;
            }
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    })
}

/// How long an answer takes whose first attempt is stuck.
fn rescue(proxy: &Proxy) -> Duration {
    let start = Instant::now();
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    start.elapsed()
}

#[test]
fn a_try_is_stuck_after_the_time_that_was_given_or_never() {
    let stuck = Word::default();
    stuck.say(true);
    let origins = [dozing(&stuck), dozing(&stuck)];
    let addresses = origins.each_ref().map(|origin| origin.address);
    // What is learned has its ceiling until enough is known.
    for try_timeout in [json!("700ms"), json!({ "ceiling": "700ms" })] {
        let proxy = Proxy::start(&with(&addresses, json!({ "per_try_timeout": try_timeout, "hedge": "off" })));
        let took = rescue(&proxy);
        assert!((700..7000).contains(&took.as_millis()), "{try_timeout}: {took:?}");
    }
    let policies = json!({ "per_try_timeout": "off", "hedge": "off", "timeout": "1500ms" });
    let proxy = Proxy::start(&with(&addresses, policies));
    let before = origins.iter().map(Scripted::requests).sum::<usize>();
    assert_eq!(get(proxy.address, "a", "/").status(), 504);
    assert_eq!(origins.iter().map(Scripted::requests).sum::<usize>() - before, 1);
}

#[test]
fn what_is_learned_of_a_route_is_multiplied_and_kept_between_floor_and_ceiling() {
    let stuck = Word::default();
    let origins = [dozing(&stuck), dozing(&stuck)];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let taught = |try_timeout: Value, hedge: Value| {
        let policies = json!({ "per_try_timeout": try_timeout, "hedge": hedge, "outlier": "off" });
        let proxy = Proxy::start(&with(&addresses, policies));
        let mut learned = Value::Null;
        wait_for("500 answers to be known", SOON, || {
            gets(&proxy, 300);
            learned = app(&proxy)["learned"][0].clone();
            learned["samples"].as_u64() >= Some(500) && learned["per_try"].as_str().unwrap().contains("times the p99")
        });
        (proxy, learned)
    };
    let (proxy, floor) = taught(json!({ "multiple": "150%", "floor": "700ms", "ceiling": "5s" }), json!("off"));
    assert_eq!((&floor["per_try_ms"], &floor["hedge_ms"]), (&json!(700.0), &Value::Null), "{floor}");
    let (_, ceiling) = taught(json!({ "multiple": "10000%", "floor": "1ms", "ceiling": "3ms" }), json!({}));
    assert_eq!(ceiling["per_try_ms"], 3.0, "{ceiling}");
    let (hedging, multiple) =
        taught(json!({ "multiple": "400%", "floor": "1ms", "ceiling": "5s" }), json!({ "floor": "600ms" }));
    let ms = |key: &str| multiple[key].as_f64().unwrap();
    assert!((ms("per_try_ms") - (4.0 * ms("p99_ms")).max(1.0)).abs() < 0.01, "{multiple}");
    assert_eq!(multiple["hedge_ms"], 600.0, "{multiple}");
    stuck.say(true);
    let took = rescue(&proxy);
    assert!((700..7000).contains(&took.as_millis()), "{took:?}");
    drop(hedging);
}

#[test]
fn hedges_are_no_more_than_their_share_of_requests() {
    let slow = Word::default();
    let word = slow.clone();
    // First attempts are slow when the word says so, second ones never.
    let play = move |peer: &mut chaos_tests::fleet::Peer| {
        while let Some(request) = peer.request() {
            if word.is_so() && request.field("x-envoy-attempt-count").is_none() {
                std::thread::sleep(Duration::from_millis(30));
            }
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    };
    let origins = [Scripted::start(play.clone()), Scripted::start(play)];
    let addresses = origins.each_ref().map(|origin| origin.address);
    // How many there were, and how many there may have been: the share, and a half in a second, of which ten seconds are there
    // from the start.
    let hedges = |share: f64| {
        slow.say(false);
        let hedge = json!({ "share": format!("{}%", share * 100.0), "floor": "3ms" });
        let policies = json!({ "per_try_timeout": "off", "hedge": hedge, "outlier": "off",
            "limit": { "adaptive": false }, "retries": { "budget": "100%", "min_per_second": 0 } });
        let (proxy, start) = (Proxy::start(&with(&addresses, policies)), Instant::now());
        let mut asked = 0;
        let mut ask = |times| {
            gets(&proxy, times);
            asked += times;
        };
        wait_for("the p99 to be known", SOON, || {
            ask(50);
            share == 0.0 || app(&proxy)["learned"][0]["hedge_ms"].as_f64().is_some_and(|ms| ms < 15.0)
        });
        slow.say(true);
        ask(50);
        let most = asked as f64 * share + 5.0 + 0.5 * (start.elapsed().as_secs_f64() + 1.0);
        wait_for("all to be counted", SOON, || {
            proxy.metric("outrigger_requests_total", &["app"]).iter().sum::<f64>() == asked as f64
        });
        (proxy.metric("outrigger_hedges_total", &["app"]).iter().sum::<f64>(), most)
    };
    assert_eq!(hedges(0.0).0, 0.0);
    let ((few, most), (many, _)) = (hedges(0.01), hedges(1.0));
    // All 50 that are slow would be hedged. On a busy machine what is learned may soon be slower than these.
    assert!(few <= most && many >= 3.0, "{few}, {most} at most, and {many} where all may be");
}

#[test]
fn a_post_is_tried_again_where_any_method_may_be() {
    let dead = Word::default();
    dead.say(true);
    let (bad, good) = (failing_while(&dead, OK), Origin::named("good"));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    for any_method in [true, false] {
        let policies = json!({ "outlier": "off", "per_try_timeout": "off",
            "retries": { "any_method": any_method, "budget": "100%", "min_per_second": 100 } });
        let proxy = Proxy::start(&with(&[bad.address, good.address], policies));
        let statuses: Vec<_> = (0..6).map(|_| ask(proxy.address, post).status()).collect();
        assert_eq!(!statuses.contains(&503), any_method, "{statuses:?}");
    }
}

#[test]
fn the_budget_is_a_share_of_requests_and_the_floor_is_tokens_a_second() {
    let dead = Word::default();
    let origins = [failing_while(&dead, OK), failing_while(&dead, OK)];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let start = |budget: &str, min_per_second: u32| {
        dead.say(false);
        let policies = json!({ "outlier": "off", "breaker": "off", "per_try_timeout": "off", "hedge": "off",
            "retries": { "max": 1, "budget": budget, "min_per_second": min_per_second } });
        Proxy::start(&with(&addresses, policies))
    };
    // Attempts beyond those of 100 requests that all fail.
    let further = |proxy: &Proxy| {
        dead.say(true);
        let before = origins.iter().map(Scripted::requests).sum::<usize>();
        gets(proxy, 100);
        origins.iter().map(Scripted::requests).sum::<usize>() - before - 100
    };
    let paid = |budget: &str, tokens: f64| {
        let (proxy, mut requests) = (start(budget, 0), 100);
        wait_for("what was paid in", SOON, || {
            gets(&proxy, 20);
            requests += 20;
            proxy.metric("outrigger_retry_budget_tokens", &["app"])[0] >= tokens
        });
        (further(&proxy), requests)
    };
    assert_eq!(further(&start("0%", 0)), 0);
    let ((tenth, of), (whole, of_whole)) = (paid("10%", 10.0), paid("100%", 80.0));
    assert!(tenth >= 5 && tenth * 10 <= of, "{tenth} further attempts for {of} requests");
    assert!(whole >= 40 && whole <= of_whole, "{whole} further attempts for {of_whole} requests");
    // Ten seconds of it are there from the start, half of which whatever fails everywhere may have.
    let (proxy, began) = (start("0%", 9), Instant::now());
    let (floor, took) = (further(&proxy), began.elapsed().as_secs_f64());
    assert!(floor >= 45 && floor as f64 <= 90.0 + 9.0 * (took + 1.0), "{floor} within {took} s");
}

#[test]
fn answers_up_to_a_size_are_held_and_larger_ones_not() {
    let go = Word::default();
    let word = go.clone();
    let origin = Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            let bytes: usize = request.head.target()[1..].parse().unwrap();
            peer.connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\nhalf"));
            word.wait();
            peer.connection.send("x".repeat(bytes - 4));
        }
    });
    let start = |hold: Value| Proxy::start(&with(&[origin.address], json!({ "timeout": "60s", "hold": hold })));
    let begin = |proxy: &Proxy, bytes: usize| {
        let mut client = Connection::open(proxy.address);
        client.send(format!("GET /{bytes} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        client
    };
    let (holding, off) = (start(json!({ "max_size": "1KiB" })), start(json!("off")));
    let mut small = begin(&holding, 1024);
    wait_for("what is held", SOON, || holding.metric("outrigger_held_bytes", &[]).iter().sum::<f64>() == 1024.0);
    for (proxy, bytes) in [(&holding, 1025), (&off, 100)] {
        let mut client = begin(proxy, bytes);
        assert_eq!(client.head().expect("a head while the rest is still to come").status(), 200, "{bytes}");
    }
    go.say(true);
    assert_eq!(small.answer().body.len(), 1024);
}

#[test]
fn an_answer_of_unknown_length_that_breaks_off_while_it_is_held_is_asked_for_again() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (unknown_for, whole) in [("10s", true), ("0s", false)] {
        let bad = Scripted::start(move |peer| {
            if peer.request().is_some() {
                peer.connection.send(begun);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let good = Scripted::answering(format!("{begun}0\r\n\r\n"));
        let policies = json!({ "hold": { "unknown_for": unknown_for }, "hedge": "off", "per_try_timeout": "off" });
        let proxy = Proxy::start(&with(&[bad.address, good.address], policies));
        let answers: Vec<_> = (0..2)
            .map(|_| {
                let mut client = Connection::open(proxy.address);
                client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                client.try_answer("GET").is_ok_and(|answer| answer.text() == "hello")
            })
            .collect();
        assert_eq!(answers.iter().all(|answer| *answer), whole, "{unknown_for}: {answers:?}");
    }
}

#[test]
fn a_copy_is_of_use_until_so_long_past_its_freshness() {
    let dead = Word::default();
    let good = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 2\r\n\r\nok";
    let origin = failing_while(&dead, good);
    let policies = json!({ "fallback": { "stale": "1s" }, "retries": { "max": 0 }, "breaker": "off" });
    let proxy = Proxy::start(&with(&[origin.address], policies));
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    let answered = Instant::now();
    dead.say(true);
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    wait_for("the copy to be too old", SOON, || get(proxy.address, "a", "/").status() == 503);
    // One second of freshness and one past it, but for the milliseconds by which the answer was there before it was here.
    assert!(answered.elapsed() >= Duration::from_millis(1900), "after {:?} already", answered.elapsed());
}
