//! Attempts after one that failed: for whom, where, how many, and within which time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Fault, Origin, Scripted, Speaks};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::{Connection, ask, get};
use chaos_tests::{SOON, h2, wait_for};
use serde_json::{Value, json};

use crate::stage::{OK, POST, STUCK, error, in_turn, statuses};

#[test]
fn a_refused_connection_moves_a_request_of_any_method_to_another_instance() {
    let good = Scripted::answering(OK);
    let proxy = Proxy::start(&in_turn(&[free_address(), good.address, free_address()]));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = POST.replace("POST", method);
        assert_eq!(statuses(&proxy, &request, 6), BTreeMap::from([(200, 6)]), "{method}");
    }
    assert!(good.seen().iter().all(|request| request.body == b"hello"), "a body was lost on the way");
    assert_eq!(good.seen().len(), 36);
}

/// A listener whose backlog is full drops what knocks: connections to it are neither made nor refused.
struct Deaf {
    address: std::net::SocketAddr,
    _held: (socket2::Socket, Vec<std::io::Result<std::net::TcpStream>>),
}

impl Deaf {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let knock = move || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let knocks: Vec<_> = (0..3).map(|_| std::thread::spawn(knock)).collect();
        Self { address, _held: (socket, knocks.into_iter().map(|knock| knock.join().unwrap()).collect()) }
    }
}

#[test]
fn a_burst_at_the_start_loses_nothing_to_an_instance_that_takes_no_connections() {
    const REQUESTS: usize = 240;
    let (deaf, one, other) = (Deaf::new(), Origin::named("one"), Origin::named("other"));
    let proxy = Proxy::before(&[deaf.address, one.address, other.address]);
    let clients: Vec<_> = (0..REQUESTS).map(|_| Connection::open(proxy.address)).collect();
    let asking = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            client.send(POST.replace("/ ", "/delay/20 "));
            client.answer().status()
        })
    });
    let asking: Vec<_> = asking.collect();
    let statuses: Vec<_> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
    let lost: Vec<_> = statuses.iter().filter(|status| **status != 200).collect();
    // Each of them could be sent elsewhere: it was not written anywhere. The budget holds thirty tokens at the start.
    assert!(lost.is_empty(), "{} of {REQUESTS} were lost: {lost:?}", lost.len());
    assert_eq!(one.requests() + other.requests(), REQUESTS, "some were sent twice");
}

#[test]
fn a_request_that_was_never_written_finds_the_one_instance_of_seven_that_takes_connections() {
    let good = Scripted::answering(OK);
    let gone: Vec<_> = (0..6).map(|_| free_address()).collect();
    let mut config = in_turn(&[&gone[..], &[good.address]].concat());
    config["services"]["app"]["outlier"] = json!("off");
    config["services"]["app"]["retries"] = json!({ "max": 0, "budget": "0%", "min_per_second": 0 });
    let proxy = Proxy::start(&config);
    assert_eq!(statuses(&proxy, POST, 20), BTreeMap::from([(200, 20)]));
}

#[test]
fn a_connection_that_is_not_made_in_time_moves_a_request_to_another_instance() {
    let deaf = Deaf::new();
    let address = deaf.address;
    let good = Origin::named("good");
    let mut config = in_turn(&[address, good.address]);
    config["services"]["app"]["connect_timeout"] = json!("200ms");
    let proxy = Proxy::start(&config);
    assert_eq!(statuses(&proxy, POST, 4), BTreeMap::from([(200, 4)]));

    let mut config = in_turn(&[address]);
    config["services"]["app"]["connect_timeout"] = json!("200ms");
    let proxy = Proxy::start(&config);
    let answer = ask(proxy.address, POST);
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert!(error(&answer).contains("connection_timeout"), "{}", error(&answer));
}

#[test]
fn nobody_to_connect_to_is_a_502_that_says_so() {
    let proxy = Proxy::before(&[free_address(), free_address()]);
    let answer =
        ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status(), 502);
    assert!(error(&answer).contains("error=connection_refused"), "{}", error(&answer));
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON for a client that accepts it");
    assert!(body.to_string().contains("app"), "which service: {body}");
    let text = get(proxy.address, "a", "/");
    assert!(text.field("content-type").unwrap().starts_with("text/plain"), "{:?}", text.head);
}

#[test]
fn a_failed_idempotent_request_is_tried_again_on_another_instance() {
    let faults = [
        Fault::Reset,
        Fault::Close,
        Fault::Status(502),
        Fault::Status(503),
        Fault::Status(504),
        Fault::Bytes(b"this is not HTTP\r\n\r\n".to_vec()),
    ];
    for fault in faults {
        let (bad, good) = (Scripted::faulty(fault.clone()), Scripted::answering(OK));
        let proxy = Proxy::start(&in_turn(&[bad.address, good.address]));
        for method in ["GET", "PUT", "DELETE"] {
            let request = POST.replace("POST", method);
            assert_eq!(statuses(&proxy, &request, 6), BTreeMap::from([(200, 6)]), "{method}, {fault:?}");
        }
        assert!(bad.requests() > 0, "the bad one was never asked");
        assert!(good.seen().iter().all(|request| request.body == b"hello"), "{fault:?}: a body was lost");
    }
}

#[test]
fn a_failed_idempotent_request_over_http2_is_tried_again_on_another_instance() {
    let (bad, good) = (Scripted::faulty(Fault::Reset), Origin::named("good"));
    let proxy = Proxy::start(&in_turn(&[bad.address, good.address]));
    let mut client = h2::Client::open(proxy.address, "a");
    for _ in 0..6 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(bad.requests() > 0);
}

#[test]
fn a_post_is_not_sent_twice_once_a_byte_of_it_was() {
    for fault in [Fault::Reset, Fault::Close, Fault::Status(503), Fault::Status(502)] {
        let (one, two) = (Scripted::faulty(fault.clone()), Scripted::faulty(fault.clone()));
        let proxy = Proxy::start(&in_turn(&[one.address, two.address]));
        for sent in 1..=4 {
            let answer = ask(proxy.address, POST);
            match fault {
                Fault::Status(status) => assert_eq!(answer.status(), status, "the origin's own answer"),
                _ => assert_eq!((answer.status(), error(&answer).contains("connection_terminated")), (502, true)),
            }
            let arrived = one.requests() + two.requests();
            assert_eq!(arrived, sent, "{fault:?}: {sent} requests arrived {arrived} times");
        }
    }
}

#[test]
fn attempts_are_bounded_and_each_goes_to_another_instance() {
    let origins: Vec<_> = (0..5).map(|_| Scripted::faulty(Fault::Reset)).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut config = in_turn(&addresses);
    config["services"]["app"]["retries"] = json!({ "max": 2 });
    let proxy = Proxy::start(&config);
    let answer = get(proxy.address, "a", "/");
    assert_eq!(answer.status(), 502);
    let counts: Vec<_> = origins.iter().map(Scripted::requests).collect();
    assert_eq!(counts.iter().sum::<usize>(), 3, "one attempt and two more: {counts:?}");
    assert!(counts.iter().all(|count| *count < 2), "twice at one: {counts:?}");

    let alone = Scripted::faulty(Fault::Reset);
    let mut config = in_turn(&[alone.address]);
    config["services"]["app"]["retries"] = json!({ "max": 0 });
    let proxy = Proxy::start(&config);
    assert_eq!(get(proxy.address, "a", "/").status(), 502);
    assert_eq!(alone.requests(), 1);
}

/// An origin of which a request's first attempt has no answer for long, its second a bad one, and its third a good one.
fn good_at_last() -> Scripted {
    Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            let answer = match request.field("x-envoy-attempt-count") {
                None => {
                    std::thread::sleep(STUCK);
                    OK
                }
                Some("2") => "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno",
                Some(_) => OK,
            };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn where_the_attempt_beside_a_late_one_fails_a_third_is_made_and_the_late_one_is_not_waited_for() {
    for pool in [3, 2] {
        let origins: Vec<_> = (0..pool).map(|_| good_at_last()).collect();
        let mut config = in_turn(&origins.iter().map(|origin| origin.address).collect::<Vec<_>>());
        config["services"]["app"]["per_try_timeout"] = json!("200ms");
        let proxy = Proxy::start(&config);
        let start = Instant::now();
        assert_eq!(get(proxy.address, "a", "/").status(), 200, "a pool of {pool}");
        let took = start.elapsed();
        assert!(took < STUCK / 2, "a pool of {pool}: the late one was waited for: {took:?}");
        let asked: usize = origins.iter().map(Scripted::requests).sum();
        assert_eq!(asked, 3, "a pool of {pool}");
    }
}

#[test]
fn what_every_instance_answered_reaches_the_client_as_it_is() {
    let body = "HTTP/1.1 503 Come Later\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater";
    let (one, two) = (Scripted::answering(body), Scripted::answering(body));
    let proxy = Proxy::start(&in_turn(&[one.address, two.address]));
    let answer = get(proxy.address, "a", "/");
    assert_eq!((answer.head.start.as_str(), answer.text().as_str()), ("HTTP/1.1 503 Come Later", "later"));
    assert_eq!(answer.field("retry-after"), Some("7"));
    assert!(one.requests() + two.requests() >= 2, "no other attempt was made");
}

/// An origin whose connections die after their first answer, when the next request is already on its way: a reset
/// that nobody could have seen coming.
fn forgetful() -> Scripted {
    Scripted::start(|peer| {
        if peer.request().is_some() {
            peer.connection.send(OK);
            // Waits for the first byte of the next request, and closes unread: the kernel resets.
            peer.connection.bytes(1).ok();
        }
    })
}

#[test]
fn a_request_lost_on_a_stale_connection_is_sent_again_once_and_free() {
    let origin = forgetful();
    let mut config = proxy::to(&[origin.address]);
    // Not one of the policy's attempts: there are none.
    config["services"]["app"]["retries"] = json!({ "max": 0 });
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    for n in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status(), 200, "request {n}: {}", answer.text());
    }
}

#[test]
fn a_connection_that_the_origin_closed_while_idle_is_not_used() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&closed);
    let origin = Scripted::start(move |peer| {
        if peer.request().is_some() {
            peer.connection.send(OK);
            // Over loopback the other end knows of it when this returns.
            peer.connection.finish();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for n in 0..20 {
        client.send(POST.replace("Connection: close\r\n", ""));
        let answer = client.answer();
        assert_eq!(answer.status(), 200, "POST {n}: {}", answer.text());
        wait_for("the origin to have closed", SOON, || closed.load(Ordering::SeqCst) > n);
    }
    assert_eq!(origin.requests(), 20);
}

#[test]
fn a_request_without_an_answer_in_time_is_a_504_that_says_so() {
    for protocol in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("slow", protocol);
        let mut config = proxy::to(&[origin.address]);
        config["services"]["app"]["timeout"] = json!("500ms");
        config["services"]["app"]["protocol"] = json!(if protocol == Speaks::Http2 { "http2" } else { "http1" });
        let proxy = Proxy::start(&config);
        let started = Instant::now();
        let answer = get(proxy.address, "a", "/delay/30000");
        let took = started.elapsed();
        assert_eq!(answer.status(), 504, "{}", answer.text());
        assert!(error(&answer).contains("http_response_timeout"), "{}", error(&answer));
        assert!(took >= Duration::from_millis(450) && took < SOON, "after {took:?}");
        wait_for("the end of the request at the origin", SOON, || origin.gone() == 1);
        // Whoever waits in vain does not stop others.
        assert_eq!(get(proxy.address, "a", "/").status(), 200);
    }
}

#[test]
fn a_timeout_runs_from_the_end_of_a_body_over_http2_whoever_reads_it() {
    for protocol in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("slow", protocol);
        let mut config = proxy::to(&[origin.address]);
        config["services"]["app"]["timeout"] = json!("500ms");
        config["services"]["app"]["protocol"] = json!(if protocol == Speaks::Http2 { "http2" } else { "http1" });
        let proxy = Proxy::start(&config);
        let mut client = h2::Client::open(proxy.address, "a");
        let started = Instant::now();
        let answer = client.ask("POST", "/delay/30000", &[], b"hello".to_vec(), http::HeaderMap::new());
        let took = started.elapsed();
        assert_eq!(answer.status(), 504);
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{protocol:?}: after {took:?}");
    }
}

#[test]
fn the_timeout_bounds_all_attempts_together() {
    let hang = || Scripted::faulty(Fault::Hang);
    let origins = [hang(), hang(), hang()];
    let mut config = in_turn(&origins.each_ref().map(|origin| origin.address));
    config["services"]["app"]["timeout"] = json!("500ms");
    let proxy = Proxy::start(&config);
    let answer = get(proxy.address, "a", "/");
    assert_eq!(answer.status(), 504);
}
