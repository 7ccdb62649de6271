//! The one place that creates TCP proxies, changes them and removes them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::listen::resolve;
use super::{Change, Opening, TcpError, TcpProxy, TcpQueue, Terms, Wanted};
use crate::config::settings::{TcpTimes, TcpUpstream};
use crate::counts::TcpCounts;
use crate::fault::FaultTarget;
use crate::fault::active::Sort;
use crate::fault_manager::FaultManager;
use crate::net::{self, Bound};
use crate::telemetry::metrics::TcpFacts;

/// How many TCP proxies there may be. Each has a socket for each worker.
const MOST: usize = 4096;
/// How long to wait for the workers to close a listener and its connections.
const CLOSING: Duration = Duration::from_secs(5);
/// The name, for the audit log, under which the faults of a removed proxy are ended.
const REMOVAL: &str = "outrigger";

/// All TCP proxies there are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TcpProxies {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fault_manager: Arc<FaultManager>,
    queues: Box<[mpsc::UnboundedSender<Opening>]>,
    current: ArcSwap<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// The lock for one change at a time. It guards the addresses of configured proxies that are switched off, which
    /// stay bound so that nobody else gets them.
    turn: tokio::sync::Mutex<BTreeMap<Arc<str>, Bound>>,
}

#[derive(Debug)]
struct Entry {
    proxy: TcpProxy,
    times: TcpTimes,
    /// The listeners' terms, for as long as the proxy listens.
    run: Option<Arc<watch::Sender<Terms>>>,
}

impl TcpProxies {
    /// No proxies yet, and each worker's queue of openings.
    pub fn new(fault_manager: Arc<FaultManager>, workers: usize) -> (Self, Vec<TcpQueue>) {
        let (queues, openings): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let (current, turn) = (ArcSwap::default(), tokio::sync::Mutex::default());
        let inner = Arc::new(Inner { fault_manager, queues: queues.into(), current, turn });
        (Self { inner }, openings.into_iter().map(TcpQueue).collect())
    }

    /// Creates a proxy that is declared in the configuration. This is called before the workers begin, and does not
    /// wait.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn configure(
        &self,
        name: &Arc<str>,
        address: SocketAddr,
        upstream: TcpUpstream,
        times: TcpTimes,
    ) -> io::Result<TcpProxy> {
        let entry = self.inner.open(
            TcpProxy {
                name: Arc::clone(name),
                listen: address,
                upstream,
                enabled: true,
                configured: true,
                subject: FaultTarget::new(name, Sort::TcpProxy),
                counts: Arc::default(),
            },
            times,
        )?;
        let proxy = entry.proxy.clone();
        self.inner.fault_manager.enrol(&proxy.subject, false);
        self.inner.put(entry);
        Ok(proxy)
    }

    /// All proxies, by name.
    pub fn list(&self) -> Vec<TcpProxy> {
        self.inner.current.load().values().map(|entry| entry.proxy.clone()).collect()
    }

    /// What the metrics show of all proxies, by name.
    pub fn facts(&self) -> Vec<TcpFacts> {
        let facts = |TcpProxy { name, counts, subject, .. }: TcpProxy| TcpFacts { name, counts, faults: subject };
        self.list().into_iter().map(facts).collect()
    }

    /// The proxy of this name.
    pub fn find(&self, name: &str) -> Option<TcpProxy> {
        self.inner.current.load().get(name).map(|entry| entry.proxy.clone())
    }

    /// Creates a proxy. When this returns, connections are accepted.
    ///
    /// # Errors
    ///
    /// When the name is taken, the address cannot be listened on, or there are too many; then nothing has changed.
    pub async fn create(&self, wanted: Wanted) -> Result<TcpProxy, TcpError> {
        let inner = &*self.inner;
        let _turn = inner.turn.lock().await;
        let current = inner.current.load_full();
        if current.contains_key(&wanted.name) {
            return Err(TcpError::Exists);
        }
        if current.len() >= MOST {
            return Err(TcpError::TooMany(MOST));
        }
        let failed = |error| TcpError::Listen(Arc::clone(&wanted.listen), error);
        let proxy = TcpProxy {
            name: Arc::clone(&wanted.name),
            listen: resolve(&wanted.listen).await.map_err(failed)?,
            upstream: wanted.upstream,
            enabled: wanted.enabled,
            configured: false,
            subject: FaultTarget::new(&wanted.name, Sort::TcpProxy),
            counts: Arc::<TcpCounts>::default(),
        };
        let times = TcpTimes::default();
        let entry =
            if proxy.enabled { inner.open(proxy, times).map_err(failed)? } else { Entry { proxy, times, run: None } };
        let proxy = entry.proxy.clone();
        inner.fault_manager.enrol(&proxy.subject, true);
        inner.put(entry);
        Ok(proxy)
    }

    /// Changes a proxy. Another address or another upstream ends its connections, and so does switching it off. Its
    /// faults stay.
    ///
    /// # Errors
    ///
    /// When there is no proxy of this name, when it is declared in the configuration and would be moved, or when its
    /// address cannot be listened on. The proxy is as it was then.
    pub async fn change(&self, name: &str, change: Change) -> Result<TcpProxy, TcpError> {
        let inner = &*self.inner;
        let mut held = inner.turn.lock().await;
        let old = inner.current.load().get(name).cloned().ok_or(TcpError::NotFound)?;
        let written = change.listen.unwrap_or_else(|| old.proxy.listen.to_string().into());
        let failed = |error| TcpError::Listen(Arc::clone(&written), error);
        let wanted = TcpProxy {
            listen: resolve(&written).await.map_err(failed)?,
            upstream: change.upstream.unwrap_or_else(|| old.proxy.upstream.clone()),
            enabled: change.enabled.unwrap_or(old.proxy.enabled),
            ..old.proxy.clone()
        };
        let (moves, turns) = (wanted.listen != old.proxy.listen, wanted.upstream != old.proxy.upstream);
        if !moves && !turns && wanted.enabled == old.proxy.enabled {
            return Ok(wanted);
        }
        if old.proxy.configured && (moves || turns) {
            return Err(TcpError::Configured(Arc::clone(&old.proxy.name)));
        }
        let times = old.times;
        let new = match (&old.run, wanted.enabled) {
            (None, false) => Entry { proxy: wanted, times, run: None },
            (None, true) => {
                let kept = held.remove(name).is_some();
                inner.open(wanted, times).map_err(|error| {
                    keep(&mut held, &old.proxy, kept);
                    failed(error)
                })?
            }
            (Some(run), false) => {
                keep(&mut held, &old.proxy, old.proxy.configured);
                close(run).await;
                Entry { proxy: wanted, times, run: None }
            }
            (Some(run), true) if !moves => {
                run.send_modify(|terms| {
                    terms.upstream = wanted.upstream.clone();
                    terms.epoch += 1;
                });
                Entry { proxy: wanted, times, run: Some(Arc::clone(run)) }
            }
            (Some(run), true) => match inner.open(wanted.clone(), times) {
                Ok(entry) => {
                    close(run).await;
                    entry
                }
                // The proxy's own listener may be in the way: `0.0.0.0:80` instead of `127.0.0.1:80`.
                Err(_) if wanted.listen.port() == old.proxy.listen.port() => {
                    close(run).await;
                    match inner.open(wanted, times) {
                        Ok(entry) => entry,
                        Err(error) => {
                            inner.put(inner.open(old.proxy.clone(), times).unwrap_or_else(|_| {
                                let proxy = TcpProxy { enabled: false, ..old.proxy.clone() };
                                Entry { proxy, times, run: None }
                            }));
                            return Err(failed(error));
                        }
                    }
                }
                Err(error) => return Err(failed(error)),
            },
        };
        let proxy = new.proxy.clone();
        inner.put(new);
        Ok(proxy)
    }

    /// Removes a proxy, with its connections and its faults. When this returns, its port is free.
    ///
    /// # Errors
    ///
    /// When there is no proxy of this name, or it is declared in the configuration.
    pub async fn remove(&self, name: &str) -> Result<(), TcpError> {
        let inner = &*self.inner;
        let _turn = inner.turn.lock().await;
        let entry = inner.current.load().get(name).cloned().ok_or(TcpError::NotFound)?;
        if entry.proxy.configured {
            return Err(TcpError::Configured(Arc::clone(&entry.proxy.name)));
        }
        let mut next = BTreeMap::clone(&inner.current.load());
        next.remove(name);
        inner.current.store(Arc::new(next));
        if let Some(run) = &entry.run {
            close(run).await;
        }
        inner.fault_manager.dismiss(name, REMOVAL);
        Ok(())
    }
}

impl Inner {
    /// Binds the sockets and hands them to the workers. From then on the kernel accepts, whenever the workers come to
    /// it.
    fn open(&self, mut proxy: TcpProxy, times: TcpTimes) -> io::Result<Entry> {
        let group = net::bind_group(proxy.listen, self.queues.len(), false)?;
        if let Some(first) = group.first() {
            proxy.listen = first.address()?;
        }
        proxy.enabled = true;
        let (run, terms) = watch::channel(Terms { open: true, upstream: proxy.upstream.clone(), epoch: 0 });
        for (queue, socket) in self.queues.iter().zip(group) {
            // A worker that has ended takes no socket: the process is ending.
            let _ = queue.send(Opening {
                socket,
                name: Arc::clone(&proxy.name),
                subject: Arc::clone(&proxy.subject),
                counts: Arc::clone(&proxy.counts),
                times,
                terms: terms.clone(),
            });
        }
        Ok(Entry { proxy, times, run: Some(Arc::new(run)) })
    }

    fn put(&self, entry: Entry) {
        let mut next = BTreeMap::clone(&self.current.load());
        next.insert(Arc::clone(&entry.proxy.name), Arc::new(entry));
        self.current.store(Arc::new(next));
    }
}

/// Keeps an address bound. If it cannot be bound, its proxy is switched off all the same.
fn keep(held: &mut BTreeMap<Arc<str>, Bound>, proxy: &TcpProxy, wanted: bool) {
    if wanted && let Ok(bound) = net::hold(proxy.listen) {
        held.insert(Arc::clone(&proxy.name), bound);
    }
}

/// Closes the listeners and their connections, and waits until that is done.
async fn close(run: &watch::Sender<Terms>) {
    run.send_modify(|terms| terms.open = false);
    if tokio::time::timeout(CLOSING, run.closed()).await.is_err() {
        tracing::warn!("a TCP proxy's listener is closing for longer than {CLOSING:?}: a worker is stuck");
    }
}
