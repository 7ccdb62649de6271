//! Where a body ends: codings, lengths, and what resembles either.

use super::corpus::{Case, HIDDEN, Request, post};

/// A body that a reader of chunks takes for none, with a request behind it.
fn two_faced() -> String {
    format!("0\r\n\r\n{HIDDEN}")
}

const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

/// Ways to say `chunked` that have one reading.
const PLAIN: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "tRANSFER-eNCODING: cHUNKED",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding:\t chunked",
    "Transfer-Encoding: chunked \t",
];

/// Ways to say something that some take for `chunked` and some do not.
const OBFUSCATED: &[&str] = &[
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\u{b}: chunked",
    "Transfer-Encoding\u{a0}: chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-Encoding\r: chunked",
    "Transfer-Encoding\n: chunked",
    "Transfer-Encoding;: chunked",
    "Transfer-Encoding= chunked",
    "Transfer-Encoding chunked",
    "Transfer-Encoding:: chunked",
    "Transfer Encoding: chunked",
    "Transfer\0-Encoding: chunked",
    "Transfer\u{ad}-Encoding: chunked",
    "\"Transfer-Encoding\": chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "\u{b}Transfer-Encoding: chunked",
    "\u{a0}Transfer-Encoding: chunked",
    "\0Transfer-Encoding: chunked",
    "\rTransfer-Encoding: chunked",
    "\nTransfer-Encoding: chunked",
    "X: a\r\n Transfer-Encoding: chunked",
    "X: a\rTransfer-Encoding: chunked",
    "X: a\nTransfer-Encoding: chunked",
    "X: a\r\r\nTransfer-Encoding: chunked",
    "X: a\0\r\nTransfer-Encoding: chunked",
    "X:\r\n\r\u{b}\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding:\n chunked",
    "Transfer-Encoding: chunked\r\n ",
    "Transfer-Encoding: chu\r\n nked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding:\u{c}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\u{c}",
    "Transfer-Encoding: chunked\u{85}",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: chunked\r",
    "Transfer-Encoding: chunked\nX: a",
    "Transfer-Encoding: chun\u{e2}\u{84}\u{aa}ed",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
];

/// `Transfer-Encoding` in every dress, with a length beside it and without.
pub fn codings() -> Vec<Case> {
    let (body, mut cases) = (two_faced(), Vec::new());
    let length = body.len();
    for line in PLAIN {
        cases.push(Case::passed(line, post(line, CHUNKS), Request::of("POST", "hello")));
        cases.push(Case::passed(&format!("{line}, empty"), post(line, "0\r\n\r\n"), Request::of("POST", "")));
    }
    for line in PLAIN.iter().chain(OBFUSCATED) {
        for both in [format!("Content-Length: {length}\r\n{line}"), format!("{line}\r\nContent-Length: {length}")] {
            cases.push(Case::refused(&format!("coding and length: {both}"), post(&both, &body)));
        }
        // A reader of lengths sees the first chunk's line alone.
        let short = format!("Content-Length: 4\r\n{line}");
        let chunk = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
        cases.push(Case::refused(&format!("a length within a chunk: {short}"), post(&short, &chunk)));
    }
    for line in OBFUSCATED {
        cases.push(Case::refused(&format!("coding: {line}"), post(line, CHUNKS)));
    }
    cases
}

/// `Content-Length` in every dress.
pub fn lengths() -> Vec<Case> {
    let body = two_faced();
    let n = body.len();
    let mut cases = Vec::new();
    for line in [
        format!("Content-Length: {n}"),
        format!("content-LENGTH:{n}"),
        format!("Content-Length:\t{n} \t"),
        format!("Content-Length: 000{n}"),
    ] {
        cases.push(Case::passed(&line, post(&line, &body), Request::of("POST", &body)));
    }
    cases.push(Case::passed("no length", post("X: a", ""), Request::of("POST", "")));
    for (what, value) in [
        ("plus", format!("+{n}")),
        ("minus", format!("-{n}")),
        ("minus nothing", "-0".into()),
        ("hexadecimal", format!("0x{n:x}")),
        ("octal", format!("0o{n:o}")),
        ("list of the same", format!("{n}, {n}")),
        ("list without blanks", format!("{n},{n}")),
        ("list of two", format!("0, {n}")),
        ("comma behind", format!("{n},")),
        ("comma before", format!(",{n}")),
        ("semicolon", format!("{n};")),
        ("fraction", format!("{n}.0")),
        ("exponent", format!("{n}e0")),
        ("underscore", "4_3".into()),
        ("blank within", "4 3".into()),
        ("quoted", format!("\"{n}\"")),
        ("vertical tab before", format!("\u{b}{n}")),
        ("vertical tab behind", format!("{n}\u{b}")),
        ("form feed before", format!("\u{c}{n}")),
        ("no-break space before", format!("\u{a0}{n}")),
        ("next line behind", format!("{n}\u{85}")),
        ("NUL behind", format!("{n}\0")),
        ("CR behind", format!("{n}\r")),
        ("letters behind", format!("{n}abc")),
        ("digits of another script", "\u{d9}\u{a4}\u{d9}\u{a3}".into()),
        ("none", String::new()),
        ("2^63", (1_u128 << 63).to_string()),
        ("2^64 more", ((1_u128 << 64) + n as u128).to_string()),
        ("2^128", "340282366920938463463374607431768211456".into()),
        ("folded", format!("\r\n {n}")),
        ("folded behind", format!("{n}\r\n ")),
        ("folded further", "4\r\n 3".into()),
        ("two of the same", format!("{n}\r\nContent-Length: {n}")),
        ("two of the same in other letters", format!("{n}\r\ncontent-length: {n}")),
        ("two that differ", format!("{n}\r\nContent-Length: 0")),
        ("two that differ the other way", format!("0\r\nContent-Length: {n}")),
        ("one and an empty one", format!("{n}\r\nContent-Length:")),
        ("one and one with a blank before its colon", format!("{n}\r\nContent-Length : 0")),
        ("one and a folded one", format!("{n}\r\nX: a\r\n Content-Length: 0")),
    ] {
        cases.push(Case::refused(&format!("length, {what}"), post(&format!("Content-Length: {value}"), &body)));
    }
    for (what, line) in [
        ("blank before the colon", format!("Content-Length : {n}")),
        ("blank before the name", format!(" Content-Length: {n}")),
        ("after a bare LF", format!("X: a\nContent-Length: {n}")),
        ("after a bare CR", format!("X: a\rContent-Length: {n}")),
        ("NUL in the name", format!("Content\0-Length: {n}")),
        ("no colon", format!("Content-Length {n}")),
    ] {
        cases.push(Case::refused(&format!("length, {what}"), post(&line, &body)));
    }
    cases
}

/// Fields that say nothing of where a body ends, but look as if they might.
pub fn look_alikes() -> Vec<Case> {
    let body = two_faced();
    let look_alike = |line: &&str| {
        let fields = format!("{line}\r\nContent-Length: {}", body.len());
        Case::passed(&format!("beside a length: {line}"), post(&fields, &body), Request::of("POST", &body))
    };
    let chunked = |line: &&str| {
        let fields = format!("Transfer-Encoding: chunked\r\n{line}");
        Case::passed(&format!("beside a coding: {line}"), post(&fields, CHUNKS), Request::of("POST", "hello"))
    };
    let both = [
        "Transfer_Encoding: chunked",
        "Content_Length: 0",
        "TRANSFER_ENCODING: chunked",
        "HTTP_TRANSFER_ENCODING: chunked",
        "HTTP_CONTENT_LENGTH: 0",
        "Http-Content-Length: 0",
        "Transfer-Encoding-: chunked",
        "-Transfer-Encoding: chunked",
        "Transfer--Encoding: chunked",
        "Transfer.Encoding: chunked",
        "TransferEncoding: chunked",
        "X-Transfer-Encoding: chunked",
        "X-Content-Length: 0",
        "Content-Lengt: 0",
        "Content-Length-: 0",
        "Content.Length: 0",
        "Trailer: Transfer-Encoding, Content-Length",
        "Connection: Transfer-Encoding",
        "Connection: Content-Length",
        "Connection: Host, Content-Length, Transfer-Encoding, Connection",
        "Connection: keep-alive, x\r\nConnection: content-length",
        "Keep-Alive: timeout=0, max=1",
        "Proxy-Connection: close",
        "TE: chunked",
        "TE: trailers, chunked\r\nConnection: TE",
        "Content-Encoding: chunked",
        "X: Transfer-Encoding: chunked",
        "X: a\tTransfer-Encoding: chunked",
        "X: \u{c4}\u{8d}\u{c4}\u{8a}Transfer-Encoding: chunked",
        "X: \u{e5}\u{98}\u{8d}\u{e5}\u{98}\u{8a}Transfer-Encoding: chunked",
        "X: a\u{85}Transfer-Encoding: chunked",
        "X: a\u{a0}\u{ff}",
        "X:",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Expect: 100-continue",
        "Expect: 100-Continue",
        "X-HTTP-Method-Override: GET",
        "X-Original-URL: /TAG/hidden",
        "X-Rewrite-URL: /TAG/hidden",
        "Max-Forwards: 0",
    ];
    let mut cases: Vec<_> = both.iter().map(look_alike).chain(both.iter().map(chunked)).collect();
    for line in ["Expect: 100-continue, x", "Expect: 100-continue\r\nExpect: 100-continue", "Expect: 200-ok", "Expect:"]
    {
        let fields = format!("{line}\r\nContent-Length: {}", body.len());
        cases.push(Case::refused(line, post(&fields, &body)));
    }
    cases
}

/// Methods of which some say that they have no body, with one.
pub fn methods() -> Vec<Case> {
    let (body, mut cases) = (two_faced(), Vec::new());
    for method in [
        "GET",
        "HEAD",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PUT",
        "PATCH",
        "PROPFIND",
        "M-SEARCH",
        "PURGE",
        "get",
        "X",
        "!#$%&'*+-.^_`|~0",
    ] {
        let head = |fields: &str| format!("{method} /TAG/case HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let lengthy = head(&format!("Content-Length: {}\r\n", body.len())) + &body;
        cases.push(Case::passed(&format!("{method} with a length"), lengthy, Request::of(method, &body)));
        let chunked = head("Transfer-Encoding: chunked\r\n") + CHUNKS;
        cases.push(Case::passed(&format!("{method} in chunks"), chunked, Request::of(method, "hello")));
        let none = head("Content-Length: 0\r\n");
        cases.push(Case::passed(&format!("{method} with a length of none"), none, Request::of(method, "")));
        cases.push(Case::passed(&format!("{method} without a body"), head(""), Request::of(method, "")));
    }
    for target in ["a:80", "/TAG/case", "http://a/TAG/case"] {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: a:80\r\n\r\n");
        cases.push(Case::refused(&format!("CONNECT {target}"), connect));
    }
    cases
}
