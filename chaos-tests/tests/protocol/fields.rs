//! Fields: which pass as they came, which are taken off, which are added.

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Head, Message, ask};
use chaos_tests::{SOON, wait_for};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the origin is sent for a request.
fn at_origin(request: &str) -> Message {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    let answer = ask(proxy.address, request);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    origin.last()
}

/// What the client is sent for an answer.
fn at_client(answer: &str) -> Message {
    let origin = Scripted::answering(answer);
    let proxy = Proxy::before(&[origin.address]);
    ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn names(head: &Head) -> Vec<&str> {
    head.fields.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn names_values_and_order_of_fields_pass_as_they_came() {
    let request = at_origin(
        "GET / HTTP/1.1\r\nHost: a\r\nX-CamelCase: V\r\nx-lower:v\r\nX-MANY: 1\r\nX-Empty:\r\nX-MANY: 2\r\n\
         Accept: */*\r\nX-Bytes: a\u{e4}b\tc\r\n\r\n",
    );
    for name in ["Host", "X-CamelCase", "x-lower", "X-MANY", "X-Empty", "Accept"] {
        assert!(names(&request.head).contains(&name), "{name} is missing in {:?}", request.head);
    }
    assert_eq!(request.head.all("x-many"), ["1", "2"]);
    assert_eq!(request.head.field("x-empty"), Some(""));
    assert_eq!(request.head.field("x-lower"), Some("v"));
    assert_eq!(request.head.field("x-bytes"), Some("a\u{c3}\u{a4}b\tc"), "byte for byte");

    let answer = at_client(
        "HTTP/1.1 299 My Own Reason\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nX-Odd: v\r\nSet-Cookie: b=2\r\n\
         Server: mine\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\nok",
    );
    assert_eq!(answer.head.start, "HTTP/1.1 299 My Own Reason");
    for name in ["Set-Cookie", "X-Odd", "Server", "Date"] {
        assert!(names(&answer.head).contains(&name), "{name} is missing in {:?}", answer.head);
    }
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.field("server"), Some("mine"));
    assert_eq!(answer.field("date"), Some("Mon, 01 Jan 2024 00:00:00 GMT"));
}

#[test]
fn via_says_in_both_directions_that_the_message_was_forwarded() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nVia: 1.1 theirs\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::before(&[origin.address]);
    let answer = ask(proxy.address, "GET / HTTP/1.0\r\nHost: a\r\nVia: 1.1 before\r\n\r\n");
    let joined = |head: &Head| head.all("via").join(", ");
    let (to_origin, to_client) = (joined(&origin.last().head), joined(&answer.head));
    assert!(to_origin.starts_with("1.1 before, 1.0 "), "the version is the one received: {to_origin}");
    assert!(to_client.starts_with("1.1 theirs, 1.1 "), "{to_client}");
    assert_eq!(to_origin.split(' ').nth(3), to_client.split(' ').nth(3), "one name");
}

#[test]
fn the_origin_learns_who_asked_how_and_for_what() {
    let first = at_origin("GET / HTTP/1.1\r\nHost: shop.local:8080\r\n\r\n").head;
    assert_eq!(first.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(first.field("x-forwarded-proto"), Some("http"));
    assert_eq!(first.field("x-forwarded-host"), Some("shop.local:8080"));

    let trusted = at_origin(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.example\r\nForwarded: for=192.0.2.1;proto=https\r\n\r\n",
    );
    let joined = |name: &str| trusted.head.all(name).join(", ");
    assert_eq!(joined("x-forwarded-for"), "192.0.2.1, 127.0.0.1", "a client on loopback is believed");
    assert_eq!(joined("x-forwarded-proto"), "https");
    assert_eq!(joined("x-forwarded-host"), "shop.example");
    // Forwarded is carried on where somebody began it: few read it, and it says nothing that the others do not.
    let forwarded = joined("forwarded").to_lowercase();
    assert!(forwarded.starts_with("for=192.0.2.1;proto=https, "), "{forwarded}");
    let element = forwarded.rsplit(", ").next().unwrap();
    for part in ["for=127.0.0.1", "proto=http"] {
        assert!(element.split(';').any(|p| p.trim() == part), "no {part} in {forwarded}");
    }
}

#[test]
fn every_request_has_an_id_and_a_trusted_one_is_kept() {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    let mut ids = std::collections::HashSet::new();
    for _ in 0..10 {
        ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let id = origin.last().head.field("x-request-id").expect("an id").to_owned();
        assert!(id.len() >= 16, "{id:?} is too short to be unique");
        assert!(ids.insert(id), "an id came twice");
    }
    ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: from-the-caller\r\n\r\n");
    assert_eq!(origin.last().head.field("x-request-id"), Some("from-the-caller"));
}

#[test]
fn fields_of_one_connection_stay_on_it() {
    let request = at_origin(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, close-by\r\nConnection: X-Second\r\nX-Hop: 1\r\n\
         X-Second: 1\r\nClose-By: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
         Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let gone = ["x-hop", "x-second", "close-by", "keep-alive", "proxy-connection", "te", "proxy-authorization"];
    for name in gone.into_iter().chain(["upgrade", "transfer-encoding"]) {
        assert_eq!(request.head.field(name), None, "{name} went through");
    }
    assert_eq!(request.head.field("x-end"), Some("1"));
    assert_eq!(request.body, b"ok");

    let answer = at_client(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
    );
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.field(name), None, "{name} went through");
    }
    assert_eq!((answer.field("x-end"), answer.text().as_str()), (Some("1"), "ok"));
}

#[test]
fn connection_cannot_take_off_what_belongs_to_the_message() {
    let request = at_origin(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, authorization, x-forwarded-for, via\r\n\
         Authorization: Bearer t\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(request.head.field("host"), Some("a"));
    assert_eq!(request.head.field("authorization"), Some("Bearer t"));
    assert_eq!(request.head.field("content-length"), Some("2"));
    assert_eq!(request.head.field("x-forwarded-for"), Some("127.0.0.1"));
    assert!(request.head.field("via").is_some());
    assert_eq!(request.body, b"ok");
}

#[test]
fn te_trailers_is_said_again_for_the_next_connection() {
    let with = at_origin("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip;q=0.5\r\nConnection: TE\r\n\r\n").head;
    assert_eq!(with.field("te"), Some("trailers"));
    assert!(with.lists("connection", "te"), "{with:?}");
    let without = at_origin("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head;
    assert_eq!(without.field("te"), None);
    assert!(!without.lists("connection", "te"));
}

#[test]
fn an_absolute_form_overrides_the_host_and_reaches_the_origin_as_a_path() {
    let cases = [
        ("http://shop.local:81/a?b=c", "ignored", "shop.local:81", "/a?b=c"),
        ("http://shop.local", "ignored", "shop.local", "/"),
        ("http://shop.local?b=c", "ignored", "shop.local", "/?b=c"),
        ("HTTP://Shop.Local/%2Fa//b", "shop.local", "Shop.Local", "/%2Fa//b"),
    ];
    for (target, host, wanted, path) in cases {
        let request = at_origin(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(request.head.field("host").unwrap().eq_ignore_ascii_case(wanted), "{target}: {:?}", request.head);
        assert_eq!(request.head.target(), path, "{target}");
    }
}

#[test]
fn the_host_passes_as_it_came_and_an_old_client_without_one_is_served() {
    assert_eq!(
        at_origin("GET / HTTP/1.1\r\nHost: Shop.Local:8080\r\n\r\n").head.field("host"),
        Some("Shop.Local:8080")
    );
    assert_eq!(at_origin("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").head.field("host"), Some("[::1]:80"));
    let old = at_origin("GET / HTTP/1.0\r\n\r\n").head;
    assert_eq!(old.all("host").len(), 1, "what goes on is HTTP/1.1 and has a Host: {old:?}");
    assert_eq!(old.version(), "HTTP/1.1");
}

#[test]
fn max_forwards_counts_down_on_trace_and_options_alone() {
    for method in ["TRACE", "OPTIONS"] {
        let origin = Scripted::answering(GOOD);
        let proxy = Proxy::before(&[origin.address]);
        let send = |n: u32| {
            ask(proxy.address, format!("{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {n}\r\nX-Mine: 1\r\n\r\n"))
        };
        send(3);
        assert_eq!(origin.last().head.field("max-forwards"), Some("2"), "{method}");
        send(1);
        assert_eq!(origin.last().head.field("max-forwards"), Some("0"), "{method}");
        let answer = send(0);
        assert_eq!(answer.status(), 200, "{method}: the proxy is the last recipient and answers");
        assert_eq!(origin.requests(), 2, "{method}");
    }
    let get = at_origin("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(get.head.field("max-forwards"), Some("0"));
}

#[test]
fn options_of_the_server_as_a_whole_passes_as_an_asterisk() {
    let request = at_origin("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(request.head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn a_steering_field_that_makes_no_sense_is_ignored_and_counted() {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    let fields = [
        ("grpc-timeout", "1x"),
        ("x-request-deadline", "soon"),
        ("x-envoy-upstream-rq-timeout-ms", "-5"),
        ("x-outrigger-priority", "very"),
        ("traceparent", "00-nothing-01"),
    ];
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    assert_eq!(ask(proxy.address, format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).status(), 200);
    assert_eq!(origin.last().field("traceparent"), Some("00-nothing-01"), "it is not ours");
    let counted = |name: &str| proxy.metric("outrigger_malformed_fields_total", &[&format!("\"{name}\"")]) == [1.0];
    for (name, _) in fields {
        wait_for(name, SOON, || counted(name));
    }

    let busy = Scripted::answering("HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 2\r\n\r\nno");
    let pushing =
        Scripted::answering("HTTP/1.1 503 No\r\ngrpc-retry-pushback-ms: later\r\nContent-Length: 2\r\n\r\nno");
    for (origin, name) in [(busy, "retry-after"), (pushing, "grpc-retry-pushback-ms")] {
        let proxy = Proxy::before(&[origin.address]);
        assert_eq!(ask(proxy.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 503);
        wait_for(name, SOON, || {
            proxy.metric("outrigger_malformed_fields_total", &[&format!("\"{name}\"")]).iter().sum::<f64>() >= 1.0
        });
    }
}
