//! The promises. Each takes what libFuzzer made up and panics where a promise is broken.

use http::Method;
use outrigger::http::framing::{Chunks, Step};
use outrigger::http::{Bad, Head, Length, Limits, Version};

use crate::ours::{self, Kind, Message, Stop, walk};
use crate::peer::{Peer, Seen};
use crate::rewrite::{How, Written};
use crate::{duties, mapped, rewrite, strict};

/// More messages than an input has room for are not looked at.
const MOST: usize = 8;

/// What we accept as a request's head, hyper refuses or reads the same, up to the same byte.
pub fn request_head(input: &[u8]) {
    head(input, Kind::Requests);
}

/// What we accept as a response's head, hyper refuses or reads the same, up to the same byte.
pub fn response_head(input: &[u8]) {
    head(input, Kind::Responses);
}

/// Every message that we accept in a stream hyper refuses or frames identically. The first byte says what the
/// stream is.
pub fn framing(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let limits = limits(*first);
    match first % 3 {
        0 => requests(stream, limits),
        1 => responses(stream, Kind::Responses, limits),
        _ => responses(stream, Kind::HeadResponses, limits),
    }
}

/// A chunked body is read the same whole, in pieces, by a plain reader, and by hyper. The first two bytes are a
/// seed for the pieces.
pub fn chunks(input: &[u8]) {
    let Some((seed, stream)) = input.split_first_chunk::<2>() else { return };
    let whole = in_pieces(stream, |_| usize::MAX);
    let mut state = u32::from(u16::from_le_bytes(*seed)) | 0x1_0000;
    let pieces = in_pieces(stream, |_| {
        // Xorshift; mostly short pieces, as they cut lines.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % 7 * (state >> 8) % 11) as usize + 1
    });
    assert_eq!(whole, pieces, "pieces differ from the whole");
    let plain = strict::chunked(stream);
    match (&whole.end, &plain) {
        (Ok(Some(at)), Ok(Some((body, end)))) => {
            assert_eq!(at, end, "the last chunk ends elsewhere");
            assert_eq!(&whole.data, body, "other data");
        }
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        _ => panic!("we say {:?}, a plain reader {plain:?}", whole.end),
    }
    // hyper takes ten times as long as all of the above; one in sixteen is what it gets, `framing` gives it the rest.
    if matches!(whole.end, Ok(Some(_))) && seed[0] % 16 == 0 {
        let mut message = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        message.extend_from_slice(stream);
        requests(&message, Limits::default());
    }
}

/// What the proxy writes of a message that it accepted, a strict reader reads as the same message, with the fields
/// that a proxy owes to it. The first byte says what the stream is, the second how it is written
/// ([`How::of`]); by its highest bit the message came over HTTP/2.
pub fn strict_output(input: &[u8]) {
    let Some(([first, second], stream)) = input.split_first_chunk::<2>() else { return };
    let kind = [Kind::Requests, Kind::Responses, Kind::HeadResponses][usize::from(first % 3)];
    let how = How::of(*second);
    let messages = if how.h2 {
        Vec::from_iter(mapped::message(stream, kind, how))
    } else {
        walk(stream, kind, limits(*first), MOST).0
    };
    let mut out = Vec::new();
    let mut written = 0;
    let mut broken = None;
    for message in &messages {
        let became = match kind {
            Kind::Requests => rewrite::request(&mut out, message, how),
            _ => rewrite::answer(&mut out, message, kind, how),
        };
        match became {
            Written::Whole { .. } => written += 1,
            Written::Broken => broken = Some(message),
            Written::Nothing => {}
        }
        if became != (Written::Whole { more: true }) {
            break;
        }
    }
    let messages = &messages[..written];
    let mut rest = out.as_slice();
    for message in messages {
        let read = strictly(rest, message, kind, how);
        assert_eq!(message.body, read.body, "other bodies");
        if read.fields.iter().any(|(name, _)| *name == b"Transfer-Encoding") {
            duties::trailers(message, &read);
        }
        rest = &rest[read.len..];
    }
    let whole = out.len() - rest.len();
    match broken {
        Some(message) => unfinished(rest, message, kind, how),
        None => assert!(rest.is_empty(), "there is more than was meant: {:?}", rest.escape_ascii().to_string()),
    }
    // What was written is read as it was meant by ourselves too, if its own lines fit.
    if messages.iter().any(|message| message.head.len().max(message.trailers.len()) > OWN_LIMIT) {
        return;
    }
    let (again, stop) = walk(&out[..whole], kind, WIDE, MOST);
    assert_eq!(again.len(), messages.len(), "we do not read what we wrote: {stop:?}");
    for (one, other) in messages.iter().zip(&again) {
        assert_eq!(one.body, other.body);
    }
}

/// One message as the strict reader sees it, with all that is owed to it.
fn strictly<'a>(bytes: &'a [u8], message: &Message, kind: Kind, how: How) -> strict::Read<'a> {
    let read = match kind {
        Kind::Requests => strict::request(bytes),
        _ => strict::response(bytes, kind == Kind::HeadResponses),
    };
    let read = read.unwrap_or_else(|refusal| panic!("{refusal}: {:?}", bytes.escape_ascii().to_string()));
    match kind {
        Kind::Requests => duties::request(message, &read, how),
        _ => duties::answer(message, &read, kind, how),
    }
    read
}

/// What was written of a message whose body is not as long as its head says, before the connection closed: of a body no
/// byte beyond what was said, and so nothing that could be read as another message, whatever follows.
fn unfinished(bytes: &[u8], message: &Message, kind: Kind, how: How) {
    let Length::Exact(stated) = message.length else { panic!("a length that was not said was broken") };
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = &bytes[head..];
    assert!(message.body.starts_with(body), "another body: {:?}", body.escape_ascii().to_string());
    let missing = (stated as usize).checked_sub(body.len()).expect("a byte beyond the stated length");
    let filled = [bytes, &vec![b'0'; missing]].concat();
    assert_eq!(strictly(&filled, message, kind, how).len, filled.len(), "it ends elsewhere");
}

/// Lines, of a head or of trailers over HTTP/2, to which the proxy's own can be added within [`WIDE`].
const OWN_LIMIT: usize = 240;

/// More than any accepted head can need when it is written anew.
const WIDE: Limits = Limits { bytes: 60 * 1024, lines: 256 };

/// Most inputs are read with the limits that are the default, some with such that they reach.
fn limits(first: u8) -> Limits {
    match first >> 5 {
        7 => Limits { bytes: 128, lines: 4 },
        6 => WIDE,
        _ => Limits::default(),
    }
}

fn head(input: &[u8], kind: Kind) {
    // A head is accepted once its body's length is known too.
    let found = ours::head(input, 0, kind, Limits::default()).and_then(|found| match found {
        Some((head, end)) => ours::length(&head, kind).map(|_| Some((head, end))),
        None => Ok(None),
    });
    let mut peer = match kind {
        // Not asked: after a 2xx answer to it there are no messages, and we answer it with 405.
        Kind::Requests if input.starts_with(b"CONNECT ") => return,
        Kind::Requests => Peer::server(input, false),
        _ => Peer::client(input, Method::GET, false),
    };
    match found {
        Err(_) => {}
        Ok(None) => {
            peer.advance(input.len());
            assert_eq!(peer.shared.whole(), 0, "hyper has a head where we wait for more");
        }
        // No message ends here: hyper passes over them.
        Ok(Some((head, _))) if matches!(head.status(), 100..=199) => {}
        Ok(Some((head, end))) => {
            peer.advance(end - 1);
            assert_eq!(peer.shared.whole(), 0, "hyper has the head a byte before us");
            peer.advance(end);
            match peer.shared.seen.borrow().first() {
                Some(seen) => same_head(&head, seen, kind),
                None => assert!(peer.shared.refused.get(), "hyper waits for more of the head"),
            }
        }
    }
}

fn requests(stream: &[u8], limits: Limits) {
    let (messages, stop) = walk(stream, Kind::Requests, limits, MOST);
    let mut peer = Peer::server(stream, true);
    for (number, message) in messages.iter().enumerate() {
        if message.head.method() == b"CONNECT" {
            return;
        }
        peer.advance(message.end - 1);
        assert!(peer.shared.whole() <= number, "hyper has message {number} a byte before us");
        peer.advance(message.end);
        if peer.shared.refused.get() {
            return;
        }
        assert_eq!(peer.shared.whole(), number + 1, "hyper has not the end of message {number} where we have it");
        same(message, &peer.shared.seen.borrow()[number], Kind::Requests);
        if peer.finished {
            // Hyper does not look into a value that is not text, and then ends what HTTP/1.0 asks to keep: no harm in that.
            let is_text = |value: &[u8]| value.iter().all(|b| *b == b'\t' || (0x20..0x7f).contains(b));
            let connection = message.head.fields().filter(|(_, name, _)| name.eq_ignore_ascii_case(b"connection"));
            let persists = ours::persists(&message.head) && connection.into_iter().all(|(_, _, value)| is_text(value));
            assert!(!persists, "hyper ends the connection after message {number}");
            return;
        }
    }
    if stop == Stop::More && messages.len() < MOST {
        peer.advance(stream.len());
        assert_eq!(peer.shared.whole(), messages.len(), "hyper has a message where we wait for more");
    }
}

fn responses(stream: &[u8], kind: Kind, limits: Limits) {
    let (messages, stop) = walk(stream, kind, limits, MOST);
    let method = if kind == Kind::HeadResponses { Method::HEAD } else { Method::GET };
    // Where the answer begins: with the interim ones before it.
    let mut start = 0;
    for (number, message) in messages.iter().enumerate() {
        if matches!(message.head.status(), 100 | 102..=199) {
            continue;
        }
        // One connection for each answer: hyper takes bytes that come before they were asked for as an error.
        let mut peer = Peer::client(&stream[start..message.end], method.clone(), true);
        peer.advance(message.end - 1 - start);
        assert_eq!(peer.shared.whole(), 0, "hyper has answer {number} a byte before us");
        peer.advance(message.end - start);
        if message.length == Length::UntilClose {
            assert_eq!(peer.shared.whole(), 0, "hyper has answer {number} before the connection closed");
            peer.close();
        }
        if peer.shared.refused.get() {
            return;
        }
        assert_eq!(peer.shared.whole(), 1, "hyper has not the end of answer {number} where we have it");
        same(message, &peer.shared.seen.borrow()[0], kind);
        start = message.end;
    }
    if stop == Stop::More && messages.len() < MOST && start < stream.len() {
        let mut peer = Peer::client(&stream[start..], method, true);
        peer.advance(stream.len() - start);
        assert_eq!(peer.shared.whole(), 0, "hyper has an answer where we wait for more");
    }
}

fn same(message: &Message, seen: &Seen, kind: Kind) {
    same_head(&message.head, seen, kind);
    assert_eq!(message.body, seen.body, "other bodies");
    assert_eq!(lines(&message.trailers), theirs(&seen.trailers), "other trailers");
}

fn same_head(head: &Head, seen: &Seen, kind: Kind) {
    let version = if seen.version == http::Version::HTTP_10 { Version::Http10 } else { Version::Http11 };
    assert_eq!(head.version(), version, "other versions");
    assert_eq!(lines(head), theirs(&seen.fields), "other fields");
    if kind == Kind::Requests {
        assert_eq!(head.method(), seen.text, "other methods");
        same_target(head.target(), &seen.target);
    } else {
        assert_eq!(head.status(), seen.status, "other statuses");
        assert_eq!(head.reason(), seen.text, "other reasons");
    }
}

/// hyper writes a target as it came, but for the scheme's case and the slash that an absolute form may leave out.
fn same_target(ours: &[u8], theirs: &str) {
    if ours == theirs.as_bytes() {
        return;
    }
    let with_slash = || {
        let at = theirs.find("://").map(|at| at + 3).and_then(|from| Some(from + theirs[from..].find('/')?))?;
        Some([&theirs.as_bytes()[..at], &theirs.as_bytes()[at + 1..]].concat())
    };
    let same = ours.eq_ignore_ascii_case(theirs.as_bytes())
        || with_slash().is_some_and(|theirs| ours.eq_ignore_ascii_case(&theirs));
    assert!(same, "other targets: {:?} and {theirs:?}", ours.escape_ascii().to_string());
}

/// Names in lower case, in their order; lines of one name in theirs.
fn lines(head: &Head) -> Vec<(Vec<u8>, &[u8])> {
    let mut lines: Vec<_> = head.fields().map(|(_, name, value)| (name.to_ascii_lowercase(), value)).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

fn theirs(fields: &http::HeaderMap) -> Vec<(Vec<u8>, &[u8])> {
    let mut lines: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes())).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

/// What the stepper said of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Chunked {
    data: Vec<u8>,
    /// Where the trailers begin, or that they have not come.
    end: Result<Option<usize>, Bad>,
}

/// Feeds the stepper pieces of the given lengths.
fn in_pieces(stream: &[u8], mut next: impl FnMut(usize) -> usize) -> Chunked {
    let mut chunks = Chunks::default();
    let mut data = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let to = at.saturating_add(next(at)).min(stream.len());
        while at < to {
            let piece = &stream[at..to];
            match chunks.step(piece) {
                Ok(Step::Data { skip, len }) => {
                    assert!(len > 0 && skip + len <= piece.len());
                    data.extend_from_slice(&piece[skip..skip + len]);
                    at += skip + len;
                }
                Ok(Step::More { skip }) => {
                    assert_eq!(skip, piece.len());
                    at = to;
                }
                Ok(Step::Last { skip }) => {
                    assert!(skip <= piece.len());
                    return Chunked { data, end: Ok(Some(at + skip)) };
                }
                Err(bad) => return Chunked { data, end: Err(bad) },
            }
        }
    }
    Chunked { data, end: Ok(None) }
}
