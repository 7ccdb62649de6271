//! A message's start line and fields: bytes and ranges into them, never a map.
//!
//! A head is copied once out of the read buffer (a few hundred bytes, below what can be measured) and does not
//! change after. Each attempt writes its own outgoing head from it, so a retry never finds it overwritten. Fields
//! are looked up by walking them: a request has about ten, and a name's [`Name`] is known from parsing.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::Bad;

/// The most bytes a head can have: its ranges are 16 bits wide.
pub const MAX_HEAD: usize = 60 * 1024;

/// HTTP's version as the peer stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// `HTTP/1.1`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
    known: Name,
}

/// A request's or a response's head, or a body's trailers.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// A bit for each [`Name`] that is there: most of those that are looked for are not.
    present: u64,
    method: Span,
    target: Span,
    reason: Span,
    status: u16,
    version: Version,
}

impl Head {
    /// The method of a request: `GET`.
    pub fn method(&self) -> &[u8] {
        self.at(self.method)
    }

    /// The target of a request, as it came: `/cart?x=1`.
    pub fn target(&self) -> &[u8] {
        self.at(self.target)
    }

    /// The status of a response, 100 to 999; 0 for a request.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &[u8] {
        self.at(self.reason)
    }

    /// The version the peer stated.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Every field line in order: the name as it came, its value without the blanks around it.
    pub fn fields(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.fields.iter().map(|f| (f.known, self.at(f.name), self.at(f.value)))
    }

    /// How many field lines there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field line.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Lines and bytes that it has over HTTP/1.1, or would have. The crumbs of a cookie are one line: that is what they become.
    pub fn extent(&self) -> (usize, usize) {
        let of = |span: Span| usize::from(span.end - span.start);
        let start = match (self.status, of(self.method)) {
            (0, 0) => 0,
            (0, method) => method + of(self.target) + "  HTTP/1.1\r\n".len(),
            _ => "HTTP/1.1 200 \r\n".len() + of(self.reason),
        };
        let fields: usize = self.fields.iter().map(|field| of(field.name) + of(field.value) + ": \r\n".len()).sum();
        let crumbs = match self.version {
            Version::Http2 => self.all(Name::Cookie).count().saturating_sub(1),
            _ => 0,
        };
        (self.fields.len() - crumbs, start + fields + "\r\n".len())
    }

    /// Bytes of memory that it takes up.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// The value of the first line of that name.
    pub fn first(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Whether there is a line of that name.
    pub fn has(&self, name: Name) -> bool {
        self.present & name.bit() != 0
    }

    /// The values of all lines of that name.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let fields: &[Field] = if self.has(name) { &self.fields } else { &[] };
        fields.iter().filter(move |f| f.known == name).map(|f| self.at(f.value))
    }

    /// The value, if there is exactly one line of that name.
    pub fn only(&self, name: Name) -> Option<&[u8]> {
        let mut all = self.all(name);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    /// The value of the first line of a name that has no [`Name`] of its own.
    pub fn named(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(_, n, _)| n.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// Whether a comma-separated list field holds the token, in any line and any case.
    pub fn lists(&self, name: Name, token: &[u8]) -> bool {
        self.has(name) && self.all(name).flat_map(list).any(|item| item.eq_ignore_ascii_case(token))
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.present = 0;
        self.method = Span::default();
        self.target = Span::default();
        self.reason = Span::default();
        self.status = 0;
        self.version = Version::default();
    }

    /// Makes it a request. Clear it first.
    pub fn set_request(&mut self, method: &[u8], target: &[u8], version: Version) -> Result<(), Bad> {
        self.method = self.push_bytes(method)?;
        self.target = self.push_bytes(target)?;
        self.version = version;
        Ok(())
    }

    /// Makes it a response. Clear it first.
    pub fn set_status(&mut self, status: u16, reason: &[u8], version: Version) -> Result<(), Bad> {
        self.status = status;
        self.reason = self.push_bytes(reason)?;
        self.version = version;
        Ok(())
    }

    /// Adds a field line. The bytes have to be valid already: this is for what hyper or this program made.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Bad> {
        let field = Field { name: self.push_bytes(name)?, value: self.push_bytes(value)?, known: Name::of(name) };
        self.present |= field.known.bit();
        self.fields.push(field);
        Ok(())
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<Span, Bad> {
        let start = self.bytes.len();
        if start + bytes.len() > MAX_HEAD {
            return Err(Bad::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        // Both ends are at most MAX_HEAD, which fits 16 bits.
        Ok(Span { start: start as u16, end: (start + bytes.len()) as u16 })
    }

    fn at(&self, span: Span) -> &[u8] {
        &self.bytes[usize::from(span.start)..usize::from(span.end)]
    }

    // For the parser, which says where in its bytes everything lies and has those copied at last. They are at most MAX_HEAD,
    // so that every place in them fits 16 bits.

    /// Copies the bytes that the places were in.
    pub(super) fn adopt(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
    }

    /// Makes it a request.
    pub(super) fn request_at(&mut self, method: Range<usize>, target: Range<usize>, version: Version) {
        (self.method, self.target, self.version) = (Span::of(method), Span::of(target), version);
    }

    /// Makes it a response.
    pub(super) fn status_at(&mut self, status: u16, reason: Range<usize>, version: Version) {
        (self.status, self.reason, self.version) = (status, Span::of(reason), version);
    }

    /// Adds a field line.
    pub(super) fn field_at(&mut self, name: Range<usize>, value: Range<usize>, known: Name) {
        self.present |= known.bit();
        self.fields.push(Field { name: Span::of(name), value: Span::of(value), known });
    }
}

impl Span {
    fn of(place: Range<usize>) -> Self {
        Self { start: place.start as u16, end: place.end as u16 }
    }
}

/// The items of a comma-separated list, blanks taken off, empty ones left out (RFC 9110 section 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim_blanks).filter(|item| !item.is_empty())
}

/// Takes off spaces and tabs, which are all that HTTP calls blank: a form feed is part of what it stands at.
pub fn trim_blanks(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// A field name that the proxy has to know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Name {
            $($(#[$doc])* $variant,)*
            /// One of these with an underscore for a hyphen: CGI and its kin cannot tell it from the real one.
            Disguised,
            /// Any other.
            Other,
        }

        impl Name {
            /// In lower case; empty for [`Name::Disguised`] and [`Name::Other`].
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Disguised | Self::Other => "",
                }
            }

            /// A bit of its own.
            const fn bit(self) -> u64 {
                1 << self as u64
            }

            const ALL: &'static [(&'static [u8], Name)] = &[$(($text.as_bytes(), Name::$variant)),*];
        }
    };
}

names! {
    Accept = "accept",
    Authorization = "authorization",
    Connection = "connection",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Expect = "expect",
    Forwarded = "forwarded",
    GrpcPushback = "grpc-retry-pushback-ms",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    IdempotencyKey = "idempotency-key",
    KeepAlive = "keep-alive",
    MaxForwards = "max-forwards",
    OutriggerDegraded = "outrigger-degraded",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    ProxyStatus = "proxy-status",
    RetryAfter = "retry-after",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    Via = "via",
    XEnvoyAttempt = "x-envoy-attempt-count",
    XEnvoyExpected = "x-envoy-expected-rq-timeout-ms",
    XEnvoyTimeout = "x-envoy-upstream-rq-timeout-ms",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XOutriggerExplain = "x-outrigger-explain",
    XRequestId = "x-request-id",
}

const _: () = assert!((Name::Other as u64) < 64, "Head has a bit for each");

impl Name {
    /// The name's variant, whatever its case.
    pub fn of(name: &[u8]) -> Self {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return Self::Other };
        let (text, known) = SLOTS[slot(name.len(), *first, name[name.len() / 2], *last)];
        if text.len() != name.len() {
            return Self::Other;
        }
        if is_any_case_of(name, text) {
            return known;
        }
        let folds = |(byte, of): (&u8, &u8)| byte.eq_ignore_ascii_case(of) || *byte == b'_' && *of == b'-';
        if name.iter().zip(text).all(folds) { Self::Disguised } else { Self::Other }
    }
}

/// Whether `name` is `text` but for the case of its letters; `text` is in lower case and as long. Eight bytes at a time, or
/// four, the last ones overlapping those before them.
fn is_any_case_of(name: &[u8], text: &[u8]) -> bool {
    // Bit 5 makes letters lower-case, and what else it changes no name has.
    let eight = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | u64::from_ne_bytes([0x20; 8]);
    let four = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) | u32::from_ne_bytes([0x20; 4]);
    if let (Some(last), Some(of)) = (name.last_chunk(), text.last_chunk()) {
        let (all, of_all) = (name.as_chunks().0, text.as_chunks().0);
        return eight(last) == eight(of) && all.iter().zip(of_all).all(|(part, of)| eight(part) == eight(of));
    }
    match (name.first_chunk(), text.first_chunk(), name.last_chunk(), text.last_chunk()) {
        (Some(first), Some(of_first), Some(last), Some(of_last)) => {
            four(first) == four(of_first) && four(last) == four(of_last)
        }
        _ => name.iter().zip(text).all(|(byte, of)| byte | 0x20 == *of),
    }
}

/// Each name has a slot of its own, found from its length and three of its letters; what no name has is empty.
const SLOTS: [(&[u8], Name); 128] = {
    let mut slots: [(&[u8], Name); 128] = [(b"", Name::Other); 128];
    let mut i = 0;
    while i < Name::ALL.len() {
        let (text, known) = Name::ALL[i];
        let at = slot(text.len(), text[0], text[text.len() / 2], text[text.len() - 1]);
        assert!(slots[at].0.is_empty(), "two names share a slot: choose other factors");
        slots[at] = (text, known);
        i += 1;
    }
    slots
};

/// Bit 5 makes letters lower-case, and an underscore is read as the hyphen it may stand for.
const fn slot(len: usize, first: u8, middle: u8, last: u8) -> usize {
    const fn fold(byte: u8) -> usize {
        (if byte == b'_' { b'-' } else { byte | 0x20 }) as usize
    }
    (len * 32 + fold(first) * 40 + fold(middle) * 3 + fold(last)) % 128
}

/// The heads of a worker that nobody holds at the moment.
#[derive(Debug, Clone)]
pub struct HeadPool {
    free: Rc<RefCell<Vec<Rc<Head>>>>,
    keep: usize,
}

impl HeadPool {
    /// Keeps at most `keep` free heads.
    pub fn new(keep: usize) -> Self {
        Self { free: Rc::new(RefCell::new(Vec::with_capacity(keep))), keep }
    }

    /// An empty head that nobody else holds.
    pub fn take(&self) -> Rc<Head> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back, if this was its last holder. One that has grown large is not kept.
    pub fn give(&self, mut head: Rc<Head>) {
        let Some(inner) = Rc::get_mut(&mut head) else { return };
        if inner.bytes.capacity() > 8 * 1024 {
            return;
        }
        inner.clear();
        let mut free = self.free.borrow_mut();
        if free.len() < self.keep {
            free.push(head);
        }
    }
}

#[cfg(test)]
mod tests;
