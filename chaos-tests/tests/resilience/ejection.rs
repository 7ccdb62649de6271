//! Who is left out, when somebody else has to be.

use std::net::SocketAddr;

use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, Word, failing_while, in_turn};

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
