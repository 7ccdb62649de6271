//! Every key of the page is set, and does exactly what the page says.
//!
//! A table says which test does so. The keys are those of the schema that the program prints, so that one that is added without
//! such a test fails here, and so does a row whose test is gone or has nothing of the key.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chaos_tests::proxy::{self, Proxy, outrigger};
use chaos_tests::raw::Connection;
use chaos_tests::word::{OK, UNAVAILABLE, Word, answering_after, failing_while};
use serde_json::{Map, Value, json};

use edge_table::EDGE;
use table::TABLE;

mod attempts;
mod blame;
mod bounds;
mod edge_table;
mod found;
mod http;
mod process;
mod services;
mod table;

#[test]
fn every_key_of_the_page_has_a_test_that_sets_it() {
    let keys = keys();
    let table = || TABLE.iter().chain(EDGE);
    let rows: BTreeSet<String> = table().map(|(key, _)| (*key).to_owned()).collect();
    assert!(keys.len() > 100, "the schema is not read: {keys:?}");
    assert_eq!(rows.len(), table().count(), "a key has two rows");
    let (untested, gone): (Vec<_>, Vec<_>) = (keys.difference(&rows).collect(), rows.difference(&keys).collect());
    assert!(untested.is_empty() && gone.is_empty(), "keys without a row: {untested:?}; rows without a key: {gone:?}");
    let wrong: Vec<_> = table().filter_map(|(key, test)| Some(format!("{key}: {}", misses(key, test)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The paths of all keys, those of policies under `defaults` alone.
fn keys() -> BTreeSet<String> {
    let printed = outrigger(&["schema"]);
    let schema: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let policies = schema["$defs"]["Defaults"]["properties"].as_object().unwrap();
    let mut keys = BTreeSet::new();
    walk("", &schema, &schema["$defs"], policies, &mut keys);
    keys
}

fn walk(at: &str, node: &Value, definitions: &Value, policies: &Map<String, Value>, keys: &mut BTreeSet<String>) {
    let mut into = |at: &str, node: &Value| walk(at, node, definitions, policies, keys);
    if let Some(name) = node["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        into(at, &definitions[name]);
    }
    for choice in ["anyOf", "oneOf"].iter().filter_map(|kind| node[kind].as_array()).flatten() {
        into(at, choice);
    }
    if node["items"].is_object() {
        into(&format!("{at}[]"), &node["items"]);
    }
    if node["additionalProperties"].is_object() {
        into(&format!("{at}.NAME"), &node["additionalProperties"]);
    }
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        if matches!(at, "services.NAME" | "routes[]") && policies.contains_key(key) {
            continue;
        }
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        walk(&path, value, definitions, policies, keys);
        keys.insert(path);
    }
}

/// What a row promises and its source does not keep.
fn misses(key: &str, test: &str) -> Option<String> {
    let file = source(test);
    let Ok(text) = fs::read_to_string(&file) else { return Some(format!("there is no {}", file.display())) };
    let name = test.rsplit("::").next().unwrap_or_default();
    let is_a_test = text
        .find(&format!("fn {name}("))
        .is_some_and(|at| text[..at].trim_end_matches("async ").trim_end().ends_with("test]"));
    if !is_a_test {
        return Some(format!("there is no test `{name}` in {}", file.display()));
    }
    let last = key.rsplit('.').next().unwrap_or(key);
    let is_of_a_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let told = text.match_indices(last).any(|(at, _)| {
        let bytes = text.as_bytes();
        !is_of_a_word(bytes[..at].last()) && !is_of_a_word(bytes.get(at + last.len()))
    });
    (!told).then(|| format!("{} has nothing of `{last}`", file.display()))
}

/// Where a test stands: `operate::keys::http::name` is in `tests/operate/keys/http.rs`.
fn source(test: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut modules: Vec<&str> = test.split("::").collect();
    modules.pop();
    let folder = match modules.first() {
        Some(&"outrigger") => {
            modules.remove(0);
            here.join("../proxy/src")
        }
        _ => here.join("tests"),
    };
    folder.join(modules.join("/")).with_extension("rs")
}

/// One worker and one service, `app`, whose instances have their turn one after the other, with policies.
fn with(instances: &[SocketAddr], policies: Value) -> Value {
    let mut config = proxy::to(instances);
    config["workers"] = json!(1);
    config["services"]["app"]["balance"] = json!("round_robin");
    for (key, value) in policies.as_object().unwrap() {
        config["services"]["app"][key] = value.clone();
    }
    config
}

/// What the admin API says of `app`.
fn app(proxy: &Proxy) -> Value {
    serde_json::from_slice(&proxy.admin("/api/v1/services/app").expect("the admin API").body).unwrap()
}

/// So many GETs, one after the other on one connection.
fn gets(proxy: &Proxy, times: usize) {
    let mut client = Connection::open(proxy.address);
    for _ in 0..times {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.answer();
    }
}
