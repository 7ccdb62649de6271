//! Values that are written as text and mean something narrower: parsed where they stand, so that an error names
//! the key and the line, and nobody later meets a bad one.

mod url;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::settings::{self, StaticInstance};
use crate::http::head::Name;
use crate::http::path::has_dot_segment;
use crate::units::as_text;

pub use url::Url;

/// An IP address and a port: `127.0.0.1:8080`, `[::1]:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

/// A block of IP addresses: `10.0.0.0/8`, or one: `10.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(pub settings::Cidr);

/// A host name or an IP address, and a port: `db-1.internal:3001`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Without brackets, where it is an IPv6 address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Where an instance is: a [`Target`], with `https://` in front where it speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceAddress {
    /// Host and port; 443 where none is written behind `https://`.
    pub target: Target,
    /// Whether it speaks TLS.
    pub https: bool,
}

/// A route's host: `shop.example.com`, `*.example.com`. Lower-case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(pub String);

/// A path as it is in a request: `/cart`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub String);

/// A method: `GET`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method(pub String);

/// The name of a header field, in lower case: `x-request-deadline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(pub String);

/// The name of any header field, in lower case: `x-canary`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderName(pub String);

/// A regular expression: `/v[0-9]+/.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regex(pub settings::Pattern);

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
            return Err(format!("found `{text}`, expected a header's name like `x-canary`"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Regex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        settings::Pattern::new(text).map(Self)
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.text())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || {
            let port = text.strip_prefix(':').or(text.strip_prefix("localhost:")).unwrap_or(text);
            port.parse::<u16>().map(|p| format!("; did you mean `127.0.0.1:{p}`?")).unwrap_or_default()
        };
        text.parse().map(Self).map_err(|_| {
            format!("found `{text}`, expected an IP address and a port, like `127.0.0.1:8080` or `[::]:8080`{}", hint())
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found `{text}`, expected a block of addresses like `10.0.0.0/8` or `fd00::/8`");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(p) => p.parse().ok().filter(|p| *p <= longest).ok_or_else(wrong)?,
        };
        Ok(Self(settings::Cidr { address, prefix }))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.address, self.0.prefix)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "found `{text}`, expected a host and a port, like `10.0.0.1:3001`, `db-1:3001` or `[::1]:3001`{why}"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(" (the port is missing)"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().map_err(|_| wrong(""))?.to_string(),
            None if host.contains(':') => return Err(wrong(" (an IPv6 address stands in brackets)")),
            None if host.parse::<Ipv4Addr>().is_ok() || is_host_name(host) => host.to_ascii_lowercase(),
            None => return Err(wrong("")),
        };
        let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(|| wrong(" (a port is 1 to 65535)"))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for InstanceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, https) = match text.strip_prefix("https://") {
            Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), true),
            None => (text.strip_prefix("http://").map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest)), false),
        };
        if rest.contains('/') {
            return Err(format!(
                "found `{text}`, expected a host and a port, like `https://api.example:8443`, without a path"
            ));
        }
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        match https && !has_port {
            true => format!("{rest}:443").parse(),
            false => rest.parse(),
        }
        .map(|target| Self { target, https })
        .map_err(|error: String| error.replace(&format!("found `{rest}`"), &format!("found `{text}`")))
    }
}

impl fmt::Display for InstanceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.https {
            f.write_str("https://")?;
        }
        self.target.fmt(f)
    }
}

impl InstanceAddress {
    /// The instance with this weight.
    pub fn weighing(&self, weight: u32) -> StaticInstance {
        StaticInstance { host: self.target.host.as_str().into(), port: self.target.port, weight, https: self.https }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a host like `shop.example.com` or `*.example.com`";
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = host.strip_prefix("*.").unwrap_or(&host);
        if host == "*" {
            return Err("found `*`; leave `host` out for a route of any host".into());
        }
        // An address may stand for itself, but `*.` needs a name behind it.
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if let Some(v6) = bracketed.and_then(|h| h.parse::<std::net::Ipv6Addr>().ok()) {
            return Ok(Self(format!("[{v6}]")));
        }
        if text.contains("://") || text.contains('/') {
            return Err(format!("found `{text}`, {expected}, without a scheme or a path"));
        }
        if let Some((_, port)) = text.rsplit_once(':')
            && port.parse::<u16>().is_ok()
        {
            return Err(format!("found `{text}`, {expected}, without a port: a host matches on any"));
        }
        if is_host_name(plain) { Ok(Self(host)) } else { Err(format!("found `{text}`, {expected}")) }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("found `{text}`, expected a path that starts with `/`, like `/cart`"));
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c)) {
            return Err(format!(
                "found `{text}`, in which {bad:?} can never match: paths are compared byte for byte, as they are sent \
                 (percent-encoded, without the query)"
            ));
        }
        if has_dot_segment(text.as_bytes()) {
            return Err(format!(
                "found `{text}`; requests with a `.` or `..` segment are refused, so it can never match"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Methods that are told when they are written in lower case, which would never match.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"];

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(is_token) {
            return Err(format!("found `{text}`, expected a method like `GET`"));
        }
        let upper = text.to_ascii_uppercase();
        if text != upper && METHODS.contains(&upper.as_str()) {
            return Err(format!("found `{text}`, expected upper case; did you mean `{upper}`?"));
        }
        if text == "CONNECT" {
            return Err("found `CONNECT`, which is never routed: it is answered with 405".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for FieldName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_token) {
            return Err(format!("found `{text}`, expected a header's name like `x-request-deadline`"));
        }
        let name = text.to_ascii_lowercase();
        if !matches!(Name::of(name.as_bytes()), Name::Other) {
            return Err(format!("found `{text}`, which has a meaning of its own; expected another name"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it has the form of a host name. Underscores are let through: containers and registries use them.
fn is_host_name(name: &str) -> bool {
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !l.is_empty() && l.len() <= 63 && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

as_text! {
    Address, "an IP address and a port", "127.0.0.1:8080";
    Cidr, "a block of addresses", "10.0.0.0/8";
    Target, "a host and a port", "db-1.internal:3001";
    InstanceAddress, "a host and a port", "https://api.example:8443";
    HostPattern, "a host", "*.example.com";
    Path, "a path", "/cart";
    Method, "a method", "GET";
    FieldName, "a header's name", "x-request-deadline";
    HeaderName, "a header's name", "x-canary";
    Regex, "a regular expression", "/v[0-9]+/.*";
    Url, "a URL", "http://127.0.0.1:8080/checkout";
}

#[cfg(test)]
mod tests;
