//! The policies of a service, or of a route to it: the same names and shapes everywhere.
//!
//! The defaults here are what the program does when nothing is written; `docs/resilience.md` says why each is what it is.

use std::sync::Arc;
use std::time::Duration;

use super::HashBy;

/// The policies of a service, or of a route to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// From the end of the request's body to the head of the answer (to its end, where it is held), every attempt
    /// included.
    pub timeout: Duration,
    /// For one connection attempt.
    pub connect_timeout: Duration,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// What keeps requests together at one endpoint, where the balancer asks for it.
    pub hash: Option<HashBy>,
    /// What endpoints speak.
    pub protocol: Protocol,
    /// Whether a request's trailers go to endpoints over HTTP/1.1.
    pub request_trailers: bool,
    /// Connections to one endpoint, for the whole process.
    pub max_connections: u32,
    /// Idle connections kept to one endpoint, for the whole process; shared out among the workers.
    pub max_idle: u32,
    /// How long a connection to an endpoint is kept idle. Keep it below what the endpoints allow.
    pub idle_timeout: Duration,
    /// Further attempts.
    pub retries: Retries,
    /// When an attempt has taken so long that another one is started beside it.
    pub per_try: PerTry,
    /// Second attempts for what is merely slow.
    pub hedge: Hedge,
    /// Small answers that are whole before they are passed on.
    pub hold: Hold,
    /// Which endpoints are left out for a while. The service's; a route has no say in it.
    pub outlier: Outlier,
    /// When the whole service is taken for dead. The service's; a route has no say in it.
    pub breaker: Breaker,
    /// How many requests may be at the service at once. The service's; a route has no say in it.
    pub limit: Limit,
    /// A part of the limit that one caller or one route may have.
    pub bulkhead: Option<Bulkhead>,
    /// What a request of this route is worth where its caller does not say.
    pub priority: Priority,
    /// Checks of our own. The service's; a route has no say in it.
    pub health_check: Option<HealthCheck>,
    /// How long an endpoint that joins others, or comes back, takes to get its whole share. Zero: at once.
    pub slow_start: Duration,
    /// What is answered when the service fails.
    pub fallback: Option<Arc<Fallback>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_millis(250),
            balance: Balance::P2c,
            hash: None,
            protocol: Protocol::Http1,
            request_trailers: false,
            max_connections: 1024,
            max_idle: 256,
            idle_timeout: Duration::from_secs(4),
            retries: Retries::default(),
            per_try: PerTry::default(),
            hedge: Hedge::default(),
            hold: Hold::default(),
            outlier: Outlier::default(),
            breaker: Breaker::default(),
            limit: Limit::default(),
            bulkhead: None,
            priority: Priority::Default,
            health_check: None,
            slow_start: Duration::from_secs(2),
            fallback: None,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Two choices by weight: the first, unless the second is clearly less loaded.
    P2c,
    /// Weighted round robin.
    RoundRobin,
    /// A ring, by [`Policy::hash`].
    ConsistentHash,
}

/// What endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 in cleartext with prior knowledge.
    Http2,
}

/// Further attempts after one that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Further attempts after the first, of any kind, for one request; 0 for none. Moves of a request that was never
    /// written do not count.
    pub max: u32,
    /// Further attempts for each request of the service, 0.0 to 1.0. The service's; a route has no say in it.
    pub budget: f64,
    /// Further attempts a second that are allowed however few requests there are. The service's.
    pub min_per_second: f64,
    /// Whether requests whose method is not idempotent may be processed twice.
    pub any_method: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 2, budget: 0.2, min_per_second: 3.0, any_method: false }
    }
}

/// When an attempt has taken so long that another one is started beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PerTry {
    /// Never.
    Off,
    /// After a fixed time.
    Fixed(Duration),
    /// After a multiple of the route's own p99.
    Learned {
        /// Of the p99. Above 1.
        multiple: f64,
        /// Never sooner.
        floor: Duration,
        /// Never later, and what holds until enough is known.
        ceiling: Duration,
    },
}

impl Default for PerTry {
    fn default() -> Self {
        Self::Learned { multiple: 3.0, floor: Duration::from_millis(20), ceiling: Duration::from_secs(5) }
    }
}

/// Second attempts for what is merely slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// The share of requests that may be hedged, 0.0 to 1.0; 0 for none.
    pub share: f64,
    /// Never sooner than this, whatever the service's p99 is.
    pub floor: Duration,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { share: 0.05, floor: Duration::from_millis(2) }
    }
}

/// Answers that are whole before they are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The largest answer that is held, at most 64 KiB; 0 for none.
    pub max_bytes: usize,
    /// How long one whose length is not known is held.
    pub unknown_for: Duration,
}

impl Default for Hold {
    fn default() -> Self {
        Self { max_bytes: 64 << 10, unknown_for: Duration::from_millis(20) }
    }
}

/// When an endpoint is left out for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Whether any is.
    pub enabled: bool,
    /// After so many failures in a row.
    pub consecutive: u32,
    /// After this share of failures, 0.0 to 1.0, in ten seconds...
    pub failure_share: f64,
    /// ...of at least so many attempts.
    pub min_attempts: u32,
    /// When its typical latency is so many times that of its peers. At least 2.
    pub latency_factor: f64,
    /// The first time for this long; each further time twice as long.
    pub base_ejection: Duration,
    /// At most this long.
    pub max_ejection: Duration,
    /// The largest share of a pool that is left out, 0.0 to 1.0; one endpoint at least, unless it is 0. Never the last one.
    pub max_ejected: f64,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive: 5,
            failure_share: 0.5,
            min_attempts: 20,
            latency_factor: 10.0,
            base_ejection: Duration::from_secs(1),
            max_ejection: Duration::from_secs(60),
            max_ejected: 0.7,
        }
    }
}

/// When the whole service is taken for dead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Whether it ever is.
    pub enabled: bool,
    /// After so many failed attempts in a row, over all its endpoints,
    pub consecutive: u32,
    /// and so long without one that succeeded.
    pub silence: Duration,
    /// While it is dead, one request is let through this often.
    pub probe_every: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        let (silence, probe_every) = (Duration::from_secs(1), Duration::from_millis(100));
        Self { enabled: true, consecutive: 20, silence, probe_every }
    }
}

/// How many requests may be at a service at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// A fixed bound for the process; none for no fixed bound.
    pub max_in_flight: Option<u32>,
    /// Whether a bound is found by itself while the service is overloaded.
    pub adaptive: bool,
    /// Requests that may wait for their turn, for the process.
    pub queue: u32,
    /// How long one waits at most.
    pub queue_timeout: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { max_in_flight: None, adaptive: true, queue: 128, queue_timeout: Duration::from_millis(100) }
    }
}

/// A part of the limit that one of its users may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulkhead {
    /// Requests in flight of one caller (`http.caller_header` of a trusted caller, else its address), for the process.
    PerCaller(u32),
    /// Requests in flight of this route, for the process.
    PerRoute(u32),
}

/// What a request is worth when not all can be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Goes first.
    Sheddable,
    /// What nobody said anything about.
    #[default]
    Default,
    /// Goes last.
    Critical,
}

/// Checks of our own.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Another port than the instance's.
    pub port: Option<u16>,
    /// From one check of an endpoint to the next.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// So many good ones in a row, and it is healthy.
    pub healthy: u32,
    /// So many bad ones in a row, and it is not.
    pub unhealthy: u32,
    /// How long an endpoint that the registry no longer names stays while its checks are good.
    pub keep_absent: Duration,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET of a path; 200 to 399 is good.
    Http {
        /// `/healthz`.
        path: Arc<str>,
        /// What stands in `Host`; the service's name where it is none.
        host: Option<Arc<str>>,
    },
    /// A connection that is made.
    Tcp,
    /// `grpc.health.v1.Health/Check`; SERVING is good.
    Grpc {
        /// The service to ask for; empty for the server as a whole.
        service: Arc<str>,
    },
}

/// What is answered when the service fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// A copy of an earlier answer, no older past its freshness than this. Tried first.
    pub stale: Option<Duration>,
    /// Another service. Tried after that.
    pub service: Option<Arc<str>>,
    /// A fixed answer. The last.
    pub answer: Option<FallbackAnswer>,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackAnswer {
    /// 200 to 599.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// The body.
    pub body: Arc<[u8]>,
}
