//! What the program uses: every value present, checked and in its own type.
//!
//! `Config` is what the operator wrote; `Settings` is what it means. Nothing past `config` sees a `Config`, so
//! nothing past `config` can meet a bad value.

mod name;
mod pattern;
mod policy;
mod routing;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use name::is_service_name;
pub use pattern::{MAX_SIZE as MAX_PATTERN_SIZE, Pattern, Substitution};
pub use policy::{
    Balance, Breaker, Bulkhead, Fallback, FallbackAnswer, HealthCheck, Hedge, Hold, Limit, Outlier, PerTry, Policy,
    Priority, Probe, Protocol, Retries,
};
pub use routing::{
    Access, Condition, HashBy, HeaderChanges, Label, Labels, Leads, Mirror, Part, PathChange, PathMatch, Redirect,
    RequestChanges, RouteSettings, Subset, ValueMatch,
};
pub use tls::{
    Alpn, CertificateFiles, ClientCertificates, ListenerTls, ServiceTls, TlsTo, TlsVersion, Trust, UnknownSni,
};

/// Everything the operator decided, or left to its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Worker threads, each with its own listeners and pools. At least 1.
    pub workers: usize,
    /// Where requests are accepted, services' own addresses included. At least one.
    pub listeners: Vec<Listener>,
    /// Plain TCP proxies, in the order they were written.
    pub tcp: Vec<TcpSettings>,
    /// Bounds on what a peer may send.
    pub http: HttpLimits,
    /// By name.
    pub registries: BTreeMap<Arc<str>, RegistrySettings>,
    /// By name.
    pub services: BTreeMap<Arc<str>, ServiceSettings>,
    /// Policies of services that are not declared and are reached by name.
    pub defaults: Policy,
    /// In the order they were written.
    pub routes: Vec<RouteSettings>,
    /// Reaching services by the request's host name. None where switched off.
    pub names: Option<NameSettings>,
    /// Where the admin API listens; none where switched off.
    pub admin: Option<SocketAddr>,
    /// Who may ask it, and who may change something through it.
    pub admin_access: AdminAccess,
    /// Whether metrics have series of each endpoint.
    pub endpoint_metrics: bool,
    /// How far faults may reach, and whether there are any.
    pub faults: FaultLimits,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Whether each request is written to the access log, as a JSON line on stdout.
    pub access_log: bool,
    /// Whether it and the explanations have the values of queries.
    pub query_values: bool,
    /// How long `/readyz` waits for the registries' first answers before it says ready without them.
    pub ready_grace: Duration,
}

/// A listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 asks the system for one.
    pub address: SocketAddr,
    /// Whether every request here goes to one service, whatever its host: a local port of its own.
    pub service: Option<Arc<str>>,
    /// Who may call.
    pub access: Option<Access>,
    /// Accept a connection only when its first bytes are there. Saves CPU per new connection; not where the
    /// server speaks first.
    pub defer_accept: bool,
    /// TLS; none for cleartext.
    pub tls: Option<ListenerTls>,
}

/// A plain TCP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSettings {
    /// Its name; no other has it.
    pub name: Arc<str>,
    /// Port 0 asks the system for one.
    pub listen: SocketAddr,
    /// Where it leads.
    pub upstream: TcpUpstream,
    /// How long things may take.
    pub times: TcpTimes,
}

/// Where a TCP proxy leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpUpstream {
    /// `host:port`, looked up at each connection.
    Address(Arc<str>),
    /// A service of the snapshot, balanced like any other.
    Service(Arc<str>),
}

/// How long things may take on a TCP proxy's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimes {
    /// Nothing moves in either direction.
    pub idle: Duration,
    /// One attempt to connect. None: the service's own, or five seconds.
    pub connect: Option<Duration>,
}

/// How long nothing may move on a TCP proxy's connection, where nobody says.
pub const TCP_IDLE: Duration = Duration::from_secs(3600);

impl Default for TcpTimes {
    fn default() -> Self {
        Self { idle: TCP_IDLE, connect: None }
    }
}

/// Who may ask the admin API, and who may change something through it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminAccess {
    /// Names that the API answers to, beside addresses and `localhost`. In lower case.
    pub hosts: Vec<String>,
    /// Where the token stands that a change has to carry.
    pub token_file: Option<PathBuf>,
}

/// Bounds on what a peer may send, and on how long it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpLimits {
    /// Bytes of a message's head, start line included. At most 60 KiB.
    pub max_head_bytes: usize,
    /// Header lines of a head.
    pub max_headers: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// A client's connection with no request on it.
    pub idle_timeout: Duration,
    /// A body of which nothing comes, or nothing is taken.
    pub stream_idle_timeout: Duration,
    /// Nothing moves in a tunnel, or a side takes nothing of what is ready for it.
    pub tunnel_idle_timeout: Duration,
    /// Clients' connections for the whole process.
    pub max_connections: usize,
    /// Addresses whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id` and control fields (a deadline, a priority, `explain`)
    /// are believed, beside loopback.
    pub trusted: Vec<Cidr>,
    /// Whether a client that has closed its sending side still gets its answer.
    pub half_close: bool,
    /// The field in which a trusted caller says how many milliseconds it still waits, and in which an endpoint is told.
    pub deadline_header: Arc<str>,
    /// The field in which a trusted caller says how much a request matters: `critical`, `default` or `sheddable`.
    pub priority_header: Arc<str>,
    /// The field in which a trusted caller says who it is, for bulkheads.
    pub caller_header: Arc<str>,
    /// Bytes of answers that are held back until they are whole, for the process.
    pub max_held_bytes: usize,
    /// Bytes of answers that are kept for `fallback: { stale: … }`, for the process.
    pub max_stale_bytes: usize,
    /// Bytes of memory for buffers, for the process; none for a part of what the system allows.
    pub max_buffered: Option<usize>,
    /// Bytes in a second below which a client is too slow while what it holds is short. 0 for none.
    pub min_rate: usize,
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Any address of the block.
    pub address: std::net::IpAddr,
    /// 0 to 32, or to 128.
    pub prefix: u8,
}

/// A registry, and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistrySettings {
    /// A Consul agent or server. What is none comes from the `CONSUL_*` variables.
    Consul {
        /// `http(s)://host[:port][/prefix]` or `unix:///path`.
        address: Option<String>,
        /// The ACL token's file, read again when it changes.
        token_file: Option<PathBuf>,
        /// The datacenter to ask for.
        datacenter: Option<String>,
        /// A bound on `X-Consul-LastContact`: older answers are kept only if there is no better.
        max_stale: Option<Duration>,
        /// Whether instances whose checks warn take traffic.
        include_warning: bool,
    },
    /// A YAML or JSON file of services, watched.
    File {
        /// Its path.
        path: PathBuf,
    },
}

/// A declared service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSettings {
    /// Where its instances come from.
    pub source: Source,
    /// Which of them; none for all.
    pub subset: Option<Subset>,
    /// A local address of its own, every request to which goes to it. It is among [`Settings::listeners`] already.
    pub listen: Option<SocketAddr>,
    /// TLS to its instances.
    pub tls: ServiceTls,
    /// Its policies, the defaults filled in.
    pub policy: Policy,
}

/// Where a service's instances come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A registry.
    Registry {
        /// Its name in [`Settings::registries`].
        registry: Arc<str>,
        /// The service's name there.
        name: Arc<str>,
    },
    /// Written in the configuration.
    Static(Vec<StaticInstance>),
}

/// An instance written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticInstance {
    /// An IP address or a host name.
    pub host: Arc<str>,
    /// 1 to 65535.
    pub port: u16,
    /// 0 to 65535.
    pub weight: u32,
    /// Whether it is written as `https://…`.
    pub https: bool,
}

/// Reaching services by the request's host name.
#[derive(Debug, Clone, PartialEq)]
pub struct NameSettings {
    /// The registry that names are looked up in; none where there is no registry, and only declared services
    /// are reachable by name.
    pub registry: Option<Arc<str>>,
    /// Suffixes taken off a host name before it is a service's: `.service.consul`, `.local`.
    pub suffixes: Vec<Arc<str>>,
    /// Only names that match one of these globs (`*`, `orders-*`) start a watch. Declared services are among them.
    pub allow: Vec<Arc<str>>,
    /// Watches that may be open at once because a name was used.
    pub max_watches: usize,
    /// A watch whose name was not used for this long ends.
    pub unused_after: Duration,
    /// What becomes of an absolute-form request for a host that is no service.
    pub unknown: UnknownHost,
}

/// What becomes of an absolute-form request for a host that is no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownHost {
    /// 404.
    Reject,
    /// Sent to that host as it is.
    Direct,
}

/// How far faults may reach, and whether there are any.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultLimits {
    /// Whether there may be any at all. The production lock: decided at the start, and by nobody afterwards.
    pub enabled: bool,
    /// Faults at one time, those of Toxiproxy's API on its own proxies left out.
    pub max_active: usize,
    /// The largest share of requests that a fault may strike, 0.0 to 1.0.
    pub max_requests: f64,
    /// The largest share of a service's healthy endpoints that its faults together may meet, 0.0 to 1.0.
    pub max_endpoints: f64,
    /// The longest life of a fault.
    pub max_ttl: Duration,
    /// Where the audit log is appended to.
    pub audit_log: Option<PathBuf>,
    /// Toxiproxy's API; none where it is not answered.
    pub toxiproxy: Option<ToxiproxySettings>,
    /// Those that are there from the start.
    pub start: Vec<crate::fault::Spec>,
}

/// Toxiproxy's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToxiproxySettings {
    /// Where it is answered.
    pub address: SocketAddr,
    /// A file with proxies that are there from the start.
    pub populate: Option<PathBuf>,
    /// Whether `/metrics` is there, with the bytes of each proxy.
    pub metrics: bool,
    /// Whether `/metrics` is there, with what the process itself takes.
    pub runtime_metrics: bool,
}

impl Default for FaultLimits {
    /// Locked.
    fn default() -> Self {
        Self {
            enabled: false,
            max_active: 100,
            max_requests: 1.0,
            max_endpoints: 0.5,
            max_ttl: Duration::from_secs(3600),
            audit_log: None,
            toxiproxy: None,
            start: Vec::new(),
        }
    }
}

/// How the process ends on SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// Keeps accepting and serving while `/readyz` already says no.
    pub lame_duck: Duration,
    /// From SIGTERM; what is in flight then is cut.
    pub deadline: Duration,
}
