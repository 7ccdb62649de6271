//! What a service ends up with, and where each value came from.
//!
//! The values are those of the settings, so what is shown is what is used; where they came from is looked up in the
//! file's tree, the narrowest place first, as `build` reads them.

use serde::Serialize;
use serde_json::Value;

use super::settings::{Part, Policy, RouteSettings, ServiceTls, Settings, Source, TlsTo};
use super::tree::{Kind, Tree, join_keys};
use super::written::PolicyKeys;

/// A service with everything that was decided about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedService {
    /// Its name.
    pub service: String,
    /// Where its instances come from: `orders in the registry consul`.
    pub source: String,
    /// Its own local address.
    pub listen: Option<String>,
    /// TLS to its instances: to which, and whether they are verified.
    pub tls: String,
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
        tls: tls(&s.tls),
        policies: policies(&s.policy, tree, &[vec!["services", name], vec!["defaults"]]),
        routes: settings
            .routes
            .iter()
            .flat_map(|r| r.parts().iter().filter(|p| p.service == *name).map(|p| route(r, p, tree)))
            .collect(),
    });
    Some(explained.collect())
}

fn source(source: &Source) -> String {
    match source {
        Source::Registry { registry, name } => format!("`{name}` in the registry `{registry}`"),
        Source::Static(instances) => {
            let scheme = |https| if https { "https://" } else { "" };
            let all = instances.iter().map(|i| format!("{}{}:{} weight {}", scheme(i.https), i.host, i.port, i.weight));
            let all: Vec<_> = all.collect();
            all.join(", ")
        }
    }
}

fn tls(tls: &ServiceTls) -> String {
    let to = match tls.to {
        TlsTo::Named => return "to instances that say so, verified by the system's authorities".into(),
        TlsTo::None => return "to none".into(),
        TlsTo::All => "to all",
    };
    let name = tls.server_name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
    match (&tls.trust.ca, tls.trust.verify) {
        (_, false) => format!("{to}{name}, NOT VERIFIED (insecure_skip_verify)"),
        (Some(ca), true) => format!("{to}{name}, verified by {}", ca.display()),
        (None, true) => format!("{to}{name}, verified by the system's authorities"),
    }
}

fn route(route: &RouteSettings, part: &Part, tree: &Tree) -> ExplainedRoute {
    let index = route.name.trim_start_matches("routes[").trim_end_matches(']');
    let own = policies(&part.policy, tree, &[vec!["routes", index]]);
    ExplainedRoute {
        route: route.name.to_string(),
        asks: route.asks(),
        policies: own.into_iter().filter(|key| key.line.is_some()).collect(),
    }
}

/// Each policy with the first of the layers that has it; a group's keys one by one.
fn policies(policy: &Policy, tree: &Tree, layers: &[Vec<&str>]) -> Vec<ExplainedKey> {
    let written = serde_json::to_value(PolicyKeys::from(policy)).unwrap_or_default();
    let mut explained = Vec::new();
    for (key, value) in written.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(group) => {
                for (inner, value) in group.iter().filter(|(_, value)| !value.is_null()) {
                    explained.push(key_of(&[key, inner], value, tree, layers));
                }
            }
            value => explained.push(key_of(&[key], value, tree, layers)),
        }
    }
    explained
}

fn key_of(key: &[&str], value: &Value, tree: &Tree, layers: &[Vec<&str>]) -> ExplainedKey {
    let found = layers.iter().find_map(|layer| {
        // A group that is switched, or has a short form, stands in the place of all its keys.
        let node = tree.at(&[layer.as_slice(), key].concat()).or_else(|| {
            tree.at(&[layer.as_slice(), &key[..1]].concat()).filter(|n| matches!(n.kind, Kind::Scalar { .. }))
        })?;
        let null =
            matches!(&node.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"));
        (!null).then(|| (join_keys(layer), node.mark.line))
    });
    let (from, line) = found.map_or(("built in".to_owned(), None), |(from, line)| (from, Some(line)));
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ExplainedKey { key: key.join("."), value, from, line }
}
