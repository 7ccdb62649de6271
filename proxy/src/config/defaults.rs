//! What a key means when it is left out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::settings::{FaultLimits, Policy};
use super::text::{Address, FieldName};
use super::written::{
    Admin, Config, Defaults, Faults, Http, Listener, Names, PolicyKeys, Shutdown, Toxiproxy, Unknown,
};
use crate::units::{Interval, Patience, Share, Size};

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
            listeners: vec![Listener {
                address: loopback(8080),
                service: None,
                access: None,
                defer_accept: false,
                tls: None,
            }],
            tcp: Vec::new(),
            registries: Default::default(),
            defaults: Defaults::default(),
            services: Default::default(),
            routes: Vec::new(),
            names: Names::default(),
            admin: Admin::default(),
            faults: Faults::default(),
            http: Http::default(),
            shutdown: Shutdown::default(),
            workers: None,
            access_log: false,
            query_values: false,
            ready_grace: seconds(10),
        }
    }
}

impl Default for Defaults {
    /// What the policies' own types say.
    fn default() -> Self {
        let PolicyKeys {
            timeout,
            connect_timeout,
            retries,
            per_try_timeout,
            hedge,
            hold,
            outlier,
            breaker,
            limit,
            bulkhead,
            priority,
            health_check,
            slow_start,
            fallback,
            balance,
            hash,
            protocol,
            request_trailers,
            max_connections,
            max_idle,
            idle_timeout,
        } = PolicyKeys::from(&Policy::default());
        Self {
            timeout,
            connect_timeout,
            retries,
            per_try_timeout,
            hedge,
            hold,
            outlier,
            breaker,
            limit,
            bulkhead,
            priority,
            health_check,
            slow_start,
            fallback,
            balance,
            hash,
            protocol,
            request_trailers,
            max_connections,
            max_idle,
            idle_timeout,
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
        Self { enabled: true, address: loopback(9901), hosts: Vec::new(), token_file: None, endpoint_metrics: true }
    }
}

impl Default for Faults {
    fn default() -> Self {
        let FaultLimits { enabled, max_active, max_requests, max_endpoints, max_ttl, audit_log, toxiproxy: _, start } =
            FaultLimits::default();
        Self {
            enabled,
            max_active: u32::try_from(max_active).unwrap_or(u32::MAX),
            max_requests: Share(max_requests),
            max_endpoints: Share(max_endpoints),
            max_ttl: Interval(max_ttl),
            audit_log,
            toxiproxy: Toxiproxy::default(),
            start,
        }
    }
}

impl Default for Toxiproxy {
    fn default() -> Self {
        Self { enabled: false, address: loopback(8474), populate: None, metrics: false, runtime_metrics: false }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_head_size: Size(32 << 10),
            max_headers: 100,
            header_timeout: seconds(10),
            idle_timeout: seconds(120),
            stream_idle_timeout: Patience(Some(Duration::from_secs(300))),
            tunnel_idle_timeout: Patience(Some(Duration::from_secs(300))),
            max_connections: 10_000,
            trusted_cidrs: Vec::new(),
            half_close: false,
            deadline_header: FieldName("x-request-deadline".into()),
            priority_header: FieldName("x-outrigger-priority".into()),
            caller_header: FieldName("x-outrigger-caller".into()),
            max_held: Size(32 << 20),
            max_stale: Size(32 << 20),
            max_buffered: None,
            min_rate: Size(1 << 10),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { lame_duck: seconds(5), deadline: seconds(30) }
    }
}
