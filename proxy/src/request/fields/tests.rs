use super::*;
use crate::http::framing::To;
use crate::http::parse;

const V4: &str = "192.0.2.7:4000";

fn client(peer: &str, trusted: bool) -> Client {
    let peer: SocketAddr = peer.parse().unwrap();
    Client { peer, text: peer.ip().to_string().into(), trusted, tls: None }
}

fn request(text: &str) -> Head {
    let mut head = Head::default();
    parse::request(text.replace('\n', "\r\n").as_bytes(), &mut head).unwrap();
    head
}

fn response(text: &str) -> Head {
    let mut head = Head::default();
    parse::response(text.replace('\n', "\r\n").as_bytes(), &mut head).unwrap();
    head
}

/// A request as it would come over HTTP/2.
fn h2_request(method: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    head.set_request(method.as_bytes(), b"/", Version::Http2).unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

fn id() -> RequestId {
    RequestId::of(&Head::default(), &client(V4, false), || 0)
}

fn with_outgoing<T>(head: &Head, client: &Client, length: Length, upgrade: bool, f: impl Fn(&Outgoing<'_>) -> T) -> T {
    let (identity, id) = (Identity::new(1), id());
    let host = head.first(Name::Host).unwrap_or(b"orders");
    let names = ControlNames {
        deadline: b"x-request-deadline",
        priority: b"x-outrigger-priority",
        caller: b"x-outrigger-caller",
    };
    let onward = AttemptFields { names, remaining: None, attempt: 1 };
    let (identity, id, target, trailers) = (&identity, &id, &b"/"[..], true);
    f(&Outgoing { head, target, host, asked_host: host, length, client, identity, id, upgrade, trailers, onward })
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let text = text.strip_suffix("\r\n\r\n").unwrap();
    text.split("\r\n").map(str::to_owned).collect()
}

/// The field lines that go out over HTTP/1.1, without those that are on every request.
fn sent_by(head: &Head, client: &Client, length: Length, upgrade: bool) -> Vec<String> {
    let out = with_outgoing(head, client, length, upgrade, |outgoing| {
        let mut out = Vec::new();
        outgoing.write_h1(&mut out);
        out
    });
    lines(&out).split_off(1)
}

fn sent(text: &str) -> Vec<String> {
    let always = ["Host: ", "Via: 1.1 outrigger-", "X-Forwarded-", "X-Request-Id: "];
    let mut lines = sent_by(&request(text), &client(V4, false), Length::NONE, text.contains("Upgrade: websocket"));
    lines.retain(|line| !always.iter().any(|a| line.starts_with(a)));
    lines
}

#[test]
fn what_belongs_to_a_connection_stays_on_it() {
    for field in [
        "Connection: close",
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "Proxy-Authenticate: Basic",
        "HTTP2-Settings: AAMAAABk",
        "TE: deflate",
        "Upgrade: h2c",
    ] {
        assert_eq!(sent(&format!("GET / HTTP/1.1\nHost: a\n{field}\nX-Kept: 1\n\n")), ["X-Kept: 1"], "{field}");
    }
}

#[test]
fn what_connection_names_stays_on_it_too() {
    for (connection, kept) in [
        ("X-Secret", &["X-Other: 2", "X-Third: 3"][..]),
        ("x-secret, X-OTHER", &["X-Third: 3"]),
        ("close , X-Third", &["X-Secret: 1", "X-Other: 2"]),
        ("X-Secre", &["X-Secret: 1", "X-Other: 2", "X-Third: 3"]),
        // Nobody may have the host or the length taken away by naming them.
        ("Host, Content-Length", &["X-Secret: 1", "X-Other: 2", "X-Third: 3"]),
    ] {
        let text =
            format!("GET / HTTP/1.1\nHost: a\nConnection: {connection}\nX-Secret: 1\nX-Other: 2\nX-Third: 3\n\n");
        assert_eq!(sent(&text), kept, "{connection}");
    }
    let hosted =
        sent_by(&request("GET / HTTP/1.1\nHost: a\nConnection: Host\n\n"), &client(V4, false), Length::NONE, false);
    assert_eq!(hosted[0], "Host: a");
}

#[test]
fn trailers_are_the_only_te_that_is_passed_on() {
    for te in ["trailers", "deflate, trailers", "Trailers"] {
        assert_eq!(sent(&format!("GET / HTTP/1.1\nHost: a\nTE: {te}\n\n")), ["TE: trailers", "Connection: TE"], "{te}");
    }
}

#[test]
fn an_upgrade_that_may_be_granted_is_asked_for_anew() {
    let text = "GET / HTTP/1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n\n";
    assert_eq!(sent(text), ["Upgrade: websocket", "Connection: upgrade"]);
}

#[test]
fn a_length_is_said_where_one_is_expected() {
    for (text, length, said) in [
        ("GET / HTTP/1.1\nHost: a\n\n", Length::NONE, None),
        ("GET / HTTP/1.1\nHost: a\nContent-Length: 0\n\n", Length::NONE, Some("Content-Length: 0")),
        ("POST / HTTP/1.1\nHost: a\n\n", Length::NONE, Some("Content-Length: 0")),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 7\n\n", Length::Exact(7), Some("Content-Length: 7")),
        (
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n",
            Length::Chunked,
            Some("Transfer-Encoding: chunked"),
        ),
    ] {
        let sent = sent_by(&request(text), &client(V4, false), length, false);
        let framing: Vec<_> =
            sent.iter().filter(|l| l.starts_with("Content-L") || l.starts_with("Transfer-E")).collect();
        assert_eq!(framing, Vec::from_iter(said), "{text}");
    }
}

fn told(fields: &str, peer: &str, trusted: bool) -> Vec<String> {
    let text = format!("GET / HTTP/1.1\nHost: orders\n{fields}\n");
    let mut lines = sent_by(&request(&text), &client(peer, trusted), Length::NONE, false);
    lines.retain(|line| line.starts_with("X-Forwarded-") || line.starts_with("Forwarded"));
    lines
}

#[test]
fn a_stranger_does_not_say_who_is_behind_it() {
    let own = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: orders"];
    assert_eq!(told("", V4, false), own);
    let claims =
        "X-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: bank\nForwarded: for=10.0.0.1\n";
    assert_eq!(told(claims, V4, false), own);
}

#[test]
fn a_trusted_client_does_and_is_added_to_the_chain() {
    let claims = "X-Forwarded-For: 10.0.0.1\nX-Forwarded-For: 10.0.0.2, 10.0.0.3\nX-Forwarded-Proto: https\n\
        X-Forwarded-Host: bank\nForwarded: for=10.0.0.1\nForwarded: for=10.0.0.2\n";
    assert_eq!(
        told(claims, V4, true),
        [
            "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: bank",
            "Forwarded: for=10.0.0.1, for=10.0.0.2, for=192.0.2.7;proto=http",
        ]
    );
    assert_eq!(
        told("Forwarded: for=_x\n", "[2001:db8::7]:4000", true).last().unwrap(),
        "Forwarded: for=_x, for=\"[2001:db8::7]\";proto=http"
    );
}

#[test]
fn via_names_the_version_that_was_received() {
    let via = |head: &Head| {
        let mut lines = sent_by(head, &client(V4, false), Length::NONE, false);
        lines.retain(|line| line.starts_with("Via"));
        lines
    };
    let ours = "outrigger-0000000000000001";
    assert_eq!(via(&request("GET / HTTP/1.1\nHost: a\n\n")), [format!("Via: 1.1 {ours}")]);
    assert_eq!(via(&request("GET / HTTP/1.0\n\n")), [format!("Via: 1.0 {ours}")]);
    assert_eq!(via(&h2_request("GET", &[("host", "a")])), [format!("Via: 2 {ours}")]);
    let chained = request("GET / HTTP/1.1\nHost: a\nVia: 1.0 fred, 1.1 p.example.net\n\n");
    assert_eq!(via(&chained), ["Via: 1.0 fred, 1.1 p.example.net".to_owned(), format!("Via: 1.1 {ours}")]);
}

#[test]
fn visits_are_counted_over_lines_and_lists_and_only_ours() {
    let identity = Identity::new(1);
    for (via, visits) in [
        ("", 0),
        ("Via: 1.1 outrigger-0000000000000001\n", 1),
        (
            "Via: 1.1 outrigger-0000000000000001, 2 outrigger-0000000000000001 (x)\nVia: 1.0 outrigger-0000000000000001\n",
            3,
        ),
        ("Via: 1.1 outrigger-0000000000000002, 1.1 outrigger-00000000000000011\n", 0),
    ] {
        assert_eq!(identity.visits(&request(&format!("GET / HTTP/1.1\nHost: a\n{via}\n"))), visits, "{via}");
    }
}

#[test]
fn max_forwards_counts_down_where_it_means_something() {
    for (method, given, sent_on) in [
        ("TRACE", "5", "4"),
        ("OPTIONS", "1", "0"),
        ("OPTIONS", "18446744073709551615", "18446744073709551614"),
        ("OPTIONS", "many", "0"),
        ("GET", "5", "5"),
    ] {
        let lines = sent(&format!("{method} / HTTP/1.1\nHost: a\nMax-Forwards: {given}\n\n"));
        assert!(lines.contains(&format!("Max-Forwards: {sent_on}")), "{method} {given}: {lines:?}");
    }
}

#[test]
fn a_request_id_is_taken_over_only_from_whom_it_counts() {
    let of = |fields: &str, trusted| {
        let head = request(&format!("GET / HTTP/1.1\nHost: a\n{fields}\n"));
        let id = RequestId::of(&head, &client(V4, trusted), || u128::MAX);
        String::from_utf8(id.as_bytes().to_vec()).unwrap()
    };
    let own = "ffffffff-ffff-4fff-bfff-ffffffffffff";
    assert_eq!(of("X-Request-Id: abc\n", true), "abc");
    assert_eq!(of(&format!("X-Request-Id: {}\n", "a".repeat(64)), true), "a".repeat(64));
    for (fields, trusted) in [
        ("X-Request-Id: abc\n", false),
        ("", true),
        ("X-Request-Id:\n", true),
        ("X-Request-Id: a b\n", true),
        ("X-Request-Id: a\nX-Request-Id: b\n", true),
        (&format!("X-Request-Id: {}\n", "a".repeat(65)), true),
    ] {
        assert_eq!(of(fields, trusted), own, "{fields}");
    }
    let zero = RequestId::of(&Head::default(), &client(V4, false), || 0);
    assert_eq!(zero.as_bytes(), b"00000000-0000-4000-8000-000000000000");
}

#[test]
fn cookies_that_came_apart_over_h2_are_one_line_over_h1() {
    let fields = [("host", "a"), ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
    let head = h2_request("GET", &fields);
    let lines = sent_by(&head, &client(V4, false), Length::NONE, false);
    let cookies: Vec<_> = lines.iter().filter(|line| line.starts_with("cookie")).collect();
    assert_eq!(cookies, ["cookie: a=1; b=2"]);
    for (crumbs, line) in
        [(&["", "a=1", ""][..], "cookie: a=1"), (&["", ""], "cookie: "), (&["a=1", "", "b=2"], "cookie: a=1; b=2")]
    {
        let fields: Vec<_> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
        let lines = sent_by(&h2_request("GET", &fields), &client(V4, false), Length::NONE, false);
        assert!(lines.iter().any(|sent| sent == line), "{crumbs:?}: {lines:?}");
    }

    let map = with_outgoing(&head, &client(V4, false), Length::NONE, false, |o| o.fields_h2());
    assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn h2_carries_no_connection_fields() {
    let head = request(
        "POST / HTTP/1.1\nHost: a\nConnection: X-Secret, Upgrade\nX-Secret: 1\nUpgrade: h2c\nTE: trailers, gzip\n\
         Transfer-Encoding: chunked\nExpect: 100-continue\nX-Kept: 1\n\n",
    );
    let map = with_outgoing(&head, &client(V4, false), Length::Chunked, false, |o| o.fields_h2());
    let mut names: Vec<_> = map.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = ["te", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-kept", "x-request-id"];
    assert_eq!(names, expected);
    assert_eq!(map["te"], "trailers");
}

#[test]
fn over_h2_an_id_takes_no_place_in_the_table_of_what_is_said_again() {
    let head = request("GET / HTTP/1.1\nHost: a\nX-Kept: 1\n\n");
    let onward = with_outgoing(&head, &client(V4, false), Length::NONE, false, |o| o.fields_h2());
    let (identity, id) = (Identity::new(7), RequestId::of(&head, &client(V4, false), || 1));
    let back = reply(&identity, &id, Length::NONE).fields_h2(&response("HTTP/1.1 200 OK\nX-Kept: 1\n\n"));
    for map in [onward, back] {
        let never: Vec<_> =
            map.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(never, ["x-request-id"]);
    }
}

fn reply<'a>(identity: &'a Identity, id: &'a RequestId, length: Length) -> Reply<'a> {
    Reply {
        version: Version::Http11,
        close: false,
        to: To::Other,
        length,
        identity: Some(identity),
        id,
        degraded: None,
    }
}

#[test]
fn an_answer_is_framed_for_whom_it_is_for() {
    let (identity, id) = (Identity::new(1), id());
    let plain = reply(&identity, &id, Length::Exact(5));
    let open = Reply { length: Length::UntilClose, ..plain };
    let chunks = Reply { length: Length::Chunked, ..plain };
    let old = Version::Http10;
    let ok = "HTTP/1.1 200 OK\nX: y\n\n";
    let cl9 = "HTTP/1.1 200 OK\nContent-Length: 9\n\n";
    let none = Reply { length: Length::NONE, ..plain };
    for (reply, head, said, body) in [
        (plain, ok, &["Content-Length: 5"][..], Length::Exact(5)),
        (open, ok, &["Transfer-Encoding: chunked"], Length::Chunked),
        (chunks, ok, &["Transfer-Encoding: chunked"], Length::Chunked),
        (Reply { version: old, close: true, ..chunks }, ok, &["Connection: close"], Length::UntilClose),
        (Reply { version: old, ..plain }, ok, &["Content-Length: 5", "Connection: keep-alive"], Length::Exact(5)),
        (Reply { close: true, ..plain }, ok, &["Content-Length: 5", "Connection: close"], Length::Exact(5)),
        (plain, "HTTP/1.1 205 R\n\n", &["Content-Length: 5"], Length::Exact(5)),
        (none, "HTTP/1.1 205 R\n\n", &["Content-Length: 0"], Length::NONE),
        (none, "HTTP/1.1 304 N\nContent-Length: 9\n\n", &["Content-Length: 9"], Length::NONE),
        (Reply { to: To::Head, ..none }, cl9, &["Content-Length: 9"], Length::NONE),
        (Reply { to: To::Head, ..none }, ok, &[], Length::NONE),
        // Nothing follows a head that ends the answer, whatever there would be to send.
        (none, "HTTP/1.1 204 N\nContent-Length: 3\n\n", &[], Length::NONE),
        (plain, "HTTP/1.1 204 N\nContent-Length: 5\n\n", &[], Length::NONE),
        (chunks, "HTTP/1.1 204 N\nTransfer-Encoding: chunked\n\n", &[], Length::NONE),
        (open, "HTTP/1.1 304 N\n\n", &[], Length::NONE),
        (Reply { version: old, ..open }, "HTTP/1.1 204 N\n\n", &["Connection: keep-alive"], Length::NONE),
        (Reply { to: To::Head, ..chunks }, ok, &[], Length::NONE),
        (Reply { to: To::Connect, ..plain }, cl9, &[], Length::NONE),
    ] {
        let mut out = Vec::new();
        reply.write_h1(&response(head), &mut out);
        assert_eq!(reply.body(&response(head)), body, "{head} {reply:?}");
        let framing: Vec<_> = lines(&out)
            .into_iter()
            .filter(|l| ["Content-Length", "Transfer-Encoding", "Connection"].iter().any(|n| l.starts_with(n)))
            .collect();
        assert_eq!(framing, said, "{head} {reply:?}");
    }
    assert!(Reply { version: old, ..chunks }.ends_by_close(&response(ok)));
    assert!(!Reply { version: old, ..plain }.ends_by_close(&response(ok)));
}

#[test]
fn an_answer_leaves_the_endpoint_s_connection_behind() {
    let (identity, id) = (Identity::new(1), id());
    let head = response(
        "HTTP/1.1 200 OK\nConnection: close, X-Own\nX-Own: 1\nKeep-Alive: timeout=1\nProxy-Authenticate: Basic\n\
         Upgrade: h2c\nSet-Cookie: a\nSet-Cookie: b\nVia: 1.1 before\nX-Request-Id: theirs\n\n",
    );
    let mut out = Vec::new();
    reply(&identity, &id, Length::Exact(0)).write_h1(&head, &mut out);
    let expected = [
        "HTTP/1.1 200 OK",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "Via: 1.1 before",
        "X-Request-Id: theirs",
        "Content-Length: 0",
        "Via: 1.1 outrigger-0000000000000001",
    ];
    assert_eq!(lines(&out), expected);

    let map = reply(&identity, &id, Length::Exact(3)).fields_h2(&head);
    assert_eq!(map["content-length"], "3");
    assert!(["connection", "keep-alive", "upgrade", "x-own"].iter().all(|name| !map.contains_key(*name)), "{map:?}");
}

#[test]
fn an_answer_that_asks_for_an_upgrade_still_says_whether_the_connection_ends() {
    let (identity, id) = (Identity::new(1), id());
    let plain = reply(&identity, &id, Length::Exact(0));
    let required = "HTTP/1.1 426 Upgrade Required\nUpgrade: websocket\n\n";
    let switching = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\n";
    for (reply, head, said) in [
        (plain, required, "Connection: upgrade"),
        (Reply { close: true, ..plain }, required, "Connection: upgrade, close"),
        (Reply { version: Version::Http10, ..plain }, required, "Connection: upgrade, keep-alive"),
        (plain, switching, "Connection: upgrade"),
    ] {
        let mut out = Vec::new();
        reply.write_h1(&response(head), &mut out);
        let lines = lines(&out);
        assert_eq!(lines.iter().filter(|l| l.starts_with("Connection")).collect::<Vec<_>>(), [said]);
        assert!(lines.iter().any(|line| line == "Upgrade: websocket"), "{lines:?}");
    }
}

#[test]
fn a_degraded_answer_says_so_after_whoever_has_said_so_before() {
    use crate::error::Reason;
    use crate::resilience::fallback::{By, Degraded};

    let (identity, id) = (Identity::new(1), id());
    let degraded = Degraded { by: By::Service("lite".into()), reason: Reason::NoEndpoint };
    let marked = Reply { degraded: Some(&degraded), ..reply(&identity, &id, Length::Exact(5)) };
    let inner = response("HTTP/1.1 200 OK\nOutrigger-Degraded: static;reason=timeout\n\n");
    let expected = ["static;reason=timeout", "service;reason=no_endpoint;name=\"lite\""];

    let mut out = Vec::new();
    marked.write_h1(&inner, &mut out);
    let mut read = Head::default();
    crate::http::parse::response(&out, &mut read).unwrap();
    let marks: Vec<_> =
        read.fields().filter(|(_, n, _)| n.eq_ignore_ascii_case(b"outrigger-degraded")).map(|(_, _, v)| v).collect();
    assert_eq!(marks, expected.map(str::as_bytes));
    let map = marked.fields_h2(&inner);
    assert_eq!(map.get_all("outrigger-degraded").iter().collect::<Vec<_>>(), expected);

    out.clear();
    reply(&identity, &id, Length::Exact(5)).write_h1(&response("HTTP/1.1 200 OK\n\n"), &mut out);
    assert!(!out.to_ascii_lowercase().windows(8).any(|w| w == b"degraded"));
}
