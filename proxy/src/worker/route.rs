//! A route as one worker sees it: with what became of its requests there since the last tick.
//!
//! A request holds its route for as long as it lives. What it holds is this, and not the `Arc` that all workers share: a reference
//! counter that two cores write is a cache line that moves between them with every request. A service's counts do not tell its routes
//! apart, and a guard may watch one route, so they are counted here.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::counts::{Fate, Outcome};
use crate::route::{GOLDEN, Route, RouteTable};

/// A route, and its counts since the last tick.
#[derive(Debug)]
pub struct WorkerRoute {
    shared: Arc<Route>,
    answered: Cell<u64>,
    failed: Cell<u64>,
    /// Where the last request of a split went, on a line of 2^64 places.
    place: Cell<u64>,
    /// Copies of its requests that are under way to another service.
    pub mirrored: Rc<Cell<u32>>,
}

impl WorkerRoute {
    fn new(shared: &Arc<Route>) -> Self {
        Self {
            shared: Arc::clone(shared),
            answered: Cell::new(0),
            failed: Cell::new(0),
            place: Cell::new(fastrand::u64(..)),
            mirrored: Rc::default(),
        }
    }

    /// All of a table, by their place in the file.
    pub fn all(table: &RouteTable) -> Rc<[Rc<Self>]> {
        let mut routes: Vec<_> = table.all().map(Self::new).map(Rc::new).collect();
        routes.sort_by_key(|route| route.index);
        routes.into()
    }

    /// Counts a request of this route that has ended, if that says something about its service.
    pub fn count(&self, fate: Fate) {
        let count = match fate.outcome() {
            Some(Outcome::Success | Outcome::Degraded) => &self.answered,
            Some(Outcome::Failure(_)) => &self.failed,
            None => return,
        };
        count.set(count.get() + 1);
    }

    /// The next place on the line of a split whose first part this is.
    pub fn turn(&self) -> u64 {
        let place = self.place.get().wrapping_add(GOLDEN);
        self.place.set(place);
        place
    }

    /// Hands over what was counted.
    pub fn flush(&self) {
        let (answered, failed) = (self.answered.take(), self.failed.take());
        if answered + failed > 0 {
            self.shared.outcomes.add(answered, failed);
        }
    }
}

impl Deref for WorkerRoute {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.shared
    }
}

/// The last request of a route that the file has no more hands its counts over.
impl Drop for WorkerRoute {
    fn drop(&mut self) {
        self.flush();
    }
}
