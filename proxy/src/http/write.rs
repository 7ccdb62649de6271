//! Heads and chunk lines on the wire, every line written anew.
//!
//! Copying runs of lines from the message that came in would save half a microsecond; it also let a blank line
//! before a status line through within seconds of fuzzing. Nothing is copied here but a name and a value that were
//! understood.

/// The longest line [`chunk_line`] writes: CRLF of the chunk before, 16 digits, CRLF.
pub const CHUNK_LINE: usize = 20;
/// The end of a chunked body without trailers, after data.
pub const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// `GET /cart HTTP/1.1` and CRLF.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK` and CRLF. The status is 100 to 999.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    let [hundreds, tens, ones] = [digit(status / 100), digit(status / 10), digit(status)];
    out.extend_from_slice(&[b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', hundreds, tens, ones, b' ']);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// `name: value` and CRLF.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What is the same in every message, with a value behind it: the compiler writes it in a few moves, without a call.
#[inline(always)]
pub fn known<const N: usize>(out: &mut Vec<u8>, text: &[u8; N], value: &[u8]) {
    out.extend_from_slice(text);
    out.extend_from_slice(value);
}

/// The empty line.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// `name: 123` and CRLF.
pub fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    field(out, name, &digits[at..]);
}

/// The line before a chunk of `len` bytes, at least 1, with the end of the chunk before it unless it is the first.
/// A chunk of none would end the body: pass over empty data instead.
pub fn chunk_line(out: &mut Vec<u8>, len: usize, first: bool) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    if !first {
        out.extend_from_slice(b"\r\n");
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = (len >> (place * 4)) & 0xf;
        out.push(b"0123456789abcdef"[digit]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The standard reason phrase; empty for a status that has none.
pub fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests;
