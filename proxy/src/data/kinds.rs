//! How long the answers of a service take, by route and method.
//!
//! A service's routes and methods have little to do with each other: one reads a cache, another writes a report. So each
//! pair has a sketch of its own, and what is long for it is learned from its own past.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::resilience::pace::Learned;
use crate::resilience::shelf::Shelf;
use crate::route::Route;

/// The kinds of requests of one service, as one worker has seen them.
#[derive(Debug, Default)]
pub struct Kinds {
    known: Vec<Kind>,
}

/// Requests of one route and method.
#[derive(Debug)]
pub struct Kind {
    /// The route's name; none for those that reached the service by its name.
    pub route: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// What their answers take.
    pub learned: Learned,
}

/// A method, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Other,
}

impl Method {
    /// As it stands in a request line; empty for [`Method::Other`].
    pub const fn text(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Other => "",
        }
    }

    fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// Routes that are gone leave their kinds behind; when there are more than this, all is learned anew.
const MOST: usize = 1_024;

impl Kinds {
    /// The place of a request's kind.
    pub fn place(&mut self, route: Option<&Route>, method: &[u8], now: Instant) -> usize {
        let method = Method::of(method);
        let name = route.map(|route| &route.name);
        let is = |kind: &Kind| {
            kind.method == method
                && match (&kind.route, name) {
                    (None, None) => true,
                    (Some(known), Some(name)) => Arc::ptr_eq(known, name) || known == name,
                    _ => false,
                }
        };
        if let Some(place) = self.known.iter().position(is) {
            return place;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.push(Kind { route: name.cloned(), method, learned: Learned::new(now) });
        self.known.len() - 1
    }

    /// What is known of a kind; none where all was learned anew since.
    pub fn at(&mut self, place: usize) -> Option<&mut Learned> {
        self.known.get_mut(place).map(|kind| &mut kind.learned)
    }

    /// All kinds.
    pub fn all(&self) -> &[Kind] {
        &self.known
    }

    /// Works out what follows from what was learned, and shares it with the other workers. Asked at the worker's ticks.
    pub fn refresh(&mut self, shelf: &Shelf, now: Instant) {
        for kind in &mut self.known {
            kind.learned.refresh(now);
            let mut hasher = std::hash::DefaultHasher::new();
            (&kind.route, kind.method).hash(&mut hasher);
            match kind.learned.to_lend() {
                Some(p99) => shelf.put(hasher.finish(), p99),
                None => shelf.get(hasher.finish()).into_iter().for_each(|p99| kind.learned.borrow(p99)),
            }
        }
    }
}
