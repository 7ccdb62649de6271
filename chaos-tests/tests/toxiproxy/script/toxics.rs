//! Adding toxics, changing and removing them.

use super::{delete, get, patch, post, with_a};
use crate::transcript::{Call, Why};

const TOXICS: &str = "/proxies/a/toxics";

pub fn toxics() -> Vec<Call> {
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
    calls.push(post(TOXICS, r#"{"type":"noop"}"#));
    calls.push(post(TOXICS, r#"{"type":"noop","name":"n2","stream":"upstream","toxicity":0.5,"attributes":{}}"#));
    calls.push(patch("/proxies/a/toxics/n2", r#"{"toxicity":0.25}"#));
    calls.push(get("/proxies/a/toxics/n2"));
    calls.push(delete("/proxies/a/toxics/noop_downstream"));
    calls.push(post(TOXICS, r#"{"type":"latency","stream":"UPSTREAM"}"#).but(
        Why::Case,
        200,
        r#""name":"latency_UPSTREAM","type":"latency","stream":"upstream""#,
    ));
    calls.push(delete("/proxies/a/toxics/latency_UPSTREAM"));
    calls.push(get("/proxies/a/toxics/q"));
    calls.push(get("/proxies/a/toxics/none"));
    calls.push(get("/proxies/a/toxics/x/y"));
    calls.push(get("/proxies/a/toxics/x%2fy").but(Why::Slash, 200, r#""name":"x/y","type":"latency""#));
    calls.push(get("/proxies/a/toxics/nope%2fy"));
    calls.push(get("/proxies/a%2ftoxics"));
    calls.push(get("/proxies/a/toxics/%3Cu%3E"));
    calls.push(get(TOXICS));
    with_a(calls)
}

pub fn each_toxic() -> Vec<Call> {
    let types = ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop"];
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

pub fn attributes() -> Vec<Call> {
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

pub fn toxicity() -> Vec<Call> {
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

pub fn change_toxics() -> Vec<Call> {
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

pub fn remove_toxics() -> Vec<Call> {
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
