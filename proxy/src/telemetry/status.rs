//! What the control plane tells about itself: why a pool is as it is, and whether the process is ready.
//!
//! None of it is in the snapshot, because no request needs it: a registry's error or a skipped instance must not
//! wake a worker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::snapshot::EndpointId;

/// Every service's status by its name.
pub type Statuses = BTreeMap<Arc<str>, Arc<ServiceStatus>>;

/// The services' statuses, as they were last written. Cheap to clone; all clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<ArcSwap<Statuses>>);

/// What is known of a service beside its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Whether the configuration names it; otherwise a request did.
    pub declared: bool,
    /// Where its instances come from: `consul at http://127.0.0.1:8500`.
    pub source: String,
    /// Why the registry could not be asked the last time; none when it could.
    pub last_error: Option<String>,
    /// What takes no traffic, and why.
    pub left_out: Vec<LeftOut>,
    /// How many of those are entries of the registry that make no sense.
    pub skipped: usize,
    /// What our own checks say, for each address that is checked: `passing`, `unknown`, `failing: status 503 (3 in a
    /// row)`.
    pub checks: BTreeMap<SocketAddr, String>,
    /// How many of those addresses there are by what their checks say, in the order of [`CheckStatus::ALL`].
    pub words: [usize; CheckStatus::ALL.len()],
    /// Whether the checks of all instances fail, which is then held against none of them.
    pub all_failing: bool,
    /// Endpoints that take traffic although the registry no longer names them, because their checks are good.
    pub absent: Vec<EndpointId>,
    /// Which part of the registry's instances it is, and whether anybody carries that; none for all.
    pub subset: Option<String>,
}

/// What the checks of one address have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CheckStatus {
    /// Too few results to say.
    #[default]
    Unknown,
    /// It answers as it should.
    Passing,
    /// It does not.
    Failing,
}

impl CheckStatus {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Passing, Self::Failing];

    /// For operators, and as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

/// An instance that takes no traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The registry's id of it.
    pub instance: Arc<str>,
    /// Why: `critical`, `weight 0`, `the host name … cannot be resolved: …`, `health check failing: status 503 (3 in a
    /// row)`.
    pub reason: String,
}

impl StatusBoard {
    /// All statuses as they are now.
    pub fn read(&self) -> Arc<Statuses> {
        self.0.load_full()
    }

    /// Replaces what was on the board.
    pub fn write(&self, statuses: Statuses) {
        self.0.store(Arc::new(statuses));
    }
}

/// Whether every declared service has had its first answer. Once it has, that stays so: a registry that goes
/// away later is no reason to take traffic from a proxy that still has its last good sets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Receiver<Option<Arc<str>>>);

impl Readiness {
    /// What is still waited for; none when the process is ready.
    pub fn waiting(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Returns when the process is ready; never when the control plane ended before it was.
    pub async fn ready(&self) {
        let mut waiting = self.0.clone();
        if waiting.wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// For tests and tools that have no control plane: ready, or waiting for something forever.
    pub fn fixed(waiting: Option<&str>) -> Self {
        Self(watch::channel(waiting.map(Arc::from)).1)
    }

    pub(crate) fn watched() -> (watch::Sender<Option<Arc<str>>>, Self) {
        let (tell, told) = watch::channel(Some(Arc::from("starting")));
        (tell, Self(told))
    }
}
