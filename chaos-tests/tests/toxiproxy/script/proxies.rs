//! Making proxies, changing and removing them.

use super::{A, delete, get, patch, post};
use crate::transcript::{Call, Why, call};

pub fn create() -> Vec<Call> {
    vec![
        post("/proxies", A),
        post("/proxies", A),
        post("/proxies", r#"{"name":"a","listen":"$B","upstream":"127.0.0.1:2"}"#),
        post("/proxies", r#"{"name":"b","listen":"$A","upstream":"127.0.0.1:1"}"#),
        get("/proxies/b"),
        post("/proxies", r#"{"NAME":"b","Listen":"$B","uPstream":"127.0.0.1:1","ENABLED":false}"#),
        post(
            "/proxies",
            r#"{"name":"x","name":"c","listen":"$C","upstream":"anything at all","enabled":true,"nope":[1]}"#,
        ),
        post("/proxies", r#"{"name":"<d>&\u2028\u00e9\"\\","listen":"$D","upstream":"<é>"}"#),
        post("/proxies", r#"{"name":"e f","listen":"$E","upstream":"x:1","enabled":null}"#),
        post("/proxies", r#"{"name":"f","listen":"$F","upstream":"x:1","toxics":null}"#),
        get("/proxies"),
        get("/proxies/a"),
        get("/proxies/%61"),
        get("/proxies/A"),
        get("/proxies/e%20f"),
        get("/proxies/%3Cd%3E%26%E2%80%A8%C3%A9%22%5C"),
        delete("/proxies/f"),
        post(
            "/proxies",
            r#"{"name":"f","listen":"$F","upstream":"x:1","toxics":[{"type":"latency","attributes":{"latency":5}}]}"#,
        )
        .but(
            Why::Toxics,
            201,
            r#""toxics":[{"attributes":{"latency":5,"jitter":0},"name":"latency_downstream""#,
        ),
        delete("/proxies/a"),
        delete("/proxies/b"),
        delete("/proxies/c"),
        delete("/proxies/%3Cd%3E%26%E2%80%A8%C3%A9%22%5C"),
        delete("/proxies/e%20f"),
        delete("/proxies/f"),
        get("/proxies"),
    ]
}

pub fn listen() -> Vec<Call> {
    let made = |listen: &str| {
        [post("/proxies", format!(r#"{{"name":"l","listen":"{listen}","upstream":"x:1"}}"#)), delete("/proxies/l")]
    };
    let mut calls: Vec<Call> = [
        "",
        ":0",
        "localhost:0",
        "127.0.0.1:0",
        "[::]:0",
        "0.0.0.0:0",
        "nonsense",
        "nonsense:abc",
        "localhost:99999",
        "localhost:-1",
        "127.0.0.1",
        "::1:5",
        "[::1",
        "[::1]5",
        "[::1]x:5",
        "127.0.0.1:",
        "a:b:c",
        "192.0.2.1:0",
        "]:5",
        "[:5",
        "localhost:065536",
    ]
    .iter()
    .flat_map(|listen| made(listen))
    .collect();
    calls.push(post("/proxies", r#"{"name":"l","listen":"anything","upstream":"x:1","enabled":false}"#));
    calls.push(post("/proxies/l", "{}"));
    calls.push(post("/proxies/l", r#"{"enabled":true}"#));
    calls.push(get("/proxies/l"));
    calls.push(post("/reset", ""));
    calls.push(delete("/proxies/l"));
    calls.push(post("/proxies", r#"{"name":"l","listen":"127.0.0.1:0","upstream":"x:1","enabled":false}"#));
    calls.push(patch("/proxies/l", r#"{"enabled":true}"#));
    calls.push(patch("/proxies/l", r#"{"enabled":false}"#));
    calls.push(patch("/proxies/l", r#"{"listen":"127.0.0.1:0"}"#));
    calls.push(patch("/proxies/l", r#"{"listen":"localhost:0","enabled":true}"#));
    calls.push(delete("/proxies/l"));
    calls
}

/// The real server cannot remove these any more, so nothing comes after them.
pub fn names() -> Vec<Call> {
    let made = |name: &str| format!(r#"{{"name":"{name}","listen":"127.0.0.1:0","upstream":"x:1"}}"#);
    vec![
        post("/proxies", made("a/b")),
        get("/proxies/a/b"),
        get("/proxies/a%2Fb").but(Why::Slash, 200, r#""name":"a/b""#),
        post("/proxies/a%2Fb/toxics", r#"{"type":"latency"}"#).but(Why::Slash, 200, r#""name":"latency_downstream""#),
        get("/proxies/a%2Fb/toxics").but(Why::Slash, 200, r#""name":"latency_downstream""#),
        delete("/proxies/a%2Fb/toxics/latency_downstream").but(Why::Slash, 204, ""),
        post("/proxies/a%2Fb", r#"{"enabled":false}"#).but(Why::Slash, 200, r#""enabled":false"#),
        call("PUT", "/proxies/a%2Fb", "{}").but(Why::Slash, 405, ""),
        delete("/proxies/a%2Fb").but(Why::Slash, 204, ""),
        get("/proxies/a%2Fb"),
        post("/proxies", made("..")).but(Why::Unspeakable, 400, "`name`: found `..`, which cannot stand in a path"),
        post("/populate", format!("[{}]", made("."))).but(
            Why::Unspeakable,
            400,
            "`name`: found `.`, which cannot stand in a path",
        ),
        post("/proxies", made("...")),
        post("/proxies/.../toxics", r#"{"type":"latency","name":".."}"#).but(
            Why::Unspeakable,
            400,
            "`name`: found `..`, which cannot stand in a path",
        ),
        delete("/proxies/..."),
    ]
}

pub fn change() -> Vec<Call> {
    vec![
        post("/proxies", A),
        post("/proxies", r#"{"name":"b","listen":"$B","upstream":"127.0.0.1:1"}"#),
        post("/proxies/nope", "x"),
        patch("/proxies/nope", "{}"),
        post("/proxies/a", ""),
        post("/proxies/a", "["),
        post("/proxies/a", "[]"),
        post("/proxies/a", "null"),
        post("/proxies/a", r#"{"enabled":"x"}"#),
        post("/proxies/a", r#"{"listen":5}"#),
        post("/proxies/a", r#"{"name":5}"#),
        post("/proxies/a", "{}"),
        patch("/proxies/a", "{}"),
        patch("/proxies/a", r#"{"upstream":"y:1"}"#),
        patch("/proxies/a", r#"{"name":"zz","upstream":""}"#),
        get("/proxies/zz"),
        patch("/proxies/a", r#"{"upstream":"127.0.0.1:1"}"#),
        patch("/proxies/a", r#"{"enabled":false}"#),
        patch("/proxies/a", r#"{"enabled":false}"#),
        patch("/proxies/a", r#"{"listen":"$C"}"#),
        get("/proxies/a"),
        patch("/proxies/a", r#"{"listen":"$C","enabled":true}"#),
        patch("/proxies/a", r#"{"enabled":null}"#),
        patch("/proxies/a", r#"{"listen":"$A"}"#),
        patch("/proxies/a", r#"{"toxics":[{"type":"latency"}]}"#),
        patch("/proxies/a", r#"{"listen":"junk"}"#),
        patch("/proxies/a", r#"{"listen":"localhost:99999"}"#),
        get("/proxies/a"),
        patch("/proxies/a", r#"{"listen":"$B"}"#),
        get("/proxies/a").but(Why::Atomic, 200, r#""listen":"$A","upstream":"127.0.0.1:1","enabled":true"#),
        patch("/proxies/a", r#"{"listen":"$A","enabled":true}"#),
        patch("/proxies/a", r#"{"listen":""}"#),
        patch("/proxies/a", r#"{"listen":":0"}"#),
        delete("/proxies/a"),
        delete("/proxies/b"),
    ]
}

pub fn remove() -> Vec<Call> {
    vec![
        delete("/proxies/nope"),
        post("/proxies", A),
        post("/proxies/a/toxics", r#"{"type":"latency"}"#),
        delete("/proxies/a"),
        delete("/proxies/a"),
        get("/proxies"),
        post("/proxies", A),
        get("/proxies/a/toxics"),
        patch("/proxies/a", r#"{"enabled":false}"#),
        delete("/proxies/a"),
    ]
}

pub fn populate() -> Vec<Call> {
    let mut calls: Vec<Call> = [
        "",
        "{}",
        "5",
        "[",
        "[]",
        "null",
        "[5]",
        "[null]",
        r#"[{"name":"a"}]"#,
        r#"[{"upstream":"x"}]"#,
        r#"[{"name":"p","upstream":"y"},{"name":""}]"#,
        r#"[{"name":"p","upstream":"y"},{"name":"q"}]"#,
        r#"[{"enabled":"x"}]"#,
        r#"[{"name":5}]"#,
        r#"[{"name":"a","upstream":"x"},{"listen":[]},{"name":5}]"#,
        r#"{"name":"x"}"#,
    ]
    .iter()
    .map(|body| post("/populate", *body))
    .collect();
    calls.extend([
        get("/proxies"),
        post("/populate", r#"[{"name":"p","listen":"$A","upstream":"y:1"},{"name":"q","listen":"$B","upstream":"y:1","enabled":false}]"#),
        post("/proxies/p/toxics", r#"{"type":"latency","attributes":{"latency":5}}"#),
        post("/proxies/q/toxics", r#"{"type":"latency"}"#),
        // The same is left alone, its toxics included, and not switched off; another one is replaced.
        post("/populate", r#"[{"name":"p","listen":"$A","upstream":"y:1","enabled":false},{"name":"q","listen":"$B","upstream":"z:1"}]"#),
        get("/proxies"),
        post("/populate", r#"[{"name":"p","listen":"$A","upstream":"y:2","enabled":null}]"#),
        get("/proxies/p"),
        // The second fails: the first is there and named, the third was never tried.
        post(
            "/populate",
            r#"[{"name":"r","listen":"$C","upstream":"y:1"},{"name":"s","listen":"$C","upstream":"y:1"},{"name":"t","listen":"$D","upstream":"y:1"}]"#,
        ),
        get("/proxies"),
        post("/populate", r#"[{"name":"p","listen":"$B","upstream":"new:1"}]"#),
        get("/proxies/p").but(Why::Atomic, 200, r#""listen":"$A","upstream":"y:2","enabled":true"#),
        post("/populate", r#"[{"name":"p","listen":"junk","upstream":"y"}]"#),
        post("/populate", r#"[{"name":"v","listen":"junk","upstream":"y"}]"#),
        post("/populate", r#"[{"name":"v","listen":"$E","upstream":"y","enabled":false,"nope":1}]"#),
        post("/populate", r#"[{"name":"w","listen":"localhost:0","upstream":"y"}] tail"#),
        post("/populate", r#"[{"name":"x","upstream":"y","listen":"$F","toxics":[{"type":"timeout"}]}]"#)
            .but(Why::Toxics, 201, r#""name":"timeout_downstream""#),
    ]);
    calls.extend(["p", "q", "r", "v", "w", "x"].map(|name| delete(&format!("/proxies/{name}"))));
    calls.push(get("/proxies"));
    calls
}

pub fn reset() -> Vec<Call> {
    vec![
        post("/reset", ""),
        post("/reset", "junk"),
        post("/proxies", A),
        post("/proxies", r#"{"name":"b","listen":"$B","upstream":"x:1","enabled":false}"#),
        post("/proxies/a/toxics", r#"{"type":"latency"}"#),
        post("/proxies/a/toxics", r#"{"type":"timeout","stream":"upstream"}"#),
        post("/proxies/b/toxics", r#"{"type":"latency","toxicity":0.5}"#),
        patch("/proxies/a", r#"{"enabled":false}"#),
        post("/reset", ""),
        get("/proxies"),
        post("/proxies/a/toxics", r#"{"type":"latency"}"#),
        delete("/proxies/a"),
        delete("/proxies/b"),
    ]
}
