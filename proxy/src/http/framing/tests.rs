use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::http::{Limits, Scan, parse};

fn request(lines: &str) -> Result<Length, Bad> {
    let mut head = Head::default();
    parse::request(format!("POST / {lines}\r\n\r\n").replace('|', "\r\n").as_bytes(), &mut head)?;
    of_request(&head)
}

fn response_head(lines: &str) -> Result<Head, Bad> {
    let mut head = Head::default();
    parse::response(format!("{lines}\r\n\r\n").replace('|', "\r\n").as_bytes(), &mut head)?;
    Ok(head)
}

fn response(lines: &str, to: To) -> Result<Length, Bad> {
    of_response(&response_head(lines)?, to)
}

/// The same as HTTP/2 brings it.
fn over_h2(status: u16, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    head.set_status(status, b"", Version::Http2).unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
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
fn a_length_that_is_refused_is_refused_by_a_rule_that_can_be_named() {
    for (lines, rule) in [
        ("HTTP/1.1|Content-Length: 3|Content-Length: 3", "Content-Length is stated twice"),
        (
            "HTTP/1.1|Content-Length: 3|Transfer-Encoding: chunked",
            "Content-Length and Transfer-Encoding are both stated",
        ),
        ("HTTP/1.1|Content-Length: 3, 3", "Content-Length is no decimal number below 2^63"),
        ("HTTP/1.1|Content-Length: 9223372036854775808", "Content-Length is no decimal number below 2^63"),
        ("HTTP/1.0|Transfer-Encoding: chunked", "HTTP/1.0 has no Transfer-Encoding"),
        ("HTTP/1.1|Transfer-Encoding: chunked|Transfer-Encoding: chunked", "Transfer-Encoding is stated twice"),
        ("HTTP/1.1|Transfer-Encoding: gzip, chunked", "Transfer-Encoding is not exactly chunked"),
    ] {
        let mut head = Head::default();
        parse::request(format!("POST / {lines}\r\n\r\n").replace('|', "\r\n").as_bytes(), &mut head).unwrap();
        assert_eq!((of_request(&head).is_err(), broken_rule(&head)), (true, Some(rule)), "{lines}");
    }
    for stated in STATED {
        let head = response_head(&format!("HTTP/1.1 200 X{stated}")).unwrap();
        assert_eq!(of_response(&head, To::Other).is_err(), broken_rule(&head).is_some(), "{stated}");
    }
    assert_eq!(
        broken_rule(&over_h2(200, &[("transfer-encoding", "chunked")])),
        Some("HTTP/2 has no Transfer-Encoding")
    );
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
        assert_eq!(response(&lines, To::Other), Err(Bad::Coding), "{value:?}");
    }
}

/// Whatever an answer may state of its length: nothing, one, chunks, and each of the ways to state it wrongly.
const STATED: [&str; 7] = [
    "",
    "|Content-Length: 0",
    "|Content-Length: 3",
    "|Transfer-Encoding: chunked",
    "|Content-Length: 3|Content-Length: 4",
    "|Content-Length: 3|Transfer-Encoding: chunked",
    "|Transfer-Encoding: gzip",
];

#[test]
fn a_response_ends_as_its_status_and_its_request_say() {
    use Bad::{Coding, Grammar};
    const NONE: Result<Length, Bad> = Ok(Length::NONE);
    let as_stated = [
        Ok(Length::UntilClose),
        NONE,
        Ok(Length::Exact(3)),
        Ok(Length::Chunked),
        Err(Grammar),
        Err(Grammar),
        Err(Coding),
    ];
    let at_its_head = [NONE; 7];
    // What a GET would have had may be said, and has to be said well.
    let without = [NONE, NONE, NONE, NONE, Err(Grammar), Err(Grammar), Err(Coding)];
    for (status, to, expected) in [
        (100, To::Other, at_its_head),
        (103, To::Other, at_its_head),
        (103, To::Head, at_its_head),
        (204, To::Other, at_its_head),
        (204, To::Head, at_its_head),
        (200, To::Connect, at_its_head),
        (299, To::Connect, at_its_head),
        (304, To::Other, without),
        (304, To::Head, without),
        (200, To::Head, without),
        (404, To::Head, without),
        (200, To::Other, as_stated),
        (205, To::Other, as_stated),
        (206, To::Other, as_stated),
        (404, To::Connect, as_stated),
        (500, To::Other, as_stated),
    ] {
        for (stated, expected) in STATED.into_iter().zip(expected) {
            assert_eq!(response(&format!("HTTP/1.1 {status} X{stated}"), to), expected, "{status}{stated} to {to:?}");
        }
        assert_eq!(ends_at_head(status, to), expected[2] == NONE, "{status} to {to:?}");
    }
    assert_eq!(response("HTTP/1.0 200 OK", To::Other), Ok(Length::UntilClose));
    assert_eq!(response("HTTP/1.0 200 OK|Transfer-Encoding: chunked", To::Other), Err(Grammar));
    assert_eq!(response("HTTP/1.1 200 OK|Content-Length: 3, 3", To::Other), Err(Grammar));
    assert_eq!(response("HTTP/1.1 200 OK|Content-Length: -1", To::Other), Err(Grammar));
}

#[test]
fn a_response_over_http2_ends_by_the_same_table_and_never_with_its_connection() {
    let three = [("content-length", "3")];
    for (status, to, fields, expected) in [
        (200, To::Other, &[][..], Ok(Length::Chunked)),
        (200, To::Other, &three, Ok(Length::Exact(3))),
        (205, To::Other, &[], Ok(Length::Chunked)),
        (200, To::Head, &three, Ok(Length::NONE)),
        (204, To::Other, &[], Ok(Length::NONE)),
        (204, To::Other, &three, Ok(Length::NONE)),
        (304, To::Other, &three, Ok(Length::NONE)),
        (200, To::Other, &[("transfer-encoding", "chunked")], Err(Bad::Grammar)),
        (200, To::Other, &[three[0], three[0]], Err(Bad::Grammar)),
    ] {
        assert_eq!(of_response(&over_h2(status, fields), to), expected, "{status} to {to:?} with {fields:?}");
    }
}

#[test]
fn a_response_that_states_a_length_where_none_may_be_belies_its_end() {
    for (status, to) in [(100, To::Other), (103, To::Other), (204, To::Other), (204, To::Head), (200, To::Connect)] {
        for (stated, belies) in STATED.into_iter().zip([false, false, true, true, true, true, true]) {
            let head = response_head(&format!("HTTP/1.1 {status} X{stated}")).unwrap();
            assert_eq!(belies_its_end(&head, to), belies, "{status}{stated} to {to:?}");
        }
    }
    for (status, to) in [(200, To::Other), (200, To::Head), (205, To::Other), (304, To::Other), (404, To::Connect)] {
        for stated in STATED {
            let head = response_head(&format!("HTTP/1.1 {status} X{stated}")).unwrap();
            assert!(!belies_its_end(&head, to), "{status}{stated} to {to:?}");
        }
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
        // A quotation that would go on in the next line, to whoever lets it.
        "3;a=\"\r\nabc\r\n0\r\n\r\n",
        "3;a=\"b\r\nabc\r\n0\r\n\r\n",
        "3;a=\"b\\\"\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\\\r\n\"\r\nabc\r\n0\r\n\r\n",
        "3;a=\"b\";\"\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0;\"\r\n\r\n",
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
    let stream = b"3;x=\"y;\\\"\"\r\nabc\r\n00A\r\n0123456789\r\n0;last\r\n\r\n";
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
        parts in vec((vec(any::<u8>(), 1..40), "[0]{0,4}", r#"(;([ !#-~\t]|"([ !#-\[\]-~]|\\[ -~]){0,4}"){0,8})?"#, any::<bool>()), 0..6),
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
