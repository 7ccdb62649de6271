//! How the process ends: unready, lame duck, close politely, deadline, force.
//!
//! Whoever moves traffic away needs time to notice. So SIGTERM changes only one thing at first: `/readyz` says no.
//! Through the lame-duck time the proxy keeps accepting and serving, and tells each client with `Connection: close`
//! (GOAWAY on HTTP/2) to come back elsewhere. Then it closes its listeners, ends idle connections and waits for
//! requests in flight, not for connections; at the deadline it cuts what is left. A second signal skips to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::settings::Shutdown;

/// How far the process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not at all.
    Serving,
    /// Serves on, and sends clients elsewhere.
    LameDuck,
    /// Accepts nothing; finishes what is in flight.
    Closing,
    /// Out of time.
    Forced,
}

/// The side that decides.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    draining: Arc<AtomicBool>,
    busy: Arc<AtomicUsize>,
}

/// The side that obeys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drained {
    phase: watch::Receiver<Phase>,
    busy: Arc<AtomicUsize>,
}

impl Drain {
    /// A process that serves.
    pub fn new() -> (Self, Drained) {
        let (phase, watched) = watch::channel(Phase::Serving);
        let busy = Arc::new(AtomicUsize::new(0));
        let drain = Self { phase, draining: Arc::new(AtomicBool::new(false)), busy: Arc::clone(&busy) };
        (drain, Drained { phase: watched, busy })
    }

    /// What `/readyz` looks at.
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }

    /// Goes through all phases, and returns when every worker has ended or the deadline has passed. True when
    /// nothing was cut. `again` resolves when the operator asks a second time.
    pub async fn run(&self, times: &Shutdown, again: impl Future<Output = ()>) -> bool {
        self.draining.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::LameDuck);
        let closed = async || {
            self.phase.send_replace(Phase::Closing);
            while self.busy.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        let orderly = async {
            tokio::time::sleep(times.lame_duck).await;
            closed().await;
        };
        let clean = tokio::select! {
            done = tokio::time::timeout(times.deadline, orderly) => done.is_ok(),
            // What is at rest is no loss, and closes within a moment.
            () = again => tokio::time::timeout(MOMENT, closed()).await.is_ok(),
        };
        self.phase.send_replace(Phase::Forced);
        clean
    }
}

impl Drained {
    /// Counts a worker as alive until the guard is dropped.
    pub fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.busy))
    }

    /// How far the process is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns when the phase is at least `phase`.
    pub async fn reached(&mut self, phase: Phase) {
        if self.phase.wait_for(|now| *now >= phase).await.is_err() {
            // Whoever decides is gone: so is the process.
        }
    }
}

/// A worker that has not ended yet.
#[derive(Debug)]
pub struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long connections without a request have to close after a second signal.
const MOMENT: Duration = Duration::from_secs(1);
/// How often the end of the workers is looked for.
const POLL: Duration = Duration::from_millis(10);
