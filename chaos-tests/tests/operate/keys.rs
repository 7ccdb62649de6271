//! Every key of the configuration is set, and does exactly what its page says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::SOON;
use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use serde_json::{Value, json};

mod attempts;
mod blame;
mod http;
mod services;

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n";

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

/// A word that a test gives its origins.
#[derive(Debug, Clone, Default)]
struct Word(Arc<AtomicBool>);

impl Word {
    fn say(&self, so: bool) {
        self.0.store(so, Ordering::SeqCst);
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until it is given, for as long as any client here would wait.
    fn wait(&self) {
        let start = Instant::now();
        while !self.is_so() && start.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An origin that answers when the word is given.
fn answering_after(word: &Word) -> Scripted {
    let word = word.clone();
    Scripted::start(move |peer| {
        while peer.request().is_some() {
            word.wait();
            if peer.connection.try_send(OK).is_err() {
                return;
            }
        }
    })
}

/// An origin that answers 503 while the word says so.
fn failing_while(word: &Word, good: &str) -> Scripted {
    let (word, good) = (word.clone(), good.to_owned());
    Scripted::start(move |peer| {
        while peer.request().is_some() {
            let answer = if word.is_so() { UNAVAILABLE } else { &good };
            if peer.connection.try_send(answer).is_err() {
                return;
            }
        }
    })
}
