//! The life of one request, told to whoever asks for it.

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::proxy::{Proxy, free_address};
use chaos_tests::raw::{ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{
    OK, POST, Word, answering_after, error, failing_while, get_with, one_by_one, printed, record, wait_for_metric,
};

#[test]
fn the_life_of_a_request_that_was_tried_again_is_told_to_who_asks_for_it() {
    let (bad, good) = (Scripted::faulty(Fault::Status(503)), Scripted::answering(OK));
    let proxy = Proxy::start(&one_by_one(&[bad.address, good.address]));
    let explained = get_with("/cart?n=1", &[("x-outrigger-explain", "1")]);
    // Until the bad one has the first turn.
    let answer = (0..4).find_map(|_| {
        let before = bad.requests();
        let answer = ask(proxy.address, &explained);
        assert_eq!(answer.status(), 200);
        (bad.requests() > before).then_some(answer)
    });
    let answer = answer.expect("the bad one was never asked");
    assert_eq!(good.last().field("x-outrigger-explain"), None, "the wish goes no further");
    let told = record(&proxy, &answer);
    let attempts: Vec<_> = told["attempts"].as_array().unwrap().iter().map(|a| (&a["endpoint"], &a["start"])).collect();
    let (bad, good) = (bad.address.to_string(), good.address.to_string());
    assert_eq!(attempts, [(&Value::from(&*bad), &"first".into()), (&Value::from(&*good), &"retry".into())]);
    assert_eq!((&told["service"], &told["returned"]["status"]), (&"app".into(), &200.into()));
    assert_eq!(told["returned"]["rescued_by"], "retry", "{told}");

    let id = answer.field("x-request-id").unwrap();
    let page = printed(&proxy, &["explain", id]);
    for line in [
        "/cart?n=…",
        &format!("picked {bad} of 2 candidates"),
        &format!("#1 to {bad} (first attempt)"),
        "#1 answered 503",
        &format!("picked {good} of 1 candidate; not {bad} (tried)"),
        &format!("#2 to {good} (retry)"),
        "#2 answered 200",
        "200, success, rescued by retry",
    ] {
        assert!(page.contains(line), "{line:?} is not in\n{page}");
    }
    let json: Value = serde_json::from_str(&printed(&proxy, &["explain", id, "--json"])).expect("JSON");
    assert_eq!(json, told);
    let list = printed(&proxy, &["explain"]);
    assert!(list.lines().any(|line| line.contains(id) && line.contains("it asked")), "{list}");
}

#[test]
fn a_request_that_fails_is_explained_without_being_asked_and_one_that_goes_well_is_not() {
    let dead = Word::default();
    let origin = failing_while(&dead, OK);
    let proxy = Proxy::start(&one_by_one(&[origin.address]));
    let well = get(proxy.address, "a", "/");
    dead.say(true);
    let failed = ask(proxy.address, POST);
    assert_eq!((well.status(), failed.status()), (200, 503));
    let told = record(&proxy, &failed);
    assert_eq!(told["returned"]["verdict"], "failure", "{told}");
    let list = printed(&proxy, &["explain"]);
    assert!(list.contains(failed.field("x-request-id").unwrap()) && list.contains("it failed"), "{list}");
    assert!(!list.contains(well.field("x-request-id").unwrap()), "{list}");
}

#[test]
fn a_reason_has_one_token_wherever_it_is_told() {
    let silent = Word::default();
    let (dead, stuck) = (free_address(), answering_after(&silent));
    let page = include_str!("../../../docs/errors.md");
    let never = json!({ "max": 0 });
    for (origin, token) in [(dead, "connect_failed"), (stuck.address, "http_response_timeout")] {
        let mut config = one_by_one(&[origin]);
        config["access_log"] = json!(true);
        let app = &mut config["services"]["app"];
        (app["retries"], app["timeout"]) = (never.clone(), json!("200ms"));
        let proxy = Proxy::start(&config);
        let answer = get(proxy.address, "a", "/");
        assert!(error(&answer).contains(&format!("; details=\"{token}: app: ")), "{}", error(&answer));
        let text = format!("outrigger: {} {token}: app: ", answer.status());
        assert!(answer.text().starts_with(&text), "{}", answer.text());
        assert_eq!(record(&proxy, &answer)["returned"]["reason"], token);
        wait_for("the access log", SOON, || proxy.log().contains(&format!("\"reason\":\"{token}\"")));
        let reason = format!("reason=\"{token}\"");
        for (name, label) in [
            ("outrigger_refused_total", &reason),
            ("outrigger_lost_total", &reason),
            ("outrigger_attempts_total", &format!("result=\"{token}\"")),
        ] {
            wait_for_metric(&proxy, name, &["service=\"app\"", label], 1.0);
        }
        let told: Value = serde_json::from_str(&printed(&proxy, &["availability", "--json"])).expect("JSON");
        assert_eq!(told["services"][0]["lost"][token], 1, "{told}");
        assert!(page.contains(&format!("\n## `{token}`\n")), "{token} is not on the page");
    }
}
