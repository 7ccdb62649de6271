use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::http::BufferPool;

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const LIMITS: Limits = Limits { bytes: 4096, lines: 16 };

/// A body in chunks of these sizes (0 is the end, so at least 1), with trailers or without.
fn chunked(body: &[u8], sizes: &[usize], trailers: bool) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = body;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        let extension = if chunk.len() % 3 == 0 { ";a=b" } else { "" };
        wire.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
    }
    wire.extend_from_slice(if trailers { b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n" } else { b"0\r\n\r\n" });
    wire
}

/// Feeds `wire` in pieces, takes bytes out as `takes` says, and gives back the body and what is left of the buffer.
fn read(content: &mut Content, wire: &[u8], cuts: &[usize], takes: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let heads = HeadPool::new(4);
    let mut buffer = BufferPool::new(1).take().unwrap();
    let (mut rest, mut body) = (wire, Vec::new());
    let (mut cuts, mut takes) = (cuts.iter().cycle(), takes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        buffer.spare()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        rest = after;
        content.advance(&mut buffer, LIMITS, &heads).unwrap();
        let n = (*takes.next().unwrap()).min(content.ready());
        body.extend_from_slice(&buffer.bytes()[..n]);
        content.consume(&mut buffer, n);
    }
    let ready = content.ready();
    body.extend_from_slice(&buffer.bytes()[..ready]);
    content.consume(&mut buffer, ready);
    (body, buffer.bytes().to_vec())
}

proptest! {
    #[test]
    fn a_chunked_body_is_the_same_however_it_arrives(
        body in vec(any::<u8>(), 0..2000),
        sizes in vec(1usize..300, 1..8),
        cuts in vec(1usize..200, 1..8),
        takes in vec(0usize..300, 1..8),
        trailers in any::<bool>(),
    ) {
        let wire = [chunked(&body, &sizes, trailers), NEXT.to_vec()].concat();
        let mut content = Content::new(Length::Chunked);
        let (read, left) = read(&mut content, &wire, &cuts, &takes);
        prop_assert!(content.is_complete());
        prop_assert_eq!(read, body);
        prop_assert_eq!(left, NEXT);
        let told = content.trailers().map(|head| head.fields().map(|(_, _, value)| value.to_vec()).collect::<Vec<_>>());
        prop_assert_eq!(told, trailers.then(|| vec![b"1".to_vec(), b"2".to_vec()]));
    }

    #[test]
    fn an_exact_body_is_the_same_however_it_arrives(
        body in vec(any::<u8>(), 0..2000),
        cuts in vec(1usize..200, 1..8),
        takes in vec(0usize..300, 1..8),
    ) {
        let wire = [&body[..], NEXT].concat();
        let mut content = Content::new(Length::Exact(body.len() as u64));
        let (read, left) = read(&mut content, &wire, &cuts, &takes);
        prop_assert!(content.is_complete());
        prop_assert_eq!(read, body);
        prop_assert_eq!(left, NEXT);
    }

    #[test]
    fn whatever_comes_instead_of_chunks_is_no_panic(
        noise in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'f'), Just(b';'), any::<u8>()], 0..300),
        cuts in vec(1usize..20, 1..8),
    ) {
        let heads = HeadPool::new(4);
        let mut buffer = BufferPool::new(1).take().unwrap();
        let mut content = Content::new(Length::Chunked);
        let (mut rest, mut cuts) = (&noise[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            buffer.spare()[..piece.len()].copy_from_slice(piece);
            buffer.filled(piece.len());
            rest = after;
            if content.advance(&mut buffer, LIMITS, &heads).is_err() {
                break;
            }
            prop_assert!(content.ready() <= buffer.len());
        }
    }
}

#[test]
fn what_lies_behind_a_complete_body_is_seen() {
    let heads = HeadPool::new(1);
    for (wire, leaves) in [(&b"3\r\nabc\r\n0\r\n\r\n"[..], false), (b"3\r\nabc\r\n0\r\n\r\nG", true)] {
        let mut buffer = BufferPool::new(1).take().unwrap();
        buffer.spare()[..wire.len()].copy_from_slice(wire);
        buffer.filled(wire.len());
        let mut content = Content::new(Length::Chunked);
        content.advance(&mut buffer, LIMITS, &heads).unwrap();
        assert_eq!(content.leaves(&buffer), leaves);
        content.consume(&mut buffer, 3);
        assert_eq!(content.leaves(&buffer), leaves);
    }
}

#[test]
fn the_end_of_the_stream_ends_only_a_body_that_says_so() {
    assert!(Content::new(Length::UntilClose).close());
    assert!(Content::new(Length::NONE).close());
    assert!(!Content::new(Length::Exact(1)).close());
    assert!(!Content::new(Length::Chunked).close());
}

#[test]
fn a_body_that_broke_a_rule_stays_broken_whatever_follows() {
    let heads = HeadPool::new(4);
    let mut buffer = BufferPool::new(1).take().unwrap();
    let mut content = Content::new(Length::Chunked);
    let mut feed = |content: &mut Content, bytes: &[u8]| {
        buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        content.advance(&mut buffer, LIMITS, &heads)
    };
    assert_eq!(feed(&mut content, b"1\r\nA\r"), Ok(()));
    // No LF behind the CR. Asked again, one that had kept how far it was would find five bytes and an end.
    assert_eq!(feed(&mut content, b"\n5\rX"), Err(Bad::Grammar));
    assert_eq!(feed(&mut content, b"ab\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(Bad::Grammar));
    assert!(!content.is_complete());
}
