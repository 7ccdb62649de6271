//! Chunks: what stands between the data.

use super::corpus::{Case, HIDDEN, Request, post};

pub fn all() -> Vec<Case> {
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let mut cases = Vec::new();
    let long = format!("{}5", "0".repeat(200));
    let hidden = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    cases.push(Case::passed("a chunk that is a request", chunked(&hidden), Request::of("POST", HIDDEN)));
    for (what, line) in [
        ("one zero before", "05"),
        ("many zeros before", long.as_str()),
        ("an extension", "5;a"),
        ("an extension with a value", "5;a=b"),
        ("an extension without a name", "5;"),
        ("extensions", "5;a=b;c=d"),
        ("a quoted extension", "5;a=\"b;c\""),
        ("a quoted pair", "5;a=\"\\\"\""),
        ("two quotations", "5;a=\"b\";c=\";\""),
        ("blanks in an extension", "5; a = b "),
        ("a tab in an extension", "5;\ta"),
        ("an extension that is a number", "5;10"),
        ("an extension beyond ASCII", "5;\u{85}\u{a0}\u{ff}"),
        ("an extension that says a coding", "5;Transfer-Encoding: chunked"),
    ] {
        let body = format!("{line}\r\nhello\r\n0\r\n\r\n");
        cases.push(Case::passed(&format!("size, {what}"), chunked(&body), Request::of("POST", "hello")));
    }
    let hello = || Request::of("POST", "hello");
    let ends = [
        ("zeros", "00000\r\n\r\n"),
        ("an extension", "0;a=b\r\n\r\n"),
        ("a trailer", "0\r\nX: a\r\n\r\n"),
        ("trailers that look like a request", "0\r\nGET: /TAG/hidden HTTP/1.1\r\nX: a\r\n\r\n"),
        ("a trailer with an underscore", "0\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n"),
        ("trailers of a connection", "0\r\nConnection: close\r\nTrailer: X\r\nKeep-Alive: 1\r\n\r\n"),
        ("trailers of control", "0\r\nExpect: 100-continue\r\nAuthorization: x\r\nCookie: a=b\r\n\r\n"),
    ];
    for (what, end) in ends {
        let body = format!("5\r\nhello\r\n{end}");
        cases.push(Case::passed(&format!("end, {what}"), chunked(&body), hello()));
    }
    for (what, line) in [
        ("0x", "0x5"),
        ("0X", "0X5"),
        ("plus", "+5"),
        ("minus", "-5"),
        ("minus nothing", "-0"),
        ("blank before", " 5"),
        ("tab before", "\t5"),
        ("vertical tab before", "\u{b}5"),
        ("NUL before", "\u{0}5"),
        ("CRLF before", "\r\n5"),
        ("blank behind", "5 "),
        ("tab behind", "5\t"),
        ("vertical tab behind", "5\u{b}"),
        ("NUL behind", "5\0"),
        ("next line behind", "5\u{85}"),
        ("blank before an extension", "5 ;a"),
        ("underscore", "0_5"),
        ("underscore behind", "5_"),
        ("fraction", "5.0"),
        ("comma", "5,5"),
        ("colon", "5:a"),
        ("quoted", "\"5\""),
        ("letter beyond hexadecimal", "5g"),
        ("h behind", "5h"),
        ("digits of another script", "\u{d9}\u{a5}"),
        ("nothing", ""),
        ("an extension alone", ";a"),
        ("2^64 more", "10000000000000005"),
        ("2^32 times itself more", "ffffffff00000005"),
        ("2^63", "8000000000000005"),
        ("all bits", "ffffffffffffffff"),
        ("many digits", "fffffffffffffffffffffffffffffffff5"),
        ("bare CR behind", "5\rX"),
        ("two CRs behind", "5\r"),
        ("bare LF in an extension", "5;a\nX"),
        ("bare CR in an extension", "5;a\rX"),
        ("bare CR in a quoted extension", "5;a=\"\rX\""),
        ("bare LF in a quoted extension", "5;a=\"\nX\""),
        ("CRLF in a quoted extension", "5;a=\"\r\nhello\r\n0\r\n\r\n\""),
        ("a quotation that does not end", "5;a=\"b"),
        ("a quotation that ends escaped", "5;a=\"b\\\""),
        ("NUL in an extension", "5;a\0"),
        ("vertical tab in an extension", "5;a\u{b}"),
        ("DEL in an extension", "5;a\u{7f}"),
    ] {
        cases.push(Case::refused(&format!("size, {what}"), chunked(&format!("{line}\r\nhello\r\n0\r\n\r\n"))));
    }
    for (what, body) in [
        ("bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("bare CR behind a size", "5\rhello\r\n0\r\n\r\n"),
        ("bare LF behind an extension", "5;\nhello\r\n0\r\n\r\n"),
        ("no CRLF behind data", "5\r\nhello0\r\n\r\n"),
        ("bare LF behind data", "5\r\nhello\n0\r\n\r\n"),
        ("bare CR behind data", "5\r\nhello\r0\r\n\r\n"),
        ("two letters in place of CRLF", "5\r\nhelloXX0\r\n\r\n"),
        ("LF, CR", "5\r\nhello\n\r0\r\n\r\n"),
        ("CRLF twice behind data", "5\r\nhello\r\n\r\n0\r\n\r\n"),
        ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
        ("data shorter than its size", "8\r\nhello\r\n0\r\n\r\n"),
        ("bare LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("bare LF in place of the last line", "5\r\nhello\r\n0\r\n\n"),
        ("bare CR in place of the last line", "5\r\nhello\r\n0\r\n\rX"),
        ("letters in place of the last line", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
        ("0x0 at the end", "5\r\nhello\r\n0x0\r\n\r\n"),
        ("-0 at the end", "5\r\nhello\r\n-0\r\n\r\n"),
        ("a blank behind the last size", "5\r\nhello\r\n0 \r\n\r\n"),
        ("a trailer with a blank before its colon", "0\r\nX : a\r\n\r\n"),
        ("a folded trailer", "0\r\nX: a\r\n b\r\n\r\n"),
        ("a folded first trailer", "0\r\n X: a\r\n\r\n"),
        ("a bare LF behind a trailer", "0\r\nX: a\n\r\n"),
        ("a bare LF between trailers", "0\r\nX: a\nY: b\r\n\r\n"),
        ("a bare CR in a trailer", "0\r\nX: a\rY: b\r\n\r\n"),
        ("a NUL in a trailer", "0\r\nX: a\0\r\n\r\n"),
        ("a trailer without a name", "0\r\n: a\r\n\r\n"),
        ("a length in trailers", "5\r\nhello\r\n0\r\nContent-Length: 0\r\n\r\n"),
        ("a coding in trailers", "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("a host in trailers", "5\r\nhello\r\n0\r\nHost: b\r\n\r\n"),
        ("a request line in trailers", "0\r\nGET /TAG/hidden HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        cases.push(Case::refused(&format!("chunks, {what}"), chunked(body)));
    }
    cases
}
