use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::http::head::trim_blanks;

const LIMITS: Limits = Limits { bytes: 32 * 1024, lines: 100 };

/// Finds and reads a head that is there as a whole.
fn read(bytes: &[u8], parse: fn(&[u8], &mut Head) -> Result<(), Bad>) -> Result<Head, Bad> {
    let mut head = Head::default();
    match Scan::default().end(bytes, LIMITS)? {
        Some(end) if end == bytes.len() => parse(bytes, &mut head).map(|()| head),
        other => panic!("{:?} ends at {other:?}", bytes.escape_ascii().to_string()),
    }
}

/// What the scan and the parser make of bytes, whatever they are, which is also what is made of them at once.
fn accepts(bytes: &[u8], parse: fn(&[u8], &mut Head) -> Result<(), Bad>) -> bool {
    let accepted = match Scan::default().end(bytes, LIMITS) {
        Ok(Some(end)) => parse(&bytes[..end], &mut Head::default()).is_ok(),
        _ => false,
    };
    let as_request = Scan::default().request(bytes, LIMITS, &mut Head::default());
    let as_response = Scan::default().response(bytes, LIMITS, &mut Head::default());
    let at_once = matches!(as_request, Ok(Some(_))) || matches!(as_response, Ok(Some(_)));
    assert_eq!(at_once, accepted, "{}", bytes.escape_ascii());
    accepted
}

#[test]
fn a_request_is_read_as_it_came() {
    let head = read(b"PATCH /a?b=c%20 HTTP/1.0\r\nHost: x:80\r\nx-ODD:\t a  b \t\r\nEmpty:\r\n\r\n", request).unwrap();
    assert_eq!((head.method(), head.target(), head.version()), (&b"PATCH"[..], &b"/a?b=c%20"[..], Version::Http10));
    let fields: Vec<_> = head.fields().collect();
    let expected: [(Name, &[u8], &[u8]); 3] =
        [(Name::Host, b"Host", b"x:80"), (Name::Other, b"x-ODD", b"a  b"), (Name::Other, b"Empty", b"")];
    assert_eq!(fields, expected);
}

#[test]
fn a_response_is_read_as_it_came() {
    let head = read(b"HTTP/1.1 404 Not  Found\r\nDate: x\r\n\r\n", response).unwrap();
    assert_eq!((head.status(), head.reason(), head.version()), (404, &b"Not  Found"[..], Version::Http11));
    assert_eq!(read(b"HTTP/1.1 200\r\n\r\n", response).unwrap().reason(), b"");
    assert_eq!(read(b"HTTP/1.1 200 \r\n\r\n", response).unwrap().reason(), b"");
    assert_eq!(read(b"HTTP/1.0 999 \xfc\r\n\r\n", response).unwrap().reason(), b"", "what is not ASCII is dropped");
}

#[test]
fn every_form_of_target_is_read() {
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/~a/%zz?x://"),
        ("GET", "//a"),
        ("GET", "/;=[]{}|^`\"<>\\"),
        ("GET", "http://a"),
        ("GET", "HTTPS://a:1/b?c"),
        ("GET", "x+y-z.1://a?b"),
        ("OPTIONS", "*"),
        ("OPTIONS", "/"),
        ("CONNECT", "a:443"),
        ("CONNECT", "[::1]:443"),
    ] {
        let head = read(format!("{method} {target} HTTP/1.1\r\n\r\n").as_bytes(), request).unwrap();
        assert_eq!((head.method(), head.target()), (method.as_bytes(), target.as_bytes()));
    }
}

#[test]
fn a_target_of_no_form_is_refused() {
    for line in [
        "GET *",
        "GET a",
        "GET a/b",
        "GET ?a",
        "GET a:443",
        "OPTIONS **",
        "OPTIONS *a",
        "options *",
        "GET http:/a",
        "GET http:a",
        "GET http:",
        "GET http://",
        "GET http:///a",
        "GET http://?a",
        "GET ://a",
        "GET 1://a",
        "GET h_p://a",
        "GET a/b://c",
        "GET .//a",
        "GET \\\\a",
        "GET @a/b",
    ] {
        assert!(!accepts(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), request), "{line:?}");
    }
}

#[test]
fn a_request_line_that_can_be_read_in_two_ways_is_refused() {
    for line in [
        "GET / HTTP/1.1 ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET /\tHTTP/1.1",
        "GET /\u{b}HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1",
        "GET / HTTPS/1.1",
        "GET /",
        "GET",
        "GET  HTTP/1.1",
        "/ HTTP/1.1",
        "G:ET / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /# HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /a\rb HTTP/1.1",
        "GET\r/ HTTP/1.1",
        "GET / HTTP/1.1\r",
        "\rGET / HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        assert!(!accepts(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), request), "{line:?}");
    }
}

#[test]
fn a_status_line_that_can_be_read_in_two_ways_is_refused() {
    for line in [
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 OK",
        "HTTP/1.1",
        "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 OK\r",
        "HTTP/1.1 200 O\u{7f}K",
        "HTTP/1.1 200 O\u{b}K",
        "ICY 200 OK",
        "200 OK",
    ] {
        assert!(!accepts(format!("{line}\r\nServer: a\r\n\r\n").as_bytes(), response), "{line:?}");
    }
}

#[test]
fn a_field_line_that_can_be_read_in_two_ways_is_refused() {
    for line in [
        // A name is a token right up to its colon.
        "A : b",
        "A\t: b",
        " A: b",
        "\tA: b",
        ": b",
        "A",
        "A b: c",
        "A\0: b",
        "A\u{b}: b",
        "A\u{e9}: b",
        "\u{feff}A: b",
        "A(: b",
        "A,B: c",
        "A;: b",
        "A\"B: c",
        "A/B: c",
        "A[: b",
        "A{: b",
        "A@: b",
        "A=: b",
        "A\\: b",
        "A\u{7f}: b",
        // A value has no control characters, and goes on on no other line.
        "A: b\0c",
        "A: \0",
        "A: b\u{1}",
        "A: \u{b}b",
        "A: b\u{b}",
        "A: \u{c}b",
        "A: b\u{c}",
        "A: b\u{7f}",
        "A: b\u{1b}c",
        "A: b\rc",
        "A: b\r\rc",
        "A: \r",
        "A:\rb",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A:\r\n b",
        // Every line ends with CRLF, and there is one empty one.
        "A: b\nC: d",
        "A: b\n\nGET / HTTP/1.1",
        "A: b\n\r\nGET / HTTP/1.1",
        "A: b\r\r",
        "A: b\n",
    ] {
        let field = format!("{line}\r\n");
        assert!(!accepts(format!("GET / HTTP/1.1\r\n{field}\r\n").as_bytes(), request), "{line:?}");
        assert!(!accepts(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}X: y\r\n\r\n").as_bytes(), request), "{line:?}");
        assert!(!accepts(format!("HTTP/1.1 200 OK\r\nDate: a\r\n{field}\r\n").as_bytes(), response), "{line:?}");
        let found = Scan::default().block(format!("{field}\r\n").as_bytes(), LIMITS);
        let kept = found.is_ok_and(|end| {
            end.is_some_and(|end| trailers(&format!("{field}\r\n").as_bytes()[..end], &mut Head::default()).is_ok())
        });
        assert!(!kept, "{line:?}");
    }
}

#[test]
fn nothing_may_stand_before_the_start_line() {
    for before in ["\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", "\0"] {
        assert!(!accepts(format!("{before}GET / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), request), "{before:?}");
        assert!(!accepts(format!("{before}HTTP/1.1 200 OK\r\n\r\n").as_bytes(), response), "{before:?}");
    }
    assert_eq!(Scan::default().end(b"\r", LIMITS), Err(Bad::Grammar));
}

#[test]
fn bytes_outside_ascii_pass_in_values_only() {
    let head = read(b"GET / HTTP/1.1\r\nA: \xff\x80\xa0\r\n\r\n", request).unwrap();
    assert_eq!(head.named(b"a"), Some(&b"\xff\x80\xa0"[..]));
    let bad = Scan::default().end(b"GET /\xff HTTP/1.1\r\n\r\n", LIMITS).unwrap();
    assert_eq!(request(b"GET /\xff HTTP/1.1\r\n\r\n", &mut Head::default()), Err(Bad::Grammar), "{bad:?}");
}

#[test]
fn trailers_are_a_block_of_fields_or_nothing() {
    let block = b"Grpc-Status: 0\r\nx: \r\n\r\n";
    assert_eq!(Scan::default().block(block, LIMITS), Ok(Some(block.len())));
    let mut head = Head::default();
    trailers(block, &mut head).unwrap();
    assert_eq!(head.first(Name::GrpcStatus), Some(&b"0"[..]));
    assert_eq!(Scan::default().block(b"\r\nGET /", LIMITS), Ok(Some(2)));
    trailers(b"\r\n", &mut head).unwrap();
    assert!(head.is_empty());
    assert_eq!(Scan::default().block(b"\n", LIMITS), Err(Bad::Grammar));
    assert_eq!(Scan::default().block(b"\r", LIMITS), Ok(None));
}

#[test]
fn trailers_that_would_frame_or_route_the_message_anew_are_refused() {
    for name in ["Content-Length", "transfer-encoding", "HOST"] {
        let block = format!("A: b\r\n{name}: 3\r\n\r\n");
        assert_eq!(trailers(block.as_bytes(), &mut Head::default()), Err(Bad::Grammar), "{name}");
    }
}

#[test]
fn a_head_has_at_most_as_many_bytes_as_allowed() {
    let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest of the stream";
    let whole = bytes.len() - b"rest of the stream".len();
    for limit in 0..bytes.len() + 3 {
        let limits = Limits { bytes: limit, lines: 100 };
        let expected = if limit < whole { Err(Bad::TooLarge) } else { Ok(Some(whole)) };
        assert_eq!(Scan::default().end(bytes, limits), expected, "{limit}");
        // Told as soon as it is certain: once as many bytes are there, and no later.
        for part in 0..whole {
            let expected = if part < limit { Ok(None) } else { Err(Bad::TooLarge) };
            assert_eq!(Scan::default().end(&bytes[..part], limits), expected, "{part} of {limit}");
        }
    }
}

#[test]
fn no_limit_reaches_beyond_what_a_head_can_hold() {
    let limits = Limits { bytes: usize::MAX, lines: usize::MAX };
    let mut bytes = b"GET / HTTP/1.1\r\nA: ".to_vec();
    bytes.resize(MAX_HEAD - 4, b'x');
    bytes.extend_from_slice(b"\r\n\r\n");
    assert_eq!(Scan::default().end(&bytes, limits), Ok(Some(MAX_HEAD)));
    assert!(request(&bytes, &mut Head::default()).is_ok());
    bytes.insert(20, b'x');
    assert_eq!(Scan::default().end(&bytes, limits), Err(Bad::TooLarge));
    assert_eq!(request(&bytes, &mut Head::default()), Err(Bad::TooLarge));
}

#[test]
fn a_head_has_at_most_as_many_lines_as_allowed() {
    for lines in [0, 1, 5, USUAL_LINES, USUAL_LINES + 1, MAX_LINES] {
        let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(fields));
        let limits = Limits { bytes: MAX_HEAD, lines };
        let good = head(lines);
        assert_eq!(Scan::default().end(good.as_bytes(), limits), Ok(Some(good.len())));
        let mut parsed = Head::default();
        request(good.as_bytes(), &mut parsed).unwrap();
        assert_eq!(parsed.len(), lines);
        assert_eq!(Scan::default().request(good.as_bytes(), limits, &mut parsed), Ok(Some(good.len())));
        assert_eq!(parsed.len(), lines);
        let bad = head(lines + 1);
        assert_eq!(Scan::default().end(bad.as_bytes(), limits), Err(Bad::TooManyLines));
        assert_eq!(Scan::default().request(bad.as_bytes(), limits, &mut parsed), Err(Bad::TooManyLines));
        // Told as soon as that line is there, not when the head is.
        assert_eq!(Scan::default().end(&bad.as_bytes()[..bad.len() - 2], limits), Err(Bad::TooManyLines));
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_LINES + 1));
    assert_eq!(response(many.as_bytes(), &mut Head::default()), Err(Bad::TooManyLines));
    let many = format!("{}\r\n", "a: b\r\n".repeat(MAX_LINES + 1));
    assert_eq!(trailers(many.as_bytes(), &mut Head::default()), Err(Bad::TooManyLines));
}

#[test]
fn only_a_whole_head_is_read() {
    let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
    for end in 0..bytes.len() {
        assert_eq!(request(&bytes[..end], &mut Head::default()), Err(Bad::Grammar), "{end}");
    }
    assert_eq!(request(b"GET / HTTP/1.1\r\n\r\nG", &mut Head::default()), Err(Bad::Grammar));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\nH", &mut Head::default()), Err(Bad::Grammar));
    assert_eq!(trailers(b"A: b\r\n\r\nC", &mut Head::default()), Err(Bad::Grammar));
}

/// A head as the RFCs have it, read without any parser, and without any care for what it costs. A list of what stands in the
/// start line, two and two, and of the fields.
fn read_by_the_letter(bytes: &[u8], is_request: bool) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let is_token = |text: &[u8]| {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !text.is_empty() && text.iter().all(is_part)
    };
    let is_text = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    let is_version = |text: &[u8]| matches!(text, b"HTTP/1.0" | b"HTTP/1.1");

    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    let [start, fields @ .., b""] = &lines[..] else { return None };
    if !rest.is_empty() {
        return None;
    }

    let mut parts = start.splitn(3, |byte| *byte == b' ');
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
    let mut read = if is_request {
        let is_target = second.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
        if !is_token(first) || !is_target || !has_form(first, second) || !is_version(third?) {
            return None;
        }
        vec![(first.to_vec(), second.to_vec()), (third?[7..].to_vec(), vec![])]
    } else {
        let is_code = matches!(second, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
        let reason = third.unwrap_or_default();
        if !is_version(first) || !is_code || !is_text(reason) {
            return None;
        }
        let reason = if reason.is_ascii() { reason } else { b"" };
        vec![(second.to_vec(), reason.to_vec()), (first[7..].to_vec(), vec![])]
    };
    for line in fields {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) || !is_text(value) {
            return None;
        }
        read.push((name.to_vec(), trim_blanks(value).to_vec()));
    }
    Some(read)
}

/// The same by ourselves.
fn read_by_us(bytes: &[u8], is_request: bool) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut head = Head::default();
    if is_request { request(bytes, &mut head) } else { response(bytes, &mut head) }.ok()?;
    let start = match is_request {
        true => (head.method().to_vec(), head.target().to_vec()),
        false => (head.status().to_string().into(), head.reason().to_vec()),
    };
    let version = if head.version() == Version::Http10 { b'0' } else { b'1' };
    let fields = head.fields().map(|(_, name, value)| (name.to_vec(), value.to_vec()));
    Some([start, (vec![version], vec![])].into_iter().chain(fields).collect())
}

/// What a scan says of a stream that comes in pieces that end at the given places.
fn in_pieces(bytes: &[u8], ends: impl IntoIterator<Item = usize>, limits: Limits) -> Result<Option<usize>, Bad> {
    let mut scan = Scan::default();
    for end in ends {
        match scan.end(&bytes[..end.min(bytes.len())], limits) {
            Ok(None) => {}
            done => return done,
        }
    }
    scan.end(bytes, limits)
}

#[test]
fn a_heads_end_is_found_the_same_split_anywhere() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\n\r\nPOST / HTTP/1.1\r\n\r\n";
    let whole = in_pieces(bytes, [], LIMITS);
    assert_eq!(whole, Ok(Some(31)));
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            assert_eq!(in_pieces(bytes, [first, second], LIMITS), whole, "split at {first} and {second}");
        }
    }
    assert_eq!(in_pieces(bytes, 0..bytes.len(), LIMITS), whole);
}

proptest! {
    #[test]
    fn a_head_is_accepted_if_it_is_one_to_the_letter_and_read_as_the_letter_has_it(
        start in "(GET|OPTIONS|CONNECT|g~T) (/|/a\\?b|\\*|http://a/|a:1) HTTP/1\\.[012]|HTTP/1\\.[01] [0-9]{3}( |)(OK|\u{fc}|)",
        fields in "(\r\n(Host|x-a|A|[!-~]{1,3}):[ \t]{0,2}([ -~\t]{0,20}|[\u{80}-\u{ff}]{0,4})){0,6}",
        changes in vec((0usize..80, prop_oneof![any::<u8>(), select(&b"\r\n \t:"[..])]), 0..3),
    ) {
        let is_request = !start.starts_with("HTTP");
        let mut bytes = format!("{start}{fields}\r\n\r\n").into_bytes();
        for at in 0..=changes.len() {
            prop_assert_eq!(read_by_us(&bytes, is_request), read_by_the_letter(&bytes, is_request), "{}", bytes.escape_ascii());
            if let Some((place, byte)) = changes.get(at) {
                let place = place % bytes.len();
                bytes[place] = *byte;
            }
        }
    }

    #[test]
    fn a_head_is_read_at_once_as_it_is_after_its_end_was_looked_for(
        bytes in "(GET / HTTP/1.1\r\n|HTTP/1.1 200 OK\r\n|A: b\r\n|A: b|\r\n|\r\n|\n|\r|x){0,9}",
        mut ends in vec(0usize..120, 0..6),
        limit in 1usize..80,
        lines in 0usize..6,
    ) {
        ends.sort_unstable();
        let limits = Limits { bytes: limit, lines };
        let bytes = bytes.as_bytes();
        let mut head = Head::default();
        let (mut at_once, mut first_its_end) = (Scan::default(), Scan::default());
        for end in ends.into_iter().chain([bytes.len()]) {
            let part = &bytes[..end.min(bytes.len())];
            let read = at_once.request(part, limits, &mut head).map(|end| end.map(|end| (end, head.len())));
            let mut other = Head::default();
            let expected = first_its_end.end(part, limits).and_then(|end| match end {
                Some(end) => request(&part[..end], &mut other).map(|()| Some((end, other.len()))),
                None => Ok(None),
            });
            prop_assert_eq!(read, expected);
            if read.is_err() {
                prop_assert!(head.method().is_empty() && head.is_empty());
            }
            if read != Ok(None) {
                break;
            }
        }
    }

    #[test]
    fn any_bytes_are_scanned_the_same_in_any_pieces(
        bytes in "(GET / HTTP/1.1|A: b|\r\n|\r\n|\n|\r|x){0,12}",
        mut ends in vec(0usize..120, 0..12),
        limit in 1usize..80,
        lines in 0usize..6,
    ) {
        ends.sort_unstable();
        let limits = Limits { bytes: limit, lines };
        let bytes = bytes.as_bytes();
        prop_assert_eq!(in_pieces(bytes, ends, limits), in_pieces(bytes, [], limits));
    }

    #[test]
    fn what_is_written_is_read_back(
        method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}",
        target in "(/|http://a)[!-~&&[^#]]{0,30}",
        status in 100u16..1000,
        reason in "[ -~\t]{0,20}",
        fields in vec(("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", "([!-~][ -~\t]{0,20}[!-~]|[!-~])?"), 0..8),
    ) {
        use crate::http::write;
        let mut out = Vec::new();
        write::request_line(&mut out, method.as_bytes(), target.as_bytes());
        let line = out.len();
        for (name, value) in &fields {
            write::field(&mut out, name.as_bytes(), value.as_bytes());
        }
        write::end(&mut out);
        let head = read(&out, request).unwrap();
        prop_assert_eq!((head.method(), head.target()), (method.as_bytes(), target.as_bytes()));
        let same = |head: &Head| {
            let lines = fields.iter().map(|(name, value)| (Name::of(name.as_bytes()), name.as_bytes(), value.as_bytes()));
            head.fields().eq(lines)
        };
        prop_assert!(same(&head));
        let mut answer = Vec::new();
        write::status_line(&mut answer, status, reason.as_bytes());
        answer.extend_from_slice(&out[line..]);
        let head = read(&answer, response).unwrap();
        prop_assert_eq!((head.status(), head.reason()), (status, reason.as_bytes()));
        prop_assert!(same(&head));
    }
}
