//! Who is left out, for how long, and when nobody is asked any more.

use std::time::{Duration, Instant};

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use super::{OK, UNAVAILABLE, Word, app, failing_while, gets, with};

/// A service of which nothing but its outlier detection disturbs anything.
fn judged(instances: &[&Scripted], outlier: Value) -> Proxy {
    let addresses: Vec<_> = instances.iter().map(|instance| instance.address).collect();
    let retries = json!({ "max": 1, "budget": "100%", "min_per_second": 1000 });
    let policies = json!({ "outlier": outlier, "retries": retries, "hedge": "off", "per_try_timeout": "off",
        "breaker": "off", "slow_start": "0s" });
    Proxy::start(&with(&addresses, policies))
}

fn ejected(proxy: &Proxy) -> usize {
    let app = app(proxy);
    app["endpoints"].as_array().unwrap().iter().filter(|endpoint| endpoint["state"] == "ejected").count()
}

#[test]
fn an_instance_is_left_out_after_so_many_failures_in_a_row_and_for_so_long() {
    let (good, bad) = (Scripted::answering(OK), Scripted::answering(UNAVAILABLE));
    let proxy = judged(&[&good, &bad], json!({ "consecutive": 7, "base_ejection": "10m", "max_ejection": "10m" }));
    wait_for("the ejection", SOON, || {
        gets(&proxy, 1);
        ejected(&proxy) == 1
    });
    gets(&proxy, 50);
    assert_eq!(bad.requests(), 7);

    let (good, bad) = (Scripted::answering(OK), Scripted::answering(UNAVAILABLE));
    let other = Scripted::answering(OK);
    let proxy = judged(&[&good, &other, &bad], json!({ "consecutive": 2, "base_ejection": "1s" }));
    let asked = |times: usize| {
        let mut before = Instant::now();
        wait_for("the instance to be asked", SOON, || {
            if bad.requests() < times {
                before = Instant::now();
                gets(&proxy, 1);
            }
            bad.requests() >= times
        });
        before
    };
    let out = asked(2);
    let back = asked(3) - out;
    // A fifth below, and no more than ten times as long.
    assert!((Duration::from_millis(790)..Duration::from_secs(10)).contains(&back), "{back:?}");
}

#[test]
fn no_ejection_is_longer_than_the_longest() {
    let (good, bad) = (Scripted::answering(OK), Scripted::answering(UNAVAILABLE));
    let other = Scripted::answering(OK);
    let rules = json!({ "consecutive": 2, "base_ejection": "100ms", "max_ejection": "200ms" });
    let proxy = judged(&[&good, &other, &bad], rules);
    // Ten times take 2 s; doubled each time they would take a minute and a half.
    wait_for("the tenth return", SOON, || {
        gets(&proxy, 1);
        bad.requests() >= 12
    });
}

/// Fails now and then, and never twice in a row.
fn every_second() -> Scripted {
    Scripted::start(|peer| {
        let mut count = 0;
        while peer.request().is_some() {
            count += 1;
            if peer.connection.try_send(if count % 2 == 0 { UNAVAILABLE } else { OK }).is_err() {
                return;
            }
        }
    })
}

/// Answers after so many milliseconds.
fn after(ms: u64) -> Scripted {
    Scripted::start(move |peer| {
        while peer.request().is_some() {
            std::thread::sleep(Duration::from_millis(ms));
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_share_of_failures_counts_from_so_many_attempts_on() {
    let (good, bad) = (Scripted::answering(OK), every_second());
    let rules = |share: &str, least: u32| json!({ "consecutive": 1000, "failure_share": share, "min_attempts": least, "base_ejection": "10m", "max_ejection": "10m" });
    let judged = [rules("60%", 5), rules("40%", 100_000), rules("40%", 5)].map(|rules| judged(&[&good, &bad], rules));
    let mut seen = None;
    wait_for("an ejection, and a look of all", SOON, || {
        judged.iter().for_each(|proxy| gets(proxy, 5));
        if ejected(&judged[2]) == 1 && seen.is_none() {
            assert!(app(&judged[2]).to_string().contains("ejected (share of failures)"), "{}", app(&judged[2]));
            seen = Some(Instant::now());
        }
        // All are looked at once a second.
        seen.is_some_and(|seen| seen.elapsed() > Duration::from_millis(1500))
    });
    assert_eq!([ejected(&judged[0]), ejected(&judged[1])], [0, 0]);
}

#[test]
fn a_latency_counts_from_so_many_times_its_peers_on() {
    let (quick, slow) = (after(40), after(160));
    let rules = |factor: u32| json!({ "latency_factor": factor, "base_ejection": "10m", "max_ejection": "10m" });
    let [strict, lax] = [2, 10].map(|factor| judged(&[&quick, &slow], rules(factor)));
    wait_for("the ejection", SOON, || {
        std::thread::scope(|scope| {
            for proxy in [&strict, &lax] {
                (0..4).for_each(|_| drop(scope.spawn(|| gets(proxy, 4))));
            }
        });
        ejected(&strict) == 1
    });
    assert!(app(&strict).to_string().contains("ejected (latency)"), "{}", app(&strict));
    assert_eq!(ejected(&lax), 0);
}

#[test]
fn no_larger_share_of_a_pool_is_left_out_than_may_be() {
    let good = Scripted::answering(OK);
    let bad = [(); 3].map(|()| Scripted::answering(UNAVAILABLE));
    for (most, out) in [("0%", 0), ("50%", 2), ("100%", 3)] {
        let rules = json!({ "consecutive": 2, "max_ejected": most, "base_ejection": "10m", "max_ejection": "10m" });
        let proxy = judged(&[&good, &bad[0], &bad[1], &bad[2]], rules);
        wait_for("the ejections", SOON, || {
            gets(&proxy, 20);
            ejected(&proxy) == out
        });
        gets(&proxy, 100);
        assert_eq!(ejected(&proxy), out, "{most}");
    }
}

#[test]
fn a_breaker_opens_after_so_many_failures_and_so_long_a_silence_and_lets_one_through_now_and_then() {
    let dead = Word::default();
    let start = |breaker: Value| {
        dead.say(false);
        let origin = failing_while(&dead, OK);
        let policies = json!({ "breaker": breaker, "retries": { "max": 0 }, "outlier": "off" });
        let proxy = Proxy::start(&with(&[origin.address], policies));
        gets(&proxy, 1);
        dead.say(true);
        (proxy, origin)
    };
    let refused = |proxy: &Proxy| get(proxy.address, "a", "/").text().contains("breaker_open");
    let opens = |proxy: &Proxy| {
        let start = Instant::now();
        wait_for("the breaker to open", SOON, || refused(proxy));
        start.elapsed()
    };
    let (proxy, origin) = start(json!({ "consecutive": 9, "silence": "1ms", "probe_every": "10m" }));
    opens(&proxy);
    assert_eq!(origin.requests(), 1 + 9);
    assert!((0..50).all(|_| refused(&proxy)));

    let (proxy, origin) = start(json!({ "consecutive": 2, "silence": "900ms", "probe_every": "300ms" }));
    assert!(opens(&proxy) >= Duration::from_millis(850));
    let (before, since) = (origin.requests(), Instant::now());
    wait_for("three that are let through", SOON, || {
        refused(&proxy);
        origin.requests() >= before + 3
    });
    assert!(since.elapsed() >= Duration::from_millis(590), "{:?}", since.elapsed());

    let (proxy, origin) = start(json!("off"));
    gets(&proxy, 100);
    assert_eq!(origin.requests(), 101);
}
