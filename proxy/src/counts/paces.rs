//! What the workers have learned of how long a service's answers take, for whoever asks.
//!
//! Each worker learns for itself and tells nobody in a request's time. At its ticks, and only if something has changed, it
//! writes what it knows into a slot of its own, which belongs to the service as long as the worker has it in view. The
//! admin's thread reads the slots. Neither waits for the other.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::resilience::latency_policy::Known;

/// The slots of one service.
#[derive(Debug, Default)]
pub struct Paces(ArcSwap<Vec<Weak<Slot>>>);

/// What one worker tells.
#[derive(Debug, Default)]
pub struct Slot(ArcSwap<Vec<Pace>>);

/// What is known of the requests of one route and method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// The route's name; none for those that reached the service by its name.
    pub route: Option<Arc<str>>,
    /// `GET`; empty for one that is not told apart.
    pub method: &'static str,
    /// What is known, by the worker that knows most.
    pub known: Known,
    /// Samples of all workers.
    pub samples: u64,
}

impl Paces {
    /// A slot for a worker that has the service in view from now on.
    pub fn slot(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.0.rcu(|slots| {
            let live = slots.iter().filter(|slot| slot.strong_count() > 0).map(Weak::clone);
            live.chain([Arc::downgrade(&slot)]).collect::<Vec<_>>()
        });
        slot
    }

    /// What all have told, sorted by route and method.
    pub fn read(&self) -> Vec<Pace> {
        let slots = self.0.load();
        let mut all: Vec<Pace> =
            slots.iter().filter_map(Weak::upgrade).flat_map(|slot| slot.0.load().to_vec()).collect();
        all.sort_by(|a, b| (&a.route, a.method, b.known.samples).cmp(&(&b.route, b.method, a.known.samples)));
        all.dedup_by(|next, kept| {
            let same = next.route == kept.route && next.method == kept.method;
            if same {
                kept.samples += next.samples;
            }
            same
        });
        all
    }
}

impl Slot {
    /// Replaces what stands there.
    pub fn write(&self, paces: Vec<Pace>) {
        self.0.store(Arc::new(paces));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resilience::sketch::Quantile;

    fn pace(route: Option<&str>, method: &'static str, samples: u32, p99: u64) -> Pace {
        let p99 = Quantile::Within(Duration::from_millis(p99));
        let known = Known { p99, samples, ..Known::default() };
        Pace { route: route.map(Arc::from), method, known, samples: u64::from(samples) }
    }

    #[test]
    fn the_worker_that_knows_most_speaks_and_all_are_counted() {
        let paces = Paces::default();
        let (one, two) = (paces.slot(), paces.slot());
        one.write(vec![pace(None, "GET", 10, 5), pace(Some("routes[0]"), "GET", 7, 1)]);
        two.write(vec![pace(None, "GET", 600, 9), pace(None, "DELETE", 1, 2)]);
        let all = paces.read();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].method, all[0].samples), ("DELETE", 1));
        assert_eq!((all[1].known.p99, all[1].samples), (Quantile::Within(Duration::from_millis(9)), 610));
        assert_eq!(all[2].route.as_deref(), Some("routes[0]"));
    }

    #[test]
    fn a_worker_that_is_gone_has_nothing_to_say() {
        let paces = Paces::default();
        let slot = paces.slot();
        slot.write(vec![pace(None, "GET", 1, 1)]);
        drop(slot);
        assert!(paces.read().is_empty());
    }
}
