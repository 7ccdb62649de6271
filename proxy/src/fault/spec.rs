//! A fault as somebody asks for it ([`Spec`]), and as it is used ([`Fault`]): every value present and checked.
//!
//! The same shape everywhere: in the configuration's `faults.start`, in the admin API, in a drill's plan, behind the options
//! of `outrigger fault add`. What is wrong is told with the key it stands under.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::http::HttpFault;
use super::stream::Toxic;
use super::{Place, Stream};
use crate::units::{Interval, Share};

/// A fault that somebody asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is called; on its service no other may be called the same. Left out: its type and a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `delay`, `abort`, `rewrite_status`, `truncate`, `throttle`, `corrupt`, or a byte-stream fault: `latency`, `bandwidth`,
    /// `slow_close`, `timeout`, `reset_peer`, `slicer`, `limit_data`, `noop`, `down`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the type wants to know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// The service whose requests it meets. This or `proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The TCP proxy whose connections it meets. Byte-stream faults only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// `upstream` is below resilience, between the proxy and its instances; `edge` is above it, between the application and
    /// the proxy. Byte-stream faults are always upstream.
    #[serde(default)]
    pub place: Place,
    /// Byte-stream faults: `downstream` is from the server to the client, `upstream` from the client to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// Upstream faults: which of the service's endpoints. Left out: all, which is refused where it leaves no healthy one
    /// untouched or goes beyond `faults.max_endpoints`; `all` says that this is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// Only requests of this route: `routes[0]` is the first of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Only requests with one of these methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Only requests whose path begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only requests with all of these fields: a value, or `*` for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Only requests of this caller, as `http.caller_header` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Of those, which part. For byte-stream faults it is drawn once a connection (Toxiproxy's toxicity).
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub percent: Share,
    /// Only so many, the first ones; then the fault is used up, and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Only every so-many-th: 3 is the third, the sixth, and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Not before so much time has passed since it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Interval>,
    /// How long it lives. Left out: five minutes, or less where `faults.max_ttl` is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Interval>,
    /// Whoever added it. All of a controller's faults can be ended at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// It ends when its controller has not been heard of for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Interval>,
}

fn all() -> Share {
    Share(1.0)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_all(share: &Share) -> bool {
    share.0 == 1.0
}

/// Which endpoints of a service: `all`, a number (`1`), a share (`50%`), or a list of addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoints {
    /// So many of them.
    Some(usize),
    /// `all`, a share such as `50%`, or one address.
    Word(String),
    /// These.
    These(Vec<String>),
}

/// How long a fault lives where nobody says.
pub const TTL: Duration = Duration::from_secs(300);

/// A fault, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Where it acts.
    pub place: Place,
    /// What it does.
    pub kind: Kind,
    /// Which requests or connections it may meet.
    pub scope: Scope,
    /// Of those, which part: 0.0 to 1.0.
    pub percent: f64,
    /// Only the first so many.
    pub first: Option<u64>,
    /// Only every so-many-th.
    pub every: Option<u64>,
    /// Not before so much time has passed.
    pub after: Duration,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// To requests.
    Http(HttpFault),
    /// To bytes on a connection, in a direction.
    Toxic(Stream, Toxic),
}

/// Which requests or connections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    /// Which endpoints.
    pub endpoints: Aim,
    /// A route's name.
    pub route: Option<Arc<str>>,
    /// Upper-case; any where empty.
    pub methods: Vec<Arc<str>>,
    /// What the path begins with.
    pub path: Option<Arc<str>>,
    /// Field names, lower-case, and values; `*` for any.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Who calls.
    pub caller: Option<Arc<str>>,
}

/// Which endpoints.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Aim {
    /// All, without having been asked for by name.
    #[default]
    Unsaid,
    /// All, by name.
    All,
    /// So many of them.
    Some(usize),
    /// This share of them, at least one.
    Share(f64),
    /// These.
    These(Vec<SocketAddr>),
}

impl Aim {
    /// Whether it takes in an endpoint. A number or a share takes in none: the fault manager makes a list of it.
    pub fn takes_in(&self, endpoint: SocketAddr) -> bool {
        match self {
            Self::Unsaid | Self::All => true,
            Self::Some(_) | Self::Share(_) => false,
            Self::These(list) => list.contains(&endpoint),
        }
    }
}

/// What is wrong with a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {message}")]
pub struct Invalid {
    /// The key's path: `attributes.latency`.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
}

impl Invalid {
    /// Under a key.
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl Kind {
    /// Its type's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(fault) => fault.name(),
            Self::Toxic(_, toxic) => toxic.name(),
        }
    }

    /// Its attributes, as they are written.
    pub fn attributes(&self) -> Value {
        match self {
            Self::Http(fault) => fault.attributes(),
            Self::Toxic(_, toxic) => toxic.attributes(),
        }
    }

    /// Of a type and its attributes.
    ///
    /// # Errors
    ///
    /// Where there is no such type, or it does not take these.
    pub fn parse(kind: &str, stream: Stream, attributes: &Value) -> Result<Self, Invalid> {
        if let Some(toxic) = Toxic::parse(kind, attributes) {
            return toxic.map(|toxic| Self::Toxic(stream, toxic)).map_err(|e| Invalid::new("attributes", e));
        }
        if let Some(fault) = HttpFault::parse(kind, attributes) {
            return fault.map(Self::Http).map_err(|e| Invalid::new("attributes", e));
        }
        let known: Vec<&str> = HttpFault::TYPES.iter().chain(&Toxic::TYPES).copied().collect();
        let guess = known.iter().max_by(|a, b| strsim::jaro(kind, a).total_cmp(&strsim::jaro(kind, b)));
        let guess = guess.filter(|guess| strsim::jaro(kind, guess) > 0.7);
        let advice = guess.map_or_else(|| format!("one of {}", known.join(", ")), |guess| format!("perhaps `{guess}`"));
        Err(Invalid::new("type", format!("found `{kind}`, which is no fault; {advice}")))
    }
}

impl Spec {
    /// A fault on a service, with nothing said but what it is.
    pub fn new(kind: &str, service: &str) -> Self {
        Self {
            name: None,
            kind: kind.into(),
            attributes: Map::new(),
            service: Some(service.into()),
            proxy: None,
            place: Place::Upstream,
            stream: None,
            endpoints: None,
            route: None,
            methods: Vec::new(),
            path: None,
            headers: BTreeMap::new(),
            caller: None,
            percent: all(),
            first: None,
            every: None,
            after: None,
            ttl: None,
            controller: None,
            heartbeat: None,
        }
    }

    /// The same, understood.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn understand(&self) -> Result<Fault, Invalid> {
        let attributes = Value::Object(self.attributes.clone());
        let kind = Kind::parse(&self.kind, self.stream.unwrap_or_default(), &attributes)?;
        if self.service.is_some() == self.proxy.is_some() {
            return Err(Invalid::new("service", "expected either `service` or `proxy`: what shall it hang on?"));
        }
        match &kind {
            Kind::Http(_) if self.proxy.is_some() => {
                let message = format!("a TCP proxy knows no requests, so `{}` has nothing to act on there", self.kind);
                return Err(Invalid::new("type", message));
            }
            Kind::Http(_) if self.stream.is_some() => {
                return Err(Invalid::new("stream", format!("`{}` is about requests, not about a stream", self.kind)));
            }
            Kind::Toxic(..) => self.says_nothing_of_requests()?,
            Kind::Http(_) => {}
        }
        if self.place == Place::Edge && self.endpoints.is_some() {
            return Err(Invalid::new("endpoints", "an edge fault is above the choice of an endpoint"));
        }
        if !(0.0..=1.0).contains(&self.percent.0) {
            return Err(Invalid::new("percent", format!("found {}, expected 0% to 100%", self.percent)));
        }
        if self.every == Some(0) {
            return Err(Invalid::new("every", "found 0, expected at least 1"));
        }
        if self.first == Some(0) {
            return Err(Invalid::new("first", "found 0, expected at least 1"));
        }
        if self.ttl.is_some_and(|ttl| ttl.0.is_zero()) {
            return Err(Invalid::new("ttl", "found 0, expected how long it shall live"));
        }
        if self.heartbeat.is_some() && self.controller.is_none() {
            return Err(Invalid::new("heartbeat", "expected `controller` beside it: whose heart shall beat?"));
        }
        if self.heartbeat.is_some_and(|beat| beat.0 < Duration::from_millis(100)) {
            return Err(Invalid::new("heartbeat", "expected at least 100ms"));
        }
        Ok(Fault {
            place: self.place,
            kind,
            scope: self.scope()?,
            percent: self.percent.0,
            first: self.first,
            every: self.every,
            after: self.after.map_or(Duration::ZERO, |after| after.0),
        })
    }

    fn says_nothing_of_requests(&self) -> Result<(), Invalid> {
        let key = match () {
            () if self.place == Place::Edge => "place",
            () if self.route.is_some() => "route",
            () if !self.methods.is_empty() => "methods",
            () if self.path.is_some() => "path",
            () if !self.headers.is_empty() => "headers",
            () if self.caller.is_some() => "caller",
            () => return Ok(()),
        };
        let message = format!(
            "`{}` acts on connections to instances, which carry many requests; it can be narrowed by `endpoints`, `percent`, `first`, `every` and `after`",
            self.kind
        );
        Err(Invalid::new(key, message))
    }

    fn scope(&self) -> Result<Scope, Invalid> {
        let headers = self.headers.iter().map(|(name, value)| {
            let valid = http::HeaderName::from_bytes(name.as_bytes());
            let name = valid.map_err(|_| Invalid::new("headers", format!("found `{name}`, which is no field name")))?;
            Ok((Arc::from(name.as_str()), Arc::from(value.as_str())))
        });
        Ok(Scope {
            endpoints: self.endpoints.as_ref().map_or(Ok(Aim::Unsaid), Endpoints::aim)?,
            route: self.route.as_deref().map(Arc::from),
            methods: self.methods.iter().map(|method| Arc::from(method.to_ascii_uppercase())).collect(),
            path: self.path.as_deref().map(Arc::from),
            headers: headers.collect::<Result<_, Invalid>>()?,
            caller: self.caller.as_deref().map(Arc::from),
        })
    }
}

impl Endpoints {
    fn aim(&self) -> Result<Aim, Invalid> {
        let bad = |found: &str| {
            Invalid::new(
                "endpoints",
                format!(
                    "found `{found}`, expected `all`, a number, a share like `50%`, or addresses like `10.0.0.1:80`"
                ),
            )
        };
        let address = |text: &String| text.parse().map_err(|_| bad(text));
        match self {
            Self::Some(0) => Err(bad("0")),
            Self::Some(n) => Ok(Aim::Some(*n)),
            Self::Word(word) if word == "all" => Ok(Aim::All),
            Self::Word(word) if word.ends_with('%') => match word.parse::<Share>() {
                Ok(share) if share.0 > 0.0 && share.0 <= 1.0 => Ok(Aim::Share(share.0)),
                _ => Err(bad(word)),
            },
            Self::Word(word) => match word.parse::<usize>() {
                Ok(n) if n > 0 => Ok(Aim::Some(n)),
                _ => address(word).map(|one| Aim::These(vec![one])),
            },
            Self::These(list) if list.is_empty() => Err(bad("[]")),
            Self::These(list) => list.iter().map(address).collect::<Result<_, _>>().map(Aim::These),
        }
    }
}

/// Attributes of a type; null and a missing map count as none given.
pub(super) fn attributes<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    let given = if value.is_null() { Value::Object(Map::new()) } else { value.clone() };
    serde_json::from_value(given).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
