//! What an HTTP/2 instance has not looked at moves to another, whatever the method, and what it has looked at does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chaos_tests::fleet::Scripted;
use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::ask;
use serde_json::json;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

/// How an instance says that it has not looked at a request.
#[derive(Debug, Clone, Copy)]
enum Says {
    Reset(u32),
    /// GOAWAY with this code; whether the stream is one that it has looked at.
    Goes(u32, bool),
}

/// The answer to a POST, where one instance says this of it, and another answers.
fn asked(says: Says) -> (u16, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let instance = frames::serve(&[], move |frames| {
        while let Some(asked) = frames.receive() {
            if !asked.ends() {
                continue;
            }
            // The first request of all is not looked at, and every other is answered.
            if seen.fetch_add(1, Ordering::SeqCst) > 0 {
                frames.send(HEADERS, END_HEADERS, asked.stream, &frames::field(":status", "200"));
                frames.send(DATA, END_STREAM, asked.stream, b"ok");
                continue;
            }
            match says {
                Says::Reset(code) => frames.send(RST_STREAM, 0, asked.stream, &code.to_be_bytes()),
                Says::Goes(code, looked) => {
                    let last = if looked { asked.stream } else { 0 };
                    frames.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
                    return;
                }
            }
        }
    });
    let mut config = proxy::to(&[instance]);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    (ask(proxy.address, POST).status(), count.load(Ordering::SeqCst))
}

#[test]
fn a_post_that_an_http2_instance_has_not_looked_at_is_sent_again_and_another_is_not() {
    for says in [Says::Reset(REFUSED_STREAM), Says::Goes(NO_ERROR, false), Says::Goes(ENHANCE_YOUR_CALM, false)] {
        assert_eq!(asked(says), (200, 2), "{says:?}");
    }
    for says in [Says::Reset(ENHANCE_YOUR_CALM), Says::Goes(NO_ERROR, true), Says::Goes(ENHANCE_YOUR_CALM, true)] {
        assert_eq!(asked(says), (502, 1), "{says:?}");
    }
}

/// The fields that belong to one connection, which HTTP/2 does not have (RFC 9113 section 8.2.2).
const OF_A_CONNECTION: [(&str, &str); 6] = [
    ("connection", "close"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
];

#[test]
fn fields_of_a_connection_are_refused_over_http2_and_te_trailers_passes() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&[origin.address]);
    let mut client = frames::Frames::open(proxy.address);
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    for (at, field) in OF_A_CONNECTION.into_iter().enumerate() {
        let stream = 2 * u32::try_from(at).unwrap() + 1;
        client.send(HEADERS, END_HEADERS | END_STREAM, stream, &frames::fields(&[&head[..], &[field]].concat()));
        let told = client.find(RST_STREAM).unwrap_or_else(|| panic!("{field:?}"));
        assert_eq!((told.stream, told.payload), (stream, vec![0, 0, 0, 1]), "{field:?}");
    }
    assert_eq!(origin.requests(), 0);
    client.send(HEADERS, END_HEADERS | END_STREAM, 101, &frames::fields(&[&head[..], &[("te", "trailers")]].concat()));
    assert_eq!(client.find(HEADERS).unwrap().stream, 101);
    assert_eq!(origin.last().head.field("te"), Some("trailers"));
}
