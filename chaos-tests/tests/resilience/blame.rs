//! Who pays for what fails: nobody but what fails itself.

use std::process::Command;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, Message};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::stage::{OK, UNAVAILABLE, in_turn, metric, wait_for_metric};

/// An instance that answers everything well, but one page.
fn but_one_page(bad: &str) -> Scripted {
    let bad = bad.to_owned();
    Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            let answer = if request.head.target() == "/bad" { &bad } else { OK };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

fn get(client: &mut Connection, path: &str) -> Message {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.answer()
}

/// What a page may always answer: that it cannot, a head that is too large, or nonsense.
fn bad_answers() -> [String; 3] {
    let large = format!("HTTP/1.1 302 Found\r\nLocation: /{}\r\nContent-Length: 0\r\n\r\n", "a".repeat(33_000));
    [UNAVAILABLE.into(), large, "HTTP/1.1 nonsense\r\n\r\n".into()]
}

#[test]
fn a_page_that_always_fails_takes_its_service_from_nobody() {
    for bad in bad_answers() {
        let origins = [but_one_page(&bad), but_one_page(&bad), but_one_page(&bad)];
        let proxy = Proxy::start(&in_turn(&origins.each_ref().map(|origin| origin.address)));
        let mut client = Connection::open(proxy.address);
        for round in 0..40 {
            // Longer than any row that an instance or a service may have.
            for _ in 0..30 {
                assert!(get(&mut client, "/bad").status() >= 502);
            }
            let good = get(&mut client, "/");
            assert_eq!(good.status(), 200, "round {round}, {:?}: {:?}", &bad[..20], good.head);
        }
        wait_for_metric(&proxy, "outrigger_breaker_state", &["service=\"app\""], 0.0);
        assert_eq!(metric(&proxy, "outrigger_breaker_opened_total", &["service=\"app\""]), 0.0);
    }
}

#[test]
fn a_route_with_a_breaker_of_its_own_is_judged_by_itself() {
    let origins = [but_one_page(UNAVAILABLE), but_one_page(UNAVAILABLE)];
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    config["routes"] = json!([
        { "path": "/bad", "service": "app", "breaker": { "consecutive": 5, "silence": "1ms" } },
        { "service": "app" },
    ]);
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    wait_for("the route's breaker to open", SOON, || get(&mut client, "/bad").text().contains("breaker_open"));
    for _ in 0..50 {
        get(&mut client, "/bad");
        assert_eq!(get(&mut client, "/").status(), 200);
    }
    wait_for_metric(&proxy, "outrigger_breaker_opened_total", &["service=\"app\""], 1.0);
    assert_eq!(metric(&proxy, "outrigger_breaker_state", &["service=\"app\""]), 0.0, "the service's own");
}

/// How many files a process may have open.
fn limit(proxy: &Proxy, files: usize) {
    let limit = format!("--nofile={files}:");
    let done = Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), &limit]).status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit");
}

fn open_files(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

#[test]
fn a_lack_of_descriptors_is_the_proxys_own() {
    // Each request needs a connection of its own.
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let origins = [Scripted::answering(closing), Scripted::answering(closing)];
    let proxy = Proxy::start(&in_turn(&origins.each_ref().map(|origin| origin.address)));
    let mut client = Connection::open(proxy.address);
    assert_eq!(get(&mut client, "/").status(), 200);
    let before = open_files(&proxy);
    limit(&proxy, 10);
    wait_for("no descriptor to be left", SOON, || get(&mut client, "/").text().contains("out_of_resources"));
    for _ in 0..50 {
        let answer = get(&mut client, "/");
        assert_eq!(answer.status(), 503, "{:?}", answer.head);
        assert!(answer.text().contains("out_of_resources"), "{}", answer.text());
    }
    limit(&proxy, before + 100);
    // At once: nobody was ejected, nothing has opened.
    for _ in 0..10 {
        assert_eq!(get(&mut client, "/").status(), 200);
    }
    wait_for_metric(&proxy, "outrigger_breaker_state", &["service=\"app\""], 0.0);
    assert_eq!(metric(&proxy, "outrigger_breaker_opened_total", &["service=\"app\""]), 0.0);
    assert_eq!(metric(&proxy, "outrigger_ejections_total", &["service=\"app\""]), 0.0);
}
