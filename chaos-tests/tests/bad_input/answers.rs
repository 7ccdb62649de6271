//! What an origin may not send.

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{self, Connection, get};
use chaos_tests::{SOON, wait_for};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that answers `/bad` with the bytes and lets the connection open, and everything else well.
fn origin(bad: &[u8]) -> Scripted {
    let bad = bad.to_vec();
    Scripted::start(move |peer| {
        let mut spoiled = false;
        while let Some(request) = peer.request() {
            assert!(!spoiled, "the connection was used again, for {}", request.head.start);
            spoiled = request.head.target() == "/bad";
            let answer = if spoiled { bad.as_slice() } else { GOOD.as_bytes() };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}

/// Asks for the bad answer; says what is wrong with what the proxy makes of it.
fn refused(name: &str, bad: &[u8]) -> Vec<String> {
    let mut faults = Vec::new();
    let origin = origin(bad);
    let proxy = Proxy::before(&[origin.address]);
    let mut bystander = Connection::open(proxy.address);
    bystander.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(bystander.answer().status(), 200);
    // POST, so that no other attempt is made.
    let mut client = Connection::open(proxy.address);
    client.send("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    match client.try_answer("POST") {
        Ok(answer) if answer.status() != 502 => faults.push(format!("{name}: expected 502, got {:?}", answer.head)),
        Ok(answer) if answer.field("proxy-status").is_none() => faults.push(format!("{name}: no Proxy-Status")),
        Ok(_) => {}
        Err(broken) => faults.push(format!("{name}: expected 502, got {broken}")),
    }
    bystander.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\n");
    if bystander.answer().text() != "ok" {
        faults.push(format!("{name}: the bystander was not served"));
    }
    faults
}

#[test]
fn an_answer_that_breaks_the_grammar_is_a_502_and_its_connection_is_not_used_again() {
    let head = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").into_bytes();
    let huge = "a".repeat(70_000);
    let many: String = (0..1000).map(|n| format!("X-{n}: a\r\n")).collect();
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let cases: &[(&str, Vec<u8>)] = &[
        ("length and coding", head("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked)),
        ("two lengths", head("Content-Length: 5\r\nContent-Length: 6", "hello!")),
        ("a list of lengths", head("Content-Length: 5, 6", "hello!")),
        ("a signed length", head("Content-Length: +5", "hello")),
        ("gzip, chunked", head("Transfer-Encoding: gzip, chunked", chunked)),
        ("xchunked", head("Transfer-Encoding: xchunked", chunked)),
        ("chunked twice", head("Transfer-Encoding: chunked, chunked", chunked)),
        ("a coding in HTTP/1.0", format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}").into()),
        ("a folded field", head("X: a\r\n b\r\nContent-Length: 2", "ok")),
        ("a bare CR", head("X: a\rb\r\nContent-Length: 2", "ok")),
        ("a bare LF", head("X: a\nContent-Length: 2", "ok")),
        ("a space before the colon", head("Content-Length : 2", "ok")),
        ("a NUL", head("X: a\0b\r\nContent-Length: 2", "ok")),
        ("a blank line before", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        ("garbage", b"what is this\r\n\r\n".to_vec()),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("a version of the future", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        ("101 that nobody asked for", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n".to_vec()),
        ("a field too large", head(&format!("X: {huge}\r\nContent-Length: 2"), "ok")),
        ("too many fields", head(&format!("{many}Content-Length: 2"), "ok")),
    ];
    let faults: Vec<_> = cases.iter().flat_map(|(name, bad)| refused(name, bad)).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn chunks_that_break_the_grammar_never_end_cleanly() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = ["0x5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello", "ffffffffffffffff1\r\nhello", "5\nhello\r\n0\r\n\r\n"];
    let cases =
        cases.iter().chain(&["5\r\nhello0\r\n\r\n", "5\r\nhello\r\n0\r\nX\r\n\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n"]);
    for case in cases {
        let origin = origin(format!("{head}{case}").as_bytes());
        let proxy = Proxy::before(&[origin.address]);
        let mut client = Connection::open(proxy.address);
        client.send("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        if let Ok(answer) = client.try_answer("POST") {
            assert_eq!(answer.status(), 502, "a whole answer came of {case:?}: {:?}", answer.text());
        }
        assert_eq!(get(proxy.address, "a", "/good").text(), "ok");
    }
}

#[test]
fn bytes_after_an_answer_are_not_the_next_answer() {
    let origin =
        origin(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for _ in 0..5 {
        client.send("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
        client.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_body_that_breaks_off_is_never_a_clean_end() {
    for fault in [Fault::ResetInBody(100_000), Fault::CutBody(100_000)] {
        let origin = Scripted::faulty(fault.clone());
        let proxy = Proxy::before(&[origin.address]);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let broken = client.try_answer("GET").map(|m| m.head).expect_err(&format!("{fault:?} ended cleanly"));
        assert!(matches!(broken.fault, raw::Fault::Cut | raw::Fault::Reset), "{fault:?}: {broken}");
    }
    // One that has begun to stream before it breaks off. An HTTP/1.0 client cannot tell a close from an end, except by the
    // length; chunks have none to tell it.
    let origin = Scripted::start(|peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            // Streams for a while: what is done here, since the proxy does not say when it has passed something on.
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    for (version, expected) in [("1.1", raw::Fault::Cut), ("1.0", raw::Fault::Reset)] {
        let mut client = Connection::open(proxy.address);
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let broken = client.try_answer("GET").map(|m| m.head).expect_err("a clean end");
        assert_eq!(broken.fault, expected, "HTTP/{version}: {broken}");
    }
}

#[test]
fn a_small_answer_that_breaks_off_is_a_502_and_no_half_answer() {
    for fault in [Fault::ResetInBody(1_000), Fault::CutBody(1_000), Fault::CutChunks] {
        let origin = Scripted::faulty(fault.clone());
        let proxy = Proxy::before(&[origin.address]);
        for version in ["1.1", "1.0"] {
            let mut client = Connection::open(proxy.address);
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let answer = client.answer();
            assert_eq!(answer.status(), 502, "{fault:?} in HTTP/{version}");
            assert!(answer.text().contains("upstream_closed"), "{fault:?}: {}", answer.text());
        }
    }
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_origin() {
    let origin = chaos_tests::fleet::Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("GET /delay/4000 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request at the origin", SOON, || origin.requests() == 1);
    let left = std::time::Instant::now();
    drop(client);
    wait_for("its end", SOON, || origin.gone() == 1);
    assert!(left.elapsed() < std::time::Duration::from_secs(2), "the origin worked on for {:?}", left.elapsed());

    let mut reader = Connection::open(proxy.address);
    reader.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    reader.bytes(1_000_000).expect("a part of it");
    drop(reader);
    wait_for("the end of the endless answer", SOON, || origin.gone() == 2);
}
