//! A reader that forgives nothing, made from RFC 9110 and 9112 alone.
//!
//! It shares no code with the codec, not even the grammar's crate, and it reads slowly and plainly: one pass per
//! rule. What it accepts can be read in one way only, by the most lenient peer too.

/// A message as a strict reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// The three parts of the start line.
    pub start: [&'a [u8]; 3],
    /// Its fields.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    /// Its body, without chunk lines.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(&'a [u8], &'a [u8])>,
    /// Its length on the wire.
    pub len: usize,
}

/// What a strict reader says of bytes that it does not accept.
pub type Refusal = &'static str;

/// Reads one request from the beginning of `bytes`.
pub fn request(bytes: &[u8]) -> Result<Read<'_>, Refusal> {
    let (line, rest) = line(bytes)?;
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a request line has three parts");
    };
    if !token(method) {
        return Err("a method is a token");
    }
    if target.is_empty() || !target.iter().all(|b| (0x21..=0x7e).contains(b)) {
        return Err("a target is visible ASCII");
    }
    if version != b"HTTP/1.1" {
        return Err("the version is ours");
    }
    whole([method, target, version], bytes.len(), rest, false, false)
}

/// Reads one response from the beginning of `bytes`, which end with the connection.
pub fn response(bytes: &[u8], to_head: bool) -> Result<Read<'_>, Refusal> {
    let (line, rest) = line(bytes)?;
    let (Some(b"HTTP/1.1 "), Some(status), Some(b" "), Some(reason)) =
        (line.get(..9), line.get(9..12), line.get(12..13), line.get(13..))
    else {
        return Err("a status line is a version, a status and a reason");
    };
    if !(b'1'..=b'9').contains(&status[0]) || !status.iter().all(u8::is_ascii_digit) {
        return Err("a status is three digits");
    }
    if !reason.iter().all(|b| *b == b'\t' || (0x20..=0x7e).contains(b)) {
        return Err("a reason is printable");
    }
    let empty = to_head || status[0] == b'1' || status == b"204" || status == b"304";
    whole([&line[..8], status, reason], bytes.len(), rest, !empty, empty)
}

/// Whether a quotation has begun in an extension and not ended.
fn quotes_are_open(extension: &[u8]) -> bool {
    let mut bytes = extension.iter();
    let mut open = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => open = !open,
            b'\\' if open => _ = bytes.next(),
            _ => {}
        }
    }
    open
}

/// How a strict reader sees a chunked body: its data and where its trailers begin, or that more has to come.
pub fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
    let mut body = Vec::new();
    let mut extensions = 0;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let digits = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let after = &rest[digits..];
        let extension = match after.first() {
            Some(b';') => after[1..].iter().take_while(|b| **b == b'\t' || **b >= b' ' && **b != 0x7f).count(),
            _ => 0,
        };
        let to = digits + if after.first() == Some(&b';') { 1 + extension } else { 0 };
        extensions += extension;
        // The codec's own limits, repeated as numbers: a change there has to be made here on purpose.
        if to > 256 || (to == 256 && rest.get(256) == Some(&b'\r')) || extensions > 16 * 1024 {
            return Err("a chunk's line is short");
        }
        let mut significant = rest[..digits].iter().skip_while(|b| **b == b'0');
        let size = significant.try_fold(0u64, |size, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            size.checked_mul(16)?.checked_add(u64::from(digit))
        });
        let Some(size) = size.filter(|size| *size < 1 << 62) else { return Err("a chunk's size has 62 bits") };
        let open = quotes_are_open(&rest[digits..to]);
        match &rest[to..] {
            [b'\r', ..] if open => return Err("a quotation ends in its line"),
            [] | [b'\r'] if digits > 0 => return Ok(None),
            [] if rest.is_empty() => return Ok(None),
            [b'\r', b'\n', ..] if digits > 0 => at += to + 2,
            _ => return Err("a chunk's line is digits, an extension and CRLF"),
        }
        if size == 0 {
            return Ok(Some((body, at)));
        }
        let data = &bytes[at..];
        if (data.len() as u64) < size {
            return Ok(None);
        }
        let (data, after) = data.split_at(size as usize);
        body.extend_from_slice(data);
        match after {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => at += data.len() + 2,
            _ => return Err("data ends with CRLF"),
        }
    }
}

/// Fields up to the empty line.
type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

fn whole<'a>(
    start: [&'a [u8]; 3],
    total: usize,
    mut rest: &'a [u8],
    may_close: bool,
    empty: bool,
) -> Result<Read<'a>, Refusal> {
    let fields = fields(&mut rest)?;
    let all = |wanted: &str| -> Vec<&[u8]> {
        let of_name = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        of_name.map(|(_, value)| *value).collect()
    };
    let mut trailers = Fields::new();
    let body = match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        _ if empty => Vec::new(),
        ([], []) if may_close => std::mem::take(&mut rest).to_vec(),
        ([], []) => Vec::new(),
        ([digits], []) => {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err("a length is digits");
            }
            // Some read a leading zero as the sign of an octal number.
            if digits.len() > 1 && digits[0] == b'0' {
                return Err("a length has no leading zeros");
            }
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
            let Some((body, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
                return Err("the body is as long as it is said to be");
            };
            rest = after;
            body.to_vec()
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
            let Some((body, at)) = chunked(rest)? else { return Err("the last chunk is there") };
            rest = &rest[at..];
            trailers = self::fields(&mut rest)?;
            body
        }
        _ => return Err("there is one length"),
    };
    Ok(Read { start, fields, body, trailers, len: total - rest.len() })
}

fn fields<'a>(rest: &mut &'a [u8]) -> Result<Fields<'a>, Refusal> {
    let mut fields = Fields::new();
    loop {
        let (line, after) = line(rest)?;
        *rest = after;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or("a field has a colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !token(name) {
            return Err("a name is a token");
        }
        let value = value.strip_prefix(b" ").ok_or("one space follows the colon")?;
        let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
        if blank(value.first()) || blank(value.last()) {
            return Err("a value has no blanks around it");
        }
        if !value.iter().all(|b| *b == b'\t' || *b >= 0x20 && *b != 0x7f) {
            return Err("a value has no control characters");
        }
        fields.push((name, value));
    }
}

/// A line without its CRLF, which has neither CR nor LF in it, and what follows.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).ok_or("a line ends")?;
    let rest = bytes[end..].strip_prefix(b"\r\n").ok_or("a line ends with CRLF")?;
    Ok((&bytes[..end], rest))
}

fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}
