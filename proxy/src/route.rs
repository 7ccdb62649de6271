//! Which service a request goes to.
//!
//! **The order of precedence.** First the host: routes of exactly the request's host; else those of the wildcard
//! with the longest suffix that fits (`*.a.example` before `*.example`); else those without a host. Only one of these
//! groups is looked at: a host that has routes never falls through to those of a wider host, nor to a service of
//! its name, so a request that none of them takes is [`Found::Nothing`] (404) and not another service's. Within the
//! group, then, the path: an exact path, then a regular expression, then a prefix, the longer before the shorter, then no
//! path. Then the method: a route that names methods before one that does not. Then the header fields, and then the query:
//! a route that has more conditions on them before one that has fewer. What is still equal goes by the order of the file,
//! two regular expressions too. Where no host and no hostless route takes the request, and names are on, the host itself is
//! the service.
//!
//! The order does not depend on the request: it is that of the routes, and the first that takes the request has it. (It is
//! that of Kubernetes' Gateway API, as far as that goes.)
//!
//! Everything is compared as it was sent: paths byte for byte (see [`http::path`](crate::http::path)), methods with their
//! case, names and values of the query without decoding them; hosts without their case, their port and a trailing dot; names
//! of header fields without their case.

mod ask;
pub mod change;
pub mod key;
mod name;
mod split;
mod table;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::settings::{
    Access, FallbackAnswer, HeaderChanges, Mirror, NameSettings, Policy, Redirect, RequestChanges, RouteSettings,
};
use crate::resilience::breaker::CircuitBreaker;

pub use ask::Ask;
use name::NameRules;
pub use split::{GOLDEN, Split};
pub use table::{Considered, Verdict};
use table::{HostTable, Leading};

/// A route of the table, or its part to one of several services.
#[derive(Debug)]
pub struct Route {
    /// For logs: `routes[2]`.
    pub name: Arc<str>,
    /// The service it leads to; none where the proxy answers by itself.
    pub service: Option<Arc<str>>,
    /// The policies of its requests.
    pub policy: Arc<Policy>,
    /// A circuit of its own, where it has rules of its own for one.
    pub breaker: Option<CircuitBreaker>,
    /// Its place among all routes and their parts, from 0.
    pub index: usize,
    /// What became of its requests, those of its other parts included.
    pub outcomes: Arc<Outcomes>,
    /// What it does beyond choosing a service. Most routes do nothing beyond, and cost nothing for it.
    pub extras: Option<Arc<Extras>>,
}

/// What a route does beyond choosing a service.
#[derive(Debug, PartialEq)]
pub struct Extras {
    /// Who may call.
    pub access: Option<Access>,
    /// What it answers without asking anybody.
    pub reply: Option<Reply>,
    /// What is changed of requests.
    pub request: RequestChanges,
    /// What is changed of answers' fields.
    pub response: HeaderChanges,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
}

/// What a route answers without asking anybody.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// That it is elsewhere.
    Redirect(Redirect),
    /// This.
    Fixed(FallbackAnswer),
}

/// What became of a route's requests since it is there. Workers add to it at their ticks.
#[derive(Debug, Default)]
pub struct Outcomes {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Outcomes {
    /// So many more.
    pub fn add(&self, answered: u64, failed: u64) {
        self.answered.fetch_add(answered, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }

    /// Those that were answered, by a fallback too, and all that count.
    pub fn read(&self) -> (u64, u64) {
        let answered = self.answered.load(Ordering::Relaxed);
        (answered, answered + self.failed.load(Ordering::Relaxed))
    }
}

impl Extras {
    /// Whether there is nothing beyond.
    fn are_none(&self) -> bool {
        let Self { access, reply, request, response, mirror } = self;
        access.is_none() && reply.is_none() && request.is_empty() && response.is_empty() && mirror.is_none()
    }
}

impl PartialEq for Route {
    /// Whether they are the same route; what they have counted, and how its circuit stands, is no part of that.
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.service, &self.policy, self.breaker.is_some(), &self.extras)
            == (&other.name, &other.service, &other.policy, other.breaker.is_some(), &other.extras)
    }
}

/// What the table says of a request.
#[derive(Debug, PartialEq)]
pub enum Found<'t, 'h> {
    /// A configured route.
    Route(&'t Arc<Route>),
    /// A configured route to several services.
    Split(&'t Split),
    /// None matches, and the host is a service's name, suffix and port taken off, in lower case.
    Service(Cow<'h, str>),
    /// None matches, and names outside the allow-pattern are refused.
    NotAllowed(Cow<'h, str>),
    /// None matches, and the host cannot be a service's name (it has routes of its own, it is an IP address, or
    /// names are off).
    Nothing,
}

/// All routes, compiled.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: HostTable,
    names: Option<NameSettings>,
    rules: NameRules,
}

impl RouteTable {
    /// Compiles the routes.
    pub fn new(routes: &[RouteSettings], names: Option<NameSettings>) -> Self {
        let rules = names.as_ref().map(NameRules::new).unwrap_or_default();
        Self { hosts: HostTable::new(routes), names, rules }
    }

    /// Host with or without port.
    pub fn find<'h>(&self, host: &'h str, ask: &Ask<'_>) -> Found<'_, 'h> {
        let host = name::normal(host);
        let group = self.hosts.group(&host);
        if let Some(route) = group.routes.iter().find(|r| r.refusal(ask).is_none()) {
            return match &route.leads {
                Leading::One(route) => Found::Route(route),
                Leading::Split(split) => Found::Split(split),
            };
        }
        if group.owned || self.names.is_none() {
            return Found::Nothing;
        }
        match self.rules.service(host) {
            None => Found::Nothing,
            Some(service) if self.rules.allows(&service) => Found::Service(service),
            Some(service) => Found::NotAllowed(service),
        }
    }

    /// Whether [`RouteTable::find`] says the same whatever is asked for, so that it need be asked only once.
    pub fn is_by_host_alone(&self, host: &str) -> bool {
        self.hosts.group(&name::normal(host)).routes.first().is_none_or(|first| first.takes_all())
    }

    /// What [`RouteTable::find`] makes of each route, in the order in which it looks at them; those of hosts that it
    /// does not look at come last.
    pub fn explain(&self, host: &str, ask: &Ask<'_>) -> Vec<Considered> {
        self.hosts.explain(&name::normal(host), ask)
    }

    /// Whether the host has routes of its own, exact or wildcard: then [`Found::Nothing`] is the last word on it, and
    /// it is no host for a request to be sent to as it is.
    pub fn owns(&self, host: &str) -> bool {
        self.hosts.group(&name::normal(host)).owned
    }

    /// All routes, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.hosts.all()
    }

    /// The route of this name: `routes[2]`; where it leads to several services, its part to any of them.
    pub fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.hosts.all().find(|route| &*route.name == name)
    }

    /// The route of this name, or its part, to this service.
    pub fn named_to(&self, name: &str, service: &str) -> Option<&Arc<Route>> {
        self.hosts.all().find(|route| &*route.name == name && route.service.as_deref() == Some(service))
    }

    /// Whether and how names are services.
    pub fn names(&self) -> Option<&NameSettings> {
        self.names.as_ref()
    }
}

#[cfg(test)]
mod tests;
