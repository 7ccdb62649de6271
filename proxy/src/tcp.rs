//! Plain TCP proxies: the joint between the code that creates them and the workers that carry their connections.
//!
//! A TCP proxy is a listener that leads to an address or to a service: for databases, caches, brokers, whatever does not
//! speak HTTP. Those of the configuration are there from the start; Toxiproxy's API makes and removes others while the
//! process runs.
//!
//! [`TcpProxies`] binds one socket for each worker and hands the sockets out as [`Opening`]s. A worker holds each
//! socket until its [`Terms`] say that the proxy is closed. Changes are made one at a time, so that the next change
//! finds the port of a closed proxy free. Reading the list of proxies takes no lock.

pub mod carry;
mod handle;
mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::settings::{TcpTimes, TcpUpstream};
use crate::counts::TcpCounts;
use crate::fault::FaultTarget;
use crate::net::Bound;

pub use handle::TcpProxies;

/// A TCP proxy, as it is at the moment.
#[derive(Debug, Clone)]
pub struct TcpProxy {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens, the port that the system chose included.
    pub listen: SocketAddr,
    /// Where it leads.
    pub upstream: TcpUpstream,
    /// Whether it listens.
    pub enabled: bool,
    /// Whether it is declared in the configuration. Such a proxy cannot be removed.
    pub configured: bool,
    /// What its faults hang on.
    pub subject: Arc<FaultTarget>,
    /// What went through it. Workers add to it several times a second.
    pub counts: Arc<TcpCounts>,
}

/// A TCP proxy that is to be created.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: Arc<str>,
    /// `host:port`; port 0 asks the system for one, and no host means every address of this machine.
    pub listen: Arc<str>,
    /// Where it leads.
    pub upstream: TcpUpstream,
    /// Whether it listens.
    pub enabled: bool,
}

/// A change of a TCP proxy. Fields that are none stay as they are.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where it listens.
    pub listen: Option<Arc<str>>,
    /// Where it leads.
    pub upstream: Option<TcpUpstream>,
    /// Whether it listens.
    pub enabled: Option<bool>,
}

/// Why a TCP proxy could not be created, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The name is taken.
    #[error("proxy already exists")]
    Exists,
    /// There is no proxy of this name.
    #[error("proxy not found")]
    NotFound,
    /// The proxy is declared in the configuration.
    #[error("`{0}` stands in the configuration; change it there")]
    Configured(Arc<str>),
    /// Its address cannot be listened on.
    #[error("listen tcp {0}: {1}")]
    Listen(Arc<str>, std::io::Error),
    /// There are as many proxies as there may be.
    #[error("there are {0} TCP proxies already; remove some")]
    TooMany(usize),
}

/// The connect timeout for an address, where none is configured.
pub const CONNECT: Duration = Duration::from_secs(5);

/// A listening socket on its way to its worker.
#[derive(Debug)]
pub struct Opening {
    /// The socket.
    pub socket: Bound,
    /// The proxy's name.
    pub name: Arc<str>,
    /// What its faults hang on.
    pub subject: Arc<FaultTarget>,
    /// Where workers add what went through it.
    pub counts: Arc<TcpCounts>,
    /// How long things may take.
    pub times: TcpTimes,
    /// The listener's terms. The worker holds this receiver until the socket and the connections that came through it
    /// are closed.
    pub terms: watch::Receiver<Terms>,
}

/// The terms of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether the listener is open. A closed one never opens again.
    pub open: bool,
    /// Where its connections lead.
    pub upstream: TcpUpstream,
    /// A number that rises when `upstream` changes. Connections with an older number end.
    pub epoch: u64,
}

/// A worker's queue of openings.
#[derive(Debug)]
pub struct TcpQueue(mpsc::UnboundedReceiver<Opening>);

impl TcpQueue {
    /// The next opening; none when there will be no more.
    pub async fn next(&mut self) -> Option<Opening> {
        self.0.recv().await
    }

    /// A queue to which nothing ever comes.
    pub fn idle() -> Self {
        Self(mpsc::unbounded_channel().1)
    }
}
