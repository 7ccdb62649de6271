//! What is sent over HTTP/2, and what has to become of it over HTTP/1.1.
//!
//! Over HTTP/2 nothing ends at a CR or LF, so a name, a value or a target can hold what would be a line of its own.

mod lines;

use std::net::SocketAddr;

use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM};

use super::corpus::{Expected, HIDDEN, MARKED, Request, latin1, tagged};
use super::judge::{Answer, Told, told};

/// A frame's flag: it ends in padding.
const PADDED: u8 = 8;
/// A type of frame: more of the fields before.
const CONTINUATION: u8 = 9;

#[derive(Debug, Clone)]
pub struct Case {
    pub what: String,
    fields: Vec<(String, String)>,
    /// Whether the block of fields comes in two frames, cut within a field.
    cut: bool,
    body: Body,
    pub expected: Expected,
}

#[derive(Debug, Clone)]
enum Body {
    /// The stream ends with its head.
    None,
    /// One frame for each piece.
    Data(Vec<String>),
    /// One frame with padding that is a request.
    Padded(String),
    /// A piece, and fields behind it.
    Trailers(String, Vec<(String, String)>),
}

impl Case {
    /// Sends it, and the marker on the same connection.
    pub fn send(&self, address: SocketAddr, nth: usize) -> Told {
        let mut client = Frames::open(address);
        let block = |fields: &[(String, String)]| -> Vec<u8> {
            let fields = fields.iter().map(|(name, value)| (name.as_str(), tagged(value, nth)));
            fields.flat_map(|(name, value)| frames::field(&tagged(name, nth), &value)).collect()
        };
        let ends = if matches!(self.body, Body::None) { END_STREAM } else { 0 };
        let head = block(&self.fields);
        if self.cut {
            // The last field is behind the cut, but for its first letters.
            let last = self.fields.last().map_or(0, |(name, value)| name.len() + value.len());
            let (first, second) = head.split_at(head.len() - last);
            client.send(HEADERS, ends, 1, first);
            client.send(CONTINUATION, END_HEADERS, 1, second);
        } else {
            client.send(HEADERS, ends | END_HEADERS, 1, &head);
        }
        match &self.body {
            Body::None => {}
            Body::Data(pieces) => {
                for (at, piece) in pieces.iter().enumerate() {
                    let last = if at + 1 == pieces.len() { END_STREAM } else { 0 };
                    client.send(DATA, last, 1, &latin1(&tagged(piece, nth)));
                }
            }
            Body::Padded(piece) => {
                let hidden = latin1(&tagged(HIDDEN, nth));
                let length = u8::try_from(hidden.len()).expect("a short request");
                client.send(DATA, END_STREAM | PADDED, 1, &[&[length], piece.as_bytes(), &hidden].concat());
            }
            Body::Trailers(piece, fields) => {
                client.send(DATA, 0, 1, piece.as_bytes());
                client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
            }
        }
        let case = answer(&mut client, 1);
        let target = tagged(MARKED, nth);
        let marker = [(":method", "GET"), (":scheme", "http"), (":authority", "marker"), (":path", &target)];
        client.send(HEADERS, END_HEADERS | END_STREAM, 3, &frames::fields(&marker));
        let marker = answer(&mut client, 3);
        Told { case, marker }
    }
}

/// Reads the answer on a stream.
fn answer(client: &mut Frames, stream: u32) -> Answer {
    let (mut body, mut status) = (Vec::new(), 0);
    while let Some(frame) = client.receive() {
        match frame.kind {
            GOAWAY => return Answer::Ended,
            RST_STREAM if frame.stream == stream => return Answer::Ended,
            HEADERS if frame.stream == stream => status = status_of(&frame.payload),
            DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
            _ => continue,
        }
        if frame.stream == stream && frame.ends() {
            let text = String::from_utf8_lossy(&body);
            // What the proxy says itself begins with its name and the status.
            if let Some(said) = text.strip_prefix("outrigger: ") {
                return Answer::Refused(said.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0));
            }
            return told(status, false, (!body.is_empty()).then_some(&body[..]));
        }
    }
    Answer::Ended
}

/// The status of a head that begins with it, as far as HPACK's table knows it (RFC 7541 appendix A).
fn status_of(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

/// Fields with those of a request before them; one of the same name takes the place of the usual one.
fn head(method: &str, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/TAG/case")];
    let given = |name: &str| fields.iter().any(|(given, _)| *given == name && name.starts_with(':'));
    let (pseudo, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| name.starts_with(':'));
    let usual = usual.iter().filter(|(name, _)| !given(name));
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    usual.chain(pseudo.iter().copied()).chain(rest.iter().copied()).map(owned).collect()
}

fn case(what: &str, fields: Vec<(String, String)>, body: Body, expected: Expected) -> Case {
    Case { what: what.into(), fields, cut: false, body, expected }
}

fn data(pieces: &[&str]) -> Body {
    Body::Data(pieces.iter().map(|piece| (*piece).to_owned()).collect())
}

pub fn all() -> Vec<Case> {
    [bodies(), lines::all(), cut()].concat()
}

/// Lengths and data, and what HTTP/1.1 would call framing.
fn bodies() -> Vec<Case> {
    let hello = || Expected::Passed(Request::of("POST", "hello"));
    let sent =
        |what: &str, fields: &[(&str, &str)], body: Body, expected| case(what, head("POST", fields), body, expected);
    let refused = |what: &str, fields: &[(&str, &str)], pieces: &[&str]| {
        case(what, head("POST", fields), data(pieces), Expected::Refused)
    };
    let hidden = format!("0\r\n\r\n{HIDDEN}");
    let mut cases = vec![
        sent("no length", &[], data(&["hel", "lo"]), hello()),
        sent("a length", &[("content-length", "5")], data(&["hel", "lo"]), hello()),
        sent("a length with zeros", &[("content-length", "0005")], data(&["hello"]), hello()),
        sent("a length and an empty frame", &[("content-length", "5")], data(&["hello", ""]), hello()),
        sent("empty frames", &[], data(&["", "hel", "", "lo", ""]), hello()),
        sent("padding", &[], Body::Padded("hello".into()), hello()),
        sent("padding and a length", &[("content-length", "5")], Body::Padded("hello".into()), hello()),
        sent("no body", &[], Body::None, Expected::Passed(Request::of("POST", ""))),
        sent("an empty body", &[], data(&[""]), Expected::Passed(Request::of("POST", ""))),
        sent("a request in data", &[], data(&[&hidden]), Expected::Passed(Request::of("POST", &hidden))),
        sent(
            "a request in a frame of its own",
            &[],
            data(&["0\r\n\r\n", HIDDEN]),
            Expected::Passed(Request::of("POST", &hidden)),
        ),
        refused("a length of nothing", &[("content-length", "0")], &[&hidden]),
        refused("a length too short", &[("content-length", "3")], &["hello"]),
        refused("a length too long", &[("content-length", "8")], &["hello"]),
        refused("two lengths", &[("content-length", "5"), ("content-length", "5")], &["hello"]),
        refused("two lengths that differ", &[("content-length", "5"), ("content-length", "0")], &["hello"]),
        refused("a list of lengths", &[("content-length", "5, 5")], &["hello"]),
        refused("a plus", &[("content-length", "+5")], &["hello"]),
        refused("a hexadecimal length", &[("content-length", "0x5")], &["hello"]),
        refused("an empty length", &[("content-length", "")], &["hello"]),
        refused("2^64 more", &[("content-length", "18446744073709551621")], &["hello"]),
        refused("a coding", &[("transfer-encoding", "chunked")], &[&hidden]),
        refused("a coding and a length", &[("transfer-encoding", "chunked"), ("content-length", "5")], &["hello"]),
        refused("another coding", &[("transfer-encoding", "identity")], &["hello"]),
        refused("te", &[("te", "chunked")], &["hello"]),
        refused("connection", &[("connection", "transfer-encoding")], &["hello"]),
        refused("keep-alive", &[("keep-alive", "timeout=1")], &["hello"]),
        refused("proxy-connection", &[("proxy-connection", "close")], &["hello"]),
        refused("upgrade", &[("upgrade", "h2c")], &["hello"]),
        sent("a length and no data", &[("content-length", "5")], Body::None, Expected::Refused),
        sent(
            "a coding with an underscore",
            &[("transfer_encoding", "chunked")],
            data(&[&hidden]),
            Expected::Passed(Request::of("POST", &hidden)),
        ),
        sent(
            "a length with an underscore",
            &[("content_length", "0")],
            data(&[&hidden]),
            Expected::Passed(Request::of("POST", &hidden)),
        ),
        sent("an expectation", &[("expect", "100-continue")], data(&["hello"]), hello()),
        sent("two expectations", &[("expect", "100-continue"), ("expect", "x")], data(&["hello"]), Expected::Refused),
        sent("te of trailers", &[("te", "trailers")], data(&["hello"]), hello()),
        sent("crumbs", &[("cookie", "a=b"), ("cookie", ""), ("cookie", "c=d")], data(&["hello"]), hello()),
        sent("http2-settings", &[("http2-settings", "AAMAAABk")], data(&["hello"]), hello()),
    ];
    let trailers = [
        ("", "x", "a", hello()),
        (" with a length", "content-length", "5", Expected::Refused),
        (" with a coding", "transfer-encoding", "chunked", Expected::Refused),
        (" with a host", "host", "b", Expected::Refused),
        // The `h2` crate drops it, and does not tell.
        (" with a path", ":path", "/TAG/hidden", Expected::Either(Request::of("POST", "hello"))),
        (" with a line in a value", "x", "a\r\n\r\nGET /TAG/hidden HTTP/1.1", Expected::Refused),
        (" with a line in a name", "x: a\r\n\r\nGET /TAG/hidden HTTP/1.1\r\nhost", "a", Expected::Refused),
    ];
    for (what, name, value, expected) in trailers {
        let body = Body::Trailers("hello".into(), vec![(name.into(), value.into())]);
        cases.push(sent(&format!("trailers{what}"), &[], body, expected));
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "M-SEARCH"] {
        let meant = |body: &str| Expected::Passed(Request::of(method, body));
        cases.push(case(&format!("{method} with data"), head(method, &[]), data(&[&hidden]), meant(&hidden)));
        let length = hidden.len().to_string();
        let lengthy = head(method, &[("content-length", &length)]);
        cases.push(case(&format!("{method} with a length"), lengthy, data(&[&hidden]), meant(&hidden)));
        cases.push(case(&format!("{method} without a body"), head(method, &[]), Body::None, meant("")));
    }
    cases
}

/// Blocks that come in two frames. What breaks a rule in the first of them, the `h2` crate drops without a word where
/// the cut is within a field: then the rest has to be read as if it had never been there.
fn cut() -> Vec<Case> {
    let cut = |what: &str, fields: Vec<(String, String)>, expected| Case {
        cut: true,
        ..case(&format!("cut, {what}"), fields, data(&["hello"]), expected)
    };
    let hello = || Request::of("POST", "hello");
    let last = ("x-last", "a-long-value");
    let with = |fields: &[(&str, &str)]| head("POST", &[fields, &[last]].concat());
    let mut cases = vec![
        cut("nothing", with(&[]), Expected::Passed(hello())),
        cut("a length", with(&[("content-length", "5")]), Expected::Passed(hello())),
        cut("two lengths", with(&[("content-length", "5"), ("content-length", "5")]), Expected::Refused),
        cut("a line in a value", with(&[("x", "a\r\ntransfer-encoding: chunked")]), Expected::Refused),
        cut("a line in a name", with(&[("x\r\ntransfer-encoding", "chunked")]), Expected::Refused),
        cut("capitals", with(&[("Transfer-Encoding", "chunked")]), Expected::Refused),
    ];
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("keep-alive", "timeout=1"),
    ] {
        cases.push(cut(name, with(&[(name, value)]), Expected::Either(hello())));
    }
    for (at, name, value) in [(1, ":method", "GET"), (5, ":path", "/TAG/hidden")] {
        let mut fields = with(&[("x", "a")]);
        fields.insert(at, (name.into(), value.into()));
        cases.push(cut(&format!("{name} again"), fields, Expected::Either(hello())));
    }
    cases
}
