//! Host names and their addresses, off the request path.
//!
//! An instance may be registered by a name, and a container is reached by one. Each name is looked up when it
//! first appears and again every 30 s; what failed keeps its last good addresses, and is tried again sooner if it
//! never had any.
//!
//! Why the system's `getaddrinfo` and not a resolver of our own? Because what a name means on a machine is the
//! machine's decision: `/etc/hosts`, `nsswitch.conf`, a container runtime's names, mDNS, search domains. A
//! resolver that only speaks DNS answers differently from every other program there. The price is that it blocks
//! a thread and tells no time to live. So look-ups run on at most [`AT_ONCE`] threads: a slot is given back when
//! the call *ends*, not when we stop waiting for it, and names that hang cannot pile threads up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::reconcile::{Hosts, Resolution};

/// Look-ups that run at the same time.
pub const AT_ONCE: usize = 8;
/// From one look-up of a name to the next.
pub const EVERY: Duration = Duration::from_secs(30);
/// Until a name that never had an address is tried again.
const UNRESOLVED_EVERY: Duration = Duration::from_secs(2);
/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The system's way to look a name up, or a test's.
pub type LookUp = Arc<dyn Fn(Arc<str>) -> Answer + Send + Sync>;
/// A look-up on its way.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A look-up that has ended.
#[derive(Debug)]
pub struct Resolved {
    host: Arc<str>,
    result: Result<Vec<IpAddr>, String>,
}

/// The names in use and what is known of them.
pub struct Resolver {
    look_up: LookUp,
    answers: mpsc::Sender<Resolved>,
    names: BTreeMap<Arc<str>, Name>,
    hosts: Hosts,
}

#[derive(Debug)]
struct Name {
    due: Instant,
    asking: bool,
}

impl Resolver {
    /// A resolver that sends what it learns to `answers`; give it back to [`Resolver::learn`].
    pub fn new(look_up: LookUp, answers: mpsc::Sender<Resolved>) -> Self {
        Self { look_up, answers, names: BTreeMap::new(), hosts: Hosts::new() }
    }

    /// What is known.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// From now on exactly these names are looked up; the others are forgotten.
    pub fn want(&mut self, wanted: &BTreeSet<Arc<str>>, now: Instant) {
        self.names.retain(|name, _| wanted.contains(name));
        self.hosts.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.names.entry(Arc::clone(name)).or_insert(Name { due: now, asking: false });
        }
        self.ask(now);
    }

    /// Starts the look-ups that are due. Called every second.
    pub fn ask(&mut self, now: Instant) {
        for (host, name) in &mut self.names {
            if name.asking || name.due > now {
                continue;
            }
            name.asking = true;
            let (host, answers) = (Arc::clone(host), self.answers.clone());
            let answer = (self.look_up)(Arc::clone(&host));
            tokio::spawn(async move {
                let result = match timeout(PATIENCE, answer).await {
                    Ok(Ok(addresses)) if addresses.is_empty() => Err("no address".to_owned()),
                    Ok(Ok(addresses)) => Ok(addresses),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                // The receiver is gone only when the control plane has ended.
                let _ended = answers.send(Resolved { host, result }).await;
            });
        }
    }

    /// Takes an answer in. The host, if something is now known of it that was not before.
    pub fn learn(&mut self, answer: Resolved, now: Instant) -> Option<Arc<str>> {
        let Resolved { host, result } = answer;
        let name = self.names.get_mut(&host)?;
        let before = self.hosts.get(&host);
        let after = match result {
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                Resolution { addresses, error: None }
            }
            Err(error) => {
                let addresses = before.map(|known| known.addresses.clone()).unwrap_or_default();
                if before.is_none_or(|known| known.error.is_none()) {
                    tracing::warn!(host = &*host, error, kept = addresses.len(), "a host name cannot be resolved");
                }
                Resolution { addresses, error: Some(error) }
            }
        };
        name.asking = false;
        name.due = now + if after.addresses.is_empty() { UNRESOLVED_EVERY } else { EVERY };
        let changed = before != Some(&after);
        self.hosts.insert(Arc::clone(&host), after);
        changed.then_some(host)
    }
}

/// `getaddrinfo`, bounded.
pub fn system() -> LookUp {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    Arc::new(move |host| {
        let slots = Arc::clone(&slots);
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            let looked_up = tokio::task::spawn_blocking(move || {
                let _slot = slot;
                Ok((&*host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            });
            looked_up.await.map_err(io::Error::other)?
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_localhost_and_not_nonsense() {
        let look_up = system();
        let addresses = look_up("localhost".into()).await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!(look_up("no such name".into()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_look_up_keeps_the_last_good_addresses() {
        let good: IpAddr = "10.0.0.1".parse().unwrap();
        let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let look_up: LookUp = Arc::new(move |_| {
            let ok = first.swap(false, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move { if ok { Ok(vec![good, good]) } else { std::future::pending().await } })
        });
        let (tell, mut told) = mpsc::channel(1);
        let mut resolver = Resolver::new(look_up, tell);
        let host: Arc<str> = "web".into();
        resolver.want(&BTreeSet::from([Arc::clone(&host)]), Instant::now());
        let answer = told.recv().await.unwrap();
        assert_eq!(resolver.learn(answer, Instant::now()).as_deref(), Some("web"));
        assert_eq!(resolver.hosts()["web"], Resolution { addresses: vec![good], error: None });

        let before = Instant::now();
        tokio::time::advance(EVERY).await;
        resolver.ask(Instant::now());
        let answer = told.recv().await.unwrap();
        assert_eq!(before.elapsed(), EVERY + PATIENCE, "a look-up that hangs is given up after 5 s");
        resolver.learn(answer, Instant::now());
        assert_eq!(resolver.hosts()["web"].addresses, [good]);
        assert!(resolver.hosts()["web"].error.is_some());

        resolver.want(&BTreeSet::new(), Instant::now());
        assert!(resolver.hosts().is_empty(), "a name out of use is forgotten");
    }
}
