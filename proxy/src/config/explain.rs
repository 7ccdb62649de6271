//! What a service ends up with, and where each value came from.
//!
//! The values are those of the settings, so what is shown is what is used; where they came from is looked up in the
//! file's tree, the narrowest place first, as `build` reads them.

use serde::Serialize;

use super::settings::{self, PathMatch, Policy, RouteSettings, Settings, Source};
use super::text::Interval;
use super::tree::{Kind, Tree, join_keys};
use super::written::{self, PolicyKeys};

/// A service with everything that was decided about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedService {
    /// Its name.
    pub service: String,
    /// Where its instances come from: `orders in the registry consul`.
    pub source: String,
    /// Its own local address.
    pub listen: Option<String>,
    /// Its policies.
    pub policies: Vec<ExplainedKey>,
    /// The routes to it, in the order of the file.
    pub routes: Vec<ExplainedRoute>,
}

/// A route to a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedRoute {
    /// `routes[2]`.
    pub route: String,
    /// What it asks for.
    pub asks: String,
    /// Those of its policies that are its own.
    pub policies: Vec<ExplainedKey>,
}

/// A value, and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedKey {
    /// `timeout`.
    pub key: String,
    /// As it would be written.
    pub value: String,
    /// `built in`, `defaults`, `services.orders` or `routes[2]`.
    pub from: String,
    /// The line it stands on; none for what is built in.
    pub line: Option<usize>,
}

pub(super) fn explain(settings: &Settings, tree: &Tree, service: Option<&str>) -> Option<Vec<ExplainedService>> {
    if let Some(name) = service
        && !settings.services.contains_key(name)
    {
        return None;
    }
    let wanted = settings.services.iter().filter(|(name, _)| service.is_none_or(|s| s == &***name));
    let explained = wanted.map(|(name, s)| ExplainedService {
        service: name.to_string(),
        source: source(&s.source),
        listen: s.listen.map(|a| a.to_string()),
        policies: policies(&s.policy, tree, &[vec!["services", name], vec!["defaults"]]),
        routes: settings.routes.iter().filter(|r| r.service == *name).map(|r| route(r, tree)).collect(),
    });
    Some(explained.collect())
}

fn source(source: &Source) -> String {
    match source {
        Source::Registry { registry, name } => format!("`{name}` in the registry `{registry}`"),
        Source::Static(instances) => {
            let all: Vec<_> = instances.iter().map(|i| format!("{}:{} weight {}", i.host, i.port, i.weight)).collect();
            all.join(", ")
        }
    }
}

fn route(route: &RouteSettings, tree: &Tree) -> ExplainedRoute {
    let index = route.name.trim_start_matches("routes[").trim_end_matches(']');
    let own = policies(&route.policy, tree, &[vec!["routes", index]]);
    let path = match &route.path {
        None => "any path".to_owned(),
        Some(PathMatch::Exact(path)) => format!("path = {path}"),
        Some(PathMatch::Prefix(path)) => format!("path {path}"),
    };
    let methods = if route.methods.is_empty() { "any method".to_owned() } else { route.methods.join("|") };
    ExplainedRoute {
        route: route.name.to_string(),
        asks: format!("{methods}, {}, {path}", route.host.as_deref().unwrap_or("any host")),
        policies: own.into_iter().filter(|key| key.line.is_some()).collect(),
    }
}

/// Each policy with the first of the layers that has it.
fn policies(policy: &Policy, tree: &Tree, layers: &[Vec<&str>]) -> Vec<ExplainedKey> {
    let written = serde_json::to_value(PolicyKeys::from(policy)).unwrap_or_default();
    let keys = written.as_object().into_iter().flatten();
    let explained = keys.map(|(key, value)| {
        let found = layers.iter().find_map(|layer| {
            let node = tree.at(&[layer.as_slice(), &[key]].concat())?;
            let null =
                matches!(&node.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"));
            (!null).then(|| (join_keys(layer), node.mark.line))
        });
        let (from, line) = found.map_or(("built in".to_owned(), None), |(from, line)| (from, Some(line)));
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        ExplainedKey { key: key.clone(), value, from, line }
    });
    explained.collect()
}

impl From<&Policy> for PolicyKeys {
    fn from(policy: &Policy) -> Self {
        Self {
            timeout: Some(Interval(policy.timeout)),
            connect_timeout: Some(Interval(policy.connect_timeout)),
            max_retries: Some(policy.retries.max),
            balance: Some(match policy.balance {
                settings::Balance::P2c => written::Balance::P2c,
                settings::Balance::RoundRobin => written::Balance::RoundRobin,
            }),
            protocol: Some(match policy.protocol {
                settings::Protocol::Http1 => written::Protocol::Http1,
                settings::Protocol::Http2 => written::Protocol::Http2,
            }),
            max_connections: Some(policy.max_connections),
            max_idle: Some(policy.max_idle),
            idle_timeout: Some(Interval(policy.idle_timeout)),
        }
    }
}
