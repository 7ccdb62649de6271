//! Which connections are used again: none that is in doubt for a request that cannot be repeated, and all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chaos_tests::fleet::{Origin, Scripted, Speaks};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use serde_json::json;

use crate::stage::OK;

const MS: Duration = Duration::from_millis(1);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// One worker, so that it is known what was learned.
fn before(origin: std::net::SocketAddr) -> Proxy {
    let mut config = proxy::to(&[origin]);
    config["workers"] = json!(1);
    Proxy::start(&config)
}

/// An origin that closes each connection, without a word, so long after it has answered one request on it.
fn forgetful(after: Duration) -> Scripted {
    Scripted::start(move |peer| {
        if peer.request().is_some() && peer.connection.try_send(OK).is_ok() {
            std::thread::sleep(after);
        }
    })
}

#[test]
fn a_post_is_not_put_on_connections_of_which_all_before_have_died() {
    let origin = forgetful(3 * MS);
    let proxy = before(origin.address);
    let mut client = Connection::open(proxy.address);
    let mut statuses = Vec::new();
    for _ in 0..300 {
        client.send(GET);
        assert_eq!(client.answer().status(), 200, "what may be repeated is, and nobody notices");
        client.send(POST);
        statuses.push(client.answer().status());
    }
    let lost = |statuses: &[u16]| statuses.iter().filter(|status| **status != 200).count();
    assert!(lost(&statuses) <= 10, "{} of 300 POSTs were lost", lost(&statuses));
    assert!(lost(&statuses[100..]) <= 1, "{} of 200 POSTs were lost after a hundred", lost(&statuses[100..]));
}

#[test]
fn a_service_that_gets_nothing_but_posts_learns_from_those_that_it_loses() {
    let origin = forgetful(3 * MS);
    let proxy = before(origin.address);
    let mut client = Connection::open(proxy.address);
    let mut status = || {
        client.send(POST);
        client.answer().status()
    };
    let lost = (0..300).filter(|_| status() != 200).count();
    assert!(lost <= 10, "{lost} of 300 POSTs were lost");
}

#[test]
fn a_post_takes_no_connection_near_the_age_at_which_its_instance_closes_them() {
    // It keeps a connection for 200 ms, and tells which one a request came on.
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let origin = Scripted::start(move |peer| {
        peer.connection.patience(200 * MS);
        while peer.request().is_some() {
            counted.store(peer.nth, Ordering::SeqCst);
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    });
    let proxy = before(origin.address);
    let mut client = Connection::open(proxy.address);
    let mut on = |request: &str| {
        client.send(request);
        assert_eq!(client.answer().status(), 200);
        served.load(Ordering::SeqCst)
    };
    // Three have been found closed.
    for _ in 0..4 {
        on(GET);
        std::thread::sleep(300 * MS);
    }
    let kept = on(GET);
    assert_eq!(on(POST), kept, "one that was used just now");
    std::thread::sleep(170 * MS);
    assert_ne!(on(POST), kept, "one that may be about to be closed");
}

#[test]
fn posts_to_an_instance_that_keeps_its_connections_use_them_again() {
    let origin = Origin::named("a");
    let proxy = before(origin.address);
    let mut client = Connection::open(proxy.address);
    for _ in 0..300 {
        client.send(POST);
        assert_eq!(client.answer().status(), 200);
    }
    assert!(origin.connections() <= 3, "{} connections for one request at a time", origin.connections());
}

#[test]
fn one_restart_of_an_instance_does_not_end_the_use_of_its_connections() {
    let closing = Arc::new(AtomicUsize::new(0));
    let closed = Arc::clone(&closing);
    let origin = Scripted::start(move |peer| {
        peer.connection.patience(10 * MS);
        let born = closed.load(Ordering::SeqCst);
        loop {
            match peer.connection.request() {
                Ok(_) if peer.connection.try_send(OK).is_err() => return,
                Ok(_) => {}
                Err(_) if closed.load(Ordering::SeqCst) != born || peer.connection.ended() => return,
                Err(_) => {}
            }
        }
    });
    let proxy = before(origin.address);
    let mut client = Connection::open(proxy.address);
    let mut post = |times: usize| {
        let mut status = || {
            client.send(POST);
            client.answer().status()
        };
        (0..times).filter(|_| status() != 200).count()
    };
    assert_eq!(post(50), 0);
    closing.store(1, Ordering::SeqCst);
    std::thread::sleep(50 * MS);
    assert_eq!(post(100), 0);
    assert!(origin.connections() <= 4, "{} connections", origin.connections());
}

#[test]
fn posts_over_http2_share_a_connection_that_is_kept() {
    let origin = Origin::start("a", Speaks::Http2);
    let mut config = proxy::to(&[origin.address]);
    config["workers"] = json!(1);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    for _ in 0..100 {
        client.send(POST);
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}
