//! Who is left out, when somebody else has to be.

use std::net::SocketAddr;

use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{self, Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, Word, failing_while, get_with, in_turn, metric, record};

/// An instance's state. A pool's order is its own.
fn state(proxy: &Proxy, address: SocketAddr) -> Value {
    let app = proxy.admin("/api/v1/services/app").expect("an answer");
    let app: Value = serde_json::from_slice(&app.body).expect("JSON");
    let endpoints = app["endpoints"].as_array().expect("endpoints");
    let wanted = endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string());
    wanted.expect("the instance")["state"].clone()
}

#[test]
fn of_two_instances_the_one_that_recovered_serves_when_the_other_dies_however_long_it_would_be_out() {
    let words = [Word::default(), Word::default()];
    let origins = words.each_ref().map(|word| failing_while(word, OK));
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    config["services"]["app"]["outlier"] = json!({ "base_ejection": "10m", "max_ejection": "10m" });
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.answer().status()
    };
    words[0].say(true);
    wait_for("the first to be ejected", SOON, || ask() == 200 && state(&proxy, origins[0].address) == "ejected");
    words[0].say(false);
    words[1].say(true);
    let failed = (0..100).filter(|_| ask() != 200).count();
    assert!(failed <= 1, "{failed} of 100 failed");
    wait_for("the second to be ejected", SOON, || ask() == 200 && state(&proxy, origins[1].address) == "ejected");
    let before = origins[1].requests();
    assert!((0..100).all(|_| ask() == 200));
    assert!(origins[1].requests() - before < 20, "the dead one gets its share");
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
}

#[test]
fn metrics_and_explain_say_when_requests_go_to_an_ejected_instance_for_want_of_another() {
    let words = [Word::default(), Word::default()];
    let origins = words.each_ref().map(|word| failing_while(word, OK));
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    config["services"]["app"]["outlier"] = json!({ "base_ejection": "10m", "max_ejection": "10m" });
    config["services"]["app"]["breaker"] = json!("off");
    let proxy = Proxy::start(&config);
    let ask = || get(proxy.address, "a", "/").status();
    words[0].say(true);
    wait_for("the first to be ejected", SOON, || ask() == 200 && state(&proxy, origins[0].address) == "ejected");
    assert_eq!(metric(&proxy, "outrigger_fail_open", &["service=\"app\""]), 0.0);
    // The other one fails, and a second attempt finds nobody but the ejected one.
    words[1].say(true);
    wait_for("the metric", SOON, || {
        ask();
        metric(&proxy, "outrigger_fail_open", &["service=\"app\""]) == 1.0
    });
    let answer = raw::ask(proxy.address, get_with("/", &[("x-outrigger-explain", "1")]));
    let told = record(&proxy, &answer).to_string();
    assert!(told.contains("\"fail_open\":true"), "{told}");
    words.iter().for_each(|word| word.say(false));
    wait_for("the end of it", SOON, || {
        ask();
        metric(&proxy, "outrigger_fail_open", &["service=\"app\""]) == 0.0
    });
}
