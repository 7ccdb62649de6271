//! Who makes room when as many names are followed as `names.max_watches` allows.
//!
//! Names come from requests, so whoever may send requests fills every place, with names that mean nothing. A first request for
//! a registered service has to find one all the same. So names give way, by what they are worth ([`Worth`]); a service that
//! the registry knows never does. What somebody who sends such names can do against it:
//!
//! - *Send more.* A name that nobody knows stays for [`REMEMBERED`] at least. This bounds how many watches are begun at the
//!   registry (four times `max_watches` a second), and whoever waits for the answer has had it by then. Beyond that rate some first
//!   requests are refused.
//! - *Send them while the registry is slow or down.* What it has not answered gives way after [`UNANSWERED`], far beyond
//!   what any request waits, so that it is answered by a registry that is slow only; earlier where the registry said that it
//!   cannot answer. Whoever waits nonetheless sees that it has gone, and asks again (`forward::find`).
//! - *Send plain hosts* (`names.unknown: direct`). Those that nobody has used for [`IDLE`] give way last of all: to follow
//!   them again costs a look-up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Pools;
use super::pool::{Origin, Pool};
use crate::clock::Instant;
use crate::snapshot::Publisher;

/// For so long a name that no registry knows keeps its place from others.
const REMEMBERED: Duration = Duration::from_millis(250);
/// The same of a name that the registry has not answered.
const UNANSWERED: Duration = Duration::from_secs(5);
/// And of one of which it has said that it cannot: a request waits a second.
const FAILED: Duration = Duration::from_secs(1);
/// And of a plain host since it was used. Workers tell of that once a second.
const IDLE: Duration = Duration::from_secs(5);
/// The share of all places, as a divisor, beyond which names that nobody knows give way also where there is room: each is a
/// connection to a Consul, which by default takes 200 from one client, and those have to do for what it does know.
const UNKNOWN_SHARE: usize = 4;
/// InstanceSource one warning to the next.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What a name is worth that may give way. The least goes first, and of these the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Nobody knows it.
    Unknown,
    /// Nobody has said yet whether it is known.
    Unanswered,
    /// It is no service, and not in use.
    Plain,
}

impl Pools {
    /// Whether there is room for one more name; makes it where that can be.
    pub(super) fn make_room(&mut self, max_watches: usize, now: Instant) -> bool {
        let full = self.on_demand() >= max_watches;
        let unknown = self.pools.values().filter(|pool| pool.unseen_since.is_some()).count();
        if !full && unknown < (max_watches / UNKNOWN_SHARE).max(1) {
            return true;
        }
        let clock = self.publisher.clock(now);
        let gives_way = |pool: &Pool| {
            gives_way(pool, &self.publisher)
                .filter(|(worth, from)| *from <= clock && (full || *worth == Worth::Unknown))
        };
        let least = self.pools.iter().filter_map(|(name, pool)| Some((gives_way(pool)?, name))).min();
        let Some((_, name)) = least else { return !full };
        let name = Arc::clone(name);
        tracing::debug!(service = &*name, "no longer followed: it makes room");
        self.pools.remove(&name);
        self.dirty = true;
        true
    }

    /// Tells the data plane until when asking for another name has no answer.
    pub(super) fn tell_names_full(&mut self, now: Instant) {
        let max_watches = self.settings.names.as_ref().map_or(0, |names| names.max_watches);
        let until = match self.on_demand() < max_watches {
            true => 0,
            false => {
                let froms = self.pools.values().filter_map(|pool| gives_way(pool, &self.publisher));
                froms.map(|(_, from)| from).min().unwrap_or(u64::MAX)
            }
        };
        self.publisher.tell_names_full(until);
        let full = until > self.publisher.clock(now) && max_watches > 0;
        if full && self.full_told.is_none_or(|told| now >= told + WARN_EVERY) {
            self.full_told = Some(now);
            tracing::warn!(max_watches, "no further name is followed: `names.max_watches` are, and none can make room");
        }
    }

    fn on_demand(&self) -> usize {
        self.pools.values().filter(|pool| pool.origin != Origin::Declared).count()
    }
}

/// What it is worth, and from when on it gives way, on the publisher's clock. None for what never does.
fn gives_way(pool: &Pool, publisher: &Publisher) -> Option<(Worth, u64)> {
    let after = |since: u64, time: Duration| since + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match (pool.origin, pool.unseen_since) {
        (Origin::Declared, _) => None,
        (_, Some(since)) => Some((Worth::Unknown, after(publisher.clock(since), REMEMBERED))),
        (Origin::Name, None) if pool.service.set.is_some() => None,
        (Origin::Name, None) => {
            let time = if pool.status.last_error.is_some() { FAILED } else { UNANSWERED };
            Some((Worth::Unanswered, after(pool.opened, time)))
        }
        (Origin::Direct, None) => {
            let used = pool.service.shared.last_used.load(Relaxed).max(pool.opened);
            Some((Worth::Plain, after(used, IDLE)))
        }
    }
}
