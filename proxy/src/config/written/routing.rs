//! What a route does, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::{Cidr, HeaderName, Path};
use crate::units::Share;

/// One of the services that a route's requests are shared out among.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The service, one of `services`.
    pub service: String,
    /// Its share of the requests relative to the others'; at most 1000000, and 0 for none. Left out: 1.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// What of a request says which of several it belongs to, every time. One of the keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HashBy {
    /// The value of this header field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderName>,
    /// The value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// `true`: the path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<bool>,
    /// `true`: the client's address, or the one that a trusted client forwards for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<bool>,
}

/// An answer that sends the client elsewhere. What is not said stays as it was asked for; the query always does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Left out: 308, which changes no method and may be remembered.
    #[serde(default = "permanent")]
    pub status: u16,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Another host, and a port where there is one: `shop.example:8443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Another path altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Another prefix in the place of the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Path>,
    /// What a regular expression, which has to be the whole path, makes of it: `with`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// What `regex` is replaced with; `$1` is its first group, and `$${name}` one with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

fn permanent() -> u16 {
    308
}

/// A scheme of URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

/// An answer that the proxy gives by itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fixed {
    /// 200 to 599. Left out: 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its header lines. Without `content-type` nobody is told what the body is, and without `cache-control` it may not be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Its body, at most 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What is changed of a request's host and path before it is sent to its service. `path`, `prefix` and `regex` exclude each
/// other. The query stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// What stands in `Host`. `X-Forwarded-Host` says what the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Another path altogether.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Another prefix in the place of the route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Path>,
    /// What a regular expression, which has to be the whole path, makes of it: `with`. A path that it is not stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// What `regex` is replaced with; `$1` is its first group, and `$${name}` one with a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// What is changed of header fields: first `remove`, then `set`, then `add`. Fields of framing and of the connection, and those that
/// the proxy writes itself, are not among them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderChanges {
    /// One line in the place of all of the name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<HeaderName, String>,
    /// A further line of the name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<HeaderName, String>,
    /// Names of which no line is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<HeaderName>,
}

/// Who may call. What is denied is refused, and where something is allowed, nobody else is let in. It is held against the
/// client's address, or against the one that a trusted client (`http.trusted_cidrs`) forwards for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Blocks of addresses that may call. None: all may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Cidr>,
    /// Blocks of addresses that may not, whatever is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Cidr>,
}

/// A copy of requests for another service, whose answers are thrown away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The other service, one of `services`.
    pub service: String,
    /// The share of requests that are copied. Left out: all.
    #[serde(default = "all")]
    pub share: Share,
    /// Copies that may be under way at once, for the process; what comes on top is not copied. 1 to 100000.
    #[serde(default = "hundred")]
    pub max_in_flight: u32,
}

fn all() -> Share {
    Share(1.0)
}

fn hundred() -> u32 {
    100
}
