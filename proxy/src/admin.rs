//! What an operator and an orchestrator ask the process: is it alive, is it ready, what does it do.
//!
//! A thread and a runtime of its own, so that a scrape of a thousand services delays no request and a process
//! whose workers are all busy still answers its probes. It reads what the two halves publish and changes nothing but
//! [faults](faults), which are there to be changed.
//!
//! Bound to loopback by default. There is one way in from outside even so: a web page whose host name resolves to
//! 127.0.0.1 (DNS rebinding) may read what a browser on this machine can. So while it is bound to loopback, a
//! request whose `Host` is a DNS name other than `localhost` is refused with 403; addresses and `localhost` pass.
//! Bound to anything else, the network in front decides who may ask.

pub mod api;
pub mod availability;
pub mod faults;
pub mod learned;
mod respond;
mod traffic;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

use crate::control::{Readiness, StatusBoard};
use crate::fault::Keeper;
use crate::snapshot::Reader;
use crate::tcp::TcpProxies;
use crate::telemetry::availability::Ledger;
use crate::telemetry::explain::{Record, Shelves};
use crate::telemetry::metrics::Metrics;

/// Connections at one time; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// For a request's head, and for the next request on a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long a connection is closed behind its next answer, so that nobody holds a place for good.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// What an answer may still take then.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// From one folding of the metrics to the next.
const UPKEEP: Duration = Duration::from_secs(5);
/// From one look at what became of requests to the next.
const LOOK: Duration = Duration::from_secs(1);

/// Why the admin API is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on; in use, mostly.
    #[error("admin: cannot listen on {address}: {error}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No thread or no runtime.
    #[error("admin: cannot start the thread: {0}")]
    Start(#[from] io::Error),
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
    /// Faults.
    pub keeper: Arc<Keeper>,
    /// TCP proxies.
    pub tcp: TcpProxies,
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
/// for one.
///
/// # Errors
///
/// When the address cannot be listened on.
pub fn bind(address: SocketAddr) -> Result<Bound, AdminError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    listen().map_err(|error| AdminError::Bind { address, error })
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
        let Self { listener, address } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener, inputs, address.ip().is_loopback()) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(AdminHandle { address, stop, thread })
    }
}

/// The admin API as it runs. Dropping it ends it without waiting.
#[derive(Debug)]
pub struct AdminHandle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
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

async fn accept(listener: tokio::net::TcpListener, mut inputs: AdminInputs, loopback: bool) {
    let (_, none) = mpsc::channel(1);
    let mut records = std::mem::replace(&mut inputs.records, none);
    let desk = Rc::new(Desk { inputs, ledger: RefCell::default(), shelves: RefCell::default() });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (mut upkeep, mut look) = (interval(UPKEEP), interval(LOOK));
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            _ = upkeep.tick() => {
                desk.inputs.metrics.upkeep();
                continue;
            }
            _ = look.tick() => {
                desk.look();
                continue;
            }
            Some(record) = records.recv() => {
                desk.shelves.borrow_mut().put(record);
                continue;
            }
        };
        match accepted {
            Ok((stream, place)) => {
                failing = false;
                tokio::task::spawn_local(converse(stream, Rc::clone(&desk), loopback, place));
            }
            Err(error) => {
                // Out of descriptors, mostly: it passes, and one line is enough.
                if !failing {
                    tracing::warn!(%error, "admin: cannot accept");
                }
                failing = true;
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn next(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn converse(stream: TcpStream, desk: Rc<Desk>, loopback: bool, _place: OwnedSemaphorePermit) {
    let peer = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let answer = service_fn(|request: http::Request<hyper::body::Incoming>| async {
        let answer = respond::respond(request, &desk, loopback, peer).await;
        Ok::<_, std::convert::Infallible>(answer)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 << 10);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    if timeout(CONNECTION_LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        // Whoever has not read the answer by now is cut off.
        let _cut = timeout(LAST_ANSWER, connection).await;
    }
}

#[cfg(test)]
mod tests;
