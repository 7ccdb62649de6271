//! Load that is seen to be too much before any of it is back.
//!
//! A service that is suddenly given ten times what it can do has, by the time that a cohort shows it, a queue of many
//! seconds. But what has *not* come back says as much: it is known how long answers take, so it is known how many of those
//! who set out should be back by now.

use super::super::cohort::Cohort;
use super::COHORTS;
use super::pool::Pool;
use super::pulse::Pulse;
use crate::clock::Instant;

/// It is believed where the service has to work for so long at what is overdue, seconds, and fewer than half of those are
/// back that should be. Where answers take longer, more has come by the time that anything is overdue: less suffices.
const SUDDEN: f64 = 0.45;
const SUDDEN_LEAST: f64 = 0.25;
/// Or for so long, however many are back; longer where answers take long, because what becomes slower is overdue, too.
const STEADY: f64 = 0.6;
const STEADY_BY_LATENCY: f64 = 3.0;
/// The shortest time over which answers are counted, seconds.
const BUSY: f64 = 0.05;
/// Answers from which it is known how long they take.
const KNOWN: f64 = 24.0;

/// One that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Since when the service is busy, and the answers by then.
    pub from: (Instant, u64),
    /// How long the first of them have been out, seconds.
    pub waited: f64,
}

/// Whether there is one: more requests than were ever carried, of which many are not back that should be, while more
/// come than are answered.
pub fn seen(pool: &Pool, now: Instant) -> Option<Flood> {
    let usual = &pool.usual;
    // Where there are long polls, nobody can say what should be back.
    if usual.rate == 0.0 || usual.spread.sum() < KNOWN || !usual.is_answered() {
        return None;
    }
    // What was learned from already has shown nothing sudden; for the other it counts.
    let overdue = (SUDDEN - usual.latency).max(SUDDEN_LEAST).max(usual.latency);
    let sudden = |window: &Window| window.back <= 0.5 * window.due && window.overdue() >= overdue * window.answers;
    let steady = |window: &Window| window.overdue() >= STEADY.max(STEADY_BY_LATENCY * usual.latency) * window.answers;
    let oldest = (pool.newest + 1).saturating_sub(COHORTS as u64);
    let window = Window::since(pool, pool.unseen, now)
        .filter(sudden)
        .or_else(|| Window::since(pool, oldest, now).filter(steady))?;
    Some(Flood { from: window.from, waited: window.since })
}

/// What became of the requests since there were more of them than usual, and more than are answered.
#[derive(Debug)]
struct Window {
    /// How long that is, seconds.
    since: f64,
    from: (Instant, u64),
    /// Answers a second, as many as there were in any part of the time.
    answers: f64,
    /// Requests that should be back, and those that are.
    due: f64,
    back: f64,
}

impl Window {
    fn since(pool: &Pool, oldest: u64, now: Instant) -> Option<Self> {
        let usual = &pool.usual;
        let age = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let recent = |at: &&Cohort| now.saturating_duration_since(at.opened) <= Pulse::SPAN;
        let cohorts = || (oldest..=pool.newest).map(|number| pool.at(number)).filter(recent);
        let length = |at: &Cohort| at.length(now).as_secs_f64();
        // What came before it is left out, as far as can be told.
        let is_more = |at: &&Cohort| f64::from(at.counts.offered) > 1.5 * usual.rate * length(at);
        let first = cohorts().find(is_more)?;
        let (mut from, mut answers) = ((first.opened, first.answers), usual.rate);
        let (mut offered, mut back, mut before) = (0.0, 0.0, first.answers);
        for cohort in cohorts().filter(|cohort| cohort.opened >= first.opened) {
            offered += f64::from(cohort.counts.offered);
            // A page that always fails, and quickly, waits in no queue.
            back += f64::from(cohort.counts.over());
            // What it can do shows since all of it is busy.
            let rate = (pool.answers - cohort.answers) as f64 / age(cohort.opened).max(BUSY);
            if rate > answers {
                (from, answers) = ((cohort.opened, cohort.answers), rate);
            }
            if age(cohort.opened) >= SUDDEN {
                before = cohort.answers;
            }
        }
        let since = age(first.opened);
        let carried = usual.rate * since;
        let is_surge = offered > 1.5 * carried + 4.0 * carried.sqrt() + 4.0;
        let open = pool.at(pool.newest);
        let coming = pool.pulse.lately(now).min(f64::from(open.counts.offered) / length(open).max(0.01));
        // Where nothing at all is answered, it hangs: that is not mended by a limit.
        if !is_surge || coming <= 1.3 * answers || pool.answers < before + 4 {
            return None;
        }
        let due: f64 = pool.pulse.since(first.opened, now).map(|(sent, age)| sent * usual.spread.share(age)).sum();
        let is_certain = due >= 12.0 && due - back >= 3.0 * due.sqrt();
        is_certain.then_some(Self { since, from, answers, due, back })
    }

    fn overdue(&self) -> f64 {
        self.due - self.back
    }
}
