//! Against a server of canned answers, for what no healthy Consul says. What a Consul does say is tested against the embedded one and a
//! real agent, in `chaos-tests`.

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{Health, Update};

const ONE: &str =
    r#"[{"Node":{"Node":"n","Address":"10.0.0.1","Datacenter":"dc1"},"Service":{"ID":"a","Port":80},"Checks":[]}]"#;
const TWO: &str = r#"[{"Node":{"Node":"n","Address":"10.0.0.1","Datacenter":"dc1"},"Service":{"ID":"a","Port":80},"Checks":[]},
    {"Node":{"Node":"n","Address":"10.0.0.1","Datacenter":"dc1"},"Service":{"ID":"b","Port":80},"Checks":[]}]"#;

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}", body.len())
}

fn ok(index: u64, body: &str) -> String {
    answer("200 OK", &format!("X-Consul-Index: {index}\r\n"), body)
}

/// Gives each connection the next answer, and the last one for ever; returns the heads of the requests.
async fn canned(answers: Vec<String>) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heads, received) = unbounded_channel();
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
            if heads.send(String::from_utf8(head).unwrap()).is_err() {
                break;
            }
            let answer = &answers[at.min(answers.len() - 1)];
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, received)
}

fn follow_at(options: ConsulOptions) -> Watch {
    Consul::new(options).unwrap().watch(&"orders".into())
}

async fn next(watch: &mut Watch) -> Update {
    tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap()
}

async fn next_set(watch: &mut Watch) -> Arc<InstanceSet> {
    match next(watch).await {
        Update::Set(set) => set,
        Update::Failed(error) => panic!("{error}"),
    }
}

async fn next_reason(watch: &mut Watch) -> String {
    match next(watch).await {
        Update::Set(set) => panic!("a failure was expected, came {set:?}"),
        Update::Failed(error) => error.reason,
    }
}

#[tokio::test]
async fn the_first_read_does_not_block_and_the_second_waits_on_its_index() {
    let (address, mut heads) = canned(vec![ok(7, ONE), ok(9, TWO)]).await;
    let mut watch = follow_at(ConsulOptions { datacenter: Some("dc1".to_owned()), ..ConsulOptions::at(address) });
    assert_eq!(next_set(&mut watch).await.instances().len(), 1);
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    assert!(heads.recv().await.unwrap().starts_with("GET /v1/health/service/orders?stale=&dc=dc1 HTTP/1.1\r\n"));
    let second = heads.recv().await.unwrap();
    assert!(second.starts_with("GET /v1/health/service/orders?stale=&index=7&wait=60000ms&dc=dc1 "), "{second}");
}

#[tokio::test]
async fn every_status_but_200_is_a_failure_that_says_what_to_do() {
    for (status, advice) in [
        ("403 Forbidden", "status 403: what it said (the token needs node:read and service:read)"),
        ("429 Too Many", "http_max_conns_per_client"),
        ("500 Error", "status 500: what it said"),
        ("503 Unavailable", "status 503: what it said"),
        ("404 Not Found", "status 404: what it said"),
        ("301 Moved", "redirects are not followed"),
        ("204 No Content", "status 204"),
    ] {
        let body = if status.starts_with("204") { "" } else { "what it said\n" };
        let (address, _heads) =
            canned(vec![ok(1, ONE), answer(status, "location: http://127.0.0.1:1/\r\n", body)]).await;
        let mut watch = follow_at(ConsulOptions::at(address));
        next_set(&mut watch).await;
        let reason = next_reason(&mut watch).await;
        assert!(reason.contains(advice), "{reason}");
    }
}

#[tokio::test]
async fn what_is_no_complete_answer_is_a_failure_and_never_an_empty_set() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[]".to_owned();
    for broken in [
        ok(2, "<html>"),
        ok(2, "null"),
        ok(2, ""),
        ok(2, &ONE[..80]),
        cut,
        String::new(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let (address, _heads) = canned(vec![ok(1, ONE), broken.clone()]).await;
        let mut watch = follow_at(ConsulOptions::at(address));
        next_set(&mut watch).await;
        assert!(!next_reason(&mut watch).await.is_empty(), "{broken}");
    }
}

#[tokio::test]
async fn after_a_failure_it_reads_without_blocking_and_follows_again() {
    let (address, mut heads) =
        canned(vec![ok(900, ONE), answer("500 Error", "", "No cluster leader"), ok(3, TWO)]).await;
    let mut watch = follow_at(ConsulOptions::at(address));
    next_set(&mut watch).await;
    assert!(next_reason(&mut watch).await.contains("No cluster leader"));
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    heads.recv().await.unwrap();
    assert!(heads.recv().await.unwrap().contains("index=900"));
    assert!(!heads.recv().await.unwrap().contains("index="));
}

#[tokio::test]
async fn an_answer_with_a_lower_index_is_read_again_before_it_is_believed() {
    let (address, mut heads) = canned(vec![ok(900, TWO), ok(3, "[]"), ok(900, TWO)]).await;
    let mut watch = follow_at(ConsulOptions::at(address));
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    heads.recv().await.unwrap();
    heads.recv().await.unwrap();
    assert!(!heads.recv().await.unwrap().contains("index="));
}

#[tokio::test]
async fn an_answer_beyond_the_size_bound_is_a_failure() {
    let (address, _heads) = canned(vec![ok(1, TWO)]).await;
    let mut watch = follow_at(ConsulOptions { max_answer: TWO.len() - 1, ..ConsulOptions::at(address) });
    assert!(next_reason(&mut watch).await.contains("larger than"));
}

#[tokio::test]
async fn instances_that_acls_hide_are_not_taken_for_gone() {
    let filtered = |body| answer("200 OK", "X-Consul-Index: 2\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n", body);
    for hidden in [filtered("[]"), filtered(ONE)] {
        let (address, _heads) = canned(vec![ok(1, TWO), hidden]).await;
        let mut watch = follow_at(ConsulOptions::at(address));
        next_set(&mut watch).await;
        assert!(next_reason(&mut watch).await.contains("ACL"));
    }
    let (address, _heads) = canned(vec![filtered("[]")]).await;
    assert!(next_reason(&mut follow_at(ConsulOptions::at(address))).await.contains("ACL"));
    // With a token that never showed everything, what goes is gone, down to the last one.
    let (address, _heads) = canned(vec![filtered(TWO), filtered(ONE), filtered("[]")]).await;
    let mut watch = follow_at(ConsulOptions::at(address));
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    assert_eq!(next_set(&mut watch).await.instances().len(), 1);
    assert!(next_reason(&mut watch).await.contains("ACL"));
}

#[tokio::test]
async fn under_a_default_of_deny_what_is_missing_is_looked_for_again_without_blocking() {
    let said = |headers: &str, body| {
        answer("200 OK", &format!("X-Consul-Index: 2\r\nX-Consul-Default-Acl-Policy: deny\r\n{headers}"), body)
    };
    let filtered = "X-Consul-Results-Filtered-By-ACLs: true\r\n";
    let token = Some(Secret::new("t"));
    // Hidden: a failure. Really gone: gone.
    for (second_look, gone) in [(said(filtered, "[]"), false), (said("", "[]"), true)] {
        let (address, mut heads) = canned(vec![said("", TWO), said("", "[]"), second_look]).await;
        let mut watch = follow_at(ConsulOptions { token: token.clone(), ..ConsulOptions::at(address) });
        assert_eq!(next_set(&mut watch).await.instances().len(), 2);
        match next(&mut watch).await {
            Update::Set(set) => assert!(gone && set.is_empty()),
            Update::Failed(error) => assert!(!gone && error.reason.contains("ACL"), "{error}"),
        }
        heads.recv().await.unwrap();
        assert!(heads.recv().await.unwrap().contains("index=2"));
        assert!(!heads.recv().await.unwrap().contains("index="));
    }
    // Nobody is told nothing.
    let (address, _heads) = canned(vec![said("", "[]")]).await;
    assert!(next_reason(&mut follow_at(ConsulOptions::at(address))).await.contains("CONSUL_HTTP_TOKEN"));
}

#[tokio::test]
async fn a_server_long_out_of_contact_is_not_believed_and_the_leader_is_asked() {
    let old = answer("200 OK", "X-Consul-Index: 5\r\nX-Consul-Lastcontact: 61000\r\n", "[]");
    let (address, mut heads) = canned(vec![old, ok(8, TWO), ok(9, ONE)]).await;
    let mut watch = follow_at(ConsulOptions::at(address));
    assert_eq!(next_set(&mut watch).await.instances().len(), 2);
    assert_eq!(next_set(&mut watch).await.instances().len(), 1);
    assert!(heads.recv().await.unwrap().contains("stale"));
    assert!(!heads.recv().await.unwrap().contains("stale"));
    let third = heads.recv().await.unwrap();
    assert!(third.contains("stale") && third.contains("index=8"), "{third}");
}

#[tokio::test]
async fn a_rotated_token_file_is_used_and_a_missing_one_is_named() {
    let (address, mut heads) = canned(vec![ok(1, ONE), ok(2, TWO)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let token = Some(Secret::new("unused"));
    let mut watch =
        follow_at(ConsulOptions { token, token_file: Some(file.path().into()), ..ConsulOptions::at(address) });
    next_set(&mut watch).await;
    std::fs::write(file.path(), "second\n").unwrap();
    next_set(&mut watch).await;
    assert!(heads.recv().await.unwrap().contains("x-consul-token: first\r\n"));
    assert!(heads.recv().await.unwrap().contains("x-consul-token: second\r\n"));
    let path = file.path().display().to_string();
    drop(file);
    assert!(next_reason(&mut watch).await.contains(&path));
}

#[tokio::test]
async fn basic_auth_namespace_and_partition_are_sent() {
    let (address, mut heads) = canned(vec![ok(1, ONE)]).await;
    let options = ConsulOptions {
        basic_auth: Some(Secret::new("user:word")),
        namespace: Some("team".to_owned()),
        partition: Some("east".to_owned()),
        stale: false,
        ..ConsulOptions::at(address)
    };
    next_set(&mut follow_at(options)).await;
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /v1/health/service/orders?ns=team&partition=east "), "{head}");
    assert!(head.contains("authorization: Basic dXNlcjp3b3Jk\r\n"), "{head}");
}

#[tokio::test]
async fn a_unix_socket_is_dialled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("consul.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
        stream.write_all(ok(1, ONE).as_bytes()).await.unwrap();
    });
    let consul = Consul::new(ConsulOptions::at(format!("unix://{}", path.display()))).unwrap();
    assert_eq!(consul.describe(), format!("consul at unix://{}", path.display()));
    let mut watch = consul.watch(&"orders".into());
    assert_eq!(next_set(&mut watch).await.instances()[0].health, Health::Passing);
}

#[tokio::test]
async fn a_consul_that_refuses_connections_is_a_failure_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    match next(&mut follow_at(ConsulOptions::at(address.to_string()))).await {
        Update::Set(set) => panic!("{set:?}"),
        Update::Failed(error) => {
            let text = error.to_string();
            assert!(text.starts_with(&format!("consul at http://{address}: orders: ")), "{text}");
            assert!(text.contains("refused"), "{text}");
        }
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let error = |options| Consul::new(options).err().unwrap().to_string();
    let https = || ConsulOptions::at("https://127.0.0.1:1");
    let tls = |tls| ConsulOptions { tls, ..https() };
    let missing = || Some("/nonexistent/x.pem".into());
    assert!(error(ConsulOptions::at("ftp://x")).starts_with("address: "));
    assert!(
        error(tls(ConsulTls { ca_file: missing(), ..ConsulTls::default() }))
            .starts_with("CA certificate /nonexistent/x.pem: ")
    );
    assert!(
        error(tls(ConsulTls { ca_dir: missing(), ..ConsulTls::default() })).starts_with("CA path /nonexistent/x.pem: ")
    );
    let client = missing().zip(missing());
    assert!(
        error(tls(ConsulTls { client, ..ConsulTls::default() })).starts_with("client certificate /nonexistent/x.pem: ")
    );
    let empty = tempfile::NamedTempFile::new().unwrap();
    let tls = ConsulTls { ca_file: Some(empty.path().into()), ..ConsulTls::default() };
    assert!(error(ConsulOptions { tls, ..https() }).contains("no certificate"));
}
