//! Plain TCP proxies: the joint between those who make them and the workers who carry their connections.
//!
//! A TCP proxy is a listener that leads to an address or to a service: for databases, caches, brokers, whatever does not
//! speak HTTP. Those of the configuration are there from the start; Toxiproxy's API makes and removes others while the
//! process runs.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::fault::Subject;

/// Where a TCP proxy leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// `host:port`, looked up at each connection.
    Address(Arc<str>),
    /// A service of the snapshot, balanced like any other.
    Service(Arc<str>),
}

/// A TCP proxy as it is at the moment.
#[derive(Debug, Clone)]
pub struct TcpProxy {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens, the port that the system chose included.
    pub listen: SocketAddr,
    /// Where it leads.
    pub upstream: Upstream,
    /// Whether it listens.
    pub enabled: bool,
    /// Whether it stands in the configuration: then it cannot be removed.
    pub configured: bool,
    /// What its faults hang on.
    pub subject: Arc<Subject>,
}

/// A TCP proxy that shall be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: Arc<str>,
    /// `host:port`; port 0 asks the system for one.
    pub listen: Arc<str>,
    /// Where it leads.
    pub upstream: Upstream,
    /// Whether it listens.
    pub enabled: bool,
}

/// What shall be another one with a TCP proxy. What is none stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where it listens.
    pub listen: Option<Arc<str>>,
    /// Where it leads.
    pub upstream: Option<Upstream>,
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
}
