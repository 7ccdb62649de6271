//! Counts the clients' connections of all workers, so that no worker has far more than its share.
//!
//! The kernel spreads connections over the workers' sockets by a hash. With many short connections that is even; with
//! four long ones it may give all to one worker. So a worker that has more than its share hands a new connection to
//! the one that has least. A small difference is not worth a hand-over when there are many connections, so the
//! allowance grows with their number (`docs/adr/0009-accept-hand-over.md`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::net::Loose;
use crate::request::Entrance;
use crate::tls::server::Acceptor;

/// The workers' connections, counted, and a way to hand one over.
#[derive(Debug)]
pub struct ConnectionBalancer {
    counts: Box<[AtomicUsize]>,
    pub(crate) queues: Box<[mpsc::Sender<Handed>]>,
    total: AtomicUsize,
    max: usize,
}

/// A connection on its way from the worker that accepted it to the one that is to have it.
#[derive(Debug)]
pub struct Handed {
    pub(crate) stream: Loose,
    pub(crate) peer: SocketAddr,
    pub(crate) entrance: Option<Entrance>,
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) permit: ConnectionPermit,
}

/// How long a worker that may not take more connections waits before it looks again.
pub const FULL: Duration = Duration::from_millis(5);
/// How many connections a hand-over queue holds. When it is full, a connection stays where it was accepted.
const DESK: usize = 128;

impl ConnectionBalancer {
    /// A balancer that permits `max` connections in all, and each worker's end of its hand-over queue.
    pub fn new(workers: usize, max: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Handed>>) {
        let (queues, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(DESK)).unzip();
        let counts = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        (Arc::new(Self { counts, queues: queues.into(), total: AtomicUsize::new(0), max }), receivers)
    }

    /// Connections of one worker.
    pub fn connections(&self, worker: usize) -> usize {
        self.counts.get(worker).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.counts.len()
    }

    /// Counts a connection that stays where it was accepted. None when all permits are taken.
    pub fn permit(self: &Arc<Self>, own: usize) -> Option<ConnectionPermit> {
        self.take()?;
        Some(self.count(own))
    }

    fn take(&self) -> Option<()> {
        let taken = |total: usize| (total < self.max).then_some(total + 1);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok().map(|_| ())
    }

    /// How many connections there are beyond fifteen sixteenths of the limit. The last sixteenth is kept free for new
    /// ones.
    pub fn excess(&self) -> usize {
        self.total.load(Ordering::Relaxed).saturating_sub(self.max - self.max / 16)
    }

    fn count(self: &Arc<Self>, worker: usize) -> ConnectionPermit {
        if let Some(count) = self.counts.get(worker) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        ConnectionPermit { balancer: Arc::clone(self), worker }
    }

    /// Decides which worker gets a new connection (`own`, unless that has too many) and counts it there. None when all
    /// permits are taken.
    pub(crate) fn place(self: &Arc<Self>, own: usize) -> Option<ConnectionPermit> {
        self.take()?;
        let mine = self.connections(own);
        let least = (0..self.workers()).min_by_key(|worker| self.connections(*worker)).unwrap_or(own);
        let worker = if mine > self.connections(least) + mine / 16 { least } else { own };
        Some(self.count(worker))
    }
}

/// Permission for one connection, counted at one worker until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    balancer: Arc<ConnectionBalancer>,
    pub(crate) worker: usize,
}

impl ConnectionPermit {
    /// The same connection, counted for another worker.
    pub(crate) fn at(mut self, worker: usize) -> Self {
        if let (Some(from), Some(to)) = (self.balancer.counts.get(self.worker), self.balancer.counts.get(worker)) {
            from.fetch_sub(1, Ordering::Relaxed);
            to.fetch_add(1, Ordering::Relaxed);
        }
        self.worker = worker;
        self
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(count) = self.balancer.counts.get(self.worker) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.balancer.total.fetch_sub(1, Ordering::Relaxed);
    }
}
