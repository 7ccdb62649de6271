//! What is asked of the proxies, and what Outrigger wants to reach.

use chaos_tests::proxies::Proxy;

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    Get1k,
    Get64k,
    Post16k,
    NewConn,
    H2c,
    Eps1000,
    Rate,
    TcpBulk,
    TcpConn,
}

impl Workload {
    pub const ALL: [Self; 9] = [
        Self::Get1k,
        Self::Get64k,
        Self::Post16k,
        Self::NewConn,
        Self::H2c,
        Self::Eps1000,
        Self::Rate,
        Self::TcpBulk,
        Self::TcpConn,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Get1k => "get1k",
            Self::Get64k => "get64k",
            Self::Post16k => "post16k",
            Self::NewConn => "newconn",
            Self::H2c => "h2c",
            Self::Eps1000 => "eps1000",
            Self::Rate => "rate",
            Self::TcpBulk => "tcpbulk",
            Self::TcpConn => "tcpconn",
        }
    }

    pub fn says(self) -> &'static str {
        match self {
            Self::Get1k => "GET of 1 KiB, 32 keep-alive connections",
            Self::Get64k => "GET of 64 KiB, 32 keep-alive connections",
            Self::Post16k => "POST of 16 KiB, 32 keep-alive connections",
            Self::NewConn => "GET of 1 KiB, a new connection for each, 32 at a time",
            Self::H2c => "GET of 1 KiB, HTTP/2 from the client: 4 connections of 8 streams; HTTP/1.1 to the origin",
            Self::Eps1000 => "GET of 1 KiB, 32 keep-alive connections, 1,000 endpoints",
            Self::Rate => "GET of 1 KiB, 2,000 a second, due at fixed times",
            Self::TcpBulk => "plain TCP, 4 connections that are sent to without an end; a request is a MiB",
            Self::TcpConn => {
                "plain TCP, a connection for each exchange of 1 KiB, 32 at a time; a request is a connection"
            }
        }
    }

    pub fn is_plain(self) -> bool {
        matches!(self, Self::TcpBulk | Self::TcpConn)
    }

    pub fn endpoints(self) -> usize {
        if self == Self::Eps1000 { 1000 } else { 3 }
    }

    /// How many times a peer's CPU per request Outrigger may take.
    pub fn goals(self) -> &'static [(Proxy, f64)] {
        match self {
            Self::Get1k => &[(Proxy::Haproxy, 0.8), (Proxy::Nginx, 0.88), (Proxy::Envoy, 0.3), (Proxy::Floor, 1.12)],
            Self::Get64k => &[(Proxy::Haproxy, 0.62), (Proxy::Floor, 1.15)],
            Self::Post16k => &[(Proxy::Haproxy, 0.42), (Proxy::Floor, 1.25)],
            Self::NewConn => &[(Proxy::Haproxy, 0.95)],
            Self::H2c => &[(Proxy::Haproxy, 1.3)],
            Self::TcpBulk | Self::TcpConn => &[(Proxy::Haproxy, 1.0), (Proxy::Toxiproxy, 0.5)],
            Self::Eps1000 => &[(Proxy::Haproxy, 0.8)],
            Self::Rate => &[(Proxy::Haproxy, 0.9)],
        }
    }
}
