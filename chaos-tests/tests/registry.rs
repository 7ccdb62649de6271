//! A real Consul says where services are, and whatever becomes of it, requests go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chaos_tests::consul::Agent;
use chaos_tests::fleet::Origin;
use chaos_tests::load::Load;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, ask, get};
use chaos_tests::{SOON, runtime, wait_for};
use serde_json::{Value, json};

/// A Consul agent, and what an application tells it.
struct Consul(Agent);

impl Consul {
    /// None where no Consul is to be had, which is said.
    fn start() -> Option<Self> {
        runtime().block_on(Agent::start()).expect("a Consul agent").map(Self)
    }

    fn register(&self, id: &str, service: &str, instance: SocketAddr) {
        self.register_with(id, service, instance, json!({}));
    }

    fn register_with(&self, id: &str, service: &str, instance: SocketAddr, more: Value) {
        let mut body = json!({
            "ID": id, "Name": service, "Address": instance.ip().to_string(), "Port": instance.port(),
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.put("/v1/agent/service/register", &body.to_string());
    }

    fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }

    #[track_caller]
    fn put(&self, path: &str, body: &str) {
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: consul\r\nContent-Type: application/json\r\nConnection: close");
        let answer = ask(self.address(), format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }

    fn address(&self) -> SocketAddr {
        self.0.url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// `outrigger run --consul URL`, as the README has it.
    fn proxy(&self) -> Proxy {
        Proxy::with_arguments(&["run", "--consul", &self.0.url()])
    }

    fn config(&self) -> Value {
        json!({ "registries": { "consul": { "address": self.0.url() } } })
    }
}

#[test]
fn any_registered_service_is_reachable_by_its_name_at_once() {
    let Some(consul) = Consul::start() else { return };
    let (orders, cart) = (Origin::named("orders"), Origin::named("cart"));
    consul.register("o1", "orders", orders.address);
    consul.register("c1", "cart", cart.address);
    let proxy = consul.proxy();
    // The very first request waits for the registry, and is served.
    for host in ["orders", "orders:8080", "orders.service.consul", "orders.local", "orders.local:80", "ORDERS"] {
        let answer = get(proxy.address, host, "/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "orders\n"), "Host: {host}");
    }
    assert_eq!(get(proxy.address, "cart", "/").text(), "cart\n");
    for target in ["http://orders/", "http://orders.service.consul:81/a", "http://Orders.Local/"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(proxy.address, request).text(), "orders\n", "{target}");
    }
    let mut streams = chaos_tests::h2::Client::open(proxy.address, "orders.local:8080");
    assert_eq!(streams.get("/").body, b"orders\n");
    // One that comes later needs no word to the proxy.
    let late = Origin::named("late");
    consul.register("l1", "late", late.address);
    wait_for("a service that was registered later", SOON, || get(proxy.address, "late", "/").text() == "late\n");
}

#[test]
fn names_that_mean_nothing_keep_no_registered_service_from_its_first_request() {
    let Some(consul) = Consul::start() else { return };
    let origin = Origin::named("a");
    let services: Vec<String> = (0..20).map(|n| format!("service-{n}")).collect();
    services.iter().for_each(|name| consul.register(name, name, origin.address));
    let mut config = consul.config();
    config["names"] = json!({ "max_watches": 64 });
    let proxy = Proxy::start(&config);
    let (asked, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let refused: Vec<_> = std::thread::scope(|scope| {
        let _over = Over(&over);
        for sender in 0..2 {
            let (proxy, asked, over) = (&proxy, &asked, &over);
            scope.spawn(move || {
                let mut connection = Connection::open(proxy.address);
                for n in 0.. {
                    if over.load(Relaxed) {
                        return;
                    }
                    connection.send(format!("GET / HTTP/1.1\r\nHost: nothing-{sender}-{n}\r\n\r\n"));
                    connection.answer();
                    asked.fetch_add(1, Relaxed);
                    // A hundred a second, all together.
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let first = |name: &String| {
            let before = asked.load(Relaxed);
            wait_for("eight further names", SOON, || asked.load(Relaxed) >= before + 8);
            get(proxy.address, name, "/")
        };
        services.iter().map(first).filter(|answer| answer.status() != 200).map(|answer| answer.text()).collect()
    });
    assert!(refused.is_empty(), "{} of {}: {refused:?}", refused.len(), services.len());
    for name in services {
        assert_eq!(proxy.admin(&format!("/api/v1/services/{name}")).unwrap().status(), 200, "{name} made room");
    }
}

/// Says so when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_name_nobody_registered_is_404_and_one_whose_instances_left_is_503() {
    let Some(consul) = Consul::start() else { return };
    let origin = Origin::named("a");
    consul.register("o1", "orders", origin.address);
    let proxy = consul.proxy();
    for _ in 0..3 {
        let answer = get(proxy.address, "nobody", "/");
        assert_eq!(answer.status(), 404, "{}", answer.text());
        let status = answer.field("proxy-status").expect("Proxy-Status");
        assert!(status.contains("destination_not_found"), "{status}");
        assert!(answer.text().contains("nobody"), "which name: {}", answer.text());
    }
    assert_eq!(get(proxy.address, "orders", "/").status(), 200);
    consul.deregister("o1");
    wait_for("the end of the last instance", SOON, || get(proxy.address, "orders", "/").status() == 503);
    let answer = get(proxy.address, "orders", "/");
    let status = answer.field("proxy-status").expect("Proxy-Status");
    assert!(status.contains("destination_unavailable"), "{status}");
    consul.register("o1", "orders", origin.address);
    wait_for("its return", SOON, || get(proxy.address, "orders", "/").status() == 200);
}

#[test]
fn a_name_outside_the_allow_pattern_is_404_and_asks_no_registry() {
    let Some(consul) = Consul::start() else { return };
    let origin = Origin::named("a");
    consul.register("o1", "orders", origin.address);
    consul.register("s1", "secret", origin.address);
    let mut config = consul.config();
    config["names"] = json!({ "allow": ["ord*"] });
    let proxy = Proxy::start(&config);
    assert_eq!(get(proxy.address, "orders", "/").status(), 200);
    let answer = get(proxy.address, "secret", "/");
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("names.allow"), "{}", answer.text());
}

#[test]
fn a_deregistered_instance_gets_no_request_after_a_second() {
    let Some(consul) = Consul::start() else { return };
    let (stays, leaves) = (Origin::named("stays"), Origin::named("leaves"));
    consul.register("o1", "orders", stays.address);
    consul.register("o2", "orders", leaves.address);
    let proxy = consul.proxy();
    assert_eq!(get(proxy.address, "orders", "/").status(), 200);
    let address = proxy.address;
    let load = Load::start(move || address, "orders", 200, 4);
    wait_for("requests to both", SOON, || stays.requests() > 20 && leaves.requests() > 20);
    consul.deregister("o2");
    let gone = leaves.address.to_string();
    wait_for("its end to be known", SOON, || {
        let status = proxy.admin("/api/v1/services/orders").expect("the admin API").text();
        !status.contains(&gone)
    });
    let further = |count| {
        let from = stays.requests();
        wait_for("requests to the one that stays", SOON, || stays.requests() > from + count);
    };
    // Those under way, and a worker's first with the new set.
    further(20);
    let then = leaves.requests();
    further(200);
    let tally = load.finish();
    assert_eq!(leaves.requests(), then, "requests to an instance that is known to be gone");
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
}

#[test]
fn an_instance_whose_check_fails_gets_no_traffic_until_it_passes() {
    let Some(consul) = Consul::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let check = json!({ "Check": { "CheckID": "c2", "TTL": "10m", "Status": "passing" } });
    consul.register("o1", "orders", one.address);
    consul.register_with("o2", "orders", two.address, check);
    let proxy = consul.proxy();
    let twenty = || {
        let before = two.requests();
        for _ in 0..20 {
            assert_eq!(get(proxy.address, "orders", "/").status(), 200);
        }
        two.requests() - before
    };
    wait_for("requests to both", SOON, || twenty() > 0);
    consul.put("/v1/agent/check/fail/c2", "");
    wait_for("none to the one that fails", SOON, || twenty() == 0);
    consul.put("/v1/agent/check/pass/c2", "");
    wait_for("requests to both again", SOON, || twenty() > 0);
}

#[test]
fn weights_of_consul_are_shares() {
    let Some(consul) = Consul::start() else { return };
    let (light, heavy) = (Origin::named("light"), Origin::named("heavy"));
    consul.register_with("l", "orders", light.address, json!({ "Weights": { "Passing": 1, "Warning": 1 } }));
    consul.register_with("h", "orders", heavy.address, json!({ "Weights": { "Passing": 4, "Warning": 1 } }));
    let mut config = consul.config();
    // On a busy machine some answers are slow, and each would be asked for twice.
    config["defaults"] = json!({ "balance": "round_robin", "hedge": "off", "per_try_timeout": "off" });
    let proxy = Proxy::start(&config);
    assert_eq!(get(proxy.address, "orders", "/").status(), 200);
    let mut client = chaos_tests::raw::Connection::open(proxy.address);
    let before = (light.requests(), heavy.requests());
    for _ in 0..1000 {
        client.send("GET / HTTP/1.1\r\nHost: orders\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
    }
    let (light, heavy) = (light.requests() - before.0, heavy.requests() - before.1);
    assert!((790..=810).contains(&heavy) && light + heavy == 1000, "{light} to {heavy}");
}

#[test]
fn a_killed_consul_fails_no_request_for_half_a_minute() {
    let Some(mut consul) = Consul::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    consul.register("o1", "orders", one.address);
    consul.register("o2", "orders", two.address);
    let proxy = consul.proxy();
    assert_eq!(get(proxy.address, "orders", "/").status(), 200);
    let address = proxy.address;
    let load = Load::start(move || address, "orders", 200, 4);
    std::thread::sleep(Duration::from_secs(1));
    consul.0.kill_9().expect("kill -9");
    let killed = Instant::now();
    while killed.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(500));
        assert!(proxy.ready(), "unready because the registry is gone");
    }
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{} of {} failed: {:?}", tally.failed.len(), tally.good, tally.failed);
    assert!(tally.good > 1000, "{} requests are too few to say anything", tally.good);
    assert_eq!(tally.by.len(), 2, "both instances: {:?}", tally.by);
}

#[test]
fn a_registry_that_is_down_at_the_start_is_waited_for_and_then_followed() {
    let Some(mut consul) = Consul::start() else { return };
    consul.0.kill_9().expect("kill -9");
    let origin = Origin::named("a");
    let mut config = consul.config();
    config["services"] = json!({ "orders": {}, "legacy": { "instances": [origin.address] } });
    config["ready_grace"] = json!("2m");
    let proxy = Proxy::start_unready(&config, &[]);
    wait_for("the admin API", SOON, || proxy.admin("/livez").is_some_and(|answer| answer.status() == 200));
    assert!(!proxy.ready(), "ready without a word from the registry");
    assert_eq!(get(proxy.address, "legacy", "/").status(), 200, "what needs no registry is served");
    let answer = get(proxy.address, "orders", "/");
    assert_eq!(answer.status(), 503, "{}", answer.text());
    runtime().block_on(consul.0.start_again()).expect("Consul again");
    consul.register("o1", "orders", origin.address);
    wait_for("the service", SOON * 3, || get(proxy.address, "orders", "/").status() == 200);
    wait_for("readiness", SOON, || proxy.ready());
}

#[test]
fn readiness_does_not_wait_for_a_registry_longer_than_its_grace() {
    let mut config = json!({ "registries": { "consul": { "address": format!("http://{}", proxy::free_address()) } } });
    config["services"] = json!({ "orders": {} });
    config["ready_grace"] = json!("1s");
    let started = Instant::now();
    let proxy = Proxy::start_unready(&config, &[]);
    wait_for("readiness", SOON, || proxy.ready());
    assert!(started.elapsed() >= Duration::from_millis(900), "ready after {:?} already", started.elapsed());
}

#[test]
fn a_service_can_have_a_port_of_its_own() {
    let Some(consul) = Consul::start() else { return };
    let origin = Origin::named("search");
    consul.register("s1", "search-v2", origin.address);
    let port = proxy::free_address();
    let mut config = consul.config();
    config["services"] = json!({ "search": { "name": "search-v2", "port": port.port() } });
    let proxy = Proxy::start(&config);
    for host in ["whatever.example", "search", "localhost"] {
        assert_eq!(get(port, host, "/").text(), "search\n", "Host: {host}");
    }
    assert_eq!(get(proxy.address, "search", "/").text(), "search\n", "and by its name");
}

#[test]
fn a_host_that_is_no_service_is_refused_or_forwarded_as_it_is() {
    let origin = Origin::named("elsewhere");
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", origin.address);
    let mut config = json!({ "services": { "app": { "instances": [origin.address] } } });
    let proxy = Proxy::start(&config);
    assert_eq!(ask(proxy.address, &request).status(), 404);
    config["names"] = json!({ "unknown": "direct" });
    let proxy = Proxy::start(&config);
    assert_eq!(ask(proxy.address, &request).text(), "elsewhere\n");
    assert_eq!(get(proxy.address, "app", "/").text(), "elsewhere\n");
    // Only an absolute form says that the client knows that it talks to a proxy.
    assert_eq!(get(proxy.address, &origin.address.to_string(), "/").status(), 404);
}
