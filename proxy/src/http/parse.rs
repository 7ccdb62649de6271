//! From bytes to a [`Head`].
//!
//! `httparse` knows the grammar. It is kinder than a proxy may be: a line may end in a bare LF, and blank lines may stand before
//! the start line. So its slices are held against the bytes that they were taken from: each line has to begin where the one
//! before ended, and to end in CRLF. What is accepted has one reading only. That also says where everything lies in a copy of
//! the bytes, which is all that a [`Head`] is.
//!
//! Nearly every head comes in one piece. For one that does not, [`Scan`] looks for the end, and goes on where it stopped
//! when more bytes come, so that a head of one byte a read costs no more than it should; it also says what is wrong with a
//! head that is not accepted, as soon as that is certain.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};

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

/// As many field lines as nearly every head has at most. Room for more has to be cleared, too, and is made when it is needed.
const USUAL_LINES: usize = 32;

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
    /// Reads a request's head as soon as it is there as a whole, and says how long it is. Give it the same bytes, and more,
    /// each time.
    pub fn request(&mut self, bytes: &[u8], limits: Limits, head: &mut Head) -> Result<Option<usize>, Bad> {
        self.head(bytes, limits, head, read_request)
    }

    /// The same of a response.
    pub fn response(&mut self, bytes: &[u8], limits: Limits, head: &mut Head) -> Result<Option<usize>, Bad> {
        self.head(bytes, limits, head, read_response)
    }

    #[inline]
    fn head(&mut self, bytes: &[u8], limits: Limits, head: &mut Head, read: Read) -> Result<Option<usize>, Bad> {
        // What reads as a head is one: only what does not has to be looked at for the reason.
        if self.seen == 0 {
            let window = &bytes[..bytes.len().min(limits.bytes.min(MAX_HEAD))];
            if let Ok(end) = block(window, limits.lines.min(MAX_LINES), head, read) {
                return Ok(Some(end));
            }
            head.clear();
        }
        let Some(end) = self.end(bytes, limits)? else { return Ok(None) };
        whole(&bytes[..end], head, read).map(|()| Some(end))
    }

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
    whole(bytes, head, read_request)
}

/// Reads a response's head from `bytes`, which [`Scan::end`] found to be a whole one.
pub fn response(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    whole(bytes, head, read_response)
}

/// Reads trailers from `bytes`, which [`Scan::block`] found to be a whole block.
pub fn trailers(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    whole(bytes, head, read_trailers)?;
    let mut fields = head.fields();
    if fields.any(|(known, _, _)| only_in_heads(known)) { Err(Bad::Grammar) } else { Ok(()) }
}

/// Reads a block at the beginning of bytes, which are at most [`MAX_HEAD`], into an empty head, and says where it ends. There
/// is room for as many fields as it may have. After an error nothing that the head holds is to be believed.
type Read = for<'b> fn(&'b [u8], &mut [Header<'b>], &mut Head) -> Result<usize, Bad>;

/// Reads a block that is as long as `bytes`.
fn whole(bytes: &[u8], head: &mut Head, read: Read) -> Result<(), Bad> {
    if bytes.len() > MAX_HEAD {
        return Err(Bad::TooLarge);
    }
    match block(bytes, MAX_LINES, head, read) {
        Ok(end) if end == bytes.len() => Ok(()),
        read => {
            head.clear();
            Err(read.err().unwrap_or(Bad::Grammar))
        }
    }
}

/// Reads a block of at most so many field lines, and at most [`MAX_LINES`].
#[inline]
fn block(bytes: &[u8], lines: usize, head: &mut Head, read: Read) -> Result<usize, Bad> {
    head.clear();
    match read(bytes, &mut [EMPTY_HEADER; USUAL_LINES][..lines.min(USUAL_LINES)], head) {
        Err(Bad::TooManyLines) if lines > USUAL_LINES => long_block(bytes, lines, head, read),
        done => done,
    }
}

#[cold]
#[inline(never)]
fn long_block(bytes: &[u8], lines: usize, head: &mut Head, read: Read) -> Result<usize, Bad> {
    read(bytes, &mut [EMPTY_HEADER; MAX_LINES][..lines], head)
}

fn read_request<'b>(bytes: &'b [u8], fields: &mut [Header<'b>], head: &mut Head) -> Result<usize, Bad> {
    let mut request = httparse::Request::new(fields);
    let end = completed(request.parse(bytes))?;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Bad::Grammar);
    };
    let (method, target) = (method.as_bytes(), target.as_bytes());
    if target.iter().any(|byte| !byte.is_ascii() || *byte == b'#') || !has_form(method, target) {
        return Err(Bad::Grammar);
    }
    let (method, target) = (place(bytes, method), place(bytes, target));
    if method.start != 0 {
        return Err(Bad::Grammar);
    }
    let line_end = line_end(bytes, target.end + " HTTP/1.1".len())?;
    head.request_at(method, target, version(minor));
    adopt(&bytes[..end], line_end, request.headers, head).map(|()| end)
}

fn read_response<'b>(bytes: &'b [u8], fields: &mut [Header<'b>], head: &mut Head) -> Result<usize, Bad> {
    let mut response = httparse::Response::new(fields);
    let end = completed(response.parse(bytes))?;
    let (Some(code @ 100..=999), Some(reason), Some(minor)) = (response.code, response.reason, response.version) else {
        return Err(Bad::Grammar);
    };
    if !bytes.starts_with(b"HTTP/") {
        return Err(Bad::Grammar);
    }
    // One that is not ASCII has no one reading: httparse has left it out, and does not say where it was.
    let (reason, reason_end) = match reason.as_bytes() {
        [] => (0..0, memchr::memchr(b'\n', bytes).map_or(end, |newline| newline - 1)),
        reason => (place(bytes, reason), place(bytes, reason).end),
    };
    let line_end = line_end(bytes, reason_end)?;
    head.status_at(code, reason, version(minor));
    adopt(&bytes[..end], line_end, response.headers, head).map(|()| end)
}

fn read_trailers<'b>(bytes: &'b [u8], fields: &mut [Header<'b>], head: &mut Head) -> Result<usize, Bad> {
    let (end, fields) = completed(httparse::parse_headers(bytes, fields))?;
    adopt(&bytes[..end], 0, fields, head).map(|()| end)
}

fn completed<T>(parsed: httparse::Result<T>) -> Result<T, Bad> {
    match parsed {
        Ok(Status::Complete(parsed)) => Ok(parsed),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::TooManyLines),
        Ok(Status::Partial) | Err(_) => Err(Bad::Grammar),
    }
}

/// Puts a block into a head that knows its start line. Its fields begin at `at`; they are all that follows, but for the empty
/// line.
#[inline]
fn adopt(block: &[u8], mut at: usize, fields: &[Header<'_>], head: &mut Head) -> Result<(), Bad> {
    for field in fields {
        let (name, value) = (place(block, field.name.as_bytes()), place(block, field.value));
        if name.start != at {
            return Err(Bad::Grammar);
        }
        let mut text_end = value.end;
        while matches!(block.get(text_end), Some(b' ' | b'\t')) {
            text_end += 1;
        }
        at = line_end(block, text_end)?;
        head.field_at(name, value, Name::of(field.name.as_bytes()));
    }
    if line_end(block, at)? != block.len() {
        return Err(Bad::Grammar);
    }
    head.adopt(block);
    Ok(())
}

/// Where `part` lies in the bytes that it is a slice of. Of any other slice it says a place that is not in them.
fn place(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    start..start.wrapping_add(part.len())
}

/// Where the line ends whose CRLF has to stand at `at`.
fn line_end(bytes: &[u8], at: usize) -> Result<usize, Bad> {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at + 2),
        _ => Err(Bad::Grammar),
    }
}

/// Whether a target has one of the forms of RFC 9112 section 3.2: a path, a URL with a scheme and an authority, a
/// star for OPTIONS, and for CONNECT whatever an authority may be.
fn has_form(method: &[u8], target: &[u8]) -> bool {
    match (target, method) {
        ([b'/', ..], _) | (b"*", b"OPTIONS") => return true,
        (_, b"CONNECT") => return !target.is_empty(),
        _ => {}
    }
    let Some(at) = target.windows(3).position(|three| three == b"://") else { return false };
    let (scheme, rest) = (&target[..at], &target[at + 3..]);
    let letters = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(letters)
        && !matches!(rest, [] | [b'/' | b'?', ..])
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

#[cfg(test)]
mod tests;
