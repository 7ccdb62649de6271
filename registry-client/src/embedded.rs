//! A registry with Consul's HTTP API, in process.
//!
//! # Why?
//!
//! A demo, a laptop and a test need a registry to talk to, and a real agent is a second program to fetch, start and end.
//! This one is started with one call, on any port, and a client cannot tell the difference: the contract tests run the same
//! promises against it and against a real agent.
//!
//! What it has: `agent/service/{register,deregister,maintenance}`, `agent/maintenance`,
//! `agent/check/{update,pass,warn,fail}`, TTL expiry, `DeregisterCriticalServiceAfter`, `health/service/:name` and
//! `catalog/services` with blocking, `agent/services`, `agent/self`, `status/leader`. What it has not: persistence, a cluster, ACLs, checks that
//! it makes itself (only TTL checks), KV, filters. One node, one datacenter. Keep it on loopback: anyone who reaches it may write.
//!
//! Everything is bounded: bodies, services, connections, queries that wait ([`Limits`]).

mod catalog;
mod duration;
mod http;

// Held for a lookup or a change of a map, never across an await; there is no data plane in this process's registry.
use std::io;
use std::net::SocketAddr;
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use crate::Health;
use crate::consul::Registration;
use catalog::Catalog;

pub use catalog::Refused;

/// What the registry holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instances. Default 20,000.
    pub instances: usize,
    /// Bytes of a request's body. Default 1 MiB.
    pub body: usize,
    /// Connections at one time; more wait to be accepted. Default 4,096.
    pub connections: usize,
    /// Queries that wait at one time; one more is answered with 429. Default 4,096.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instances: 20_000, body: 1 << 20, connections: 4_096, waiting: 4_096 }
    }
}

/// A running registry. It ends when this is dropped.
pub struct Embedded {
    address: SocketAddr,
    handle: Handle,
    serving: JoinHandle<()>,
}

impl Embedded {
    /// Listens and serves on the caller's tokio runtime, within the default limits. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(address, Limits::default()).await
    }

    /// [`Embedded::bind`] within limits of one's own.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind_with(address: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let handle = Handle { shared: Arc::new(Shared::new(address, limits)) };
        let shared = Arc::clone(&handle.shared);
        let serving = tokio::spawn(async move {
            tokio::join!(accept(listener, Arc::clone(&shared)), keep_time(&shared));
        });
        Ok(Self { address, handle, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a Consul client is given: `http://127.0.0.1:8500`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The registry itself, without HTTP in between.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends it now: connections are closed where they stand, and the port is free when this returns.
    pub async fn shutdown(mut self) {
        self.serving.abort();
        // The only error there can be is the abort.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The registry itself, without HTTP in between. Cheap to clone; of no effect on watches once the [`Embedded`] has ended.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Registers an instance, or replaces the one with its id.
    ///
    /// # Errors
    /// The registration is not valid, or the registry is full.
    pub fn register(&self, registration: Registration) -> Result<(), Refused> {
        self.shared.change(|catalog, now| catalog.register(registration, true, now))
    }

    /// Deregisters an instance by its id.
    ///
    /// # Errors
    /// There is none.
    pub fn deregister(&self, id: &str) -> Result<(), Refused> {
        self.shared.change(|catalog, _| catalog.deregister(id))
    }

    /// Reports on a TTL check; the id of an instance's only check is `service:` and the instance's id.
    ///
    /// # Errors
    /// There is no such TTL check.
    pub fn report(&self, check: &str, status: Health, output: &str) -> Result<(), Refused> {
        self.shared.change(|catalog, now| catalog.report(check, status, output, now))
    }

    /// Takes an instance into maintenance, or out of it.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn maintenance(&self, id: &str, enable: bool, reason: &str) -> Result<(), Refused> {
        self.shared.change(|catalog, _| catalog.maintenance(id, enable.then_some(reason)))
    }

    /// The names of the services that have instances.
    pub fn services(&self) -> Vec<String> {
        self.shared.read(|catalog| catalog.names().map(str::to_owned).collect())
    }
}

/// What connections, timer and handles have in common.
struct Shared {
    #[allow(clippy::disallowed_types)]
    catalog: Mutex<Catalog>,
    /// The catalog's index, for whoever waits.
    news: watch::Sender<u64>,
    /// A deadline may have moved.
    rescheduled: Notify,
    waiting: Semaphore,
    limits: Limits,
}

impl Shared {
    #[allow(clippy::disallowed_types)]
    fn new(address: SocketAddr, limits: Limits) -> Self {
        let catalog = Catalog::new(address, limits.instances);
        let news = watch::Sender::new(catalog.index());
        let waiting = Semaphore::new(limits.waiting.min(Semaphore::MAX_PERMITS));
        Self { catalog: Mutex::new(catalog), news, rescheduled: Notify::new(), waiting, limits }
    }

    fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, act: impl FnOnce(&mut Catalog, Instant) -> T) -> T {
        let (outcome, index) = {
            let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = act(&mut catalog, tokio::time::Instant::now().into_std());
            (outcome, catalog.index())
        };
        self.news.send_if_modified(|known| std::mem::replace(known, index) != index);
        self.rescheduled.notify_one();
        outcome
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < shared.limits.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                // Out of descriptors, most likely: they come back when connections end.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| http::answer(request, &shared));
    // What goes wrong on a connection concerns its client, who sees it.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(120))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Lets checks expire and critical instances go, each in its time.
async fn keep_time(shared: &Shared) {
    loop {
        let rescheduled = shared.rescheduled.notified();
        match shared.read(Catalog::next_deadline) {
            Some(at) => tokio::select! {
                () = sleep_until(at.into()) => shared.change(|catalog, now| catalog.expire(now)),
                () = rescheduled => {}
            },
            None => rescheduled.await,
        }
    }
}

#[cfg(test)]
mod tests;
