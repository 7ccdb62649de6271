//! Heads: request lines, hosts, versions, and lines that some readers join and some divide.

use super::corpus::{Case, HIDDEN, Request};

pub fn all() -> Vec<Case> {
    [lines(), fields(), hosts(), versions(), pipelines()].concat()
}

fn get(fields: &str) -> String {
    format!("GET /TAG/case HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
}

fn plain() -> Request {
    Request::of("GET", "")
}

fn at(target: &str) -> Request {
    Request { target: target.into(), ..plain() }
}

fn to(host: &str) -> Request {
    Request { host: host.into(), ..plain() }
}

/// Request lines.
fn lines() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, line) in [
        ("two blanks before the target", "GET  /TAG/case HTTP/1.1"),
        ("two blanks before the version", "GET /TAG/case  HTTP/1.1"),
        ("a blank behind the version", "GET /TAG/case HTTP/1.1 "),
        ("a tab behind the version", "GET /TAG/case HTTP/1.1\t"),
        ("a blank before the method", " GET /TAG/case HTTP/1.1"),
        ("a tab before the target", "GET\t/TAG/case HTTP/1.1"),
        ("a tab before the version", "GET /TAG/case\tHTTP/1.1"),
        ("a vertical tab before the target", "GET\u{b}/TAG/case HTTP/1.1"),
        ("a form feed before the version", "GET /TAG/case\u{c}HTTP/1.1"),
        ("a CR before the target", "GET\r/TAG/case HTTP/1.1"),
        ("a CR before the version", "GET /TAG/case\rHTTP/1.1"),
        ("a CR behind the version", "GET /TAG/case HTTP/1.1\r"),
        ("a bare LF in the line", "GET /TAG/case\nHTTP/1.1"),
        ("a blank in the target", "GET /TAG/case x HTTP/1.1"),
        ("a version in the target", "GET /TAG/case HTTP/1.1 HTTP/1.1"),
        ("a NUL in the target", "GET /TAG/case\0 HTTP/1.1"),
        ("a DEL in the target", "GET /TAG/case\u{7f} HTTP/1.1"),
        ("a no-break space in the target", "GET /TAG/case\u{a0}x HTTP/1.1"),
        ("a byte beyond ASCII in the target", "GET /TAG/case\u{e4} HTTP/1.1"),
        ("a fragment", "GET /TAG/case#x HTTP/1.1"),
        ("no target", "GET HTTP/1.1"),
        ("an empty target", "GET  HTTP/1.1"),
        ("no version", "GET /TAG/case"),
        ("no method", "/TAG/case HTTP/1.1"),
        ("a target without a slash", "GET TAG/case HTTP/1.1"),
        ("a backslash for a slash", "GET \\TAG\\case HTTP/1.1"),
        ("a star for GET", "GET * HTTP/1.1"),
        ("a target that is a query", "GET ?TAG HTTP/1.1"),
        ("a target that is an authority", "GET a:80 HTTP/1.1"),
        ("a dot segment", "GET /TAG/x/../case HTTP/1.1"),
        ("a dot segment in code", "GET /TAG/x/%2e%2e/case HTTP/1.1"),
        ("a method with a NUL", "G\0ET /TAG/case HTTP/1.1"),
        ("a method with a colon", "GET: /TAG/case HTTP/1.1"),
        ("a method beyond ASCII", "G\u{c9}T /TAG/case HTTP/1.1"),
        ("the preface of HTTP/2, nearly", "PRI * HTTP/1.1"),
        ("a status line", "HTTP/1.1 200 OK"),
    ] {
        cases.push(Case::refused(&format!("line, {what}"), format!("{line}\r\nHost: a\r\n\r\n")));
    }
    for target in [
        "/TAG/case?a=b&c=%0d%0aHost:%20b",
        "/TAG/case%20HTTP/1.1%0d%0aHost:%20b%0d%0a%0d%0aGET%20/TAG/hidden",
        "/TAG/case%00",
        "/TAG/case;a=b",
        "/TAG/case?x=/../hidden",
        "/TAG/case//x",
        "//TAG/case",
        "/TAG/case/%2f",
        "/TAG/case:80",
        "/TAG/case@b",
        "/TAG/case?http://b/",
        "/TAG/case?",
        "/TAG/case\\x",
        "/TAG/case|x",
        "/TAG/case\"x",
        "/TAG/case<x>",
        "/TAG/case{x}^`",
        "/TAG/case%zz",
        "/TAG/case%",
    ] {
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        cases.push(Case::passed(&format!("target {target}"), line, at(target)));
    }
    for (target, origin, host) in [
        ("http://b/TAG/case", "/TAG/case", "b"),
        ("HTTP://b/TAG/case", "/TAG/case", "b"),
        ("http://b:80/TAG/case", "/TAG/case", "b:80"),
        ("http://b?/TAG/case", "/?/TAG/case", "b"),
        ("http://b/TAG/case?http://c/", "/TAG/case?http://c/", "b"),
        ("http://b//TAG/case", "//TAG/case", "b"),
    ] {
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let read = Request { target: origin.into(), host: host.into(), ..plain() };
        cases.push(Case::passed(&format!("target {target}, Host: a"), line, read));
    }
    for target in [
        "https://b/TAG/case",
        "ftp://b/TAG/case",
        "http:/TAG/case",
        "http:///TAG/case",
        "http://u@b/TAG/case",
        "http://b@c/TAG/case",
        "http://b\\c/TAG/case",
        "http://b:x/TAG/case",
        "http://b,c:80:80/TAG/case",
        "http://b/TAG/case#x",
        "h\u{e4}ttp://b/TAG/case",
        " http://b/TAG/case",
    ] {
        let line = format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n");
        cases.push(Case::refused(&format!("target {target}"), line));
    }
    cases
}

/// Field lines that some join with the line before, some with the one behind, and some drop.
fn fields() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, lines) in [
        ("a folded value", "X: a\r\n b"),
        ("a value folded by a tab", "X: a\r\n\tb"),
        ("a line of one blank", "X: a\r\n "),
        ("a line of one tab", "X: a\r\n\t\r\nY: b"),
        ("a folded host", "X: a\r\n Host: b"),
        ("a field without a colon", "X"),
        ("a field without a name", ": a"),
        ("a blank name", " : a"),
        ("a blank before a colon", "X : a"),
        ("a tab before a colon", "X\t: a"),
        ("a request line", "GET /TAG/hidden HTTP/1.1"),
        ("a bare LF and a field", "X: a\nY: b"),
        ("a bare LF and an empty line", "X: a\n\nGET /TAG/hidden HTTP/1.1\r\nHost: a"),
        ("bare LFs and CRLF", "X: a\n\r\nGET /TAG/hidden HTTP/1.1\r\nHost: a"),
        ("a bare CR and a field", "X: a\rY: b"),
        ("bare CRs and a request", "X: a\r\rGET /TAG/hidden HTTP/1.1\rHost: a"),
        ("a CR before CRLF", "X: a\r\r\nY: b"),
        ("a CR for an empty line", "X: a\r\n\rGET /TAG/hidden HTTP/1.1\r\nHost: a"),
        ("LF, CR", "X: a\n\rY: b"),
        ("a NUL in a value", "X: a\0b"),
        ("a NUL at the end", "X: a\0"),
        ("a NUL in a name", "X\0Y: a"),
        ("a vertical tab in a value", "X: a\u{b}b"),
        ("a form feed in a value", "X: a\u{c}b"),
        ("a backspace in a value", "X: a\u{8}b"),
        ("an escape in a value", "X: a\u{1b}b"),
        ("a DEL in a value", "X: a\u{7f}b"),
        ("a file separator in a value", "X: a\u{1c}Transfer-Encoding: chunked"),
        ("a name with brackets", "X(Y): a"),
        ("a name with a slash", "X/Y: a"),
        ("a name with a comma", "X,Y: a"),
        ("a name with quotation marks", "\"X\": a"),
        ("a name beyond ASCII", "X\u{e4}: a"),
        ("a name with a no-break space", "X\u{a0}: a"),
        ("a name of HTTP/2", ":path: /TAG/hidden"),
        ("a name of HTTP/2 for a host", ":authority: b"),
    ] {
        cases.push(Case::refused(&format!("field, {what}"), get(lines)));
        cases.push(Case::refused(&format!("field, {what}, as the last"), get(&format!("Y: a\r\n{lines}"))));
    }
    for (what, bytes) in [
        ("bare LFs alone", "GET /TAG/case HTTP/1.1\nHost: a\n\n"),
        ("a bare LF behind the line", "GET /TAG/case HTTP/1.1\nHost: a\r\n\r\n"),
        ("a bare LF for an empty line", "GET /TAG/case HTTP/1.1\r\nHost: a\r\n\n"),
        ("a first field behind a blank", "GET /TAG/case HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("a first field behind a tab", "GET /TAG/case HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n"),
        ("a first line of blanks", "GET /TAG/case HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
        ("bare CRs alone", "GET /TAG/case HTTP/1.1\rHost: a\r\rX\r\n\r\n"),
    ] {
        cases.push(Case::refused(&format!("head, {what}"), bytes));
    }
    cases.push(Case::passed("an empty line before", format!("\r\n{}", get("X: a")), plain()));
    cases.push(Case::passed("three empty lines before", format!("\r\n\r\n\r\n{}", get("X: a")), plain()));
    cases
}

/// `Host`, of which there has to be one.
fn hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    for lines in [
        "X: a",
        "Host: a\r\nHost: a",
        "Host: a\r\nhost: b",
        "Host: a\r\nHost:",
        "Host:\r\nHost: a",
        "Host: a, b",
        "Host: a b",
        "Host: a\tb",
        "Host: a/b",
        "Host: a\\b",
        "Host: a?b",
        "Host: a#b",
        "Host: u@a",
        "Host: u:p@a:80",
        "Host: a:x",
        "Host: a:80:80",
        "Host: a:-1",
        "Host: a:123456",
        "Host: [a]",
        "Host: [1.2.3.4]",
        "Host: [::1",
        "Host: ::1]",
        "Host: [::1]x",
        "Host: http://a",
        "Host: a\u{85}",
        "Host: \u{e4}",
        "Host: \"a\"",
        "Host: <a>",
        "Host : a",
        " Host: a",
        "Host:\r\n a",
        "Host: a\r\n b",
        "Host: a\rHost: b",
        "Host: a\nHost: b",
        "Host: a\0",
    ] {
        let bytes = format!("GET /TAG/case HTTP/1.1\r\n{lines}\r\n\r\n");
        cases.push(Case::refused(&format!("host, {lines}"), bytes));
    }
    for (line, host) in [
        ("Host: b", "b"),
        ("HOST:b", "b"),
        ("Host: \tb \t", "b"),
        ("Host: b.", "b."),
        ("Host: b:80", "b:80"),
        ("Host: b:", "b:"),
        ("Host: B", "B"),
        ("Host: [::1]", "[::1]"),
        ("Host: [::1]:80", "[::1]:80"),
        ("Host: b,c", "b,c"),
        ("Host: %62", "%62"),
        ("Host: b_c", "b_c"),
        ("Host: b\r\nX_Host: c\r\nX-Host: c", "b"),
        ("Host: b\r\nHost_: c\r\n_Host: c\r\nHTTP_HOST: c", "b"),
        ("Host: b\r\nX-Forwarded-Host: c\r\nForwarded: host=c", "b"),
        ("Host: b\r\nConnection: Host", "b"),
        ("Connection: host, close-not\r\nHost: b", "b"),
        ("Host:", ""),
    ] {
        let bytes = format!("GET /TAG/case HTTP/1.1\r\n{line}\r\n\r\n");
        cases.push(Case::passed(&format!("host, {line}"), bytes, to(host)));
    }
    cases
}

/// Versions, and what belongs to one of them alone.
fn versions() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/1.",
        "HTTP/1",
        "HTTP/11",
        "HTTP/1,1",
        "HTTP/ 1.1",
        "HTTP /1.1",
        "http/1.1",
        "Http/1.1",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTPS/1.1",
        "HTTP/1.1.1",
        "HTTP/1.1\u{a0}",
        "HTTP/1.1;",
        "HTTP/-1.1",
        "HTTP/1.x",
        "ICY/1.1",
    ] {
        cases.push(Case::refused(version, format!("GET /TAG/case {version}\r\nHost: a\r\n\r\n")));
    }
    let old = |fields: &str, body: &str| format!("POST /TAG/case HTTP/1.0\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    cases.push(Case::refused("HTTP/1.0 in chunks", old("Transfer-Encoding: chunked", chunks)));
    let kept = "Connection: keep-alive\r\nTransfer-Encoding: chunked";
    cases.push(Case::refused("HTTP/1.0 in chunks, kept", old(kept, chunks)));
    cases.push(Case::refused("HTTP/1.0, identity", old("Transfer-Encoding: identity", "")));
    let both = format!("Transfer-Encoding: chunked\r\nContent-Length: {}", HIDDEN.len() + 5);
    cases.push(Case::refused("HTTP/1.0, both", old(&both, &format!("0\r\n\r\n{HIDDEN}"))));
    let length = format!("Content-Length: {}", HIDDEN.len());
    let meant = || Request::of("POST", HIDDEN);
    cases.push(Case::last("HTTP/1.0 with a length", old(&length, HIDDEN), meant()));
    let kept = format!("Connection: keep-alive\r\n{length}");
    cases.push(Case::passed("HTTP/1.0 with a length, kept", old(&kept, HIDDEN), meant()));
    cases.push(Case::last("HTTP/1.0 with nothing", old("X: a", ""), Request::of("POST", "")));
    let waits = format!("Connection: keep-alive\r\nExpect: 100-continue\r\n{length}");
    cases.push(Case::passed("HTTP/1.0 that expects", old(&waits, HIDDEN), meant()));
    let get = "GET /TAG/case HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    cases.push(Case::passed("HTTP/1.0 without a host", get, to("")));
    let upgrade = "Upgrade: h2c\r\nConnection: Upgrade, keep-alive";
    cases.push(Case::passed("HTTP/1.0 that upgrades", old(upgrade, ""), Request::of("POST", "")));
    cases
}

/// What stands behind a request that ends its connection, or before one that breaks a rule.
fn pipelines() -> Vec<Case> {
    let close = |fields: &str| format!("GET /TAG/case HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{HIDDEN}");
    let mut cases = vec![
        Case::last("close, and a request behind", close("Connection: close"), plain()),
        Case::last("close among others, and a request behind", close("Connection: x, CLOSE ,y"), plain()),
        Case::last("close and keep-alive, and a request behind", close("Connection: keep-alive, close"), plain()),
        Case::last("close in a second line", close("Connection: x\r\nConnection: close"), plain()),
        Case::last("a body that nobody announced", get("X: a") + "\0\0\0\0\r\n\r\n", plain()),
        Case::last("a broken request behind", get("X: a") + "GET /TAG/hidden HTTP/1.1\r\nHost : a\r\n\r\n", plain()),
    ];
    for fields in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "Upgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Expect: 100-continue",
        "TE: trailers\r\nConnection: TE",
        "Cookie: a=b\r\nCookie: c=d",
    ] {
        cases.push(Case::passed(&format!("GET, {fields}"), get(fields), plain()));
    }
    cases
}
