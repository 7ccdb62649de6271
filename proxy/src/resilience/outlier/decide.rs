//! Who is out: the worst, as many as may be.
//!
//! Three things change that, and each is decided on its own. An endpoint that is in *fails*: it is ejected, unless all fail; where
//! as many are out as may be, it takes the place of the best of them, if that is clearly better. An endpoint that is out
//! *answers*: it comes back once it has proven itself; and as soon as its last three answers were good, if anybody who is in
//! is dead. And once a second whoever stands out by its share or its latency goes, by the same rules.
//!
//! An ejection needs a failure of *now*. Whoever failed during an outage has a long row when that is over, and would be
//! ejected for it if others who were asked first had their answers held against it. So an answer brings back, and ejects nobody.

use super::{Cause, Change, FORGIVEN_AFTER, Members, Outlier, OutlierState, PoolState, WELL};
use crate::resilience::sync::Ordering;

/// Failures that are older say nothing about now.
const RECENT: u64 = 5_000;
/// A row of failures that chance would give in one case of so many stands out.
const CHANCE: f64 = 1e-5;
/// A share of failures has to lie so far above another to be clearly worse.
pub(super) const ABOVE: f64 = 0.3;
/// A latency has to be so many times another to be clearly worse.
const TIMES: u64 = 2;

/// How bad an endpoint is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// Nothing is held against it any more.
    Well,
    /// It answers too late, after so many microseconds.
    Slow(u64),
    /// It fails a share of its requests.
    Failing(f64),
    /// It answers nothing.
    Dead,
}

impl Rank {
    /// Whether another one should be out in its place.
    fn is_clearly_worse_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Failing(share), Self::Failing(others)) => share >= others + ABOVE,
            (Self::Slow(time), Self::Slow(others)) => time > others.saturating_mul(TIMES),
            _ => self > other,
        }
    }
}

/// What the endpoints that are in have in common.
#[derive(Debug)]
pub(super) struct Survey<'r> {
    ins: usize,
    failing: usize,
    /// Shapes that fail alone at one of them, and at more than one.
    once: u64,
    twice: u64,
    /// Failures and attempts of those who are not dead.
    bad: f64,
    all: f64,
    rules: &'r Outlier,
}

impl<'r> Survey<'r> {
    pub(super) fn of(members: &(impl Members + ?Sized), rules: &'r Outlier, now: u64) -> Self {
        let mut survey = Self { ins: 0, failing: 0, once: 0, twice: 0, bad: 0.0, all: 0.0, rules };
        for state in (0..members.count()).map(|i| members.state(i)).filter(|state| !state.is_out()) {
            survey.ins += 1;
            survey.failing += usize::from(state.fails(now));
            let alone = state.record.alone();
            survey.twice |= survey.once & alone;
            survey.once |= alone;
            let (share, attempts) = survey.part_of(state);
            survey.bad += share * attempts;
            survey.all += attempts;
        }
        survey
    }

    /// An endpoint's share of failures, and how many attempts that is of. That the dead fail says nothing of how often those fail
    /// who are not.
    fn part_of(&self, state: &OutlierState) -> (f64, f64) {
        if state.is_dead(self.rules) { (0.0, 0.0) } else { state.share() }
    }

    /// Whether what happens to one of them happens to the others, too.
    fn is_shared(&self, state: &OutlierState, now: u64) -> bool {
        if self.failing - usize::from(state.fails(now)) >= self.ins.saturating_sub(1) {
            return true;
        }
        // Whatever it fails at, somebody who answers other things fails at.
        let elsewhere = self.twice | self.once & !state.record.alone();
        let (share, all) = self.others(state);
        let row = i32::try_from(state.bad_row()).unwrap_or(i32::MAX);
        state.record.failing() & !elsewhere == 0 || all >= 10.0 && share > 0.0 && share.powi(row) > CHANCE
    }

    /// Whether nobody else is in.
    pub(super) fn is_alone(&self) -> bool {
        self.ins <= 1
    }

    /// The share of failures of the others who are in and not dead, and how many attempts that is of.
    pub(super) fn others(&self, state: &OutlierState) -> (f64, f64) {
        let (share, attempts) = self.part_of(state);
        let (bad, all) = (self.bad - share * attempts, self.all - attempts);
        // Sums of floats: what is left of nothing is not quite nothing.
        if all < 0.5 { (0.0, 0.0) } else { (bad.max(0.0) / all, all) }
    }
}

impl PoolState {
    /// An endpoint that is in has failed so many times in a row that it is dead. It is ejected; where it has to stay, those who
    /// are out and better come back.
    pub(super) fn takes_for_dead(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        now: u64,
        random: f64,
    ) -> Vec<Change> {
        let state = members.state(index);
        let eject = || match Survey::of(members, rules, now).is_shared(state, now) {
            true => Vec::new(),
            false => self.eject(members, index, rules, now, random, Cause::Consecutive),
        };
        let mut changes = eject();
        if !state.is_out() {
            self.is_needed(members, now);
            changes = self.recall(members, rules, now);
            if !changes.is_empty() {
                changes.extend(eject());
            }
        }
        changes
    }

    /// Ejects; where as many are out as may be, in the place of the best of them, if that is clearly better. Nobody is ejected
    /// while somebody else decides: the next failure tries again.
    pub(super) fn eject(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        now: u64,
        random: f64,
        cause: Cause,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.enter() {
            return changes;
        }
        let state = members.state(index);
        let mut ejects = !state.is_out();
        if ejects && self.out(members) >= most(members, rules) {
            let own = rank(members, index, Some(cause), rules);
            let best = self.ejected(members).map(|i| (i, rank(members, i, None, rules)));
            let best = best.min_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            match best.filter(|(_, rank)| own.is_clearly_worse_than(*rank)) {
                Some((better, _)) => changes.push(self.bring_back(members, better, now)),
                None => ejects = false,
            }
        }
        if ejects {
            state.goes(rules, now, random, cause);
            changes.push(Change::Out(index, state.cause()));
            self.plan(members, now);
        }
        self.changed();
        self.busy.store(0, Ordering::Release);
        changes
    }

    /// Brings back those who have proven themselves, and those who are needed because somebody worse is in.
    pub(super) fn recall(&self, members: &(impl Members + ?Sized), rules: &Outlier, now: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.out(members) == 0 || !self.enter() {
            return changes;
        }
        let dead = has_dead(members, rules);
        // Those who are in cannot be told apart, or cannot be ejected; or there are none.
        let survey = Survey::of(members, rules, now);
        let stuck =
            survey.ins == 0 || dead && (survey.failing == survey.ins || self.out(members) >= most(members, rules));
        for index in 0..members.count() {
            let state = members.state(index);
            let is_back = || {
                !rules.enabled
                    || state.proven.load(Ordering::Relaxed) >= state.asked_for()
                    || dead && state.is_well()
                    || stuck && rank(members, index, None, rules) < Rank::Dead
            };
            if state.is_out() && is_back() {
                changes.push(self.bring_back(members, index, now));
            }
        }
        self.plan(members, now);
        self.busy.store(0, Ordering::Release);
        changes
    }

    fn bring_back(&self, members: &(impl Members + ?Sized), index: usize, now: u64) -> Change {
        members.state(index).comes_back(now);
        self.arrived.fetch_max(now, Ordering::AcqRel);
        self.changed();
        Change::Back(index)
    }

    /// Whether nobody else decides at this moment.
    fn enter(&self) -> bool {
        self.busy.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn out(&self, members: &(impl Members + ?Sized)) -> usize {
        self.ejected(members).count()
    }

    fn ejected<M: Members + ?Sized>(&self, members: &M) -> impl Iterator<Item = usize> {
        (0..members.count()).filter(|i| members.state(*i).is_out())
    }
}

impl OutlierState {
    /// Whether it fails now.
    fn fails(&self, now: u64) -> bool {
        self.bad_row() > 0 && now.saturating_sub(self.trouble()) < RECENT
    }

    fn goes(&self, rules: &Outlier, now: u64, random: f64, cause: Cause) {
        let good_for = now.saturating_sub(self.returned());
        let last = self.sentence.load(Ordering::Relaxed);
        if self.ejections() == 0 || good_for >= last.saturating_mul(2).max(FORGIVEN_AFTER) {
            self.relapses.store(0, Ordering::Relaxed);
            self.sentence.store(0, Ordering::Relaxed);
        } else {
            self.relapses.fetch_add(1, Ordering::Relaxed);
        }
        self.cause.store(self.named(cause) as u32, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.proven.store(0, Ordering::Relaxed);
        self.probing.store(0, Ordering::Relaxed);
        self.judged.store(now, Ordering::Relaxed);
        self.keep_out(rules, now, random);
    }

    fn comes_back(&self, now: u64) {
        self.record.clear();
        for count in [&self.slow, &self.proven] {
            count.store(0, Ordering::Relaxed);
        }
        for share in [&self.good, &self.bad] {
            share.store(0, Ordering::Relaxed);
        }
        self.returned.store(now, Ordering::Relaxed);
        self.judged.store(now, Ordering::Relaxed);
        self.until.store(0, Ordering::Release);
    }

    /// What it is out for, after another failure.
    pub(super) fn tells_cause(&self, rules: &Outlier) {
        let of_a_row = matches!(self.cause(), Cause::Consecutive | Cause::Probe | Cause::Silent);
        if of_a_row || self.is_dead(rules) {
            self.cause.store(self.named(Cause::Probe) as u32, Ordering::Relaxed);
        }
    }
}

/// Whether somebody who is in has answered nothing lately.
pub(super) fn has_dead(members: &(impl Members + ?Sized), rules: &Outlier) -> bool {
    (0..members.count()).map(|i| members.state(i)).any(|s| !s.is_out() && s.is_dead(rules))
}

/// How many may be out: a share of the pool, one of it at least, and never all.
pub(super) fn most(members: &(impl Members + ?Sized), rules: &Outlier) -> usize {
    let count = members.count();
    // 29 % of a hundred are 28.999999999999996.
    let share = (rules.max_ejected * count as f64 + 1e-6) as usize;
    let least = usize::from(rules.max_ejected > 0.0);
    share.max(least).min(count.saturating_sub(1))
}

/// How bad one is: one that would be ejected for this, or that is out.
fn rank(members: &(impl Members + ?Sized), index: usize, cause: Option<Cause>, rules: &Outlier) -> Rank {
    let state = members.state(index);
    if cause.is_none() && state.proven.load(Ordering::Relaxed) >= WELL {
        return Rank::Well;
    }
    match cause.unwrap_or_else(|| state.cause()) {
        _ if state.is_dead(rules) => Rank::Dead,
        Cause::Share => Rank::Failing(state.share().0),
        Cause::Latency => Rank::Slow(members.median_us(index)),
        Cause::Consecutive | Cause::Probe | Cause::Silent => Rank::Dead,
    }
}
