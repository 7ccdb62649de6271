//! A worker's event loop: one thread, one runtime, its own listeners, its own connections.
//!
//! [`serve`] is a plain future; only [`spawn`] makes a thread and a runtime for it, so that a simulation can bring
//! its own.

pub mod accept;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::drain::Phase;
use crate::tcp::{TcpQueue, carry};
use crate::timer;
use crate::worker::connection_balancer::Handed;
use crate::worker::{Plan, Worker};
use accept::Place;

/// How often a worker hands over its counts and looks for a new snapshot, with traffic or without.
const TICK: Duration = Duration::from_millis(250);
/// How often idle connections are looked at.
const REAP: Duration = Duration::from_secs(1);

/// Runs a worker until the process closes and the worker's connections have ended, or their time is over.
pub async fn serve(worker: Rc<Worker>, places: Vec<Place>, handed: tokio::sync::mpsc::Receiver<Handed>, tcp: TcpQueue) {
    let _busy = worker.drained.busy();
    let slots = Rc::new(accept::Slots::new(crate::downstream::http1::exchange));
    let alive = Rc::new(());
    for place in places {
        tokio::task::spawn_local(accept::accept(Rc::clone(&worker), place, Rc::clone(&slots), Rc::clone(&alive)));
    }
    tokio::task::spawn_local(accept::take_over(Rc::clone(&worker), handed, Rc::clone(&slots), Rc::clone(&alive)));
    tokio::task::spawn_local(carry::serve(Rc::clone(&worker), tcp, Rc::clone(&alive)));
    let ticking = Rc::clone(&worker);
    let ticks = tokio::task::spawn_local(async move {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reaped = timer::now();
        loop {
            tick.tick().await;
            ticking.tick();
            let now = timer::now();
            if now.saturating_duration_since(reaped) >= REAP {
                reaped = now;
                ticking.view().reap(now);
                ticking.pools.buffers.trim();
            }
        }
    });
    let telling = Rc::clone(&worker);
    // Subscribed to here and not in the task, which begins later and could miss a ring.
    let mut bell = crate::fault::active::bell();
    let tells = tokio::task::spawn_local(async move {
        // The bell never closes: it lives as long as the process.
        while bell.changed().await.is_ok() {
            telling.view().tell_of_faults();
        }
    });
    let mut drained = worker.drained.clone();
    drained.reached(Phase::LameDuck).await;
    worker.enter(Phase::LameDuck);
    drained.reached(Phase::Closing).await;
    worker.enter(Phase::Closing);
    let finish = async {
        // Every connection holds a count. One count is this function's own.
        while Rc::strong_count(&alive) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = finish => {}
        () = drained.reached(Phase::Forced) => {}
    }
    ticks.abort();
    tells.abort();
    worker.tick();
}

/// How often the closing worker looks whether its connections have ended.
const LOOK: Duration = Duration::from_millis(5);

/// Starts a worker's thread with its runtime, and registers the sockets there.
pub fn spawn(
    index: usize,
    plan: Plan,
    sockets: Vec<accept::Socket>,
    handed: tokio::sync::mpsc::Receiver<Handed>,
    tcp: TcpQueue,
) -> io::Result<std::thread::JoinHandle<()>> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        let _ = tell.send(Ok(()));
        let run = async move {
            let worker = Rc::new(Worker::new(index, &plan));
            let places = sockets.into_iter().filter_map(accept::Socket::register).collect();
            serve(worker, places, handed, tcp).await;
        };
        runtime.block_on(run);
    })?;
    told.recv().map_err(|_| io::Error::other("a worker ended before it began"))??;
    Ok(thread)
}
