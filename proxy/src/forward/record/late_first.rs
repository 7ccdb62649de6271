//! What becomes of a first attempt that another one has overtaken.
//!
//! A hedge that was faster has rescued nothing if the first attempt is answered well, too. A lost attempt whose request
//! is sent is listened to for a moment anyway, so that its connection need not be closed (`Attempt::lose`). What is heard
//! in that time is the first attempt's fate, and the request's account waits for it here if the request is over sooner.
//! Until then the request counts as in flight. Its answer waits for nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::counts::{Account, First};
use crate::telemetry::availability::{self, Ended};
use crate::telemetry::explain::Record;
use crate::worker::Worker;
use crate::worker::cluster::Counts;

/// A first attempt that has been overtaken, and what is known of it.
#[derive(Debug, Default)]
pub struct LateFirst {
    first: Cell<Option<First>>,
    waiting: RefCell<Option<Waiting>>,
}

/// A request that is over, before its first attempt is.
#[derive(Debug)]
pub(super) struct Waiting {
    pub counts: Rc<Counts>,
    pub named: bool,
    pub ended: Ended,
    pub attempts: u32,
    /// Its details, and to whom they are handed in.
    pub details: Option<(Rc<Worker>, Box<Record>)>,
}

impl LateFirst {
    /// One of which nothing is known yet, and who will find out.
    pub fn new() -> (Rc<Self>, Witness) {
        let late = Rc::new(Self::default());
        (Rc::clone(&late), Witness(Some(late)))
    }

    /// What became of it; none while that may still be found out.
    pub fn first(&self) -> Option<First> {
        self.first.get()
    }

    /// The request is over.
    pub(super) fn wait(&self, waiting: Waiting) {
        self.waiting.replace(Some(waiting));
    }

    fn settle(&self, first: First) {
        self.first.set(Some(first));
        let Some(Waiting { counts, named, mut ended, attempts, details }) = self.waiting.take() else { return };
        ended.first = first;
        let account = Account::of(availability::fate(&ended), attempts);
        counts.tally.borrow_mut().closed(&account, named);
        if let Some((worker, mut details)) = details {
            details.accounted(account.fate);
            worker.recorder.hand_in(details);
        }
    }
}

/// Whoever finds out what becomes of a first attempt. Dropped without a word, it has not.
#[derive(Debug)]
pub struct Witness(Option<Rc<LateFirst>>);

impl Witness {
    /// This has become of it.
    pub fn saw(mut self, first: First) {
        if let Some(late) = self.0.take() {
            late.settle(first);
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(late) = self.0.take() {
            late.settle(First::Unknown);
        }
    }
}
