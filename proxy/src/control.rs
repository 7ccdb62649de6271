//! The control plane: one thread that follows the registries and publishes what the data plane reads.
//!
//! Everything arrives as an event (a registry's update, a resolved name, the result of a check, a demand, new settings) and changes
//! [`Pools`], plain data on this one thread. What has changed is published by [`reconcile`], at
//! most every 10 ms, so that a registry that restarts and confirms a thousand services costs a few snapshots and
//! not a thousand. The first change after a quiet time is published at once: a request may be waiting for it.
//!
//! The promise above all others: **an error of any kind never empties a pool.** An error changes what
//! the [`StatusBoard`] says and nothing else.

pub mod health;
pub mod pools;
pub mod reconcile;
pub mod resolve;
pub mod subset;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use outrigger_registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use self::health::{Ask, Checked};
use self::pools::{Pools, WatchUpdate};
pub use self::pools::{first_snapshot, first_snapshot_with};
use self::resolve::{LookUp, Resolved};
use crate::clock::Instant;
use crate::config::settings::Settings;
use crate::snapshot::{Demand, Publisher};
use crate::telemetry::metrics;
use crate::telemetry::status::{Readiness, StatusBoard};
use crate::tls::dialers::Dialers;

/// The registries by their names in the configuration.
pub type Registries = BTreeMap<Arc<str>, Arc<dyn Registry>>;

/// Makes the registries of some settings, at the start and at each reload. Called inside the control plane's
/// runtime; must not block. The error is one sentence for the operator.
pub type RegistryFactory = Box<dyn Fn(&Settings) -> Result<Registries, String> + Send>;

/// From one publish to the next, at least.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);
/// From one look at everything that expires to the next.
const TICK: Duration = Duration::from_secs(1);
/// Registry updates and resolved names that may wait; whoever brings more waits too.
const EVENTS: usize = 256;

/// What the control plane needs.
pub struct ControlInputs {
    /// The settings to begin with: those of [`first_snapshot`].
    pub settings: Settings,
    /// Makes registries.
    pub registries: RegistryFactory,
    /// What instances are judged by that speak TLS.
    pub dialers: Dialers,
    /// The joint's writing side.
    pub publisher: Publisher,
    /// The joint's other direction.
    pub demands: mpsc::Receiver<Demand>,
}

impl fmt::Debug for ControlInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlInputs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why the control plane did not start, or did not take new settings. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The thread or its runtime could not be made.
    #[error("cannot start the control thread: {0}")]
    Start(#[from] std::io::Error),
    /// A registry cannot be made from its settings.
    #[error("{0}")]
    Registry(String),
    /// The control plane is not running any more.
    #[error("the control plane has ended")]
    Ended,
}

/// Starts the control plane on a thread of its own. Returns when its registries are made and their watches open,
/// without waiting for an answer.
///
/// # Errors
///
/// When a registry cannot be made, or no thread.
pub fn spawn(inputs: ControlInputs) -> Result<ControlHandle, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(resolve::AT_ONCE + 8)
        .thread_name("control-blocking")
        .build()?;
    let (commands, commanded) = mpsc::channel(4);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            match Control::new(inputs, resolve::system(), health::system()) {
                Ok(mut control) => {
                    // `spawn` waits for it: it is there.
                    let _waiting = tell.send(Ok((control.pools.board(), control.pools.readiness())));
                    control.run(commanded).await;
                }
                Err(error) => {
                    let _waiting = tell.send(Err(error));
                }
            }
        });
        // A look-up that hangs must not hold up the end of the process.
        runtime.shutdown_background();
    })?;
    let (board, readiness) = told.recv().map_err(|_| ControlError::Ended)??;
    Ok(ControlHandle { commands, board, readiness, thread: Some(thread) })
}

/// The running control plane. Dropping it ends the control plane without waiting for it.
#[derive(Debug)]
pub struct ControlHandle {
    commands: mpsc::Sender<Command>,
    board: StatusBoard,
    readiness: Readiness,
    thread: Option<JoinHandle<()>>,
}

impl ControlHandle {
    /// Puts new settings in place: routes, services, policies, registries. Returns when a snapshot of them is
    /// published. What stays keeps its endpoints; a service whose registry changed keeps them until the new
    /// registry has answered.
    ///
    /// # Errors
    ///
    /// When a registry cannot be made; then nothing has changed.
    pub async fn reload(&self, settings: Settings) -> Result<(), ControlError> {
        let (done, applied) = oneshot::channel();
        let reload = Command::Reload(Box::new(settings), done);
        self.commands.send(reload).await.map_err(|_| ControlError::Ended)?;
        applied.await.map_err(|_| ControlError::Ended)?
    }

    /// What the admin API shows beside the snapshot.
    pub fn board(&self) -> StatusBoard {
        self.board.clone()
    }

    /// Whether the first answers are in.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Ends the control plane and waits for its thread, which takes no longer than a publish. The data plane
    /// goes on with the last snapshot.
    pub fn shutdown(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.commands = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread has panicked");
        }
    }
}

/// What the app orders.
#[derive(Debug)]
enum Command {
    Reload(Box<Settings>, oneshot::Sender<Result<(), ControlError>>),
}

/// The control plane itself: the loop around [`Pools`].
struct Control {
    pools: Pools,
    registries: RegistryFactory,
    demands: mpsc::Receiver<Demand>,
    updates: mpsc::Receiver<WatchUpdate>,
    answers: mpsc::Receiver<Resolved>,
    checked: mpsc::Receiver<Checked>,
    /// Not before then, so that bursts are few snapshots.
    next_publish: Instant,
}

impl Control {
    /// Makes the registries and opens the watches. Needs a runtime around it.
    fn new(inputs: ControlInputs, look_up: LookUp, ask: Ask) -> Result<Self, ControlError> {
        let ControlInputs { settings, registries, dialers, publisher, demands } = inputs;
        let made = registries(&settings).map_err(ControlError::Registry)?;
        let (tell, updates) = mpsc::channel(EVENTS);
        let (answer, answers) = mpsc::channel(EVENTS);
        let (found, checked) = mpsc::channel(EVENTS);
        let resolver = resolve::Resolver::new(look_up, answer);
        let checker = health::Checker::new(ask, found);
        let pools = Pools::new(settings, made, dialers, publisher, tell, resolver, checker);
        Ok(Self { pools, registries, demands, updates, answers, checked, next_publish: Instant::now() })
    }

    /// Runs until whoever gives the commands is gone.
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        let mut tick = Instant::now() + TICK;
        let mut asking = true;
        loop {
            let next = self.publish_due().map_or(tick, |due| due.min(tick));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Reload(settings, done)) => {
                        // Whoever ordered it may have gone away since.
                        let _gone = done.send(self.reload(*settings));
                    }
                    None => return,
                },
                () = sleep_until(next.into()) => {}
                demand = self.demands.recv(), if asking => match demand {
                    Some(demand) => self.pools.demand(demand, Instant::now()),
                    None => asking = false,
                },
                Some(answer) = self.answers.recv() => self.pools.resolved(answer, Instant::now()),
                Some(checked) = self.checked.recv() => self.pools.checked(checked, Instant::now()),
                Some(update) = self.updates.recv() => self.pools.update(update, Instant::now()),
            }
            let now = Instant::now();
            if tick <= now {
                self.pools.tick(now);
                tick = now + TICK;
            }
            if self.publish_due().is_some_and(|due| due <= now) {
                self.publish(now);
            }
        }
    }

    fn publish_due(&self) -> Option<Instant> {
        self.pools.dirty().then_some(self.next_publish)
    }

    fn publish(&mut self, now: Instant) {
        self.pools.publish(now);
        self.next_publish = now + PUBLISH_EVERY;
    }

    fn reload(&mut self, settings: Settings) -> Result<(), ControlError> {
        let made = (self.registries)(&settings).map_err(ControlError::Registry);
        metrics::count_reload(made.is_ok());
        let now = Instant::now();
        self.pools.reload(settings, made?, now);
        self.publish(now);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
