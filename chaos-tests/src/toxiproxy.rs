//! The real Toxiproxy, and Outrigger in its place: the same thing to whoever drives them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::proxy::{Proxy, binary, free_address};
use crate::tools::Tool;
use crate::{SOON, raw, wait_for};

/// The real server.
pub const SERVER: Tool = Tool {
    name: "toxiproxy-server",
    module: "toxiproxy",
    package: "github.com/Shopify/toxiproxy/v2/cmd/server",
    link: "-X github.com/Shopify/toxiproxy/v2.Version=2.12.0",
    build_time: "half a minute",
};

/// Its command line.
pub const CLI: Tool = Tool {
    name: "toxiproxy-cli",
    module: "toxiproxy",
    package: "github.com/Shopify/toxiproxy/v2/cmd/cli",
    link: "-X github.com/Shopify/toxiproxy/v2.Version=2.12.0",
    build_time: "ten seconds",
};

/// Whoever answers Toxiproxy's API.
#[derive(Debug)]
pub struct Toxiproxy {
    /// Where it does.
    pub api: SocketAddr,
    /// `toxiproxy` or `outrigger`.
    pub name: &'static str,
    /// The process, where it is Outrigger.
    pub proxy: Option<Proxy>,
    child: Option<Child>,
}

impl Toxiproxy {
    /// The real one. None where it is not to be had, which is said loudly and fails with `CI=true`.
    #[track_caller]
    pub fn real() -> Option<Self> {
        Self::real_with(&[])
    }

    /// The real one with further arguments.
    #[track_caller]
    pub fn real_with(arguments: &[&str]) -> Option<Self> {
        let program = SERVER.path_or_skip().unwrap_or_else(|why| panic!("{why}"))?;
        Some(Self::spawn("toxiproxy", Command::new(program).args(arguments)))
    }

    /// `outrigger toxiproxy`, with the arguments of the real one.
    #[track_caller]
    pub fn drop_in(arguments: &[&str]) -> Self {
        Self::spawn("outrigger", Command::new(binary()).arg("toxiproxy").args(arguments))
    }

    #[track_caller]
    fn spawn(name: &'static str, command: &mut Command) -> Self {
        let api = free_address();
        let child = command
            .args(["-host=127.0.0.1", "-port", &api.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let started = Self { api, name, proxy: None, child: Some(child) };
        wait_for(name, SOON, || raw::Connection::try_open(api).is_ok());
        started
    }

    /// Outrigger without a service.
    #[track_caller]
    pub fn outrigger() -> Self {
        Self::outrigger_with(json!({}))
    }

    /// Outrigger with a configuration, to which `faults` is added.
    #[track_caller]
    pub fn outrigger_with(mut config: Value) -> Self {
        let api = free_address();
        if config["faults"].is_null() {
            config["faults"] = json!({});
        }
        config["faults"]["enabled"] = true.into();
        config["faults"]["toxiproxy"] = json!({ "enabled": true, "address": api });
        let proxy = Proxy::start(&config);
        Self { api, name: "outrigger", proxy: Some(proxy), child: None }
    }

    /// One call, on a connection of its own.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &str) -> raw::Message {
        self.call_with(method, path, body.as_bytes(), "")
    }

    /// One call with further fields, each with its CRLF.
    #[track_caller]
    pub fn call_with(&self, method: &str, path: &str, body: &[u8], fields: &str) -> raw::Message {
        let mut connection = raw::Connection::open(self.api);
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n",
            self.api
        );
        connection.send([head.as_bytes(), body].concat());
        connection.try_answer(method).unwrap_or_else(|broken| panic!("{}: {method} {path}: {broken}", self.name))
    }

    /// Makes a proxy that listens on a port of the system's choice. Where it does.
    #[track_caller]
    pub fn proxy(&self, name: &str, upstream: SocketAddr) -> SocketAddr {
        // A proxy that is disabled or made anew wants its port again, which from the ephemeral range may be another's by then.
        let body = json!({ "name": name, "listen": free_address(), "upstream": upstream }).to_string();
        let made = self.call("POST", "/proxies", &body);
        assert_eq!(made.status(), 201, "{}: {}", self.name, made.text());
        let made: Value = serde_json::from_slice(&made.body).expect("JSON");
        made["listen"].as_str().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Adds a toxic.
    #[track_caller]
    pub fn toxic(&self, proxy: &str, toxic: &Value) {
        let made = self.call("POST", &format!("/proxies/{proxy}/toxics"), &toxic.to_string());
        assert_eq!(made.status(), 200, "{}: {}", self.name, made.text());
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
