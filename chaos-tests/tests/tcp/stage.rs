//! What these tests begin with: servers that echo, proxies to them, clients, faults.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chaos_tests::proxy::{Proxy, free_address};
use serde_json::{Value, json};

/// Longer than anything here takes; a test that hangs fails by it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on bare sockets, with a thread for each connection. It runs until the process ends.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (talk, connections) = (Arc::new(talk), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                stream.set_nodelay(true).ok();
                let talk = Arc::clone(&talk);
                std::thread::spawn(move || talk(stream));
            }
        });
        Self { address, connections }
    }

    /// Gives back what it gets; a client that sends no more is sent no more.
    pub fn echo() -> Self {
        Self::start(|mut stream| {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            stream.shutdown(Shutdown::Write).ok();
        })
    }

    /// Sends so many bytes, ends, and waits for the client's end.
    pub fn sending(bytes: usize) -> Self {
        Self::start(move |mut stream| {
            stream.write_all(&chaos_tests::pattern(bytes)).ok();
            stream.shutdown(Shutdown::Write).ok();
            stream.read_to_end(&mut Vec::new()).ok();
        })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A proxy process with one TCP proxy, `db`, and where that listens.
pub fn start(more: Value) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let mut tcp = json!({ "name": "db", "listen": listen });
    let mut config = json!({ "faults": { "enabled": true, "max_active": 2000 } });
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "upstream" | "service" | "idle_timeout" | "connect_timeout" => tcp[key] = value.clone(),
            _ => config[key] = value.clone(),
        }
    }
    config["tcp"] = json!([tcp]);
    (Proxy::start(&config), listen)
}

pub fn to(server: &Server) -> (Proxy, SocketAddr) {
    start(json!({ "upstream": server.address }))
}

#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends and reads as much.
#[track_caller]
pub fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "what came back is not what was sent");
}

/// Reads until the end; an error in place of the end is told.
pub fn rest(stream: &mut TcpStream) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut all = Vec::new();
    let ended = stream.read_to_end(&mut all);
    (all, ended.err().map(|error| error.kind()))
}

/// Adds a fault to `db`; its id.
#[track_caller]
pub fn add(proxy: &Proxy, kind: &str, attributes: Value, more: Value) -> u64 {
    let mut spec = json!({ "type": kind, "attributes": attributes, "proxy": "db" });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    if spec["service"].is_string() {
        spec.as_object_mut().unwrap().remove("proxy");
    }
    let answer = proxy.change("POST", "/api/v1/faults", Some(&spec));
    assert_eq!(answer.status(), 201, "{spec}: {}", answer.text());
    let view: Value = serde_json::from_slice(&answer.body).unwrap();
    view["id"].as_u64().unwrap()
}

#[track_caller]
pub fn end(proxy: &Proxy, id: u64) {
    assert_eq!(proxy.change("DELETE", &format!("/api/v1/faults/{id}"), None).status(), 204);
}
