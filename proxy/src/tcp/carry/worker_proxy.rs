//! The connections that one worker carries for one TCP proxy. They are counted, woken when the proxy changes, and
//! ended together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use crate::config::settings::{TcpTimes, TcpUpstream};
use crate::counts::TcpCounts;
use crate::fault::FaultTarget;
use crate::relay::Moved;
use crate::tcp::Terms;
use crate::worker::Carried;

/// A TCP proxy as one worker sees it, through one socket.
#[derive(Debug)]
pub struct WorkerTcpProxy {
    /// The proxy's name.
    pub name: Arc<str>,
    /// What its faults hang on.
    pub subject: Arc<FaultTarget>,
    /// How long things may take.
    pub times: TcpTimes,
    counts: Arc<TcpCounts>,
    terms: RefCell<Terms>,
    epoch: Cell<u64>,
    closed: Cell<bool>,
    /// A waker for each connection. A free place holds none.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    /// The addresses of the host name that the proxy leads to.
    pub(super) names: crate::net::names::Names,
    tally: Cell<Tally>,
}

/// What was counted since the last tick.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    opened: u64,
    closed: u64,
    failed: u64,
    moved: Moved,
}

impl WorkerTcpProxy {
    /// A TCP proxy without connections.
    pub fn new(
        name: Arc<str>,
        subject: Arc<FaultTarget>,
        counts: Arc<TcpCounts>,
        times: TcpTimes,
        terms: Terms,
    ) -> Self {
        Self {
            name,
            subject,
            times,
            counts,
            epoch: Cell::new(terms.epoch),
            terms: RefCell::new(terms),
            closed: Cell::new(false),
            wakers: RefCell::default(),
            free: RefCell::default(),
            names: crate::net::names::Names::default(),
            tally: Cell::default(),
        }
    }

    /// Where connections lead.
    pub fn upstream(&self) -> TcpUpstream {
        self.terms.borrow().upstream.clone()
    }

    /// Sets new terms. Connections under older terms end.
    pub fn set(&self, terms: Terms, closed: bool) {
        self.epoch.set(terms.epoch);
        self.terms.replace(terms);
        self.closed.set(closed);
        self.wake();
    }

    /// Wakes every connection, so that it sees what has changed.
    pub fn wake(&self) {
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Whether it has no connections.
    pub fn is_empty(&self) -> bool {
        self.free.borrow().len() == self.wakers.borrow().len()
    }

    /// Counts a connection for which no upstream could be reached.
    pub fn failed(&self) {
        self.count(|tally| tally.failed += 1);
    }

    /// Counts the bytes that have moved on a connection; `before` was counted already.
    pub fn moved(&self, now: Moved, before: Moved) {
        self.count(|tally| {
            tally.moved.received_up += now.received_up - before.received_up;
            tally.moved.sent_up += now.sent_up - before.sent_up;
            tally.moved.received_down += now.received_down - before.received_down;
            tally.moved.sent_down += now.sent_down - before.sent_down;
        });
    }

    fn count(&self, what: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        what(&mut tally);
        self.tally.set(tally);
    }
}

impl Carried for WorkerTcpProxy {
    fn report(&self) {
        let Tally { opened, closed, failed, moved } = self.tally.take();
        let counts = &self.counts;
        if opened != closed {
            counts.open.fetch_add(opened as i64 - closed as i64, Ordering::Relaxed);
        }
        for (count, n) in [
            (&counts.accepted, opened),
            (&counts.failed, failed),
            (&counts.received_up, moved.received_up),
            (&counts.sent_up, moved.sent_up),
            (&counts.received_down, moved.received_down),
            (&counts.sent_down, moved.sent_down),
        ] {
            if n > 0 {
                count.fetch_add(n, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for WorkerTcpProxy {
    fn drop(&mut self) {
        self.report();
    }
}

/// A connection's place among the others.
#[derive(Debug)]
pub(super) struct Registered {
    proxy: Rc<WorkerTcpProxy>,
    epoch: u64,
    at: usize,
}

impl Registered {
    pub(super) fn take(proxy: &Rc<WorkerTcpProxy>) -> Self {
        let at = proxy.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = proxy.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        proxy.count(|tally| tally.opened += 1);
        Self { proxy: Rc::clone(proxy), epoch: proxy.epoch.get(), at }
    }

    /// Whether the connection has to end.
    pub(super) fn is_cut(&self) -> bool {
        self.proxy.closed.get() || self.proxy.epoch.get() != self.epoch
    }

    /// The connection's task is woken from now on. It is the same one every time.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        if let Some(place @ None) = self.proxy.wakers.borrow_mut().get_mut(self.at) {
            *place = Some(cx.waker().clone());
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(place) = self.proxy.wakers.borrow_mut().get_mut(self.at) {
            *place = None;
        }
        self.proxy.free.borrow_mut().push(self.at);
        self.proxy.count(|tally| tally.closed += 1);
    }
}
