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
//! Attempts that were under way when an endpoint was ejected or came back say how it was *then*, and count for nothing.
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
//! **Never the pool, and the worst first.** At most a share of a pool is out ([`Outlier::max_ejected`]), one of two or three at
//! least, and never the last endpoint. Where one more would have to go, the worst are out and the best in (`outlier/decide.rs`): an
//! endpoint that has died takes the place of one that answers again, or that answers half of the time, or late. A dead one that
//! has to stay is picked last, and tried now and then. And a pick that finds nobody else takes an ejected endpoint, in
//! preference to none: that is counted, and visible.
//!
//! **Coming back.** Whatever sends a request to an ejected endpoint finds something out: three good answers in a row bring it
//! back at once. When its time is over, *one* request tries it (`outlier/probe.rs`): a real one, because no made-up request says
//! what a real one would get, and one that may be sent again elsewhere. Where no such request comes within a second, one
//! that may not has to do, or a service of POSTs would never have its endpoint back. A failure ejects it for twice as long;
//! after a good answer the next request follows at once. Whoever is ejected again soon after coming back has to do better:
//! six good answers in a row, then twelve, then twenty-four, which an endpoint that fails a tenth of its requests achieves
//! now and then and one that fails a third never. That is what keeps a gray one from coming and going.
//!
//! **No time is served by who is needed.** While an endpoint is in that is bad and has to stay, or most of a pool is out,
//! or picks find nobody, one that is out is tried every 250 ms, by no more than every fifth request, however long it
//! would be out. In a pool of which most is out the first good answer makes all others due: whatever took them may be
//! over for all at once.
//!
//! Local trouble (a limit of ours, a client that left) is never an endpoint's: only [`Blame::Endpoint`] comes here.

use super::shape::{Record, Shape};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::config::settings::Outlier;
use crate::error::{Blame, Reason};

mod decide;
mod evaluate;
mod probe;

/// What is held against one endpoint. Times are milliseconds on the joint's clock, never 0.
#[derive(Debug)]
pub struct OutlierState {
    /// What fails at it, and what alone.
    record: Record,
    /// Its last attempts: failures in a row, or above [`GOOD`] the successes since; 0 where these are [`WELL`] or more.
    row: AtomicU32,
    /// When it may be tried again; 0 while it is not ejected.
    until: AtomicU64,
    /// When the request was sent that tries it; 0 while there is none.
    probing: AtomicU64,
    /// When it was last ejected, kept out for longer, or brought back: what was begun earlier counts for nothing.
    judged: AtomicU64,
    /// For how long it was last ejected.
    sentence: AtomicU64,
    /// Good answers in a row since it is out.
    proven: AtomicU32,
    /// How often it was ejected again soon after it had come back.
    relapses: AtomicU32,
    /// When it last came back.
    returned: AtomicU64,
    /// When it came into its pool, or a check of it turned good there.
    came: AtomicU64,
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
    /// Requests since then that could have tried one.
    spared: AtomicU32,
    /// When there was last a sign that those who are out are needed.
    needed: AtomicU64,
    /// When an endpoint last came, or came back.
    arrived: AtomicU64,
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
    /// What a quarter of its answers stay within, in microseconds; 0 where that is not known.
    fn quarter_us(&self, index: usize) -> u64;
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
    /// When the attempt was begun.
    pub begun: u64,
}

/// A good answer of an endpoint that is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoodAnswer {
    /// What was asked.
    pub shape: Shape,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// When the attempt was begun.
    pub begun: u64,
}

/// What a failure came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// Failures in a row, with this one; 1 for one that is in no row, 0 for one that was to be expected.
    pub row: u32,
    /// Who was ejected for it, or brought back.
    pub changes: Vec<Change>,
}

/// What was decided of an endpoint, by its place in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was ejected.
    Out(usize, Cause),
    /// It takes requests again.
    Back(usize),
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

/// So many good answers in a row show that an endpoint is well.
const WELL: u32 = 3;
/// How often a relapse doubles the good answers that it takes.
const HARDEST: u32 = 3;
/// In [`OutlierState::row`], above this are successes.
const GOOD: u32 = 1 << 16;
/// In a larger pool so many of the others speak for all.
const MOST_ASKED: usize = 32;
/// Who has answered nothing for so long is judged by whatever fails.
const DEAD_AFTER: u64 = 1_000;
/// An endpoint that has stayed in for so long, and for twice its last ejection, begins at the beginning again.
const FORGIVEN_AFTER: u64 = 30_000;

impl Default for OutlierState {
    fn default() -> Self {
        let [row, proven, relapses, ejections, cause, silent, slow] = [(); 7].map(|()| AtomicU32::new(0));
        let [until, probing, judged, sentence, returned, came] = [(); 6].map(|()| AtomicU64::new(0));
        let [trouble, failed, new_good, new_bad, good, bad] = [(); 6].map(|()| AtomicU64::new(0));
        Self {
            record: Record::default(),
            row,
            until,
            probing,
            judged,
            sentence,
            proven,
            relapses,
            returned,
            came,
            trouble,
            failed,
            ejections,
            cause,
            silent,
            new_good,
            new_bad,
            good,
            bad,
            slow,
        }
    }
}

impl Default for PoolState {
    fn default() -> Self {
        Self {
            busy: AtomicU32::new(0),
            next_probe: AtomicU64::new(u64::MAX),
            last_probe: AtomicU64::new(0),
            spared: AtomicU32::new(0),
            needed: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
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

    /// It answered, while it takes requests. Writes only where something was held against it.
    pub fn succeeded(&self, shape: impl FnOnce() -> Shape, now: u64) {
        if self.record.is_clean() && self.row.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.record.succeeded(shape(), now);
        self.note_good();
    }

    fn note_good(&self) {
        let _ = self.row.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |row| match row {
            0 => None,
            row if row < GOOD => Some(GOOD + 1),
            row if row + 1 >= GOOD + WELL => Some(0),
            row => Some(row + 1),
        });
    }

    /// Failures in a row, with this one.
    fn note_bad(&self) -> u32 {
        let next = |row: u32| if row >= GOOD { 1 } else { (row + 1).min(GOOD - 1) };
        let before = self.row.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |row| Some(next(row)));
        next(before.unwrap_or_default())
    }

    /// Its last failures in a row; 0 where it has answered since.
    fn bad_row(&self) -> u32 {
        let row = self.row.load(Ordering::Relaxed);
        if row < GOOD { row } else { 0 }
    }

    /// Whether so many of its last attempts failed that it has to be taken for dead.
    pub fn is_dead(&self, rules: &Outlier) -> bool {
        self.bad_row() >= rules.consecutive
    }

    /// Whether its last attempts were good ones.
    fn is_well(&self) -> bool {
        self.row.load(Ordering::Relaxed) == 0
    }

    /// How many good answers in a row bring it back.
    fn asked_for(&self) -> u32 {
        WELL << self.relapses.load(Ordering::Relaxed).min(HARDEST)
    }

    fn cause(&self) -> Cause {
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
        } else if self.bad_row() == 0 || self.is_out() {
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
        self.bad_row() > 0 && now.saturating_sub(self.failed.load(Ordering::Relaxed)) < within
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

    /// It is out until a time from now: twice as long as the last time.
    fn keep_out(&self, rules: &Outlier, now: u64, random: f64) {
        let (base, most) = (millis(rules.base_ejection), millis(rules.max_ejection));
        let next = self.sentence.load(Ordering::Relaxed).saturating_mul(2).max(base).min(most);
        self.sentence.store(next, Ordering::Relaxed);
        // So that those ejected together do not come back together.
        let drawn = ((next as f64 * (0.8 + 0.4 * random)) as u64).min(most);
        self.until.store(now + drawn.max(1), Ordering::Release);
    }
}

impl PoolState {
    /// Moves with everything that makes an endpoint more or less safe: one load.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Picks that found nobody else, and took an ejected endpoint.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// An attempt failed by the endpoint's fault, or was overtaken by a later one.
    pub fn failed(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        Failure { shape, trouble, begun }: Failure,
        now: u64,
        random: f64,
    ) -> Held {
        let state = members.state(index);
        let old = begun < state.judged.load(Ordering::Relaxed);
        // What fails alone at one that is out is held against it: that may be what it is out for.
        let tells = !old && (state.record.failed(shape, DEAD_AFTER, now) || state.is_out());
        if !tells || self.is_its_own(members, index, shape) {
            return Held { row: 1, changes: Vec::new() };
        }
        let row = state.note_bad();
        state.failed.store(now, Ordering::Relaxed);
        if row >= trouble {
            state.trouble.store(now, Ordering::Relaxed);
            self.changed();
        }
        if state.is_out() {
            self.failed_again(members, index, rules, now, random);
            return Held { row: 0, changes: Vec::new() };
        }
        let mut changes = Vec::new();
        if rules.enabled && state.is_dead(rules) {
            changes = self.takes_for_dead(members, index, rules, now, random);
        }
        Held { row, changes }
    }

    /// An endpoint that is ejected answered, whatever the request was sent to it for. Who was ejected for its latency
    /// comes back only when that is not far outside its peers' any more.
    pub fn answered(
        &self,
        members: &(impl Members + ?Sized),
        index: usize,
        rules: &Outlier,
        GoodAnswer { shape, took_us, begun }: GoodAnswer,
        now: u64,
        random: f64,
    ) -> Vec<Change> {
        let state = members.state(index);
        if begun < state.judged.load(Ordering::Relaxed) || !state.is_out() {
            return Vec::new();
        }
        state.record.succeeded(shape, now);
        let was_late = matches!(state.cause(), Cause::Latency | Cause::Silent);
        if was_late && evaluate::is_outside(members, index, took_us, rules) {
            // It answers after all, too late.
            state.cause.store(Cause::Latency as u32, Ordering::Relaxed);
            // Neither good nor dead.
            state.row.store(GOOD, Ordering::Relaxed);
            self.failed_again(members, index, rules, now, random);
        } else {
            state.note_good();
            self.proves_itself(members, index, now);
        }
        self.recall(members, rules, now)
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
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests;
