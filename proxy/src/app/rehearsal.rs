//! Whether what a configuration names is there and can be used: certificates and their keys, and faults from the start.
//!
//! What a fault manager refuses depends on all that stands beside a fault: the services and their instances, the routes, the TCP
//! proxies, the faults before it. A second set of rules for reading a file would soon say something else, so the manager
//! itself is asked: one of its own, over what there will be before the first byte is read, that nobody sees.

use std::time::SystemTime;

use metrics::NoopRecorder;
use tracing::subscriber::NoSubscriber;

use crate::clock::Instant;
use crate::config::settings::{FaultLimits, ListenerTls, ServiceSettings, Settings, Source, TlsTo, Trust};
use crate::config::{ConfigErrors, Loaded};
use crate::control;
use crate::fault::Spec;
use crate::fault::active::{FaultTarget, Sort};
use crate::fault_manager::{FaultManager, Refused};
use crate::snapshot;
use crate::tls::load::{self, Wrong};

/// The same configuration, where its faults can be there from the start.
///
/// # Errors
///
/// Those that would be refused, each on its line.
pub fn rehearsed(loaded: Loaded) -> Result<Loaded, ConfigErrors> {
    let faults = refused_at_start(&loaded.settings).into_iter().map(|(index, refused)| {
        let mut path = vec!["faults".to_owned(), "start".to_owned(), index.to_string()];
        match refused {
            Refused::Invalid(invalid) => {
                path.extend(invalid.key.split('.').map(str::to_owned));
                (path, invalid.message)
            }
            refused => (path, refused.to_string()),
        }
    });
    let found = faults.chain(bad_files(&loaded.settings)).collect();
    loaded.unless(found)
}

/// As [`rehearsed`], for whoever only wants to know: a certificate that has expired is an error then. A proxy that starts goes
/// on with it and says so, since one that does not start helps nobody.
///
/// # Errors
///
/// All that is wrong.
pub fn checked(loaded: Loaded) -> Result<Loaded, ConfigErrors> {
    let loaded = rehearsed(loaded)?;
    let found = untimely(&loaded.settings).collect();
    loaded.unless(found)
}

type Found = (Vec<String>, String);

/// Certificates, keys and authorities that cannot be used.
fn bad_files(settings: &Settings) -> impl Iterator<Item = Found> {
    let of_listeners = listeners(settings).flat_map(|(path, tls)| {
        let wrongs = load::acceptor(tls).err().unwrap_or_default();
        wrongs.into_iter().map(move |wrong| below(&path, wrong))
    });
    let of_services = services(settings).flat_map(|(path, trust)| {
        let wrongs = load::judging(trust).err().unwrap_or_default();
        wrongs.into_iter().map(move |wrong| below(&path, wrong))
    });
    of_listeners.chain(of_services)
}

/// Certificates that have expired, or are not good yet.
fn untimely(settings: &Settings) -> impl Iterator<Item = Found> {
    let now = SystemTime::now();
    let of_listeners = listeners(settings).flat_map(move |(path, tls)| {
        let acceptor = load::acceptor(tls).ok();
        let wrongs = acceptor.map(|acceptor| load::untimely(&acceptor.current(), tls, now)).unwrap_or_default();
        wrongs.into_iter().map(move |wrong| below(&path, wrong))
    });
    let of_services = services(settings).filter_map(move |(path, trust)| {
        let (_, facts) = load::judging(trust).ok()?;
        let wrong = load::untimely_one(&facts?, &trust.certificate.as_ref()?.cert, now)?;
        Some((path.into_iter().chain(["cert".to_owned()]).collect(), wrong))
    });
    of_listeners.chain(of_services)
}

/// Services some of whose instances are, as they are written, spoken to over TLS.
fn services(settings: &Settings) -> impl Iterator<Item = (Vec<String>, &Trust)> {
    let path = |name: &str| vec!["services".to_owned(), name.to_owned(), "tls".to_owned()];
    let speaks = |service: &ServiceSettings| match (service.tls.to, &service.source) {
        (TlsTo::All, _) => true,
        (TlsTo::Named, Source::Static(instances)) => instances.iter().any(|instance| instance.https),
        _ => false,
    };
    let services = settings.services.iter().filter(move |(_, service)| speaks(service));
    services.map(move |(name, service)| (path(name), &service.tls.trust))
}

fn listeners(settings: &Settings) -> impl Iterator<Item = (Vec<String>, &ListenerTls)> {
    let path = |at: usize| vec!["listeners".to_owned(), at.to_string(), "tls".to_owned()];
    settings.listeners.iter().enumerate().filter_map(move |(at, listener)| Some((path(at), listener.tls.as_ref()?)))
}

fn below(path: &[String], wrong: Wrong) -> Found {
    (path.iter().cloned().chain(wrong.key).collect(), wrong.message)
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
