//! Plain TCP proxies: the joint between those who make them and the workers who carry their connections.
//!
//! A TCP proxy is a listener that leads to an address or to a service: for databases, caches, brokers, whatever does not
//! speak HTTP. Those of the configuration are there from the start; Toxiproxy's API makes and removes others while the
//! process runs.
//!
//! [`TcpProxies`] binds, one socket for each worker, and hands the sockets out as [`Opening`]s; a worker holds each until its
//! [`Terms`] say that it is over. One change at a time: whoever makes the next one finds the port of the one before free.
//! Reading what there is takes no lock.

pub mod carry;
mod handle;
mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::settings::{TcpTimes, TcpUpstream};
use crate::counts::TcpCounts;
use crate::fault::Subject;
use crate::net::Bound;

pub use handle::TcpProxies;

/// A TCP proxy as it is at the moment.
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
    /// Whether it stands in the configuration: then it cannot be removed.
    pub configured: bool,
    /// What its faults hang on.
    pub subject: Arc<Subject>,
    /// What went through it. Workers add to it several times a second.
    pub counts: Arc<TcpCounts>,
}

/// A TCP proxy that shall be made.
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

/// What shall be another one with a TCP proxy. What is none stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where it listens.
    pub listen: Option<Arc<str>>,
    /// Where it leads.
    pub upstream: Option<TcpUpstream>,
    /// Whether it listens.
    pub enabled: Option<bool>,
}

/// Why a TCP proxy is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The name is taken.
    #[error("proxy already exists")]
    Exists,
    /// There is none of this name.
    #[error("proxy not found")]
    NotFound,
    /// It stands in the configuration.
    #[error("`{0}` stands in the configuration; change it there")]
    Configured(Arc<str>),
    /// Its address cannot be listened on.
    #[error("listen tcp {0}: {1}")]
    Listen(Arc<str>, std::io::Error),
    /// There are as many as there may be.
    #[error("there are {0} TCP proxies already; remove some")]
    TooMany(usize),
}

/// For one attempt to connect to an address, where nobody says.
pub const CONNECT: Duration = Duration::from_secs(5);

/// A listening socket on its way to its worker.
#[derive(Debug)]
pub struct Opening {
    /// The socket.
    pub socket: Bound,
    /// The proxy's name.
    pub name: Arc<str>,
    /// What its faults hang on.
    pub subject: Arc<Subject>,
    /// What goes through it is added here.
    pub counts: Arc<TcpCounts>,
    /// How long things may take.
    pub times: TcpTimes,
    /// What holds for it. Held until the socket is closed and the connections that came through it are.
    pub terms: watch::Receiver<Terms>,
}

/// What holds for a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether it goes on. Once it does not, it never does again.
    pub open: bool,
    /// Where its connections lead.
    pub upstream: TcpUpstream,
    /// Rises when `upstream` changes: connections of before end.
    pub epoch: u64,
}

/// Where a worker finds its openings.
#[derive(Debug)]
pub struct TcpDesk(mpsc::UnboundedReceiver<Opening>);

impl TcpDesk {
    /// The next one; none when there will be no more.
    pub async fn next(&mut self) -> Option<Opening> {
        self.0.recv().await
    }

    /// One to which nothing ever comes.
    pub fn idle() -> Self {
        Self(mpsc::unbounded_channel().1)
    }
}
