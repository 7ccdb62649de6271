//! Where a message ends, and what may follow it.

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, Fault, Framing};
use chaos_tests::{SOON, pattern};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    let origin = Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            let answer = match request.head.target() {
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-A: 1\r\n\r\n",
                "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n",
                "/none" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => OK,
            };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    let mut ask = |method: &str, path: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.try_answer(method).unwrap_or_else(|broken| panic!("{method} {path}: {broken}"));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "ok", "after {method} {path}");
        answer
    };
    let head = ask("HEAD", "/head");
    assert_eq!((head.field("content-length"), head.field("x-a")), (Some("1000"), Some("1")));
    ask("HEAD", "/head-chunked");
    let empty = ask("GET", "/204");
    assert_eq!((empty.status(), empty.field("content-length"), empty.field("transfer-encoding")), (204, None, None));
    assert_eq!(ask("GET", "/304").field("etag"), Some("\"x\""));
    assert_eq!(ask("GET", "/none").field("content-length"), Some("0"));
    assert_eq!(origin.connections(), 1, "one connection to the origin did for all");
}

#[test]
fn a_body_that_ends_with_the_origins_connection_arrives_whole() {
    let body = pattern(300_000);
    let bytes = body.clone();
    let origin = Scripted::start(move |peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.0 200 OK\r\n\r\n");
            peer.connection.send(&bytes);
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert!(answer.body == body, "{} bytes", answer.body.len());
        assert_eq!(answer.framing, Framing::Chunked, "the client's connection need not end for it");
        assert_eq!(answer.head.version(), "HTTP/1.1");
    }
    let mut old = Connection::open(proxy.address);
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = old.answer();
    assert!(answer.body == body && answer.framing == Framing::Close, "{:?}", answer.head);
}

#[test]
fn an_old_client_gets_no_chunks_and_keeps_its_connection_only_on_request() {
    let origin = Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            let answer = match request.head.target() {
                "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                _ => OK,
            };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("GET /chunks HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.framing), ("hello", Framing::Close));
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    assert!(client.ended());
    let mut client = Connection::open(proxy.address);
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.text(), "ok");
        if !answer.head.lists("connection", "keep-alive") {
            assert!(client.ended(), "kept, but not told so");
            return;
        }
    }
}

#[test]
fn a_client_that_says_close_is_closed_after_its_answer() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert!(answer.head.lists("connection", "close"), "{:?}", answer.head);
    assert!(client.ended());
    // The origin's connection is another matter: it is kept for the next client.
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_origin_that_says_close_is_not_asked_again_on_that_connection() {
    let origin = Scripted::start(|peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            peer.connection.patience(std::time::Duration::from_secs(1));
            assert!(peer.request().is_none(), "asked again after Connection: close");
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.text(), "ok");
        assert!(!answer.head.lists("connection", "close"), "the origin's close is not the client's");
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    let requests: String = [300, 0, 100, 50, 0]
        .iter()
        .map(|delay| format!("POST /delay/{delay} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
        .chain((0..20).map(|n| format!("GET /bytes/{} HTTP/1.1\r\nHost: a\r\n\r\n", n * 1000)))
        .collect();
    client.send(requests);
    for _ in 0..5 {
        assert_eq!(client.answer().text(), "a\n");
    }
    for n in 0..20 {
        assert!(client.answer().body == pattern(n * 1000), "answer {n}");
    }
}

#[test]
fn it_does_not_matter_how_bytes_are_cut_into_segments() {
    let origin = Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\nX-T: 1\r\n\r\n",
                request.body.len(),
                request.text()
            );
            for byte in answer.as_bytes() {
                if peer.connection.try_send([*byte]).is_err() {
                    return;
                }
                std::thread::yield_now();
            }
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    for byte in request {
        client.send([*byte]);
        std::thread::yield_now();
    }
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.trailer("x-t")), ("hello world", Some("1")));
    // The same cut in two at every place.
    for at in 1..request.len() {
        client.send(&request[..at]);
        std::thread::sleep(std::time::Duration::from_micros(200));
        client.send(&request[at..]);
        assert_eq!(client.answer().text(), "hello world", "cut at {at}");
    }
}

#[test]
fn a_client_that_ends_in_the_middle_of_its_body_ends_the_request_at_the_origin() {
    let (send, ended) = std::sync::mpsc::channel();
    let origin = Scripted::start(move |peer| {
        if let Some(head) = peer.head() {
            let broken = peer.connection.request_body(head).map(|m| m.head).expect_err("a whole body");
            send.send(broken.fault).unwrap();
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let parts = ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"];
    for (nth, head) in parts.into_iter().enumerate() {
        let mut client = Connection::open(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        // The origin has to have seen a part before the end, or there may be nothing to end.
        chaos_tests::wait_for("the request at the origin", SOON, || origin.requests() > nth);
        drop(client);
        let fault = ended.recv_timeout(SOON).expect("an end at the origin");
        assert!(matches!(fault, Fault::Cut | Fault::Reset), "{fault:?}");
    }
}

#[test]
fn an_empty_line_before_a_request_is_passed_over_and_a_flood_of_them_is_not() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let requests =
        [format!("{post}\r\n{post}"), format!("\r\n\r\n{post}"), format!("\r\n\r\n\r\n\r\n{post}"), post.into()];
    for requests in &requests {
        client.send(requests);
        for _ in 0..requests.matches("POST").count() {
            assert_eq!(client.answer().text(), "ok", "{requests}");
        }
    }
    // Cut anywhere.
    for byte in format!("\r\n{post}").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(origin.requests(), 6);
    for bad in ["\r\n".repeat(5) + post, format!("\n{post}"), format!("\r{post}"), format!("\r\n\n{post}")] {
        let mut client = Connection::open(proxy.address);
        client.send(&bad);
        assert_eq!(client.answer().status(), 400, "{bad:?}");
    }
}

#[test]
fn an_expectation_of_a_request_without_a_body_goes_no_further() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for fields in ["", "Content-Length: 0\r\n"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{fields}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.interim.len()), ("ok", 0));
        assert_eq!(origin.last().head.field("expect"), None, "{fields}");
    }
}

#[test]
fn a_refusal_names_the_rule_of_framing_that_was_broken() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::before(&[origin.address]);
    for (fields, rule) in [
        ("Content-Length: 3\r\nContent-Length: 3", "Content-Length is stated twice"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", "Content-Length and Transfer-Encoding are both stated"),
        ("Content-Length: +3", "Content-Length is no decimal number below 2^63"),
        ("Transfer-Encoding: gzip", "Transfer-Encoding is not exactly chunked"),
    ] {
        let mut client = Connection::open(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        let answer = client.answer();
        assert!(answer.text().contains(rule), "{fields}: {}", answer.text());
        assert!(
            answer.field("proxy-status").is_some_and(|status| status.contains(rule)),
            "{fields}: {:?}",
            answer.head
        );
    }
    assert_eq!(origin.requests(), 0);
}
