//! Bodies and trailers, byte for byte, in all four combinations of HTTP/1.1 and HTTP/2.

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, Framing, Message};
use chaos_tests::{h2, pattern};
use http::HeaderMap;
use serde_json::json;

const LARGE: usize = 10 * 1024 * 1024;

fn before(origin: &Origin, speaks: Speaks) -> Proxy {
    let mut config = proxy::to(&[origin.address]);
    config["services"]["app"]["protocol"] = json!(if speaks == Speaks::Http2 { "http2" } else { "http1" });
    config["services"]["app"]["timeout"] = json!("60s");
    config["services"]["app"]["request_trailers"] = json!(true);
    Proxy::start(&config)
}

/// Sends while it reads: an echo of 10 MiB does not fit into anybody's buffers.
fn exchange(client: &mut Connection, bytes: Vec<u8>) -> Message {
    let mut writer = Connection::from(client.stream());
    let writing = std::thread::spawn(move || writer.send(bytes));
    let answer = client.answer();
    writing.join().unwrap();
    answer
}

fn chunked(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut wire, mut rest, mut sizes) = (Vec::new(), body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
    }
    wire
}

fn http1_to(speaks: Speaks) {
    let origin = Origin::start("a", speaks);
    let proxy = before(&origin, speaks);
    let mut client = Connection::open(proxy.address);
    let body = pattern(LARGE);

    client.send(format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(client.answer().body == body, "10 MiB down");

    let mut request = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
    request.extend_from_slice(&body);
    assert!(exchange(&mut client, request).body == body, "10 MiB up and down, with a length");

    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n";
    let mut request = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    request.extend(chunked(&body, &[1, 70_000, 16_384, 3, 65_536, 999]));
    request.extend_from_slice(b"0\r\nX-Sum: 12345\r\n\r\n");
    let answer = exchange(&mut client, request);
    assert!(answer.body == body, "10 MiB up and down, in chunks");
    assert_eq!(answer.framing, Framing::Chunked);
    assert_eq!(answer.trailer("x-sum"), Some("12345"), "trailers up and down");

    client.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.trailer("x-checksum")), ("with trailers", Some("abc")));

    client.send("POST /drain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "0", "an empty chunked body");
}

fn http2_to(speaks: Speaks) {
    let origin = Origin::start("a", speaks);
    let proxy = before(&origin, speaks);
    let mut client = h2::Client::open(proxy.address, "a");
    let body = pattern(LARGE);

    let answer = client.get(&format!("/bytes/{LARGE}"));
    assert!(answer.body == body, "10 MiB down, {} bytes came", answer.body.len());

    let length = LARGE.to_string();
    let answer = client.ask("POST", "/echo", &[("content-length", &length)], body.clone(), HeaderMap::new());
    assert!(answer.body == body, "10 MiB up and down, with a length");

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("12345"));
    let answer = client.ask("POST", "/echo", &[("te", "trailers"), ("trailer", "x-sum")], body.clone(), trailers);
    assert!(answer.body == body, "10 MiB up and down, without a length");
    assert_eq!(answer.trailers.get("x-sum").map(|v| v.as_bytes()), Some(&b"12345"[..]), "trailers up and down");

    let answer = client.ask("GET", "/trailers", &[("te", "trailers")], vec![], HeaderMap::new());
    assert_eq!(answer.body, b"with trailers");
    assert_eq!(answer.trailers.get("x-checksum").map(|v| v.as_bytes()), Some(&b"abc"[..]));

    let answer = client.ask("HEAD", "/bytes/100", &[], vec![], HeaderMap::new());
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    assert_eq!(client.get("/status/204").status(), 204);
    assert_eq!(client.get("/status/304").status(), 304);
}

#[test]
fn http1_to_http1_carries_bodies_and_trailers_whole() {
    http1_to(Speaks::Http1);
}

#[test]
fn http1_to_http2_carries_bodies_and_trailers_whole() {
    http1_to(Speaks::Http2);
}

#[test]
fn http2_to_http1_carries_bodies_and_trailers_whole() {
    http2_to(Speaks::Http1);
}

#[test]
fn http2_to_http2_carries_bodies_and_trailers_whole() {
    http2_to(Speaks::Http2);
}

#[test]
fn an_http2_request_arrives_as_its_authority_and_path_say() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("a", speaks);
        let proxy = before(&origin, speaks);
        let mut client = h2::Client::open(proxy.address, "shop.example:8080");
        let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("x-one", "1"), ("x-one", "2")];
        let answer = client.ask("GET", "/head?x=%2F", &fields, vec![], HeaderMap::new());
        let head: serde_json::Value = serde_json::from_slice(&answer.body).expect("a head in JSON");
        let text = head.to_string();
        assert!(text.contains("shop.example:8080"), "the authority is lost: {text}");
        assert!(head["uri"].as_str().unwrap().ends_with("/head?x=%2F"), "{text}");
        let values = |name: &str| -> Vec<&str> {
            let fields = head["fields"].as_array().unwrap().iter();
            fields.filter(|f| f[0] == name).map(|f| f[1].as_str().unwrap()).collect()
        };
        assert_eq!(values("x-one"), ["1", "2"]);
        match speaks {
            Speaks::Http1 => assert_eq!(values("cookie"), ["a=1; b=2"], "crumbs are one field in HTTP/1.1"),
            Speaks::Http2 => assert_eq!(values("cookie").join("; "), "a=1; b=2"),
        }
        for name in ["via", "x-forwarded-for", "x-request-id"] {
            assert!(!values(name).is_empty(), "no {name} in {text}");
        }
    }
}

#[test]
fn an_http2_client_is_told_of_a_broken_body_by_a_reset() {
    use chaos_tests::fleet::{Fault, Scripted};
    for fault in [Fault::ResetInBody(100_000), Fault::CutBody(100_000)] {
        let origin = Scripted::faulty(fault.clone());
        let proxy = Proxy::before(&[origin.address]);
        let mut client = h2::Client::open(proxy.address, "a");
        let outcome = client.try_ask("GET", "/", &[], vec![], HeaderMap::new());
        assert!(outcome.is_err(), "{fault:?} ended cleanly");
    }
    // A small answer is not promised before it is whole.
    let origin = Scripted::faulty(Fault::CutChunks);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = h2::Client::open(proxy.address, "a");
    assert_eq!(client.get("/").status(), 502);
}

#[test]
fn many_streams_of_one_connection_are_served_at_once() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let origin = Origin::start("a", speaks);
        let proxy = before(&origin, speaks);
        let client = h2::Client::open(proxy.address, "a");
        let started = std::time::Instant::now();
        let statuses = client.all(&vec!["/delay/500"; 50]);
        assert_eq!(statuses, vec![200; 50]);
        let took = started.elapsed();
        assert!(took.as_millis() < 12_500, "50 streams of half a second each took {took:?}: one after the other");
    }
}

#[test]
fn a_body_whose_answer_came_early_arrives_whole_at_an_http2_instance_or_is_reset() {
    use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE};
    let (tell, told) = std::sync::mpsc::channel();
    let instance = frames::serve(&[], move |frames| {
        let head = frames::fields(&[(":status", "200"), ("content-length", "2")]);
        let (mut upload, mut body, mut heads) = (0, Vec::new(), 0);
        while let Some(frame) = frames.receive() {
            match frame.kind {
                HEADERS => {
                    heads += 1;
                    frames.send(HEADERS, END_HEADERS, frame.stream, &head);
                    frames.send(DATA, END_STREAM, frame.stream, b"ok");
                    match heads {
                        1 => upload = frame.stream,
                        // The next request is there: only now is there room for the rest of the upload.
                        _ => [0, upload].iter().for_each(|of| frames.send(WINDOW_UPDATE, 0, *of, &[0, 16, 0, 0])),
                    }
                }
                DATA | RST_STREAM if frame.stream == upload => {
                    body.extend_from_slice(&frame.payload[..if frame.kind == DATA { frame.payload.len() } else { 0 }]);
                    if frame.ends() || frame.kind == RST_STREAM {
                        tell.send((std::mem::take(&mut body), frame.ends())).unwrap();
                    }
                }
                _ => {}
            }
        }
    });
    let mut config = proxy::to(&[instance]);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let body = pattern(200_000);
    let mut client = Connection::open(proxy.address);
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend(chunked(&body, &[10_000]));
    request.extend_from_slice(b"0\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnext");
    client.send(request);
    assert_eq!((client.answer().text(), client.answer().text()), ("ok".into(), "ok".into()));
    let (came, clean) = told.recv_timeout(chaos_tests::SOON).expect("an end of the upload");
    assert!(!clean || came == body, "a clean end after {} bytes of {}", came.len(), body.len());
    assert!(body.starts_with(&came), "other bytes");
}
