//! Trailers on their way through: which of them go on, and to whom.
//!
//! Fields that only a head may have are left out of trailers, in both directions: those of framing, routing and
//! authentication (RFC 9110 section 6.5.1), hop-by-hop fields, which include what the head's `Connection` nominates
//! (section 7.6.1), and the proxy's control fields.
//!
//! A request's trailers go to endpoints that speak HTTP/2. Some widely used HTTP/1.1 servers merge trailers into the
//! head, against section 6.5.1, or even into the head of the next request on the connection, which may be somebody
//! else's. So trailers go to HTTP/1.1 endpoints only where the service says that they can handle them.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::settings::HttpLimits;
use crate::http::head::Name;
use crate::http::{Head, write};
use crate::request::fields::{ControlNames, append};

/// Trailers, and what decides which of them go on.
#[derive(Debug, Clone, Copy)]
pub struct Trailers<'a> {
    /// As they came.
    pub fields: &'a Head,
    /// The head of the message that they end.
    pub of: &'a Head,
    /// What the control fields are called.
    pub names: ControlNames<'a>,
}

/// The same for trailers that have not come yet. It owns what it needs, because the message may outlive its exchange.
#[derive(Debug, Clone)]
pub struct Passing {
    /// The head of their message.
    pub of: Rc<Head>,
    /// Settings with the names of the control fields.
    pub http: Arc<HttpLimits>,
}

impl Passing {
    /// These, now that they have come.
    pub fn these<'a>(&'a self, fields: &'a Head) -> Trailers<'a> {
        Trailers { fields, of: &self.of, names: self.http.control_names() }
    }
}

impl<'a> Trailers<'a> {
    fn allowed(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let nominated = self.of.has(Name::Connection);
        self.fields.fields().filter_map(move |(known, name, value)| match known {
            Name::Other => {
                let kept_back = RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
                    || self.names.is_one(name)
                    || nominated && self.of.lists(Name::Connection, name);
                (!kept_back).then_some((name, value))
            }
            Name::GrpcStatus | Name::GrpcPushback | Name::Date | Name::ProxyStatus | Name::RetryAfter => {
                Some((name, value))
            }
            _ => None,
        })
    }

    /// For HTTP/2.
    pub fn fields_h2(self) -> http::HeaderMap {
        let mut map = http::HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.allowed() {
            append(&mut map, name, value);
        }
        map
    }
}

/// Fields without a [`Name`] that only a head can have.
const RESERVED: [&[u8]; 6] =
    [b"content-encoding", b"content-range", b"set-cookie", b"www-authenticate", b"range", b"cache-control"];

/// Writes the last chunk and the trailers. Unless it is the only chunk, the line that ends the chunk before goes
/// first.
pub fn write_last_chunk(out: &mut Vec<u8>, first: bool, trailers: Option<Trailers<'_>>) {
    if !first {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        for (name, value) in trailers.allowed() {
            write::field(out, name, value);
        }
    }
    write::end(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Version;

    const NAMES: ControlNames<'_> =
        ControlNames { deadline: b"x-request-deadline", priority: b"x-outrigger-priority", caller: b"x-our-caller" };

    fn trailers(fields: &[(&str, &str)]) -> Head {
        let mut trailers = Head::default();
        for (name, value) in fields {
            trailers.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        trailers
    }

    fn written(of: &Head, fields: &Head) -> String {
        let mut out = Vec::new();
        write_last_chunk(&mut out, false, Some(Trailers { fields, of, names: NAMES }));
        let map = Trailers { fields, of, names: NAMES }.fields_h2();
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_prefix("\r\n0\r\n").unwrap().strip_suffix("\r\n").unwrap();
        let h1: Vec<_> = lines.split_terminator("\r\n").map(str::to_ascii_lowercase).collect();
        let h2: Vec<_> = map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(h1, h2, "both protocols say the same");
        h1.join(", ")
    }

    #[test]
    fn trailers_say_nothing_that_only_a_head_can() {
        let fields = trailers(&[
            ("X-Sum", "1"),
            ("grpc-status", "0"),
            ("grpc-retry-pushback-ms", "7"),
            ("Content-Length", "3"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "other"),
            ("Authorization", "Basic eA=="),
            ("Cookie", "a=b"),
            ("Set-Cookie", "a=b"),
            ("Content-Encoding", "gzip"),
            ("Cache-Control", "public"),
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
        ]);
        assert_eq!(written(&Head::default(), &fields), "x-sum: 1, grpc-status: 0, grpc-retry-pushback-ms: 7");
        let mut out = Vec::new();
        write_last_chunk(&mut out, true, None);
        assert_eq!(out, b"0\r\n\r\n");
    }

    #[test]
    fn control_fields_steer_from_heads_alone_and_go_no_further_in_trailers() {
        let fields = trailers(&[
            ("X-Request-Deadline", "9"),
            ("x-outrigger-priority", "critical"),
            ("X-Our-Caller", "me"),
            ("grpc-timeout", "1S"),
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-envoy-expected-rq-timeout-ms", "1"),
            ("x-envoy-attempt-count", "1"),
            ("x-outrigger-explain", "1"),
            ("x_outrigger_explain", "1"),
            ("x-request-id", "1"),
            ("x-rest", "1"),
        ]);
        assert_eq!(written(&Head::default(), &fields), "x-rest: 1");
    }

    #[test]
    fn what_the_heads_connection_names_ends_here_after_the_body_too() {
        let mut of = Head::default();
        of.set_request(b"POST", b"/", Version::Http11).unwrap();
        of.push(b"Connection", b"X-Hop, close").unwrap();
        assert_eq!(written(&of, &trailers(&[("x-hop", "1"), ("x-end", "2")])), "x-end: 2");
    }
}
