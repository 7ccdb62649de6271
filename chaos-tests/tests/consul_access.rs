//! A real Consul that does not show everything to everybody: ACLs and TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here is the test's failure")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chaos_tests::consul::{Agent, CONSUL};
use futures_util::StreamExt;
use outrigger_registry::consul::{Consul, ConsulOptions, ConsulTls, Registration, Secret};
use outrigger_registry::{Registry, Update, Watch};

const SOON: Duration = Duration::from_secs(30);

const MANAGEMENT: &str = "6e5c6ab1-5d4a-4f09-a4a7-111111111111";
const READER: &str = "6e5c6ab1-5d4a-4f09-a4a7-222222222222";

#[tokio::test]
async fn what_a_token_may_no_longer_see_is_not_taken_for_gone() {
    let hcl = format!(
        "acl {{ enabled = true default_policy = \"deny\" tokens {{ initial_management = \"{MANAGEMENT}\" }} }}"
    );
    let Some(agent) = Agent::start_with(&hcl).await.unwrap() else { return };
    let with = |token: &str| ConsulOptions { token: Some(Secret::new(token)), ..ConsulOptions::at(agent.url()) };
    let manager = Consul::new(with(MANAGEMENT)).unwrap();
    manager.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    let policy = |rules: &str| serde_json::json!({"Name": "reader", "Rules": rules});
    let all = "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";
    let made = put(&agent, "policy", policy(all)).await;
    put(&agent, "token", serde_json::json!({"SecretID": READER, "Policies": [{"Name": "reader"}]})).await;

    let mut watch = Consul::new(with(READER)).unwrap().watch(&"orders".into());
    first(&mut watch, 1).await;
    let update = format!("policy/{}", made["ID"].as_str().unwrap());
    put(&agent, &update, policy("node_prefix \"\" { policy = \"read\" }")).await;
    // A change wakes the query, which is now answered with less.
    manager.register(&Registration::new("o2", "orders", "127.0.0.1", 3002)).await.unwrap();
    assert!(next_failure(&mut watch).await.contains("ACL"));
    put(&agent, &update, policy(all)).await;
    until(&mut watch, 2).await;

    // Without a token Consul says `[]`, and not that it hides something.
    let mut stranger = Consul::new(ConsulOptions::at(agent.url())).unwrap().watch(&"orders".into());
    assert!(next_failure(&mut stranger).await.contains("CONSUL_HTTP_TOKEN"));
    let mut unknown = Consul::new(with("no-such-token")).unwrap().watch(&"orders".into());
    assert!(next_failure(&mut unknown).await.contains("403"));
    // A name that is really unknown is an empty set for whoever may know.
    let mut nobody = Consul::new(with(READER)).unwrap().watch(&"nobody".into());
    assert_eq!(next_set(&mut nobody).await, 0);
}

#[tokio::test]
async fn tls_is_checked_both_ways() {
    let Some(consul) = CONSUL.path_or_skip().unwrap() else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    tls(&consul, directory.path(), &["ca", "create"]);
    tls(&consul, directory.path(), &["cert", "create", "-server", "-dc", "dc1"]);
    tls(&consul, directory.path(), &["cert", "create", "-client", "-dc", "dc1"]);
    let ca = at("consul-agent-ca.pem");
    let hcl = format!(
        "tls {{ https {{ verify_incoming = true ca_file = {ca:?} cert_file = {:?} key_file = {:?} }} }}",
        at("dc1-server-consul-0.pem"),
        at("dc1-server-consul-0-key.pem"),
    );
    let agent = Agent::start_with(&hcl).await.unwrap().unwrap();
    let plain = Consul::new(ConsulOptions::at(agent.url())).unwrap();
    plain.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();

    let client = Some((at("dc1-client-consul-0.pem"), at("dc1-client-consul-0-key.pem")));
    let good = ConsulTls { ca_file: Some(ca.clone()), client, ..ConsulTls::default() };
    let watch = |tls: ConsulTls| {
        Consul::new(ConsulOptions { tls, ..ConsulOptions::at(agent.https_url()) }).unwrap().watch(&"orders".into())
    };
    let mut follows = watch(good.clone());
    first(&mut follows, 1).await;
    plain.register(&Registration::new("o2", "orders", "127.0.0.1", 3002)).await.unwrap();
    until(&mut follows, 2).await;
    let named = |name: &str| ConsulTls { server_name: Some(name.to_owned()), ..good.clone() };
    assert_eq!(next_set(&mut watch(named("server.dc1.consul"))).await, 2);
    // The directory holds other files, too.
    std::fs::create_dir(at("cas")).unwrap();
    std::fs::copy(&ca, at("cas/ca.pem")).unwrap();
    std::fs::write(at("cas/README"), "no certificate").unwrap();
    let by_directory = ConsulTls { ca_file: None, ca_dir: Some(at("cas")), ..good.clone() };
    assert_eq!(next_set(&mut watch(by_directory)).await, 2);
    let unchecked = ConsulTls { ca_file: None, verify: false, ..good.clone() };
    assert_eq!(next_set(&mut watch(unchecked)).await, 2);

    let strange_authority = ConsulTls { ca_file: None, ..good.clone() };
    let no_client = ConsulTls { client: None, ..good.clone() };
    for tls in [named("server.dc2.consul"), strange_authority] {
        let reason = next_failure(&mut watch(tls)).await;
        assert!(reason.contains("certificate"), "{reason}");
    }
    // In TLS 1.3 the server refuses after the handshake, so its alert may be lost with the connection.
    next_failure(&mut watch(no_client)).await;
}

fn tls(consul: &Path, directory: &Path, arguments: &[&str]) {
    let made = Command::new(consul).arg("tls").args(arguments).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

async fn put(agent: &Agent, path: &str, body: serde_json::Value) -> serde_json::Value {
    let request = reqwest::Client::new().put(format!("{}/v1/acl/{path}", agent.url())).json(&body);
    let answer = request.header("x-consul-token", MANAGEMENT).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn next(watch: &mut Watch) -> Update {
    tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap()
}

async fn next_set(watch: &mut Watch) -> usize {
    match next(watch).await {
        Update::Set(set) => set.instances().len(),
        Update::Failed(error) => panic!("{error}"),
    }
}

/// A set may still be on its way; an emptied one never is.
async fn next_failure(watch: &mut Watch) -> String {
    loop {
        match next(watch).await {
            Update::Set(set) => assert!(!set.instances().is_empty(), "an emptied set"),
            Update::Failed(error) => return error.reason,
        }
    }
}

/// Waits for the agent to have told its servers what it was told.
async fn first(watch: &mut Watch, instances: usize) {
    while next_set(watch).await != instances {}
}

async fn until(watch: &mut Watch, instances: usize) {
    loop {
        if let Update::Set(set) = next(watch).await {
            assert!(!set.instances().is_empty(), "an emptied set");
            if set.instances().len() == instances {
                return;
            }
        }
    }
}
