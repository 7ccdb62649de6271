//! Services that say who they are, and a proxy before them.

use chaos_tests::fleet::Scripted;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{self, Message};
use serde_json::{Value, json};

/// Services `a`, `b` and so on, each of one instance that answers with its name, and the proxy.
pub struct Stage {
    pub proxy: Proxy,
    pub services: Vec<Scripted>,
}

impl Stage {
    /// With these routes.
    #[track_caller]
    pub fn of(names: &[&str], routes: Value) -> Self {
        Self::with(names, json!({ "routes": routes }))
    }

    /// With this configuration, into which the services are put.
    #[track_caller]
    pub fn with(names: &[&str], mut config: Value) -> Self {
        let answer = |name: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let services: Vec<_> = names.iter().map(|name| Scripted::answering(answer(name))).collect();
        for (name, service) in names.iter().zip(&services) {
            config["services"][*name]["instances"] = json!([service.address.to_string()]);
        }
        Self { proxy: Proxy::start(&config), services }
    }

    /// The answer to a GET with these header lines, each ended.
    pub fn get(&self, target: &str, fields: &str) -> Message {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: shop\r\n{fields}\r\n"))
    }

    pub fn ask(&self, request: &str) -> Message {
        raw::ask(self.proxy.address, request)
    }
}
