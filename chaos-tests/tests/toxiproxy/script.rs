//! Every endpoint, method, code, error, default and quirk, in sections that leave nothing behind.

use crate::transcript::{Call, Why, call};

type Section = (&'static str, Vec<Call>);

/// The script.
pub fn script() -> Vec<Section> {
    vec![
        ("paths and methods", paths()),
        ("browsers", browsers()),
        ("bodies that are no JSON", syntax()),
        ("bodies of the wrong types", types()),
        ("creating proxies", create()),
        ("where proxies listen", listen()),
        ("changing proxies", change()),
        ("removing proxies", remove()),
        ("adding toxics", toxics()),
        ("each toxic", each_toxic()),
        ("attributes", attributes()),
        ("toxicity", toxicity()),
        ("changing toxics", change_toxics()),
        ("removing toxics", remove_toxics()),
        ("populate", populate()),
        ("reset", reset()),
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

fn create() -> Vec<Call> {
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

fn listen() -> Vec<Call> {
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

fn change() -> Vec<Call> {
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

fn remove() -> Vec<Call> {
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

const TOXICS: &str = "/proxies/a/toxics";

fn toxics() -> Vec<Call> {
    let mut calls = vec![get(TOXICS), get("/proxies/nope/toxics"), post("/proxies/nope/toxics", "x")];
    calls.extend(
        [
            "",
            "{",
            "null",
            "[]",
            "5",
            "{}",
            r#"{"type":5}"#,
            r#"{"type":"nope"}"#,
            r#"{"type":""}"#,
            r#"{"type":"Latency"}"#,
            r#"{"type":"nope","stream":"sideways"}"#,
            r#"{"type":"latency"}"#,
            r#"{"type":"latency"}"#,
            r#"{"type":"latency","stream":"upstream"}"#,
            r#"{"type":"latency","stream":""}"#,
            r#"{"type":"latency","stream":5}"#,
            r#"{"type":"latency","stream":null,"name":"s"}"#,
            r#"{"type":"latency","name":5}"#,
            r#"{"type":"latency","name":"latency_downstream"}"#,
            r#"{"type":"timeout","name":"latency_downstream","stream":"upstream"}"#,
            r#"{"type":"latency","name":"x/y"}"#,
            r#"{"type":"latency","name":"n","Name":"q","direction":1,"index":5,"nope":{}}"#,
            r#"{"type":"latency","name":"t","attributes":{"latency":1}} tail"#,
            r#"{"TYPE":"latency","NAME":"<u>","STREAM":"upstream","TOXICITY":0.5,"ATTRIBUTES":{"LATENCY":3}}"#,
            r#"{"type":"latency","toxicity":{},"name":[]}"#,
        ]
        .iter()
        .map(|body| post(TOXICS, *body)),
    );
    calls.push(post(TOXICS, r#"{"type":"down"}"#).but(
        Why::Down,
        200,
        r#"{"attributes":{},"name":"down_downstream","type":"down""#,
    ));
    calls.push(delete("/proxies/a/toxics/down_downstream").but(Why::Down, 204, ""));
    calls.push(post(TOXICS, r#"{"type":"noop"}"#).but(
        Why::Noop,
        400,
        r#"{"error":"invalid toxic type","status":400}"#,
    ));
    calls.push(delete("/proxies/a/toxics/noop_downstream").real_only());
    calls.push(post(TOXICS, r#"{"type":"latency","stream":"UPSTREAM"}"#).but(
        Why::Case,
        200,
        r#""name":"latency_UPSTREAM","type":"latency","stream":"upstream""#,
    ));
    calls.push(delete("/proxies/a/toxics/latency_UPSTREAM"));
    calls.push(get("/proxies/a/toxics/q"));
    calls.push(get("/proxies/a/toxics/none"));
    calls.push(get("/proxies/a/toxics/x/y"));
    calls.push(get("/proxies/a/toxics/%3Cu%3E"));
    calls.push(get(TOXICS));
    with_a(calls)
}

fn each_toxic() -> Vec<Call> {
    let types = ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"];
    let mut calls = Vec::new();
    for (stream, name) in [("downstream", "d"), ("upstream", "u")] {
        for kind in types {
            calls.push(post(TOXICS, format!(r#"{{"type":"{kind}","stream":"{stream}"}}"#)));
            calls.push(get(&format!("{TOXICS}/{kind}_{stream}")));
            calls.push(post(
                TOXICS,
                format!(r#"{{"type":"{kind}","stream":"{stream}","name":"{kind}{name}","toxicity":0.25}}"#),
            ));
        }
    }
    for (kind, attributes) in [
        ("latency", r#"{"jitter":2,"latency":1}"#),
        ("bandwidth", r#"{"rate":9223372036854775807}"#),
        ("slow_close", r#"{"delay":3}"#),
        ("timeout", r#"{"timeout":4}"#),
        ("reset_peer", r#"{"timeout":5}"#),
        ("slicer", r#"{"delay":8,"average_size":6,"size_variation":7}"#),
        ("limit_data", r#"{"bytes":9}"#),
    ] {
        calls.push(post(TOXICS, format!(r#"{{"type":"{kind}","name":"{kind}_full","attributes":{attributes}}}"#)));
    }
    calls.push(get(TOXICS));
    with_a(calls)
}

fn attributes() -> Vec<Call> {
    let latency =
        |attributes: &str| post(TOXICS, format!(r#"{{"type":"latency","name":"x","attributes":{attributes}}}"#));
    let mut calls = Vec::new();
    for attributes in [
        "null",
        "{}",
        r#"{"LATENCY":7}"#,
        r#"{"latency":null,"jitter":3}"#,
        r#"{"latency":1,"latency":2}"#,
        r#"{"latency":-0}"#,
        r#"{"latency":9223372036854775807}"#,
    ] {
        calls.extend([latency(attributes), delete("/proxies/a/toxics/x")]);
    }
    calls.extend(
        [
            "5",
            "\"s\"",
            "[]",
            "true",
            r#"{"latency":"s"}"#,
            r#"{"latency":1.5}"#,
            r#"{"latency":1e3}"#,
            r#"{"latency":1000.0}"#,
            r#"{"latency":true}"#,
            r#"{"latency":{}}"#,
            r#"{"latency":[]}"#,
            r#"{"latency":99999999999999999999}"#,
            r#"{"latency":"x","jitter":[]}"#,
            r#"{"jitter":[],"latency":"x"}"#,
        ]
        .map(latency),
    );
    for (kind, key) in [
        ("bandwidth", "rate"),
        ("slow_close", "delay"),
        ("timeout", "timeout"),
        ("reset_peer", "timeout"),
        ("slicer", "average_size"),
        ("slicer", "delay"),
        ("limit_data", "bytes"),
    ] {
        calls.push(post(TOXICS, format!(r#"{{"type":"{kind}","name":"x","attributes":{{"{key}":"s"}}}}"#)));
    }
    calls.push(latency(r#"{"latency":-5}"#).but(
        Why::Senseless,
        400,
        r#"{"error":"bad request body: `attributes.latency`: found -5"#,
    ));
    calls.push(delete("/proxies/a/toxics/x").real_only());
    calls.push(latency(r#"{"latency":5,"latencyy":1}"#).but(
        Why::UnknownAttribute,
        400,
        "`attributes.latencyy`: `latency` takes",
    ));
    calls.push(delete("/proxies/a/toxics/x").real_only());
    with_a(calls)
}

fn toxicity() -> Vec<Call> {
    let latency = |toxicity: &str| post(TOXICS, format!(r#"{{"type":"latency","name":"x","toxicity":{toxicity}}}"#));
    let mut calls = Vec::new();
    for toxicity in [
        "0",
        "0.0",
        "1",
        "1.0",
        "0.1",
        "0.5",
        "0.333333333333",
        "1e-7",
        "0.000001",
        "1e-1",
        "null",
        "0.7",
        "-0",
        "1e-50",
        "0.99999999999",
    ] {
        calls.extend([latency(toxicity), delete("/proxies/a/toxics/x")]);
    }
    calls.extend(["\"a\"", "true", "{}", "[]", "1e40", "-1e40"].map(latency));
    for toxicity in ["1.5", "-1", "-0.0001", "2"] {
        let refused = latency(toxicity).but(Why::Senseless, 400, "bad request body: `toxicity`: found ");
        calls.extend([refused, delete("/proxies/a/toxics/x").real_only()]);
    }
    with_a(calls)
}

fn change_toxics() -> Vec<Call> {
    let x = "/proxies/a/toxics/x";
    let mut calls = vec![
        post(TOXICS, r#"{"type":"latency","name":"x","attributes":{"latency":1,"jitter":2}}"#),
        post("/proxies/a/toxics/none", "junk"),
        post("/proxies/none/toxics/x", "junk"),
    ];
    calls.extend(
        [
            "",
            "{",
            "[]",
            "5",
            "{}",
            "null",
            r#"{"attributes":{"latency":5}}"#,
            r#"{"attributes":{"jitter":6},"toxicity":0.5}"#,
            r#"{"attributes":5}"#,
            r#"{"attributes":[]}"#,
            r#"{"attributes":null}"#,
            r#"{"attributes":{"latency":1.5}}"#,
            r#"{"attributes":{"latency":null}}"#,
            r#"{"toxicity":"x"}"#,
            r#"{"toxicity":null}"#,
            r#"{"toxicity":0}"#,
            r#"{"name":"zz","type":"slicer","stream":"upstream"}"#,
            r#"{"ATTRIBUTES":{"Latency":8}} tail"#,
            r#"{"toxicity":1e40}"#,
        ]
        .iter()
        .map(|body| post(x, *body)),
    );
    calls.extend([
        patch(x, r#"{"attributes":{"latency":9},"toxicity":0.25}"#),
        get(x),
        patch(x, r#"{"attributes":{"latency":"x","jitter":99}}"#),
        get(x).but(Why::Atomic, 200, r#"{"latency":9,"jitter":6}"#),
        patch(x, r#"{"attributes":{"jitter":6}}"#),
        patch(x, r#"{"toxicity":2}"#).but(
            Why::Senseless,
            400,
            "bad request body: `toxicity`: found 2, expected 0 to 1",
        ),
        patch(x, r#"{"toxicity":0.25}"#),
        patch(x, r#"{"attributes":{"jitter":-1}}"#).but(Why::Senseless, 400, "`attributes.jitter`: found -1"),
        patch(x, r#"{"attributes":{"jitter":6}}"#),
        patch(x, r#"{"attributes":{"nope":1}}"#).but(Why::UnknownAttribute, 400, "`attributes.nope`: `latency` takes"),
        post(TOXICS, r#"{"type":"slicer","name":"y"}"#),
        patch("/proxies/a/toxics/y", r#"{"attributes":{"average_size":"x"}}"#),
        patch("/proxies/a/toxics/y", r#"{"attributes":5}"#),
        patch("/proxies/a/toxics/y", r#"{"attributes":{"delay":7}}"#),
        patch(x, r#"{"toxicity":0.5}"#),
        get(TOXICS),
    ]);
    with_a(calls)
}

fn remove_toxics() -> Vec<Call> {
    with_a(vec![
        delete("/proxies/a/toxics/none"),
        delete("/proxies/none/toxics/none"),
        post(TOXICS, r#"{"type":"latency","name":"x"}"#),
        post(TOXICS, r#"{"type":"timeout","name":"y"}"#),
        post(TOXICS, r#"{"type":"slicer","name":"z","stream":"upstream"}"#),
        get(TOXICS),
        delete("/proxies/a/toxics/x"),
        get(TOXICS),
        delete("/proxies/a/toxics/x"),
        post(TOXICS, r#"{"type":"bandwidth","name":"x","attributes":{"rate":5}}"#),
        get("/proxies/a"),
    ])
}

fn populate() -> Vec<Call> {
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

fn reset() -> Vec<Call> {
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
