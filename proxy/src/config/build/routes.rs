//! Routes: what each asks for. Where it leads and what it does is `leads`' and `changes`'.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Build;
use crate::config::settings::{self, Condition, PathMatch, RouteSettings, ServiceSettings, ValueMatch};
use crate::config::tree::join_keys;
use crate::config::written;

/// Bytes of all patterns' tables together.
const MAX_PATTERNS: usize = 64 << 20;

impl Build<'_> {
    pub(super) fn routes(&mut self, services: &BTreeMap<Arc<str>, ServiceSettings>) -> Vec<RouteSettings> {
        let config = self.config;
        let indexes = self.places(&["routes"], config.routes.len());
        let mut routes: Vec<RouteSettings> = Vec::new();
        let mut asked: HashMap<String, usize> = HashMap::new();
        let mut patterns = 0;
        for (index, written) in indexes.iter().zip(&config.routes) {
            let route = self.route(index, written, services);
            let path = ["routes", index];
            // Written out, so that thousands of routes are not each compared with all.
            let asks = format!("{:?}", (&route.host, &route.path, &route.methods, &route.headers, &route.query));
            let first = *asked.entry(asks).or_insert(routes.len());
            if let Some(first) = routes.get(first)
                && !self.tree.is_damaged(&["routes"])
            {
                let what = match route.headers.is_empty() && route.query.is_empty() {
                    true => "host, path and methods",
                    false => "host, path, methods, headers and query",
                };
                self.blame(&path, format!("can never be taken: `{}` has the same {what}", first.name));
            }
            let before = patterns;
            patterns += route.patterns().map(settings::Pattern::size).sum::<usize>();
            if before <= MAX_PATTERNS && patterns > MAX_PATTERNS {
                let message = format!("the regular expressions up to here need more than {} MiB", MAX_PATTERNS >> 20);
                self.blame(&path, message);
            }
            routes.push(route);
        }
        routes
    }

    fn route(
        &mut self,
        index: &str,
        written: &written::Route,
        services: &BTreeMap<Arc<str>, ServiceSettings>,
    ) -> RouteSettings {
        let path = ["routes", index];
        self.policies(&path, &written.policies());
        self.not_of_a_route(&path, &written.policies());
        self.conditions(index, written);
        let asked = written.path.as_ref();
        let leads = self.leads(index, written, services);
        let access = written.access.as_ref();
        let mut route = RouteSettings {
            name: join_keys(&path).into(),
            host: written.host.as_ref().map(|h| Arc::from(h.0.as_str())),
            path: written.path.as_ref().map(|p| match p {
                written::PathMatch::Exact(p) => PathMatch::Exact(p.0.as_str().into()),
                written::PathMatch::Regex(p) => PathMatch::Regex(p.0.clone()),
                written::PathMatch::Prefix(p) => PathMatch::Prefix(p.0.as_str().into()),
            }),
            methods: written.methods.iter().map(|m| Arc::from(m.0.as_str())).collect(),
            headers: written.headers.iter().map(|(name, value)| condition(&name.0, value)).collect(),
            query: written.query.iter().map(|(name, value)| condition(name, value)).collect(),
            leads,
            own_breaker: written.policies().breaker.is_some(),
            access: access.and_then(|access| self.access(&["routes", index, "access"], access)),
            request: settings::RequestChanges {
                host: written.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_deref()).map(Arc::from),
                path: written.rewrite.as_ref().and_then(|rewrite| self.rewritten(index, rewrite, asked)),
                headers: self.header_changes(index, "request_headers", written.request_headers.as_ref()),
            },
            response: self.header_changes(index, "response_headers", written.response_headers.as_ref()),
            mirror: written.mirror.as_ref().map(|mirror| self.mirror(index, mirror)),
        };
        route.methods.sort();
        route
    }

    /// Conditions that no request can meet.
    fn conditions(&mut self, index: &str, written: &written::Route) {
        for (name, value) in &written.headers {
            let path = ["routes", index, "headers", &name.0];
            if name.0 == "host" {
                self.blame(&path, "is what the key `host` is for".into());
            }
            if let written::ValueMatch::Exact(text) | written::ValueMatch::Prefix(text) = value
                && (text.trim_matches([' ', '\t']) != text || text.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f))
            {
                let message = format!(
                    "found `{text}`, which can never be: blanks around a value are no part of it, and \
                                       there are no control characters in it"
                );
                self.blame(&path, message);
            }
        }
        for (name, value) in &written.query {
            let path = ["routes", index, "query", name];
            let odd = |text: &str| text.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'&' | b'#'));
            if name.is_empty() || odd(name) || name.contains('=') {
                let message = format!("found `{name}`, expected a name as it is sent, percent-encoded");
                self.blame(&path, message);
            }
            if let written::ValueMatch::Exact(text) | written::ValueMatch::Prefix(text) = value
                && odd(text)
            {
                let message =
                    format!("found `{text}`, which can never be: a value is compared as it is sent, percent-encoded");
                self.blame(&path, message);
            }
        }
    }
}

fn condition(name: &str, value: &written::ValueMatch) -> Condition {
    let value = match value {
        written::ValueMatch::Exact(text) => ValueMatch::Exact(text.as_str().into()),
        written::ValueMatch::Prefix(text) => ValueMatch::Prefix(text.as_str().into()),
        written::ValueMatch::Regex(pattern) => ValueMatch::Regex(pattern.0.clone()),
        written::ValueMatch::Present(is) => ValueMatch::Present(*is),
    };
    Condition { name: name.into(), value }
}
