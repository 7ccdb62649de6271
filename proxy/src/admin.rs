//! What an operator and an orchestrator ask the process: is it alive, is it ready, what does it do.
//!
//! A thread and a runtime of its own, so that a scrape of a thousand services delays no request and a process
//! whose workers are all busy still answers its probes. It reads what the two halves publish and changes nothing but
//! [`faults`], which are there to be changed.
//!
//! Bound to loopback by default; who may ask and who may change something is `admin::access`'s. That clients who stall keep nobody
//! from an answer is the door's (`door`).
//!
//! The same thread answers [Toxiproxy's API](toxiproxy) at an address of its own, where that is switched on; each of the two can be
//! there without the other.

mod access;
pub mod api;
pub mod availability;
mod door;
pub mod faults;
pub mod learned;
mod respond;
mod shares;
pub mod toxiproxy;
mod traffic;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{interval, timeout};

use crate::clock::Instant;
use crate::config::settings::AdminAccess;
use crate::fault_manager::FaultManager;
use crate::snapshot::Reader;
use crate::tcp::TcpProxies;
use crate::telemetry::availability::Ledger;
use crate::telemetry::explain::{Record, Shelves};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Readiness, StatusBoard};

use door::{Door, Doorway, Patience, converse};
use toxiproxy::{Toxiproxy, ToxiproxyInputs};

/// How long a client of the admin API may take.
const ADMIN: Patience = Patience { head: Duration::from_secs(5), life: Some(Duration::from_secs(60)) };
/// How long a client of Toxiproxy's API may take. As long as Toxiproxy lets it: a client that keeps its connection between two
/// tests does not expect it to be closed, and would not send a POST again.
const TOXIPROXY: Patience = Patience { head: Duration::from_secs(60), life: None };
/// How long a request may take once its head is there, its body included.
const ANSWER: Duration = Duration::from_secs(10);
/// From one folding of the metrics to the next.
const UPKEEP: Duration = Duration::from_secs(5);
/// From one look at what became of requests to the next.
const LOOK: Duration = Duration::from_secs(1);

/// Why the admin API or Toxiproxy's is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on; in use, mostly.
    #[error("{what}: cannot listen on {address}: {error}")]
    Bind {
        /// `admin` or `faults.toxiproxy`.
        what: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No thread or no runtime.
    #[error("admin: cannot start the thread: {0}")]
    Start(#[from] io::Error),
    /// The proxies that should be there from the start.
    #[error("faults.toxiproxy.populate: {0}")]
    Populate(String),
}

/// What the answers are made of.
#[derive(Debug)]
pub struct AdminInputs {
    /// Pools and their counts.
    pub reader: Reader,
    /// Sources, errors, what is left out.
    pub board: StatusBoard,
    /// Whether the first answers are in.
    pub readiness: Readiness,
    /// Set when the process is going away: `/readyz` says no from then on.
    pub draining: Arc<AtomicBool>,
    /// What renders `/metrics`.
    pub metrics: Metrics,
    /// Whether it has series of each endpoint.
    pub endpoint_metrics: bool,
    /// Faults.
    pub fault_manager: Arc<FaultManager>,
    /// TCP proxies.
    pub tcp: TcpProxies,
    /// Who may ask, and who may change something.
    pub access: AdminAccess,
    /// Records of requests, from the workers.
    pub records: mpsc::Receiver<Box<Record>>,
}

/// What the thread has: what it was given, and what it remembers. Nobody else sees it, so there is no lock.
#[derive(Debug)]
struct Desk {
    inputs: AdminInputs,
    ledger: RefCell<Ledger>,
    shelves: RefCell<Shelves>,
}

impl Desk {
    fn look(&self) {
        self.ledger.borrow_mut().look(&self.inputs.reader.snapshot(), Instant::now());
    }
}

/// A listening socket that nobody answers on yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the address, so that a port in use is an error at the start of the process. Port 0 asks the system
/// for one. `what` is the key by which an error calls it.
///
/// # Errors
///
/// When the address cannot be listened on.
pub fn bind(what: &'static str, address: SocketAddr) -> Result<Bound, AdminError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    listen().map_err(|error| AdminError::Bind { what, address, error })
}

impl Bound {
    /// The address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, on a thread of its own.
    ///
    /// # Errors
    ///
    /// When no thread can be made.
    pub fn serve(self, inputs: AdminInputs) -> Result<AdminHandle, AdminError> {
        serve(Some(self), None, inputs)
    }
}

/// Answers from now on, on one thread: the admin API, Toxiproxy's, or both.
///
/// # Errors
///
/// When no thread can be made, or the proxies that should be there from the start cannot.
pub fn serve(
    admin: Option<Bound>,
    toxiproxy: Option<(Bound, ToxiproxyInputs)>,
    inputs: AdminInputs,
) -> Result<AdminHandle, AdminError> {
    let address = admin.as_ref().map(Bound::address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (admin, toxiproxy) = {
        let _inside = runtime.enter();
        let admin = admin.map(|bound| Doorway::new("admin", bound)).transpose()?;
        let toxiproxy = toxiproxy.map(|(bound, inputs)| Doorway::new("toxiproxy", bound).map(|door| (door, inputs)));
        (admin, toxiproxy.transpose()?)
    };
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            let mut populated = Ok(());
            if let Some((door, inputs)) = toxiproxy {
                let toxiproxy = Toxiproxy::from(inputs);
                populated = toxiproxy.populate().await;
                tokio::task::spawn_local(accept_toxiproxy(door, toxiproxy));
            }
            // Whoever started this waits for it.
            let _ = tell.send(populated);
            tokio::select! {
                () = accept(admin, inputs) => {}
                _ = stopped => {}
            }
        });
    })?;
    let populated = told.recv().unwrap_or_else(|_| Err("the admin thread has ended".into()));
    populated.map_err(AdminError::Populate)?;
    Ok(AdminHandle { address, stop, thread })
}

/// The admin API as it runs. Dropping it ends it without waiting.
#[derive(Debug)]
pub struct AdminHandle {
    address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminHandle {
    /// Where the admin API listens; none where only Toxiproxy's is there.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Ends it, answers on their way included, and waits for the thread. The last thing a process does: until
    /// then its probes are answered.
    pub fn shutdown(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread has panicked");
        }
    }
}

async fn accept(door: Option<Doorway>, mut inputs: AdminInputs) {
    let (_, none) = mpsc::channel(1);
    let mut records = std::mem::replace(&mut inputs.records, none);
    let queue = Rc::new(Desk { inputs, ledger: RefCell::default(), shelves: RefCell::default() });
    let loopback = door.as_ref().is_some_and(|door| door.loopback);
    let mut door = door.map(Door::open);
    let (mut upkeep, mut look) = (interval(UPKEEP), interval(LOOK));
    loop {
        let next = async {
            match &mut door {
                Some(door) => door.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (stream, seat) = next => {
                let queue = Rc::clone(&queue);
                tokio::task::spawn_local(converse(stream, seat, ADMIN, move |request, peer| {
                    let queue = Rc::clone(&queue);
                    async move {
                        let answer = timeout(ANSWER, respond::respond(request, &queue, loopback, peer)).await;
                        answer.unwrap_or_else(|_| respond::late())
                    }
                }));
            }
            _ = upkeep.tick() => queue.inputs.metrics.upkeep(),
            _ = look.tick() => queue.look(),
            Some(record) = records.recv() => queue.shelves.borrow_mut().put(record),
        }
    }
}

async fn accept_toxiproxy(door: Doorway, toxiproxy: Toxiproxy) {
    let mut door = Door::open(door);
    loop {
        let (stream, seat) = door.next().await;
        let toxiproxy = toxiproxy.clone();
        tokio::task::spawn_local(converse(stream, seat, TOXIPROXY, move |request, peer| {
            let toxiproxy = toxiproxy.clone();
            async move { toxiproxy.respond(request, peer).await }
        }));
    }
}

#[cfg(test)]
mod tests;
