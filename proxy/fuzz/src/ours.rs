//! The codec, walked over a stream of messages the way a connection walks it.

use outrigger::http::framing::{self, Chunks, Step, To};
use outrigger::http::{Bad, Head, Length, Limits, Name, Scan, Version, parse};

/// A whole message.
pub struct Message {
    /// Its head.
    pub head: Head,
    /// How its end was known.
    pub length: Length,
    /// Where it begins in the stream.
    pub start: usize,
    /// Where its body begins.
    pub body_start: usize,
    /// Where it ends: the next one begins here.
    pub end: usize,
    /// Its body, without chunk lines.
    pub body: Vec<u8>,
    /// Its trailers; none without chunks.
    pub trailers: Head,
}

/// Why the walk over a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The last message is not whole yet, or nothing is left.
    More,
    /// What comes is refused.
    Bad(Bad),
    /// What comes is no message any more: after 101.
    Upgraded,
}

/// What is expected of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Requests,
    /// Answers to GET.
    Responses,
    /// Answers to HEAD.
    HeadResponses,
}

/// Every whole message in `bytes`, which end with the connection, at most `most` of them.
pub fn walk(bytes: &[u8], kind: Kind, limits: Limits, most: usize) -> (Vec<Message>, Stop) {
    let mut messages = Vec::new();
    let mut start = 0;
    while messages.len() < most {
        match message(bytes, start, kind, limits) {
            Ok(Some(message)) => {
                start = message.end;
                let upgraded = message.head.status() == 101;
                let last = message.length == Length::UntilClose;
                messages.push(message);
                if upgraded {
                    return (messages, Stop::Upgraded);
                }
                if last {
                    return (messages, Stop::More);
                }
            }
            Ok(None) => return (messages, Stop::More),
            Err(bad) => return (messages, Stop::Bad(bad)),
        }
    }
    (messages, Stop::More)
}

/// The head at `start` and where it ends.
pub fn head(bytes: &[u8], start: usize, kind: Kind, limits: Limits) -> Result<Option<(Head, usize)>, Bad> {
    let bytes = &bytes[start..];
    let scanned = scanned(bytes, kind, limits);
    // A connection reads a head that has come in one piece without a scan before.
    let mut straight = Head::default();
    let read = match kind {
        Kind::Requests => Scan::default().request(bytes, limits, &mut straight),
        Kind::Responses | Kind::HeadResponses => Scan::default().response(bytes, limits, &mut straight),
    };
    match (&scanned, read) {
        (Ok(Some((head, len))), Ok(Some(straight_len))) => {
            assert_eq!((*len, fields(head)), (straight_len, fields(&straight)));
        }
        (Ok(None), Ok(None)) => {}
        (Err(one), Err(other)) => assert_eq!(*one, other),
        (scanned, read) => panic!("{:?} with a scan before, {read:?} without", scanned.as_ref().map(Option::is_some)),
    }
    Ok(scanned?.map(|(head, len)| (head, start + len)))
}

fn scanned(bytes: &[u8], kind: Kind, limits: Limits) -> Result<Option<(Head, usize)>, Bad> {
    let Some(len) = Scan::default().end(bytes, limits)? else { return Ok(None) };
    let mut head = Head::default();
    match kind {
        Kind::Requests => parse::request(&bytes[..len], &mut head)?,
        Kind::Responses | Kind::HeadResponses => parse::response(&bytes[..len], &mut head)?,
    }
    Ok(Some((head, len)))
}

fn fields(head: &Head) -> Vec<(Name, &[u8], &[u8])> {
    head.fields().collect()
}

/// How the end of the body behind this head is known.
pub fn length(head: &Head, kind: Kind) -> Result<Length, Bad> {
    match kind {
        Kind::Requests => framing::of_request(head),
        Kind::Responses => framing::of_response(head, To::Other),
        Kind::HeadResponses => framing::of_response(head, To::Head),
    }
}

/// Whether the connection goes on after this message.
pub fn persists(head: &Head) -> bool {
    match head.version() {
        Version::Http10 => head.lists(Name::Connection, b"keep-alive") && !head.lists(Name::Connection, b"close"),
        _ => !head.lists(Name::Connection, b"close"),
    }
}

fn message(bytes: &[u8], start: usize, kind: Kind, limits: Limits) -> Result<Option<Message>, Bad> {
    let Some((head, body_start)) = head(bytes, start, kind, limits)? else { return Ok(None) };
    let length = length(&head, kind)?;
    let rest = &bytes[body_start..];
    let mut message =
        Message { head, length, start, body_start, end: body_start, body: Vec::new(), trailers: Head::default() };
    match length {
        Length::Exact(n) => {
            let Some(body) = usize::try_from(n).ok().and_then(|n| rest.get(..n)) else { return Ok(None) };
            message.body = body.to_vec();
            message.end += body.len();
        }
        Length::UntilClose => {
            message.body = rest.to_vec();
            message.end += rest.len();
        }
        Length::Chunked => {
            let (body, at) = chunks(rest)?;
            let Some(at) = at else { return Ok(None) };
            let Some(len) = Scan::default().block(&rest[at..], limits)? else { return Ok(None) };
            parse::trailers(&rest[at..at + len], &mut message.trailers)?;
            message.body = body;
            message.end += at + len;
        }
    }
    Ok(Some(message))
}

/// A chunked body's data, and where its trailers begin if the last chunk is there.
fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, Option<usize>), Bad> {
    let mut chunks = Chunks::default();
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        match chunks.step(&bytes[at..])? {
            Step::Data { skip, len } => {
                body.extend_from_slice(&bytes[at + skip..at + skip + len]);
                at += skip + len;
            }
            Step::More { .. } => return Ok((body, None)),
            Step::Last { skip } => return Ok((body, Some(at + skip))),
        }
    }
}
