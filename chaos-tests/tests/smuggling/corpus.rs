//! What is sent over HTTP/1.1, and what has to become of it.
//!
//! Texts stand for bytes, a character for each (ISO 8859-1). `TAG` is replaced by the number of the case, in three hexadecimal digits, so that
//! whoever has read something tells of which case it was.

use super::{chunks, framing, heads};

/// A request that no case wants to be read: it stands where only another reading of a body finds it.
pub const HIDDEN: &str = "GET /TAG/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
/// The request behind each case, on the same connection.
pub const MARKER: &str = "GET /TAG/marker HTTP/1.1\r\nHost: marker\r\n\r\n";
/// Its target.
pub const MARKED: &str = "/TAG/marker";

/// A request as it was meant, or as somebody has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub host: String,
    pub body: Vec<u8>,
}

/// What has to become of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The proxy refuses it, and no server has read a request.
    Refused,
    /// It is read as this, and the marker as itself.
    Passed(Request),
    /// It is read as this, and its connection ends with it.
    Last(Request),
    /// It is refused, or read as this.
    Either(Request),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub what: String,
    pub bytes: String,
    pub expected: Expected,
}

impl Request {
    /// A request to where nearly every case goes.
    pub fn of(method: &str, body: &str) -> Self {
        Self { method: method.into(), target: "/TAG/case".into(), host: "a".into(), body: latin1(body) }
    }
}

impl Case {
    pub fn refused(what: &str, bytes: impl Into<String>) -> Self {
        Self { what: what.into(), bytes: bytes.into(), expected: Expected::Refused }
    }

    pub fn passed(what: &str, bytes: impl Into<String>, read: Request) -> Self {
        Self { what: what.into(), bytes: bytes.into(), expected: Expected::Passed(read) }
    }

    pub fn last(what: &str, bytes: impl Into<String>, read: Request) -> Self {
        Self { what: what.into(), bytes: bytes.into(), expected: Expected::Last(read) }
    }

    /// The bytes with the marker behind.
    pub fn wire(&self, nth: usize) -> Vec<u8> {
        latin1(&tagged(&format!("{}{MARKER}", self.bytes), nth))
    }
}

impl Expected {
    /// The request that has to be read of the case with this number.
    pub fn request(&self, nth: usize) -> Option<Request> {
        let (Self::Passed(read) | Self::Last(read) | Self::Either(read)) = self else { return None };
        let body: String = read.body.iter().map(|byte| char::from(*byte)).collect();
        Some(Request {
            method: read.method.clone(),
            target: tagged(&read.target, nth),
            host: tagged(&read.host, nth),
            body: latin1(&tagged(&body, nth)),
        })
    }
}

pub fn all() -> Vec<Case> {
    [framing::codings(), framing::lengths(), framing::look_alikes(), framing::methods(), chunks::all(), heads::all()]
        .concat()
}

/// A POST with these field lines and this body.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST /TAG/case HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

/// Puts a case's number in: as long as the word that it replaces, so that no length changes.
pub fn tagged(text: &str, nth: usize) -> String {
    text.replace("TAG", &format!("{nth:03x}"))
}

/// A byte for each character.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a character of ISO 8859-1")).collect()
}
