//! `/api/v1/availability`: the shape that scripts and `outrigger availability` rely on. Fields are added, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::counts::{ByReason, Rescue, Totals};
use crate::error::Reason;
use crate::telemetry::availability::{Ledger, Window};
use crate::telemetry::status::Statuses;

/// What became of requests in a window. Shares are from 0 to 1.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `5m`; or `all`, since each service is followed.
    pub window: &'static str,
    /// Each dependency, by name.
    pub services: Vec<Dependency>,
    /// What all of them together come to.
    pub product: Product,
}

/// What became of the requests of one dependency.
#[derive(Debug, Serialize)]
pub struct Dependency {
    /// The service's name.
    pub name: Arc<str>,
    /// Whether the configuration names it.
    pub declared: bool,
    /// How much of the window it was followed for.
    pub seconds: u64,
    /// Requests that count: without the client's own doing.
    pub requests: u64,
    /// The share that the instances alone would have answered, `first_good` and `unknown`; none without requests.
    pub before: Option<f64>,
    /// The share that was answered, degraded or not; none without requests.
    pub after: Option<f64>,
    /// Answered by the service.
    pub success: u64,
    /// Lost or refused.
    pub failure: u64,
    /// Attempts at endpoints.
    pub attempts: u64,
    /// By what became of the first attempt; `overtaken` is `unknown`.
    pub first: BTreeMap<&'static str, u64>,
    /// The account: `carried` and `started` are the sum of all that follows.
    #[serde(flatten)]
    pub account: Account,
}

/// Where each request of a dependency is to be found, once.
#[derive(Debug, Serialize)]
pub struct Account {
    /// Requests in flight at the beginning of the window.
    pub carried: u64,
    /// Requests that reached the service in the window.
    pub started: u64,
    /// The first attempt has a good answer, whoever was faster.
    pub first_good: u64,
    /// The first attempt failed, and another has a good answer: by what that was started for.
    pub rescued: BTreeMap<&'static str, u64>,
    /// Another attempt was faster than the first, of which nobody knows what became.
    pub unknown: u64,
    /// Answered by a fallback.
    pub degraded: u64,
    /// By what they were lost to; only what there was.
    pub lost: BTreeMap<&'static str, u64>,
    /// Refused by one of our limits before any attempt failed: by which; only what there was.
    pub refused: BTreeMap<&'static str, u64>,
    /// The client left at once.
    pub abandoned: u64,
    /// 4xx, or a message that breaks the rules.
    pub client_errors: u64,
    /// Not over at the end of the window.
    pub in_flight: u64,
}

/// A request that needs every dependency once is answered as often as all of them are.
#[derive(Debug, Serialize)]
pub struct Product {
    /// `declared`: over the services that the configuration names; `used`: it names none, so over all that are followed.
    pub over: &'static str,
    /// How many of them had requests in the window. The others say nothing, and are left out.
    pub services: usize,
    /// Of first attempts; none where no service had requests.
    pub before: Option<f64>,
    /// Of what clients got.
    pub after: Option<f64>,
}

/// The window that begins when a service is first followed. Two of its reports subtracted say what became of the requests
/// between them, to the last one.
pub const ALL: &str = "all";

/// What the ledger has of a window; of all time where there is none.
pub fn report(ledger: &Ledger, board: &Statuses, window: Option<Window>) -> Report {
    let declared = |name: &str| board.get(name).is_some_and(|status| status.declared);
    let mut services: Vec<Dependency> = ledger
        .services()
        .filter_map(|name| {
            let (totals, covered) = match window {
                Some(window) => ledger.window(name, window)?,
                None => ledger.all(name)?,
            };
            Some(dependency(Arc::clone(name), declared(name), &totals, covered))
        })
        .collect();
    services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let any_declared = services.iter().any(|service| service.declared);
    let product = product(&services, any_declared);
    Report { window: window.map_or(ALL, Window::name), services, product }
}

fn dependency(name: Arc<str>, declared: bool, totals: &Totals, covered: Duration) -> Dependency {
    let failed = totals.requests() - totals.first_good - totals.unknown;
    Dependency {
        name,
        declared,
        seconds: covered.as_secs(),
        requests: totals.requests(),
        before: totals.before(),
        after: totals.after(),
        success: totals.success(),
        failure: totals.failure(),
        attempts: totals.attempts,
        first: [("good", totals.first_good), ("failed", failed), ("overtaken", totals.unknown)].into(),
        account: account(totals),
    }
}

fn account(totals: &Totals) -> Account {
    let by_reason = |counts: &ByReason| {
        let some = Reason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
        some.map(|(reason, count)| (reason.token(), *count)).collect()
    };
    Account {
        carried: totals.carried,
        started: totals.started,
        first_good: totals.first_good,
        rescued: Rescue::ALL.iter().map(|rescue| rescue.name()).zip(totals.rescued).collect(),
        unknown: totals.unknown,
        degraded: totals.degraded,
        lost: by_reason(&totals.losses.lost),
        refused: by_reason(&totals.losses.refused),
        abandoned: totals.abandoned,
        client_errors: totals.client_errors,
        in_flight: totals.in_flight,
    }
}

fn product(services: &[Dependency], any_declared: bool) -> Product {
    let shares: Vec<(f64, f64)> = services
        .iter()
        .filter(|service| service.declared || !any_declared)
        .filter_map(|service| service.before.zip(service.after))
        .collect();
    let of = |share: fn(&(f64, f64)) -> f64| (!shares.is_empty()).then(|| shares.iter().map(share).product());
    Product {
        over: if any_declared { "declared" } else { "used" },
        services: shares.len(),
        before: of(|(before, _)| *before),
        after: of(|(_, after)| *after),
    }
}
