//! What Toxiproxy's API calls proxies: plain TCP proxies, and every service that was discovered.
//!
//! A plain one is its user's own, to be made, moved, switched off and removed. A service is not: it is somebody's production
//! or his laptop's copy of it, so it can be given toxics and be switched off, which is a fault like any other, with an end, a
//! line in the audit log and the limits of `faults`; it cannot be moved or removed.
//!
//! Changes of plain proxies come one after the other, since the port of one may be what the next one waits for. Toxics need
//! no turn: the fault manager takes them at once, and removing one waits for nobody's connection.

mod change;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::json::{Raw, parse, quote};
use super::problem::{Done, Problem, no_proxy, no_toxic, short, speakable};
use super::read;
use super::toxic;
use crate::clock::Instant;
use crate::config::settings::TcpUpstream;
use crate::fault::{Active, FaultTarget};
use crate::fault_manager::FaultManager;
use crate::snapshot::{Cluster, Reader};
use crate::tcp::{TcpProxies, TcpProxy};

pub use change::Populated;

/// What the API is made of.
#[derive(Debug)]
pub struct Proxies {
    /// Plain TCP proxies.
    pub tcp: TcpProxies,
    /// Faults.
    pub fault_manager: Arc<FaultManager>,
    /// Services.
    pub reader: Reader,
    /// Where requests are taken, and for which service, where it is for one only.
    pub listeners: Vec<(SocketAddr, Option<Arc<str>>)>,
    /// Where proxies that are switched off shall listen, as it was written.
    pub written: RefCell<BTreeMap<Arc<str>, String>>,
    /// Whose turn it is to change plain proxies.
    pub turn: tokio::sync::Mutex<()>,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum One {
    /// A plain one.
    Tcp(TcpProxy),
    /// A service.
    Service(Arc<Cluster>),
}

/// More endpoints than this are not spelled out.
const SPELLED_OUT: usize = 16;
/// Toxics on one of them. The caps of `faults` do not hold for plain ones, and nothing may grow without bound.
const MOST_TOXICS: usize = 1000;
/// What an upstream begins with that is a service.
const SERVICE: &str = "service ";

impl One {
    /// What its toxics hang on.
    pub fn subject(&self) -> &Arc<FaultTarget> {
        match self {
            Self::Tcp(proxy) => &proxy.subject,
            Self::Service(cluster) => &cluster.shared.faults,
        }
    }

    fn active(&self, toxic: &str, now: Instant) -> Option<Arc<Active>> {
        toxic::listed(self.subject(), now).into_iter().find(|active| &*active.name == toxic)
    }
}

impl Proxies {
    /// The one of this name; a plain one before a service.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(&self, name: &str) -> Done<One> {
        if let Some(proxy) = self.tcp.find(name) {
            return Ok(One::Tcp(proxy));
        }
        self.reader.snapshot().clusters.get(name).map(|cluster| One::Service(Arc::clone(cluster))).ok_or_else(no_proxy)
    }

    /// All of them, by name.
    pub fn all(&self) -> BTreeMap<Arc<str>, One> {
        let snapshot = self.reader.snapshot();
        let services = snapshot.clusters.values();
        let mut all: BTreeMap<Arc<str>, One> =
            services.map(|cluster| (Arc::clone(&cluster.name), One::Service(Arc::clone(cluster)))).collect();
        all.extend(self.tcp.list().into_iter().map(|proxy| (Arc::clone(&proxy.name), One::Tcp(proxy))));
        all
    }

    /// Adds a toxic. As JSON.
    ///
    /// # Errors
    ///
    /// Where it cannot be added; then nothing has changed.
    pub fn add_toxic(&self, name: &str, body: &[u8], by: &str) -> Done<String> {
        let one = self.find(name)?;
        let body = parse(body).map_err(|bad| Problem::bad(&bad))?;
        Ok(shown(&*self.add(&one, body, by)?))
    }

    fn add(&self, one: &One, body: Raw<'_>, by: &str) -> Done<Arc<Active>> {
        let body = read::toxic(body).map_err(|bad| Problem::bad(&bad))?;
        let now = Instant::now();
        // The one by which a service is switched off is not listed, but its name is taken.
        let faults = one.subject().faults();
        let taken = |name: &str| faults.iter().any(|active| &*active.name == name && !active.is_over(now));
        let spec = toxic::spec(&body, one.subject(), taken)?;
        let name = spec.name.as_deref().unwrap_or_default();
        short("name", name)?;
        speakable(name)?;
        if faults.len() >= MOST_TOXICS {
            return Err(Problem::too_many(MOST_TOXICS));
        }
        Ok(self.fault_manager.add(spec, by, now)?)
    }

    /// A toxic. As JSON.
    ///
    /// # Errors
    ///
    /// When there is no such proxy, or it has no such toxic.
    pub fn toxic(&self, name: &str, toxic: &str) -> Done<String> {
        Ok(shown(&*self.find(name)?.active(toxic, Instant::now()).ok_or_else(no_toxic)?))
    }

    /// The toxics of one. As JSON.
    ///
    /// # Errors
    ///
    /// When there is no such proxy.
    pub fn toxics(&self, name: &str) -> Done<String> {
        Ok(show_toxics(self.find(name)?.subject(), Instant::now()))
    }

    /// Changes a toxic. As JSON.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be changed like that; then it is as it was.
    pub fn change_toxic(&self, name: &str, toxic: &str, body: &[u8], by: &str) -> Done<String> {
        let old = self.find(name)?.active(toxic, Instant::now()).ok_or_else(no_toxic)?;
        let (kind, percent) = toxic::changed(&old, body).map_err(|bad| Problem::bad(&bad))?;
        let new = self.fault_manager.change(old.id, kind, percent, by, Instant::now())?;
        Ok(shown(&*new.ok_or_else(no_toxic)?))
    }

    /// Removes a toxic.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_toxic(&self, name: &str, toxic: &str, by: &str) -> Done<()> {
        let active = self.find(name)?.active(toxic, Instant::now()).ok_or_else(no_toxic)?;
        if self.fault_manager.end(active.id, by) { Ok(()) } else { Err(no_toxic()) }
    }

    /// One of them, as JSON.
    pub fn show(&self, one: &One) -> String {
        let now = Instant::now();
        let (name, enabled) = match one {
            One::Tcp(proxy) => (&proxy.name, proxy.enabled && disabling(one, now).is_none()),
            One::Service(cluster) => (&cluster.name, disabling(one, now).is_none()),
        };
        let mut json = String::from("{\"name\":");
        quote(name, &mut json);
        json.push_str(",\"listen\":");
        quote(&self.listen_of(one), &mut json);
        json.push_str(",\"upstream\":");
        quote(&upstream_of(one), &mut json);
        // The real one's logger shows through, and so does ours.
        json.push_str(if enabled {
            ",\"enabled\":true,\"Logger\":{},\"toxics\":"
        } else {
            ",\"enabled\":false,\"Logger\":{},\"toxics\":"
        });
        json.push_str(&show_toxics(one.subject(), now));
        json.push('}');
        json
    }

    fn listen_of(&self, one: &One) -> String {
        match one {
            One::Tcp(proxy) => match self.written.borrow().get(&proxy.name) {
                Some(written) if !proxy.enabled => written.clone(),
                _ => proxy.listen.to_string(),
            },
            One::Service(cluster) => {
                let own = self.listeners.iter().find(|(_, service)| service.as_ref() == Some(&cluster.name));
                let any = || self.listeners.iter().find(|(_, service)| service.is_none());
                own.or_else(any).map_or_else(String::new, |(address, _)| address.to_string())
            }
        }
    }
}

fn upstream_of(one: &One) -> String {
    match one {
        One::Tcp(TcpProxy { upstream: TcpUpstream::Address(address), .. }) => address.to_string(),
        One::Tcp(TcpProxy { upstream: TcpUpstream::Service(service), .. }) => format!("{SERVICE}{service}"),
        One::Service(cluster) if cluster.endpoints.is_empty() || cluster.endpoints.len() > SPELLED_OUT => {
            format!("{SERVICE}{}", cluster.name)
        }
        One::Service(cluster) => {
            let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string());
            addresses.collect::<Vec<_>>().join(",")
        }
    }
}

/// The fault by which one that is not its user's own is switched off.
fn disabling(one: &One, now: Instant) -> Option<Arc<Active>> {
    one.subject().faults().iter().find(|active| !active.is_over(now) && toxic::is_disabling(active)).cloned()
}

fn shown(active: &Active) -> String {
    let mut json = String::new();
    toxic::show(active, &mut json);
    json
}

fn show_toxics(subject: &FaultTarget, now: Instant) -> String {
    let toxics: Vec<String> = toxic::listed(subject, now).iter().map(|active| shown(active)).collect();
    format!("[{}]", toxics.join(","))
}
