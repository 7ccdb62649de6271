//! What would be a line of its own over HTTP/1.1, or more than one word of it.

use super::{Body, Case, case, data, head};
use crate::corpus::{Expected, Request};

pub fn all() -> Vec<Case> {
    [fields(), targets(), authorities()].concat()
}

/// Names and values that would be lines.
fn fields() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [
        "x\r\ntransfer-encoding",
        "x: a\r\ntransfer-encoding",
        "x: a\r\n\r\nGET /TAG/hidden HTTP/1.1\r\nhost",
        "x\n",
        "x\r",
        "x\0",
        "x:",
        "x:y",
        "transfer-encoding: chunked\r\nx",
        "transfer-encoding ",
        " transfer-encoding",
        "transfer-encoding:",
        "Transfer-Encoding",
        "Content-Length",
        "CONTENT-LENGTH",
        "X",
        "x y",
        "x\ty",
        "x\u{b}",
        "x\u{7f}",
        "x\u{e4}",
        "x\"y",
        "x(y)",
        "x,y",
        "",
        ":",
        ":x",
        ":status",
        ":protocol",
    ] {
        let fields = head("POST", &[(name, "chunked")]);
        cases.push(case(&format!("name {name:?}"), fields, data(&["0\r\n\r\n"]), Expected::Refused));
    }
    for value in [
        "a\r\ntransfer-encoding: chunked",
        "a\r\n\r\nGET /TAG/hidden HTTP/1.1\r\nhost: a",
        "a\ntransfer-encoding: chunked",
        "a\rtransfer-encoding: chunked",
        "a\r\n",
        "\r\na",
        "a\0b",
        "a\u{b}b",
        "a\u{7f}b",
        "a\u{1}b",
    ] {
        let fields = head("POST", &[("x", value)]);
        cases.push(case(&format!("value {value:?}"), fields, data(&["0\r\n\r\n"]), Expected::Refused));
    }
    for value in [" a", "a ", "\ta\t", "", "a\tb", "\u{e4}\u{85}", "\u{10d}\u{10a}transfer-encoding: chunked"] {
        let fields = head("POST", &[("x", value)]);
        let read = Expected::Passed(Request::of("POST", "0\r\n\r\n"));
        cases.push(case(&format!("value {value:?}"), fields, data(&["0\r\n\r\n"]), read));
    }
    cases
}

/// Methods, schemes and targets that would be lines, or more than a word.
fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    let get = |fields: &[(&str, &str)]| head("GET", fields);
    for path in [
        "/TAG/case HTTP/1.1\r\nhost: a\r\n\r\nGET /TAG/hidden",
        "/TAG/case HTTP/1.1\r\nx: a",
        "/TAG/case HTTP/1.1",
        "/TAG/case x",
        "/TAG/case ",
        " /TAG/case",
        "/TAG/case\t",
        "/TAG/case\r",
        "/TAG/case\n",
        "/TAG/case\0",
        "/TAG/case\u{7f}",
        "/TAG/case\u{e4}",
        "/TAG/case\u{a0}x",
        "/TAG/x/../case",
        "/TAG/x/%2e%2e/case",
        "TAG/case",
        "",
        "*",
        "?TAG",
        "http://b/TAG/case",
        "https://b/TAG/case",
        "a:80",
    ] {
        cases.push(case(&format!("path {path:?}"), get(&[(":path", path)]), Body::None, Expected::Refused));
    }
    for path in ["//TAG/case", "/TAG/case?", "/TAG/case?http://b/", "/TAG/case%0d%0ax:%20a", "/TAG/case\\x"] {
        let read = Request { target: path.into(), ..Request::of("GET", "") };
        cases.push(case(&format!("path {path:?}"), get(&[(":path", path)]), Body::None, Expected::Passed(read)));
    }
    for method in [
        "GET /TAG/hidden HTTP/1.1\r\nhost: a\r\n\r\nGET",
        "GET /TAG/hidden",
        "GET ",
        " GET",
        "GET\r\n",
        "GET\t",
        "GET\0",
        "G:T",
        "G\u{e4}T",
        "",
        "\"GET\"",
    ] {
        cases.push(case(&format!("method {method:?}"), head(method, &[]), Body::None, Expected::Refused));
    }
    // The `h2` crate takes an empty one, and nothing of it goes on.
    let empty = Expected::Either(Request::of("GET", ""));
    cases.push(case("an empty scheme", get(&[(":scheme", "")]), Body::None, empty));
    for scheme in ["http\r\nx", "ht tp", "http://b/?", "http\0"] {
        cases.push(case(&format!("scheme {scheme:?}"), get(&[(":scheme", scheme)]), Body::None, Expected::Refused));
    }
    for name in [":method", ":scheme", ":path", ":authority"] {
        let mut twice = get(&[]);
        let second = twice.iter().find(|(usual, _)| usual == name).expect("a pseudo field").clone();
        twice.insert(0, second);
        cases.push(case(&format!("{name} twice"), twice.clone(), Body::None, Expected::Refused));
        let late = twice.remove(0);
        twice.retain(|(usual, _)| usual != name);
        if name != ":authority" {
            cases.push(case(&format!("no {name}"), twice.clone(), Body::None, Expected::Refused));
        }
        twice.push(("x".into(), "a".into()));
        twice.push(late);
        cases.push(case(&format!("{name} behind a field"), twice, Body::None, Expected::Refused));
    }
    cases
}

/// `:authority` and `host`, which have to agree.
fn authorities() -> Vec<Case> {
    let mut cases = Vec::new();
    let get = |fields: &[(&str, &str)]| head("GET", fields);
    for authority in [
        "a\r\nx: b",
        "a\n",
        "a\0",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "a@b",
        "a,b:80:80",
        "a:x",
        "[::1",
        "a\u{e4}",
        "a\\b",
        "http://a",
    ] {
        let fields = get(&[(":authority", authority)]);
        cases.push(case(&format!("authority {authority:?}"), fields, Body::None, Expected::Refused));
    }
    for host in ["b", "a:80", "a b", "", "a, b", "a\r\nx: b"] {
        let fields = get(&[("host", host)]);
        cases.push(case(&format!("authority a, host {host:?}"), fields, Body::None, Expected::Refused));
    }
    let two = get(&[("host", "a"), ("host", "b")]);
    cases.push(case("authority a, host a and b", two, Body::None, Expected::Refused));
    let mut none = get(&[]);
    none.retain(|(name, _)| name != ":authority");
    cases.push(case("neither authority nor host", none.clone(), Body::None, Expected::Refused));
    let with = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| ("host".to_owned(), (*host).to_owned()));
        none.iter().cloned().chain(hosts).collect::<Vec<_>>()
    };
    cases.push(case("two hosts", with(&["b", "c"]), Body::None, Expected::Refused));
    cases.push(case("a host with a path", with(&["b/c"]), Body::None, Expected::Refused));
    for (what, fields, host) in [
        ("a host alone", with(&["b"]), "b"),
        ("authority and the same host", get(&[("host", "a")]), "a"),
        ("authority and the same host in capitals", get(&[("host", "A")]), "A"),
        ("a port", get(&[(":authority", "b:80")]), "b:80"),
        ("IPv6", get(&[(":authority", "[::1]:80")]), "[::1]:80"),
        ("other hosts", get(&[("x-forwarded-host", "b"), ("x-host", "b"), ("x_host", "b")]), "a"),
    ] {
        let read = Request { host: host.into(), ..Request::of("GET", "") };
        cases.push(case(what, fields, Body::None, Expected::Passed(read)));
    }
    cases
}
