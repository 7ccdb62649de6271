//! A route to several services, by weight.
//!
//! A request without anything that keeps it together with others takes the next step of a sequence that spreads evenly over the
//! weights (the golden section of the line, as in [`balance`](crate::balance)): a share holds within a few requests, and not
//! within a few times the square root of their number. One that is to stay at its service takes the place that its key says. That
//! place moves only where the weights before it do: while a share grows at the end of the list, those that belonged to it stay.

use std::sync::Arc;

use super::{Ask, Route, key};
use crate::config::settings::HashBy;

/// The golden section of 2^64.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The parts of a route.
#[derive(Debug, PartialEq)]
pub struct Split {
    /// Each with where it ends on the line of weights.
    parts: Vec<(u64, Arc<Route>)>,
    sticky: Option<HashBy>,
}

impl Split {
    /// Of parts and their weights; at least one weight is above zero.
    pub(super) fn new(parts: Vec<(u32, Arc<Route>)>, sticky: Option<HashBy>) -> Self {
        let mut end = 0;
        let upto = |(weight, route): (u32, Arc<Route>)| {
            end += u64::from(weight);
            (end, route)
        };
        Self { parts: parts.into_iter().map(upto).collect(), sticky }
    }

    /// All parts, those without a share too.
    pub fn parts(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.parts.iter().map(|(_, route)| route)
    }

    /// The first part, which stands for all of them where something is counted for the whole.
    pub fn first(&self) -> Option<&Arc<Route>> {
        self.parts().next()
    }

    /// What keeps requests together.
    pub fn sticky(&self) -> Option<&HashBy> {
        self.sticky.as_ref()
    }

    /// Where a request belongs; none where it has nothing that says so.
    pub fn key(&self, ask: &Ask<'_>, address: impl FnOnce() -> std::net::IpAddr) -> Option<u64> {
        key::of(self.sticky.as_ref()?, ask, address)
    }

    /// The part at a place of the line, of 2^64 places.
    pub fn at(&self, place: u64) -> Option<&Arc<Route>> {
        let all = self.parts.last()?.0;
        // Below `all`, which is the sum of numbers of 32 bits.
        let slot = ((u128::from(place) * u128::from(all)) >> 64) as u64;
        self.parts.iter().find(|(end, _)| slot < *end).map(|(_, route)| route)
    }
}
