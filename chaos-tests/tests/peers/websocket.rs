//! WebSocket with two libraries, each as client and server, over both protocols on both sides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chaos_tests::fleet::Scripted;
use chaos_tests::foreign::{self, Process};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::{SOON, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

fn both_clients(origin: SocketAddr, closes_on_request: bool) {
    let proxy = Proxy::before(&[origin]);
    if closes_on_request {
        let mut python = foreign::script("websocket_peer.py").unwrap();
        let said = foreign::finish(python.args(["client", &format!("ws://{}/ws", proxy.address)]));
        assert!(said.contains("fine"), "{said}");
    }
    let Some(mut node) = foreign::script("node_client.mjs") else { return };
    let said = foreign::finish(node.args(["ws", "full", &proxy.address.to_string(), ""]));
    assert!(said.contains("fine"), "{said}");
}

#[test]
fn websockets_echo_from_pythons_websockets() {
    let Some(mut command) = foreign::script("websocket_peer.py") else { return };
    let (_server, address) = Process::server(command.arg("server"));
    both_clients(address, true);
}

#[test]
fn websockets_echo_from_nodes_ws() {
    let (Some(_), Some(mut command)) = (foreign::python(), foreign::script("node_server.mjs")) else { return };
    let (_server, address) = Process::server(&mut command);
    both_clients(address, true);
}

#[test]
fn websockets_echo_from_aiohttp() {
    let Some(mut command) = foreign::script("aiohttp_server.py") else { return };
    let (_server, address) = Process::server(&mut command);
    both_clients(address, false);
}

/// The configuration of `docs/http2.md` before this instance.
fn as_documented(instance: SocketAddr) -> String {
    let page = include_str!("../../../docs/http2.md");
    let config = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    config.replace("127.0.0.1:9001", &instance.to_string())
}

#[test]
fn the_configuration_of_the_page_on_http2_carries_a_websocket() {
    let Some(mut command) = foreign::script("node_h2_websocket.mjs") else { return };
    let (_server, instance) = Process::server(command.arg("server"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outrigger.yaml");
    std::fs::write(&file, as_documented(instance)).expect("a file");
    let paged = Proxy::with_arguments(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(node_over_http2(&["client", &paged.address.to_string()]).as_deref(), Some("fine"));
}

/// A server over HTTP/2: Node's, with the framing of ws.
fn over_http2(kind: &str) -> Option<(Process, Proxy)> {
    let mut command = foreign::script("node_h2_websocket.mjs")?;
    let (server, address) = Process::server(command.args(["server", kind]));
    let mut config = proxy::to(&[address]);
    config["services"]["app"]["protocol"] = json!("http2");
    // A machine that is busy may take longer to say what it offers.
    config["services"]["app"]["connect_timeout"] = json!("10s");
    Some((server, Proxy::start(&config)))
}

/// What Node's HTTP/2 client says of a WebSocket.
fn node_over_http2(what: &[&str]) -> Option<String> {
    let mut node = foreign::script("node_h2_websocket.mjs")?;
    Some(foreign::finish(node.args(what)).trim().to_owned())
}

#[test]
fn a_websocket_of_an_http2_client_reaches_an_http1_server() {
    let Some(mut command) = foreign::script("websocket_peer.py") else { return };
    let (_server, address) = Process::server(command.arg("server"));
    let proxy = Proxy::before(&[address]);
    let Some(said) = node_over_http2(&["client", &proxy.address.to_string()]) else { return };
    assert_eq!(said, "fine");
}

#[test]
fn a_websocket_of_an_http1_client_reaches_an_http2_server() {
    let Some((_server, proxy)) = over_http2("") else { return };
    let Some(mut python) = foreign::script("websocket_peer.py") else { return };
    let said = foreign::finish(python.args(["client", &format!("ws://{}/ws", proxy.address)]));
    assert!(said.contains("fine"), "{said}");
}

#[test]
fn a_websocket_of_an_http2_client_reaches_an_http2_server() {
    let Some((_server, proxy)) = over_http2("") else { return };
    assert_eq!(node_over_http2(&["client", &proxy.address.to_string()]).as_deref(), Some("fine"));
}

#[test]
fn a_websocket_that_is_refused_over_http2_is_no_tunnel() {
    let Some((_server, proxy)) = over_http2("") else { return };
    let at = proxy.address.to_string();
    assert_eq!(node_over_http2(&["status", &at, "/forbidden"]).as_deref(), Some("403"));
    // A page is no tunnel, and 200 would say that there is one.
    let Some((_server, proxy)) = over_http2("plain") else { return };
    let at = proxy.address.to_string();
    assert_eq!(node_over_http2(&["status", &at, "/ws"]).as_deref(), Some("502"));
    assert_eq!(node_over_http2(&["status", &at, "/forbidden"]).as_deref(), Some("403"));
}

#[test]
fn a_drain_tells_http2_clients_in_two_steps_and_finishes_what_is_under_way() {
    let go_on = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go_on);
    let origin = Scripted::start(move |peer| {
        while peer.request().is_some() {
            wait_for("the drain", SOON, || may.load(Ordering::SeqCst));
            peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address]);
    let Some(mut node) = foreign::script("node_h2_websocket.mjs") else { return };
    let client = Process::start(node.args(["drain", &proxy.address.to_string()]));
    wait_for("the request", SOON, || origin.requests() == 1);
    proxy.signal(Signal::SIGTERM);
    // First that no more is to come, then which was the last (RFC 9113 section 6.8).
    assert_eq!(client.line(), "goaway 0 2147483647");
    assert_eq!(client.line(), "goaway 0 1");
    go_on.store(true, Ordering::SeqCst);
    assert_eq!([client.line(), client.line(), client.line()], ["answered 200", "whole", "closed"]);
}
