use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn entry(service: Value, checks: Value) -> Value {
    let mut whole = json!({
        "Node": {"ID": "x", "Node": "n1", "Address": "10.0.0.9", "Datacenter": "dc1", "Meta": {"zone": "node-zone"}},
        "Service": {"ID": "web-1", "Service": "web", "Address": "10.0.0.1", "Port": 80, "Tags": null, "Meta": null,
                    "Weights": {"Passing": 10, "Warning": 3}},
        "Checks": checks,
    });
    for (key, value) in service.as_object().unwrap() {
        whole["Service"][key] = value.clone();
    }
    whole
}

fn read(entries: Value) -> InstanceSet {
    instances(entries.to_string().as_bytes(), true).unwrap()
}

fn one(entries: Value) -> Instance {
    let set = read(entries);
    assert_eq!((set.instances().len(), set.skipped().len()), (1, 0), "{set:?}");
    set.instances()[0].clone()
}

fn status(status: &str) -> Value {
    json!([{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "c", "Status": status}])
}

#[test]
fn what_consul_knows_is_carried() {
    let service = json!({"Tags": ["v2", "canary"], "Meta": {"zone": "a", "k": "v"}});
    let instance = one(json!([entry(service, status("passing"))]));
    assert_eq!(&*instance.id.0, "dc1/n1/web-1");
    assert_eq!((&*instance.host, instance.port, instance.weight), ("10.0.0.1", 80, 10));
    assert_eq!(instance.health, Health::Passing);
    assert_eq!(instance.tags, ["v2".into(), "canary".into()]);
    assert_eq!(instance.meta.get("k").map(|v| &**v), Some("v"));
    assert_eq!((instance.datacenter.as_deref(), instance.zone.as_deref()), (Some("dc1"), Some("a")));
}

#[test]
fn an_empty_service_address_means_the_nodes() {
    assert_eq!(&*one(json!([entry(json!({"Address": ""}), json!(null))])).host, "10.0.0.9");
}

#[test]
fn health_is_the_worst_of_all_checks_and_chooses_the_weight() {
    for (word, health, weight) in [
        ("passing", Health::Passing, 10),
        ("warning", Health::Warning, 3),
        ("critical", Health::Critical, 0),
        ("unheard-of", Health::Critical, 0),
    ] {
        let instance = one(json!([entry(json!({}), status(word))]));
        assert_eq!((instance.health, instance.weight), (health, weight), "{word}");
    }
}

#[test]
fn a_warning_weighs_nothing_where_warnings_are_excluded() {
    let json = json!([entry(json!({}), status("warning"))]).to_string();
    let set = instances(json.as_bytes(), false).unwrap();
    assert_eq!((set.instances()[0].health, set.instances()[0].weight), (Health::Warning, 0));
}

#[test]
fn maintenance_is_critical_whatever_its_status_says() {
    for id in ["_node_maintenance", "_service_maintenance:web-1"] {
        let checks = json!([{"CheckID": id, "Status": "passing"}]);
        assert_eq!(one(json!([entry(json!({}), checks)])).health, Health::Critical, "{id}");
    }
}

#[test]
fn a_critical_instance_stays_in_the_set() {
    let set = read(json!([entry(json!({}), status("critical"))]));
    assert_eq!(set.instances().len(), 1);
}

#[test]
fn the_zone_is_the_services_then_the_nodes_then_the_localitys() {
    let mut without = entry(json!({"Locality": {"Region": "r", "Zone": "l"}}), json!([]));
    assert_eq!(one(json!([without.clone()])).zone.as_deref(), Some("node-zone"));
    without["Node"]["Meta"] = json!(null);
    assert_eq!(one(json!([without])).zone.as_deref(), Some("l"));
}

#[test]
fn partition_and_peer_are_part_of_who_it_is() {
    let mut foreign = entry(json!({}), json!([]));
    foreign["Node"]["Partition"] = json!("east");
    foreign["Node"]["PeerName"] = json!("other");
    assert_eq!(&*one(json!([foreign])).id.0, "dc1/east/peer:other/n1/web-1");
}

#[test]
fn an_instance_that_cannot_be_dialled_is_skipped_with_its_reason() {
    for (service, reason) in [
        (json!({"Port": 0}), "port is 0"),
        (json!({"Port": -1}), "port is -1"),
        (json!({"Port": 70000}), "port is 70000"),
        (json!({"Address": "10.0.0.300"}), "neither an IP address nor a host name"),
        (json!({"Address": "a b"}), "neither an IP address nor a host name"),
        (json!({"Address": "http://h"}), "neither an IP address nor a host name"),
        (json!({"Address": "h:80"}), "neither an IP address nor a host name"),
    ] {
        let set = read(json!([entry(service, json!([])), entry(json!({"ID": "good"}), json!([]))]));
        assert_eq!(set.instances().len(), 1);
        assert!(set.skipped()[0].reason.contains(reason), "{:?}", set.skipped());
    }
    let mut nowhere = entry(json!({"Address": ""}), json!([]));
    nowhere["Node"]["Address"] = json!("");
    assert_eq!(read(json!([nowhere])).skipped()[0].reason, "address is empty");
}

#[test]
fn addresses_and_host_names_are_told_from_nonsense() {
    for good in ["10.0.0.1", "::1", "[2001:db8::1]", "db", "my_db.internal", "a-b.c.", "1a"] {
        assert!(host(good).is_ok(), "{good}");
    }
    assert_eq!(&*host("[::1]").unwrap(), "::1");
    for bad in [
        "",
        ".",
        "a..b",
        "1.2.3",
        "1.2.3.4.5",
        "[::1",
        "fe80::1%eth0",
        "a\nb",
        "h/x",
        &"a".repeat(64),
        &"a.".repeat(130),
    ] {
        assert!(host(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answer_of_another_form_is_refused_whole() {
    let good = entry(json!({}), json!([]));
    for bad in ["", "null", "{}", "<html>", "[1]", "[{}]", "[{\"Node\":{}}]"] {
        assert!(instances(bad.as_bytes(), true).is_err(), "{bad}");
    }
    let whole = json!([good]).to_string();
    for end in 0..whole.len() {
        assert!(instances(&whole.as_bytes()[..end], true).is_err(), "cut at {end}");
    }
    assert!(instances("[".repeat(100_000).as_bytes(), true).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = instances(&bytes, true);
    }

    #[test]
    fn what_comes_out_can_be_dialled(address in "\\PC{0,20}", port in any::<i64>(), weight in any::<i64>()) {
        let service = json!({"Address": address, "Port": port, "Weights": {"Passing": weight, "Warning": weight}});
        let set = read(json!([entry(service, json!([]))]));
        for instance in set.instances() {
            prop_assert!(instance.port > 0 && !instance.host.is_empty());
            prop_assert!(!instance.host.contains(|c: char| c.is_whitespace() || c == '/' || c == '['));
        }
        prop_assert_eq!(set.instances().len() + set.skipped().len(), 1);
    }
}
