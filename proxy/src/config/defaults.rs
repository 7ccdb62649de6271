//! What a key means when it is left out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::text::{Address, Interval, Size};
use super::written::{Admin, Balance, Config, Defaults, Http, Listener, Names, Protocol, Shutdown, Unknown};

/// On this machine only: what is not asked for is not open to the network.
const fn loopback(port: u16) -> Address {
    Address(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

const fn seconds(seconds: u64) -> Interval {
    Interval(Duration::from_secs(seconds))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener { address: loopback(8080), service: None, defer_accept: false }],
            registries: Default::default(),
            defaults: Defaults::default(),
            services: Default::default(),
            routes: Vec::new(),
            names: Names::default(),
            admin: Admin::default(),
            http: Http::default(),
            shutdown: Shutdown::default(),
            workers: None,
            access_log: false,
            ready_grace: seconds(10),
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout: Some(seconds(15)),
            connect_timeout: Some(seconds(1)),
            max_retries: Some(2),
            balance: Some(Balance::P2c),
            protocol: Some(Protocol::Http1),
            max_connections: Some(1024),
            max_idle: Some(256),
            idle_timeout: Some(seconds(4)),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self {
            enabled: true,
            registry: None,
            suffixes: vec![".service.consul".into(), ".local".into()],
            allow: vec!["*".into()],
            max_watches: 256,
            unused_after: seconds(600),
            unknown: Unknown::Reject,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { enabled: true, address: loopback(9901) }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_head_size: Size(32 << 10),
            max_headers: 100,
            header_timeout: seconds(10),
            idle_timeout: seconds(120),
            stream_idle_timeout: seconds(300),
            max_connections: 10_000,
            trusted_cidrs: Vec::new(),
            half_close: false,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { lame_duck: seconds(5), deadline: seconds(30) }
    }
}
