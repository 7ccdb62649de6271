//! How long a service's answers take, by route and method.
//!
//! A service's routes and methods have little to do with each other: one reads a cache, another writes a report. So
//! each pair of a route and a method is a latency class. A class has a sketch of its own, and what counts as slow in
//! it is learned from its own past.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::clock::Instant;
use crate::counts::paces::{Pace, Slot};
use crate::resilience::latency_policy::Learned;
use crate::resilience::shared_estimates::SharedEstimates;
use crate::route::Route;

/// The latency classes of one service, as one worker has seen them.
#[derive(Debug)]
pub struct LatencyClasses {
    known: Vec<LatencyClass>,
    slot: Arc<Slot>,
    /// Whether what stands in the slot is out of date.
    untold: bool,
}

/// One class: requests of one route and method.
#[derive(Debug)]
pub struct LatencyClass {
    /// The route's name; none for those that reached the service by its name.
    pub route: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// How long their answers take.
    pub learned: Learned,
}

/// A method, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Other,
}

impl Method {
    /// As it stands in a request line; empty for [`Method::Other`].
    pub const fn text(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Other => "",
        }
    }

    fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// Routes that are gone leave their classes behind. When there are more classes than this, all are learned anew.
const MOST: usize = 1_024;

impl LatencyClasses {
    /// No classes yet. What is learned is shown in `slot`.
    pub fn new(slot: Arc<Slot>) -> Self {
        Self { known: Vec::new(), slot, untold: false }
    }

    /// The place of a request's class.
    pub fn place(&mut self, route: Option<&Route>, method: &[u8], now: Instant) -> usize {
        let method = Method::of(method);
        let name = route.map(|route| &route.name);
        let is = |class: &LatencyClass| {
            class.method == method
                && match (&class.route, name) {
                    (None, None) => true,
                    (Some(known), Some(name)) => Arc::ptr_eq(known, name) || known == name,
                    _ => false,
                }
        };
        if let Some(place) = self.known.iter().position(is) {
            return place;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.untold = true;
        self.known.push(LatencyClass { route: name.cloned(), method, learned: Learned::new(now) });
        self.known.len() - 1
    }

    /// What is known of the class at a place. None where everything was learned anew since.
    pub fn at(&mut self, place: usize) -> Option<&mut Learned> {
        self.known.get_mut(place).map(|class| &mut class.learned)
    }

    /// All classes.
    pub fn all(&self) -> &[LatencyClass] {
        &self.known
    }

    /// Works out what follows from what was learned, and shares it with the other workers. Called at the worker's
    /// ticks.
    pub fn refresh(&mut self, shared_estimates: &SharedEstimates, now: Instant) {
        for class in &mut self.known {
            let before = *class.learned.known();
            class.learned.refresh(now);
            let mut hasher = std::hash::DefaultHasher::new();
            (&class.route, class.method).hash(&mut hasher);
            match class.learned.to_lend() {
                Some(p99) => shared_estimates.put(hasher.finish(), p99),
                None => shared_estimates.get(hasher.finish()).into_iter().for_each(|p99| class.learned.borrow(p99)),
            }
            self.untold |= before != *class.learned.known();
        }
        if std::mem::take(&mut self.untold) {
            let told = self.known.iter().map(|class| {
                let known = *class.learned.known();
                let samples = u64::from(known.samples);
                Pace { route: class.route.clone(), method: class.method.text(), known, samples }
            });
            self.slot.write(told.collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::counts::paces::Paces;

    #[test]
    fn what_a_worker_learns_can_be_seen_after_its_tick() {
        let (paces, shared_estimates, now) = (Paces::default(), SharedEstimates::default(), Instant::now());
        let (mut busy, mut idle) = (LatencyClasses::new(paces.slot()), LatencyClasses::new(paces.slot()));
        let place = busy.place(None, b"GET", now);
        for _ in 0..40 {
            busy.at(place).unwrap().observe(Duration::from_millis(8));
        }
        assert!(paces.read().is_empty(), "before the tick");
        busy.refresh(&shared_estimates, now);
        let place = idle.place(None, b"GET", now);
        idle.at(place).unwrap().observe(Duration::from_millis(1));
        idle.place(None, b"PUT", now);
        idle.refresh(&shared_estimates, now);
        let told = paces.read();
        assert_eq!(told.iter().map(|pace| (pace.method, pace.samples)).collect::<Vec<_>>(), [("GET", 41), ("PUT", 0)]);
        assert!(told[0].known.p99.time() >= Some(Duration::from_millis(8)), "{told:?}");
        drop(idle);
        assert_eq!(paces.read()[0].samples, 40, "a worker that is gone");
    }

    #[test]
    fn a_loan_can_be_seen() {
        let (paces, shared_estimates, now) = (Paces::default(), SharedEstimates::default(), Instant::now());
        let mut busy = LatencyClasses::new(Arc::default());
        let place = busy.place(None, b"GET", now);
        (0..40).for_each(|_| busy.at(place).unwrap().observe(Duration::from_millis(8)));
        let mut idle = LatencyClasses::new(paces.slot());
        idle.place(None, b"GET", now);
        idle.refresh(&shared_estimates, now);
        assert_eq!(paces.read()[0].known.lent, None);
        busy.refresh(&shared_estimates, now);
        idle.refresh(&shared_estimates, now);
        assert!(paces.read()[0].known.lent >= Some(Duration::from_millis(8)));
    }
}
