//! What befalls a dependency, as the fault that does it.
//!
//! The same word means the same to whoever depends on it, and that is another fault in each place. *Edge* is between the
//! application and the proxy: down is what a proxy says of a dependency that is gone, 503. *Upstream* is between the proxy
//! and every instance: down is a connection that is refused, and what the application sees of it is the proxy's doing. With a
//! TCP proxy there is only the connection.

use serde_json::{Map, Value, json};

use super::FaultName;
use crate::fault::spec::Endpoints;
use crate::fault::{Place, Spec};
use crate::units::{Interval, Share};

/// Longer than any drill: what hangs is released when the fault ends.
const FOREVER: &str = "1h";

/// What a dependency is.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A service, all of its endpoints or some.
    Service(&'a str, Option<&'a Endpoints>),
    /// A TCP proxy.
    Proxy(&'a str),
}

/// How bad it is.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// How slow `slow` is.
    pub slow: Interval,
    /// What `errors` are answered with.
    pub status: u16,
    /// How many of the requests are.
    pub share: Share,
    /// Or every so-many-th of them.
    pub every: Option<u64>,
}

/// The fault, and what it does in words; none where there is no such thing there.
pub fn fault(subject: Subject<'_>, fault: FaultName, place: Place, measure: &Measure) -> Option<(Spec, String)> {
    use FaultName::{Down, Errors, Hang, Reset, Slow};
    let Measure { slow, status, share, every } = *measure;
    let ms = u64::try_from(slow.0.as_millis()).unwrap_or(u64::MAX);
    let part = match every {
        Some(every) if every > 1 => format!("every {} request is", ordinal(every)),
        _ if share.0 < 1.0 => format!("{share} of the requests are"),
        _ => "every request is".to_owned(),
    };
    let (kind, attributes, what) = match (subject, place, fault) {
        (Subject::Service(..), Place::Edge, Down) => {
            ("abort", json!({ "status": 503 }), "every request is answered 503".to_owned())
        }
        (Subject::Service(..), _, Slow) => {
            ("delay", json!({ "fixed": slow.to_string() }), format!("every answer comes {slow} later"))
        }
        (Subject::Service(..), _, Errors) => {
            ("abort", json!({ "status": status }), format!("{part} answered {status}"))
        }
        (Subject::Service(..), Place::Edge, Hang) => {
            ("delay", json!({ "fixed": FOREVER }), "no request is answered".to_owned())
        }
        (Subject::Service(..), Place::Edge, Reset) => {
            ("abort", json!({ "reset": true }), "the application's connection is reset".to_owned())
        }
        (Subject::Proxy(_), Place::Edge, _) | (Subject::Proxy(_), _, Errors) => return None,
        (_, Place::Upstream, Down) => ("down", json!({}), "connections are refused and broken".to_owned()),
        (Subject::Proxy(_), Place::Upstream, Slow) => {
            ("latency", json!({ "latency": ms }), format!("every piece of data comes {slow} later"))
        }
        (_, Place::Upstream, Hang) => ("timeout", json!({ "timeout": 0 }), "connections stay open and mute".to_owned()),
        (_, Place::Upstream, Reset) => ("reset_peer", json!({ "timeout": 0 }), "connections are reset".to_owned()),
    };
    let mut spec = Spec::new(kind, "");
    spec.place = place;
    spec.attributes = match attributes {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if fault == Errors {
        spec.percent = share;
        spec.every = every;
    }
    let what = match subject {
        Subject::Service(name, endpoints) => {
            spec.service = Some(name.to_owned());
            if place == Place::Upstream {
                spec.endpoints = Some(endpoints.cloned().unwrap_or_else(|| Endpoints::Word("all".into())));
            }
            match (place, endpoints) {
                (Place::Upstream, Some(endpoints)) if !is_all(endpoints) => format!("{what}, at {}", some(endpoints)),
                _ => what,
            }
        }
        Subject::Proxy(name) => {
            spec.service = None;
            spec.proxy = Some(name.to_owned());
            what
        }
    };
    Some((spec, what))
}

fn ordinal(n: u64) -> String {
    let suffix = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// Whether all are meant, by name.
pub fn is_all(endpoints: &Endpoints) -> bool {
    matches!(endpoints, Endpoints::Word(word) if word == "all")
}

fn some(endpoints: &Endpoints) -> String {
    match endpoints {
        Endpoints::Some(n) => format!("{n} of its instances"),
        Endpoints::Word(word) if word.contains(':') => word.clone(),
        Endpoints::Word(word) => format!("{word} of its instances"),
        Endpoints::These(list) => list.join(", "),
    }
}
