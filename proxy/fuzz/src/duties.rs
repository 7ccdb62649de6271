//! What a proxy owes to the fields that pass through it, said a second time: from RFC 9110 and the proxy's own
//! documents, with names as text, and in words of its own.
//!
//! Each function takes a message as it came and what a strict reader saw of what was written, and panics where a
//! field is missing, changed, too many, or somebody else's.

use outrigger::request::target::Target;
use outrigger::http::{Head, Length, Version};

use crate::ours::{Kind, Message};
use crate::rewrite::{How, is_interim};
use crate::strict::Read;

type Field<'a> = (&'a [u8], &'a [u8]);

/// What `Via` calls the proxy here.
const US: &str = "outrigger-0000000000000001";
/// The id of a request that brought none: version 4 of a UUID, made of [`crate::rewrite::RANDOM`].
const ID: &str = "00000000-0000-4000-8000-000000000007";

/// The connection's own; they end here in either direction.
const HOP: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What the proxy says of a request itself, or leaves out.
const RESAID: [&str; 12] = [
    "forwarded",
    "grpc-timeout",
    "host",
    "http2-settings",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-outrigger-explain",
    "x-request-id",
];

/// The control field that is always said anew.
const DEADLINE: &str = "x-request-deadline";
/// The control fields that a trusted client may send on.
const WORTH: [&str; 2] = ["x-outrigger-priority", "x-outrigger-caller"];

/// The others that the proxy knows: `Connection` cannot take them away, and they pass under no other spelling.
const KNOWN: [&str; 13] = [
    "accept",
    "authorization",
    "content-type",
    "cookie",
    "date",
    "expect",
    "grpc-status",
    "idempotency-key",
    "max-forwards",
    "proxy-status",
    "retry-after",
    "trailer",
    "via",
];

/// Names that no trailer may have, besides [`HOP`] and [`RESAID`].
const NO_TRAILER: [&str; 16] = [
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "grpc-timeout",
    "idempotency-key",
    "max-forwards",
    "range",
    "set-cookie",
    "trailer",
    "via",
    "www-authenticate",
];

/// A request as it went out.
pub fn request(message: &Message, read: &Read<'_>, how: How) {
    let head = &message.head;
    let Ok(target) = Target::of(head) else { panic!("a target that is refused went out") };
    assert_eq!(read.start, [head.method(), &target.origin, b"HTTP/1.1"], "another request line");
    let counts_down = matches!(head.method(), b"TRACE" | b"OPTIONS");
    let apart = head.version() == Version::Http2;
    let mut passing: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"Host".to_vec(), target.host.to_vec())];
    for (name, value) in end_to_end(head) {
        match text(name).as_str() {
            name if RESAID.contains(&name) || name == DEADLINE => {}
            name if WORTH.contains(&name) && !how.trusted => {}
            "cookie" if apart => {}
            "expect" if message.length == Length::NONE => {}
            "max-forwards" if counts_down => passing.push((name.to_vec(), one_less(value))),
            _ => passing.push((name.to_vec(), value.to_vec())),
        }
    }
    let crumbs = all(head, "cookie");
    if apart && !crumbs.is_empty() {
        let crumbs: Vec<_> = crumbs.into_iter().filter(|crumb| !crumb.is_empty()).collect();
        passing.push((b"cookie".to_vec(), crumbs.join(&b"; "[..])));
    }
    let mut own = Own::after(&passing, read);
    own.has("via", Some(&format!("{} {US}", received(head))));

    let client = how.client();
    let said = |name: &str| if how.trusted { all(head, name) } else { Vec::new() };
    let mut chain = items(&said("x-forwarded-for"));
    chain.push(client.text.to_string());
    assert_eq!(items(&own.take("x-forwarded-for")), chain, "another chain");
    own.has("x-forwarded-proto", Some(&first(&said("x-forwarded-proto")).unwrap_or("http".into())));
    own.has("x-forwarded-host", Some(&first(&said("x-forwarded-host")).unwrap_or(loose(target.host))));
    let mut chain = items(&said("forwarded"));
    if !said("forwarded").is_empty() {
        chain.push(format!("for={};proto=http", if how.v6 { "\"[2001:db8::7]\"" } else { "192.0.2.7" }));
    }
    assert_eq!(items(&own.take("forwarded")), chain, "another chain");
    let id = match said("x-request-id").as_slice() {
        [id] if (1..=64).contains(&id.len()) && id.iter().all(|b| (0x21..=0x7e).contains(b)) => loose(id),
        _ => ID.into(),
    };
    own.has("x-request-id", Some(&id));

    let remaining = how.onward().remaining.map(|remaining| remaining.as_millis().to_string());
    own.has(DEADLINE, remaining.as_deref());
    let speaks_grpc = !all(head, "grpc-timeout").is_empty();
    own.has("grpc-timeout", remaining.filter(|_| speaks_grpc).map(|ms| format!("{ms}000u")).as_deref());
    own.has("x-envoy-attempt-count", (how.onward().attempt > 1).then_some("2"));

    let expected = !all(head, "content-length").is_empty() || matches!(head.method(), b"POST" | b"PUT" | b"PATCH");
    match message.length {
        Length::Exact(n) => own.framing((n > 0 || expected).then_some(n), false),
        Length::Chunked => own.framing(None, true),
        Length::UntilClose => panic!("a request until the connection closes"),
    }

    let mut connection = Vec::new();
    let te = items(&all(head, "te")).iter().any(|item| item.eq_ignore_ascii_case("trailers"));
    own.has("te", te.then_some("trailers"));
    if how.grants(message) {
        assert_eq!(own.take("upgrade"), all(head, "upgrade"), "another upgrade");
        connection.push("upgrade".into());
    }
    if te {
        connection.push("TE".to_owned());
    }
    assert_eq!(items(&own.take("connection")), connection, "another Connection");
    own.nothing();
}

/// An answer as it went out, an interim one or not.
pub fn answer(message: &Message, read: &Read<'_>, kind: Kind, how: How) {
    let head = &message.head;
    let status = head.status();
    assert_eq!(read.start, [b"HTTP/1.1", status.to_string().as_bytes(), head.reason()], "another status line");
    let passing: Vec<_> = end_to_end(head).into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let mut own = Own::after(&passing, read);
    if is_interim(head) {
        return own.nothing();
    }
    own.has("via", (!how.own).then(|| format!("{} {US}", received(head))).as_deref());
    own.has("x-request-id", all(head, "x-request-id").is_empty().then_some(ID));

    let old = how.old && status != 101;
    let mut closes = how.close;
    match (status, message.length) {
        (100..=199 | 204, _) => own.framing(None, false),
        _ if status == 304 || kind == Kind::HeadResponses => {
            let length = match all(head, "content-length").as_slice() {
                [digits] => loose(digits).parse().ok(),
                _ => None,
            };
            own.framing(length, false);
        }
        (_, Length::Exact(n)) => own.framing(Some(n), false),
        (_, Length::Chunked | Length::UntilClose) => {
            closes |= old;
            own.framing(None, !old);
        }
    }

    let mut connection = Vec::new();
    let upgrade = own.take("upgrade");
    if matches!(status, 101 | 426) {
        assert_eq!(upgrade, all(head, "upgrade"), "another upgrade");
        connection.push("upgrade".to_owned());
    } else {
        assert!(upgrade.is_empty(), "an upgrade that nobody asked for");
    }
    if status != 101 {
        match (closes, old) {
            (true, _) => connection.push("close".into()),
            (false, true) => connection.push("keep-alive".into()),
            (false, false) => {}
        }
    }
    assert_eq!(items(&own.take("connection")), connection, "another Connection");
    own.nothing();
}

/// Trailers as they went out.
pub fn trailers(message: &Message, read: &Read<'_>) {
    let nominated: Vec<_> =
        items(&all(&message.head, "connection")).iter().map(|item| item.to_ascii_lowercase()).collect();
    let allowed = message.trailers.fields().map(|(_, name, value)| (name, value)).filter(|(name, _)| {
        let name = text(name);
        let known = KNOWN.contains(&name.as_str()) || name == "grpc-retry-pushback-ms";
        !is_disguised(&name)
            && ![&HOP[..], &RESAID, &NO_TRAILER, &WORTH, &[DEADLINE]].concat().contains(&name.as_str())
            && (known || !nominated.contains(&name))
    });
    assert!(allowed.eq(read.trailers.iter().copied()), "other trailers");
}

/// What is not the connection's own.
fn end_to_end(head: &Head) -> Vec<Field<'_>> {
    let nominated: Vec<_> = items(&all(head, "connection")).iter().map(|item| item.to_ascii_lowercase()).collect();
    let fields = head.fields().map(|(_, name, value)| (name, value));
    let passes = |(name, _): &Field<'_>| {
        let name = text(name);
        let known = KNOWN.contains(&name.as_str()) || RESAID.contains(&name.as_str());
        !HOP.contains(&name.as_str()) && !is_disguised(&name) && (known || !nominated.contains(&name))
    };
    fields.filter(passes).collect()
}

/// Whether somebody who takes an underscore for a hyphen would take it for one of the names that mean something.
fn is_disguised(name: &str) -> bool {
    let bare = name.replace('_', "-");
    bare != name && [&HOP[..], &RESAID, &KNOWN].iter().any(|names| names.contains(&bare.as_str()))
}

/// What the proxy has added: the fields after those that passed.
struct Own<'a>(Vec<Field<'a>>);

impl<'a> Own<'a> {
    fn after(passing: &[(Vec<u8>, Vec<u8>)], read: &Read<'a>) -> Self {
        for (at, (name, value)) in passing.iter().enumerate() {
            let there = read.fields.get(at).copied();
            assert_eq!(there, Some((name.as_slice(), value.as_slice())), "{}: {}", loose(name), loose(value));
        }
        Self(read.fields[passing.len()..].to_vec())
    }

    fn take(&mut self, name: &str) -> Vec<&'a [u8]> {
        let (taken, left) = self.0.iter().partition::<Vec<_>, _>(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        self.0 = left;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    fn has(&mut self, name: &str, value: Option<&str>) {
        let taken: Vec<_> = self.take(name).into_iter().map(loose).collect();
        assert_eq!(taken, Vec::from_iter(value), "another {name}");
    }

    fn framing(&mut self, length: Option<u64>, chunked: bool) {
        self.has("content-length", length.map(|n| n.to_string()).as_deref());
        self.has("transfer-encoding", chunked.then_some("chunked"));
    }

    fn nothing(self) {
        assert!(
            self.0.is_empty(),
            "nobody's field: {:?}",
            self.0.first().map(|(name, value)| (loose(name), loose(value)))
        );
    }
}

fn all<'a>(head: &'a Head, name: &str) -> Vec<&'a [u8]> {
    let of_name = head.fields().filter(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
    of_name.map(|(_, _, value)| value).collect()
}

fn first(values: &[&[u8]]) -> Option<String> {
    values.first().map(|value| loose(value))
}

/// A list's items.
fn items(values: &[&[u8]]) -> Vec<String> {
    let blank = |c: char| c == ' ' || c == '\t';
    let split = values.iter().flat_map(|value| value.split(|b| *b == b','));
    split.map(|item| loose(item).trim_matches(blank).to_owned()).filter(|item| !item.is_empty()).collect()
}

fn one_less(value: &[u8]) -> Vec<u8> {
    let n = std::str::from_utf8(value).ok().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    n.saturating_sub(1).to_string().into_bytes()
}

fn received(head: &Head) -> &'static str {
    match head.version() {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}

fn text(name: &[u8]) -> String {
    loose(name).to_ascii_lowercase()
}

/// Bytes as text, each byte a character.
fn loose(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}
