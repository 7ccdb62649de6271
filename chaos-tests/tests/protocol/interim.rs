//! What comes before the answer, or instead of one: 100, 102, 103, upgrades, and answers that do not wait.

use std::sync::mpsc;
use std::time::Duration;

use chaos_tests::fleet::{Origin, Scripted, Speaks};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, Fault, ask};
use serde_json::json;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EXPECT: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn the_body_waits_for_the_origins_100_continue() {
    let (said, told) = mpsc::channel();
    let origin = Scripted::start(move |peer| {
        let Some(head) = peer.head() else { return };
        assert_eq!(head.field("expect"), Some("100-continue"));
        said.send(()).unwrap();
        peer.connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(peer.body(head).unwrap().body, b"hello");
        peer.connection.send(OK);
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send(EXPECT);
    told.recv_timeout(chaos_tests::SOON).expect("the head reaches the origin before the body is sent");
    assert_eq!(client.head().unwrap().status(), 100);
    client.send("hello");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.interim.len()), (200, 0), "one 100, not two");
}

#[test]
fn an_origin_that_refuses_instead_of_100_is_heard_without_the_body() {
    let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let origin = Scripted::start(move |peer| {
        if peer.head().is_some() {
            peer.connection.send(refusal);
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send(EXPECT);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
    assert!(answer.interim.is_empty(), "100 although the origin never said so: {:?}", answer.interim);
    // The body that was announced has to come, or the connection to end: nobody could tell the next request otherwise.
    if !answer.head.lists("connection", "close") {
        client.send(format!("hello{EXPECT}"));
        assert_eq!(client.answer().status(), 413);
    }
}

#[test]
fn a_client_of_an_http2_origin_is_told_to_continue() {
    let origin = Origin::start("a", Speaks::Http2);
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let mut client = Connection::open(proxy.address);
    client.send(EXPECT.replace("POST /", "POST /drain"));
    assert_eq!(client.head().unwrap().status(), 100);
    client.send("hello");
    assert_eq!(client.answer().text(), "5");
}

#[test]
fn processing_and_early_hints_pass_to_http11_and_not_to_http10() {
    let origin = Scripted::answering(format!(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n{OK}"
    ));
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        let statuses: Vec<_> = answer.interim.iter().map(|head| head.status()).collect();
        assert_eq!((statuses, answer.text()), (vec![102, 103, 103], "ok".into()));
        assert_eq!(answer.interim[1].field("Link"), Some("</a.css>; rel=preload"));
    }
    let old = ask(proxy.address, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((old.interim.len(), old.text().as_str()), (0, "ok"));
}

#[test]
fn early_hints_do_not_wait_for_the_answer() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let origin = Scripted::start(move |peer| {
        if peer.request().is_some() {
            peer.connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            gone.lock().unwrap().recv_timeout(chaos_tests::SOON).expect("the client has the hints");
            peer.connection.send(OK);
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 103);
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_upgraded_connection_is_a_pipe_that_closes_one_way_at_a_time() {
    let origin = Scripted::start(|peer| {
        let Some(request) = peer.request() else { return };
        assert_eq!(request.head.field("upgrade"), Some("echo/1"));
        assert!(request.head.lists("connection", "upgrade"));
        // The server speaks first, in the same segment as the head.
        peer.connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Mine: 1\r\n\r\nwelcome",
        );
        let (all, fault) = peer.connection.rest();
        assert_eq!(fault, Fault::Cut, "the client's end of sending is seen");
        peer.connection.send(all);
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    // So does the client.
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo/1\r\n\r\nearly ");
    let answer = client.answer();
    assert_eq!(answer.status(), 101);
    assert_eq!((answer.field("upgrade"), answer.field("x-mine")), (Some("echo/1"), Some("1")));
    assert!(answer.head.lists("connection", "upgrade"));
    assert_eq!(client.bytes(7).unwrap(), b"welcome");
    let large = chaos_tests::pattern(1 << 20);
    client.send(&large);
    client.finish();
    let (rest, fault) = client.rest();
    assert_eq!(fault, Fault::Cut);
    assert!(rest.starts_with(b"early ") && rest[6..] == large[..], "{} bytes came back", rest.len());
}

#[test]
fn an_upgrade_that_the_origin_does_not_take_is_an_ordinary_exchange() {
    let origin = Scripted::answering(OK);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn an_answer_does_not_wait_for_the_end_of_a_large_upload() {
    let origin = Scripted::start(|peer| {
        if peer.head().is_some() {
            peer.connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
            // Reads nothing for a while, so that nothing but the answer can end the upload.
            std::thread::sleep(Duration::from_secs(2));
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    for head in ["Content-Length: 52428800", "Transfer-Encoding: chunked"] {
        let mut client = Connection::open(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"));
        let mut writer = Connection::from(client.stream());
        let writing = std::thread::spawn(move || {
            let mut piece = b"10000\r\n".to_vec();
            piece.extend(vec![b'a'; 65536]);
            piece.extend(b"\r\n");
            while writer.try_send(&piece).is_ok() {}
        });
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"), "{head}");
        drop(client);
        writing.join().unwrap();
    }
}

#[test]
fn an_early_answer_of_an_origin_that_goes_on_reading_lets_the_connection_live() {
    let origin = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            peer.connection.send(OK);
            if peer.body(head).is_none() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "ok");
    if !answer.head.lists("connection", "close") {
        client.send(vec![b'a'; 100_000]);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_switch_to_what_was_not_asked_for_is_a_502_and_no_tunnel() {
    for (granted, through) in [
        ("Upgrade: echo/1", true),
        ("Upgrade: ECHO/1", true),
        ("Upgrade: chat, echo/1", true),
        ("X-No: upgrade", false),
        ("Upgrade:", false),
        ("Upgrade: other", false),
        ("Upgrade: echo", false),
        ("Upgrade: echo/1, other", false),
        ("Upgrade: echo/1\r\nUpgrade: other", false),
    ] {
        let origin = Scripted::start(move |peer| {
            if peer.request().is_some() {
                let head = format!("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n{granted}\r\n\r\ntunnelled");
                let _gone = peer.connection.try_send(head);
                while peer.connection.bytes(1).is_ok() {}
            }
        });
        let proxy = Proxy::before(&[origin.address]);
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat, echo/1\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!(head.status(), if through { 101 } else { 502 }, "{granted}");
        if through {
            assert_eq!(client.bytes(9).unwrap(), b"tunnelled");
        }
    }
}
