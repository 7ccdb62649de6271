//! What happens to a message's fields on their way through: a proxy's duties, in one place.
//!
//! The rules are those of RFC 9110 section 7.6 (hop-by-hop fields, `Via`, `Max-Forwards`), RFC 7239, and the
//! conventions for `X-Forwarded-*`. They are applied in one walk over the fields, which decides what goes out.
//! HTTP/1.1 writes the result as bytes, HTTP/2 puts it into an [`http::HeaderMap`].
//!
//! **Trust.** A client at a loopback address or in `http.trusted_cidrs` may say for whom it forwards and what the
//! request's id is. Everyone else's `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are replaced.
//!
//! **Control fields** (a deadline, an attempt count, a priority, a caller's name, the wish for an explanation) are
//! read from trusted clients only, and everyone else's are removed. Each attempt states anew what holds for it.

mod nominated;
mod reply;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::nominated::Nominated;
pub use self::reply::{Reply, write_interim};
use crate::error::Reason;
use crate::http::head::{Name, Version, list};
use crate::http::{Head, Length, write};
use crate::request::target::Target;
use crate::resilience::deadline::GrpcTimeout;
use crate::tls::server::Secured;

/// This process's name in `Via` and in `Proxy-Status`.
#[derive(Debug, Clone)]
pub struct Identity {
    pseudonym: Box<str>,
    /// Whole `Via` lines, one for each version.
    via_11: Box<str>,
    via_10: Box<str>,
    via_2: Box<str>,
}

impl Identity {
    /// A pseudonym unique to the process, so that a chain of proxies is no loop.
    pub fn new(unique: u64) -> Self {
        let pseudonym = format!("outrigger-{unique:016x}");
        Self {
            via_11: format!("Via: 1.1 {pseudonym}\r\n").into(),
            via_10: format!("Via: 1.0 {pseudonym}\r\n").into(),
            via_2: format!("Via: 2 {pseudonym}\r\n").into(),
            pseudonym: pseudonym.into(),
        }
    }

    /// How often the message has passed this process: how many of its `Via` entries name it.
    pub fn visits(&self, head: &Head) -> usize {
        let ours = self.pseudonym.as_bytes();
        head.all(Name::Via)
            .flat_map(list)
            .filter(|entry| entry.split(u8::is_ascii_whitespace).nth(1) == Some(ours))
            .count()
    }

    fn via(&self, received: Version) -> &[u8] {
        let line = self.via_line(received);
        &line["Via: ".len()..line.len() - "\r\n".len()]
    }

    fn via_line(&self, received: Version) -> &[u8] {
        match received {
            Version::Http10 => self.via_10.as_bytes(),
            Version::Http11 => self.via_11.as_bytes(),
            Version::Http2 => self.via_2.as_bytes(),
        }
    }
}

/// Who sent the request.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub peer: SocketAddr,
    /// Its address as text, made once for each connection.
    pub text: Box<str>,
    /// Whether its fields about the request are trusted.
    pub trusted: bool,
    /// What its handshake has settled; none in cleartext.
    pub tls: Option<Secured>,
}

impl Client {
    /// The scheme of its requests' URLs.
    pub fn scheme(&self) -> &'static [u8] {
        if self.tls.is_some() { b"https" } else { b"http" }
    }

    /// Refuses a request that does not belong on this connection (RFC 9110 section 15.5.20).
    pub fn may_ask(&self, head: &Head) -> Result<(), Reason> {
        match &self.tls {
            Some(tls) if !tls.is_for(Target::again(head).host) => Err(Reason::Misdirected),
            _ => Ok(()),
        }
    }
}

/// A request's id: 36 bytes of a UUID, or what a trusted client gave.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    /// The longest id that is taken over from a client.
    pub const MAX: usize = 64;

    /// The id that a trusted client gave, if it is well-formed; otherwise a new random UUID (RFC 9562, version 4).
    pub fn of(head: &Head, client: &Client, random: impl FnOnce() -> u128) -> Self {
        if client.trusted
            && let Some(given) = head.only(Name::XRequestId)
            && (1..=Self::MAX).contains(&given.len())
            && given.iter().all(u8::is_ascii_graphic)
        {
            let mut bytes = [0; Self::MAX];
            bytes[..given.len()].copy_from_slice(given);
            // At most MAX.
            return Self { bytes, len: given.len() as u8 };
        }
        let uuid = random() & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let mut bytes = [b'-'; Self::MAX];
        // Where each byte's two digits stand: 8-4-4-4-12.
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        for (byte, at) in uuid.to_be_bytes().into_iter().zip(PLACES) {
            bytes[at..at + 2].copy_from_slice(&HEX[usize::from(byte)]);
        }
        Self { bytes, len: 36 }
    }

    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Each byte's two digits.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    while i < table.len() {
        table[i] = [digits[i >> 4], digits[i & 0xf]];
        i += 1;
    }
    table
};

/// A request about to go to an endpoint.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// As it came.
    pub head: &'a Head,
    /// The target in the request line: origin form, or `*`.
    pub target: &'a [u8],
    /// The host that the request is for: that of an absolute-form target, else `Host`.
    pub host: &'a [u8],
    /// The host that the client has asked for, which a route may have changed.
    pub asked_host: &'a [u8],
    /// How the end of its body is known.
    pub length: Length,
    /// Who sent it.
    pub client: &'a Client,
    /// Who we are.
    pub identity: &'a Identity,
    /// Its id.
    pub id: &'a RequestId,
    /// Whether it asks for an upgrade that may be granted.
    pub upgrade: bool,
    /// Whether its trailers go on. Where they do not, none are announced.
    pub trailers: bool,
    /// What the endpoint is told of this attempt.
    pub onward: AttemptFields<'a>,
}

/// What an endpoint is told of the attempt that it gets.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFields<'a> {
    /// The names of the control fields that can be chosen.
    pub names: ControlNames<'a>,
    /// How much of the request's time is left; none where it has no deadline.
    pub remaining: Option<Duration>,
    /// Which attempt of the request it is, from 1.
    pub attempt: u32,
}

/// The names of the control fields that can be chosen, in lower case.
#[derive(Debug, Clone, Copy)]
pub struct ControlNames<'a> {
    /// The field for the milliseconds that are left.
    pub deadline: &'a [u8],
    /// The field for the request's priority.
    pub priority: &'a [u8],
    /// The field for the caller's name.
    pub caller: &'a [u8],
}

impl ControlNames<'_> {
    /// Whether a name is one of them.
    pub(crate) fn is_one(&self, name: &[u8]) -> bool {
        // Lengths are compared first, because nearly every field differs in that.
        let is = |control: &[u8]| control.len() == name.len() && control.eq_ignore_ascii_case(name);
        is(self.deadline) || is(self.priority) || is(self.caller)
    }
}

/// The fields in which a trusted client says for whom it forwards.
const FORWARDED: [Name; 4] = [Name::XForwardedFor, Name::XForwardedProto, Name::XForwardedHost, Name::Forwarded];

impl Outgoing<'_> {
    /// The whole head for an HTTP/1.1 endpoint.
    pub fn write_h1(&self, out: &mut Vec<u8>) {
        write::request_line(out, self.head.method(), self.target);
        write::known(out, b"Host: ", self.host);
        write::end(out);
        self.walk(out, false, write::field);
        self.own_lines(out);
        match self.length {
            Length::Chunked => write::field(out, b"Transfer-Encoding", b"chunked"),
            // A request without a body says nothing of it, unless it came with a length or its method expects one.
            Length::Exact(0) if !self.states_length() => {}
            Length::Exact(n) => write::number(out, b"Content-Length", n),
            Length::UntilClose => {}
        }
        let te = self.head.lists(Name::Te, b"trailers");
        if te {
            write::field(out, b"TE", b"trailers");
        }
        if self.upgrade {
            for value in self.head.all(Name::Upgrade) {
                write::field(out, b"Upgrade", value);
            }
            write::field(out, b"Connection", if te { b"upgrade, TE" } else { b"upgrade" });
        } else if te {
            write::field(out, b"Connection", b"TE");
        }
        write::end(out);
    }

    /// The fields for an HTTP/2 endpoint.
    pub fn fields_h2(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::with_capacity(self.head.len() + 8);
        self.walk(&mut map, true, append);
        append(&mut map, b"Via", self.identity.via(self.head.version()));
        self.forwarded(&mut map, append);
        append(&mut map, b"X-Request-Id", self.id.as_bytes());
        self.onward(&mut map, append);
        if self.head.lists(Name::Te, b"trailers") {
            append(&mut map, b"te", b"trailers");
        }
        if let Length::Exact(n) = self.length
            && (n > 0 || self.states_length())
        {
            map.insert(http::header::CONTENT_LENGTH, n.into());
        }
        say_once(&mut map);
        map
    }

    fn states_length(&self) -> bool {
        self.head.has(Name::ContentLength) || matches!(self.head.method(), b"POST" | b"PUT" | b"PATCH")
    }

    /// Every field but `Host` and those of framing and connection.
    fn walk<O>(&self, out: &mut O, h2: bool, emit: impl Fn(&mut O, &[u8], &[u8]) + Copy) {
        let head = self.head;
        let nominated = Nominated::by(head);
        let joins_cookies = head.version() == Version::Http2 && !h2;
        for (known, name, value) in head.fields() {
            match known {
                Name::Other if nominated.has(name) => {}
                // Without a body there is nothing to wait for (RFC 9110 section 10.1.1). To HTTP/2 endpoints no
                // `Expect` goes.
                Name::Expect if h2 || self.length == Length::NONE => {}
                Name::Trailer if !self.trailers => {}
                Name::Disguised => {}
                Name::Cookie if joins_cookies => {}
                Name::Host
                | Name::Connection
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::ProxyAuthorization
                | Name::ProxyAuthenticate
                | Name::Te
                | Name::TransferEncoding
                | Name::ContentLength
                | Name::Upgrade
                | Name::Http2Settings
                | Name::Forwarded
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedProto
                | Name::XRequestId
                | Name::GrpcTimeout
                | Name::XEnvoyAttempt
                | Name::XEnvoyExpected
                | Name::XEnvoyTimeout
                | Name::XOutriggerExplain => {}
                Name::Other if self.is_consumed(name) => {}
                Name::MaxForwards if matches!(head.method(), b"TRACE" | b"OPTIONS") => {
                    let mut text = [0u8; 20];
                    emit(out, name, decremented(value, &mut text));
                }
                _ => emit(out, name, value),
            }
        }
        if joins_cookies && head.has(Name::Cookie) {
            // RFC 9113 section 8.2.3. An empty crumb is left out, or the line could end with a blank.
            let crumbs = head.all(Name::Cookie).filter(|crumb| !crumb.is_empty());
            emit(out, b"cookie", &crumbs.collect::<Vec<_>>().join(&b"; "[..]));
        }
    }

    /// The lines that the proxy adds to every request.
    fn own_lines(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.identity.via_line(self.head.version()));
        if self.client.trusted && FORWARDED.iter().any(|name| self.head.has(*name)) {
            self.forwarded(out, write::field);
            write::known(out, b"X-Request-Id: ", self.id.as_bytes());
        } else {
            write::known(out, b"X-Forwarded-For: ", self.client.text.as_bytes());
            match self.client.tls {
                None => {
                    write::known(out, b"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: ", self.asked_host);
                }
                Some(_) => {
                    write::known(out, b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: ", self.asked_host);
                }
            }
            write::known(out, b"\r\nX-Request-Id: ", self.id.as_bytes());
        }
        write::end(out);
        self.onward(out, write::field);
    }

    /// Whether a field is a control field that ends here. A deadline always does, as it is stated anew; the others do
    /// unless the client is trusted.
    fn is_consumed(&self, name: &[u8]) -> bool {
        let names = &self.onward.names;
        names.is_one(name) && (!self.client.trusted || names.deadline.eq_ignore_ascii_case(name))
    }

    fn onward<O>(&self, out: &mut O, emit: impl Fn(&mut O, &[u8], &[u8]) + Copy) {
        let mut text = [0u8; 20];
        if let Some(remaining) = self.onward.remaining {
            let ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
            emit(out, self.onward.names.deadline, decimal(ms, &mut text));
            if self.head.has(Name::GrpcTimeout) {
                emit(out, b"grpc-timeout", GrpcTimeout::of(remaining).as_bytes());
            }
        }
        if self.onward.attempt > 1 {
            emit(out, b"X-Envoy-Attempt-Count", decimal(u64::from(self.onward.attempt), &mut text));
        }
    }

    fn forwarded<O>(&self, out: &mut O, emit: impl Fn(&mut O, &[u8], &[u8]) + Copy) {
        let client = self.client.text.as_bytes();
        let said = |name| if self.client.trusted { self.head.first(name) } else { None };
        if said(Name::XForwardedFor).is_some() {
            let mut chain = self.head.all(Name::XForwardedFor).collect::<Vec<_>>();
            chain.push(client);
            emit(out, b"X-Forwarded-For", &chain.join(&b", "[..]));
        } else {
            emit(out, b"X-Forwarded-For", client);
        }
        emit(out, b"X-Forwarded-Proto", said(Name::XForwardedProto).unwrap_or(self.client.scheme()));
        emit(out, b"X-Forwarded-Host", said(Name::XForwardedHost).unwrap_or(self.asked_host));
        if said(Name::Forwarded).is_some() {
            let mut chain = self.head.all(Name::Forwarded).collect::<Vec<_>>().join(&b", "[..]);
            let _ = match self.client.peer.ip() {
                IpAddr::V4(ip) => write!(chain, ", for={ip}"),
                IpAddr::V6(ip) => write!(chain, ", for=\"[{ip}]\""),
            };
            chain.extend_from_slice(b";proto=");
            chain.extend_from_slice(self.client.scheme());
            emit(out, b"Forwarded", &chain);
        }
    }
}

/// Adds a field to a map. A field that HTTP/2 cannot carry is left out; no field that was parsed is such.
pub(crate) fn append(map: &mut http::HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// An id is never said again: in HPACK's table it would take the place of a field that is, and each new one would be compared
/// with all that are there (3,400 instructions for an answer).
fn say_once(map: &mut http::HeaderMap) {
    if let Some(id) = map.get_mut("x-request-id") {
        id.set_sensitive(true);
    }
}

fn decremented<'b>(value: &[u8], text: &'b mut [u8; 20]) -> &'b [u8] {
    let n = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok()).unwrap_or(1).saturating_sub(1);
    decimal(n, text)
}

/// A number's digits; no number of 64 bits has more than twenty.
fn decimal(mut n: u64, text: &mut [u8; 20]) -> &[u8] {
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &text[at..];
        }
    }
}

#[cfg(test)]
mod tests;
