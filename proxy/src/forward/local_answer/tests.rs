use super::*;
use crate::http::framing::{self, To};
use crate::http::{Length, parse};
use crate::request::fields::{Client, Reply, RequestId};

const SERVICE: &str = "or\"der\\s-ü";

/// An answer as an HTTP/1.1 client gets it: its head read back, and its body.
fn answered(reason: Reason, fields: &[(&str, &str)]) -> (Head, Vec<u8>) {
    let mut request = Head::default();
    let version = if fields.iter().any(|(name, _)| *name == "TE") { Version::Http2 } else { Version::Http11 };
    request.set_request(b"GET", b"/", version).unwrap();
    for (name, value) in fields {
        request.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let peer = "192.0.2.7:4000".parse().unwrap();
    let id = RequestId::of(&request, &Client { peer, text: "192.0.2.7".into(), trusted: false, tls: None }, || 7);
    let (head, mut download) = Refusal { reason, service: Some(SERVICE), id: Some(&id) }.answer(Some(&request));
    let length = download.length();
    let reply =
        Reply { version: Version::Http11, close: true, to: To::Other, length, identity: None, id: &id, degraded: None };
    let mut wire = Vec::new();
    reply.write_h1(&head, &mut wire);
    let mut read = Head::default();
    parse::response(&wire, &mut read).unwrap_or_else(|bad| panic!("{reason:?}: {bad:?}"));
    let body = download.take(usize::MAX).to_vec();
    assert_eq!(framing::of_response(&read, To::Other), Ok(Length::Exact(body.len() as u64)), "{reason:?}");
    (read, body)
}

fn text(head: &Head, name: &str) -> String {
    let mut all = head.fields().filter(|(_, field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
    let value = all.next().unwrap_or_else(|| panic!("no {name}")).2;
    assert!(all.next().is_none(), "more than one {name}");
    String::from_utf8(value.to_vec()).unwrap()
}

/// Takes `outrigger; error=token; details="..."` apart by the grammar of RFC 9651; the token and the details.
fn proxy_status(value: &str) -> (String, String) {
    let rest = value.strip_prefix("outrigger; error=").unwrap();
    let (token, rest) = rest.split_once("; details=\"").unwrap();
    assert!(token.starts_with(|c: char| c.is_ascii_lowercase()), "{value}");
    assert!(token.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{value}");
    let mut details = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next() {
            Some('"') => break,
            Some('\\') => details.push(chars.next().filter(|c| matches!(c, '"' | '\\')).unwrap()),
            Some(c @ ' '..='~') => details.push(c),
            other => panic!("{other:?} in {value}"),
        }
    }
    assert_eq!(chars.as_str(), "", "{value}");
    (token.to_owned(), details)
}

/// RFC 9209 section 2.3.
const TOKENS: &[&str] = &[
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
    "tls_alert_received",
    "tls_certificate_error",
    "tls_protocol_error",
];

#[test]
fn every_reason_gives_a_text_that_says_why_and_about_what() {
    for &reason in Reason::ALL {
        let (head, body) = answered(reason, &[]);
        let row = reason.row();
        assert_eq!(head.status(), row.status, "{reason:?}");
        let (token, details) = proxy_status(&text(&head, "Proxy-Status"));
        assert!(TOKENS.contains(&token.as_str()), "{reason:?}: {token} is not registered");
        assert_eq!(details, format!("{}: or\"der\\s-?: {}", row.token, row.advice));
        // What is registered, and called otherwise, is not what it means to whoever knows the registry.
        assert!(!TOKENS.contains(&row.token) || row.token == row.proxy_status, "{reason:?}");
        assert_eq!(text(&head, "Content-Type"), "text/plain; charset=utf-8");
        assert_eq!(text(&head, "Cache-Control"), "no-store");
        assert!(httpdate::parse_http_date(&text(&head, "Date")).is_ok());
        let expected = format!("outrigger: {} {}: {SERVICE}: {}\n", row.status, reason.token(), row.advice);
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(head.fields().any(|(_, name, _)| name == b"Retry-After"), row.status == 503, "{reason:?}");
        // RFC 9110 section 15.5.6.
        assert!(row.status != 405 || text(&head, "Allow").contains("GET"), "{reason:?}");
    }
}

#[test]
fn every_reason_gives_json_to_whom_asks_for_it() {
    for &reason in Reason::ALL {
        let (head, body) = answered(reason, &[("Accept", "text/html, application/json;q=0.9")]);
        assert_eq!(head.status(), reason.row().status);
        assert_eq!(text(&head, "Content-Type"), "application/json");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let error = &json["error"];
        assert_eq!(error["from"], "outrigger");
        assert_eq!(error["status"], reason.row().status);
        assert_eq!(error["reason"], reason.token());
        assert_eq!(error["service"], SERVICE);
        assert_eq!(error["request_id"].as_str().map(str::len), Some(36));
        assert!(error["message"].as_str().unwrap().ends_with(reason.row().advice));
    }
}

#[test]
fn every_reason_gives_a_grpc_client_a_status_of_its_own_kind() {
    for &reason in Reason::ALL {
        let fields = [("Content-Type", "application/grpc+proto"), ("TE", "trailers"), ("Accept", "application/json")];
        let (head, body) = answered(reason, &fields);
        assert_eq!((head.status(), body.len()), (200, 0), "{reason:?}");
        assert_eq!(text(&head, "Content-Type"), "application/grpc");
        let status: u8 = text(&head, "grpc-status").parse().unwrap();
        assert!((1..=16).contains(&status), "{reason:?}: {status}");
        assert_eq!(status, reason.row().grpc);
        let message = text(&head, "grpc-message");
        assert_eq!(percent_decoded(&message), format!("{SERVICE}: {}", reason.row().advice));
        proxy_status(&text(&head, "Proxy-Status"));
    }
}

#[test]
fn a_grpc_web_client_finds_the_status_in_the_body_as_its_protocol_says() {
    for &reason in Reason::ALL {
        let (head, body) = answered(reason, &[("Content-Type", "application/grpc-web+proto; charset=utf-8")]);
        assert_eq!(head.status(), 200, "{reason:?}");
        assert_eq!(text(&head, "Content-Type"), "application/grpc-web+proto");
        assert!(!head.fields().any(|(_, name, _)| name.starts_with(b"grpc-")), "{reason:?}");
        let [0x80, a, b, c, d, lines @ ..] = &body[..] else { panic!("{reason:?}: {body:?}") };
        assert_eq!(u32::from_be_bytes([*a, *b, *c, *d]) as usize, lines.len());
        let lines = String::from_utf8(lines.to_vec()).unwrap();
        let message = lines.strip_prefix(&format!("grpc-status:{}\r\ngrpc-message:", reason.row().grpc)).unwrap();
        assert_eq!(percent_decoded(message.trim_end()), format!("{SERVICE}: {}", reason.row().advice));

        let (head, coded) = answered(reason, &[("Content-Type", "application/grpc-web-text")]);
        assert_eq!(text(&head, "Content-Type"), "application/grpc-web-text");
        // The flag and the length's first bytes.
        assert!(coded.starts_with(b"gAAAA") && coded.len() == body.len().div_ceil(3) * 4, "{reason:?}");
    }
}

#[test]
fn who_only_says_grpc_over_http_1_1_gets_an_answer_of_http() {
    let (head, body) = answered(Reason::NoRoute, &[("Content-Type", "application/grpc"), ("te", "trailers")]);
    assert_eq!(head.status(), 404);
    assert!(body.starts_with(b"outrigger: 404 no_route: "));
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let [high, low, beyond @ ..] = after else {
            bytes.push(*first);
            rest = after;
            continue;
        };
        if *first == b'%' {
            let hex = [*high, *low];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            rest = beyond;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_head_that_could_not_be_read_is_answered_all_the_same() {
    let (head, download) = Refusal { reason: Reason::BadRequest, service: None, id: None }.answer(None);
    assert_eq!(head.status(), 400);
    assert!(matches!(download, Download::Held(body) if body.starts_with(b"outrigger: 400 bad_request: ")));
}
