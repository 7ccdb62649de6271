//! gRPC with grpcio at both ends.

use std::time::Duration;

use chaos_tests::foreign::{self, Process};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::wait_for;
use serde_json::json;

#[test]
fn grpc_works_in_all_its_shapes() {
    let Some(mut command) = foreign::script("grpc_peer.py") else { return };
    let (_server, address) = Process::server(command.arg("server"));
    let mut config = proxy::to(&[address]);
    config["services"]["app"]["protocol"] = json!("http2");
    config["services"]["app"]["timeout"] = json!("30s");
    let proxy = Proxy::start(&config);
    let mut client = foreign::script("grpc_peer.py").unwrap();
    let said = foreign::finish(client.args(["client", &proxy.address.to_string()]));
    assert!(said.contains("fine"), "{said}");
}

#[test]
fn what_the_proxy_answers_by_itself_is_a_grpc_status() {
    let mut config = proxy::to(&[free_address()]);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let Some(mut client) = foreign::script("grpc_peer.py") else { return };
    let said = foreign::finish(client.args(["code", &proxy.address.to_string()]));
    assert!(said.starts_with("UNAVAILABLE"), "{said}");

    let Some(mut command) = foreign::script("grpc_peer.py") else { return };
    let (_server, address) = Process::server(command.arg("server"));
    let mut config = proxy::to(&[address]);
    config["services"]["app"]["protocol"] = json!("http2");
    config["routes"] = json!([{ "service": "app", "host": "elsewhere.example" }]);
    config["names"] = json!({ "enabled": false });
    let proxy = Proxy::start(&config);
    let mut client = foreign::script("grpc_peer.py").unwrap();
    let said = foreign::finish(client.args(["code", &proxy.address.to_string()]));
    assert!(said.starts_with("UNIMPLEMENTED"), "{said}");
}

#[test]
fn a_stream_that_fails_after_its_first_message_is_a_lost_call() {
    let Some(mut command) = foreign::script("grpc_peer.py") else { return };
    let (_server, address) = Process::server(command.arg("server"));
    let mut config = proxy::to(&[address]);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let mut client = foreign::script("grpc_peer.py").unwrap();
    let said = foreign::finish(client.args(["broken", &proxy.address.to_string()]));
    assert!(said.starts_with("DATA_LOSS"), "{said}");
    let lost = || proxy.metric("outrigger_lost_total", &["service=\"app\""]).iter().sum::<f64>();
    wait_for("the call is counted", Duration::from_secs(20), || lost() > 0.0);
    assert_eq!(lost(), 1.0);
}
