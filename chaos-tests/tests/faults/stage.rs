//! What these tests begin with: a proxy that was started for faults, and faults.

use std::net::SocketAddr;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Message;
use serde_json::{Value, json};

/// Before one service, `app`, with the lock open.
pub fn open(origins: &[SocketAddr]) -> Value {
    let mut config = proxy::to(origins);
    config["faults"] = json!({ "enabled": true, "max_active": 2000 });
    config
}

pub fn before(origins: &[&Origin]) -> Proxy {
    Proxy::start(&open(&addresses(origins)))
}

pub fn addresses(origins: &[&Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

/// A fault on `app`.
pub fn fault(kind: &str, attributes: Value, more: Value) -> Value {
    let mut spec = json!({ "type": kind, "attributes": attributes, "service": "app" });
    for (key, value) in more.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    spec
}

/// Adds a fault; its id.
#[track_caller]
pub fn add(proxy: &Proxy, fault: &Value) -> u64 {
    let answer = proxy.change("POST", "/api/v1/faults", Some(fault));
    assert_eq!(answer.status(), 201, "{fault}: {}", answer.text());
    json(&answer)["id"].as_u64().expect("an id")
}

#[track_caller]
pub fn end(proxy: &Proxy, id: u64) {
    assert_eq!(proxy.change("DELETE", &format!("/api/v1/faults/{id}"), None).status(), 204);
}

#[track_caller]
pub fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// The faults there are.
#[track_caller]
pub fn faults(proxy: &Proxy) -> Vec<Value> {
    let all = json(&proxy.admin("/api/v1/faults").expect("an answer"));
    all["faults"].as_array().expect("a list").clone()
}

/// The audit log's last entry.
#[track_caller]
pub fn last_audit(proxy: &Proxy) -> Value {
    let all = json(&proxy.admin("/api/v1/audit").expect("an answer"));
    all["entries"].as_array().and_then(|entries| entries.last().cloned()).expect("an entry")
}
