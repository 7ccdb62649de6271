//! Where a message ends: the one place that decides it.
//!
//! RFC 9112 section 6.3, with every freedom it leaves taken away: a message that has two lengths, or one length
//! that can be read in two ways, is refused instead of repaired.

use super::Bad;
use super::head::{Head, Name, Version};

/// How a body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none, or as many bytes as were stated.
    Exact(u64),
    /// Chunks, up to the last one and its trailers; over HTTP/2, frames up to the stream's end.
    Chunked,
    /// All that comes until the connection closes. Only a response.
    UntilClose,
}

impl Length {
    /// No body at all.
    pub const NONE: Self = Self::Exact(0);
}

/// The length of a request's body.
pub fn of_request(head: &Head) -> Result<Length, Bad> {
    Ok(stated(head)?.unwrap_or(Length::NONE))
}

/// What an answer is the answer to, as far as that decides where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum To {
    /// HEAD.
    Head,
    /// CONNECT.
    Connect,
    /// Any other method.
    #[default]
    Other,
}

impl To {
    /// A request of that method.
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Whether an answer ends at its head whatever its fields say, whoever gave it and over whichever protocol (RFC 9112 section
/// 6.3 rules 1 and 2, RFC 9110 section 6.4.1). 205 is none of them: it is not to have content, and a length says that it has not.
pub fn ends_at_head(status: u16, to: To) -> bool {
    to == To::Head || status == 304 || !may_state_length(status, to)
}

/// Whether an answer may say how long it is (RFC 9110 section 8.6, RFC 9112 section 6.1). One to HEAD and 304 may: what a GET
/// would have had.
pub fn may_state_length(status: u16, to: To) -> bool {
    !matches!((status, to), (100..=199 | 204, _) | (200..=299, To::Connect))
}

/// Whether an answer with that status that is made here may have content. 205 may not (RFC 9110 section 15.3.6), but has a length.
pub fn may_have_content(status: u16) -> bool {
    status != 205 && !ends_at_head(status, To::Other)
}

/// The length of a response's body. Not for 101, after which there are no messages.
pub fn of_response(head: &Head, to: To) -> Result<Length, Bad> {
    if !may_state_length(head.status(), to) {
        return Ok(Length::NONE);
    }
    let stated = stated(head)?;
    if ends_at_head(head.status(), to) {
        return Ok(Length::NONE);
    }
    // RFC 9113 section 8.1: over HTTP/2 the stream's end is the body's, and a connection that closes is not.
    let open = if head.version() == Version::Http2 { Length::Chunked } else { Length::UntilClose };
    Ok(stated.unwrap_or(open))
}

/// Whether a response states a length where none may be. It ends at its head all the same; but whoever sent it may think
/// otherwise, so that nothing that follows on its connection can be believed. `Content-Length: 0` can be read in one way only.
pub fn belies_its_end(head: &Head, to: To) -> bool {
    !may_state_length(head.status(), to)
        && (head.has(Name::TransferEncoding) || !matches!(content_length(head), Ok(None | Some(0))))
}

/// What may still be sent of a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest(Length);

impl Rest {
    /// All of it.
    pub fn of(body: Length) -> Self {
        Self(body)
    }

    /// Takes so many bytes off; an error where the body would become longer than it was said to be.
    pub fn take(&mut self, n: usize) -> Result<(), Bad> {
        if let Length::Exact(left) = &mut self.0 {
            *left = left.checked_sub(n as u64).ok_or(Bad::Grammar)?;
        }
        Ok(())
    }

    /// The body ends here; an error where it was said to be longer.
    pub fn end(self) -> Result<(), Bad> {
        if matches!(self.0, Length::Exact(1..)) { Err(Bad::Grammar) } else { Ok(()) }
    }
}

/// Which rule a head breaks whose length is refused, for whoever has to mend its sender; none where no rule is broken.
pub fn broken_rule(head: &Head) -> Option<&'static str> {
    let stated = |name| head.all(name).count();
    match (stated(Name::ContentLength), stated(Name::TransferEncoding), head.version()) {
        (2.., _, _) => Some("Content-Length is stated twice"),
        (1, 1.., _) => Some("Content-Length and Transfer-Encoding are both stated"),
        (1, 0, _) if content_length(head).is_err() => Some("Content-Length is no decimal number below 2^63"),
        (0, 1.., Version::Http10) => Some("HTTP/1.0 has no Transfer-Encoding"),
        (0, 1.., Version::Http2) => Some("HTTP/2 has no Transfer-Encoding"),
        (0, 2.., _) => Some("Transfer-Encoding is stated twice"),
        (0, 1, _) if self::stated(head).is_err() => Some("Transfer-Encoding is not exactly chunked"),
        _ => None,
    }
}

/// The value of a `Content-Length` that is stated once and is digits only.
pub fn content_length(head: &Head) -> Result<Option<u64>, Bad> {
    let mut all = head.all(Name::ContentLength);
    let Some(value) = all.next() else { return Ok(None) };
    // A second line is refused even if it is equal: nothing that sends two can be trusted with the rest.
    if all.next().is_some() {
        return Err(Bad::Grammar);
    }
    // 19 digits fit, and what is below 2^63 overflows in no sum with a buffer's size.
    if value.is_empty() || value.len() > 19 {
        return Err(Bad::Grammar);
    }
    let mut length = 0;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Bad::Grammar);
        }
        length = length * 10 + u64::from(digit);
    }
    if length < 1 << 63 { Ok(Some(length)) } else { Err(Bad::Grammar) }
}

fn stated(head: &Head) -> Result<Option<Length>, Bad> {
    let length = content_length(head)?;
    if !head.has(Name::TransferEncoding) {
        return Ok(length.map(Length::Exact));
    }
    // Section 6.1: with a Content-Length it is an attempt at smuggling, in HTTP/1.0 its framing is faulty. HTTP/2 has none
    // (RFC 9113 section 8.2.2).
    if length.is_some() || head.version() != Version::Http11 {
        return Err(Bad::Grammar);
    }
    match head.only(Name::TransferEncoding) {
        Some(value) if value.eq_ignore_ascii_case(b"chunked") => Ok(Some(Length::Chunked)),
        _ => Err(Bad::Coding),
    }
}

/// The longest line that may introduce a chunk: hex digits, an extension, CR. Its LF is not counted.
const MAX_CHUNK_LINE: u32 = 256;
/// Bytes of all chunk extensions of one body: they carry nothing here, and cost a reader.
const MAX_EXTENSIONS: u32 = 16 * 1024;

/// Reads a chunked body, one step at a time. It never looks at data, only at what stands between.
#[derive(Debug, Clone, Copy)]
pub struct Chunks {
    state: State,
    left: u64,
    line: u32,
    extensions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FirstDigit,
    Digits,
    Extension,
    /// Within a quotation, which has to end in its line: some readers take a CRLF within it for a part of it.
    Quoted,
    /// Behind a backslash within a quotation.
    Escaped,
    LineFeed,
    Data,
    DataReturn,
    DataFeed,
    Done,
}

/// What stands at the beginning of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `skip` bytes between chunks, then `len` bytes of data, all that the input has of this chunk.
    Data {
        /// Bytes to pass over.
        skip: usize,
        /// Bytes of data after them, at least 1.
        len: usize,
    },
    /// `skip` bytes between chunks, then the input ends.
    More {
        /// Bytes to pass over: the whole input.
        skip: usize,
    },
    /// `skip` bytes, the line of the last chunk included; after them come the trailers.
    Last {
        /// Bytes to pass over.
        skip: usize,
    },
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::FirstDigit, left: 0, line: 0, extensions: 0 }
    }
}

impl Chunks {
    /// Reads on. Data that a step reports counts as read: the next input begins after it.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Bad> {
        for (at, byte) in input.iter().enumerate() {
            match self.state {
                State::Data => {
                    let rest = (input.len() - at) as u64;
                    let len = rest.min(self.left);
                    self.left -= len;
                    if self.left == 0 {
                        self.state = State::DataReturn;
                    }
                    // No longer than the input, so it fits.
                    return Ok(Step::Data { skip: at, len: len as usize });
                }
                State::DataReturn if *byte == b'\r' => self.state = State::DataFeed,
                State::DataFeed if *byte == b'\n' => self.state = State::FirstDigit,
                State::FirstDigit => {
                    self.line = 0;
                    self.left = u64::from(hex(*byte)?);
                    self.state = State::Digits;
                }
                State::Digits if *byte == b'\r' => self.state = State::LineFeed,
                State::Digits if *byte == b';' => self.state = State::Extension,
                State::Digits => {
                    // The size stays below 2^62, whatever its leading zeros.
                    if self.left >> 58 != 0 {
                        return Err(Bad::Grammar);
                    }
                    self.left = self.left << 4 | u64::from(hex(*byte)?);
                }
                State::Extension if *byte == b'\r' => self.state = State::LineFeed,
                State::Extension | State::Quoted | State::Escaped
                    if *byte == b'\t' || *byte >= b' ' && *byte != 0x7f =>
                {
                    self.extensions += 1;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(Bad::TooLarge);
                    }
                    self.state = match (self.state, *byte) {
                        (State::Extension, b'"') | (State::Escaped, _) => State::Quoted,
                        (State::Quoted, b'"') => State::Extension,
                        (State::Quoted, b'\\') => State::Escaped,
                        (state, _) => state,
                    };
                }
                State::LineFeed if *byte == b'\n' => {
                    if self.left == 0 {
                        self.state = State::Done;
                        return Ok(Step::Last { skip: at + 1 });
                    }
                    self.state = State::Data;
                    self.line = 0;
                }
                _ => return Err(Bad::Grammar),
            }
            self.line += 1;
            if self.line > MAX_CHUNK_LINE {
                return Err(Bad::TooLarge);
            }
        }
        Ok(Step::More { skip: input.len() })
    }
}

fn hex(byte: u8) -> Result<u8, Bad> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(Bad::Grammar),
    }
}

#[cfg(test)]
mod tests;
