//! Every endpoint, method, code, error, default and quirk, in sections that leave nothing behind.

mod proxies;
mod toxics;

use crate::transcript::{Call, call};

type Section = (&'static str, Vec<Call>);

/// The script.
pub fn script() -> Vec<Section> {
    vec![
        ("paths and methods", paths()),
        ("browsers", browsers()),
        ("bodies that are no JSON", syntax()),
        ("bodies of the wrong types", types()),
        ("creating proxies", proxies::create()),
        ("where proxies listen", proxies::listen()),
        ("changing proxies", proxies::change()),
        ("removing proxies", proxies::remove()),
        ("adding toxics", toxics::toxics()),
        ("each toxic", toxics::each_toxic()),
        ("attributes", toxics::attributes()),
        ("toxicity", toxics::toxicity()),
        ("changing toxics", toxics::change_toxics()),
        ("removing toxics", toxics::remove_toxics()),
        ("populate", proxies::populate()),
        ("reset", proxies::reset()),
        ("names that no path holds", proxies::names()),
    ]
}

const A: &str = r#"{"name":"a","listen":"$A","upstream":"127.0.0.1:1"}"#;

fn get(path: &str) -> Call {
    call("GET", path, "")
}

fn post(path: &str, body: impl Into<Vec<u8>>) -> Call {
    call("POST", path, body)
}

fn patch(path: &str, body: &str) -> Call {
    call("PATCH", path, body)
}

fn delete(path: &str) -> Call {
    call("DELETE", path, "")
}

/// With a proxy `a`, which is removed afterwards.
fn with_a(calls: Vec<Call>) -> Vec<Call> {
    let mut all = vec![post("/proxies", A)];
    all.extend(calls);
    all.push(get("/proxies"));
    all.push(delete("/proxies/a"));
    all
}

fn paths() -> Vec<Call> {
    let mut calls: Vec<Call> = [
        "/proxies",
        "/version",
        "/",
        "/nope",
        "/metrics",
        "/proxies/",
        "//proxies",
        "/./proxies",
        "/proxies/../version",
        "/proxies?x=1",
        "/version/",
        "/PROXIES",
        "/proxies/nope",
        "/proxies/nope/",
        "/proxies/nope/toxics",
        "/proxies/nope/toxics/",
        "/proxies/nope/toxics/x",
        "/proxies/nope/toxics/x/",
        "/proxies/nope/nope",
        "/proxies/a%2fb",
        "/populate",
        "/reset",
        "/proxies//toxics",
        "/proxies/a%20b",
        "/proxies?x=//",
        "//proxies?x=1",
        "/a/../proxies/",
    ]
    .iter()
    .map(|path| get(path))
    .collect();
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/proxies", "/version", "/populate", "/reset", "/proxies/a/toxics"] {
            calls.push(call(method, path, ""));
        }
    }
    calls.push(post("/version", ""));
    calls.push(call("PUT", "/proxies/a", "{}"));
    calls.push(call("PUT", "/proxies/a/toxics/x", "{}"));
    calls.push(call("HEAD", "/nope", ""));
    calls.push(call("BREW", "/proxies", ""));
    calls
}

fn browsers() -> Vec<Call> {
    vec![
        get("/proxies").with("User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"),
        get("/version").with("User-Agent: Mozilla/5.0\r\n"),
        post("/proxies", A).with("User-Agent: Mozilla/5.0\r\n"),
        get("/nope").with("User-Agent: Mozilla/5.0\r\n"),
        call("PUT", "/proxies", "").with("User-Agent: Mozilla/5.0\r\n"),
        get("/proxies").with("User-Agent: mozilla/5.0\r\n"),
        get("/proxies").with("User-Agent: curl Mozilla/5.0\r\n"),
    ]
}

fn syntax() -> Vec<Call> {
    let bodies: [&[u8]; 48] = [
        b"",
        b" ",
        b"\n\n",
        b"{",
        b"[",
        b"\"",
        b"x",
        b"<html>",
        b"nul",
        b"nulL",
        b"tru",
        b"falsy",
        b"{\"a\" 1}",
        b"{\"a\":1,}",
        b"{\"a\":tru}",
        b"{\"a\":truX}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":01}",
        b"{\"a\":-}",
        b"{\"a\":1.}",
        b"{\"a\":1e}",
        b"{\"a\":1e+}",
        b"[1",
        b"[1 2",
        b"{1:2}",
        b"{\"a\":\"b",
        b"{\"a\":+1}",
        b"{\"a\":1&}",
        "{\"a\":é}".as_bytes(),
        b"{\"a\":'}",
        b"{\"a\":\"\\u12\"}",
        b"{\"a\":1\"}",
        b"{\"a\":[1}",
        b"{\"a\":.5}",
        b"{\"a\":\"\n\"}",
        b"\xff",
        b"{\"a\":\"\xff\"}",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"[,]",
        b"[1,]",
        b"}",
        b"]",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\x7f}",
    ];
    let deep = [vec![b'['; 10_001], vec![b']'; 10_001]].concat();
    let mut calls: Vec<Call> = bodies.iter().map(|body| post("/proxies", *body)).collect();
    calls.push(post("/proxies", deep));
    calls.push(post("/proxies", format!("{{\"a\":{}}}", "[".repeat(9_000) + &"]".repeat(9_000))));
    calls
}

fn types() -> Vec<Call> {
    let bodies = [
        "null",
        "[]",
        "\"x\"",
        "5",
        "true",
        "{}",
        r#"{"name":"a"}"#,
        r#"{"upstream":"x:1"}"#,
        r#"{"name":1}"#,
        r#"{"name":"a","upstream":5}"#,
        r#"{"name":"a","enabled":"x"}"#,
        r#"{"name":"a","enabled":1}"#,
        r#"{"name":null}"#,
        r#"{"name":{}}"#,
        r#"{"name":[]}"#,
        r#"{"name":true}"#,
        r#"{"name":""}"#,
        r#"{"name":"a","upstream":""}"#,
        r#"{"LISTEN":5}"#,
        r#"{"Name":1,"name":2,"upstream":[]}"#,
        r#"{"upstream":[],"name":2}"#,
        r#"{"name":"a"} trailing"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":"a","unknown":{"x":[1,2,{}]}}"#,
    ];
    bodies.iter().map(|body| post("/proxies", *body)).collect()
}
