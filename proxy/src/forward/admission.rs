//! Admission: a request passes its service's limits at once, after a wait in line, or not at all.
//!
//! [`crate::resilience::limit`] decides. Here a request waits for its turn. What it was given is given back when the
//! last byte of its answer has gone, whatever becomes of it. While nothing is limited this is a few counters of the
//! worker's own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use crate::clock::Instant;
use crate::config::settings::Bulkhead;
use crate::error::Reason;
use crate::resilience::limit::adaptive::Done;
use crate::resilience::limit::{Ask, Entry, Pass, RECHECK, Shared};
use crate::timer;
use crate::worker::cluster::WorkerCluster;
use crate::worker::gate::{Admitted, Gate, Inside, Turn, serve};

/// Admits a request to a service. `who` names the caller or the route whose bulkhead it takes a place of, if there is
/// one.
pub async fn admit(
    side: &WorkerCluster,
    bulkhead: Option<Bulkhead>,
    who: impl FnOnce(Bulkhead) -> Vec<u8>,
    ask: Ask,
    now: Instant,
) -> Result<Admitted, Reason> {
    let place = match bulkhead {
        None => None,
        Some(bulkhead) => Some(enter(&side.cluster.shared.limits, bulkhead, &who(bulkhead))?),
    };
    let mut turn: Option<Rc<Turn>> = None;
    let entry = side.gate.borrow_mut().enter(ask, || Rc::clone(turn.get_or_insert_default()), now);
    // What the limiter learns from begins here: the wait in our own line says nothing about the service.
    let (pass, since) = match entry {
        Entry::Now(pass) => (pass, now),
        Entry::Refused => return Err(Reason::LimitReached),
        Entry::Wait(id, out) => (Box::pin(wait(&side.gate, id, turn.unwrap_or_default(), out)).await?, timer::now()),
    };
    Ok(Admitted { gate: Rc::clone(&side.gate), pass, since, told: Cell::new(false), place })
}

fn enter(shared: &Arc<Shared>, bulkhead: Bulkhead, who: &[u8]) -> Result<Inside, Reason> {
    let (Bulkhead::PerCaller(places) | Bulkhead::PerRoute(places)) = bulkhead;
    let place = shared.bulkheads().enter(who, places).ok_or(Reason::BulkheadFull)?;
    Ok(Inside { shared: Arc::clone(shared), place: Some(place) })
}

/// Waits for a turn. A place of another worker can become free without a wake here, so the line is also looked at
/// periodically.
async fn wait(gate: &Rc<Gate>, id: u64, turn: Rc<Turn>, out: Option<Rc<Turn>>) -> Result<Pass, Reason> {
    if let Some(out) = out {
        out.tell(Err(Reason::LimitReached));
    }
    let leaving = Leaving { gate, id, turn };
    let turn = &leaving.turn;
    let mut recheck = Box::pin(tokio::time::sleep(RECHECK));
    poll_fn(|cx| {
        loop {
            if let Some(verdict) = turn.verdict.take() {
                return Poll::Ready(verdict);
            }
            turn.waker.replace(Some(cx.waker().clone()));
            if recheck.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            recheck.as_mut().reset(tokio::time::Instant::now() + RECHECK);
            serve(gate);
        }
    })
    .await
}

/// A request in line. Where it leaves early, it gives back its place in the line, and a permission that it has not
/// seen yet.
struct Leaving<'a> {
    gate: &'a Rc<Gate>,
    id: u64,
    turn: Rc<Turn>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.gate.borrow_mut().gone(self.id);
        if let Some(Ok(pass)) = self.turn.verdict.take() {
            self.gate.borrow_mut().done(&pass, Done::Failed);
            if self.gate.borrow_mut().end(pass) {
                serve(self.gate);
            }
        }
    }
}

#[cfg(test)]
mod tests;
