//! For how long an endpoint's idle connections are good, as far as it can be learned.
//!
//! An endpoint that closes a connection which it has announced to keep does so without asking: after an idle time of its
//! own, after so many requests, or because something between the two closes it. A request that is on its way at that
//! moment is lost. One that may be repeated is replayed, and nobody notices. One that may not be is an error to its
//! client, and nothing of it is the client's fault. So what happens to the one is learned for the other: from each idle
//! connection that was found closed, or broke when it was used, comes an age at which connections of this endpoint are
//! dead. A request that cannot be repeated takes no connection that is older than half of the lowest such age. It gets a
//! fresh one, at the price of a dial.
//!
//! **One death is none.** A process that is started again closes all its connections, at whatever age. So a death counts
//! where it is that of a connection which was made after another one had died: the endpoint has done it again.
//!
//! **Coming back.** Connections that were used again beyond the bound, and answered, speak for twice the bound once there
//! are so many of them in a row that a loss in their place would have been one in some hundred. Where there are none, because
//! no request of this service may be repeated, time speaks, less each time that it was wrong.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Instant;

/// A connection that has been idle for longer than this may be closing at this moment, whatever was learned.
const LONGEST: Duration = Duration::from_secs(1);
/// What is younger than this is not told apart from a connection that is never idle.
const SHORTEST: Duration = Duration::from_micros(100);
/// A death that is longer ago was another matter.
const LATELY: Duration = Duration::from_secs(300);
/// So many connections in a row that were good beyond the bound double it.
const PROVEN: u32 = 400;
/// So long without a death doubles it, too...
const QUIET: Duration = Duration::from_secs(60);
/// ...and up to so many times as long where deaths came back.
const MOST_QUIET: u32 = 64;

/// How long idle connections stay good.
#[derive(Debug)]
pub(super) struct IdleLife {
    bound: Cell<Duration>,
    /// When the last death was; none before the first.
    died: Cell<Option<Instant>>,
    /// The lowest age at which one has died since nothing was held against the endpoint.
    lowest: Cell<Duration>,
    /// Connections that were good beyond the bound, in a row.
    proven: Cell<u32>,
    /// Since when the bound is what it is.
    since: Cell<Option<Instant>>,
    /// How many times [`QUIET`] it takes for time to speak for the endpoint.
    quiet: Cell<u32>,
}

impl Default for IdleLife {
    fn default() -> Self {
        Self {
            bound: Cell::new(LONGEST),
            died: Cell::new(None),
            lowest: Cell::new(LONGEST * 2),
            proven: Cell::new(0),
            since: Cell::new(None),
            quiet: Cell::new(1),
        }
    }
}

impl IdleLife {
    /// Up to which age a request that cannot be repeated may take a connection.
    pub(super) fn good_for(&self, now: Instant) -> Duration {
        if let Some(since) = self.since.get()
            && now.saturating_duration_since(since) >= QUIET * self.quiet.get()
        {
            self.quiet.set((self.quiet.get() * 2).min(MOST_QUIET));
            self.raise(now);
        }
        self.bound.get()
    }

    /// A connection that was made at `opened` was dead when it had been idle for `age`.
    pub(super) fn died(&self, opened: Instant, age: Duration, now: Instant) {
        let before = self.died.replace(Some(now));
        let lately = before.filter(|died| now.saturating_duration_since(*died) < LATELY);
        if lately.is_none() && self.bound.get() == LONGEST {
            self.lowest.set(age);
        }
        let again = lately.is_some_and(|died| opened >= died);
        self.lowest.set(self.lowest.get().min(age));
        self.proven.set(0);
        let bound = self.lowest.get() / 2;
        if again && bound < self.bound.get() {
            self.bound.set(if bound < SHORTEST { Duration::ZERO } else { bound });
        }
        if self.bound.get() < LONGEST {
            self.since.set(Some(now));
        }
    }

    /// A connection that had been idle for `age` has carried a request, and its answer has begun.
    pub(super) fn lived(&self, age: Duration, now: impl FnOnce() -> Instant) {
        // Nearly always nothing is held against the endpoint, and then this is all.
        if age <= self.bound.get() {
            return;
        }
        self.proven.set(self.proven.get() + 1);
        if self.proven.get() >= PROVEN {
            self.quiet.set(1);
            self.raise(now());
        }
    }

    fn raise(&self, now: Instant) {
        let bound = (self.bound.get().max(SHORTEST) * 2).min(LONGEST);
        self.bound.set(bound);
        self.lowest.set(bound * 2);
        self.proven.set(0);
        self.since.set((bound < LONGEST).then_some(now));
        if bound == LONGEST {
            self.died.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One whose connections have died at these ages, each made after the one before had died.
    fn after(ages: &[Duration], now: Instant) -> (IdleLife, Instant) {
        let life = IdleLife::default();
        let mut now = now;
        for age in ages {
            let opened = now;
            now += 10 * MS + *age;
            life.died(opened, *age, now);
        }
        (life, now)
    }

    #[test]
    fn connections_that_die_young_one_after_the_other_bound_the_age_at_which_they_are_used() {
        let (life, now) = after(&[3 * MS, 2 * MS, 4 * MS], Instant::now());
        assert_eq!(life.good_for(now), MS);
        life.died(now, 100 * MS / 1_000, now + MS);
        assert_eq!(life.good_for(now), Duration::ZERO, "not even one that was used just now");
    }

    #[test]
    fn a_process_that_was_started_again_has_closed_all_its_connections_and_is_not_judged_by_it() {
        let (life, start) = (IdleLife::default(), Instant::now());
        for ms in 1..50 {
            life.died(start, ms * MS, start + 60 * MS);
        }
        assert_eq!(life.good_for(start + 60 * MS), LONGEST);
        // And an hour later once more.
        let later = start + Duration::from_secs(3_600);
        life.died(later - 10 * MS, 5 * MS, later);
        assert_eq!(life.good_for(later), LONGEST);
        // Only in a crash loop the two are not told apart.
        life.died(later, 5 * MS, later + 100 * MS);
        assert_eq!(life.good_for(later + 100 * MS), 5 * MS / 2);
        (0..20 * PROVEN).for_each(|_| life.lived(999 * MS, || later));
        assert_eq!(life.good_for(later), LONGEST);
    }

    #[test]
    fn the_bound_is_raised_by_so_many_good_ones_that_a_loss_among_them_would_be_rare() {
        let (life, now) = after(&[20 * MS, 20 * MS], Instant::now());
        assert_eq!(life.good_for(now), 10 * MS);
        (1..PROVEN).for_each(|_| life.lived(15 * MS, || now));
        life.died(now, 20 * MS, now);
        (1..PROVEN).for_each(|_| life.lived(15 * MS, || now));
        assert_eq!(life.good_for(now), 10 * MS);
        (0..PROVEN).for_each(|_| life.lived(10 * MS, || now));
        assert_eq!(life.good_for(now), 10 * MS, "those within the bound say nothing of what is beyond it");
        life.lived(15 * MS, || now);
        assert_eq!(life.good_for(now), 20 * MS);
    }

    #[test]
    fn where_nobody_may_find_out_time_does_and_each_time_that_it_was_wrong_it_takes_longer() {
        let (life, mut now) = after(&[20 * MS, 20 * MS], Instant::now());
        for minutes in [1, 2, 4, 8] {
            now += QUIET * minutes - MS;
            assert_eq!(life.good_for(now), 10 * MS);
            now += MS;
            assert_eq!(life.good_for(now), 20 * MS);
            life.died(now, 20 * MS, now);
        }
        for _ in 0..10 {
            now += QUIET * MOST_QUIET;
            life.good_for(now);
        }
        assert_eq!(life.good_for(now), LONGEST);
    }
}
