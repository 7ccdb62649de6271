use std::time::Duration;

use proptest::prelude::*;

use super::settings::{Balance, RegistrySettings, Source};
use super::{Config, ConfigErrors, Loaded};

mod policies;
mod routing;

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    super::parse("f.yaml", text, &|_| None, |_| ())
}

/// The errors, each as `line: path: message`.
fn errors(text: &str) -> Vec<String> {
    let all = match parse(text) {
        Ok(_) => Vec::new(),
        Err(e) => e.errors,
    };
    all.iter().map(|e| format!("{}: {}: {}", e.mark.map_or(0, |m| m.line), e.path, e.message)).collect()
}

/// Exactly these errors, each begun like this.
#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    let told = errors(text);
    let fits = told.len() == expected.len() && told.iter().zip(expected).all(|(t, e)| t.starts_with(e));
    assert!(fits, "told {told:#?}\nexpected {expected:#?}");
}

#[test]
fn an_empty_file_is_a_good_one() {
    for empty in ["", "{}", "listeners:\nservices:\nroutes:\nhttp:\n# comment\n"] {
        let settings = parse(&empty.replace("listeners:\n", "")).unwrap().settings;
        assert_eq!(settings.listeners[0].address.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.admin.unwrap().to_string(), "127.0.0.1:9901");
        assert_eq!(settings.defaults.timeout, Duration::from_secs(15));
        assert_eq!(settings.http.max_head_bytes, 32 << 10);
        assert_eq!(settings.names.unwrap().registry, None);
        assert!(settings.workers >= 1);
    }
}

#[test]
fn the_narrower_policy_wins_key_by_key() {
    let loaded = parse(
        "registries: {consul: {}}
defaults: {timeout: 5s, balance: round_robin, idle_timeout: null}
services:
  orders: {timeout: 2s, retries: { max: 1 }}
  web:
routes:
- {host: h, service: orders, timeout: 1s}
- {host: h, path: /x, service: web}
",
    )
    .unwrap();
    let s = &loaded.settings;
    let orders = &s.services["orders"].policy;
    assert_eq!((orders.timeout.as_secs(), orders.retries.max, orders.balance), (2, 1, Balance::RoundRobin));
    assert_eq!(orders.idle_timeout, Duration::from_secs(4), "nothing written is nothing said");
    assert_eq!((s.routes[0].parts()[0].policy.timeout.as_secs(), s.routes[0].parts()[0].policy.retries.max), (1, 1));
    assert_eq!(s.routes[1].parts()[0].policy, s.services["web"].policy);
    assert_eq!(s.defaults.timeout.as_secs(), 5);

    let explained = loaded.explain(Some("orders")).unwrap().remove(0);
    let from = |key: &str| {
        let key = explained.policies.iter().find(|k| k.key == key).unwrap();
        format!("{} {} {:?}", key.value, key.from, key.line)
    };
    assert_eq!(from("timeout"), "2s services.orders Some(4)");
    assert_eq!(from("balance"), "round_robin defaults Some(2)");
    assert_eq!(from("max_connections"), "1024 built in None");
    assert_eq!(from("idle_timeout"), "4s built in None");
    let own = &explained.routes[0].policies;
    assert_eq!((own.len(), own[0].key.as_str(), own[0].line), (1, "timeout", Some(7)));
    assert!(loaded.explain(Some("nobody")).is_none());
    assert_eq!(loaded.explain(None).unwrap().len(), 2);
}

#[test]
fn services_come_from_a_registry_or_from_the_file() {
    let s = parse(
        "registries: {main: {type: consul, address: 'http://c:8500'}, file: {path: /etc/services.yaml}}
names: {registry: main, allow: [x]}
services:
  orders: {registry: main, name: Orders-V2, port: 9001}
  old: {instances: ['[::1]:1', {address: 'db:2', weight: 3}], listen: '0.0.0.0:9002'}
",
    )
    .unwrap()
    .settings;
    assert_eq!(s.services["orders"].source, Source::Registry { registry: "main".into(), name: "Orders-V2".into() });
    let Source::Static(instances) = &s.services["old"].source else { panic!() };
    assert_eq!((&*instances[0].host, instances[0].port, instances[0].weight), ("::1", 1, 1));
    assert_eq!((&*instances[1].host, instances[1].port, instances[1].weight), ("db", 2, 3));
    let listeners: Vec<_> = s.listeners.iter().map(|l| (l.address.to_string(), l.service.as_deref())).collect();
    let expected = [("127.0.0.1:8080", None), ("0.0.0.0:9002", Some("old")), ("127.0.0.1:9001", Some("orders"))];
    assert_eq!(listeners, expected.map(|(a, s)| (a.to_owned(), s)));
    assert!(matches!(&s.registries["file"], RegistrySettings::File { path } if path.ends_with("services.yaml")));
    let allow: Vec<_> = s.names.as_ref().unwrap().allow.iter().map(|a| &**a).collect();
    assert_eq!(allow, ["x", "old", "orders"], "what is declared may be used by its name");
}

#[test]
fn every_error_is_told_at_once_and_in_order() {
    wrong(
        "servces: {}
workers: 0
listeners: [{address: nowhere}, {service: x}]
http: {max_head_size: 61KiB, max_headers: many, header_timeout: 0s}
defaults: {timeout: 5, retries: 1}
shutdown: {lame_duck: 30s}
",
        &[
            "1: servces: unknown key `servces`; did you mean `services`?",
            "2: workers: found 0, expected 1 to 1024",
            "3: listeners[0].address: found `nowhere`, expected an IP address and a port",
            "3: listeners[1]: the key `address` is missing",
            "4: http.max_head_size: found 61KiB, expected 1KiB to 60KiB",
            "4: http.max_headers: found `many`, expected a number, 0 or above",
            "4: http.header_timeout: found 0s, expected at least 1ms",
            "5: defaults.timeout: found `5`, a number without a unit",
            "5: defaults.retries: found `1`, expected a map of keys and values",
            "6: shutdown.lame_duck: found 30s, expected less than `shutdown.deadline`, which is 30s",
        ],
    );
}

#[test]
fn wrong_kinds_of_values_say_what_was_found() {
    wrong(
        "services: [a]\nroutes: {a: b}\naccess_log: 'true'\nadmin: 9901\nnames: {allow: '*', max_watches: -1, enabled: [1]}\n",
        &[
            "1: services: found a list, expected a map",
            "2: routes: found a map, expected a list",
            "3: access_log: found the text `true` (in quotes), expected `true` or `false`",
            "4: admin: found `9901`, expected a map",
            "5: names.allow: found the text `*` (in quotes), expected a list",
            "5: names.max_watches: found `-1`, expected a number, 0 or above",
            "5: names.enabled: found a list, expected `true` or `false`",
        ],
    );
    wrong("workers: 5000000000\n", &["1: workers: found `5000000000`, expected a smaller number"]);
    wrong("- a\n", &["1: : found a list, expected a map"]);
    wrong("a\n", &["1: : found `a`, expected a map"]);
}

#[test]
fn names_that_are_not_declared() {
    wrong(
        "registries: {consul: {}}
services: {orders: {}, a: {registry: consol}}
names: {registry: nope}
listeners: [{address: '127.0.0.1:1', service: odrers}]
routes: [{service: order}]
",
        &[
            "2: services.a.registry: found `consol`, expected a registry that is declared under `registries`; did you mean `consul`?",
            "3: names.registry: found `nope`, expected a registry that is declared under `registries`",
            "4: listeners[0].service: found `odrers`, expected a service that is declared under `services`; did you mean `orders`?",
            "5: routes[0].service: found `order`, expected a service that is declared under `services`; did you mean `orders`?",
        ],
    );
}

#[test]
fn one_mistake_is_told_once() {
    wrong("srvices: {a: {instances: ['h:1']}}\nroutes: [{service: a}]\n", &["1: srvices: unknown key"]);
    wrong("services: 5\nroutes: [{service: a}]\n", &["1: services: found `5`, expected a map"]);
    wrong("services: {a: {registry: [x]}}\n", &["1: services.a.registry: found a list"]);
    wrong(
        "services: {a: {instances: ['x']}}\n",
        &["1: services.a.instances[0]: found `x`, expected a host and a port"],
    );
    wrong(
        "registries: {x: {type: cosul}}\nservices: {a: {}}\n",
        &["1: registries.x.type: found `cosul`, expected `consul` or `file`; did you mean `consul`?"],
    );
    wrong(
        "listeners: [{addres: '127.0.0.1:1'}]\n",
        &["1: listeners[0].addres: unknown key `addres`; did you mean `address`?"],
    );
}

#[test]
fn a_place_in_a_list_is_that_in_the_file() {
    wrong(
        "services: {a: {instances: [bad, 'h:1', {address: 'h:2', weight: 70000}]}}\nroutes: [{service: a, path: bad}, {service: b}]\n",
        &[
            "1: services.a.instances[0]: found `bad`",
            "1: services.a.instances[2].weight: found 70000, expected 0 to 65535",
            "2: routes[0].path: found `bad`",
            "2: routes[1].service: found `b`",
        ],
    );
}

#[test]
fn addresses_that_clash() {
    wrong(
        "registries: {consul: {}}
listeners: [{address: '0.0.0.0:8080'}, {address: '127.0.0.1:8080'}, {address: '[::]:8080'}, {address: '0.0.0.0:0'}, {address: '0.0.0.0:0'}]
services:
  a: {port: 9001}
  b: {listen: '127.0.0.1:9001'}
  c: {port: 9001, listen: '127.0.0.2:9001'}
  d: {port: 0}
admin: {address: '127.0.0.1:8080'}
",
        &[
            "2: listeners[1].address: found 127.0.0.1:8080, which `listeners[0].address` listens on already (at 0.0.0.0:8080)",
            "5: services.b.listen: found 127.0.0.1:9001, which `services.a.port` listens on already",
            "6: services.c.port: stands beside `listen`, expected one of them",
            "7: services.d.port: found 0, expected 1 to 65535",
            "8: admin.address: found 127.0.0.1:8080, which `listeners[0].address` listens on already",
        ],
    );
    wrong("listeners: []\n", &["1: listeners: found none, expected at least one address"]);
    assert!(parse("listeners: []\nservices: {a: {port: 1, instances: ['h:1']}}\n").is_ok());
}

#[test]
fn services_that_make_no_sense() {
    wrong(
        "services:
  a: {}
  B: {instances: ['h:1']}
  c: {instances: ['h:1', 'h:1'], registry: x, name: y}
  d: {instances: []}
  e: {instances: ['h:1'], timeout: 0s, retries: { max: 11 }, max_connections: 0}
",
        &[
            "2: services.a: there is no registry to find it in; expected `registry: NAME` or `instances`",
            "3: services.B: expected a name of lower-case letters",
            "4: services.c.instances[1]: found h:1 again",
            "4: services.c.registry: stands beside `instances`",
            "4: services.c.name: stands beside `instances`",
            "5: services.d.instances: found none, expected at least one",
            "6: services.e.timeout: found 0s, expected at least 1ms",
            "6: services.e.retries.max: found 11, expected 0 to 7",
            "6: services.e.max_connections: found 0, expected 1 to 1000000",
        ],
    );
}

#[test]
fn registries_that_make_no_sense() {
    wrong(
        "registries:
  consul: {address: 'ftp://x', path: /x}
  file: {datacenter: dc1}
  other: {}
services: {a: {}}
",
        &[
            "2: registries.consul.address: found `ftp://x`, expected `http://host:port`",
            "2: registries.consul.path: is a key of `type: file`, and this is `consul`",
            "3: registries.file: the key `path` is missing",
            "3: registries.file.datacenter: is a key of `type: consul`, and this is `file`",
            "4: registries.other: the key `type` is missing, expected `consul` or `file`",
            "5: services.a: there are several registries (consul, file, other); expected",
            "0: names: there are several registries",
        ],
    );
    for good in ["127.0.0.1:8500", "http://c:8500/prefix", "https://c", "unix:///run/consul.sock", "http://[::1]:8500"]
    {
        assert!(parse(&format!("registries: {{consul: {{address: '{good}'}}}}")).is_ok(), "{good}");
    }
}

#[test]
fn names_and_routes_that_make_no_sense() {
    wrong(
        "services: {a: {instances: ['h:1']}}
names: {suffixes: [local, .OK, .ok], allow: ['A*', 'a b', 'x-*-y']}
routes:
- {service: a, host: h, path: /x, methods: [PUT, GET]}
- {service: a, host: H., path: /x, methods: [GET, PUT]}
",
        &[
            "2: names.suffixes[0]: found `local`, expected a dot",
            "2: names.suffixes[1]: found `.OK`",
            "2: names.allow[0]: found `A*`",
            "2: names.allow[1]: found `a b`",
            "5: routes[1]: can never be taken: `routes[0]` has the same host, path and methods",
        ],
    );
}

#[test]
fn the_command_line_wins_and_is_checked() {
    let adjust = |config: &mut Config| {
        config.listeners.truncate(1);
        config.listeners[0].address = "127.0.0.1:9901".parse().unwrap();
    };
    let text = "listeners: [{address: '127.0.0.1:1'}, {address: '127.0.0.1:2'}]\n";
    let told = super::parse("f.yaml", text, &|_| None, adjust).unwrap_err();
    assert_eq!(told.errors.len(), 1);
    assert!(told.to_string().contains("admin.address: found 127.0.0.1:9901, which `listeners[0].address`"), "{told}");
    let config = Config { workers: Some(0), ..Config::default() };
    let told = super::from_parts("<arguments>", config).unwrap_err();
    assert_eq!(told.to_string(), "<arguments>: workers: found 0, expected 1 to 1024");
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let told = super::read_file(std::path::Path::new("/nonexistent/f.yaml")).unwrap_err();
    assert!(told.to_string().starts_with("/nonexistent/f.yaml: cannot be opened: No such file"), "{told}");
    let told = super::read_text("f", &b"ab\xff"[..]).unwrap_err();
    assert_eq!(told.to_string(), "f: is not UTF-8, from byte 2 on");
    assert!(super::read_text("f", std::io::repeat(b' ')).unwrap_err().to_string().contains("larger than"));
}

#[test]
fn what_is_quoted_stays_on_its_line() {
    let told = parse("ready_grace: \"a\\nb\\e[31m\"\n").unwrap_err().to_string();
    assert!(told.contains("found `a\\nb\\u{1b}[31m`"), "{told}");
}

#[test]
fn a_file_of_errors_ends() {
    let many = (0..500).map(|i| format!("unknown{i}: x\n")).collect::<String>();
    assert_eq!(errors(&many).len(), 100);
}

proptest! {
    #[test]
    fn no_file_is_too_odd(lines in proptest::collection::vec(
        "(services|routes|listeners|names|registries|defaults|http|  a|  - service|  - address|    timeout|    port): ?(a|\\[\\]|\\{\\}|1|1s|x:1|'\\*'|null|\\[a, 1\\]|\\{a: \\{port: 80\\}\\}|\\$\\{X\\}|\\$\\{X:-2s\\})?",
        0..12,
    )) {
        let _any = parse(&lines.join("\n"));
    }
}

#[test]
fn a_file_that_takes_anothers_place_is_refused_where_there_is_nothing_in_it() {
    let again = |text| super::parse_again("f.yaml", text, &|_| None, |_| ()).map(drop);
    for nothing in ["", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "null\n", "~", "''\n"] {
        assert!(again(nothing).is_err(), "{nothing:?}");
    }
    for something in ["{}", "services: {}\n", "# nothing is meant\n{}\n"] {
        assert!(again(something).is_ok(), "{something:?}");
    }
    assert!(super::parse("f.yaml", "", &|_| None, |_| ()).is_ok(), "at the start, defaults are enough");
}

#[test]
fn what_the_environment_holds_is_in_no_error() {
    const SECRET: &str = "hunter2-s3cret";
    let env = |name: &str| match name {
        "SECRET" => Some(SECRET.to_owned()),
        "SHORT" => Some("zz9".to_owned()),
        _ => None,
    };
    for text in [
        "admin: {address: '${SECRET}'}",
        "admin:\n  address: ${SECRET}\n",
        "admin:\n  enabled: ${SECRET}\n",
        "workers: ${SHORT}\n",
        "defaults:\n  timeout: ${SECRET}\n",
        "defaults:\n  balance: ${SECRET}\n",
        "services:\n  a:\n    instances: ['${SECRET}']\n",
    ] {
        let errors = super::parse("f", text, &env, |_| ()).map(drop);
        let told = errors.map_err(|errors| errors.to_string()).expect_err(text);
        assert!(!told.contains(SECRET) && !told.contains("zz9"), "{text}: {told}");
    }
}
