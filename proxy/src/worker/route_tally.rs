//! What a worker has counted of each route since its last tick.
//!
//! A service's counts do not tell its routes apart, and a guard may watch one route. Routes are found by their place
//! in the configuration file, so that a request costs an addition and no look-up.

use std::sync::Arc;

use crate::counts::{Account, Outcome};
use crate::route::Route;

/// By place in the file.
#[derive(Debug, Default)]
pub struct RouteTallies(Vec<Option<RouteTally>>);

#[derive(Debug)]
struct RouteTally {
    route: Arc<Route>,
    answered: u64,
    failed: u64,
}

impl RouteTally {
    fn flush(&mut self) {
        let (answered, failed) = (std::mem::take(&mut self.answered), std::mem::take(&mut self.failed));
        if answered + failed > 0 {
            self.route.outcomes.add(answered, failed);
        }
    }
}

impl RouteTallies {
    /// Counts a request of this route that has ended.
    pub fn count(&mut self, route: &Arc<Route>, account: &Account) {
        if self.0.len() <= route.index {
            self.0.resize_with(route.index + 1, || None);
        }
        let Some(slot) = self.0.get_mut(route.index) else { return };
        if let Some(before) = slot
            && !Arc::ptr_eq(&before.route, route)
        {
            // The file was read again, and this place belongs to another route now.
            before.flush();
            *slot = None;
        }
        let tally = slot.get_or_insert_with(|| RouteTally { route: Arc::clone(route), answered: 0, failed: 0 });
        match account.outcome {
            Outcome::Success | Outcome::Degraded => tally.answered += 1,
            Outcome::Failure(_) => tally.failed += 1,
        }
    }

    /// Hands over what was counted.
    pub fn flush(&mut self) {
        self.0.iter_mut().flatten().for_each(RouteTally::flush);
    }
}
