//! Drills: what the product does while a dependency is down or slow, found out on purpose and written down.
//!
//! A **resiliency matrix** has a row for each dependency and a column for each part of the product, and says in each cell
//! what that part is while that dependency fails: available, degraded, unavailable. Filled in by hand it is out of date
//! within weeks. So it is measured here: a [`Plan`](plan::Plan) names the parts, as probes of them, and the dependencies, with
//! what shall befall them; the [`runner`] makes one row after the other by injecting a [fault](crate::fault) and watching the
//! probes; and what comes out is a [`Matrix`](matrix::Matrix) that can be read, committed, and compared with the next one
//! ([`baseline`]).
//!
//! A drill must not become the outage that it rehearses. It does not begin while the product is not well; it injects one
//! fault at a time, each with an end of its own; it holds on to them by a heartbeat, so that a runner that is killed leaves
//! nothing behind; and a guard, which the *proxy* watches, ends all of it. What the proxy did about a fault is read from its
//! accounts before and after ([`absorbed`]), so that "available" comes with its reason.
//!
//! Nothing here is part of the proxy: it is a client of its admin API, and of the product.

pub mod absorbed;
pub mod admin;
pub mod baseline;
pub mod cell;
pub mod client;
mod heart;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod matrix;
pub mod maturity;
pub mod plan;
pub mod probe;
pub mod runner;
pub mod words;
