//! The routes by host, each host's in the order in which they are tried.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Outcomes, Route};
use crate::config::settings::{PathMatch, RouteSettings};

/// A route, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// `routes[2]`.
    pub route: Arc<str>,
    /// What it asks for, as a reader would say it: `GET shop.local/cart`.
    pub asks: String,
    /// The service it leads to.
    pub service: Arc<str>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why a route takes the request, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Taken,
    /// It would, but one before it already did.
    Later,
    /// The path is another.
    Path,
    /// The method is another.
    Method,
    /// The host is another.
    Host,
    /// The host would fit, but a narrower host has routes, and only its are looked at.
    NarrowerHost,
}

/// A host's routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'t> {
    pub routes: &'t [Entry],
    /// Whether they are of a host, exact or wildcard, and not of any.
    pub owned: bool,
}

/// A route with what it asks for.
#[derive(Debug)]
pub(super) struct Entry {
    pub route: Arc<Route>,
    host: Option<Arc<str>>,
    path: Option<PathMatch>,
    methods: Vec<Arc<str>>,
    /// Its place in the file.
    place: usize,
}

/// All routes by host.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<Box<str>, Vec<Entry>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Vec<Entry>>,
    any: Vec<Entry>,
}

impl HostTable {
    /// In no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        let owned = self.exact.values().chain(self.wildcard.values());
        owned.chain(std::iter::once(&self.any)).flatten().map(|entry| &entry.route)
    }

    pub fn new(routes: &[RouteSettings]) -> Self {
        let mut table = Self::default();
        for (place, written) in routes.iter().enumerate() {
            let group = match written.host.as_deref() {
                None => &mut table.any,
                Some(host) => match host.strip_prefix("*.") {
                    Some(suffix) => table.wildcard.entry(suffix.into()).or_default(),
                    None => table.exact.entry(host.into()).or_default(),
                },
            };
            group.push(Entry::new(written, place));
        }
        for group in table.exact.values_mut().chain(table.wildcard.values_mut()).chain([&mut table.any]) {
            group.sort_by_key(Entry::rank);
        }
        table
    }

    /// The one group that is looked at for a host in its normal form.
    pub fn group(&self, host: &str) -> Group<'_> {
        if !self.exact.is_empty()
            && let Some(routes) = self.exact.get(host)
        {
            return Group { routes, owned: true };
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(routes) = self.wildcard.get(suffix) {
                    return Group { routes, owned: true };
                }
                rest = suffix;
            }
        }
        Group { routes: &self.any, owned: false }
    }

    pub fn explain(&self, host: &str, path: &[u8], method: &[u8]) -> Vec<Considered> {
        let looked_at = self.group(host).routes;
        let mut taken = false;
        let mut considered: Vec<_> = looked_at
            .iter()
            .map(|entry| {
                let verdict = match entry.refusal(path, method) {
                    Some(refusal) => refusal,
                    None if taken => Verdict::Later,
                    None => Verdict::Taken,
                };
                taken |= verdict == Verdict::Taken;
                entry.considered(verdict)
            })
            .collect();
        let mut others: Vec<_> =
            self.exact.values().chain(self.wildcard.values()).chain([&self.any]).flatten().collect();
        others.retain(|entry| !looked_at.iter().any(|l| l.place == entry.place));
        others.sort_by_key(|entry| entry.place);
        considered.extend(
            others.into_iter().map(|entry| {
                entry.considered(if entry.fits_host(host) { Verdict::NarrowerHost } else { Verdict::Host })
            }),
        );
        considered
    }
}

impl Entry {
    fn new(written: &RouteSettings, place: usize) -> Self {
        Self {
            route: Arc::new(Route {
                name: Arc::clone(&written.name),
                service: Arc::clone(&written.service),
                policy: Arc::new(written.policy.clone()),
                breaker: written.own_breaker.then(Default::default),
                index: place,
                outcomes: Outcomes::default(),
            }),
            host: written.host.clone(),
            path: written.path.clone(),
            methods: written.methods.clone(),
            place,
        }
    }

    /// The order within a host: the sort is stable, so the file decides what is equal.
    fn rank(&self) -> impl Ord + use<> {
        let path = match &self.path {
            Some(PathMatch::Exact(_)) => (0, Reverse(0)),
            Some(PathMatch::Prefix(prefix)) => (1, Reverse(prefix.len())),
            None => (2, Reverse(0)),
        };
        (path, self.methods.is_empty())
    }

    /// Why the route does not take a request of its host; none where it does.
    pub fn refusal(&self, path: &[u8], method: &[u8]) -> Option<Verdict> {
        let fits = match &self.path {
            None => true,
            Some(PathMatch::Exact(exact)) => path == exact.as_bytes(),
            Some(PathMatch::Prefix(prefix)) => is_prefix(prefix.as_bytes(), path),
        };
        if !fits {
            return Some(Verdict::Path);
        }
        let fits = self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == method);
        if fits { None } else { Some(Verdict::Method) }
    }

    /// Whether it takes every request of its host.
    pub fn takes_all(&self) -> bool {
        self.path.is_none() && self.methods.is_empty()
    }

    fn fits_host(&self, host: &str) -> bool {
        match self.host.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => host == pattern,
            },
        }
    }

    fn considered(&self, verdict: Verdict) -> Considered {
        let path = match &self.path {
            None => "".to_owned(),
            Some(PathMatch::Exact(path)) => format!(" path = {path}"),
            Some(PathMatch::Prefix(path)) => format!(" path {path}"),
        };
        let methods = if self.methods.is_empty() { "any method".to_owned() } else { self.methods.join("|") };
        let host = self.host.as_deref().unwrap_or("any host");
        Considered {
            route: Arc::clone(&self.route.name),
            asks: format!("{methods}, {host}{}{path}", if path.is_empty() { "" } else { "," }),
            service: Arc::clone(&self.route.service),
            verdict,
        }
    }
}

/// Whole segments: `/cart` is a prefix of `/cart` and `/cart/1`, not of `/cartoon`; `/cart/` of `/cart/1` alone.
fn is_prefix(prefix: &[u8], path: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/"),
        None => false,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "takes the request",
            Self::Later => "would take it, but comes later",
            Self::Path => "the path differs",
            Self::Method => "the method differs",
            Self::Host => "the host differs",
            Self::NarrowerHost => "not looked at: a narrower host has routes",
        })
    }
}
