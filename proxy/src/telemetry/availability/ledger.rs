//! Sums that only grow, remembered for a day.
//!
//! A window is the difference of two sums: the one of now and the one of its beginning. So what has to be kept of each
//! service is its sums at some moments of the past, and how dense those are is a matter of memory. A second apart for a
//! day would be 86,400; nobody needs the edge of a day to the second. Three lists hold what the four windows need: one
//! sum each second for five minutes, each minute for an hour, each quarter of an hour for a day. A window is at most one
//! step longer than its name says: a sixtieth. A sum that did not change since the last one is not kept again, so an
//! idle service costs nothing.
//!
//! At most 464 sums of 120 bytes a service, 55 KiB; what was lost and refused by reason is shared by sums between which nothing
//! was, and is 544 bytes for each of the others: 300 KiB for a service that loses something in every second of a day.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Totals, Window};
use crate::clock::Instant;
use crate::snapshot::{ClusterShared, Snapshot};

/// Every followed service's past. One thread's; nothing in it is read by requests.
#[derive(Debug, Default)]
pub struct Ledger {
    services: HashMap<Arc<str>, Followed>,
}

#[derive(Debug)]
struct Followed {
    /// Who was counted: a service that is followed again after a while has new counters, which begin at 0. Weak, so that
    /// the ledger keeps nobody's counters alive.
    shared: Weak<ClusterShared>,
    ring: Ring,
}

impl Ledger {
    /// Looks at the sums of every service that is known to exist, and forgets those that are no longer followed. To be
    /// called each second; more often does no harm.
    pub fn look(&mut self, snapshot: &Snapshot, now: Instant) {
        self.services.retain(|name, followed| {
            let cluster = snapshot.clusters.get(name);
            cluster.is_some_and(|cluster| Arc::as_ptr(&cluster.shared) == followed.shared.as_ptr())
        });
        for (name, cluster) in &snapshot.clusters {
            let metrics = &cluster.shared.metrics;
            if !metrics.is_confirmed() {
                continue;
            }
            let followed = self
                .services
                .entry(Arc::clone(name))
                .or_insert_with(|| Followed { shared: Arc::downgrade(&cluster.shared), ring: Ring::new(now) });
            followed.ring.push(now, metrics.totals());
        }
    }

    /// What became of a service's requests in a window, and how much of the window it was followed for.
    pub fn window(&self, service: &str, window: Window) -> Option<(Totals, Duration)> {
        self.services.get(service).map(|followed| followed.ring.window(window.length()))
    }

    /// What became of a service's requests since it is followed, and for how long that is.
    pub fn all(&self, service: &str) -> Option<(Totals, Duration)> {
        self.services.get(service).map(|followed| followed.ring.all())
    }

    /// The names of the services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }
}

/// One service's past.
#[derive(Debug)]
pub struct Ring {
    opened: Instant,
    /// Of the last sum, in seconds since it was opened.
    second: u32,
    latest: Totals,
    tiers: [Tier; 3],
}

/// Sums at the beginning of each step, for as long as the longest window that reads them.
#[derive(Debug)]
struct Tier {
    step: u32,
    span: u32,
    samples: VecDeque<(u32, Totals)>,
}

impl Ring {
    /// A past that begins now, at nothing.
    pub fn new(now: Instant) -> Self {
        let tier = |step, span| Tier { step, span, samples: VecDeque::from([(0, Totals::default())]) };
        Self {
            opened: now,
            second: 0,
            latest: Totals::default(),
            tiers: [tier(1, 300), tier(60, 3_600), tier(900, 86_400)],
        }
    }

    /// Takes the sums as they are now.
    pub fn push(&mut self, now: Instant, mut totals: Totals) {
        if totals.losses == self.latest.losses {
            totals.losses = Arc::clone(&self.latest.losses);
        }
        let second = u32::try_from(now.saturating_duration_since(self.opened).as_secs()).unwrap_or(u32::MAX);
        for tier in &mut self.tiers {
            tier.advance(self.second, &self.latest, second);
        }
        self.latest = totals;
        self.second = second;
    }

    /// All of it, and how long that is, to the second.
    pub fn all(&self) -> (Totals, Duration) {
        (self.latest.clone(), Duration::from_secs(self.second.into()))
    }

    /// What was added in the last `length`, a day at most; and how much of that there was, to the second.
    pub fn window(&self, length: Duration) -> (Totals, Duration) {
        let length = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let begin = self.second.saturating_sub(length);
        let [.., longest] = &self.tiers;
        let tier = self.tiers.iter().find(|tier| length <= tier.span).unwrap_or(longest);
        let seconds = u64::from(length.min(self.second));
        (self.latest.since(tier.at(begin)), Duration::from_secs(seconds))
    }

    /// How many sums are kept.
    pub fn len(&self) -> usize {
        self.tiers.iter().map(|tier| tier.samples.len()).sum()
    }

    /// Whether none is; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tier {
    /// `totals` are of second `last`, and it is second `now`: where a step has begun between them, they are its sums.
    fn advance(&mut self, last: u32, totals: &Totals, now: u32) {
        let step = last / self.step + 1;
        if now / self.step >= step && self.samples.back().is_none_or(|(_, kept)| kept != totals) {
            self.samples.push_back((step.saturating_mul(self.step), totals.clone()));
        }
        // The last one before the span is what a window over the whole of it begins with.
        while self.samples.get(1).is_some_and(|(at, _)| at.saturating_add(self.span) <= now) {
            self.samples.pop_front();
        }
    }

    /// The sums at the beginning of the step that a moment is in.
    fn at(&self, second: u32) -> &Totals {
        let after = self.samples.partition_point(|(at, _)| *at <= second);
        // There is always one, and the first is older than the span or from the very beginning.
        &self.samples[after.saturating_sub(1)].1
    }
}
