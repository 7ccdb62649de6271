//! What the proxy is worth, in its own numbers.

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, POST, one_by_one, printed};

#[test]
fn availability_is_told_before_and_after_with_what_rescued_and_what_was_lost() {
    let (bad, good) = (Scripted::faulty(Fault::Status(503)), Scripted::answering(OK));
    let mut config = one_by_one(&[bad.address, good.address]);
    // The bad one keeps its turns, so that it is known what there is to count.
    config["services"]["app"]["outlier"] = json!("off");
    let proxy = Proxy::start(&config);
    let mut first = 0;
    for _ in 0..20 {
        let before = bad.requests();
        assert_eq!(get(proxy.address, "a", "/").status(), 200);
        first += u64::from(bad.requests() > before);
    }
    let posts: Vec<_> = (0..4).map(|_| ask(proxy.address, POST).status()).collect();
    let lost = posts.iter().filter(|status| **status == 503).count() as u64;
    assert!(first > 0, "the bad one was never asked first");
    let told = || serde_json::from_str::<Value>(&printed(&proxy, &["availability", "--json"])).expect("JSON");
    wait_for("all requests to be counted", SOON, || told()["services"][0]["requests"] == 24);
    let told = told();
    let app = &told["services"][0];
    assert_eq!((&app["name"], &app["rescued"]["retry"]), (&"app".into(), &first.into()), "{app}");
    assert_eq!((&app["first"]["failed"], &app["failure"]), (&(first + lost).into(), &lost.into()), "{app}");
    let share = |key: &str| app[key].as_f64().expect("a share");
    assert!((share("before") - (24 - first - lost) as f64 / 24.0).abs() < 1e-9, "{app}");
    assert!((share("after") - (24 - lost) as f64 / 24.0).abs() < 1e-9, "{app}");
    assert_eq!(app["lost"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>(), lost, "{app}");

    let table = printed(&proxy, &["availability"]);
    let row = table.lines().find(|line| line.starts_with("app ")).expect("its row");
    let percent = |share: f64| format!("{:.2}", share * 100.0 - 0.005);
    for part in [format!("retry {first}"), percent(share("before"))] {
        assert!(row.contains(&part), "{part:?} is not in\n{table}");
    }
    assert!(table.contains("BEFORE") && table.contains("AFTER") && table.contains("RESCUED BY"), "{table}");
}
