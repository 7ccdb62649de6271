//! What a drill writes, and what a later one is compared with.

use std::process::{Command, Output};

use chaos_tests::proxy::binary;
use serde_json::{Value, json};

use crate::stage::{Product, assert_ended, run};

fn drill(arguments: &[&str]) -> Output {
    Command::new(binary()).arg("drill").args(arguments).output().unwrap()
}

#[test]
fn a_matrix_is_written_in_every_form_and_read_back() {
    let product = Product::start();
    let mut plan = product.plan("300ms");
    plan["dependencies"] =
        json!([{ "service": "app", "faults": ["down", "slow", "errors", "reset", "hang"], "slow": "50ms" }]);
    plan["probes"][0]["timeout"] = json!("500ms");
    let path = product.write(&plan);
    let file = |name: &str| product.file(name).to_str().unwrap().to_owned();
    let (matrix, report, markdown, junit, html) =
        (file("m.json"), file("r.json"), file("m.md"), file("m.xml"), file("m.html"));
    let output = run(
        &path,
        &["--json", &matrix, "--report", &report, "--markdown", &markdown, "--junit", &junit, "--html", &html],
    );
    let said = assert_ended(&output, 0);
    assert!(said.contains("10 rows, 10 cells: 2 available, 0 degraded, 8 unavailable"), "{said}");
    product.is_as_before();

    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    let bare: Value = serde_json::from_str(&text(&matrix)).unwrap();
    let rows = bare["rows"].as_array().unwrap();
    let told = |row: &Value| {
        format!("{} {} {} {}", row["fault"], row["place"], row["struck"], row["cells"]["page"]).replace('"', "")
    };
    assert_eq!(
        rows.iter().map(told).collect::<Vec<_>>(),
        [
            "down upstream true unavailable",
            "down edge true unavailable",
            "slow upstream true available",
            "slow edge true available",
            "errors upstream true unavailable",
            "errors edge true unavailable",
            "reset upstream true unavailable",
            "reset edge true unavailable",
            "hang upstream true unavailable",
            "hang edge true unavailable",
        ]
    );
    assert_eq!(bare["rows"][0].get("evidence"), None);
    let full: Value = serde_json::from_str(&text(&report)).unwrap();
    assert!(full["rows"][0]["evidence"]["injected"].as_u64() > Some(0), "{full}");
    assert!(full["rows"][9]["evidence"]["tries"]["page"]["why"]["no answer within 500ms"].as_u64() > Some(0), "{full}");

    // Each of them again, from what was saved.
    for (form, path) in [("--markdown", &markdown), ("--junit", &junit), ("--html", &html), ("--json", &matrix)] {
        let again = drill(&["matrix", &report, form, "-"]);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), text(path), "{form}");
    }
    let same = drill(&["matrix", &matrix, "--baseline", &report]);
    assert!(assert_ended(&same, 0).contains("as in the baseline"));
}

#[test]
fn what_got_worse_ends_with_5_and_is_explained() {
    let product = Product::start();
    let mut plan = product.plan("300ms");
    let matrix = product.file("matrix.json").to_str().unwrap().to_owned();
    plan["dependencies"][0]["faults"] = json!(["slow"]);
    plan["slow"] = json!("10ms");
    assert_ended(&run(&product.write(&plan), &["--json", &matrix]), 0);
    // The same again is as good.
    assert_ended(&run(&product.write(&plan), &["--baseline", &matrix]), 0);
    // Now it is slower than its users wait.
    plan["slow"] = json!("5s");
    plan["probes"][0]["timeout"] = json!("300ms");
    let said = assert_ended(&run(&product.write(&plan), &["--baseline", &matrix]), 5);
    for part in [
        "1 cell is worse than the baseline",
        "page under app slow (edge): was available, is unavailable",
        "injected  every answer comes 5s later; struck ",
        "x no answer within 300ms",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    // And what is not drilled any more is worse, too.
    plan["dependencies"][0]["faults"] = json!(["errors"]);
    let said = assert_ended(&run(&product.write(&plan), &["--baseline", &matrix]), 5);
    assert!(said.contains("was available, is not drilled"), "{said}");
    product.is_as_before();
}

#[test]
fn a_plan_is_checked_without_asking_anybody() {
    let product = Product::start();
    let mut plan = product.plan("300ms");
    plan["admin"] = json!("http://127.0.0.1:1");
    let checked = drill(&["check", product.write(&plan).to_str().unwrap()]);
    let said = assert_ended(&checked, 0);
    assert!(said.contains("product: 1 row by 1 probe, at least 300ms"), "{said}");
    assert!(said.contains("every request is answered 503"), "{said}");
    assert_eq!(product.added(), 0);
}

#[test]
fn where_applications_have_a_sidecar_each_a_fault_is_injected_where_its_service_is_known() {
    let (product, other) = (Product::start(), Product::named("other"));
    let mut plan = product.plan("300ms");
    let mut probe = other.plan("1s")["probes"][0].clone();
    probe["name"] = json!("second");
    plan["probes"].as_array_mut().unwrap().push(probe);
    plan["admin"] = json!([format!("http://{}", product.proxy.admin), format!("http://{}", other.proxy.admin)]);
    plan["dependencies"] = json!([
        { "service": "app", "faults": ["down"], "places": ["edge"] },
        { "service": "other", "faults": ["down"], "places": ["edge"] },
    ]);
    let matrix = product.file("m.json");
    assert_ended(&run(&product.write(&plan), &["--json", matrix.to_str().unwrap()]), 0);
    let matrix: Value = serde_json::from_str(&std::fs::read_to_string(matrix).unwrap()).unwrap();
    assert_eq!(matrix["rows"][0]["cells"], json!({ "page": "unavailable", "second": "available" }));
    assert_eq!(matrix["rows"][1]["cells"], json!({ "page": "available", "second": "unavailable" }));
    product.is_as_before();
    other.is_as_before();
    plan["dependencies"][1]["service"] = json!("nobody");
    assert!(assert_ended(&run(&product.write(&plan), &[]), 2).contains("there is no service `nobody`"));
}
