//! What these tests begin with: configurations, requests, and origins that do as they are told while they run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::{self, Proxy, outrigger};
use chaos_tests::raw::{Connection, Message, ask};
pub use chaos_tests::word::{OK, UNAVAILABLE, Word, answering_after, failing_while};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};

pub const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

/// Round robin, so that it is known that every origin has its turn.
pub fn in_turn(origins: &[SocketAddr]) -> Value {
    let mut config = proxy::to(origins);
    config["services"]["app"]["balance"] = json!("round_robin");
    config
}

/// The same with one worker, so that it is known who is next, and what was learned.
pub fn one_by_one(origins: &[SocketAddr]) -> Value {
    let mut config = in_turn(origins);
    config["workers"] = json!(1);
    config
}

/// How long a first attempt takes while the word says so.
pub const STUCK: Duration = Duration::from_secs(8);

/// An origin whose first attempts take long while the word says so, and whose second ones never do.
pub fn dozing(word: &Word) -> Scripted {
    let word = word.clone();
    Scripted::start(move |peer| {
        while let Some(request) = peer.request() {
            if word.is_so() && request.field("x-envoy-attempt-count").is_none() {
                std::thread::sleep(STUCK);
            }
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    })
}

/// A GET with fields, on a connection that ends with it.
pub fn get_with(path: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")
}

pub fn statuses(proxy: &Proxy, request: &str, times: usize) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    for _ in 0..times {
        *statuses.entry(ask(proxy.address, request).status()).or_default() += 1;
    }
    statuses
}

pub fn error(answer: &Message) -> &str {
    answer.field("proxy-status").unwrap_or_else(|| panic!("no Proxy-Status in {:?}", answer.head))
}

/// The sum of a metric's samples; 0 while there is none.
pub fn metric(proxy: &Proxy, name: &str, labels: &[&str]) -> f64 {
    proxy.metric(name, labels).iter().sum()
}

/// Workers hand over what they have counted at their ticks.
#[track_caller]
pub fn wait_for_metric(proxy: &Proxy, name: &str, labels: &[&str], wanted: f64) {
    wait_for(&format!("{name} {labels:?} to be {wanted}"), SOON, || metric(proxy, name, labels) == wanted);
}

/// Sends a request and leaves its answer to be read later.
pub fn begin(proxy: &Proxy, request: &str) -> Connection {
    let mut client = Connection::open(proxy.address);
    client.send(request);
    client
}

/// What `outrigger` prints for arguments, asked of this proxy.
#[track_caller]
pub fn printed(proxy: &Proxy, arguments: &[&str]) -> String {
    let admin = format!("http://{}", proxy.admin);
    let output = outrigger(&[arguments, &["--admin", &admin]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out.into_owned()
}

/// The record of a request, when it has come to where records are kept.
#[track_caller]
pub fn record(proxy: &Proxy, answer: &Message) -> Value {
    let id = answer.field("x-request-id").expect("an id");
    let mut record = Value::Null;
    wait_for("the record of a request", SOON, || {
        let found = proxy.admin(&format!("/api/v1/explain/{id}")).filter(|answer| answer.status() == 200);
        record = found.map(|answer| serde_json::from_slice(&answer.body).expect("JSON")).unwrap_or_default();
        !record.is_null()
    });
    record
}
