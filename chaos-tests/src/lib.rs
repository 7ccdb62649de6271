//! Real processes, real sockets, one test per promise, named by the promise.
//!
//! What a proxy promises can only be seen from outside: as bytes on a socket, as a process that ends, as requests
//! that did not fail. So nothing here looks inside the proxy. A test starts `outrigger` as an operator would
//! ([`proxy`]), puts origins behind it that behave or misbehave in a stated way ([`fleet`]), talks to it byte by
//! byte with a parser that forgives nothing ([`raw`]), over HTTP/2 ([`h2`]), under steady load ([`load`]) or with
//! other people's clients and servers ([`foreign`]), and reads what came of it.
//!
//! A bound on time is never tighter than ten times what is expected: these tests say whether, not how fast.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_types,
    reason = "a harness has no caller to hand an error to: whatever goes wrong is the test's failure, said at once"
)]

pub mod availability;
pub mod consul;
pub mod fleet;
pub mod foreign;
pub mod frames;
pub mod h2;
pub mod load;
pub mod proxies;
pub mod proxy;
pub mod raw;
pub mod soak;
pub mod tools;
pub mod toxiproxy;
pub mod word;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The bound of everything that should happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// The runtime of everything asynchronous in this process: origins, HTTP/2 clients.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Waits until `condition` holds. Panics, saying `what`, when it does not within `bound`.
#[track_caller]
pub fn wait_for(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < bound, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes in which a loss, a repetition or a swap of any run shows: no period that a buffer's size divides.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
