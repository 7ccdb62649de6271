//! JSON as Toxiproxy reads it, down to the words of its errors.
//!
//! Toxiproxy is written in Go and hands the errors of Go's decoder on to its clients, whose tests hold them against what they
//! know. So this reads as that decoder does: one value, whatever comes behind it left alone; names of fields in any case;
//! `null` as if nothing was said; and the same sentence for the same mistake.
//!
//! Two passes over the text: the first finds out whether it is JSON, with a stack of its own, since nesting is the sender's
//! choice; the second, over text that is known to be good, takes out what is asked for. Nothing else is ever built.

/// A value inside text that is known to be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'t>(&'t [u8]);

/// What a value is, in Go's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Sort {
    /// As errors name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// Go's own bound.
const MAX_DEPTH: usize = 10_000;

/// The first value of a text.
///
/// # Errors
///
/// Go's sentence, where there is none.
pub fn parse(text: &[u8]) -> Result<Raw<'_>, String> {
    let mut scan = Scan { text, at: 0, open: Vec::new() };
    scan.space();
    let start = scan.at;
    if start == text.len() {
        return Err("EOF".into());
    }
    scan.value()?;
    Ok(Raw(&text[start..scan.at]))
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    /// The closing signs that are still to come.
    open: Vec<u8>,
}

impl Scan<'_> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&self) -> Result<u8, String> {
        self.text.get(self.at).copied().ok_or_else(|| "unexpected EOF".into())
    }

    fn value(&mut self) -> Result<(), String> {
        loop {
            self.space();
            match self.next()? {
                open @ (b'{' | b'[') => {
                    if self.open.len() == MAX_DEPTH {
                        return Err(invalid(open, "exceeded max depth"));
                    }
                    let (close, is_object) = if open == b'{' { (b'}', true) } else { (b']', false) };
                    self.at += 1;
                    self.space();
                    if self.next()? == close {
                        self.at += 1;
                    } else {
                        self.open.push(close);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                other => return Err(invalid(other, "looking for beginning of value")),
            }
            if self.closed()? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what closes. True when nothing is open any more, false when another value has to come.
    fn closed(&mut self) -> Result<bool, String> {
        while let Some(close) = self.open.last().copied() {
            self.space();
            match self.next()? {
                b',' => {
                    self.at += 1;
                    if close == b'}' {
                        self.space();
                        self.key()?;
                    }
                    return Ok(false);
                }
                sign if sign == close => {
                    self.at += 1;
                    self.open.pop();
                }
                other if close == b'}' => return Err(invalid(other, "after object key:value pair")),
                other => return Err(invalid(other, "after array element")),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<(), String> {
        match self.next()? {
            b'"' => self.string()?,
            other => return Err(invalid(other, "looking for beginning of object key string")),
        }
        self.space();
        match self.next()? {
            b':' => {
                self.at += 1;
                Ok(())
            }
            other => Err(invalid(other, "after object key")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let sign = self.next()?;
            self.at += 1;
            match sign {
                b'"' => return Ok(()),
                b'\\' => {
                    let escape = self.next()?;
                    self.at += 1;
                    match escape {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                        b'u' => {
                            for _ in 0..4 {
                                let digit = self.next()?;
                                if !digit.is_ascii_hexdigit() {
                                    return Err(invalid(digit, "in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        other => return Err(invalid(other, "in string escape code")),
                    }
                }
                control if control < 0x20 => return Err(invalid(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.next()? == b'-' {
            self.at += 1;
        }
        match self.next()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            other => return Err(invalid(other, "in numeric literal")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn some_digits(&mut self, place: &str) -> Result<(), String> {
        let first = self.next()?;
        if !first.is_ascii_digit() {
            return Err(invalid(first, place));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            let found = self.next()?;
            if found != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(invalid(found, &place));
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// A byte that may not stand there. Go takes it for a code point, so one of UTF-8's is shown as Latin-1.
fn invalid(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".into(),
        b'\\' => "\\\\".into(),
        0x07 => "\\a".into(),
        0x08 => "\\b".into(),
        0x0c => "\\f".into(),
        b'\n' => "\\n".into(),
        b'\r' => "\\r".into(),
        b'\t' => "\\t".into(),
        0x0b => "\\v".into(),
        0..=0x1f | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

impl<'t> Raw<'t> {
    /// What it is.
    pub fn sort(self) -> Sort {
        match self.0.first() {
            Some(b'{') => Sort::Object,
            Some(b'[') => Sort::Array,
            Some(b'"') => Sort::String,
            Some(b't' | b'f') => Sort::Bool,
            Some(b'n') | None => Sort::Null,
            Some(_) => Sort::Number,
        }
    }

    /// Its text, as it was written.
    pub fn text(self) -> &'t str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    /// Its bytes, as they were written.
    pub fn bytes(self) -> &'t [u8] {
        self.0
    }

    /// Whether it is `true`.
    pub fn is_true(self) -> bool {
        self.0 == b"true"
    }

    /// The characters of a string. What is no UTF-8, or half of a surrogate pair, is U+FFFD.
    pub fn string(self) -> String {
        let inside = self.0.get(1..self.0.len().saturating_sub(1)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(inside.len());
        let mut rest = inside;
        while let Some((&sign, after)) = rest.split_first() {
            rest = after;
            if sign != b'\\' {
                bytes.push(sign);
                continue;
            }
            let Some((&escape, after)) = rest.split_first() else { break };
            rest = after;
            let plain = match escape {
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let (found, taken) = unicode(rest);
                    rest = rest.get(taken..).unwrap_or_default();
                    bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                other => other,
            };
            bytes.push(plain);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The names and values of an object, in the order in which they stand there. Of anything else: none.
    pub fn fields(self) -> Vec<(String, Raw<'t>)> {
        let parts = self.parts(Sort::Object);
        parts.chunks_exact(2).map(|pair| (pair[0].string(), pair[1])).collect()
    }

    /// The elements of an array. Of anything else: none.
    pub fn elements(self) -> Vec<Raw<'t>> {
        self.parts(Sort::Array)
    }

    fn parts(self, sort: Sort) -> Vec<Raw<'t>> {
        let mut parts = Vec::new();
        if self.sort() != sort {
            return parts;
        }
        let mut rest = self.0.get(1..self.0.len().saturating_sub(1)).unwrap_or_default();
        loop {
            let skip =
                rest.iter().take_while(|sign| matches!(**sign, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':')).count();
            rest = &rest[skip..];
            if rest.is_empty() {
                return parts;
            }
            let (part, after) = rest.split_at(length(rest).max(1));
            parts.push(Raw(part));
            rest = after;
        }
    }
}

/// The length of the value at the beginning of text that is known to be good.
fn length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(sign) = text.get(at) {
        match sign {
            b'"' => {
                at += 1;
                while text.get(at).is_some_and(|sign| *sign != b'"') {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(sign, b'"' | b'}' | b']') {
            return at.min(text.len());
        }
    }
    text.len()
}

/// The character behind `\u`, and how many bytes say so.
fn unicode(text: &[u8]) -> (char, usize) {
    let unit = |text: &[u8]| {
        let digits = text.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let Some(first) = unit(text) else { return (char::REPLACEMENT_CHARACTER, text.len()) };
    if (0xd800..0xdc00).contains(&first)
        && text.get(4..6) == Some(b"\\u")
        && let Some(second) = unit(&text[6..])
        && (0xdc00..0xe000).contains(&second)
    {
        let point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

/// Text as a JSON string, as Go writes one: what HTML could take for its own is escaped.
pub fn quote(text: &str, into: &mut String) {
    use std::fmt::Write;
    into.push('"');
    for sign in text.chars() {
        match sign {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '\0'..'\x20' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // A String cannot fail.
                let _ = write!(into, "\\u{:04x}", u32::from(sign));
            }
            _ => into.push(sign),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests;
