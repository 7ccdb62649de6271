//! Messages as HTTP/2 brings them: with a `http::HeaderMap`, whose names and values may be whatever the `http` crate
//! takes, blanks around values and all.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use outrigger::downstream::http2::request_head;
use outrigger::http2::head_from;
use outrigger::http::framing::{self, To};
use outrigger::http::{Head, Length, Version};

use crate::ours::{Kind, Message};
use crate::rewrite::How;

/// What would be the end of a body in chunks, and the beginning of another message, to whoever reads it as such.
const DATA: &[u8] = b"0\r\n\r\nsome";

/// A message made of lines: a method and a target, or a status; then `name: value` up to an empty line; then trailers.
/// None where HTTP/2 could not bring it, or the proxy refuses it.
pub fn message(text: &[u8], kind: Kind, how: How) -> Option<Message> {
    let mut lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.split(|b| *b == b' ');
    let (first, second) = (words.next()?, words.next()?);
    let fields = map(&mut lines)?;
    let mut head = Head::default();
    let length = if kind == Kind::Requests {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(first).ok()?;
        parts.uri = Uri::try_from(second).ok()?;
        parts.headers = fields;
        request_head(&parts, &mut head).ok()?;
        framing::content_length(&head).ok()?.map_or(Length::Chunked, Length::Exact)
    } else {
        let status = http::StatusCode::from_bytes(second).ok().filter(|status| status.as_u16() >= 200)?;
        head.set_status(status.as_u16(), b"", Version::Http2).ok()?;
        head_from(&fields, &mut head).ok()?;
        same(&head, &fields);
        let to = if kind == Kind::HeadResponses { To::Head } else { To::Other };
        framing::of_response(&head, to).ok()?
    };
    // DATA may come behind any head, and more or less of it than was said: what of it goes out is for the writer to say.
    let (length, body) = match length {
        Length::Exact(n) if n > 4096 => return None,
        length if how.body => (length, DATA.to_vec()),
        Length::Exact(n) => (length, vec![b'0'; usize::try_from(n).ok()?]),
        Length::Chunked | Length::UntilClose => (Length::NONE, Vec::new()),
    };
    let mut trailers = Head::default();
    head_from(&map(&mut lines)?, &mut trailers).ok()?;
    Some(Message { head, length, start: 0, body_start: 0, end: 0, body, trailers })
}

/// What comes over the wire is decoded by `from_lowercase`, which takes more than `from_bytes`.
fn map<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon].to_ascii_lowercase()).ok()?;
        map.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some(map)
}

/// Nothing but the blanks around values is lost.
fn same(head: &Head, map: &HeaderMap) {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let mut kept = head.fields();
    for (name, value) in map {
        let value = value.as_bytes();
        let from = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
        let to = value.iter().rposition(|b| !blank(b)).map_or(from, |last| last + 1);
        let (_, kept_name, kept_value) = kept.next().unwrap_or_else(|| panic!("{name} is lost"));
        assert_eq!((kept_name, kept_value), (name.as_str().as_bytes(), &value[from..to]), "another field");
    }
    assert!(kept.next().is_none(), "there is a field more");
}
