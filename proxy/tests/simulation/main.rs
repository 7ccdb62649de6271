//! The whole data plane on a simulated network: real workers, real `forward`, virtual time, and losses on demand.
//!
//! Compiled only under `cfg(sim)`, which swaps the sockets in `net.rs` for turmoil's:
//!
//! ```text
//! RUSTFLAGS='--cfg sim' cargo test -p outrigger --test simulation --target-dir target/sim
//! ```
//!
//! Two kinds of tests. [`basics`] does one thing to a proxy and looks at what it does about it. [`promises`] runs a whole
//! [`world`] (a proxy, two clients, five endpoints) through whatever [`faults`] its seed brings, and then holds what
//! happened against the [`invariants`], each of which is also shown to break once its policy is taken out.
//!
//! [`crowd`] is another world, with HTTP/2 on both sides, bodies of MiB, clients that behave badly and a control plane that
//! changes things: what one request may take away from another.
//!
//! Everything follows from the seed, and every failure names it, so that what failed once fails again:
//! `OUTRIGGER_SEED=7` runs that one alone, `OUTRIGGER_SEEDS=2000` as many as that.

#![cfg(sim)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what is wrong by ending"
)]

mod basics;
mod blame;
mod client;
mod crowd;
mod endpoint;
mod faults;
mod invariants;
mod promises;
mod proxy;
mod seeds;
mod world;
