//! Over HTTP, as a client that is not ours would. That our client follows it is in the contract tests, in `chaos-tests`.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn small() -> Embedded {
    let limits = Limits { instances: 3, body: 512, connections: 8, waiting: 2 };
    Embedded::bind_with("127.0.0.1:0", limits).await.unwrap()
}

/// One request on a connection of its own: status, head, body.
async fn ask(registry: &Embedded, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(registry.address()).await.unwrap();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

async fn get(registry: &Embedded, path: &str) -> Value {
    let (status, _, body) = ask(registry, "GET", path, "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn put(registry: &Embedded, path: &str, body: Value) -> u16 {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask(registry, "PUT", path, &body).await.0
}

const REGISTER: &str = "/v1/agent/service/register";

#[tokio::test]
async fn what_clients_of_consul_look_for_is_there() {
    let registry = small().await;
    let body =
        json!({"Name": "web", "ID": "w1", "Port": 80, "Tags": ["b", "a"], "Meta": null, "Check": {"TTL": "30s"}});
    assert_eq!(put(&registry, REGISTER, body).await, 200);
    assert_eq!(get(&registry, "/v1/catalog/services").await, json!({"web": ["a", "b"]}));
    assert_eq!(get(&registry, "/v1/agent/services").await["w1"]["Service"], "web");
    assert_eq!(get(&registry, "/v1/agent/self").await["Config"]["Datacenter"], "dc1");
    assert_eq!(get(&registry, "/v1/status/leader").await, "127.0.0.1");
    assert_eq!(get(&registry, "/v1/health/service/web?passing").await, json!([]));
    for verb in ["pass", "warn", "fail", "pass"] {
        let path = format!("/v1/agent/check/{verb}/service:w1?note=by+hand");
        assert_eq!(put(&registry, &path, json!(null)).await, 200);
    }
    let entries = get(&registry, "/v1/health/service/web?passing=true&dc=dc1&stale").await;
    assert_eq!(entries[0]["Checks"][1]["Output"], "by hand");
    assert_eq!(entries[0]["Service"]["Weights"], json!({"Passing": 1, "Warning": 1}));
    let (_, head, _) = ask(&registry, "GET", "/v1/health/service/web", "").await;
    for header in ["x-consul-index: ", "x-consul-knownleader: true", "x-consul-lastcontact: 0"] {
        assert!(head.contains(header), "{head}");
    }
}

#[tokio::test]
async fn a_read_past_its_index_waits_for_the_change_and_no_longer_than_asked() {
    let registry = small().await;
    assert_eq!(put(&registry, REGISTER, json!({"Name": "web", "Port": 80})).await, 200);
    let path = "/v1/catalog/services?index=2&wait=200ms";
    let start = tokio::time::Instant::now();
    assert_eq!(get(&registry, path).await, json!({"web": []}));
    assert!(start.elapsed() >= Duration::from_millis(200));
    let (waited, changed) = tokio::join!(
        get(&registry, "/v1/catalog/services?index=2&wait=10m"),
        put(&registry, REGISTER, json!({"Name": "shop", "Port": 81})),
    );
    assert_eq!((waited, changed), (json!({"shop": [], "web": []}), 200));
}

#[tokio::test]
async fn what_makes_no_sense_gets_a_status_that_says_so() {
    let registry = small().await;
    for (method, path, body, expected) in [
        ("GET", "/", "", 404),
        ("GET", "/v1/kv/x", "", 404),
        ("POST", REGISTER, "{}", 405),
        ("PUT", "/v1/health/service/web", "", 405),
        ("PUT", REGISTER, "", 400),
        ("PUT", REGISTER, "{", 400),
        ("PUT", REGISTER, "{\"Name\": 7}", 400),
        ("PUT", REGISTER, "{\"Name\": \"web\", \"Port\": 70000}", 400),
        ("PUT", "/v1/agent/service/maintenance/x", "", 400),
        ("PUT", "/v1/agent/service/maintenance/x?enable=true", "", 404),
        ("PUT", "/v1/agent/check/update/x", "{\"Status\": \"fine\"}", 400),
        ("PUT", "/v1/agent/check/pass/x", "", 404),
        ("GET", "/v1/health/service/%zz", "", 400),
        ("GET", "/v1/health/service/%ff", "", 400),
        ("GET", "/v1/health/service/web?index=-1", "", 400),
        ("GET", "/v1/health/service/web?index=1&wait=soon", "", 400),
        ("GET", "/v1/health/service/web?filter=x", "", 400),
        ("GET", "/v1/health/service/web?dc=elsewhere", "", 500),
    ] {
        let (status, _, text) = ask(&registry, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn everything_has_a_bound() {
    let registry = small().await;
    let long = json!({"Name": "web", "Port": 80, "Meta": {"k": "x".repeat(600)}});
    assert_eq!(put(&registry, REGISTER, long).await, 413);
    for (id, expected) in [("1", 200), ("2", 200), ("3", 200), ("4", 503)] {
        assert_eq!(put(&registry, REGISTER, json!({"Name": "web", "ID": id, "Port": 80})).await, expected);
    }
    let waiting = "/v1/health/service/web?index=1000&wait=10m";
    let answered = async {
        while registry.handle.shared.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (status, _, _) = ask(&registry, "GET", waiting, "").await;
        status
    };
    tokio::select! {
        _ = ask(&registry, "GET", waiting, "") => panic!("it did not wait"),
        _ = ask(&registry, "GET", waiting, "") => panic!("it did not wait"),
        status = answered => assert_eq!(status, 429),
    }
    // Whoever goes away gives his place back.
    let back = async {
        while registry.handle.shared.waiting.available_permits() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
}

#[tokio::test]
async fn a_handle_changes_what_clients_read() {
    let registry = small().await;
    let handle = registry.handle().clone();
    let registration = Registration::new("w1", "web", "127.0.0.1", 80);
    handle.register(registration.with_ttl(Duration::from_secs(300), Health::Passing)).unwrap();
    handle.report("service:w1", Health::Warning, "slow").unwrap();
    let last = |entries: &Value| entries[0]["Checks"].as_array().unwrap().last().unwrap()["Status"].clone();
    assert_eq!(last(&get(&registry, "/v1/health/service/web").await), "warning");
    assert_eq!(handle.services(), ["web"]);
    handle.maintenance("w1", true, "").unwrap();
    handle.deregister("w1").unwrap();
    assert!(matches!(handle.deregister("w1"), Err(Refused::Unknown(_))));
    assert_eq!(get(&registry, "/v1/health/service/web").await, json!([]));
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_and_free_again_after_the_end() {
    let registry = small().await;
    let address = registry.address();
    assert_eq!(Embedded::bind(address).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let mut open = TcpStream::connect(address).await.unwrap();
    get(&registry, "/v1/agent/self").await;
    registry.shutdown().await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), open.read_to_end(&mut rest)).await;
    assert!(closed.is_ok() && rest.is_empty());
    Embedded::bind(address).await.unwrap();
}
