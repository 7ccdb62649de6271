//! WebSocket with two libraries, each as client and server.

use std::net::SocketAddr;

use chaos_tests::foreign::{self, Process};
use chaos_tests::proxy::Proxy;

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
