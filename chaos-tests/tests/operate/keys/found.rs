//! Where services are found, by which names they are reached, and which requests go to which.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{Proxy, free_address};
use chaos_tests::raw::{Connection, Message, ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Word;
use super::services::publish;

/// A file of services, each with one instance.
fn file(services: &[(&str, SocketAddr)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services.json");
    let map = services.iter().map(|(name, address)| ((*name).to_owned(), json!([address]))).collect();
    publish(&file, &Value::Object(map));
    (folder, file)
}

#[test]
fn names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed() {
    let origins = ["orders", "orders.shop", "secret", "other"].map(Origin::named);
    let [orders, dotted, secret, other] = origins.each_ref().map(|origin| origin.address);
    let (_folder, first) = file(&[("orders", orders), ("orders.shop", dotted), ("secret", secret)]);
    let (_another, second) = file(&[("other", other), ("orders", other)]);
    let registries = json!({ "mine": { "type": "file", "path": first }, "file": { "path": second } });
    let start = |names: Value| {
        let declared = json!({ "app": { "instances": [other] } });
        Proxy::start(&json!({ "registries": registries, "services": declared, "names": names }))
    };
    let said = |proxy: &Proxy, host: &str| get(proxy.address, host, "/").text().trim_end().to_owned();
    let proxy = start(json!({ "registry": "mine" }));
    for (host, by) in [("orders", "orders"), ("orders.local", "orders"), ("orders.service.consul", "orders")] {
        assert_eq!(said(&proxy, host), by);
    }
    assert_eq!(get(proxy.address, "other", "/").status(), 404, "of the other registry");
    let proxy = start(json!({ "registry": "file" }));
    assert_eq!((said(&proxy, "orders"), said(&proxy, "other")), ("other".into(), "other".into()));

    let names = json!({ "registry": "mine", "suffixes": [".shop", ".main.shop"], "allow": ["ord*s", "*.shop"] });
    let proxy = start(names);
    assert_eq!(said(&proxy, "orders.shop"), "orders", "a suffix is taken off");
    assert_eq!(said(&proxy, "orders.shop.shop"), "orders.shop", "and only once");
    assert_eq!(said(&proxy, "orders.main.shop"), "orders", "the longest");
    assert_eq!(get(proxy.address, "orders.local", "/").status(), 404, "what was given is in the place of the default");
    assert!(said(&proxy, "secret").contains("names.allow"));
    assert_eq!(said(&proxy, "app"), "other", "what is declared need not be listed");

    let proxy = start(json!({ "enabled": false }));
    assert_eq!(["orders", "app"].map(|host| get(proxy.address, host, "/").status()), [404, 404]);
}

#[test]
fn so_many_names_are_followed_and_each_for_as_long_as_it_is_used() {
    let origin = Origin::named("a");
    let (_folder, path) = file(&[("one", origin.address), ("two", origin.address), ("three", origin.address)]);
    let start = |names: Value| Proxy::start(&json!({ "registries": { "file": { "path": path } }, "names": names }));
    let status = |proxy: &Proxy, host: &str| get(proxy.address, host, "/").status();
    let proxy = start(json!({ "max_watches": 2 }));
    assert_eq!([status(&proxy, "one"), status(&proxy, "two")], [200, 200]);
    let refused = get(proxy.address, "three", "/");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("names.max_watches"), "{}", refused.text());

    let proxy = start(json!({ "max_watches": 2, "unused_after": "2s" }));
    assert_eq!([status(&proxy, "one"), status(&proxy, "two")], [200, 200]);
    let used = Instant::now();
    let follows = |name: &str| proxy.admin(&format!("/api/v1/services/{name}")).unwrap().status() == 200;
    wait_for("the name that nobody uses to be forgotten", SOON, || {
        assert_eq!(status(&proxy, "one"), 200);
        !follows("two")
    });
    assert!(used.elapsed() >= Duration::from_millis(1900), "{:?}", used.elapsed());
    assert!(follows("one"));
    assert_eq!(status(&proxy, "three"), 200, "in its place");
}

#[test]
fn a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own() {
    let origins = ["one", "two"].map(Origin::named);
    let (_folder, first) = file(&[("orders", origins[0].address)]);
    let (_another, second) = file(&[("orders", origins[1].address), ("orders-v2", origins[1].address)]);
    let [port, listen] = [free_address(), free_address()];
    let proxy = Proxy::start(&json!({
        "registries": { "first": { "type": "file", "path": first }, "second": { "type": "file", "path": second } },
        "names": { "registry": "first" },
        "services": {
            "web": { "registry": "second", "name": "orders-v2", "port": port.port() },
            "shop": { "registry": "first", "name": "orders", "listen": listen },
        },
    }));
    assert_eq!(["web", "shop"].map(|host| get(proxy.address, host, "/").text()), ["two\n", "one\n"]);
    assert_eq!([port, listen].map(|at| get(at, "whatever", "/").text()), ["two\n", "one\n"]);
}

#[test]
fn a_route_is_chosen_by_host_path_and_method() {
    let origins = ["a", "b", "c", "d", "e"].map(Origin::named);
    let service = |origin: &Origin| json!({ "instances": [origin.address] });
    let services = json!({ "a": service(&origins[0]), "b": service(&origins[1]), "c": service(&origins[2]),
        "d": service(&origins[3]), "e": service(&origins[4]) });
    let proxy = Proxy::start(&json!({ "services": services, "routes": [
        { "host": "shop.example", "path": "/cart", "service": "a" },
        { "host": "shop.example", "path": { "exact": "/cart" }, "service": "b" },
        { "host": "shop.example", "path": "/cart", "methods": ["POST", "PUT"], "service": "c" },
        { "host": "*.example", "service": "d" },
        { "path": "/everywhere", "methods": [], "service": "e" },
    ] }));
    let by = |method: &str, host: &str, path: &str| -> Message {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        ask(proxy.address, format!("{head}Content-Length: 0\r\n\r\n"))
    };
    for (method, host, path, served) in [
        ("GET", "shop.example", "/cart/1", "a\n"),
        ("GET", "shop.example:80", "/cart?x", "b\n"),
        ("PUT", "shop.example", "/cart/1", "c\n"),
        ("DELETE", "shop.example", "/cart/1", "a\n"),
        ("GET", "deep.in.example", "/cart", "d\n"),
        ("GET", "nowhere", "/everywhere/x", "e\n"),
        ("GET", "a", "/elsewhere", "a\n"),
    ] {
        assert_eq!(by(method, host, path).text(), served, "{method} {host}{path}");
    }
    for (host, path) in [("shop.example", "/cartoon"), ("shop.example", "/everywhere"), ("nowhere", "/else")] {
        assert_eq!(by("GET", host, path).status(), 404, "{host}{path}");
    }
}

/// What a Consul says of a service: an instance whose checks are so, and one that cannot be dialled.
fn entries(origin: &Origin, status: &str) -> String {
    let entry = |id: &str, port: u16| {
        json!({ "Node": { "Node": "n", "Address": "127.0.0.1", "Datacenter": "dc9" },
            "Service": { "ID": id, "Service": "orders", "Address": "127.0.0.1", "Port": port,
                "Weights": { "Passing": 1, "Warning": 1 } },
            "Checks": [{ "CheckID": "c", "Status": status }] })
    };
    json!([entry("o1", origin.address.port()), entry("o2", 0)]).to_string()
}

/// A Consul of which each answer is that far behind its leader. What changes is never told.
fn consul(body: String, stale_by_ms: u32) -> Scripted {
    Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.head.target().contains("index=") {
                peer.connection.rest();
                return;
            }
            let behind = if request.head.target().contains("stale") { stale_by_ms } else { 0 };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nX-Consul-LastContact: {behind}\r\nX-Consul-KnownLeader: true\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn consul_is_asked_at_its_address_for_the_datacenter_with_the_token_and_believed_as_far_as_it_may_be() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let start = |consul: &Scripted, more: Value| {
        let mut registry = json!({ "type": "consul", "address": format!("http://{}/prefix", consul.address) });
        registry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config = json!({ "registries": { "discovery": registry }, "services": { "orders": {} } });
        let proxy = Proxy::start_with(&config, |command| {
            command.env("CONSUL_HTTP_TOKEN", "another");
        });
        proxy.wait_ready();
        proxy
    };
    let asked = |consul: &Scripted| -> Vec<(String, Option<String>)> {
        let seen = consul.seen();
        let fields = seen
            .iter()
            .map(|request| (request.head.target().to_owned(), request.head.field("x-consul-token").map(str::to_owned)));
        fields.collect()
    };
    let served = |proxy: &Proxy| get(proxy.address, "orders", "/").status();

    // A warning instance takes traffic, however old what says so is.
    let stub = consul(entries(&origin, "warning"), 60_000);
    let proxy = start(&stub, json!({}));
    wait_for("the service", SOON, || served(&proxy) == 200);
    let first = asked(&stub)[0].clone();
    assert_eq!(first, ("/prefix/v1/health/service/orders?stale=".into(), Some("another".into())));
    wait_for("the instance that is skipped", SOON, || {
        proxy.metric("outrigger_instances_skipped", &["orders"]) == [1.0]
    });

    let stub = consul(entries(&origin, "warning"), 60_000);
    let proxy =
        start(&stub, json!({ "datacenter": "dc9", "token_file": token, "max_stale": "5s", "include_warning": false }));
    wait_for("what was found", SOON, || proxy.metric("outrigger_instances_left_out", &["orders"]) == [2.0]);
    assert_eq!(served(&proxy), 503);
    let all = asked(&stub);
    let token = Some("s3cret".to_owned());
    assert_eq!(all[0], ("/prefix/v1/health/service/orders?stale=&dc=dc9".into(), token.clone()));
    assert_eq!(all[1], ("/prefix/v1/health/service/orders?dc=dc9".into(), token), "nobody is that far behind");
    let stub = consul(entries(&origin, "passing"), 3_000);
    let proxy = start(&stub, json!({ "max_stale": "5s" }));
    wait_for("the service", SOON, || served(&proxy) == 200);
    assert!(asked(&stub).iter().all(|(target, _)| target.contains("stale")), "{:?}", asked(&stub));
}

#[test]
fn a_token_that_changes_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let word = Word::default();
    let told = word.clone();
    let origin = Origin::named("a");
    let body = entries(&origin, "passing");
    // Only the new token is good.
    let stub = Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            let good = request.field("x-consul-token") == Some("new");
            told.say(true);
            let answer = match good {
                true => format!(
                    "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nX-Consul-KnownLeader: true\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ),
                false => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    });
    let registry = json!({ "address": format!("http://{}", stub.address), "token_file": file });
    let config = json!({ "registries": { "consul": registry }, "services": { "orders": {} } });
    let proxy = Proxy::start_unready(&config, &[]);
    wait_for("a refusal", SOON, || word.is_so());
    std::fs::write(&file, "new").unwrap();
    wait_for("the service", SOON, || {
        Connection::try_open(proxy.address).is_ok() && get(proxy.address, "orders", "/").status() == 200
    });
}
