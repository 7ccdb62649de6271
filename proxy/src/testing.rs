//! What tests of the data plane begin with: a worker without sockets, and endpoints at the other end of a pipe.

#![allow(missing_docs)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::mpsc::Receiver;

use crate::control::first_snapshot;
use crate::drain::Drain;
use crate::net::Io;
use crate::request::fields::Identity;
use crate::snapshot::{self, Demand, Publisher};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::explain::{Explainer, Record};
use crate::telemetry::query::Values;
use crate::timer;
use crate::upstream::Upstream;
use crate::worker::cluster::{Tried, WorkerCluster};
use crate::worker::connection_balancer::{ConnectionBalancer, Handed};
use crate::worker::{Plan, Worker};

/// A worker, and what has to live as long.
pub struct Stage {
    pub worker: Rc<Worker>,
    pub plan: Plan,
    pub drain: Drain,
    pub publisher: Publisher,
    pub demands: Receiver<Demand>,
    pub queues: Vec<Receiver<Handed>>,
}

impl Stage {
    /// One of `workers` workers under a configuration.
    pub fn new(text: &str, workers: usize) -> Self {
        Self::explained_to(Explainer::off(), text, workers)
    }

    /// One worker, and what it writes down of requests.
    pub fn explained(text: &str) -> (Self, Receiver<Box<Record>>) {
        let (explainer, records) = Explainer::start(Values::Masked);
        (Self::explained_to(explainer, text, 1), records)
    }

    fn explained_to(explainer: Explainer, text: &str, workers: usize) -> Self {
        let settings = crate::config::parse("test.yaml", text, &|_| None, |_| ()).unwrap().settings;
        let (publisher, reader, demands) = snapshot::joint(first_snapshot(&settings));
        let (drain, drained) = Drain::new();
        let (balancer, queues) = ConnectionBalancer::new(workers, settings.http.max_connections);
        let plan = Plan {
            workers,
            http: Arc::new(settings.http.clone()),
            reader,
            identity: Arc::new(Identity::new(1)),
            drained,
            access_log: AccessLog::off(),
            balancer,
            explainer,
            budget: crate::http::Budget::new(usize::MAX / 2),
        };
        Self { worker: Rc::new(Worker::new(0, &plan)), plan, drain, publisher, demands, queues }
    }

    /// A service, as the worker sees it.
    pub fn side(&self, service: &str) -> Rc<WorkerCluster> {
        Rc::clone(self.worker.view().cluster(service).unwrap())
    }

    /// A service's endpoint; any, where it has more.
    pub fn upstream(&self, service: &str) -> Rc<Upstream> {
        let view = self.worker.view();
        view.cluster(service).unwrap().pick(&Tried::default(), true, timer::now()).unwrap().upstream
    }

    /// Puts a connection into the pool of the service's endpoint: the next request is read off this end.
    pub fn endpoint(&self, service: &str) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.upstream(service).lend(Io::pipe(ours), timer::now());
        theirs
    }
}

impl WorkerCluster {
    /// Puts a connection into the pool of each of its endpoints: requests are read off these ends.
    pub fn endpoints(&self) -> Vec<DuplexStream> {
        let lend = |member: &crate::worker::cluster::Member| {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            member.upstream.lend(Io::pipe(ours), timer::now());
            theirs
        };
        self.upstreams.iter().map(lend).collect()
    }
}

/// On the clock that jumps: what does not come in this time never does.
const NEVER: Duration = Duration::from_secs(2 * 3_600);

/// Reads a head, whatever it is of.
pub async fn head(stream: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(bytes).unwrap()
}

/// Who of the endpoints is asked next, and what.
pub async fn asked(endpoints: &mut [DuplexStream]) -> (usize, String) {
    let reading =
        endpoints.iter_mut().enumerate().map(|(index, end)| Box::pin(async move { (index, head(end).await) }));
    select_all(reading).await.0
}

/// Runs something on a local runtime that has no I/O and a clock that jumps to whatever is waited for.
pub fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(NEVER, test).await.expect("an end, some time") })
}
