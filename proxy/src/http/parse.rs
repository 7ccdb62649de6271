//! From bytes to a [`Head`].
//!
//! `httparse` knows the grammar. It is kinder than a proxy may be, so a scan of our own goes first: every line ends
//! in CRLF and nothing else (no bare LF; a bare CR `httparse` refuses), and there is no blank line before the start
//! line. The blanks around a value, spaces and tabs and no others, `httparse` has taken off. The scan
//! also finds the head's end, and goes on where it stopped when more bytes come, so that a head of one byte a
//! read costs no more than it should.

use std::mem::MaybeUninit;

use super::head::{Head, MAX_HEAD, Name};
use super::{Bad, Version};

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, the final empty line included. At most [`MAX_HEAD`].
    pub bytes: usize,
    /// Field lines. At most [`MAX_LINES`].
    pub lines: usize,
}

/// The most field lines that can be allowed.
pub const MAX_LINES: usize = 256;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, lines: 100 }
    }
}

impl Limits {
    /// Whether a head keeps to them that was not read as bytes: what HTTP/1.1 would not have let in, nothing lets in.
    pub fn admit(self, head: &Head) -> Result<(), Bad> {
        match head.extent() {
            (lines, _) if lines > self.lines.min(MAX_LINES) => Err(Bad::TooManyLines),
            (_, bytes) if bytes > self.bytes.min(MAX_HEAD) => Err(Bad::TooLarge),
            _ => Ok(()),
        }
    }
}

/// Whether trailers with that field are refused: whoever merges them into the head would frame or route the message anew
/// (RFC 9110 section 6.5.1).
pub fn only_in_heads(known: Name) -> bool {
    matches!(known, Name::ContentLength | Name::TransferEncoding | Name::Host)
}

/// How far the end of a head was looked for. A new one for each head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    line: usize,
    lines: usize,
    seen: usize,
}

impl Scan {
    /// The length of the head, its empty line included; none when its end is not there yet. Give it the same
    /// bytes, and more, each time.
    pub fn end(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, Bad> {
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(Bad::Grammar);
        }
        self.block(bytes, limits)
    }

    /// As [`Self::end`], for trailers, which may be empty: just CRLF.
    pub fn block(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, Bad> {
        let window = &bytes[..bytes.len().min(limits.bytes.min(MAX_HEAD))];
        let seen = self.seen.min(window.len());
        for offset in memchr::memchr_iter(b'\n', &window[seen..]) {
            let newline = seen + offset;
            if newline == 0 || window[newline - 1] != b'\r' {
                return Err(Bad::Grammar);
            }
            self.seen = newline + 1;
            if newline - self.line == 1 {
                return Ok(Some(self.seen));
            }
            self.line = self.seen;
            self.lines += 1;
            // The start line is one more than the fields; trailers have none, and one more is no harm.
            if self.lines > limits.lines.saturating_add(1) {
                return Err(Bad::TooManyLines);
            }
        }
        self.seen = window.len();
        if window.len() < bytes.len() || bytes.len() >= limits.bytes { Err(Bad::TooLarge) } else { Ok(None) }
    }
}

/// Reads a request's head from `bytes`, which [`Scan::end`] found to be a whole one.
pub fn request(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(n)) if n == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooManyLines),
        _ => return Err(Bad::Grammar),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Bad::Grammar);
    };
    if target.bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'#') || !has_form(method, target) {
        return Err(Bad::Grammar);
    }
    let mut adopted = head.adopt(bytes)?;
    adopted.request(method.as_bytes(), target.as_bytes(), version(minor));
    for field in request.headers.iter() {
        adopted.field(field.name.as_bytes(), field.value);
    }
    Ok(())
}

/// Reads a response's head from `bytes`, which [`Scan::end`] found to be a whole one.
pub fn response(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
        Ok(httparse::Status::Complete(n)) if n == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooManyLines),
        _ => return Err(Bad::Grammar),
    }
    let (Some(code @ 100..=999), Some(minor)) = (response.code, response.version) else {
        return Err(Bad::Grammar);
    };
    let mut adopted = head.adopt(bytes)?;
    adopted.status(code, response.reason.unwrap_or_default().as_bytes(), version(minor));
    for field in response.headers.iter() {
        adopted.field(field.name.as_bytes(), field.value);
    }
    Ok(())
}

/// Reads trailers from `bytes`, which [`Scan::block`] found to be a whole block.
pub fn trailers(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_LINES];
    let fields = match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((n, fields))) if n == bytes.len() => fields,
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooManyLines),
        _ => return Err(Bad::Grammar),
    };
    let mut adopted = head.adopt(bytes)?;
    for field in fields.iter() {
        let known = adopted.field(field.name.as_bytes(), field.value);
        if only_in_heads(known) {
            return Err(Bad::Grammar);
        }
    }
    Ok(())
}

/// Whether a target has one of the forms of RFC 9112 section 3.2: a path, a URL with a scheme and an authority, a
/// star for OPTIONS, and for CONNECT whatever an authority may be.
fn has_form(method: &str, target: &str) -> bool {
    if target.starts_with('/') {
        return true;
    }
    match method {
        "CONNECT" => return true,
        "OPTIONS" if target == "*" => return true,
        _ => {}
    }
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(letters)
        && !rest.is_empty()
        && !rest.starts_with(['/', '?'])
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

#[cfg(test)]
mod tests;
