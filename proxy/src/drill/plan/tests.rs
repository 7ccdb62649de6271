use super::*;
use crate::fault::guard::Level;

const SHOP: &str = "
name: shop
probes:
  - { name: storefront, url: 'http://127.0.0.1:7002/' }
  - name: checkout
    url: http://127.0.0.1:7001/checkout
    method: POST
    headers: { x-user: ada }
    body: '{}'
    timeout: 700ms
    hold: 90%
    available: { status: [200, 201], body_contains: paid }
    degraded: { status: 202, headers: { x-pending: '*' } }
dependencies:
  - { service: payments }
  - { proxy: cache, faults: [down, hang] }
  - { name: one payments, service: payments, endpoints: 1, faults: [down] }
  - { service: catalogue, faults: [errors], places: [upstream], errors: { status: 503, share: 30% } }
  - { service: catalogue, faults: [errors], places: [edge], errors: { every: 3 } }
slow: 1s
guards:
  - { metric: success, service: billing, below: 99%, over: 5s }
  - { metric: outrigger_requests_total, above: 1000 }
";

fn parse(text: &str) -> Result<Plan, String> {
    Plan::parse("drill.yaml", text, &|_| None).map_err(|errors| errors.to_string())
}

#[test]
fn a_plan_is_rows_of_faults_and_columns_of_probes() {
    let plan = parse(SHOP).unwrap();
    let rows: Vec<_> = plan
        .rows
        .iter()
        .map(|row| format!("{} {} {} by {}", row.dependency, row.fault.name(), row.place.name(), row.spec.kind))
        .collect();
    assert_eq!(
        rows,
        [
            "payments down upstream by down",
            "payments down edge by abort",
            "payments slow upstream by delay",
            "payments slow edge by delay",
            "cache down upstream by down",
            "cache hang upstream by timeout",
            "one payments down upstream by down",
            "catalogue errors upstream by abort",
            "catalogue errors edge by abort",
        ]
    );
    assert_eq!(plan.rows[2].what, "every answer comes 1s later");
    assert_eq!(plan.rows[6].what, "connections are refused and broken, at 1 of its instances");
    assert_eq!(plan.rows[7].what, "30% of the requests are answered 503");
    assert_eq!((plan.rows[8].what.as_str(), plan.rows[8].spec.every), ("every 3rd request is answered 500", Some(3)));
    let probe = &plan.probes[1];
    assert_eq!((probe.method.as_str(), probe.hold, probe.timeout), ("POST", 0.9, Duration::from_millis(700)));
    assert_eq!((plan.probes[0].hold, plan.probes[0].available.status.len()), (0.95, 0));
    assert_eq!(plan.guards[0].below, Some(Level::Text("99%".into())));
    assert_eq!(plan.guards[1].above, Some(Level::Number(1000.0)));
    assert_eq!(plan.admins[0].to_string(), "http://127.0.0.1:9901/");
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "
name: shop
duraton: 3s
settle: 6s
probes:
  - { name: a, url: 'https://x/' }
  - { name: b, url: 'http://x/', hold: 0% }
  - { name: b, url: 'http://x/' }
dependencies:
  - { service: a, proxy: b }
  - { proxy: c, faults: [errors] }
  - { service: d, endpoints: 1, places: [edge] }
  - { service: e, faults: [dwon] }
guards: [{ metric: success, below: 99% }]
";
    let told = parse(text).unwrap_err();
    for part in [
        "drill.yaml:3:1: duraton: unknown key `duraton`; did you mean `duration`?",
        "drill.yaml:4:9: settle: expected less than `duration`",
        "probes[0].url: found `https://x/`",
        "drill.yaml:7:40: probes[1].hold: found 0%",
        "probes[2].name: found `b` a second time",
        "dependencies[0]: expected either `service` or `proxy`",
        "dependencies[1].faults: `errors` are answers to requests",
        "dependencies[2].endpoints: an edge fault is above the choice of an instance",
        "dependencies[3].faults[0]: found `dwon`, expected `down`, `slow`, `errors`, `hang` or `reset`; did you mean `down`?",
        "guards[0].service: expected whose `success` it is about",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(told.lines().count(), 10, "{told}");
}

#[test]
fn an_empty_plan_is_told_what_it_lacks() {
    let told = parse("").unwrap_err();
    for part in [
        "name: expected what the drill is called",
        "probes: expected at least one",
        "dependencies: expected at least one",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn environment_variables_are_put_in_and_a_row_is_not_made_twice() {
    let text = "{name: x, admin: '${ADMIN}', probes: [{name: p, url: 'http://x'}], dependencies: [{service: a}]}";
    let plan = Plan::parse("x", text, &|name| (name == "ADMIN").then(|| "http://127.0.0.1:1".to_owned())).unwrap();
    assert_eq!(plan.admins[0].port, 1);
    let twice = text.replace("${ADMIN}", "http://127.0.0.1:1").replace("{service: a}", "{service: a}, {service: a}");
    assert!(parse(&twice).unwrap_err().contains("`a` is down at upstream a second time"));
}

#[test]
fn the_documentation_has_a_plan_that_works_and_the_rules_of_maturity() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drills.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    assert_eq!(parse(text).unwrap().rows.len(), 12);
    for (level, name, rule) in crate::drill::maturity::RULES {
        assert!(page.contains(&format!("| {level} | {name} | {rule} |")), "level {level}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}", at in 0..SHOP.len(), cut in 0..40_usize, put in "[a-z0-9:{}\\[\\]%, -]{0,8}") {
        let _ = parse(&text);
        // A plan with something else in some place is more likely to be nearly right.
        let _ = parse(&format!("{}{put}{}", &SHOP[..at], &SHOP[(at + cut).min(SHOP.len())..]));
    }
}
