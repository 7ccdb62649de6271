//! One rule book for both protocols: each case goes through all four combinations of them, and the outcome is the same.

use chaos_tests::fleet::{Origin, Speaks};
use chaos_tests::h2;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{self, Connection};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

const BOTH: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];
/// Above `http.max_head_size`, whose default is 32 KiB.
const ABOVE: usize = 33 * 1024;
/// So far above it that one field alone is more than any library keeps.
const FAR: usize = 250 * 1024;

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The instance's answer, whole.
    Passed,
    /// The proxy's, with a status and a reason.
    Refused(u16, &'static str),
    /// An answer that ends in an error, after its head; where its end came with its head, that is the proxy's to say.
    Broken,
}

use Outcome::{Broken, Passed, Refused};

struct Case {
    what: &'static str,
    path: String,
    fields: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
    expected: Outcome,
}

fn wide(bytes: usize) -> Vec<(String, String)> {
    vec![("x-wide".into(), "a".repeat(bytes))]
}

fn lines(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("x-{n}"), "1".into())).collect()
}

fn cases() -> Vec<Case> {
    let case =
        |what, path: &str, fields, trailers, expected| Case { what, path: path.into(), fields, trailers, expected };
    let too_large = || Refused(431, "head_too_large");
    let upstream = || Refused(502, "http_response_header_section_size");
    let asked = |what, fields, expected| case(what, "/", fields, vec![], expected);
    let sent = |what, trailers, expected| case(what, "/drain", vec![], trailers, expected);
    let answered = |what, path: &str, n: usize, expected| case(what, &format!("/{path}/{n}"), vec![], vec![], expected);
    let events = vec![("content-type".into(), "text/event-stream".into())];
    vec![
        asked("a request's field of 20 KiB", wide(20 * 1024), Passed),
        asked("a request's field above the limit", wide(ABOVE), too_large()),
        asked("a request's field twice the limit", wide(2 * ABOVE), too_large()),
        asked("a request's 90 lines", lines(90), Passed),
        asked("a request's 101 lines", lines(101), too_large()),
        sent("request trailers of 10 KiB", wide(10 * 1024), Passed),
        sent("request trailers above the limit", wide(ABOVE), too_large()),
        sent("request trailers twice the limit", wide(2 * ABOVE), too_large()),
        sent("request trailers of 120 lines", lines(120), too_large()),
        sent(
            "trailers that say another length",
            vec![("content-length".into(), "1".into())],
            Refused(400, "bad_request"),
        ),
        answered("an answer's field of 20 KiB", "wide", 20 * 1024, Passed),
        answered("an answer's field above the limit", "wide", ABOVE, upstream()),
        answered("an answer's field far above the limit", "wide", FAR, upstream()),
        answered("an answer's 120 lines", "lines", 120, upstream()),
        answered("trailers of 20 KiB", "wide-end", 20 * 1024, Passed),
        answered("trailers above the limit", "wide-end", ABOVE, upstream()),
        answered("trailers far above the limit", "wide-end", FAR, upstream()),
        answered("trailers of 120 lines", "lines-end", 120, upstream()),
        case("late trailers above the limit", &format!("/wide-end/{ABOVE}"), events.clone(), vec![], Broken),
        case("late trailers far above the limit", &format!("/wide-end/{FAR}"), events, vec![], Broken),
    ]
}

fn before(origin: &Origin, speaks: Speaks) -> Proxy {
    let mut config = proxy::to(&[origin.address]);
    let app = &mut config["services"]["app"];
    app["protocol"] = json!(if speaks == Speaks::Http2 { "http2" } else { "http1" });
    app["request_trailers"] = json!(true);
    // Each case is for itself.
    app["breaker"] = json!("off");
    app["outlier"] = json!("off");
    Proxy::start(&config)
}

/// What came of a case: its outcome, and the trailers that the answer had.
fn ask(client: Speaks, proxy: &Proxy, case: &Case) -> (Outcome, usize) {
    let judged = |status: u16, body: &[u8], trailers: usize| match status {
        200 => (Passed, trailers),
        status => {
            let text = String::from_utf8_lossy(body);
            let known = ["http_response_header_section_size", "head_too_large", "bad_request"];
            let reason = known.into_iter().find(|name| text.starts_with(&format!("outrigger: {status} {name}: ")));
            (Refused(status, reason.unwrap_or("nothing that names it")), trailers)
        }
    };
    let method = if case.trailers.is_empty() { "GET" } else { "POST" };
    match client {
        Speaks::Http1 => {
            let mut request =
                format!("{method} {} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n", case.path);
            let line = |(name, value): &(String, String)| format!("{name}: {value}\r\n");
            request.extend(case.fields.iter().map(line));
            if !case.trailers.is_empty() {
                request.push_str("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
                request.extend(case.trailers.iter().map(line));
            }
            let mut connection = Connection::open(proxy.address);
            // The answer may come before all of it is read.
            connection.try_send(request + "\r\n").ok();
            match connection.try_answer(method) {
                Ok(answer) => judged(answer.status(), &answer.body, answer.trailers.len()),
                Err(broken) if broken.part.head.start.is_empty() => panic!("{}: no answer: {broken}", case.what),
                Err(_) => (Broken, 0),
            }
        }
        Speaks::Http2 => {
            let field = |(name, value): &(String, String)| (name.as_str().to_owned(), value.clone());
            let mut fields: Vec<_> = case.fields.iter().map(field).collect();
            fields.push(("te".into(), "trailers".into()));
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let map = |(name, value): &(String, String)| -> (HeaderName, HeaderValue) {
                (name.parse().unwrap(), value.parse().unwrap())
            };
            let trailers = HeaderMap::from_iter(case.trailers.iter().map(map));
            let body = if case.trailers.is_empty() { vec![] } else { b"hello".to_vec() };
            match h2::Client::open(proxy.address, "a").try_ask(method, &case.path, &fields, body, trailers) {
                Ok(answer) => judged(answer.status(), &answer.body, answer.trailers.len()),
                Err(_) => (Broken, 0),
            }
        }
    }
}

#[test]
fn what_exceeds_a_limit_is_an_error_that_names_it_over_either_protocol() {
    let mut wrong = Vec::new();
    for instance in BOTH {
        let origin = Origin::start("a", instance);
        let proxy = before(&origin, instance);
        for client in BOTH {
            for case in cases() {
                let (outcome, trailers) = ask(client, &proxy, &case);
                let whole = outcome != Passed || (trailers > 0) == case.path.contains("-end");
                let in_time = case.expected == Broken && outcome == Refused(502, "http_response_header_section_size");
                if outcome != case.expected && !in_time || !whole {
                    let Case { what, expected, .. } = case;
                    wrong.push(format!(
                        "{client:?} to {instance:?}, {what}: {outcome:?} and {trailers} trailers, not {expected:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_target_may_hold_does_not_depend_on_the_instances_protocol() {
    for instance in BOTH {
        let origin = Origin::start("a", instance);
        let proxy = before(&origin, instance);
        for (target, encoded) in [
            ("/head?q=<a>", "/head?q=%3Ca%3E"),
            ("/head/a`b", "/head/a%60b"),
            ("/head/<", "/head/%3C"),
            ("/head?q=\"a\"", "/head?q=%22a%22"),
            ("/head/a|b?c|d", "/head/a|b?c|d"),
            ("/head/{a}?^\\", "/head/{a}?^\\"),
        ] {
            // What a hyper server does not take is asked of a path that it does.
            let answer = raw::get(proxy.address, "a", target);
            let arrived = match instance {
                Speaks::Http2 => encoded,
                Speaks::Http1 if target == encoded => target,
                // It went as it came, and hyper does not know what to make of it.
                Speaks::Http1 => {
                    assert_ne!(answer.field("via"), None, "{target} did not reach the instance: {}", answer.text());
                    continue;
                }
            };
            assert_eq!(answer.status(), 200, "{target} over {instance:?}");
            let head: serde_json::Value = serde_json::from_slice(&answer.body).expect("a head in JSON");
            assert!(head["uri"].as_str().is_some_and(|uri| uri.ends_with(arrived)), "{target} became {}", head["uri"]);
        }
        // A fragment is no part of a request's target (RFC 9112 section 3.2).
        assert_eq!(raw::get(proxy.address, "a", "/head#b").status(), 400);
    }
}
