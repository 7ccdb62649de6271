//! Whether the faults of a configuration can be there from the start.
//!
//! What a fault manager refuses depends on all that stands beside a fault: the services and their instances, the routes, the TCP
//! proxies, the faults before it. A second set of rules for reading a file would soon say something else, so the manager
//! itself is asked: one of its own, over what there will be before the first byte is read, that nobody sees.

use metrics::NoopRecorder;
use tracing::subscriber::NoSubscriber;

use crate::clock::Instant;
use crate::config::settings::{FaultLimits, Settings};
use crate::config::{ConfigErrors, Loaded};
use crate::control;
use crate::fault::Spec;
use crate::fault::active::{FaultTarget, Sort};
use crate::fault_manager::{FaultManager, Refused};
use crate::snapshot;

/// The same configuration, where its faults can be there from the start.
///
/// # Errors
///
/// Those that would be refused, each on its line.
pub fn rehearsed(loaded: Loaded) -> Result<Loaded, ConfigErrors> {
    let found = refused_at_start(&loaded.settings).into_iter().map(|(index, refused)| {
        let mut path = vec!["faults".to_owned(), "start".to_owned(), index.to_string()];
        match refused {
            Refused::Invalid(invalid) => {
                path.extend(invalid.key.split('.').map(str::to_owned));
                (path, invalid.message)
            }
            refused => (path, refused.to_string()),
        }
    });
    let found = found.collect();
    loaded.unless(found)
}

/// The faults of `faults.start` that would be refused, each with its place in the list.
fn refused_at_start(settings: &Settings) -> Vec<(usize, Refused)> {
    if settings.faults.start.is_empty() {
        return Vec::new();
    }
    // Neither its lines nor its counts are those of the process.
    let quiet = || metrics::with_local_recorder(&NoopRecorder, || rehearse(settings));
    tracing::subscriber::with_default(NoSubscriber::new(), quiet)
}

fn rehearse(settings: &Settings) -> Vec<(usize, Refused)> {
    let (_publisher, reader, _demands) = snapshot::joint(control::first_snapshot(settings));
    let fault_manager = FaultManager::new(FaultLimits { audit_log: None, ..settings.faults.clone() }, reader);
    for proxy in &settings.tcp {
        fault_manager.enrol(&FaultTarget::new(&proxy.name, Sort::TcpProxy), false);
    }
    let now = Instant::now();
    let add = |(index, spec): (usize, &Spec)| Some((index, fault_manager.add(spec.clone(), "", now).err()?));
    settings.faults.start.iter().enumerate().filter_map(add).collect()
}

#[cfg(test)]
mod tests;
