//! No request that the proxy passes on is read in another way by the server behind it.
//!
//! A request can be smuggled where two readers disagree on where a message ends. So a corpus of requests that readers
//! disagree on is sent through the proxy to servers by other people, and each says what it has read. Every case ends
//! with a marker, a request of its own on the same connection: whoever takes a byte too many or too few reads it wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "tests and their helpers"
)]

mod answers;
mod chunks;
mod corpus;
mod framing;
mod heads;
mod http2;
mod judge;
mod servers;

use chaos_tests::proxy::{self, Proxy};
use chaos_tests::tools::say;
use judge::{Judge, Summary};
use serde_json::json;
use servers::Server;

/// The proxy before a server, with one worker, so that the marker takes the connection of the request before it, and
/// without anything that would ask a second time or not at all.
fn before(server: &Server) -> Proxy {
    let mut config = proxy::to(&[server.address]);
    config["workers"] = json!(1);
    let app = &mut config["services"]["app"];
    app["breaker"] = json!("off");
    app["outlier"] = json!("off");
    app["retries"] = json!({ "max": 0 });
    Proxy::start(&config)
}

fn reads_what_was_meant(server: Option<Server>) {
    let Some(server) = server else { return };
    let proxy = before(&server);
    let mut judge = Judge::behind_the_proxy(&server);
    judge.http1(proxy.address, &corpus::all());
    judge.http2(proxy.address, &http2::all());
    let summary = judge.verdict();
    say(&format!("{}: {summary}", server.name));
    assert!(summary.faults.is_empty(), "{} faults:\n{}", summary.faults.len(), summary.faults.join("\n"));
    assert!(
        summary.followed > 20,
        "the marker hardly ever came on the same connection, so it tells nothing: {summary}"
    );
}

#[test]
fn a_strict_reader_reads_what_was_meant() {
    reads_what_was_meant(Some(Server::strict()));
}

#[test]
fn hyper_reads_what_was_meant() {
    reads_what_was_meant(Some(Server::hyper()));
}

#[test]
fn go_reads_what_was_meant() {
    reads_what_was_meant(Server::go());
}

#[test]
fn node_reads_what_was_meant() {
    reads_what_was_meant(Server::node());
}

#[test]
fn aiohttp_reads_what_was_meant() {
    reads_what_was_meant(Server::aiohttp());
}

#[test]
fn gunicorn_reads_what_was_meant() {
    reads_what_was_meant(Server::gunicorn());
}

#[test]
fn nginx_reads_what_was_meant() {
    reads_what_was_meant(Server::nginx());
}

#[test]
fn haproxy_reads_what_was_meant() {
    reads_what_was_meant(Server::haproxy());
}

#[test]
fn apache_reads_what_was_meant() {
    reads_what_was_meant(Server::apache());
}

/// The same corpus, the same judge, and no proxy: a judge that finds nothing here would find nothing anywhere.
#[test]
fn without_the_proxy_the_corpus_is_read_in_other_ways() {
    let server = Server::hyper();
    let mut judge = Judge::alone(&server);
    judge.http1(server.address, &corpus::all());
    let summary = judge.verdict();
    assert!(!summary.faults.is_empty(), "{summary}");
}

/// For the table in `docs/security.md`: `cargo test -p chaos-tests --test smuggling by_itself -- --ignored --nocapture`.
#[test]
#[ignore = "a table for people: minutes, because those who wait for more of a body are waited for"]
fn what_each_server_makes_of_it_by_itself() {
    let others = [Server::go(), Server::node(), Server::aiohttp(), Server::gunicorn(), Server::nginx()];
    let servers = others.into_iter().chain([Server::haproxy(), Server::apache()]).flatten();
    for server in servers.chain([Server::hyper()]) {
        let mut judge = Judge::alone(&server);
        judge.http1(server.address, &corpus::all());
        let summary = judge.verdict();
        let more = summary.faults.iter().filter(|fault| fault.contains("not refused, but read")).count();
        let hidden = summary.faults.iter().filter(|fault| fault.contains("/hidden\",")).count();
        let Summary { cases, faults, .. } = summary;
        say(&format!("{}: of {cases} cases {more} read that are refused, {hidden} with a hidden request", server.name));
        say(&faults.join("\n"));
    }
}
