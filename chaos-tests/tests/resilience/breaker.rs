//! A total outage: what it costs the service, what it costs its clients, and how soon it is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::{Proxy, free_address};
use chaos_tests::raw::{Connection, Message, get};
use chaos_tests::wait_for;
use serde_json::json;

use crate::stage::{OK, UNAVAILABLE, Word, failing_while, in_turn, wait_for_metric};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Ten times the second that is promised.
const BACK_WITHIN: Duration = Duration::from_secs(10);

fn refused(answer: &Message) -> bool {
    answer.status() == 503 && answer.text().contains("breaker_open")
}

fn arrived(origins: &[Scripted]) -> usize {
    origins.iter().map(Scripted::requests).sum()
}

#[test]
fn a_dead_service_costs_its_clients_no_attempt_and_is_open_to_all_when_it_is_back() {
    let dead = Word::default();
    dead.say(true);
    let origins = [failing_while(&dead, OK), failing_while(&dead, OK), failing_while(&dead, OK)];
    let proxy = Proxy::start(&in_turn(&origins.each_ref().map(|origin| origin.address)));
    let mut client = Connection::open(proxy.address);
    let mut ask = || {
        client.send(GET);
        client.answer()
    };
    let mut clients = 0;
    wait_for("the circuit breaker to open", chaos_tests::SOON, || {
        clients += 1;
        refused(&ask())
    });
    // Who is refused costs the service nothing; who is let through, one attempt and no second.
    let (before, start) = (arrived(&origins), Instant::now());
    let through = (0..300).filter(|_| !refused(&ask())).count();
    let took = start.elapsed();
    clients += 300;
    assert_eq!(arrived(&origins) - before, through, "{through} of 300 requests were let through");
    assert!(through as u128 <= took.as_millis() / 100 + 2, "{through} within {took:?} is more than a trickle");
    assert!(arrived(&origins) as f64 <= 1.2 * f64::from(clients), "{} for {clients}", arrived(&origins));
    wait_for_metric(&proxy, "outrigger_breaker_state", &["service=\"app\""], 2.0);
    wait_for_metric(&proxy, "outrigger_breaker_opened_total", &["service=\"app\""], 1.0);

    dead.say(false);
    wait_for("the service to be open to all", BACK_WITHIN, || {
        std::thread::sleep(Duration::from_millis(5));
        (0..10).all(|_| ask().status() == 200)
    });
    assert!((0..100).all(|_| ask().status() == 200), "refused by a service that is back");
    wait_for_metric(&proxy, "outrigger_breaker_state", &["service=\"app\""], 0.0);
}

#[test]
fn in_a_total_outage_without_a_breaker_a_service_gets_no_more_than_its_budget_allows() {
    let dead = Word::default();
    dead.say(true);
    let origins = [failing_while(&dead, OK), failing_while(&dead, OK), failing_while(&dead, OK)];
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    config["services"]["app"]["breaker"] = json!("off");
    config["services"]["app"]["retries"] = json!({ "max": 2, "budget": "20%", "min_per_second": 1 });
    // A second attempt beside a slow one is paid for, too, and may be given up before it arrives.
    config["services"]["app"]["hedge"] = json!("off");
    config["services"]["app"]["per_try_timeout"] = json!("off");
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    let start = Instant::now();
    for _ in 0..500 {
        client.send(GET);
        assert_eq!(client.answer().status(), 503);
    }
    let took = start.elapsed().as_secs_f64();
    // A token a second at least, ten seconds of which are in the reserve.
    let most = 500.0 * 1.2 + 10.0 + took + 1.0;
    assert!(arrived(&origins) as f64 <= most, "{} attempts, {most} at most", arrived(&origins));
    // What requests pay in is reckoned now and then, and how often within the time that these take is a matter of the
    // machine. The reserve is there from the start.
    assert!(arrived(&origins) >= 510, "{} attempts: what is left is spent", arrived(&origins));
}

#[test]
fn a_breaker_that_is_switched_off_refuses_neither_requests_nor_their_retries() {
    let dead = Word::default();
    dead.say(true);
    let origins = [failing_while(&dead, OK), failing_while(&dead, OK), failing_while(&dead, OK)];
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    let mut ask = || {
        client.send(GET);
        client.answer()
    };
    wait_for("the circuit breaker to open", chaos_tests::SOON, || refused(&ask()));
    config["services"]["app"]["breaker"] = json!("off");
    proxy.rewrite(&config);
    wait_for("the reload", chaos_tests::SOON, || proxy.metric("outrigger_reloads_total", &["applied"]) == [1.0]);
    let before = arrived(&origins);
    let statuses: Vec<_> = (0..3).map(|_| ask()).map(|answer| (answer.status(), refused(&answer))).collect();
    assert_eq!(statuses, [(503, false); 3]);
    assert!(arrived(&origins) > before + 3, "{} attempts for three requests", arrived(&origins) - before);
}

/// A service of a registry, and a route that leads to it, each with a breaker that lets nothing through once it is open.
struct Registered {
    folder: tempfile::TempDir,
    proxy: Proxy,
}

impl Registered {
    fn of(instances: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, instances);
        let breaker = json!({ "consecutive": 5, "silence": "1ms", "probe_every": "10m" });
        let proxy = Proxy::start(&json!({
            "registries": { "file": { "path": folder.path().join("services.yaml") } },
            "services": { "app": { "breaker": breaker } },
            "routes": [
                { "path": "/route", "service": "app", "breaker": breaker },
                { "path": "/", "service": "app" },
            ],
        }));
        Self { folder, proxy }
    }

    fn get(&self, path: &str) -> Message {
        get(self.proxy.address, "app", path)
    }

    /// Until nobody is let through any more, on either breaker.
    fn dies(&self) {
        for path in ["/", "/route"] {
            wait_for("the breaker to open", chaos_tests::SOON, || refused(&self.get(path)));
            assert!((0..20).all(|_| refused(&self.get(path))), "{path}");
        }
    }
}

fn write(folder: &tempfile::TempDir, instances: &[SocketAddr]) {
    let instances: Vec<_> = instances.iter().map(ToString::to_string).collect();
    let new = folder.path().join("new");
    std::fs::write(&new, json!({ "services": { "app": instances } }).to_string()).unwrap();
    std::fs::rename(new, folder.path().join("services.yaml")).unwrap();
}

#[test]
fn an_instance_that_joins_a_dead_service_is_asked_at_once_and_its_first_answers_close_the_breaker() {
    let dead = [(); 3].map(|()| free_address());
    for path in ["/", "/route"] {
        let service = Registered::of(&dead);
        service.dies();
        let good = Scripted::answering(OK);
        write(&service.folder, &[&dead[..], &[good.address]].concat());
        // Not a request is let through to the others for ten minutes.
        wait_for("the breaker to close", BACK_WITHIN, || service.get(path).status() == 200);
        let statuses: Vec<_> = (0..50).map(|_| service.get(path).status()).collect();
        assert_eq!(statuses, [200; 50], "{path}");
    }
}

#[test]
fn an_instance_that_joins_a_dead_service_and_is_dead_costs_it_a_request() {
    let dead = [(); 3].map(|()| free_address());
    let service = Registered::of(&dead);
    service.dies();
    let bad = Scripted::answering(UNAVAILABLE);
    write(&service.folder, &[&dead[..], &[bad.address]].concat());
    wait_for("it to be asked", BACK_WITHIN, || !refused(&service.get("/")));
    assert!((0..50).all(|_| refused(&service.get("/"))));
    assert_eq!(bad.requests(), 1);
}
