//! What a client may not send.

use std::time::Duration;

use chaos_tests::fleet::{Origin, Scripted};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, ask, get};
use serde_json::json;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// One bad request per proxy would take minutes, so a group shares one, and with it the bystander: a client with a
/// connection of its own, which is served before and after each.
struct Refusals {
    origin: Scripted,
    proxy: Proxy,
    bystander: Connection,
    faults: Vec<String>,
}

impl Refusals {
    fn new() -> Self {
        let origin = Scripted::answering(GOOD);
        let mut config = proxy::to(&[origin.address]);
        config["http"] = json!({ "header_timeout": "500ms" });
        let proxy = Proxy::start(&config);
        let bystander = Connection::open(proxy.address);
        Self { origin, proxy, bystander, faults: Vec::new() }
    }

    /// Sends `bytes`, with a request hidden behind, and keeps what is wrong with what comes back.
    fn of(&mut self, name: &str, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> &mut Self {
        let mut bad = Connection::open(self.proxy.address);
        let mut sent = bytes.as_ref().to_vec();
        sent.extend_from_slice(SMUGGLED.as_bytes());
        // The proxy may have closed before it has read everything.
        bad.try_send(&sent).ok();
        let shown: String = bytes.as_ref().iter().take(300).map(|b| b.escape_ascii().to_string()).collect();
        let mut fault = |what: String| self.faults.push(format!("{name}: {what}; the request: {shown}"));
        match bad.try_answer("GET") {
            Ok(answer) => {
                if !statuses.contains(&answer.status()) {
                    fault(format!("expected {statuses:?}, got {}", answer.head.start));
                }
                if answer.field("proxy-status").is_none() {
                    fault("the answer has no Proxy-Status".into());
                }
                if !bad.ended() {
                    fault("the connection stays open".into());
                }
            }
            Err(broken) => fault(format!("expected {statuses:?}, got {broken}")),
        }
        self.bystander.send("GET /bystander HTTP/1.1\r\nHost: a\r\n\r\n");
        if self.bystander.answer().text() != "ok" {
            self.faults.push(format!("{name}: the bystander was not served"));
        }
        self
    }

    fn check(&self) {
        let smuggled = self.origin.seen().iter().filter(|r| r.head.target() != "/bystander").count();
        assert!(self.faults.is_empty(), "{} faults:\n{}", self.faults.len(), self.faults.join("\n"));
        assert_eq!(smuggled, 0, "the origin saw {:?}", self.origin.seen());
    }
}

#[test]
fn a_request_whose_length_is_in_doubt_is_refused() {
    let post = |fields: &str, body: &str| format!("POST /bad HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let mut refusals = Refusals::new();
    refusals
        .of("length and coding", post("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked), &[400])
        .of("coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5", chunked), &[400])
        .of("coding and a length of nothing", post("Transfer-Encoding: chunked\r\nContent-Length: 0", chunked), &[400])
        .of("two lengths", post("Content-Length: 5\r\nContent-Length: 6", "hello"), &[400])
        .of("the same length twice", post("Content-Length: 5\r\nContent-Length: 5", "hello"), &[400])
        .of("a list of lengths", post("Content-Length: 5, 6", "hello"), &[400])
        .of("a list of the same length", post("Content-Length: 5, 5", "hello"), &[400])
        .of("a plus before a length", post("Content-Length: +5", "hello"), &[400])
        .of("a minus before a length", post("Content-Length: -5", "hello"), &[400])
        .of("a space in a length", post("Content-Length: 5 0", "hello"), &[400])
        .of("a hexadecimal length", post("Content-Length: 0x5", "hello"), &[400])
        .of("an empty length", post("Content-Length:", "hello"), &[400])
        .of("a length too large for any number", post("Content-Length: 18446744073709551621", "hello"), &[400])
        .of("gzip, chunked", post("Transfer-Encoding: gzip, chunked", chunked), &[400, 501])
        .of("chunked, gzip", post("Transfer-Encoding: chunked, gzip", chunked), &[400, 501])
        .of("xchunked", post("Transfer-Encoding: xchunked", chunked), &[400, 501])
        .of("chunked, chunked", post("Transfer-Encoding: chunked, chunked", chunked), &[400, 501])
        .of("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunked), &[400, 501])
        .of(
            "chunked and identity",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunked),
            &[400, 501],
        )
        .of("identity", post("Transfer-Encoding: identity", chunked), &[400, 501])
        .of("an empty coding", post("Transfer-Encoding:", chunked), &[400, 501])
        .of("chunked with a parameter", post("Transfer-Encoding: chunked;a=b", chunked), &[400, 501])
        .of("quoted chunked", post("Transfer-Encoding: \"chunked\"", chunked), &[400, 501])
        .of(
            "a coding in HTTP/1.0",
            format!("POST /bad HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
            &[400, 501],
        );
    refusals.check();
}

#[test]
fn a_head_that_breaks_the_grammar_is_refused() {
    let get = |field: &str| format!("GET /bad HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let mut refusals = Refusals::new();
    refusals
        .of("a folded field", get("X: a\r\n b"), &[400])
        .of("a first field with a space before", "GET /bad HTTP/1.1\r\n Host: a\r\n\r\n", &[400])
        .of("a bare CR in a value", get("X: a\rb"), &[400])
        .of("a bare CR that would hide a field", get("X: a\rContent-Length: 5"), &[400])
        .of("a bare LF after a field", get("X: a\nY: b"), &[400])
        .of("bare LFs throughout", "GET /bad HTTP/1.1\nHost: a\n\n", &[400])
        .of("a bare LF as the last line", "GET /bad HTTP/1.1\r\nHost: a\r\n\n", &[400])
        .of("a flood of blank lines before", "\r\n".repeat(5) + "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a CR before", "\rGET /bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("bare LFs before", "\n\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a space before the colon", get("X : a"), &[400])
        .of("a space before the colon of a length", get("Content-Length : 5"), &[400])
        .of("a tab before the colon", get("X\t: a"), &[400])
        .of("a field without a colon", get("X"), &[400])
        .of("a field without a name", get(": a"), &[400])
        .of("a NUL in a value", get("X: a\0b"), &[400])
        .of("a NUL in a name", get("X\0: a"), &[400])
        .of("a NUL in the target", "GET /b\0d HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a control character in a value", get("X: a\x01b"), &[400])
        .of("a name that is no token", get("X(y): a"), &[400])
        .of("a name beyond ASCII", get("X\u{e4}: a"), &[400])
        .of("a method that is no token", "G@T /bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("two spaces in the start line", "GET  /bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a space in the target", "GET /b d HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("no version", "GET /bad\r\nHost: a\r\n\r\n", &[400])
        .of("a version of the future", "GET /bad HTTP/2.0\r\nHost: a\r\n\r\n", &[400, 505])
        .of("a version in small letters", "GET /bad http/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a fragment", "GET /bad#x HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a target that is no path", "GET bad HTTP/1.1\r\nHost: a\r\n\r\n", &[400])
        .of("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", &[400]);
    refusals.check();
}

#[test]
fn a_request_without_one_valid_host_is_refused() {
    let mut refusals = Refusals::new();
    refusals
        .of("no Host", "GET /bad HTTP/1.1\r\n\r\n", &[400])
        .of("two Hosts", "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400])
        .of("the same Host twice", "GET /bad HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400])
        .of("a Host with a space", "GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n", &[400])
        .of("a Host with a path", "GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400])
        .of("a Host with a user", "GET /bad HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400])
        .of("a Host list", "GET /bad HTTP/1.1\r\nHost: a, b\r\n\r\n", &[400])
        .of("a Host with a port that is none", "GET /bad HTTP/1.1\r\nHost: a:b\r\n\r\n", &[400])
        .of("an absolute form without a Host", "GET http://a/bad HTTP/1.1\r\n\r\n", &[400]);
    refusals.check();
}

#[test]
fn a_path_that_readers_would_understand_differently_is_refused() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut refusals = Refusals::new();
    for path in ["/..", "/../etc/passwd", "/a/../b", "/a/..", "/./a", "/a/.", "/a/./b", "/%2e%2e/a", "/a/%2E./b"] {
        refusals.of(path, get(path), &[400]);
    }
    refusals.check();
}

#[test]
fn a_chunked_body_that_breaks_the_grammar_is_refused() {
    let post = |body: &str| format!("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let mut refusals = Refusals::new();
    refusals
        .of("0x before a size", post("0x5\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a size that overflows", post("10000000000000005\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a size with all bits", post("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a negative size", post("-5\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a plus before a size", post("+5\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("an empty size", post("\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a size that is no number", post("five\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a space before a size", post(" 5\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("no CRLF after a chunk", post("5\r\nhello0\r\n\r\n"), &[400])
        .of("a chunk longer than its size", post("3\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("a bare LF after a size", post("5\nhello\r\n0\r\n\r\n"), &[400])
        .of("a bare LF after a chunk", post("5\r\nhello\n0\r\n\r\n"), &[400])
        .of("a bare CR after a size", post("5\rhello\r\n0\r\n\r\n"), &[400])
        .of("a bare LF in an extension", post("5;a\nb\r\nhello\r\n0\r\n\r\n"), &[400])
        .of("an extension too long", post(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000))), &[400])
        .of("a trailer without a colon", post("5\r\nhello\r\n0\r\nX\r\n\r\n"), &[400])
        .of("a trailer with a bare LF", post("5\r\nhello\r\n0\r\nX: a\n\r\n"), &[400]);
    refusals.check();
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let lines: String = (0..1000).map(|n| format!("X-{n}: a\r\n")).collect();
    let mut refusals = Refusals::new();
    refusals
        .of("a field too large", format!("GET /bad HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000)), &[431])
        .of("a target too large", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)), &[414, 431])
        .of("too many fields", format!("GET /bad HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), &[431]);
    refusals.check();
}

#[test]
fn a_client_that_dribbles_its_head_is_cut_off_and_others_are_served() {
    let mut refusals = Refusals::new();
    let mut slow = Connection::open(refusals.proxy.address);
    let started = std::time::Instant::now();
    let writer = slow.stream();
    let dribble = std::thread::spawn(move || {
        use std::io::Write;
        for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            std::thread::sleep(Duration::from_millis(100));
            if (&writer).write_all(&[*byte]).is_err() {
                return true;
            }
        }
        false
    });
    refusals.of("meanwhile", "GET /bad HTTP/1.1\r\n\r\n", &[400]);
    let answer = slow.answer();
    assert_eq!(answer.status(), 408);
    assert!(started.elapsed() >= Duration::from_millis(400), "cut off after {:?} already", started.elapsed());
    assert!(slow.ended());
    assert!(dribble.join().unwrap(), "the connection took every byte");
    refusals.check();
}

#[test]
fn a_good_request_before_a_bad_one_on_the_connection_is_answered() {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.address);
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost : a\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 200);
    assert_eq!(client.answer().status(), 200);
    assert_eq!(client.answer().status(), 400);
    assert!(client.ended());
    let targets: Vec<_> = origin.seen().iter().map(|r| r.head.target().to_owned()).collect();
    assert_eq!(targets, ["/1", "/2"]);
}

#[test]
fn connect_is_answered_with_405_and_advice() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let answer = ask(proxy.address, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    assert_eq!(answer.status(), 405);
    assert!(answer.text().contains("CONNECT"), "{}", answer.text());
    assert_eq!(origin.requests(), 0);
}

#[test]
fn double_and_encoded_slashes_reach_the_origin_byte_for_byte() {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    for target in ["//", "//a//b", "/a%2Fb", "/a%2fb?x=%2F&y=/../", "/a;b=c/d", "/%7Euser/~", "/a/...", "/a/..b", "/?"]
    {
        assert_eq!(get(proxy.address, "a", target).status(), 200, "{target}");
        assert_eq!(origin.last().head.target(), target);
    }
}

#[test]
fn a_request_that_runs_in_a_circle_ends_with_508() {
    let address = proxy::free_address();
    let mut config = proxy::to(&[address]);
    config["listeners"] = json!([{ "address": address }]);
    let proxy = Proxy::start(&config);
    let answer = get(proxy.address, "a", "/");
    assert_eq!(answer.status(), 508, "{}", answer.text());
    assert!(answer.head.lists("proxy-status", "") || answer.field("proxy-status").is_some());
}

#[test]
fn a_request_that_has_passed_three_times_passes_and_one_that_has_passed_four_times_does_not() {
    let origin = Scripted::answering(GOOD);
    let proxy = Proxy::before(&[origin.address]);
    get(proxy.address, "a", "/");
    let via = origin.last().head.field("via").expect("a Via at the origin").to_owned();
    let passed = |times: usize| {
        let vias = vec![via.clone(); times].join(", ");
        ask(proxy.address, format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {vias}\r\nConnection: close\r\n\r\n")).status()
    };
    assert_eq!(passed(3), 200);
    assert_eq!(passed(4), 508);
    let lines = format!("Via: 1.1 other\r\nVia: {via}\r\n").repeat(4);
    let answer = ask(proxy.address, format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n"));
    assert_eq!(answer.status(), 508, "passes counted over several fields");
}
