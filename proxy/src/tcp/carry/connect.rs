//! How a TCP connection gets its upstream: an address, or an endpoint of a service.
//!
//! Connecting to a service is an attempt like any other. The same balancer picks the endpoint, a failure counts
//! against the same endpoint, and the same breaker stops it. Nothing was sent yet, so another endpoint is tried at once
//! and free, as for a request that was never written. A connection counts as load for as long as it lives.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::WorkerTcpProxy;
use crate::config::settings::Policy;
use crate::config::settings::TcpUpstream;
use crate::error::Reason;
use crate::net::Io;
use crate::resilience::breaker::Admission;
use crate::resilience::outlier;
use crate::resilience::retry::MOVES;
use crate::snapshot::DiscoveryState;
use crate::tcp::CONNECT;
use crate::timer;
use crate::tls::client::Inside;
use crate::upstream::{Connection, InFlight, not_connected};
use crate::worker::Worker;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Case, Tried, WorkerCluster};

/// A connection to the upstream.
#[derive(Debug)]
pub(super) struct Server {
    /// The connection.
    pub io: Io,
    /// What the connection counts as at its endpoint, as long as it lives.
    _held: Option<(InFlight, crate::upstream::Open)>,
}

/// How many endpoints are tried for one connection at most.
const MOST: u32 = 1 + MOVES;
/// How long a registry that has not answered yet is waited for.
const REGISTRY_WAIT: Duration = Duration::from_secs(1);

/// Connects to the upstream.
pub(super) async fn on(worker: &Rc<Worker>, proxy: &WorkerTcpProxy) -> Result<Server, Reason> {
    match proxy.upstream() {
        TcpUpstream::Address(address) => to_address(proxy, &address, proxy.times.connect.unwrap_or(CONNECT)).await,
        TcpUpstream::Service(name) => to_service(worker, &name, proxy.times.connect).await,
    }
}

async fn to_address(proxy: &WorkerTcpProxy, written: &str, timeout: Duration) -> Result<Server, Reason> {
    let dial = async {
        if let Ok(address) = written.parse::<SocketAddr>() {
            return Io::connect(address).await;
        }
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in proxy.names.addresses(written, timeout, timer::now()).await? {
            match Io::connect(address).await {
                Ok(io) => return Ok(io),
                Err(error) => last = error,
            }
        }
        proxy.names.outdate(timer::now());
        Err(last)
    };
    match tokio::time::timeout(timeout, dial).await {
        Ok(Ok(io)) => Ok(Server { io, _held: None }),
        Ok(Err(error)) => {
            tracing::debug!(address = written, %error, "connect failed");
            Err(not_connected(&error))
        }
        Err(_) => Err(Reason::ConnectTimeout),
    }
}

async fn to_service(worker: &Rc<Worker>, name: &Arc<str>, timeout: Option<Duration>) -> Result<Server, Reason> {
    let side = find(worker, name).await?;
    side.asked();
    let now = timer::now();
    let rules = &side.cluster.policy.breaker;
    let case = Case { worker, request: None, route: None, rules };
    let (admission, mut aimed) = side.admit(&case, now);
    if admission == Admission::Refused {
        return Err(Reason::BreakerOpen);
    }
    let mut policy = Arc::clone(&side.cluster.policy);
    if let Some(timeout) = timeout {
        policy = Arc::new(Policy { connect_timeout: timeout, ..Policy::clone(&policy) });
    }
    let mut tried = Tried::default();
    let mut last = Reason::NoEndpoint;
    for attempt in 0..MOST {
        let now = timer::now();
        if attempt > 0 && (!side.has_untried(&tried) || side.is_refused(&case)) {
            break;
        }
        let Some(mut pick) = aimed.take().or_else(|| side.pick(&tried, true, now)) else {
            if attempt == 0 && admission == Admission::Probe {
                side.not_asked(&case, now);
            }
            break;
        };
        let upstream = Rc::clone(&pick.upstream);
        let why = if attempt == 0 { Why::First } else { Why::Move };
        upstream.wait(now);
        let number = attempt as usize;
        // From here on the endpoint counts as owing an answer, until the info is dropped.
        let index = pick.index;
        let info = AttemptInfo { upstream, index, started: now, why, cause: why, number, hedged: false, timed: false };
        let in_flight = info.upstream.begin();
        side.counts.tally.borrow_mut().connected();
        if attempt > 0 {
            side.counts.tally.borrow_mut().retried();
        }
        let dialled = info.upstream.dial(&policy, worker.terms(&policy), Inside::Bytes).await;
        let now = timer::now();
        match dialled {
            Ok(link) => {
                side.good(&info, pick.probe.take(), now.saturating_duration_since(info.started), now, &case);
                side.counts.tally.borrow_mut().attempted(None);
                let Connection { io, open, .. } = link;
                return Ok(Server { io, _held: Some((in_flight, open)) });
            }
            Err(reason) => {
                side.counts.tally.borrow_mut().attempted(Some(reason));
                tried.add(info.upstream.id);
                if outlier::counts(reason) {
                    side.bad(&info, pick.probe.take(), now, &case);
                }
                last = reason;
            }
        }
    }
    Err(last)
}

/// The service, as this worker sees it. Waits for a registry that has not answered yet.
async fn find(worker: &Rc<Worker>, name: &Arc<str>) -> Result<Rc<WorkerCluster>, Reason> {
    let patience = timer::now() + REGISTRY_WAIT;
    loop {
        let view = worker.view();
        match view.cluster(name).map(|side| (side.cluster.standing, side)) {
            Some((DiscoveryState::Known, side)) => return Ok(Rc::clone(side)),
            Some((DiscoveryState::Awaited, _)) => {}
            Some((DiscoveryState::Unseen, _)) | None => return Err(Reason::UnknownService),
        }
        let newer = worker.reader.newer_than(view.generation);
        if tokio::time::timeout_at(patience.into(), newer).await.is_err() {
            return Err(Reason::RegistryTimeout);
        }
    }
}
