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

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::reconcile::{Hosts, Resolution};
use crate::clock::Instant;

/// Look-ups that run at the same time.
pub const AT_ONCE: usize = 8;
/// From one look-up of a name to the next.
pub const EVERY: Duration = Duration::from_secs(30);
/// Until a name that never had an address is tried again.
const UNRESOLVED_EVERY: Duration = Duration::from_secs(2);
/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The system's way to look a name up, or a test's. It holds its slot until it has really ended.
pub type LookUp = Arc<dyn Fn(Arc<str>, Slot) -> Answer + Send + Sync>;
/// One of the look-ups that may run.
pub type Slot = OwnedSemaphorePermit;
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
    slots: Arc<Semaphore>,
    answers: mpsc::Sender<Resolved>,
    names: BTreeMap<Arc<str>, Name>,
    hosts: Hosts,
}

#[derive(Debug)]
struct Name {
    due: Instant,
    asking: Option<Asking>,
}

/// A look-up on its way. One that nobody wants any more leaves the queue for a slot, so that names that come
/// and go cannot make it longer than the names that are there.
#[derive(Debug)]
struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Resolver {
    /// A resolver that sends what it learns to `answers`; give it back to [`Resolver::learn`].
    pub fn new(look_up: LookUp, answers: mpsc::Sender<Resolved>) -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Self { look_up, slots, answers, names: BTreeMap::new(), hosts: Hosts::new() }
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
            self.names.entry(Arc::clone(name)).or_insert(Name { due: now, asking: None });
        }
        self.ask(now);
    }

    /// Starts the look-ups that are due. Called every second.
    pub fn ask(&mut self, now: Instant) {
        for (host, name) in &mut self.names {
            if name.asking.is_some() || name.due > now {
                continue;
            }
            let (host, answers) = (Arc::clone(host), self.answers.clone());
            let (look_up, slots) = (Arc::clone(&self.look_up), Arc::clone(&self.slots));
            let asking = tokio::spawn(async move {
                // Nobody closes the semaphore.
                let Ok(slot) = slots.acquire_owned().await else { return };
                let result = match timeout(PATIENCE, look_up(Arc::clone(&host), slot)).await {
                    Ok(Ok(addresses)) if addresses.is_empty() => Err("no address".to_owned()),
                    Ok(Ok(addresses)) => Ok(addresses),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                // The receiver is gone only when the control plane has ended.
                let _ended = answers.send(Resolved { host, result }).await;
            });
            name.asking = Some(Asking(asking.abort_handle()));
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
        name.asking = None;
        name.due = now + if after.addresses.is_empty() { UNRESOLVED_EVERY } else { EVERY };
        let changed = before != Some(&after);
        self.hosts.insert(Arc::clone(&host), after);
        changed.then_some(host)
    }
}

/// `getaddrinfo`, on a thread for it.
pub fn system() -> LookUp {
    Arc::new(|host, slot| {
        Box::pin(async move {
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
        let slots = Arc::new(Semaphore::new(2));
        let slot = || Arc::clone(&slots).try_acquire_owned().unwrap();
        let look_up = system();
        let addresses = look_up("localhost".into(), slot()).await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!(look_up("no such name".into(), slot()).await.is_err());
        assert_eq!(slots.available_permits(), 2, "a look-up that has ended gives its slot back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_look_up_keeps_the_last_good_addresses() {
        let good: IpAddr = "10.0.0.1".parse().unwrap();
        let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let look_up: LookUp = Arc::new(move |_, _slot| {
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

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_hang_are_bounded_and_the_others_wait_for_them() {
        let held = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let holding = Arc::clone(&held);
        let look_up: LookUp = Arc::new(move |_, slot| {
            holding.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // As a blocked thread does: nobody waits any more, and the slot is still taken.
            tokio::spawn(async move {
                tokio::time::sleep(2 * PATIENCE).await;
                drop(slot);
            });
            Box::pin(std::future::pending())
        });
        let (tell, mut told) = mpsc::channel(100);
        let mut resolver = Resolver::new(look_up, tell);
        let wanted: BTreeSet<Arc<str>> = (0..2 * AT_ONCE).map(|n| Arc::from(format!("h{n}"))).collect();
        let start = Instant::now();
        resolver.want(&wanted, start);
        for _ in 0..AT_ONCE {
            let answer = told.recv().await.unwrap();
            resolver.learn(answer, Instant::now());
        }
        assert_eq!(start.elapsed(), PATIENCE);
        resolver.ask(Instant::now());
        for round in 0..1000 {
            let fleeting = BTreeSet::from([Arc::from(format!("fleeting{round}"))]);
            resolver.want(&wanted.union(&fleeting).cloned().collect(), Instant::now());
            tokio::task::yield_now().await;
        }
        resolver.want(&wanted, Instant::now());
        tokio::time::sleep(PATIENCE / 2).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert!(tasks <= 4 * AT_ONCE, "{tasks} tasks: names that are gone still wait");
        assert_eq!(held.load(std::sync::atomic::Ordering::Relaxed), AT_ONCE, "no more threads than slots");
        for _ in 0..AT_ONCE {
            told.recv().await.unwrap();
        }
        assert_eq!(start.elapsed(), 3 * PATIENCE, "who waited for a slot still had its whole time");
    }
}
