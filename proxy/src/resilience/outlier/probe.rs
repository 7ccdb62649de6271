//! Who is tried, when, and by which request.
//!
//! A pool knows when the next of its ejected endpoints may be tried, so that a pick while nobody is due is one load.

use super::{Members, Outlier, OutlierState, PoolState, WELL};
use crate::resilience::shape::Shape;
use crate::resilience::sync::Ordering;

/// A request that may not be sent again tries an endpoint only when it has been due for so long...
const PATIENCE: u64 = 1_000;
/// ...or for so long, where the endpoint has just answered another one.
const LESS_PATIENCE: u64 = 250;
/// While those who are out are needed, one of them is tried this often.
const HURRY: u64 = 250;
/// Those who are needed are tried by no more than every so many-th request: a try may fail.
const SPARED: u32 = 5;
/// A sign that they are needed holds for so long.
const NEEDED_FOR: u64 = 2_000;

impl PoolState {
    /// A pick found nobody else.
    pub fn panicked(&self, now: u64) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.needed.store(now, Ordering::Relaxed);
        self.next_probe.fetch_min(self.last_probe.load(Ordering::Relaxed) + HURRY, Ordering::Relaxed);
    }

    /// Whoever is in is bad and has to stay.
    pub(super) fn is_needed(&self, members: &(impl Members + ?Sized), now: u64) {
        self.needed.store(now, Ordering::Relaxed);
        self.plan(members, now);
    }

    /// Whether somebody who is in is bad and has to stay, or picks find nobody: one load while that was never so.
    pub fn is_short(&self, now: u64) -> bool {
        let needed = self.needed.load(Ordering::Relaxed);
        needed != 0 && now.saturating_sub(needed) < NEEDED_FOR
    }

    /// Whether those who are out do not wait for their time.
    fn is_in_hurry(&self, members: &(impl Members + ?Sized), now: u64) -> bool {
        self.is_short(now) || self.is_mostly_out(members)
    }

    fn is_mostly_out(&self, members: &(impl Members + ?Sized)) -> bool {
        self.out(members) * 2 > members.count()
    }

    /// Reckons when the next endpoint may be tried.
    pub(super) fn plan(&self, members: &(impl Members + ?Sized), now: u64) {
        let waiting = (0..members.count())
            .map(|i| members.state(i))
            .filter(|s| s.is_out() && s.probing.load(Ordering::Relaxed) == 0)
            .map(|s| s.until.load(Ordering::Relaxed));
        let mut next = waiting.min().unwrap_or(u64::MAX);
        if self.is_in_hurry(members, now) {
            next = next.min(self.last_probe.load(Ordering::Relaxed) + HURRY);
        }
        self.next_probe.store(next, Ordering::Relaxed);
    }

    /// An endpoint that this request has to try; none while no one is due, which is one load. `usable` leaves out those that
    /// the request has been to. What is claimed has to come to [`PoolState::released`].
    pub fn claim_probe(
        &self,
        members: &(impl Members + ?Sized),
        rules: &Outlier,
        repeatable: bool,
        now: u64,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let least = if repeatable { 0 } else { LESS_PATIENCE };
        if now < self.next_probe.load(Ordering::Relaxed).saturating_add(least) {
            return None;
        }
        let patience = |state: &OutlierState| match state.proven.load(Ordering::Relaxed) {
            _ if repeatable => 0,
            0 => PATIENCE,
            _ => LESS_PATIENCE,
        };
        let hurry = self.is_in_hurry(members, now) && self.spared.fetch_add(1, Ordering::Relaxed) + 1 >= SPARED;
        let since_last = now.saturating_sub(self.last_probe.load(Ordering::Relaxed));
        let due = |state: &OutlierState| {
            let until = state.until.load(Ordering::Acquire);
            let waits = patience(state);
            let in_hurry = hurry && since_last >= HURRY + waits && (until != 0 || state.is_dead(rules));
            in_hurry || until != 0 && now >= until.saturating_add(waits)
        };
        // Who has begun to answer goes on; else the one whose last try is longest ago.
        let order = |i: &usize| {
            let state = members.state(*i);
            (state.proven.load(Ordering::Relaxed) == 0, state.last_tried())
        };
        let longest = (0..members.count())
            .filter(|i| usable(*i) && due(members.state(*i)) && members.state(*i).probing.load(Ordering::Relaxed) == 0)
            .min_by_key(order);
        let claimed = longest.filter(|i| members.state(*i).claim(now));
        if claimed.is_some() {
            self.last_probe.store(now, Ordering::Relaxed);
            self.spared.store(0, Ordering::Relaxed);
            self.changed();
        }
        self.plan(members, now);
        claimed
    }

    /// An endpoint has come into the pool, or a check of it has turned good there: whatever is known of its service does
    /// not hold for it.
    pub fn arrives(&self, state: &OutlierState, now: u64) {
        state.came.store(now, Ordering::Relaxed);
        self.arrived.fetch_max(now, Ordering::AcqRel);
    }

    /// An endpoint that came, or came back, after everything had begun to fail at `outage`, and that this request has to try
    /// now: one at a time, until it has failed at requests of this shape, or several times in a row. One load where nobody
    /// came since. What is claimed has to come to [`PoolState::released`].
    pub fn claim_newcomer(
        &self,
        members: &(impl Members + ?Sized),
        shape: impl FnOnce() -> Shape,
        outage: u64,
        now: u64,
    ) -> Option<usize> {
        if self.arrived.load(Ordering::Acquire) <= outage {
            return None;
        }
        let bit = shape().bit();
        let is_new = |state: &OutlierState| {
            let since = state.came.load(Ordering::Relaxed).max(state.returned());
            since > outage && !state.is_out() && state.record.failing() & bit == 0 && state.bad_row() < WELL
        };
        (0..members.count()).find(|i| is_new(members.state(*i)) && members.state(*i).claim(now))
    }

    /// The request that was to try an endpoint is over: another one may.
    pub fn released(&self, members: &(impl Members + ?Sized), index: usize, now: u64) {
        members.state(index).probing.store(0, Ordering::Release);
        self.changed();
        self.plan(members, now);
    }

    /// An ejected endpoint failed, or was as slow as before. Only one that was due stays out for longer: to be tried before
    /// its time is no fault of its own.
    pub(super) fn failed_again(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        now: u64,
        random: f64,
    ) {
        let state = members.state(index);
        state.proven.store(0, Ordering::Relaxed);
        state.tells_cause(rules);
        if now >= state.until.load(Ordering::Relaxed) {
            state.keep_out(rules, now, random);
        }
        state.judged.store(now, Ordering::Relaxed);
        self.changed();
        self.plan(members, now);
    }

    /// An ejected endpoint answered well: the next request may follow at once.
    pub(super) fn proves_itself(&self, members: &(impl Members + ?Sized), index: usize, now: u64) {
        let state = members.state(index);
        let first = state.proven.fetch_add(1, Ordering::Relaxed) == 0;
        state.is_due(now);
        if first && self.is_mostly_out(members) {
            let others = (0..members.count()).filter(|i| *i != index).map(|i| members.state(i));
            for other in others.filter(|other| other.is_out()) {
                other.sentence.store(0, Ordering::Relaxed);
                other.is_due(now);
            }
        }
        self.plan(members, now);
    }
}

impl OutlierState {
    fn claim(&self, now: u64) -> bool {
        self.probing.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn last_tried(&self) -> u64 {
        self.judged.load(Ordering::Relaxed).max(self.failed.load(Ordering::Relaxed))
    }

    /// It may be tried from now on. Never sets the time of one that is in, nor sets it to 0, which would bring it back unseen.
    fn is_due(&self, now: u64) {
        let _ = self
            .until
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |until| (until != 0).then_some(until.min(now.max(1))));
    }
}
