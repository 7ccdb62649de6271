//! Drills that do not begin: they end with 2, say why, and nothing was injected.

use chaos_tests::fleet::{Fault, Scripted};
use serde_json::json;

use crate::stage::{Product, assert_ended, run};

#[test]
fn a_drill_does_not_begin_while_the_product_is_not_well() {
    let product = Product::start();
    let mut plan = product.plan("1s");
    plan["probes"][0]["available"] = json!({ "body_contains": "never said" });
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(
        said.contains("the product is not well, and nothing was injected: page: unavailable (status 200, without"),
        "{said}"
    );
    assert_eq!(product.added(), 0);
    product.is_as_before();
}

#[test]
fn a_probe_that_hangs_is_cut_and_refuses_the_drill() {
    let product = Product::start();
    let silent = Scripted::faulty(Fault::Hang);
    let mut plan = product.plan("1s");
    plan["probes"][0]["url"] = json!(format!("http://{}/", silent.address));
    plan["probes"][0]["timeout"] = json!("300ms");
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("page: unavailable (no answer within 300ms)"), "{said}");
    assert_eq!(product.added(), 0);
    product.is_as_before();
}

#[test]
fn an_unknown_service_is_told_before_anything_is_injected() {
    let product = Product::start();
    let mut plan = product.plan("1s");
    plan["dependencies"] = json!([
        { "service": "app", "faults": ["down"], "places": ["edge"] },
        { "service": "ap", "faults": ["down"] },
    ]);
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("`ap`: there is no service `ap`; perhaps `app`"), "{said}");
    assert_eq!(product.added(), 0);
    plan["dependencies"] = json!([{ "proxy": "cache", "faults": ["down"] }]);
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("there is no TCP proxy `cache`"), "{said}");
    product.is_as_before();
}

#[test]
fn a_plan_that_makes_no_sense_is_told_with_its_lines() {
    let product = Product::start();
    let mut plan = product.plan("1s");
    plan["duraton"] = json!("3s");
    plan["dependencies"][0]["faults"] = json!(["dwon"]);
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("unknown key `duraton`; did you mean `duration`?"), "{said}");
    assert!(said.contains("did you mean `down`?") && said.contains("2 errors"), "{said}");
    assert_eq!(product.added(), 0);
}

#[test]
fn a_second_drill_is_refused_while_one_runs() {
    let product = Product::start();
    let plan = product.plan("30s");
    let mut first = product.begin(&plan);
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("the drill `product` of") && said.contains("is running; only one may"), "{said}");
    // The second has taken nothing from the first.
    assert_eq!((product.faults(), first.child.try_wait().unwrap()), (1, None));
    drop(first);
}

#[test]
fn in_production_a_drill_is_refused_unless_it_was_allowed_at_the_start() {
    let product = Product::with("app", json!({}));
    let said = assert_ended(&run(&product.write(&product.plan("1s")), &[]), 2);
    assert!(said.contains("faults are locked there: start it with `faults: { enabled: true }`"), "{said}");
}

#[test]
fn a_guard_on_something_unknown_refuses_the_drill() {
    let product = Product::start();
    let mut plan = product.plan("1s");
    plan["guards"] = json!([{ "metric": "success", "service": "aap", "below": "99%" }]);
    let said = assert_ended(&run(&product.write(&plan), &[]), 2);
    assert!(said.contains("the guard on `success`: there is no service `aap`"), "{said}");
    assert_eq!(product.added(), 0);
    product.is_as_before();
}

#[test]
fn a_baseline_that_cannot_be_read_is_found_out_before_anything_is_injected() {
    let product = Product::start();
    let plan = product.write(&product.plan("1s"));
    let baseline = product.file("matrix.json");
    std::fs::write(&baseline, "{\"schema\": 99}").unwrap();
    let said = assert_ended(&run(&plan, &["--baseline", baseline.to_str().unwrap()]), 2);
    assert!(said.contains("has `schema: 99`"), "{said}");
    assert_eq!(product.added(), 0);
    let said = assert_ended(&run(&plan, &["--only", "payments"]), 2);
    assert!(said.contains("the plan has no dependency `payments`"), "{said}");
}

#[test]
fn nobody_at_the_admin_address_refuses_the_drill() {
    let product = Product::start();
    let nobody = format!("http://{}", chaos_tests::proxy::free_address());
    let said = assert_ended(&run(&product.write(&product.plan("1s")), &["--admin", &nobody]), 2);
    assert!(said.contains("cannot connect") && said.contains("is this its admin address?"), "{said}");
    // Somebody who is no Outrigger.
    let other = Scripted::faulty(Fault::Close);
    let said =
        assert_ended(&run(&product.write(&product.plan("1s")), &["--admin", &format!("http://{}", other.address)]), 2);
    assert!(said.contains("broke off"), "{said}");
}
