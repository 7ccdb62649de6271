//! Which requests go where: routes, and what they do to a request on its way.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Cidr, FallbackAnswer, Pattern, Policy, Substitution};

/// A route as written, its policies filled in from its service.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// Its place in the file, for messages: `routes[2]`.
    pub name: Arc<str>,
    /// None for any host; `*.example.com` for a wildcard; lower-case, without port.
    pub host: Option<Arc<str>>,
    /// None for any path.
    pub path: Option<PathMatch>,
    /// Empty for any method.
    pub methods: Vec<Arc<str>>,
    /// What has to be said in header fields, by name.
    pub headers: Vec<Condition>,
    /// What has to be said in the query, by name.
    pub query: Vec<Condition>,
    /// Where its requests go.
    pub leads: Leads,
    /// Whether it has a circuit breaker of its own.
    pub own_breaker: bool,
    /// Who may call.
    pub access: Option<Access>,
    /// What is changed of requests.
    pub request: RequestChanges,
    /// What is changed of answers' fields.
    pub response: HeaderChanges,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
}

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq)]
pub enum Leads {
    /// To a service, or to several by weight.
    To {
        /// At least one, and at least one of them of a weight above zero.
        parts: Vec<Part>,
        /// What keeps requests together at one of them; none for nothing.
        sticky: Option<HashBy>,
    },
    /// Elsewhere.
    Redirect(Redirect),
    /// Nowhere: the proxy answers.
    Answer(FallbackAnswer),
}

/// A service that a route leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// A declared service.
    pub service: Arc<str>,
    /// Its share of the requests relative to the others'.
    pub weight: u32,
    /// The policies of these requests.
    pub policy: Policy,
}

/// What of a request says which of several it belongs to, every time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// A header field's value; its name in lower case.
    Header(Arc<str>),
    /// A cookie's value.
    Cookie(Arc<str>),
    /// The path.
    Path,
    /// The address that the request comes from.
    Address,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`; none for the one that was asked by.
    pub scheme: Option<&'static str>,
    /// Another host, and its port where there is one.
    pub host: Option<Arc<str>>,
    /// Another path.
    pub path: Option<PathChange>,
}

/// What a path becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum PathChange {
    /// This one.
    Whole(Arc<str>),
    /// The first in the place of the second, which is the route's.
    Prefix(Arc<str>, Arc<str>),
    /// What a pattern makes of it.
    Substitution(Substitution),
}

/// What is changed of a request before it is sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestChanges {
    /// What stands in `Host`.
    pub host: Option<Arc<str>>,
    /// Its path.
    pub path: Option<PathChange>,
    /// Its fields.
    pub headers: HeaderChanges,
}

/// What is changed of header fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names whose lines go, those that are set among them. In lower case.
    pub remove: Vec<Arc<str>>,
    /// Lines that come.
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

/// Who may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Its place in the file, for messages: `routes[2].access`.
    pub name: Arc<str>,
    /// Who may; empty for everybody.
    pub allow: Vec<Cidr>,
    /// Who may not, whatever is allowed.
    pub deny: Vec<Cidr>,
}

/// Who gets a copy of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// A declared service.
    pub service: Arc<str>,
    /// The share of requests, 0.0 to 1.0.
    pub share: f64,
    /// Copies under way at once, for the process.
    pub max_in_flight: u32,
}

/// A part of a service's instances, by what the registry says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// What they carry.
    pub wanted: Labels,
    /// What those carry that are used while nobody carries that; empty for any.
    pub fallback: Option<Labels>,
}

/// What an instance carries, all of it.
pub type Labels = Vec<Label>;

/// Something that the registry says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// One of its tags.
    Tag(Arc<str>),
    /// A name and a value of its metadata.
    Meta(Arc<str>, Arc<str>),
    /// Its zone.
    Zone(Arc<str>),
    /// Its datacenter.
    Datacenter(Arc<str>),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag = {tag}"),
            Self::Meta(name, value) => write!(f, "meta.{name} = {value}"),
            Self::Zone(zone) => write!(f, "zone = {zone}"),
            Self::Datacenter(datacenter) => write!(f, "datacenter = {datacenter}"),
        }
    }
}

impl Access {
    /// Lets an address pass, or says which rule does not. An address that is not known passes no rule.
    ///
    /// # Errors
    ///
    /// The rule, in words: `routes[2].access.deny: 10.0.0.0/8`.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<(), Arc<str>> {
        let Some(address) = address.map(|ip| ip.to_canonical()) else {
            return Err(format!("{}: the forwarded address is none", self.name).into());
        };
        if let Some(block) = self.deny.iter().find(|block| block.contains(address)) {
            return Err(format!("{}.deny: {}/{}", self.name, block.address, block.prefix).into());
        }
        match self.allow.is_empty() || self.allow.iter().any(|block| block.contains(address)) {
            true => Ok(()),
            false => Err(format!("{}.allow: {address} is in none of its blocks", self.name).into()),
        }
    }
}

impl HeaderChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

impl RequestChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.path.is_none() && self.headers.is_empty()
    }
}

impl Cidr {
    /// Whether the block holds the address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let shared = |a: u128, b: u128, bits: u32| {
            let prefix = u32::from(self.prefix).min(bits);
            prefix == 0 || (a ^ b) >> (bits - prefix) == 0
        };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => shared(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }

    /// The same block, of IPv4 where it was written as such a part of IPv6 (`::ffff:10.0.0.0/104`): clients' addresses are.
    pub fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => Self { address, prefix },
            _ => self,
        }
    }
}

/// How a path is matched, byte for byte as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// The whole path, by a pattern.
    Regex(Pattern),
    /// Whole segments from the start: `/cart` matches `/cart` and `/cart/1`, not `/cartoon`.
    Prefix(Arc<str>),
}

/// What a header field or a parameter of the query has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name; a header's in lower case.
    pub name: Arc<str>,
    /// What it has to be.
    pub value: ValueMatch,
}

/// How a value is matched, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// The whole value.
    Exact(Arc<str>),
    /// Its beginning.
    Prefix(Arc<str>),
    /// The whole value, by a pattern.
    Regex(Pattern),
    /// Whether it is there at all, whatever it is.
    Present(bool),
}

impl RouteSettings {
    /// What it asks for, as a reader would say it: `GET, shop.local, path /cart, header x-canary = 1`.
    pub fn asks(&self) -> String {
        let methods = if self.methods.is_empty() { "any method".to_owned() } else { self.methods.join("|") };
        let mut asks = format!("{methods}, {}", self.host.as_deref().unwrap_or("any host"));
        if let Some(path) = &self.path {
            asks.push_str(&format!(", {path}"));
        }
        for condition in &self.headers {
            asks.push_str(&format!(", header {condition}"));
        }
        for condition in &self.query {
            asks.push_str(&format!(", query {condition}"));
        }
        asks
    }

    /// The services that it leads to.
    pub fn parts(&self) -> &[Part] {
        match &self.leads {
            Leads::To { parts, .. } => parts,
            Leads::Redirect(_) | Leads::Answer(_) => &[],
        }
    }

    /// Where it leads, as a reader would say it: `orders`, or `a 90, b 10`, or `308 to https`.
    pub fn leads_to(&self) -> String {
        match &self.leads {
            Leads::To { parts, .. } => match parts.as_slice() {
                [one] => one.service.to_string(),
                several => several.iter().map(|p| format!("{} {}", p.service, p.weight)).collect::<Vec<_>>().join(", "),
            },
            Leads::Redirect(redirect) => format!("redirect {}", redirect.status),
            Leads::Answer(answer) => format!("answer {}", answer.status),
        }
    }

    /// Every pattern that it is matched by.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let path = match &self.path {
            Some(PathMatch::Regex(pattern)) => Some(pattern),
            _ => None,
        };
        let conditions = self.headers.iter().chain(&self.query);
        path.into_iter().chain(conditions.filter_map(|condition| match &condition.value {
            ValueMatch::Regex(pattern) => Some(pattern),
            _ => None,
        }))
    }
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Path => f.write_str("path"),
            Self::Address => f.write_str("address"),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path = {path}"),
            Self::Regex(pattern) => write!(f, "path ~ {}", pattern.text()),
            Self::Prefix(path) => write!(f, "path {path}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.value {
            ValueMatch::Exact(value) => write!(f, "{name} = {value}"),
            ValueMatch::Prefix(value) => write!(f, "{name} = {value}*"),
            ValueMatch::Regex(pattern) => write!(f, "{name} ~ {}", pattern.text()),
            ValueMatch::Present(true) => write!(f, "{name}"),
            ValueMatch::Present(false) => write!(f, "no {name}"),
        }
    }
}
