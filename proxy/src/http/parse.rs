//! From bytes to a [`Head`].
//!
//! One walk over the bytes finds where each line's parts lie, knows the names, and ends behind the empty line. It accepts
//! what has one reading only: every line ends in CRLF and nothing else, there is no blank line before the start line, and a
//! name is a token right up to its colon. The blanks around a value, spaces and tabs and no others, are taken off.
//!
//! Nearly every head comes in one piece. For one that does not, [`Scan`] looks for the end, and goes on where it stopped
//! when more bytes come, so that a head of one byte a read costs no more than it should; it also says what is wrong with a
//! head that is not accepted, as soon as that is certain.

use super::head::{Head, MAX_HEAD, Name};
use super::{Bad, Version, grammar};

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
    /// Reads a request's head as soon as it is there as a whole, and says how long it is. Give it the same bytes, and more,
    /// each time.
    pub fn request(&mut self, bytes: &[u8], limits: Limits, head: &mut Head) -> Result<Option<usize>, Bad> {
        self.head(bytes, limits, head, request_line)
    }

    /// The same of a response.
    pub fn response(&mut self, bytes: &[u8], limits: Limits, head: &mut Head) -> Result<Option<usize>, Bad> {
        self.head(bytes, limits, head, status_line)
    }

    #[inline]
    fn head(&mut self, bytes: &[u8], limits: Limits, head: &mut Head, start: StartLine) -> Result<Option<usize>, Bad> {
        // What reads as a head is one: only what does not has to be looked at for the reason.
        if self.seen == 0 {
            let window = &bytes[..bytes.len().min(limits.bytes.min(MAX_HEAD))];
            if let Ok(end) = block(window, limits.lines.min(MAX_LINES), head, start) {
                return Ok(Some(end));
            }
            head.clear();
        }
        let Some(end) = self.end(bytes, limits)? else { return Ok(None) };
        whole(&bytes[..end], head, start).map(|()| Some(end))
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
    whole(bytes, head, request_line)
}

/// Reads a response's head from `bytes`, which [`Scan::end`] found to be a whole one.
pub fn response(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    whole(bytes, head, status_line)
}

/// Reads trailers from `bytes`, which [`Scan::block`] found to be a whole block.
pub fn trailers(bytes: &[u8], head: &mut Head) -> Result<(), Bad> {
    whole(bytes, head, |_, _| Ok(0))?;
    let mut fields = head.fields();
    if fields.any(|(known, _, _)| only_in_heads(known)) { Err(Bad::Grammar) } else { Ok(()) }
}

/// Reads a start line into a head and says where it ends.
type StartLine = fn(&[u8], &mut Head) -> Result<usize, Bad>;

/// Reads a block that is as long as `bytes`.
fn whole(bytes: &[u8], head: &mut Head, start: StartLine) -> Result<(), Bad> {
    if bytes.len() > MAX_HEAD {
        return Err(Bad::TooLarge);
    }
    match block(bytes, MAX_LINES, head, start) {
        Ok(end) if end == bytes.len() => Ok(()),
        read => {
            head.clear();
            Err(read.err().unwrap_or(Bad::Grammar))
        }
    }
}

/// Reads a block at the beginning of `bytes`, which are at most [`MAX_HEAD`], and says where it ends. After an error nothing
/// that the head holds is to be believed.
#[inline]
fn block(bytes: &[u8], lines: usize, head: &mut Head, start: StartLine) -> Result<usize, Bad> {
    head.clear();
    let mut at = start(bytes, head)?;
    loop {
        let name = at..grammar::token(bytes, at);
        if name.is_empty() {
            break;
        }
        if bytes.get(name.end) != Some(&b':') {
            return Err(Bad::Grammar);
        }
        let mut value = name.end + 1..0;
        while matches!(bytes.get(value.start), Some(b' ' | b'\t')) {
            value.start += 1;
        }
        value.end = grammar::text(bytes, value.start);
        at = line_end(bytes, value.end)?;
        while value.start < value.end && matches!(bytes.get(value.end - 1), Some(b' ' | b'\t')) {
            value.end -= 1;
        }
        if head.len() == lines {
            return Err(Bad::TooManyLines);
        }
        let known = Name::of(bytes.get(name.clone()).unwrap_or_default());
        head.field_at(name, value, known);
    }
    let end = line_end(bytes, at)?;
    head.adopt(bytes.get(..end).unwrap_or_default());
    Ok(end)
}

/// Where the line ends whose CRLF has to stand at `at`.
fn line_end(bytes: &[u8], at: usize) -> Result<usize, Bad> {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at + 2),
        _ => Err(Bad::Grammar),
    }
}

fn request_line(bytes: &[u8], head: &mut Head) -> Result<usize, Bad> {
    let method = 0..grammar::token(bytes, 0);
    let target = method.end + 1..grammar::target(bytes, method.end + 1);
    let Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b'\r', b'\n', ..]) = bytes.get(target.end..)
    else {
        return Err(Bad::Grammar);
    };
    let (Some(name), Some(what)) = (bytes.get(method.clone()), bytes.get(target.clone())) else {
        return Err(Bad::Grammar);
    };
    if name.is_empty() || bytes.get(method.end) != Some(&b' ') || !has_form(name, what) {
        return Err(Bad::Grammar);
    }
    let end = target.end + " HTTP/1.1\r\n".len();
    head.request_at(method, target, version(*minor)?);
    Ok(end)
}

fn status_line(bytes: &[u8], head: &mut Head) -> Result<usize, Bad> {
    let Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', code @ .., after]) = bytes.get(..13) else {
        return Err(Bad::Grammar);
    };
    if !matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) {
        return Err(Bad::Grammar);
    }
    let status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let mut reason = match after {
        b' ' => 13..grammar::text(bytes, 13),
        _ => 12..12,
    };
    let end = line_end(bytes, reason.end)?;
    // What is not ASCII has no one reading.
    if !bytes.get(reason.clone()).unwrap_or_default().is_ascii() {
        reason = 12..12;
    }
    head.status_at(status, reason, version(*minor)?);
    Ok(end)
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

fn version(minor: u8) -> Result<Version, Bad> {
    match minor {
        b'0' => Ok(Version::Http10),
        b'1' => Ok(Version::Http11),
        _ => Err(Bad::Grammar),
    }
}

#[cfg(test)]
mod tests;
