//! How far faults may reach.
//!
//! Two shares: of requests, and of a service's endpoints. The second counts what such faults of a service meet together, and
//! whatever the share, one healthy endpoint is left alone by those that were not told `all` in so many words.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Refused;
use crate::config::settings::FaultLimits;
use crate::fault::Place;
use crate::fault::active::{Active, FaultTarget, Sort};
use crate::fault::spec::{Aim, Fault, Invalid, Spec};
use crate::snapshot::{Cluster, Reader, Snapshot};
use crate::units::{Interval, Share};

/// Refuses what would reach too far, and makes a number or a share of endpoints a list of them.
pub(super) fn check<'a>(
    limits: &FaultLimits,
    reader: &Reader,
    living: impl Iterator<Item = &'a Arc<Active>>,
    subject: &FaultTarget,
    fault: &mut Fault,
    spec: &Spec,
) -> Result<(), Refused> {
    let living: Vec<&Arc<Active>> = living.collect();
    if living.len() >= limits.max_active {
        let max = limits.max_active;
        return Err(Refused::Cap(format!(
            "{max} faults are active, as many as `faults.max_active` allows; clear some"
        )));
    }
    share(limits, fault.percent)?;
    if let Some(ttl) = spec.ttl
        && ttl.0 > limits.max_ttl
    {
        let max = Interval(limits.max_ttl);
        return Err(Refused::Cap(format!("a life of {ttl} is longer than the {max} that `faults.max_ttl` allows")));
    }
    if fault.place == Place::Upstream && subject.sort == Sort::Service {
        let snapshot = reader.snapshot();
        if let Some(cluster) = snapshot.clusters.get(&subject.name) {
            let before =
                living.iter().filter(|active| std::ptr::eq(&*active.subject, subject) && is_held_to_a_share(active));
            return endpoints(limits, cluster, before.copied(), fault);
        }
    }
    Ok(())
}

/// Whether it counts towards the endpoints that are met. Those at the edge meet none, and those told `all` were meant to:
/// neither is held to a share, so neither uses one up, whatever the order in which they were added.
fn is_held_to_a_share(active: &Active) -> bool {
    active.fault.place == Place::Upstream && matches!(active.fault.scope.endpoints, Aim::These(_))
}

/// Refuses a share of the requests that is too large.
pub(super) fn share(limits: &FaultLimits, percent: f64) -> Result<(), Refused> {
    if percent > limits.max_requests {
        let (asked, max) = (Share(percent), Share(limits.max_requests));
        let message = format!("{asked} of the requests is more than the {max} that `faults.max_requests` allows");
        return Err(Refused::Cap(message));
    }
    Ok(())
}

fn endpoints<'a>(
    limits: &FaultLimits,
    cluster: &Cluster,
    before: impl Iterator<Item = &'a Arc<Active>>,
    fault: &mut Fault,
) -> Result<(), Refused> {
    let name = &cluster.name;
    let healthy = healthy(cluster);
    let total = healthy.len();
    let aim = match &fault.scope.endpoints {
        Aim::All => return Ok(()),
        Aim::Some(n) => Aim::These(healthy.iter().copied().take(*n).collect()),
        // At least one, or the fault would be none.
        Aim::Share(share) => {
            let n = ((total as f64 * share) as usize).max(1);
            Aim::These(healthy.iter().copied().take(n).collect())
        }
        other => other.clone(),
    };
    if let Aim::These(asked) = &aim
        && let Some(stranger) =
            asked.iter().find(|asked| cluster.endpoints.iter().all(|known| known.address != **asked))
    {
        let known: Vec<String> = cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        let message = format!("`{name}` has no endpoint {stranger}; {known}");
        return Err(Invalid::new("endpoints", message).into());
    }
    let met: BTreeSet<SocketAddr> = before
        .map(|active| &active.fault.scope.endpoints)
        .chain(std::iter::once(&aim))
        .flat_map(|aim| healthy.iter().filter(|address| aim.takes_in(**address)))
        .copied()
        .collect();
    let advice = "name fewer (an address, a number, a share), or say `all` (`--endpoints all`) where that is meant";
    if met.len() >= total {
        let message =
            format!("this leaves no healthy endpoint of `{name}` alone ({total} of {total} are met); {advice}");
        return Err(Refused::Cap(message));
    }
    if met.len() as f64 > total as f64 * limits.max_endpoints {
        let max = Share(limits.max_endpoints);
        let met = met.len();
        let message = format!(
            "this meets {met} of the {total} healthy endpoints of `{name}`, more than the {max} that `faults.max_endpoints` allows; {advice}"
        );
        return Err(Refused::Cap(message));
    }
    fault.scope.endpoints = aim;
    Ok(())
}

/// Endpoints that take traffic, in a stable order.
fn healthy(cluster: &Cluster) -> Vec<SocketAddr> {
    let endpoints = cluster.endpoints.iter().filter(|endpoint| !endpoint.shared.outlier.is_out());
    endpoints.map(|endpoint| endpoint.address).collect()
}

/// Faults that by now meet every endpoint that is still healthy, and were not told to: the newest of each service goes first.
pub(super) fn last_healthy(reader: &Reader, faults: &[Arc<Active>]) -> Vec<u64> {
    let listed = |active: &&Arc<Active>| is_held_to_a_share(active) && !active.origin.exempt;
    if !faults.iter().any(|active| listed(&active)) {
        return Vec::new();
    }
    let snapshot: Arc<Snapshot> = reader.snapshot();
    let mut seen = BTreeSet::new();
    let mut ending = Vec::new();
    for active in faults.iter().rev().filter(listed) {
        if !seen.insert(&active.subject.name) {
            continue;
        }
        let Some(cluster) = snapshot.clusters.get(&active.subject.name) else { continue };
        let own = || faults.iter().filter(listed).filter(|other| Arc::ptr_eq(&other.subject, &active.subject));
        let left = healthy(cluster);
        let spared = left.iter().any(|address| own().all(|other| !other.fault.scope.endpoints.takes_in(*address)));
        if !spared && !cluster.endpoints.is_empty() {
            ending.push(active.id);
        }
    }
    ending
}
