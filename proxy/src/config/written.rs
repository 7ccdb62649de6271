//! The configuration as the operator writes it.
//!
//! The comment of a key here is its description in the JSON Schema and in `docs/configuration.md`, and the defaults
//! here are the ones they show: there is no second place to forget. Meaning is given to it in `build`.

mod faults;
mod from_policy;
mod http;
mod policies;
mod routing;
mod tcp;
mod tls;
mod two_ways;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use faults::{Faults, Toxiproxy};
pub use http::Http;
use policies::merged;
pub use policies::{
    Breaker, Bulkhead, Fallback, HealthCheck, Hedge, Hold, LearnedTry, Limit, Outlier, PerTry, Retries, Switch,
};
pub use routing::{Access, Fixed, HashBy, HeaderChanges, Mirror, Part, Redirect, Rewrite, Scheme};
pub use tcp::Tcp;
pub use tls::{Alpn, Certificate, ClientAuth, ListenerTls, ServiceTls, TlsVersion, UnknownSni};
pub use two_ways::{FallbackSubset, Instance, PathMatch, ValueMatch};

use super::text::{Address, HeaderName, HostPattern, Method};
use crate::units::Interval;

/// Reaching services by the request's host name, with no route of their own: `Host: orders`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// Whether it is possible at all. Declared services are reachable by name only while it is.
    pub enabled: bool,
    /// The registry that names are looked up in. Left out: the only registry there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Suffixes that are taken off a host name before it is a service's. The longest that fits is taken, once.
    pub suffixes: Vec<String>,
    /// Which names may be looked up in the registry: globs in which `*` stands for any run of characters. Declared
    /// services need not be listed.
    pub allow: Vec<String>,
    /// Names that may be followed in the registry at once because somebody used them. 1 to 100000. When there are as
    /// many, a further one takes the place of the oldest that the registry does not know (from 250 ms after its answer
    /// on; also where there is room, once these are a quarter), else of one that it has not answered (for 5 s, or 1 s
    /// where it failed), else of a plain host that was not used for 5 s. A service that it knows gives way to nobody; a
    /// first request that finds no place gets 503.
    pub max_watches: u32,
    /// A name that was not used for this long is no longer followed.
    pub unused_after: Interval,
    /// What becomes of a request through `http_proxy` for a host that is no service: `reject` answers 404, `direct`
    /// sends it to that host.
    pub unknown: Unknown,
}

/// What becomes of a request for a host that is no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// 404.
    Reject,
    /// Sent to that host as it is.
    Direct,
}

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Of two drawn by weight the first, unless the second is clearly less loaded.
    P2c,
    /// In turn, by weight.
    RoundRobin,
    /// Requests of which `hash` is the same, at the same instance.
    ConsistentHash,
}

/// What instances speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 (gRPC): in cleartext with prior knowledge, over TLS by ALPN.
    Http2,
}

/// What a request is worth when not all can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Refused first.
    Sheddable,
    /// What nobody said anything about.
    Default,
    /// Refused last.
    Critical,
}

/// By what a bulkhead divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Division {
    /// Each caller has its part.
    Caller,
    /// The route has its part.
    Route,
}

/// The admin API: probes, metrics, and what `outrigger services` asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether it listens at all.
    pub enabled: bool,
    /// Where it listens. It tells about every service to whoever asks, so keep it off public addresses; on one that is not
    /// loopback, changes from other machines need `token_file`.
    pub address: Address,
    /// Host names that it answers to, beside addresses and `localhost`: `outrigger.shop.svc`. On loopback, and wherever this
    /// is given, a request with another `Host` is refused with 403 (a web page may reach what a browser here reaches);
    /// `/livez` and `/readyz` are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// A file with a token that changes (adding and ending faults, guards, drills) have to carry: `Authorization: Bearer TOKEN`.
    /// Read for each of them. Reading, probes and metrics need none. The commands of `outrigger` send what stands in
    /// `OUTRIGGER_ADMIN_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<std::path::PathBuf>,
    /// Whether `/metrics` has series of each endpoint, eight at most, which end with it. For thousands of instances they may
    /// be more than whoever scrapes wants to keep; `outrigger services NAME` tells the same.
    pub endpoint_metrics: bool,
}

/// How the process ends on SIGTERM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long it keeps accepting and serving while `/readyz` already says no, so that whoever watches it can send
    /// the load elsewhere. Shorter than `deadline`.
    pub lame_duck: Interval,
    /// From SIGTERM; what is in flight then is cut. It ends earlier when nothing is.
    pub deadline: Interval,
}

/// An address where requests are accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// An IP address and a port. Port 0 asks the system for one.
    pub address: Address,
    /// Send every request here to this service, whatever its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who may call here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Have the kernel hand a connection over only when its first bytes are there (`TCP_DEFER_ACCEPT`): less work for
    /// each new connection, at the price of connections that are open and silent being unseen.
    #[serde(default)]
    pub defer_accept: bool,
    /// TLS. Left out: cleartext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// Where services and their instances are found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// `consul` or `file`. Left out: the registry's name, where it is one of these.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RegistryKind>,
    /// consul: `http(s)://host[:port][/prefix]` or `unix:///path`. Left out: `CONSUL_HTTP_ADDR`, else
    /// `http://127.0.0.1:8500`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// consul: a file with the ACL token, read again when it changes. Left out: the `CONSUL_HTTP_TOKEN*` variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<std::path::PathBuf>,
    /// consul: the datacenter to ask for. Left out: the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// consul: how far behind its leader a server may be whose answer is taken while there is a better one. Left
    /// out: any answer is better than none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<Interval>,
    /// consul: whether instances whose checks warn take traffic. Left out: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_warning: Option<bool>,
    /// file: a YAML or JSON file of services. It is watched; replace it by renaming. A relative path starts at the
    /// directory in which the proxy was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<std::path::PathBuf>,
}

/// The kinds of registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegistryKind {
    /// A Consul agent or server.
    Consul,
    /// A file of services.
    File,
}

/// The policies of a service or of a route to it, each key as it was written or left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PolicyKeys {
    pub(super) timeout: Option<Interval>,
    pub(super) connect_timeout: Option<Interval>,
    pub(super) retries: Option<Retries>,
    pub(super) per_try_timeout: Option<PerTry>,
    pub(super) hedge: Option<Switch<Hedge>>,
    pub(super) hold: Option<Switch<Hold>>,
    pub(super) outlier: Option<Switch<Outlier>>,
    pub(super) breaker: Option<Switch<Breaker>>,
    pub(super) limit: Option<Limit>,
    pub(super) bulkhead: Option<Switch<Bulkhead>>,
    pub(super) priority: Option<Priority>,
    pub(super) health_check: Option<Switch<HealthCheck>>,
    pub(super) slow_start: Option<Interval>,
    pub(super) fallback: Option<Switch<Fallback>>,
    pub(super) balance: Option<Balance>,
    pub(super) hash: Option<HashBy>,
    pub(super) protocol: Option<Protocol>,
    pub(super) request_trailers: Option<bool>,
    pub(super) max_connections: Option<u32>,
    pub(super) max_idle: Option<u32>,
    pub(super) idle_timeout: Option<Interval>,
}

impl PolicyKeys {
    /// These, with what they leave open from the wider ones.
    pub(super) fn over(self, wide: &Self) -> Self {
        Self {
            timeout: merged(self.timeout, &wide.timeout),
            connect_timeout: merged(self.connect_timeout, &wide.connect_timeout),
            retries: merged(self.retries, &wide.retries),
            per_try_timeout: merged(self.per_try_timeout, &wide.per_try_timeout),
            hedge: merged(self.hedge, &wide.hedge),
            hold: merged(self.hold, &wide.hold),
            outlier: merged(self.outlier, &wide.outlier),
            breaker: merged(self.breaker, &wide.breaker),
            limit: merged(self.limit, &wide.limit),
            bulkhead: merged(self.bulkhead, &wide.bulkhead),
            priority: merged(self.priority, &wide.priority),
            health_check: merged(self.health_check, &wide.health_check),
            slow_start: merged(self.slow_start, &wide.slow_start),
            fallback: merged(self.fallback, &wide.fallback),
            balance: merged(self.balance, &wide.balance),
            hash: merged(self.hash, &wide.hash),
            protocol: merged(self.protocol, &wide.protocol),
            request_trailers: merged(self.request_trailers, &wide.request_trailers),
            max_connections: merged(self.max_connections, &wide.max_connections),
            max_idle: merged(self.max_idle, &wide.max_idle),
            idle_timeout: merged(self.idle_timeout, &wide.idle_timeout),
        }
    }
}

/// Adds the policies to a struct: the same keys, with the same comments, wherever a policy may stand. (serde's
/// `flatten` would do it with a type, but does not go with `deny_unknown_fields`.)
macro_rules! with_policies {
    ($(#[$meta:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($fields)*
            /// From the end of the request's body to the head of the answer (to its end, where it is held), every attempt and
            /// every wait between them included. A trusted caller's deadline shortens it. gRPC calls obey their caller's deadline
            /// alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub timeout: Option<Interval>,
            /// For one attempt to connect to an instance. Short, because another instance can be tried.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub connect_timeout: Option<Interval>,
            /// Further attempts after one that failed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub retries: Option<Retries>,
            /// When a try has taken so long that another one is started beside it, on another instance: `learned`, `off`, a
            /// duration, or how it is learned. It never ends the first, which may still win. Only for requests that can be
            /// repeated.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub per_try_timeout: Option<PerTry>,
            /// Second attempts for GET and HEAD that are merely slow, or `off`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub hedge: Option<Switch<Hedge>>,
            /// Small answers are whole before they are passed on, or `off`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub hold: Option<Switch<Hold>>,
            /// Instances that do worse than their peers are left out for a while, or `off`. The service's alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub outlier: Option<Switch<Outlier>>,
            /// A service of which nothing succeeds is left alone, or `off`. A route that has this key has a breaker of its own: what
            /// fails of it is not the service's matter then, and the reverse.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub breaker: Option<Switch<Breaker>>,
            /// How many requests may be at the service at once. The service's alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub limit: Option<Limit>,
            /// A part of the service that one caller or one route may have. Left out, or `off`: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bulkhead: Option<Switch<Bulkhead>>,
            /// What a request is worth where its caller does not say: under overload `sheddable` ones are refused first,
            /// `critical` ones last.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub priority: Option<Priority>,
            /// Checks of our own. Left out, or `off`: the registry's word is taken. The service's alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub health_check: Option<Switch<HealthCheck>>,
            /// How long an instance that joins others, or comes back from an ejection, takes to get its whole share; `0s` for at once, a day at most. The service's alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub slow_start: Option<Interval>,
            /// What is answered when the service fails. Left out, or `off`: the failure.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub fallback: Option<Switch<Fallback>>,
            /// How an instance is chosen: `p2c` takes, of two drawn by weight, the first, unless the second is
            /// clearly less loaded; `round_robin` takes them in turn, by weight; `consistent_hash` has requests of one `hash` at
            /// one instance, unless that has a quarter more in flight than its weight gives it. The service's alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub balance: Option<Balance>,
            /// What `consistent_hash` goes by. Requests that do not have it are balanced by `p2c`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub hash: Option<HashBy>,
            /// What the instances speak: `http1`, or `http2` (gRPC): in cleartext with prior knowledge, over TLS by ALPN.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub protocol: Option<Protocol>,
            /// Whether what follows a request's body (trailers) goes to instances over HTTP/1.1. Say so only where they keep
            /// it apart from heads: there are widely used servers that take a trailer for a field of the head, or of the next
            /// request, which is another client's. Over HTTP/2 they go on always.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub request_trailers: Option<bool>,
            /// Connections to one instance, for the whole process.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub max_connections: Option<u32>,
            /// Idle connections that are kept to one instance, for the whole process: shared out among the workers, each of which
            /// keeps at least one. 0 for none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub max_idle: Option<u32>,
            /// How long an idle connection to an instance is kept. Keep it below what the instances allow: many servers
            /// (Node, Apache httpd, uvicorn) close after 5 s, and a request that meets the closing costs a retry.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub idle_timeout: Option<Interval>,
        }

        impl $name {
            /// Its policies alone.
            pub fn policies(&self) -> PolicyKeys {
                PolicyKeys {
                    timeout: self.timeout.clone(),
                    connect_timeout: self.connect_timeout.clone(),
                    retries: self.retries.clone(),
                    per_try_timeout: self.per_try_timeout.clone(),
                    hedge: self.hedge.clone(),
                    hold: self.hold.clone(),
                    outlier: self.outlier.clone(),
                    breaker: self.breaker.clone(),
                    limit: self.limit.clone(),
                    bulkhead: self.bulkhead.clone(),
                    priority: self.priority.clone(),
                    health_check: self.health_check.clone(),
                    slow_start: self.slow_start.clone(),
                    fallback: self.fallback.clone(),
                    balance: self.balance.clone(),
                    hash: self.hash.clone(),
                    protocol: self.protocol.clone(),
                    request_trailers: self.request_trailers.clone(),
                    max_connections: self.max_connections.clone(),
                    max_idle: self.max_idle.clone(),
                    idle_timeout: self.idle_timeout.clone(),
                }
            }
        }
    };
}

with_policies! {
    /// The policies of every service that does not say otherwise, and of those reached by name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Defaults {}
}

with_policies! {
    /// A service. Its name is its key, and the host name that reaches it.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Service {
        /// The registry its instances come from. Left out: the only registry there is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub registry: Option<String>,
        /// Its name in the registry. Left out: its name here.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// Which of the instances that the registry has: those that carry all of this. `tag: v2`, `meta.NAME: VALUE`, `zone: a`,
        /// `datacenter: dc1`. Left out: all.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub subset: BTreeMap<String, String>,
        /// Which while nobody carries `subset`, in the same form, or `any`. Left out: none, and its requests get 503.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fallback_subset: Option<FallbackSubset>,
        /// Its instances, instead of a registry.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub instances: Option<Vec<Instance>>,
        /// A port of its own on 127.0.0.1: every request there goes to this service, whatever its host.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub port: Option<u16>,
        /// An address of its own, where `port` is not enough.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub listen: Option<Address>,
        /// TLS to its instances: `{}` for all of them, or how; `off` for none. Left out: to those that are written as
        /// `https://…`, or that the registry has with the tag `outrigger.scheme=https`, or `outrigger-scheme: https` among
        /// their metadata.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tls: Option<Switch<ServiceTls>>,
    }
}

with_policies! {
    /// A route: which requests go to which service. Policies here are narrower than the service's.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Route {
        /// The request's host, without a port: `shop.example.com`, or `*.example.com` for every host below it. Left
        /// out: any host that has no route of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub host: Option<HostPattern>,
        /// The request's path: `/cart` is `/cart` and all below it (`/cart/1`, not `/cartoon`); `{ exact: /cart }` is
        /// only that; `{ regex: '/v[0-9]+/.*' }` is any whole path that the regular expression is. Left out: any path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub path: Option<PathMatch>,
        /// The request's method, one of these. Left out, or none: any method.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub methods: Vec<Method>,
        /// What the request's header fields have to say, all of them: `x-canary: "1"` is the whole value, `{ prefix: … }`,
        /// `{ regex: … }`, `{ present: true }` or `{ present: false }` say it otherwise. Of several lines of a name one has to.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<HeaderName, ValueMatch>,
        /// What the request's query has to say, in the same forms, all of them; names and values as they are sent, not decoded.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub query: BTreeMap<String, ValueMatch>,
        /// The service, one of `services`. One of `service`, `split`, `redirect` and `answer` says where a route leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub service: Option<String>,
        /// Several services, which get the requests by weight.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub split: Option<Vec<Part>>,
        /// What keeps requests together at one service of the split: those of which this is the same go to the same one, in every
        /// worker and process. Those that do not have it are shared out as if nothing were said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sticky: Option<HashBy>,
        /// The client is sent elsewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub redirect: Option<Redirect>,
        /// The proxy answers by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub answer: Option<Fixed>,
        /// Who may call this route. Who may not gets 403.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub access: Option<Access>,
        /// What is changed of the host and the path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rewrite: Option<Rewrite>,
        /// What is changed of requests' header fields.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub request_headers: Option<HeaderChanges>,
        /// What is changed of answers' header fields: of a service's, a fallback's and those of `redirect` and `answer`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub response_headers: Option<HeaderChanges>,
        /// Another service that gets a copy of the requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mirror: Option<Mirror>,
    }
}

/// The whole file. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where requests are accepted.
    pub listeners: Vec<Listener>,
    /// Plain TCP proxies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<Tcp>,
    /// Where services are found, by a name of your own.
    pub registries: BTreeMap<String, Registry>,
    /// The policies of every service that does not say otherwise.
    pub defaults: Defaults,
    /// The services that need to be declared: with policies, instances, another name or a port of their own. Others
    /// are reached by name (see `names`).
    pub services: BTreeMap<String, Service>,
    /// Which requests go to which service. A host with routes answers 404 to a request that none of them takes.
    pub routes: Vec<Route>,
    /// Reaching services by the request's host name.
    pub names: Names,
    /// The admin API.
    pub admin: Admin,
    /// Faults, injected on purpose.
    pub faults: Faults,
    /// Bounds on what a peer may send.
    pub http: Http,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Worker threads, 1 to 1024. Left out: as many as the process may use cores, by its affinity and its cgroup's quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Whether each request is written to standard output as a JSON line.
    pub access_log: bool,
    /// Whether the access log and the explanations of requests (`outrigger explain`) have the values of a request's query,
    /// which may be tokens and names: `/a?token=secret`. Otherwise they have what each is called: `/a?token=…`.
    pub query_values: bool,
    /// How long `/readyz` waits for the registries' first answers about the services that are declared here, before it says
    /// ready without them. Names that are followed on demand are not waited for.
    pub ready_grace: Interval,
}
