//! What a service takes at once, from whom, over how many connections, and how its instances come and are checked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{Proxy, free_address};
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

use super::{OK, Word, answering_after, app, gets, with};

fn begin(proxy: &Proxy, path: &str) -> Connection {
    let mut client = Connection::open(proxy.address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    client
}

#[test]
fn a_queue_is_shared_out_among_workers_of_which_each_lets_one_wait_and_none_where_it_is_zero() {
    for (queue, waiting) in [(1, 2_u8), (0, 0)] {
        let go = Word::default();
        let origin = answering_after(&go);
        let limit = json!({ "max_in_flight": 1, "queue": queue, "queue_timeout": "60s", "adaptive": false });
        let mut config = with(&[origin.address], json!({ "limit": limit, "timeout": "60s" }));
        config["workers"] = json!(2);
        let proxy = Proxy::start(&config);
        let mut clients: Vec<_> = (0..40).map(|_| begin(&proxy, "/")).collect();
        let refused = || proxy.metric("outrigger_limited_requests", &["app"]).iter().sum::<f64>();
        let queued = || proxy.metric("outrigger_queued_requests", &["app"]).iter().sum::<f64>();
        wait_for("two that wait, one for each worker", SOON, || queued() == f64::from(waiting));
        go.say(true);
        let served = clients.iter_mut().filter_map(|client| (client.answer().status() == 200).then_some(())).count();
        assert!(served > usize::from(waiting), "{served} of 40; {} refused", refused());
    }
}

#[test]
fn an_overloaded_service_gets_a_bound_by_itself_unless_that_is_switched_off() {
    // One request after the other, each for 5 ms, in the order in which they come: what comes faster makes a queue that grows.
    let serial = || {
        let (come, coming) = mpsc::channel::<mpsc::Sender<()>>();
        std::thread::spawn(move || {
            for next in coming {
                std::thread::sleep(Duration::from_millis(5));
                next.send(()).ok();
            }
        });
        let come = Mutex::new(come);
        Scripted::start(move |peer| {
            while peer.request().is_some() {
                let (done, wait) = mpsc::channel();
                come.lock().unwrap().send(done).unwrap();
                if wait.recv().is_err() || peer.connection.try_send(OK).is_err() {
                    return;
                }
            }
        })
    };
    let run = |adaptive: bool, most: usize| {
        let origin = serial();
        let policies = json!({ "limit": { "adaptive": adaptive, "queue": 0 }, "retries": { "max": 0 }, "outlier": "off",
            "breaker": "off", "timeout": "10s" });
        let proxy = Proxy::start(&with(&[origin.address], policies));
        gets(&proxy, 60);
        let bound = || proxy.metric("outrigger_concurrency_limit", &["app"]).iter().sum::<f64>();
        let (start, mut clients) = (Instant::now(), Vec::new());
        while clients.len() < most && bound() == 0.0 {
            for _ in 0..4 {
                clients.push(begin(&proxy, "/"));
            }
            std::thread::sleep(Duration::from_millis(4));
        }
        (bound(), clients.len(), start.elapsed())
    };
    let found = run(true, 1000);
    // As many, and some more.
    let off = run(false, found.1 + 40);
    assert!(found.0 > 0.0, "{found:?}");
    assert_eq!(off.0, 0.0, "{off:?}");
}

#[test]
fn a_route_has_a_part_of_the_service_and_says_what_its_requests_are_worth() {
    let go = Word::default();
    let origin = answering_after(&go);
    let limit = json!({ "max_in_flight": 5, "queue": 0, "adaptive": false });
    let mut config = with(&[origin.address], json!({ "limit": limit }));
    config["routes"] = json!([
        { "path": "/part", "service": "app", "bulkhead": { "per": "route", "max_in_flight": 2 } },
        { "path": "/cheap", "service": "app", "priority": "sheddable" },
        { "path": "/dear", "service": "app", "priority": "critical" },
        { "service": "app" },
    ]);
    let proxy = Proxy::start(&config);
    let mut held = Vec::new();
    let mut hold = |path: &str| {
        held.push(begin(&proxy, path));
        wait_for(path, SOON, || origin.requests() == held.len());
    };
    let refused = |path: &str| get(proxy.address, "a", path).text();
    hold("/part/1");
    hold("/part/2");
    assert!(refused("/part/3").contains("bulkhead_full"));
    hold("/cheap");
    hold("/cheap");
    assert!(refused("/cheap").contains("limit_reached"));
    hold("/dear");
    assert!(refused("/dear").contains("limit_reached"));
    go.say(true);
    assert!(held.iter_mut().all(|client| client.answer().status() == 200));
}

#[test]
fn policies_of_a_route_win_over_those_of_its_service_and_these_over_the_defaults() {
    let origin = Origin::named("a");
    let service = |timeout: Value| json!({ "instances": [origin.address], "timeout": timeout });
    let proxy = Proxy::start(&json!({
        "defaults": { "timeout": "300ms" },
        "services": { "app": service(json!("20s")), "other": service(json!(null)) },
        "routes": [{ "host": "short", "service": "app", "timeout": "300ms" }, { "host": "long", "service": "other",
            "timeout": "20s" }],
    }));
    let statuses = ["app", "other", "short", "long"].map(|host| get(proxy.address, host, "/delay/900").status());
    assert_eq!(statuses, [200, 504, 504, 200]);
}

/// Replaces a file of services.
pub fn publish(file: &Path, services: &Value) {
    let new = file.with_extension("new");
    std::fs::write(&new, json!({ "services": services }).to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn an_instance_that_joins_gets_its_share_little_by_little_or_at_once() {
    for (slow_start, state, shares) in [("1h", "slow_start", 0..60), ("0s", "in", 90..110)] {
        let origins = ["old", "new"].map(Origin::named);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("services.json");
        publish(&file, &json!({ "app": [origins[0].address] }));
        let mut config = with(&[], json!({ "slow_start": slow_start, "hedge": "off", "per_try_timeout": "off" }));
        config["services"]["app"].as_object_mut().unwrap().remove("instances");
        config["registries"] = json!({ "file": { "path": file } });
        let proxy = Proxy::start(&config);
        gets(&proxy, 1);
        publish(&file, &json!({ "app": [origins[0].address, origins[1].address] }));
        wait_for("the new instance", SOON, || {
            gets(&proxy, 1);
            app(&proxy)["endpoints"].as_array().unwrap().len() == 2
        });
        // A worker takes a new snapshot up with its next request.
        gets(&proxy, 4);
        let before = origins[1].requests();
        gets(&proxy, 200);
        let got = origins[1].requests() - before;
        assert!(shares.contains(&got), "{slow_start}: {got} of 200");
        let newcomer = origins[1].address.to_string();
        let all = app(&proxy);
        let entry = all["endpoints"].as_array().unwrap().iter().find(|entry| entry["address"] == newcomer).unwrap();
        assert_eq!(entry["state"], state, "{entry}");
    }
}

#[test]
fn idle_connections_are_kept_as_many_and_as_long_as_they_may() {
    let kept = |policies: Value| {
        let go = Word::default();
        let origin = answering_after(&go);
        let proxy = Proxy::start(&with(&[origin.address], policies));
        let mut clients: Vec<_> = (0..6).map(|_| begin(&proxy, "/")).collect();
        wait_for("all of them there", SOON, || origin.requests() == 6);
        go.say(true);
        assert!(clients.iter_mut().all(|client| client.answer().status() == 200));
        (proxy, origin, Instant::now())
    };
    let open = |proxy: &Proxy| proxy.metric("outrigger_upstream_connections", &["app"]).iter().sum::<f64>();
    for most in [2, 0] {
        let (proxy, origin, _) = kept(json!({ "max_idle": most, "idle_timeout": "1h" }));
        wait_for("the others to be closed", SOON, || open(&proxy) == f64::from(most));
        gets(&proxy, 3);
        assert_eq!(origin.connections(), if most == 0 { 9 } else { 6 }, "{most}");
    }
    let (proxy, _origin, since) = kept(json!({ "idle_timeout": "1s" }));
    wait_for("all to be closed", SOON, || open(&proxy) == 0.0);
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
}

#[test]
fn what_follows_a_body_goes_to_instances_that_are_said_to_keep_it_apart_and_to_no_others() {
    let origin = Scripted::answering(OK);
    for (policies, passed) in [(json!({}), None), (json!({ "request_trailers": true }), Some("1"))] {
        let proxy = Proxy::start(&with(&[origin.address], policies));
        let mut client = Connection::open(proxy.address);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nhi\r\n0\r\nX-End: 1\r\n\r\n",
        );
        assert_eq!(client.answer().status(), 200);
        let asked = origin.last();
        assert_eq!((asked.text().as_str(), asked.trailer("x-end")), ("hi", passed));
    }
}

/// Where connections are neither made nor refused: a listener whose backlog is full.
fn deaf() -> (socket2::Socket, SocketAddr, Vec<std::net::TcpStream>) {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let knock = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let held = (0..3).filter_map(|_| knock()).collect();
    (deaf, address, held)
}

#[test]
fn a_tcp_proxy_tries_to_connect_for_as_long_as_it_says() {
    let (_deaf, upstream, _held) = deaf();
    let ended = |timeout: &str| {
        let listen = free_address();
        let tcp = json!([{ "name": "db", "listen": listen, "upstream": upstream, "connect_timeout": timeout }]);
        let proxy = Proxy::start(&json!({ "tcp": tcp }));
        let start = Instant::now();
        let mut client = Connection::open(listen);
        assert!(client.ended());
        wait_for("the failure to be counted", SOON, || {
            proxy.metric("outrigger_tcp_connections_failed_total", &["db"]) == [1.0]
        });
        start.elapsed()
    };
    let (short, long) = (ended("50ms"), ended("1500ms"));
    assert!((Duration::from_millis(50)..Duration::from_millis(1500)).contains(&short), "{short:?}");
    assert!(long >= Duration::from_millis(1500), "{long:?}");
}

#[test]
fn a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears() {
    let serving = Origin::named("a");
    let (allowed, arrived) = (Arc::new(AtomicUsize::new(1)), Arc::new(Mutex::new(Vec::new())));
    let (left, times) = (Arc::clone(&allowed), Arc::clone(&arrived));
    // Answers as many checks as are allowed, and hangs at all others.
    let checks = Scripted::start(move |peer| {
        while peer.request().is_some() {
            times.lock().unwrap().push(Instant::now());
            let one_less = |left: usize| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
                peer.connection.rest();
                return;
            }
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    });
    let policies = json!({ "health_check": { "http": "/well", "host": "shop.example", "port": checks.address.port(),
        "interval": "300ms", "timeout": "299ms", "healthy": 3, "unhealthy": 2 } });
    let proxy = Proxy::start(&with(&[serving.address], policies));
    let check = || app(&proxy)["endpoints"][0]["check"].as_str().unwrap_or_default().to_owned();
    // The first of all counts at once.
    wait_for("a good one", SOON, || check() == "passing");
    wait_for("two bad ones", SOON, || check().starts_with("failing") && check().contains("(2 in a row)"));
    assert!(check().contains("299ms"), "within its time: {}", check());
    allowed.store(2, Ordering::SeqCst);
    let asked = || arrived.lock().unwrap().len();
    wait_for("two good ones", SOON, || allowed.load(Ordering::SeqCst) == 0);
    let before = asked();
    wait_for("the one after them", SOON, || asked() > before);
    assert!(check().starts_with("failing"), "two good ones are not three: {}", check());
    wait_for("three good ones", SOON, || {
        // On a busy machine one of them may come too late, and three more are wanted.
        allowed.compare_exchange(0, 3, Ordering::SeqCst, Ordering::SeqCst).ok();
        check() == "passing"
    });
    let arrived = arrived.lock().unwrap().clone();
    let (count, took) = (arrived.len() as u32, arrived[arrived.len() - 1] - arrived[0]);
    // From the second on, and each up to a fifth sooner.
    let least = Duration::from_millis(240) * (count - 2);
    assert!(took >= least && took < least * 10, "{count} checks within {took:?}");
    let seen = checks.seen();
    let heads: Vec<_> = seen.iter().map(|request| (request.head.target(), request.head.field("host"))).collect();
    assert!(heads.iter().all(|head| *head == ("/well", Some("shop.example"))), "{heads:?}");
    assert_eq!(serving.requests(), 0, "the instance's own port is not asked");
}
