//! Which endpoints are left out for a while.
//!
//! A registry knows whether an instance is registered, a check whether its health page answers; that it fails *requests*
//! is known here first. So every attempt is evidence, and an endpoint that does clearly worse than its peers is ejected:
//! it gets no requests, for a second at first, and twice as long each time that it comes back no better.
//!
//! **What counts.** Three things, because instances fail in three ways. *Failures in a row*: dead ones, at once. A *share of
//! failures*: gray ones, that answer every second request, and never fail five times in a row. *Latency* far outside that
//! of its peers: those that answer everything, too late to be of use. An attempt that was overtaken by a later one is no
//! failure, and it counts in a row with failures: an endpoint that hangs shows it in nothing else, because nobody waits for it
//! to the end. A row of nothing else is called what it is, *no answer in time* ([`Cause::Silent`]), and who was ejected for it
//! has to be as quick as its peers to come back.
//!
//! **An error that all share is nobody's.** Where a database is gone, every instance fails, and to eject them one after the
//! other would leave a smaller pool that fails no less. So an endpoint is compared with its peers: while all the others
//! fail too, it stays, and where the others fail a good part of the time it takes longer rows to stand out: as many as
//! their failures would give by chance in one case of a hundred thousand. The whole service's health is the
//! [breaker](super::breaker)'s matter.
//!
//! **What fails by its page is nobody's either.** A page with a defect fails wherever it is asked for, and often, if it is asked
//! for often: rows of it say as little as rows of 404 would. So failures are told apart by [shape](super::shape). What fails
//! at an endpoint while that answers other things is no sign that it is dead, and counts in no row; it counts in its share,
//! where endpoints are compared, unless most of the others fail at it alone, too.
//!
//! **Never the pool.** At most a share of a pool is out ([`Outlier::max_ejected`]), and never the last endpoint. What would
//! be ejected beyond that stays in. And a pick that finds nobody else takes an ejected endpoint, in preference to none:
//! that is counted, and visible.
//!
//! **Coming back.** When its time is over, *one* request tries it: a real one, because no made-up request says what a real
//! one would get, and one that may be sent again elsewhere. Where no such request comes within a second, one that may not
//! has to do, or a service of POSTs would never have its endpoint back. Success brings it back, failure ejects it for twice
//! as long. While most of a pool is out, whatever took it may be over for all at once: it is tried every 250 ms, and the
//! first success makes all others due.
//!
//! Local trouble (a limit of ours, a client that left) is never an endpoint's: only [`Blame::Endpoint`] comes here.

use super::shape::{Record, Shape};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::config::settings::Outlier;
use crate::error::{Blame, Reason};

mod evaluate;

/// What is held against one endpoint. Times are milliseconds on the joint's clock, never 0.
#[derive(Debug)]
pub struct OutlierState {
    /// What fails at it, and what alone.
    record: Record,
    consecutive: AtomicU32,
    /// When it may be tried again; 0 while it is not ejected.
    until: AtomicU64,
    /// When the request was sent that tries it; 0 while there is none.
    probing: AtomicU64,
    /// For how long it was last ejected.
    sentence: AtomicU64,
    /// When it last came back.
    returned: AtomicU64,
    /// When it last failed, or was overtaken.
    trouble: AtomicU64,
    /// When the last failure of its row was.
    failed: AtomicU64,
    ejections: AtomicU32,
    cause: AtomicU32,
    /// 1 where the attempts of its row, or its last probe, were overtaken, and none failed.
    silent: AtomicU32,
    /// Attempts that workers have counted since the last evaluation.
    new_good: AtomicU64,
    new_bad: AtomicU64,
    /// The same of about ten seconds, in thousandths.
    good: AtomicU64,
    bad: AtomicU64,
    slow: AtomicU32,
}

/// What the endpoints of a pool share.
#[derive(Debug)]
pub struct PoolState {
    /// Whether somebody is ejecting or bringing back.
    busy: AtomicU32,
    /// When the next endpoint may be tried; `u64::MAX` for never.
    next_probe: AtomicU64,
    last_probe: AtomicU64,
    evaluated: AtomicU64,
    /// Moves with everything that makes an endpoint more or less safe.
    generation: AtomicU32,
    panics: AtomicU64,
}

/// The endpoints of a pool, as they are held against each other.
pub trait Members {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them.
    fn state(&self, index: usize) -> &OutlierState;
    /// What its answers typically take, in microseconds; 0 where that is not known.
    fn median_us(&self, index: usize) -> u64;
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Failures in a row.
    Consecutive,
    /// Its share of failures.
    Share,
    /// Its latency.
    Latency,
    /// It was tried, and failed again.
    Probe,
    /// Attempts in a row were overtaken, and none failed.
    Silent,
}

/// A failure that is held against an endpoint, or an attempt at it that was overtaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What was asked.
    pub shape: Shape,
    /// From how long a row of them on an endpoint is in trouble: that depends on how sure a sign each is.
    pub trouble: u32,
}

/// What a failure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Failures in a row, with this one; 1 for one that is in no row.
    pub row: u32,
    /// Whether the endpoint was ejected for it.
    pub ejected: bool,
}

/// What an endpoint's state is, for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionState {
    /// It takes requests.
    In,
    /// It takes none, for so many milliseconds more; 0 when it is waiting for the request that tries it.
    Out {
        /// Milliseconds.
        left: u64,
        /// Why.
        cause: Cause,
    },
    /// One request tries it.
    Probing,
}

impl Cause {
    /// `failures in a row`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Consecutive => "failures in a row",
            Self::Share => "share of failures",
            Self::Silent => "no answer in time",
            Self::Latency => "latency",
            Self::Probe => "tried again and failed",
        }
    }
}

/// Whether a failure is an endpoint's, and counts against it.
pub const fn counts(reason: Reason) -> bool {
    matches!(reason.row().blame, Blame::Endpoint)
}

/// A request that may not be sent again tries an endpoint only when it has been due for so long.
const PATIENCE: u64 = 1_000;
/// While most of a pool is out, one of its endpoints is tried this often.
const HURRY: u64 = 250;
/// In a larger pool so many of the others speak for all.
const MOST_ASKED: usize = 32;
/// Who has answered nothing for so long is judged by whatever fails.
const DEAD_AFTER: u64 = 1_000;
/// Failures that are older say nothing about now.
const RECENT: u64 = 5_000;
/// An endpoint that has stayed in for so many times its last ejection begins at the beginning again.
const FORGIVEN_AFTER: u64 = 2;
/// A row of failures that chance would give in one case of so many stands out.
const CHANCE: f64 = 1e-5;

impl Default for OutlierState {
    fn default() -> Self {
        Self {
            record: Record::default(),
            consecutive: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            until: AtomicU64::new(0),
            probing: AtomicU64::new(0),
            sentence: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            trouble: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            cause: AtomicU32::new(0),
            silent: AtomicU32::new(0),
            new_good: AtomicU64::new(0),
            new_bad: AtomicU64::new(0),
            good: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            slow: AtomicU32::new(0),
        }
    }
}

impl Default for PoolState {
    fn default() -> Self {
        Self {
            busy: AtomicU32::new(0),
            next_probe: AtomicU64::new(u64::MAX),
            last_probe: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            panics: AtomicU64::new(0),
        }
    }
}

impl OutlierState {
    /// Whether it takes no requests: one load.
    pub fn is_out(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// It answered. Writes only where something was held against it.
    pub fn succeeded(&self, shape: impl FnOnce() -> Shape, now: u64) {
        if self.record.is_clean() {
            return;
        }
        self.record.succeeded(shape(), now);
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
    }

    /// Why it was last ejected.
    pub fn cause(&self) -> Cause {
        match self.cause.load(Ordering::Relaxed) {
            0 => Cause::Consecutive,
            1 => Cause::Share,
            2 => Cause::Latency,
            3 => Cause::Probe,
            _ => Cause::Silent,
        }
    }

    /// An attempt is about to be held against it, which failed or was only `overtaken`.
    pub fn is_accused(&self, overtaken: bool) {
        if !overtaken {
            self.silent.store(0, Ordering::Relaxed);
        } else if self.consecutive.load(Ordering::Relaxed) == 0 || self.is_out() {
            self.silent.store(1, Ordering::Relaxed);
        }
    }

    /// A cause that speaks of failures, by its right name where nothing failed.
    fn named(&self, cause: Cause) -> Cause {
        let of_a_row = matches!(cause, Cause::Consecutive | Cause::Probe);
        if of_a_row && self.silent.load(Ordering::Relaxed) == 1 { Cause::Silent } else { cause }
    }

    /// When it last failed or was overtaken; 0 for never.
    pub fn trouble(&self) -> u64 {
        self.trouble.load(Ordering::Relaxed)
    }

    /// Whether the last news of it is bad, and no older than `within` milliseconds: a failure, or being overtaken.
    pub fn is_failing(&self, now: u64, within: u64) -> bool {
        self.consecutive.load(Ordering::Relaxed) > 0 && now.saturating_sub(self.failed.load(Ordering::Relaxed)) < within
    }

    /// When it last came back; 0 for never.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Puts it out until then, as nothing but a test may.
    #[cfg(test)]
    pub fn put_out(&self, until: u64) {
        self.until.store(until, Ordering::Relaxed);
    }

    /// Hands over what a worker has counted.
    pub fn count(&self, good: u64, bad: u64) {
        if good > 0 {
            self.new_good.fetch_add(good, Ordering::Relaxed);
        }
        if bad > 0 {
            self.new_bad.fetch_add(bad, Ordering::Relaxed);
        }
    }

    /// How it stands.
    pub fn standing(&self, now: u64) -> EjectionState {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return EjectionState::In;
        }
        if self.probing.load(Ordering::Relaxed) != 0 {
            return EjectionState::Probing;
        }
        EjectionState::Out { left: until.saturating_sub(now), cause: self.cause() }
    }

    /// The share of its attempts that failed in the last ten seconds or so, and how many there were.
    fn share(&self) -> (f64, f64) {
        // With what is new: in the first second there is nothing else to compare with.
        let sum = |old: &AtomicU64, new: &AtomicU64| {
            old.load(Ordering::Relaxed) as f64 + new.load(Ordering::Relaxed) as f64 * 1e3
        };
        let (good, bad) = (sum(&self.good, &self.new_good), sum(&self.bad, &self.new_bad));
        let all = good + bad;
        (if all > 0.0 { bad / all } else { 0.0 }, all / 1e3)
    }

    /// How long it is out this time: twice as long as the last time, unless it has been good since.
    fn sentence(&self, now: u64, rules: &Outlier, random: f64) -> u64 {
        let base = millis(rules.base_ejection);
        let last = self.sentence.load(Ordering::Relaxed);
        let good_for = now.saturating_sub(self.returned.load(Ordering::Relaxed));
        let forgiven = last == 0 || !self.is_out() && good_for >= last.saturating_mul(FORGIVEN_AFTER).max(base);
        let next = if forgiven { base } else { last.saturating_mul(2).max(base) }.min(millis(rules.max_ejection));
        self.sentence.store(next, Ordering::Relaxed);
        // So that those ejected together do not come back together.
        ((next as f64 * (0.8 + 0.4 * random)) as u64).min(millis(rules.max_ejection))
    }
}

impl PoolState {
    /// Moves with everything that makes an endpoint more or less safe: one load.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Picks that found nobody else, and took an ejected endpoint.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A pick found nobody else.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed by the endpoint's fault, or was overtaken by a later one.
    pub fn failed(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        Failure { shape, trouble }: Failure,
        now: u64,
        random: f64,
    ) -> Held {
        let state = members.state(index);
        if !state.record.failed(shape, DEAD_AFTER, now) || self.is_its_own(members, index, shape) {
            return Held { row: 1, ejected: false };
        }
        let row = state.consecutive.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        state.failed.store(now, Ordering::Relaxed);
        if row >= trouble {
            state.trouble.store(now, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        let may = rules.enabled && row >= rules.consecutive && !state.is_out();
        let ejected = may
            && !self.is_shared(members, index, row, now)
            && self.eject(members, index, rules, now, random, Cause::Consecutive);
        Held { row, ejected }
    }

    /// An endpoint failed in a way that is no sign of its being dead.
    pub fn suspected(&self, members: &(impl Members + ?Sized), index: usize, shape: Shape, now: u64) {
        members.state(index).record.failed(shape, DEAD_AFTER, now);
    }

    /// Whether requests of this shape fail by themselves: most of those who are in, but this one, answer other things and fail
    /// at them.
    pub fn is_its_own(&self, members: &(impl Members + ?Sized), index: usize, shape: Shape) -> bool {
        let (mut fail, mut all) = (0, 0);
        let others = (1..members.count()).map(|further| members.state((index + further) % members.count()));
        for state in others.filter(|state| !state.is_out()).take(MOST_ASKED) {
            all += 1;
            fail += usize::from(state.record.alone() & shape.bit() != 0);
        }
        fail * 2 > all
    }

    /// Whether what happens to an endpoint happens to the others, too.
    fn is_shared(&self, members: &(impl Members + ?Sized), index: usize, row: u32, now: u64) -> bool {
        let others = || (0..members.count()).filter(|i| *i != index).map(|i| members.state(i)).filter(|s| !s.is_out());
        let fails = |state: &OutlierState| {
            state.consecutive.load(Ordering::Relaxed) > 0 && now.saturating_sub(state.trouble()) < RECENT
        };
        if others().all(fails) {
            return true;
        }
        // Whatever it fails at, somebody who answers other things fails at.
        let elsewhere = others().fold(0, |shapes, state| shapes | state.record.alone());
        if members.state(index).record.failing() & !elsewhere == 0 {
            return true;
        }
        let (bad, all) = others().fold((0.0, 0.0), |(bad, all), state| {
            let (share, attempts) = state.share();
            (bad + share * attempts, all + attempts)
        });
        all >= 10.0 && bad > 0.0 && (bad / all).powi(i32::try_from(row).unwrap_or(i32::MAX)) > CHANCE
    }

    /// Ejects, if that leaves enough of the pool.
    fn eject(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        now: u64,
        random: f64,
        cause: Cause,
    ) -> bool {
        // Whoever comes second lets it be: the next failure tries again.
        if self.busy.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let state = members.state(index);
        let (out, count) = (self.out(members), members.count());
        let may = (rules.max_ejected * count as f64) as usize;
        let ejects = !state.is_out() && out < may.min(count.saturating_sub(1));
        if ejects {
            let sentence = state.sentence(now, rules, random);
            state.cause.store(state.named(cause) as u32, Ordering::Relaxed);
            state.ejections.fetch_add(1, Ordering::Relaxed);
            state.probing.store(0, Ordering::Relaxed);
            state.until.store(now + sentence.max(1), Ordering::Release);
            self.plan(members);
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.busy.store(0, Ordering::Release);
        ejects
    }

    fn out(&self, members: &(impl Members + ?Sized)) -> usize {
        (0..members.count()).filter(|i| members.state(*i).is_out()).count()
    }

    /// Whether most of a pool is out.
    fn mostly_out(&self, members: &(impl Members + ?Sized)) -> bool {
        self.out(members) * 2 > members.count()
    }

    /// Reckons when the next endpoint may be tried.
    fn plan(&self, members: &(impl Members + ?Sized)) {
        let waiting = (0..members.count())
            .map(|i| members.state(i))
            .filter(|s| s.is_out() && s.probing.load(Ordering::Relaxed) == 0)
            .map(|s| s.until.load(Ordering::Relaxed));
        let mut next = waiting.min().unwrap_or(u64::MAX);
        if next != u64::MAX && self.mostly_out(members) {
            next = next.min(self.last_probe.load(Ordering::Relaxed) + HURRY);
        }
        self.next_probe.store(next, Ordering::Relaxed);
    }

    /// An endpoint that this request has to try; none while no one is due, which is one load. `usable` leaves out those that the
    /// request has been to. What is claimed has to come to [`PoolState::probed`] or [`PoolState::released`].
    pub fn claim_probe(
        &self,
        members: &(impl Members + ?Sized),
        repeatable: bool,
        now: u64,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let patience = if repeatable { 0 } else { PATIENCE };
        if now < self.next_probe.load(Ordering::Relaxed).saturating_add(patience) {
            return None;
        }
        let hurry = self.mostly_out(members) && now >= self.last_probe.load(Ordering::Relaxed) + HURRY + patience;
        let due = |state: &OutlierState| {
            let until = state.until.load(Ordering::Acquire);
            until != 0 && (hurry || now >= until.saturating_add(patience))
        };
        // The one that has waited longest: whoever failed its last try waits for the others' first.
        let longest = (0..members.count())
            .filter(|i| usable(*i) && due(members.state(*i)) && members.state(*i).probing.load(Ordering::Relaxed) == 0)
            .min_by_key(|i| members.state(*i).until.load(Ordering::Relaxed));
        let claimed = longest.filter(|i| {
            let probing = &members.state(*i).probing;
            probing.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if claimed.is_some() {
            self.last_probe.store(now, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        self.plan(members);
        claimed
    }

    /// The request that tried an endpoint has an outcome: an answer that took so many microseconds, or none. One that was
    /// ejected for its latency comes back only when that is not far outside its peers' any more.
    pub fn probed(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        took_us: Option<u64>,
        rules: &Outlier,
        now: u64,
        random: f64,
    ) {
        let state = members.state(index);
        let was_slow = matches!(state.cause(), Cause::Latency | Cause::Silent);
        if took_us.is_some_and(|took| !was_slow || !evaluate::is_outside(members, index, took, rules)) {
            let relief = self.mostly_out(members);
            state.consecutive.store(0, Ordering::Relaxed);
            state.slow.store(0, Ordering::Relaxed);
            state.good.store(0, Ordering::Relaxed);
            state.bad.store(0, Ordering::Relaxed);
            state.returned.store(now, Ordering::Relaxed);
            state.until.store(0, Ordering::Release);
            if relief {
                for other in (0..members.count()).map(|i| members.state(i)).filter(|s| s.is_out()) {
                    other.sentence.store(0, Ordering::Relaxed);
                    // Never to 0, which would bring it back unseen.
                    let _ = other.until.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |until| {
                        (until != 0).then_some(until.min(now.max(1)))
                    });
                }
            }
        } else {
            state.trouble.store(now, Ordering::Relaxed);
            let cause = match took_us {
                // It answers after all, too late.
                Some(_) => Cause::Latency,
                None if state.cause() == Cause::Latency => Cause::Latency,
                None => state.named(Cause::Probe),
            };
            state.cause.store(cause as u32, Ordering::Relaxed);
            let sentence = state.sentence(now, rules, random);
            state.until.store(now + sentence.max(1), Ordering::Release);
        }
        state.probing.store(0, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.plan(members);
    }

    /// The request that was to try an endpoint ended without an outcome: another one may.
    pub fn released(&self, members: &(impl Members + ?Sized), index: usize) {
        members.state(index).probing.store(0, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.plan(members);
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests;
