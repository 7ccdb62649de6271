//! A response's head, as it goes to a client.

use super::nominated::Nominated;
use super::{Identity, RequestId, append, say_once};
use crate::http::framing::{self, To};
use crate::http::head::{Name, Version};
use crate::http::{Head, Length, write};
use crate::resilience::fallback::Degraded;

/// What of a response's head depends on the client it goes to.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The client's version.
    pub version: Version,
    /// Whether the connection ends after this answer.
    pub close: bool,
    /// What it is the answer to.
    pub to: To,
    /// How the answer's body ends, if it has one.
    pub length: Length,
    /// Who we are; none for an answer made here, which was not passed on by anybody.
    pub identity: Option<&'a Identity>,
    /// The request's id.
    pub id: &'a RequestId,
    /// Whose answer it is, where it is not that of the service that was asked for.
    pub degraded: Option<&'a Degraded>,
}

impl Reply<'_> {
    /// The whole head of an answer for an HTTP/1.x client. What follows it is as long as [`Self::body`] says.
    pub fn write_h1(&self, head: &Head, out: &mut Vec<u8>) {
        let status = head.status();
        write::status_line(out, status, head.reason());
        walk_response(head, out, write::field);
        if let Some(n) = self.stated(head) {
            write::number(out, b"Content-Length", n);
        }
        if self.body(head) == Length::Chunked {
            write::field(out, b"Transfer-Encoding", b"chunked");
        }
        if let Some(identity) = self.identity {
            out.extend_from_slice(identity.via_line(head.version()));
        }
        if !head.has(Name::XRequestId) {
            write::known(out, b"X-Request-Id: ", self.id.as_bytes());
            write::end(out);
        }
        if let Some(degraded) = self.degraded {
            // After the mark of a proxy farther in, which is a field like any other and stays: both make one list.
            write::field(out, Degraded::FIELD.as_bytes(), degraded.value().as_bytes());
        }
        let upgrade = matches!(status, 101 | 426);
        if upgrade {
            for value in head.all(Name::Upgrade) {
                write::field(out, b"Upgrade", value);
            }
        }
        let connection: &[u8] = match (upgrade, self.close, self.version) {
            (true, true, _) => b"upgrade, close",
            (true, false, Version::Http10) => b"upgrade, keep-alive",
            (true, false, _) => b"upgrade",
            (false, true, _) => b"close",
            (false, false, Version::Http10) => b"keep-alive",
            (false, false, _) => b"",
        };
        if !connection.is_empty() {
            write::field(out, b"Connection", connection);
        }
        write::end(out);
    }

    /// The fields of an answer for an HTTP/2 client.
    pub fn fields_h2(&self, head: &Head) -> http::HeaderMap {
        let mut map = http::HeaderMap::with_capacity(head.len() + 4);
        walk_response(head, &mut map, append);
        if let Some(identity) = self.identity {
            append(&mut map, b"Via", identity.via(head.version()));
        }
        if !head.has(Name::XRequestId) {
            append(&mut map, b"X-Request-Id", self.id.as_bytes());
        }
        if let Some(degraded) = self.degraded {
            append(&mut map, Degraded::FIELD.as_bytes(), degraded.value().as_bytes());
        }
        // An answer that ends with its head needs no length, and to gRPC it is trailers, which have none.
        let says = head.has(Name::ContentLength);
        if let Some(n) = self.stated(head)
            && (n > 0 || says)
        {
            map.insert(http::header::CONTENT_LENGTH, n.into());
        }
        say_once(&mut map);
        map
    }

    /// Whether the body can only be ended by closing the connection.
    pub fn ends_by_close(&self, head: &Head) -> bool {
        self.body(head) == Length::UntilClose
    }

    /// How what follows the head ends on its way to this client. It depends on the head that goes out, not on the one that came:
    /// a fault may have made a 204 of a 200.
    pub fn body(&self, head: &Head) -> Length {
        match self.length {
            _ if framing::ends_at_head(head.status(), self.to) => Length::NONE,
            Length::Exact(n) => Length::Exact(n),
            Length::Chunked | Length::UntilClose if self.version == Version::Http10 => Length::UntilClose,
            Length::Chunked | Length::UntilClose => Length::Chunked,
        }
    }

    /// The `Content-Length` that is said.
    fn stated(&self, head: &Head) -> Option<u64> {
        if !framing::may_state_length(head.status(), self.to) {
            return None;
        }
        if framing::ends_at_head(head.status(), self.to) {
            // What a GET would have had, as the endpoint says.
            return framing::content_length(head).ok().flatten();
        }
        match self.length {
            Length::Exact(n) => Some(n),
            Length::Chunked | Length::UntilClose => None,
        }
    }
}

fn walk_response<O>(head: &Head, out: &mut O, emit: impl Fn(&mut O, &[u8], &[u8]) + Copy) {
    let nominated = Nominated::by(head);
    for (known, name, value) in head.fields() {
        match known {
            Name::Other if nominated.has(name) => {}
            Name::Disguised
            | Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::ProxyAuthenticate
            | Name::ProxyAuthorization
            | Name::Te
            | Name::TransferEncoding
            | Name::ContentLength
            | Name::Upgrade => {}
            _ => emit(out, name, value),
        }
    }
}

/// An interim answer (RFC 9110 section 15.2) for an HTTP/1.1 client.
pub fn write_interim(head: &Head, out: &mut Vec<u8>) {
    write::status_line(out, head.status(), head.reason());
    walk_response(head, out, write::field);
    write::end(out);
}
