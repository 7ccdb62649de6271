use std::sync::Arc;

use super::*;
use crate::http::framing::{self, To};
use crate::http::parse;
use crate::request::fields::{Client, Identity, Reply, RequestId};
use crate::request::target::Target;

const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn wall() -> SystemTime {
    httpdate::parse_http_date(DAY).unwrap()
}

fn request(method: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    let version = if fields.iter().any(|(name, _)| *name == "TE") { Version::Http2 } else { Version::Http11 };
    head.set_request(method.as_bytes(), b"/a", version).unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

fn configured(status: u16, headers: &[(&str, &str)], body: &str) -> FallbackAnswer {
    let headers = headers.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
    FallbackAnswer { status, headers, body: Arc::from(body.as_bytes()) }
}

/// An answer as an HTTP/1.1 client gets it: its fields in lower case, sorted, and its body.
fn sent(mut made: Made, request: &Head) -> (Vec<String>, Vec<u8>) {
    let identity = Identity::new(1);
    let peer = "192.0.2.7:4000".parse().unwrap();
    let id = RequestId::of(request, &Client { peer, text: "192.0.2.7".into(), trusted: false, tls: None }, || 7);
    let to = To::of(request.method());
    let reply = Reply {
        version: Version::Http11,
        close: false,
        to,
        length: made.body.length(),
        identity: (!made.degraded.is_made_here()).then_some(&identity),
        id: &id,
        degraded: Some(&made.degraded),
    };
    let mut wire = Vec::new();
    reply.write_h1(&made.head, &mut wire);
    let mut read = Head::default();
    parse::response(&wire, &mut read).unwrap();
    let body = made.body.take(usize::MAX).to_vec();
    assert_eq!(framing::of_response(&read, to), Ok(crate::http::Length::Exact(body.len() as u64)));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields: Vec<String> =
        read.fields().map(|(_, n, v)| format!("{}: {}", text(n).to_ascii_lowercase(), text(v))).collect();
    fields.retain(|field| !field.starts_with("x-request-id"));
    fields.sort();
    (fields, body)
}

#[test]
fn a_fixed_answer_is_what_was_written_with_a_mark() {
    let get = request("GET", &[]);
    let answer = configured(200, &[("Content-Type", "application/json"), ("content-length", "99")], "[]");
    let (fields, body) = sent(fixed(&answer, &get, Reason::Timeout, wall()).unwrap(), &get);
    let date = format!("date: {DAY}");
    let expected = [
        "cache-control: no-store",
        "content-length: 2",
        "content-type: application/json",
        &date,
        "outrigger-degraded: static;reason=http_response_timeout",
    ];
    assert_eq!((fields, body), (expected.map(str::to_owned).to_vec(), b"[]".to_vec()));

    let head = request("HEAD", &[]);
    let (fields, body) = sent(fixed(&answer, &head, Reason::Timeout, wall()).unwrap(), &head);
    assert_eq!((fields, body), (expected.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn what_the_configuration_says_is_not_said_twice() {
    let get = request("GET", &[]);
    let answer =
        configured(503, &[("Cache-Control", "max-age=1"), ("DATE", "x"), ("A", "b\r\nC: d"), ("E f", "g")], "");
    let (fields, body) = sent(fixed(&answer, &get, Reason::NoEndpoint, wall()).unwrap(), &get);
    let expected =
        ["cache-control: max-age=1", "content-length: 0", "date: x", "outrigger-degraded: static;reason=no_endpoint"];
    assert_eq!((fields, body), (expected.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn an_answer_without_content_has_none_whatever_is_written() {
    let get = request("GET", &[]);
    for status in [204, 205, 304] {
        let made = fixed(&configured(status, &[], "not for you"), &get, Reason::Timeout, wall()).unwrap();
        let (fields, body) = sent(made, &get);
        assert!(body.is_empty() && !fields.iter().any(|f| f.starts_with("content-length: 1")), "{status}: {fields:?}");
    }
}

#[test]
fn a_grpc_client_gets_only_what_it_can_read() {
    let grpc = request("POST", &[("Content-Type", "application/grpc+proto"), ("TE", "trailers")]);
    let web = request("POST", &[("Content-Type", "application/grpc-web+proto; v=1")]);
    for (headers, body, usable) in [
        (&[][..], "[]", false),
        (&[], "", false),
        (&[("Content-Type", "application/grpc")], "", false),
        (&[("grpc-status", "14")], "[]", false),
        (&[("Grpc-Status", "14")], "", true),
    ] {
        let made = fixed(&configured(200, headers, body), &grpc, Reason::Timeout, wall());
        assert_eq!(made.is_some(), usable, "{headers:?} {body:?}");
        if let Some(made) = made {
            let (fields, _) = sent(made, &grpc);
            assert!(fields.contains(&"content-type: application/grpc".to_owned()), "{fields:?}");
            assert!(fields.contains(&"grpc-status: 14".to_owned()), "{fields:?}");
        }
        let made = fixed(&configured(200, headers, body), &web, Reason::Timeout, wall());
        assert_eq!(made.is_some(), usable, "{headers:?} {body:?} over gRPC-Web");
        if let Some(made) = made {
            let (fields, body) = sent(made, &web);
            assert!(fields.contains(&"content-type: application/grpc-web+proto".to_owned()), "{fields:?}");
            assert!(!fields.iter().any(|field| field.starts_with("grpc-")), "{fields:?}");
            assert_eq!(body, b"\x80\0\0\0\x1fgrpc-status:14\r\ngrpc-message:\r\n");
        }
    }
}

#[test]
fn an_earlier_answer_says_how_old_it_is_and_why_it_is_given() {
    let copies = Stale::new(1 << 20);
    let start = Instant::now();
    let get = request("GET", &[("Host", "orders")]);
    let target = Target::of(&get).unwrap();
    let asked = Asked { service: "orders", target: &target, head: &get };
    let mut answer = Head::default();
    answer.set_status(200, b"OK", Version::Http2).unwrap();
    copies.learn(&asked, &answer, Some(b"earlier"), start, wall());

    let bound = Duration::from_secs(60);
    let later = start + Duration::from_secs(12);
    let made = stale(&copies, &asked, bound, Reason::BreakerOpen, later).unwrap();
    let (fields, body) = sent(made, &get);
    let (date, via) = (format!("date: {DAY}"), format!("via: 2 outrigger-{:016x}", 1));
    let expected =
        ["age: 12", "content-length: 7", &date, "outrigger-degraded: stale;reason=breaker_open;age=12", &via];
    assert_eq!((fields, body), (expected.map(str::to_owned).to_vec(), b"earlier".to_vec()));
    assert!(stale(&copies, &asked, bound, Reason::BreakerOpen, start + Duration::from_secs(61)).is_none());
}
