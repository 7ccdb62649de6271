//! Each request that was started has one fate or is in flight, whenever somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use chaos_tests::fleet::{Fault, Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask};
use chaos_tests::{SOON, h2, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, Word, dozing, get_with, in_turn, metric, wait_for_metric};

/// How often each client does all that clients do.
const ROUNDS: u64 = 6;

/// What a scrape says of a service: started, in flight, and by fate.
#[derive(Debug, Default)]
struct Account {
    started: u64,
    in_flight: u64,
    fates: BTreeMap<String, u64>,
    rescued: u64,
    lost: u64,
    refused: u64,
}

/// Every service's account in one scrape.
fn scrape(text: &str) -> BTreeMap<String, Account> {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((name, labels)) = series.split_once('{') else { continue };
        let label = |name: &str| {
            let rest = labels.split_once(&format!("{name}=\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let Some(service) = label("service") else { continue };
        let count = || value.parse::<f64>().expect("a number") as u64;
        let account = accounts.entry(service).or_default();
        match name {
            "outrigger_requests_started_total" => account.started = count(),
            "outrigger_account_in_flight" => account.in_flight = count(),
            "outrigger_account_total" => _ = account.fates.insert(label("fate").expect("a fate"), count()),
            "outrigger_rescued_total" => account.rescued += count(),
            "outrigger_lost_total" => account.lost += count(),
            "outrigger_refused_by_limits_total" => account.refused += count(),
            _ => {}
        }
    }
    accounts
}

impl Account {
    #[track_caller]
    fn assert_adds_up(&self, service: &str) {
        let fate = |name: &str| self.fates.get(name).copied().unwrap_or_default();
        assert_eq!(self.started, self.fates.values().sum::<u64>() + self.in_flight, "{service}: {self:?}");
        let kinds = (self.rescued, self.lost, self.refused);
        assert_eq!(kinds, (fate("rescued"), fate("lost"), fate("refused")), "{service}: {self:?}");
    }
}

/// The same of the admin API's report over a window.
#[track_caller]
fn assert_report_adds_up(proxy: &Proxy, window: &str) {
    let answer = proxy.admin(&format!("/api/v1/availability?window={window}")).expect("an answer");
    let report: Value = serde_json::from_slice(&answer.body).expect("JSON");
    for service in report["services"].as_array().expect("services") {
        let one = |key: &str| service[key].as_u64().expect(key);
        let sum = |key: &str| service[key].as_object().expect(key).values().filter_map(Value::as_u64).sum::<u64>();
        let ended = ["first_good", "unknown", "degraded", "abandoned", "client_errors"].map(one).iter().sum::<u64>()
            + ["rescued", "lost", "refused"].map(sum).iter().sum::<u64>();
        assert_eq!(one("carried") + one("started"), ended + one("in_flight"), "{window}: {service}");
    }
}

/// Of all kinds that a client may send, so many; returns how many requests were sent.
fn client(proxy: &Proxy, rounds: u64) -> u64 {
    let mut sent = 0;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    for round in 0..rounds {
        for request in [&get_with("/", &[]), post, &get_with("/status/404", &[]), &get_with("/delay/30", &[])] {
            // Whatever is answered.
            let _status = ask(proxy.address, request).status();
            sent += 1;
        }
        // It leaves before there is an answer.
        let mut leaving = Connection::open(proxy.address);
        leaving.send(get_with("/delay/50", &[]));
        drop(leaving);
        sent += 1;
        let mut streams = h2::Client::open(proxy.address, "a");
        if round % 2 == 0 {
            streams.get("/");
            sent += 1;
        }
    }
    sent
}

#[test]
fn the_account_adds_up_at_every_scrape_whatever_happens() {
    let slow = Word::default();
    slow.say(true);
    let (well, bad) = (Origin::named("well"), Scripted::faulty(Fault::Status(503)));
    let sleepy = dozing(&slow);
    let mut config = in_turn(&[well.address, bad.address, sleepy.address]);
    config["workers"] = json!(2);
    config["services"]["app"]["per_try_timeout"] = json!("20ms");
    config["services"]["app"]["timeout"] = json!("400ms");
    config["services"]["app"]["outlier"] = json!("off");
    config["services"]["app"]["limit"] = json!({ "max_in_flight": 6, "queue": 1, "adaptive": false });
    let proxy = Arc::new(Proxy::start(&config));
    let over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let together = Arc::new(Barrier::new(8));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (proxy, sent, together) = (Arc::clone(&proxy), Arc::clone(&sent), Arc::clone(&together));
            thread::spawn(move || {
                together.wait();
                sent.fetch_add(client(&proxy, ROUNDS), Ordering::SeqCst);
            })
        })
        .collect();
    let looking = {
        let (proxy, over) = (Arc::clone(&proxy), Arc::clone(&over));
        thread::spawn(move || {
            let mut busy = 0;
            while !over.load(Ordering::SeqCst) {
                for (service, account) in scrape(&proxy.admin("/metrics").expect("/metrics").text()) {
                    account.assert_adds_up(&service);
                    busy += u64::from(account.in_flight > 0);
                }
                ["1m", "all"].iter().for_each(|window| assert_report_adds_up(&proxy, window));
                // The other clients need the processor, too.
                thread::sleep(Duration::from_millis(10));
            }
            busy
        })
    };
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    over.store(true, Ordering::SeqCst);
    assert!(looking.join().expect("every scrape adds up") > 0, "nothing was ever in flight when somebody looked");

    wait_for_metric(&proxy, "outrigger_account_in_flight", &["service=\"app\""], 0.0);
    let accounts = scrape(&proxy.admin("/metrics").expect("/metrics").text());
    let app = &accounts["app"];
    app.assert_adds_up("app");
    // Of those that left at once the proxy may never have read anything.
    let (sent, left) = (sent.load(Ordering::SeqCst), 8 * ROUNDS);
    assert!((sent - left..=sent).contains(&app.started), "{sent} were sent: {app:?}");
    for fate in ["first_good", "rescued", "unknown", "lost", "refused", "abandoned", "client_error"] {
        assert!(app.fates.contains_key(fate), "no request was {fate}, so that shows nothing: {app:?}");
    }
}

/// The account of a service as it stands now.
fn account_of(proxy: &Proxy, service: &str) -> Account {
    scrape(&proxy.admin("/metrics").expect("/metrics").text()).remove(service).unwrap_or_default()
}

#[test]
fn a_client_that_leaves_while_it_is_sending_has_changed_its_mind() {
    let well = Scripted::answering(OK);
    let proxy = Proxy::start(&in_turn(&[well.address]));
    // One of which the instance sees nothing, and one that is on its way there.
    for length in [5_000, 5_000_000] {
        let mut client = Connection::open(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(vec![b'x'; length / 10]);
        // Longer than one who has sent all of it may wait.
        thread::sleep(Duration::from_millis(300));
    }
    wait_for("both to be over", SOON, || account_of(&proxy, "app").fates.values().sum::<u64>() == 2);
    let app = account_of(&proxy, "app");
    assert_eq!(app.fates.get("abandoned"), Some(&2), "{app:?}");
}

#[test]
fn what_a_limit_refused_is_no_loss_where_the_fallback_fails_too() {
    let dead = [Scripted::faulty(Fault::Status(503)), Scripted::faulty(Fault::Status(503))];
    let other = Scripted::faulty(Fault::Status(503));
    let mut config = in_turn(&dead.each_ref().map(|origin| origin.address));
    config["services"]["app"]["fallback"] = json!({ "service": "other" });
    config["services"]["other"] = json!({ "instances": [other.address], "breaker": "off", "retries": { "max": 0 } });
    let proxy = Proxy::start(&config);
    wait_for("the breaker to be open", SOON, || {
        ask(proxy.address, get_with("/", &[]));
        metric(&proxy, "outrigger_breaker_state", &["service=\"app\""]) == 2.0
    });
    let before = account_of(&proxy, "app");
    (0..50).for_each(|_| _ = ask(proxy.address, get_with("/", &[])));
    wait_for("them to be over", SOON, || account_of(&proxy, "app").fates.values().sum::<u64>() >= before.started + 50);
    let app = account_of(&proxy, "app");
    assert!(app.refused >= before.refused + 40, "of 50, but for a trickle: {before:?}, {app:?}");
    assert_eq!(metric(&proxy, "outrigger_retries_total", &["service=\"other\""]), 0.0, "it had no retry");
}
