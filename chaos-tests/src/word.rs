//! Origins that do as they are told while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::SOON;
use crate::fleet::Scripted;

/// An answer that is good.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// An answer that is none.
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n";

/// A word that a test gives its origins.
#[derive(Debug, Clone, Default)]
pub struct Word(Arc<AtomicBool>);

impl Word {
    /// Gives it, or takes it back.
    pub fn say(&self, so: bool) {
        self.0.store(so, Ordering::SeqCst);
    }

    /// Whether it is given.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until it is given, for as long as any client here would wait.
    pub fn wait(&self) {
        let start = Instant::now();
        while !self.is_so() && start.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An origin that answers each request when the word is given.
pub fn answering_after(word: &Word) -> Scripted {
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
pub fn failing_while(word: &Word, good: &str) -> Scripted {
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
