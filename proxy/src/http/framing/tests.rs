use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::http::{Limits, Scan, parse};

fn request(lines: &str) -> Result<Length, Bad> {
    let mut head = Head::default();
    parse::request(format!("POST / {lines}\r\n\r\n").replace('|', "\r\n").as_bytes(), &mut head)?;
    of_request(&head)
}

fn response(lines: &str, to_head: bool) -> Result<Length, Bad> {
    let mut head = Head::default();
    parse::response(format!("{lines}\r\n\r\n").replace('|', "\r\n").as_bytes(), &mut head)?;
    of_response(&head, to_head)
}

#[test]
fn a_request_has_one_length_or_none() {
    for (lines, expected) in [
        ("HTTP/1.1|Host: a", Length::NONE),
        ("HTTP/1.0", Length::NONE),
        ("HTTP/1.1|Content-Length: 0", Length::NONE),
        ("HTTP/1.1|Content-Length: 12", Length::Exact(12)),
        ("HTTP/1.0|content-length:12", Length::Exact(12)),
        ("HTTP/1.1|Content-Length: \t 12 \t ", Length::Exact(12)),
        ("HTTP/1.1|Content-Length: 9223372036854775807", Length::Exact((1 << 63) - 1)),
        ("HTTP/1.1|Transfer-Encoding: chunked", Length::Chunked),
        ("HTTP/1.1|transfer-encoding:CHUNKED", Length::Chunked),
        ("HTTP/1.1|TE: gzip|X-Content-Length: 4", Length::NONE),
    ] {
        assert_eq!(request(lines), Ok(expected), "{lines}");
    }
}

#[test]
fn a_request_whose_length_can_be_read_in_two_ways_is_refused() {
    for lines in [
        // Two lengths.
        "HTTP/1.1|Content-Length: 3|Transfer-Encoding: chunked",
        "HTTP/1.1|Transfer-Encoding: chunked|Content-Length: 3",
        "HTTP/1.1|Content-Length: 0|Transfer-Encoding: chunked",
        "HTTP/1.1|Content-Length: 3|Transfer-Encoding: identity",
        "HTTP/1.1|Content-Length: 3|Content-Length: 4",
        "HTTP/1.1|Content-Length: 3|Content-Length: 3",
        "HTTP/1.1|Content-Length: 3|content-length: 3",
        "HTTP/1.1|Content-Length: 3, 3",
        "HTTP/1.1|Content-Length: 3,",
        // No number.
        "HTTP/1.1|Content-Length:",
        "HTTP/1.1|Content-Length:  ",
        "HTTP/1.1|Content-Length: +3",
        "HTTP/1.1|Content-Length: -3",
        "HTTP/1.1|Content-Length: 0x3",
        "HTTP/1.1|Content-Length: 3e1",
        "HTTP/1.1|Content-Length: 3.0",
        "HTTP/1.1|Content-Length: 3 4",
        "HTTP/1.1|Content-Length: 1_000",
        "HTTP/1.1|Content-Length: \"3\"",
        "HTTP/1.1|Content-Length: 3;a=b",
        "HTTP/1.1|Content-Length: \u{0663}",
        // Too large.
        "HTTP/1.1|Content-Length: 9223372036854775808",
        "HTTP/1.1|Content-Length: 18446744073709551615",
        "HTTP/1.1|Content-Length: 18446744073709551616",
        "HTTP/1.1|Content-Length: 18446744073709551619",
        "HTTP/1.1|Content-Length: 00000000000000000003",
        // HTTP/1.0 knows no codings.
        "HTTP/1.0|Transfer-Encoding: chunked",
        "HTTP/1.0|Transfer-Encoding: chunked|Content-Length: 3",
        "HTTP/1.0|Transfer-Encoding: identity",
    ] {
        assert_eq!(request(lines), Err(Bad::Grammar), "{lines}");
    }
}

#[test]
fn a_coding_other_than_exactly_chunked_is_refused() {
    for value in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked;q=1",
        "chunked ;",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chunked\u{a0}",
        "\u{212a}chunked",
        "chunKed\u{ff}",
        "chunked|Transfer-Encoding: chunked",
        "chunked|Transfer-Encoding: identity",
        "identity|Transfer-Encoding: chunked",
        "|Transfer-Encoding: chunked",
    ] {
        assert_eq!(request(&format!("HTTP/1.1|Transfer-Encoding: {value}")), Err(Bad::Coding), "{value:?}");
        let lines = format!("HTTP/1.1 200 OK|Transfer-Encoding: {value}");
        assert_eq!(response(&lines, false), Err(Bad::Coding), "{value:?}");
    }
}

#[test]
fn a_response_ends_as_its_status_and_its_request_say() {
    for (lines, to_head, expected) in [
        ("HTTP/1.1 200 OK", false, Length::UntilClose),
        ("HTTP/1.0 200 OK", false, Length::UntilClose),
        ("HTTP/1.1 200 OK|Content-Length: 3", false, Length::Exact(3)),
        ("HTTP/1.1 200 OK|Transfer-Encoding: chunked", false, Length::Chunked),
        ("HTTP/1.1 200 OK", true, Length::NONE),
        ("HTTP/1.1 200 OK|Content-Length: 3", true, Length::NONE),
        ("HTTP/1.1 200 OK|Transfer-Encoding: chunked", true, Length::NONE),
        ("HTTP/1.1 304 Not Modified|Content-Length: 3", false, Length::NONE),
        ("HTTP/1.1 304 Not Modified|Transfer-Encoding: chunked", false, Length::NONE),
        ("HTTP/1.1 204 No Content", false, Length::NONE),
        ("HTTP/1.1 204 No Content|Content-Length: 0", false, Length::NONE),
        ("HTTP/1.1 100 Continue", false, Length::NONE),
        ("HTTP/1.1 103 Early Hints", false, Length::NONE),
    ] {
        assert_eq!(response(lines, to_head), Ok(expected), "{lines}");
    }
}

#[test]
fn a_response_whose_length_can_be_read_in_two_ways_is_refused() {
    for lines in [
        "HTTP/1.1 200 OK|Content-Length: 3|Transfer-Encoding: chunked",
        "HTTP/1.1 200 OK|Content-Length: 3|Content-Length: 3",
        "HTTP/1.1 200 OK|Content-Length: 3, 3",
        "HTTP/1.1 200 OK|Content-Length: -1",
        "HTTP/1.0 200 OK|Transfer-Encoding: chunked",
        "HTTP/1.1 304 Not Modified|Content-Length: 3|Content-Length: 4",
        // No body, and a length all the same.
        "HTTP/1.1 204 No Content|Content-Length: 3",
        "HTTP/1.1 204 No Content|Transfer-Encoding: chunked",
        "HTTP/1.1 100 Continue|Content-Length: 3",
        "HTTP/1.1 103 Early Hints|Transfer-Encoding: chunked",
    ] {
        assert_eq!(response(lines, false), Err(Bad::Grammar), "{lines}");
        assert_eq!(response(lines, true), Err(Bad::Grammar), "{lines}");
    }
}

/// What the stepper says of a stream that comes in pieces of the given lengths, the last as often as it takes.
fn read(stream: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, Option<usize>), Bad> {
    let mut chunks = Chunks::default();
    let (mut data, mut at) = (Vec::new(), 0);
    let mut pieces = pieces.iter().copied();
    let mut last = usize::MAX;
    while at < stream.len() {
        last = pieces.next().unwrap_or(last).max(1);
        let to = at.saturating_add(last).min(stream.len());
        while at < to {
            match chunks.step(&stream[at..to])? {
                Step::Data { skip, len } => {
                    assert!(len > 0);
                    data.extend_from_slice(&stream[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Step::More { skip } => {
                    assert_eq!(skip, to - at);
                    at = to;
                }
                Step::Last { skip } => return Ok((data, Some(at + skip))),
            }
        }
    }
    Ok((data, None))
}

#[test]
fn chunks_are_read_up_to_the_trailers() {
    for (stream, expected) in [
        ("0\r\n\r\n", ""),
        ("000\r\nX: y\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("0000000000000000000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3;\r\nabc\r\n0;\r\n\r\n", "abc"),
        ("3;a=b;c=\"d;e\";f\r\nabc\r\n0;x\r\n\r\n", "abc"),
        ("3; \t\u{e9}\r\n\r\n\n\r\n0\r\n\r\n", "\r\n\n"),
    ] {
        let trailers = stream.rfind("0\r\n").or(stream.rfind("0;")).map(|at| at + stream[at..].find('\n').unwrap() + 1);
        let (data, end) = read(stream.as_bytes(), &[]).unwrap();
        assert_eq!(data, expected.as_bytes(), "{stream:?}");
        assert!(end.is_some() && end <= trailers, "{stream:?}");
        assert!(stream.as_bytes()[end.unwrap()..].ends_with(b"\r\n"), "{stream:?}");
        let rest = &stream.as_bytes()[end.unwrap()..];
        assert_eq!(Scan::default().block(rest, Limits::default()), Ok(Some(rest.len())), "{stream:?}");
    }
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    for stream in [
        "\r\n",
        "\n",
        "x",
        " 3\r\nabc",
        "0x3\r\nabc",
        "0X3\r\nabc",
        "+3\r\nabc",
        "-3\r\nabc",
        "3 \r\nabc",
        "3\t\r\nabc",
        "3 ;a\r\nabc",
        ";a\r\nabc",
        "\r3\r\nabc",
        "3_0\r\nabc",
        "3,\r\nabc",
        "3\u{b}\r\nabc",
        "3\u{c}\r\nabc",
        "3\0\r\nabc",
        // Bare LF and bare CR.
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\rabc",
        "3\r\r\nabc",
        "3;a\nabc",
        "3;a\rb\r\nabc",
        "3;a\r\r\nabc",
        "3;\"\r\n\"\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc",
        "3;\u{7f}\r\nabc",
        "3;\u{1}\r\nabc",
        "0\n\r\n",
        "0\r\r\n",
        // Data longer and shorter than stated.
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "3\r\nabc\r\n;\r\n",
        // Too large.
        "4000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "10000000000000003\r\nabc",
    ] {
        assert_eq!(read(stream.as_bytes(), &[]), Err(Bad::Grammar), "{stream:?}");
        assert_eq!(read(stream.as_bytes(), &[1]), Err(Bad::Grammar), "{stream:?}");
    }
}

#[test]
fn the_largest_chunk_has_62_bits() {
    let mut chunks = Chunks::default();
    assert_eq!(chunks.step(b"3fffffffffffffff\r\nab"), Ok(Step::Data { skip: 18, len: 2 }));
    assert_eq!(chunks.left, (1 << 62) - 3);
}

/// A chunk of one byte with a line of `len` bytes, its LF not counted.
fn chunk(len: usize) -> String {
    format!("1;{}\r\na\r\n", "e".repeat(len - 3))
}

#[test]
fn a_chunk_line_may_be_as_long_wherever_it_stands() {
    for before in ["", "3\r\nabc\r\n", &chunk(256)] {
        let good = format!("{before}{}0\r\n\r\n", chunk(256));
        assert!(read(good.as_bytes(), &[]).is_ok_and(|(_, end)| end.is_some()), "{good}");
        let bad = format!("{before}{}0\r\n\r\n", chunk(257));
        assert_eq!(read(bad.as_bytes(), &[]), Err(Bad::TooLarge), "{bad}");
        let last = |len: usize| format!("{before}0;{}\r\n\r\n", "e".repeat(len - 3));
        assert!(read(last(256).as_bytes(), &[]).is_ok_and(|(_, end)| end.is_some()));
        assert_eq!(read(last(257).as_bytes(), &[]), Err(Bad::TooLarge));
        let zeros = format!("{before}{}1\r\n", "0".repeat(256));
        assert_eq!(read(zeros.as_bytes(), &[]), Err(Bad::TooLarge));
    }
}

#[test]
fn extensions_of_a_whole_body_are_bounded() {
    let full = chunk(253).repeat(16 * 1024 / 250);
    let rest = 16 * 1024 - 16 * 1024 / 250 * 250;
    assert!(read(format!("{full}{}0\r\n\r\n", chunk(rest + 3)).as_bytes(), &[]).is_ok());
    assert_eq!(read(format!("{full}{}0\r\n\r\n", chunk(rest + 4)).as_bytes(), &[]), Err(Bad::TooLarge));
}

#[test]
fn nothing_follows_the_last_chunk() {
    let mut chunks = Chunks::default();
    assert_eq!(chunks.step(b"0\r\n"), Ok(Step::Last { skip: 3 }));
    assert_eq!(chunks.step(b"\r\n"), Err(Bad::Grammar));
    assert_eq!(chunks.step(b"3"), Err(Bad::Grammar));
}

#[test]
fn a_chunked_body_is_read_the_same_split_anywhere() {
    let stream = b"3;x=\"y\"\r\nabc\r\n00A\r\n0123456789\r\n0;last\r\n\r\n";
    let whole = read(stream, &[]);
    assert!(whole.is_ok());
    for first in 0..stream.len() {
        for second in 1..stream.len() - first {
            assert_eq!(read(stream, &[first, second, usize::MAX]), whole, "split after {first} and {second}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_in_chunks_is_read_back(
        parts in vec((vec(any::<u8>(), 1..40), "[0]{0,4}", "(;[ -~\t]{0,20})?", any::<bool>()), 0..6),
        pieces in vec(1usize..20, 0..20),
    ) {
        let (mut stream, mut body) = (Vec::new(), Vec::new());
        for (data, zeros, extension, upper) in &parts {
            let digits = if *upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            stream.extend_from_slice(format!("{zeros}{digits}{extension}\r\n").as_bytes());
            stream.extend_from_slice(data);
            stream.extend_from_slice(b"\r\n");
            body.extend_from_slice(data);
        }
        stream.extend_from_slice(b"0\r\n");
        let end = stream.len();
        stream.extend_from_slice(b"\r\n");
        prop_assert_eq!(read(&stream, &pieces), Ok((body, Some(end))));
    }

    #[test]
    fn any_bytes_are_read_the_same_in_any_pieces(
        stream in "(([0-3]|00|2;a)(\r\n|\n|\r)?[ab\r]{0,3}(\r\n)?){0,6}",
        pieces in vec(1usize..5, 0..20),
    ) {
        prop_assert_eq!(read(stream.as_bytes(), &pieces), read(stream.as_bytes(), &[]));
    }

    #[test]
    fn every_number_below_two_to_the_63_is_a_length(length in any::<u64>()) {
        let expected = if length < 1 << 63 { Ok(Length::Exact(length)) } else { Err(Bad::Grammar) };
        prop_assert_eq!(request(&format!("HTTP/1.1|Content-Length: {length}")), expected);
    }
}
