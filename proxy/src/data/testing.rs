//! What tests of the data plane begin with: a worker without sockets, and endpoints at the other end of a pipe.

#![allow(missing_docs)]

use std::rc::Rc;
use std::sync::Arc;

use tokio::io::DuplexStream;

use super::accept::{Crew, Handed};
use super::headers::Identity;
use super::side::Tried;
use super::timer;
use super::worker::{Plan, Worker};
use crate::control::first_snapshot;
use crate::drain::Drain;
use crate::net::Io;
use crate::snapshot::{self, Demand, Publisher};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::explain::Explainer;
use crate::upstream::Upstream;

/// A worker, and what has to live as long.
pub struct Stage {
    pub worker: Rc<Worker>,
    pub plan: Plan,
    pub drain: Drain,
    pub publisher: Publisher,
    pub demands: tokio::sync::mpsc::Receiver<Demand>,
    pub desks: Vec<tokio::sync::mpsc::Receiver<Handed>>,
}

impl Stage {
    /// One of `workers` workers under a configuration.
    pub fn new(text: &str, workers: usize) -> Self {
        let settings = crate::config::parse("test.yaml", text, &|_| None, |_| ()).unwrap().settings;
        let (publisher, reader, demands) = snapshot::joint(first_snapshot(&settings));
        let (drain, drained) = Drain::new();
        let (crew, desks) = Crew::new(workers, settings.http.max_connections);
        let plan = Plan {
            workers,
            http: Arc::new(settings.http.clone()),
            reader,
            identity: Arc::new(Identity::new(1)),
            drained,
            access_log: AccessLog::off(),
            crew,
            explainer: Explainer::off(),
        };
        Self { worker: Rc::new(Worker::new(0, &plan)), plan, drain, publisher, demands, desks }
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

/// Runs something on a local runtime that has no I/O and a clock that jumps to whatever is waited for.
pub fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(test)
}
