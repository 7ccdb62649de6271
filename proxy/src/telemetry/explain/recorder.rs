//! How records get from the workers to whoever keeps them, without anybody waiting.

use std::borrow::Cow;
use std::cell::Cell;

use tokio::sync::mpsc;

use super::Record;
use crate::telemetry::metrics;
use crate::telemetry::query::Values;

/// Records that a worker begins from one tick (250 ms) to the next; those that were asked for come on top.
pub const PER_TICK: u32 = 16;
/// Records that may wait for the admin thread.
pub(super) const WAITING: usize = 256;

/// The way from the workers to whoever keeps records, or no way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Explainer(Option<mpsc::Sender<Box<Record>>>, Values);

impl Explainer {
    /// Nobody keeps records, so none is written.
    pub fn off() -> Self {
        Self(None, Values::Masked)
    }

    /// A way, and its end.
    pub fn start(values: Values) -> (Self, mpsc::Receiver<Box<Record>>) {
        let (sender, records) = mpsc::channel(WAITING);
        (Self(Some(sender), values), records)
    }
}

/// A worker's side of it.
#[derive(Debug)]
pub struct Recorder {
    explainer: Explainer,
    credit: Cell<u32>,
    pub(super) dropped: Cell<u64>,
}

impl Recorder {
    /// One that may begin records at once.
    pub fn new(explainer: Explainer) -> Self {
        Self { explainer, credit: Cell::new(PER_TICK), dropped: Cell::new(0) }
    }

    /// Whether a record is to be begun, now that something has gone wrong with a request, or that it `asked`. To be asked
    /// once for each record.
    pub fn admits(&self, asked: bool) -> bool {
        if self.explainer.0.is_none() {
            return false;
        }
        match (asked, self.credit.get()) {
            (true, _) => true,
            (false, 0) => {
                self.dropped.set(self.dropped.get() + 1);
                false
            }
            (false, credit) => {
                self.credit.set(credit - 1);
                true
            }
        }
    }

    /// Hands over the record of a request that is over. Never waits.
    pub fn hand_in(&self, mut record: Box<Record>) {
        let Explainer(Some(sender), values) = &self.explainer else { return };
        if let Cow::Owned(told) = values.tell(&record.path) {
            record.path = told;
        }
        if sender.try_send(record).is_err() {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Begins another tick's allowance, and tells what was dropped in the last.
    pub fn tick(&self) {
        self.credit.set(PER_TICK);
        let dropped = self.dropped.take();
        if dropped > 0 {
            metrics::count_dropped_records(dropped);
        }
    }
}
