//! A part of the ship that may fill up without the rest.
//!
//! Without it one caller that loops, or one route that hangs, takes every place a service has, and all others wait
//! behind it. With it each caller (or each route) has a number of places that it cannot exceed.
//!
//! Callers come and go, so their counts are kept in a table of fixed size in which an entry is free again when its
//! count is zero: nothing to clean up, and no memory that a crowd of callers could fill. An entry is one atomic word, a
//! tag of the caller's hash beside its count, so that workers share the table without a lock. The hash is keyed anew for
//! each process, or a caller could choose whose entry to share. When more callers are in flight than fit, those that
//! found no entry are not counted: where thousands share a service, none of them has all of it.

use std::hash::BuildHasher;
#[cfg(not(outrigger_loom))]
use std::hash::RandomState as Hashing;

use super::super::sync::{AtomicU64, Ordering, in_one_order, spin_loop};

/// Loom runs the same thing again and again, and can look at a few words only.
#[cfg(outrigger_loom)]
type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

const ENTRIES: usize = if cfg!(outrigger_loom) { 3 } else { 4096 };
/// Entries that one caller can have its count in.
const WINDOW: usize = if cfg!(outrigger_loom) { 3 } else { 16 };
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The counts of a service's callers or routes.
#[derive(Debug)]
pub struct Bulkheads {
    entries: Box<[AtomicU64]>,
    hasher: Hashing,
}

/// A place that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(Option<u16>);

impl Default for Bulkheads {
    fn default() -> Self {
        Self { entries: (0..ENTRIES).map(|_| AtomicU64::new(0)).collect(), hasher: Hashing::default() }
    }
}

impl Bulkheads {
    /// Takes one of `places` of `who`, or says that all are taken.
    pub fn enter(&self, who: &[u8], places: u32) -> Option<Place> {
        let hash = self.hasher.hash_one(who);
        // Never zero: an entry of zero is free.
        let tag = ((hash >> COUNT_BITS) | 1) << COUNT_BITS;
        let first = hash as usize % ENTRIES;
        let places = u64::from(places).min(COUNT);
        if places == 0 {
            return None;
        }
        loop {
            let own = self.window(first).find(|at| self.load(*at) & !COUNT == tag);
            let Some(at) = own.or_else(|| self.window(first).find(|at| self.load(*at) == 0)) else {
                return Some(Place(None));
            };
            let seen = self.load(at);
            let count = match seen {
                0 => 0,
                _ if seen & !COUNT == tag => seen & COUNT,
                _ => {
                    spin_loop();
                    continue;
                }
            };
            if count >= places {
                return None;
            }
            let next = tag | (count + 1);
            if self.entries[at].compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                spin_loop();
                continue;
            }
            // Two that come at the same moment may have found different entries free, where a third one was about to leave
            // the first of them. At least the later of them sees the other's count here, and comes again.
            in_one_order();
            if self.window(first).any(|other| other != at && self.load(other) & !COUNT == tag) {
                self.leave(Place(Some(at as u16)));
                spin_loop();
                continue;
            }
            return Some(Place(Some(at as u16)));
        }
    }

    /// Gives a place back.
    pub fn leave(&self, place: Place) {
        let Some(entry) = place.0.and_then(|at| self.entries.get(usize::from(at))) else { return };
        // The last one leaves nothing behind.
        let left = |seen: u64| Some(if seen & COUNT <= 1 { 0 } else { seen - 1 });
        let _ = entry.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
    }

    /// How many callers are in flight.
    pub fn callers(&self) -> usize {
        self.entries.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count()
    }

    fn load(&self, at: usize) -> u64 {
        self.entries[at].load(Ordering::SeqCst)
    }

    fn window(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        (0..WINDOW).map(move |step| (first + step) % ENTRIES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_caller_has_its_places_and_no_more() {
        let bulkheads = Bulkheads::default();
        let first = bulkheads.enter(b"a", 2).unwrap();
        assert!(bulkheads.enter(b"a", 2).is_some());
        assert_eq!(bulkheads.enter(b"a", 2), None);
        assert!(bulkheads.enter(b"b", 2).is_some(), "another one is not affected");
        bulkheads.leave(first);
        assert!(bulkheads.enter(b"a", 2).is_some());
        assert_eq!(bulkheads.enter(b"c", 0), None);
    }

    #[test]
    fn an_entry_is_gone_with_its_last_request() {
        let bulkheads = Bulkheads::default();
        for round in 0..20_000u32 {
            let places: Vec<_> = (0..4).map(|_| bulkheads.enter(&round.to_be_bytes(), 4).unwrap()).collect();
            assert_eq!(bulkheads.callers(), 1, "round {round}");
            places.into_iter().for_each(|place| bulkheads.leave(place));
            if round > 200 {
                break;
            }
        }
        assert_eq!(bulkheads.callers(), 0);
    }

    #[test]
    fn a_crowd_of_callers_is_let_through_uncounted() {
        let bulkheads = Bulkheads::default();
        let places: Vec<_> = (0..20_000u32).map(|n| bulkheads.enter(&n.to_be_bytes(), 1).unwrap()).collect();
        assert!(bulkheads.callers() <= ENTRIES);
        places.into_iter().for_each(|place| bulkheads.leave(place));
        assert_eq!(bulkheads.callers(), 0);
    }

    #[test]
    fn workers_that_come_and_go_at_the_same_time_never_exceed_it() {
        let bulkheads = Arc::new(Bulkheads::default());
        let inside: Arc<[AtomicU32]> = (0..3).map(|_| AtomicU32::new(0)).collect();
        let workers: Vec<_> = (0..4u32)
            .map(|worker| {
                let (bulkheads, inside) = (Arc::clone(&bulkheads), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for round in 0..20_000u32 {
                        let who = (round + worker) % 3;
                        if let Some(place) = bulkheads.enter(&who.to_be_bytes(), 2) {
                            let now_inside = inside[who as usize].fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now_inside <= 2, "{now_inside} of caller {who}");
                            inside[who as usize].fetch_sub(1, Ordering::SeqCst);
                            bulkheads.leave(place);
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(bulkheads.callers(), 0);
    }
}
