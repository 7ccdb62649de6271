//! A request's host and path, from whichever form its target has (RFC 9112 section 3.2).
//!
//! The rule on paths: they are used byte for byte, for routing and for what is sent on. `//` is not merged and `%2F`
//! is not decoded. A path with a dot segment (`/../`, `/./`, plain or percent-encoded) is refused, because two
//! readers would not agree on what it names.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::error::Reason;
use crate::http::Head;
use crate::http::head::{Name, Version};
use crate::http::path::has_dot_segment;

/// A target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// Host and port as stated; empty for an HTTP/1.0 request without any.
    pub host: &'a [u8],
    /// What goes into the request line: path and query, or `*`.
    pub origin: Cow<'a, [u8]>,
    /// Whether the target is in absolute form, which clients send to a proxy: `GET http://orders/ HTTP/1.1`.
    pub absolute: bool,
}

impl<'a> Target<'a> {
    /// Takes a target apart that has passed [`Target::of`] before.
    pub fn again(head: &'a Head) -> Self {
        match head.target() {
            origin @ ([b'/', ..] | b"*") => {
                let host = head.first(Name::Host).unwrap_or_default();
                Self { host, origin: Cow::Borrowed(origin), absolute: false }
            }
            target => absolute(head, target).unwrap_or(Self { host: b"", origin: (&b"/"[..]).into(), absolute: false }),
        }
    }

    /// Takes a request's target and `Host` apart, and checks both.
    pub fn of(head: &'a Head) -> Result<Self, Reason> {
        if head.method() == b"CONNECT" {
            return Err(Reason::ConnectMethod);
        }
        let host = stated_host(head)?;
        let target = head.target();
        let this = match target {
            [b'/', ..] => Self { host, origin: Cow::Borrowed(target), absolute: false },
            b"*" if head.method() == b"OPTIONS" => Self { host, origin: Cow::Borrowed(target), absolute: false },
            _ => absolute(head, target)?,
        };
        if has_dot_segment(this.path()) {
            return Err(Reason::BadRequest);
        }
        Ok(this)
    }

    /// The path without the query.
    pub fn path(&self) -> &[u8] {
        self.path_and_query().0
    }

    /// The path, and what stands behind its `?`.
    pub fn path_and_query(&self) -> (&[u8], &[u8]) {
        match memchr::memchr(b'?', &self.origin) {
            Some(end) => (&self.origin[..end], &self.origin[end + 1..]),
            None => (&self.origin, b""),
        }
    }
}

fn absolute<'a>(head: &'a Head, target: &'a [u8]) -> Result<Target<'a>, Reason> {
    const SCHEME: &[u8] = b"http://";
    if target.len() < SCHEME.len() || !target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME) {
        return Err(Reason::BadRequest);
    }
    let rest = &target[SCHEME.len()..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() || !is_host(host) {
        return Err(Reason::BadRequest);
    }
    let origin = match path {
        [b'/', ..] => Cow::Borrowed(path),
        [] if head.method() == b"OPTIONS" => Cow::Borrowed(&b"*"[..]),
        _ => Cow::Owned([b"/", path].concat()),
    };
    Ok(Target { host, origin, absolute: true })
}

/// The request's one `Host` (RFC 9112 section 3.2), or `:authority` in its place (RFC 9113 section 8.3.1). Only
/// HTTP/1.0 may do without.
fn stated_host(head: &Head) -> Result<&[u8], Reason> {
    match head.only(Name::Host) {
        Some(host) if is_host(host) => Ok(host),
        None if head.version() == Version::Http10 && !head.has(Name::Host) => Ok(b""),
        _ => Err(Reason::BadRequest),
    }
}

/// `uri-host [ ":" port ]` of RFC 3986; of a name only the characters are looked at.
fn is_host(host: &[u8]) -> bool {
    let port = match host {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            if str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok()).is_none() {
                return false;
            }
            &rest[end + 1..]
        }
        _ => {
            let end = host.iter().position(|b| !IN_HOST[usize::from(*b)]).unwrap_or(host.len());
            &host[end..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The characters of a registered name: RFC 3986 section 3.2.2.
const IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < table.len() {
        table[i] = matches!(i as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!'
            | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, hosts: &[&str], version: Version) -> Head {
        let mut head = Head::default();
        head.set_request(method.as_bytes(), target.as_bytes(), version).unwrap();
        for host in hosts {
            head.push(b"Host", host.as_bytes()).unwrap();
        }
        head
    }

    fn of(method: &str, target: &str, hosts: &[&str]) -> Result<(String, String, bool), Reason> {
        let head = head(method, target, hosts, Version::Http11);
        let target = Target::of(&head)?;
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        Ok((text(target.host), text(&target.origin), target.absolute))
    }

    #[test]
    fn each_form_gives_host_and_path() {
        let ok = |host: &str, origin: &str, absolute| Ok((host.to_owned(), origin.to_owned(), absolute));
        assert_eq!(of("GET", "/a?b", &["orders:80"]), ok("orders:80", "/a?b", false));
        assert_eq!(of("GET", "http://Orders/a", &["other"]), ok("Orders", "/a", true));
        assert_eq!(of("GET", "http://orders", &["orders"]), ok("orders", "/", true));
        assert_eq!(of("GET", "http://orders?x=1", &["orders"]), ok("orders", "/?x=1", true));
        assert_eq!(of("GET", "http://[::1]:80/", &["[::1]:80"]), ok("[::1]:80", "/", true));
        assert_eq!(of("OPTIONS", "*", &["orders"]), ok("orders", "*", false));
        assert_eq!(of("OPTIONS", "http://orders", &["orders"]), ok("orders", "*", true));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (method, target, hosts) in [
            ("GET", "*", &["orders"][..]),
            ("GET", "orders", &["orders"]),
            ("GET", "https://orders/", &["orders"]),
            ("GET", "http://user@orders/", &["orders"]),
            ("GET", "http:///x", &["orders"]),
            ("GET", "/", &[]),
            ("GET", "/", &["a", "a"]),
            ("GET", "/", &["a b"]),
            ("GET", "/", &["a/b"]),
            ("GET", "/", &["a:8o"]),
            ("GET", "/", &["user@a"]),
            ("GET", "/", &["[a]"]),
            ("GET", "/", &["[::1"]),
            ("GET", "/", &["[1.2.3.4]"]),
            ("GET", "/", &["[::1]a"]),
            ("GET", "/a/../b", &["a"]),
            ("GET", "/a/%2e%2E/b", &["a"]),
        ] {
            assert_eq!(of(method, target, hosts), Err(Reason::BadRequest), "{method} {target} {hosts:?}");
        }
        assert_eq!(of("CONNECT", "orders:80", &["orders:80"]), Err(Reason::ConnectMethod));
    }

    #[test]
    fn http_1_0_may_do_without_a_host() {
        let old = head("GET", "/", &[], Version::Http10);
        assert_eq!(Target::of(&old).unwrap().host, b"");
        for version in [Version::Http11, Version::Http2] {
            assert_eq!(Target::of(&head("GET", "/", &[], version)), Err(Reason::BadRequest), "{version:?}");
        }
    }
}
