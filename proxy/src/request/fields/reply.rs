//! A response's head, as it goes to a client.

use super::nominated::Nominated;
use super::{Identity, RequestId, append, say_once};
use crate::http::framing::{self, To};
use crate::http::head::{Name, Version};
use crate::http::{Head, Length, write};
use crate::resilience::fallback::Degraded;

/// The part of a response's head that depends on the client it goes to.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The client's version.
    pub version: Version,
    /// Whether the connection ends after this answer.
    pub close: bool,
    /// What kind of request it answers, as far as that decides where the answer ends.
    pub to: To,
    /// How the end of the answer's body is known, if it has one.
    pub length: Length,
    /// This process's name for `Via`. None for an answer that was made here, since nobody has passed it on.
    pub identity: Option<&'a Identity>,
    /// The request's id.
    pub id: &'a RequestId,
    /// Which fallback has answered, where it was not the service itself.
    pub degraded: Option<&'a Degraded>,
}

impl Reply<'_> {
    /// Writes the whole head for an HTTP/1.x client. [`Self::body`] says how long the body behind it is.
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
            // Behind the mark of a proxy farther in, which passes like any other field: the two make one list.
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
        // An answer that ends with its head needs no length. To a gRPC client such a head is trailers, which have
        // none.
        let says = head.has(Name::ContentLength);
        if let Some(n) = self.stated(head)
            && (n > 0 || says)
        {
            map.insert(http::header::CONTENT_LENGTH, n.into());
        }
        say_once(&mut map);
        map
    }

    /// Whether closing the connection is the only way to end the body.
    pub fn ends_by_close(&self, head: &Head) -> bool {
        self.body(head) == Length::UntilClose
    }

    /// How the end of the body is told to this client. It depends on the head that goes out and not on the one that
    /// came: a fault may have made a 204 of a 200.
    pub fn body(&self, head: &Head) -> Length {
        match self.length {
            _ if framing::ends_at_head(head.status(), self.to) => Length::NONE,
            Length::Exact(n) => Length::Exact(n),
            Length::Chunked | Length::UntilClose if self.version == Version::Http10 => Length::UntilClose,
            Length::Chunked | Length::UntilClose => Length::Chunked,
        }
    }

    /// The `Content-Length` that is stated.
    fn stated(&self, head: &Head) -> Option<u64> {
        if !framing::may_state_length(head.status(), self.to) {
            return None;
        }
        if framing::ends_at_head(head.status(), self.to) {
            // To HEAD: the length that a GET's answer would have had, as the endpoint states it.
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
