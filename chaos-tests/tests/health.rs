//! Checks of our own: who fails them gets no requests, whatever the registry says, and who passes them again does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted, Speaks};
use chaos_tests::foreign::{self, Process};
use chaos_tests::load::Load;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{ask, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNWELL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
/// The longest interval times the bad results that it takes, with ten times the room for a busy machine.
const LEAVES_WITHIN: Duration = Duration::from_millis(10 * 2 * 500);

/// An instance that serves every request, and says of itself what it is told to say.
struct Instance {
    origin: Scripted,
    well: Arc<AtomicBool>,
}

impl Instance {
    fn start() -> Self {
        let well = Arc::new(AtomicBool::new(true));
        let says = Arc::clone(&well);
        let origin = Scripted::start(move |peer| {
            while let Some(request) = peer.request() {
                let unwell = request.head.target() == "/healthz" && !says.load(Ordering::SeqCst);
                if peer.connection.try_send(if unwell { UNWELL } else { OK }).is_err() {
                    return;
                }
            }
        });
        Self { origin, well }
    }

    fn say(&self, well: bool) {
        self.well.store(well, Ordering::SeqCst);
    }

    /// Requests of clients.
    fn served(&self) -> usize {
        self.origin.seen().iter().filter(|request| request.head.target() != "/healthz").count()
    }
}

fn checked(origins: &[SocketAddr]) -> Value {
    let mut config = proxy::to(origins);
    config["services"]["app"]["balance"] = json!("round_robin");
    config["services"]["app"]["health_check"] =
        json!({ "http": "/healthz", "interval": "200ms", "timeout": "200ms", "healthy": 1, "unhealthy": 2 });
    config
}

fn app(proxy: &Proxy) -> Value {
    let answer = proxy.admin("/api/v1/services/app").expect("the admin API");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Why an instance takes no traffic; none while it does.
fn left_out(proxy: &Proxy, address: SocketAddr) -> Option<String> {
    let app = app(proxy);
    let out = app["left_out"].as_array().unwrap().iter().find(|out| out["instance"] == address.to_string())?;
    Some(out["reason"].as_str().unwrap().to_owned())
}

fn wait_until_out(proxy: &Proxy, address: SocketAddr, reason: &str) {
    let start = Instant::now();
    wait_for("a failing instance to be left out", SOON, || left_out(proxy, address).is_some());
    let said = left_out(proxy, address).unwrap_or_default();
    assert!(said.starts_with("health check failing: ") && said.contains(reason), "{said}");
    assert!(start.elapsed() < LEAVES_WITHIN, "it took {:?}", start.elapsed());
}

fn check_of(proxy: &Proxy, address: SocketAddr) -> Option<String> {
    let app = app(proxy);
    let entry = app["endpoints"].as_array().unwrap().iter().find(|e| e["address"] == address.to_string())?;
    entry["check"].as_str().map(str::to_owned)
}

#[test]
fn an_instance_that_fails_its_check_gets_no_requests_until_it_passes_again() {
    let instances = [Instance::start(), Instance::start(), Instance::start()];
    let addresses: Vec<_> = instances.iter().map(|instance| instance.origin.address).collect();
    let proxy = Proxy::start(&checked(&addresses));
    wait_for("every check to pass", SOON, || {
        addresses.iter().all(|address| check_of(&proxy, *address).as_deref() == Some("passing"))
    });
    let target = proxy.address;
    let load = Load::start(move || target, "app", 100, 4);
    let ill = &instances[1];
    ill.say(false);
    wait_until_out(&proxy, ill.origin.address, "status 503");
    // Workers take a new snapshot up with their next request.
    wait_for("the last request on its way there", SOON, || {
        let before = ill.served();
        (0..8).for_each(|_| assert_eq!(get(proxy.address, "app", "/").status(), 200));
        before == ill.served()
    });
    let before = ill.served();
    for _ in 0..30 {
        assert_eq!(get(proxy.address, "app", "/").status(), 200);
    }
    assert_eq!(ill.served(), before, "requests to an instance that is left out");
    assert!(ill.origin.requests() > before, "it goes on being checked");
    let endpoints = |word: &str| proxy.metric("outrigger_health_check_endpoints", &["app", word]);
    assert_eq!((endpoints("passing"), endpoints("failing"), endpoints("unknown")), (vec![2.0], vec![1.0], vec![0.0]));
    for (result, least) in [("good", 3.0), ("bad", 2.0)] {
        let counted = proxy.metric("outrigger_health_checks_total", &["app", result]);
        assert!(counted.len() == 1 && counted[0] >= least, "{result}: {counted:?}");
    }
    ill.say(true);
    wait_for("it to be asked again", SOON, || {
        get(proxy.address, "app", "/");
        ill.served() > before
    });
    assert_eq!(left_out(&proxy, ill.origin.address), None);
    let tally = load.finish();
    assert!(tally.failed.is_empty() && tally.good > 0, "{:?}", tally.failed);
}

#[test]
fn a_killed_instance_that_is_still_registered_costs_no_request() {
    let origins: Vec<_> = ["a", "b", "c"].map(Origin::named).into_iter().collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let proxy = Proxy::start(&checked(&addresses));
    let target = proxy.address;
    let load = Load::start(move || target, "app", 100, 4);
    wait_for("traffic", SOON, || origins.iter().all(|origin| origin.requests() > 5));
    let mut origins = origins.into_iter();
    let killed = origins.next().unwrap();
    let address = killed.address;
    drop(killed);
    wait_until_out(&proxy, address, "connection refused");
    for _ in 0..20 {
        let post = "POST / HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(ask(proxy.address, post).status(), 200);
    }
    let again = Origin::at("a", Speaks::Http1, address);
    wait_for("it to be back", SOON, || check_of(&proxy, address).as_deref() == Some("passing"));
    wait_for("requests there", SOON, || {
        get(proxy.address, "app", "/").field("x-served-by").is_some_and(|by| by == "a")
    });
    let tally = load.finish();
    assert!(tally.failed.is_empty() && tally.good > 0, "{:?}", tally.failed);
    drop((again, origins));
}

#[test]
fn an_instance_that_cannot_be_connected_to_is_left_out_by_its_tcp_check_until_it_can() {
    let (stays, goes) = (Origin::named("stays"), Origin::named("goes"));
    let address = goes.address;
    let mut config = checked(&[stays.address, address]);
    config["services"]["app"]["health_check"] =
        json!({ "tcp": true, "interval": "200ms", "timeout": "200ms", "healthy": 1, "unhealthy": 2 });
    let proxy = Proxy::start(&config);
    wait_for("its check to pass", SOON, || check_of(&proxy, address).as_deref() == Some("passing"));
    // Nobody asks for anything: what is seen is the check's.
    drop(goes);
    wait_until_out(&proxy, address, "connection refused");
    assert_eq!(get(proxy.address, "app", "/").field("x-served-by"), Some("stays"));
    let again = Origin::at("goes", Speaks::Http1, address);
    wait_for("requests there", SOON, || {
        get(proxy.address, "app", "/").field("x-served-by").is_some_and(|by| by == "goes")
    });
    assert_eq!(left_out(&proxy, address), None);
    drop(again);
}

#[test]
fn an_instance_that_its_registry_has_lost_stays_for_a_while_as_long_as_it_is_well() {
    for (keep, stays) in [("1h", true), ("0s", false)] {
        let (listed, lost) = (Instance::start(), Instance::start());
        let (listed_at, lost_at) = (listed.origin.address, lost.origin.address);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("services.yaml");
        let write = |instances: &[SocketAddr]| {
            let instances: Vec<_> = instances.iter().map(ToString::to_string).collect();
            let new = folder.path().join("new");
            std::fs::write(&new, json!({ "services": { "app": instances } }).to_string()).unwrap();
            std::fs::rename(new, &file).unwrap();
        };
        write(&[listed_at, lost_at]);
        let mut config = checked(&[]);
        config["registries"] = json!({ "file": { "path": file } });
        config["services"]["app"].as_object_mut().unwrap().remove("instances");
        config["services"]["app"]["health_check"]["keep_absent"] = json!(keep);
        let proxy = Proxy::start(&config);
        wait_for("the checks to pass", SOON, || {
            [listed_at, lost_at].iter().all(|at| check_of(&proxy, *at).as_deref() == Some("passing"))
        });
        write(&[listed_at]);
        if stays {
            // Read again every ten seconds at the latest; told at once where the system can watch.
            wait_for("its absence to be seen", SOON, || app(&proxy).to_string().contains("\"absent\":true"));
            let before = lost.served();
            (0..20).for_each(|_| assert_eq!(get(proxy.address, "app", "/").status(), 200));
            assert!(lost.served() > before, "it is well, and gets nothing");
            lost.say(false);
        }
        wait_for("it to be gone", SOON, || check_of(&proxy, lost_at).is_none());
        let before = lost.served();
        wait_for("the last request on its way there", SOON, || {
            let before = lost.served();
            (0..8).for_each(|_| assert_eq!(get(proxy.address, "app", "/").status(), 200));
            before == lost.served()
        });
        assert!(lost.served() - before < 100);
    }
}

#[test]
fn when_the_checks_of_all_fail_all_are_kept_and_it_is_said() {
    let instances = [Instance::start(), Instance::start()];
    let addresses: Vec<_> = instances.iter().map(|instance| instance.origin.address).collect();
    let proxy = Proxy::start(&checked(&addresses));
    instances.iter().for_each(|instance| instance.say(false));
    wait_for("panic to be seen", SOON, || app(&proxy)["all_failing"] == true);
    let status = app(&proxy);
    assert_eq!(status["endpoints"].as_array().unwrap().len(), 2, "{status}");
    let check = check_of(&proxy, addresses[0]).unwrap();
    assert!(check.starts_with("failing: status 503 ("), "{check}");
    for _ in 0..10 {
        assert_eq!(get(proxy.address, "app", "/").status(), 200);
    }
    instances.iter().for_each(|instance| instance.say(true));
    wait_for("its end", SOON, || app(&proxy)["all_failing"] == false);
}

#[test]
fn a_grpc_server_says_by_its_health_service_whether_it_takes_requests() {
    let Some(mut command) = foreign::script("grpc_peer.py") else { return };
    let (_one, one) = Process::server(command.arg("server"));
    let mut command = foreign::script("grpc_peer.py").unwrap();
    let (mut two, address) = Process::server(command.arg("server"));
    let mut config = checked(&[one, address]);
    config["services"]["app"]["protocol"] = json!("http2");
    config["services"]["app"]["health_check"] =
        json!({ "grpc": "test.Peer", "interval": "500ms", "timeout": "500ms", "healthy": 1, "unhealthy": 2 });
    let proxy = Proxy::start(&config);
    wait_for("both to serve", SOON, || {
        [one, address].iter().all(|address| check_of(&proxy, *address).as_deref() == Some("passing"))
    });
    two.tell("2");
    wait_until_out(&proxy, address, "NOT_SERVING");
    two.tell("1");
    wait_for("it to serve again", SOON, || check_of(&proxy, address).as_deref() == Some("passing"));

    config["services"]["app"]["health_check"]["grpc"] = json!("nobody.Knows");
    proxy.rewrite(&config);
    wait_for("the reason", SOON, || {
        check_of(&proxy, address).is_some_and(|check| check.contains("does not know the service"))
    });
}
