//! Whether the faults of a configuration can be there from the start.
//!
//! What a keeper refuses depends on all that stands beside a fault: the services and their instances, the routes, the TCP
//! proxies, the faults before it. A second set of rules for reading a file would soon say something else, so the keeper
//! itself is asked: one of its own, over what there will be before the first byte is read, that nobody sees.

use metrics::NoopRecorder;
use tracing::subscriber::NoSubscriber;

use super::{Keeper, Refused};
use crate::clock::Instant;
use crate::config::settings::{FaultLimits, Settings};
use crate::control;
use crate::fault::active::{Sort, Subject};
use crate::snapshot;

/// The faults of `faults.start` that would be refused, each with its place in the list.
pub(crate) fn refused_at_start(settings: &Settings) -> Vec<(usize, Refused)> {
    if settings.faults.start.is_empty() {
        return Vec::new();
    }
    // Neither its lines nor its counts are those of the process.
    let quiet = || metrics::with_local_recorder(&NoopRecorder, || rehearse(settings));
    tracing::subscriber::with_default(NoSubscriber::new(), quiet)
}

fn rehearse(settings: &Settings) -> Vec<(usize, Refused)> {
    let (_publisher, reader, _demands) = snapshot::joint(control::first_snapshot(settings));
    let keeper = Keeper::new(FaultLimits { audit_log: None, ..settings.faults.clone() }, reader);
    for proxy in &settings.tcp {
        keeper.enrol(&Subject::new(&proxy.name, Sort::TcpProxy), false);
    }
    let now = Instant::now();
    let add = |(index, spec): (usize, &super::Spec)| Some((index, keeper.add(spec.clone(), "", now).err()?));
    settings.faults.start.iter().enumerate().filter_map(add).collect()
}
