//! Which service a request goes to.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::settings::{NameSettings, Policy, RouteSettings};

/// A route of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// For logs: `routes[2]`.
    pub name: Arc<str>,
    /// The service it leads to.
    pub service: Arc<str>,
    /// The policies of its requests.
    pub policy: Arc<Policy>,
}

/// What the table says of a request.
#[derive(Debug, PartialEq)]
pub enum Found<'t, 'h> {
    /// A configured route.
    Route(&'t Arc<Route>),
    /// None matches, and the host is a service's name, suffix and port taken off, in lower case.
    Service(Cow<'h, str>),
    /// None matches, and names outside the allow-pattern are refused.
    NotAllowed(Cow<'h, str>),
    /// None matches, and the host cannot be a service's name (an IP address, or names are off).
    Nothing,
}

/// All routes, compiled.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    names: Option<NameSettings>,
}

impl RouteTable {
    /// Compiles the routes.
    pub fn new(routes: &[RouteSettings], names: Option<NameSettings>) -> Self {
        let routes = routes
            .iter()
            .map(|r| {
                Arc::new(Route { name: r.name.clone(), service: r.service.clone(), policy: Arc::new(r.policy.clone()) })
            })
            .collect();
        Self { routes, names }
    }

    /// Host with or without port, path without query, method as sent.
    pub fn find<'h>(&self, host: &'h str, _path: &[u8], _method: &[u8]) -> Found<'_, 'h> {
        match (self.routes.first(), &self.names) {
            (Some(route), _) => Found::Route(route),
            (None, Some(_)) => Found::Service(Cow::Borrowed(host)),
            _ => Found::Nothing,
        }
    }

    /// Whether and how names are services.
    pub fn names(&self) -> Option<&NameSettings> {
        self.names.as_ref()
    }
}
