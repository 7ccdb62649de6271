//! The routes by host, each host's in the order in which they are tried.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::ask::{Ask, header_fits, query_fits};
use super::{Extras, Outcomes, Reply, Route, Split};
use crate::config::settings::{Condition, Leads, PathMatch, RouteSettings};

/// A route, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// `routes[2]`.
    pub route: Arc<str>,
    /// What it asks for, as a reader would say it: `GET shop.local/cart`.
    pub asks: String,
    /// Where it leads, as a reader would say it.
    pub leads_to: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why a route takes the request, or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Taken,
    /// It would, but one before it already did.
    Later,
    /// The path is another.
    Path,
    /// The method is another.
    Method,
    /// This header field says something else, or nothing.
    Header(Arc<str>),
    /// This parameter of the query says something else, or nothing.
    Query(Arc<str>),
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
    pub leads: Leading,
    name: Arc<str>,
    leads_to: Box<str>,
    host: Option<Arc<str>>,
    path: Option<PathMatch>,
    methods: Vec<Arc<str>>,
    headers: Vec<Condition>,
    query: Vec<Condition>,
    /// What it asks for, in words.
    asks: Box<str>,
    /// Its place in the file.
    place: usize,
}

/// Where a route leads.
#[derive(Debug)]
pub(super) enum Leading {
    One(Arc<Route>),
    Split(Split),
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
        owned.chain(std::iter::once(&self.any)).flatten().flat_map(|entry| {
            let (one, several) = match &entry.leads {
                Leading::One(route) => (Some(route), None),
                Leading::Split(split) => (None, Some(split.parts())),
            };
            one.into_iter().chain(several.into_iter().flatten())
        })
    }

    pub fn new(routes: &[RouteSettings]) -> Self {
        let mut table = Self::default();
        let mut index = 0;
        for (place, written) in routes.iter().enumerate() {
            let group = match written.host.as_deref() {
                None => &mut table.any,
                Some(host) => match host.strip_prefix("*.") {
                    Some(suffix) => table.wildcard.entry(suffix.into()).or_default(),
                    None => table.exact.entry(host.into()).or_default(),
                },
            };
            group.push(Entry::new(written, place, &mut index));
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

    pub fn explain(&self, host: &str, ask: &Ask<'_>) -> Vec<Considered> {
        let looked_at = self.group(host).routes;
        let mut taken = false;
        let mut considered: Vec<_> = looked_at
            .iter()
            .map(|entry| {
                let verdict = match entry.refusal(ask) {
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
    fn new(written: &RouteSettings, place: usize, index: &mut usize) -> Self {
        let outcomes = Arc::<Outcomes>::default();
        let reply = match &written.leads {
            Leads::To { .. } => None,
            Leads::Redirect(redirect) => Some(Reply::Redirect(redirect.clone())),
            Leads::Answer(answer) => Some(Reply::Fixed(answer.clone())),
        };
        let extras = Extras {
            access: written.access.clone(),
            reply,
            request: written.request.clone(),
            response: written.response.clone(),
            mirror: written.mirror.clone(),
        };
        let extras = (!extras.are_none()).then(|| Arc::new(extras));
        let mut route = |service: Option<&Arc<str>>, policy: Arc<_>| {
            let route = Route {
                name: Arc::clone(&written.name),
                service: service.map(Arc::clone),
                policy,
                breaker: written.own_breaker.then(Default::default),
                index: *index,
                outcomes: Arc::clone(&outcomes),
                extras: extras.clone(),
            };
            *index += 1;
            Arc::new(route)
        };
        let leads = match &written.leads {
            Leads::To { parts, sticky } => match parts.as_slice() {
                [only] => Leading::One(route(Some(&only.service), Arc::new(only.policy.clone()))),
                several => {
                    let part = |part: &crate::config::settings::Part| {
                        (part.weight, route(Some(&part.service), Arc::new(part.policy.clone())))
                    };
                    Leading::Split(Split::new(several.iter().map(part).collect(), sticky.clone()))
                }
            },
            Leads::Redirect(_) | Leads::Answer(_) => Leading::One(route(None, Arc::default())),
        };
        Self {
            leads,
            name: Arc::clone(&written.name),
            leads_to: written.leads_to().into(),
            host: written.host.clone(),
            path: written.path.clone(),
            methods: written.methods.clone(),
            headers: written.headers.clone(),
            query: written.query.clone(),
            asks: written.asks().into(),
            place,
        }
    }

    /// The order within a host: the sort is stable, so the file decides what is equal.
    fn rank(&self) -> impl Ord + use<> {
        let path = match &self.path {
            Some(PathMatch::Exact(_)) => (0, Reverse(0)),
            Some(PathMatch::Regex(_)) => (1, Reverse(0)),
            Some(PathMatch::Prefix(prefix)) => (2, Reverse(prefix.len())),
            None => (3, Reverse(0)),
        };
        (path, self.methods.is_empty(), Reverse(self.headers.len()), Reverse(self.query.len()))
    }

    /// Why the route does not take a request of its host; none where it does.
    pub fn refusal(&self, ask: &Ask<'_>) -> Option<Verdict> {
        let Ask { method, path, query, head } = *ask;
        let fits = match &self.path {
            None => true,
            Some(PathMatch::Exact(exact)) => path == exact.as_bytes(),
            Some(PathMatch::Regex(pattern)) => pattern.is_match(path),
            Some(PathMatch::Prefix(prefix)) => is_prefix(prefix.as_bytes(), path),
        };
        if !fits {
            return Some(Verdict::Path);
        }
        let fits = self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == method);
        if !fits {
            return Some(Verdict::Method);
        }
        let header = self.headers.iter().find(|condition| !header_fits(condition, head));
        let other = header.map(|condition| Verdict::Header(Arc::clone(&condition.name)));
        other.or_else(|| {
            let parameter = self.query.iter().find(|condition| !query_fits(condition, query))?;
            Some(Verdict::Query(Arc::clone(&parameter.name)))
        })
    }

    /// Whether it takes every request of its host, to the same service.
    pub fn takes_all(&self) -> bool {
        let asks =
            self.path.is_some() || !self.methods.is_empty() || !self.headers.is_empty() || !self.query.is_empty();
        !asks && matches!(self.leads, Leading::One(_))
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
        Considered {
            route: Arc::clone(&self.name),
            asks: self.asks.clone().into(),
            leads_to: self.leads_to.clone().into(),
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
        let fixed = match self {
            Self::Taken => "takes the request",
            Self::Later => "would take it, but comes later",
            Self::Path => "the path differs",
            Self::Method => "the method differs",
            Self::Header(name) => return write!(f, "the header `{name}` differs"),
            Self::Query(name) => return write!(f, "the query's `{name}` differs"),
            Self::Host => "the host differs",
            Self::NarrowerHost => "not looked at: a narrower host has routes",
        };
        f.write_str(fixed)
    }
}
