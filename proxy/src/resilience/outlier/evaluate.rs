//! What only shows over time: a share of failures, and latency. Looked at once a second, by whichever worker comes first.

use super::decide::{ABOVE, Survey, has_dead};
use super::{Cause, Change, Members, Outlier, OutlierState, PoolState};
use crate::resilience::sync::Ordering;

/// From one look to the next, in milliseconds.
const EVERY: u64 = 1_000;
/// What a second leaves of what was counted: about ten seconds are remembered.
const KEPT: f64 = 0.9;
/// A latency has to lie so far above that of the others, in microseconds: below that it hurts nobody.
const SLOWER_BY_US: u64 = 50_000;
/// And a quarter of its answers, so many times as long, as far.
const QUARTER_FACTOR: u64 = 2;
/// Looks in a row at which it has to.
const LOOKS: u32 = 3;

impl PoolState {
    /// Takes in what was counted, ejects who stands out, and brings back who may come. What was decided.
    pub fn evaluate(&self, members: &(impl Members + ?Sized), rules: &Outlier, now: u64, random: f64) -> Vec<Change> {
        let before = self.evaluated.load(Ordering::Relaxed);
        if now < before + EVERY
            || self.evaluated.compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Vec::new();
        }
        let fresh: Vec<bool> = (0..members.count()).map(|i| take_in(members.state(i))).collect();
        // What two who decided at once may have left undone is done here.
        let mut changes = self.recall(members, rules, now);
        self.plan(members, now);
        if !rules.enabled || members.count() < 2 {
            return changes;
        }
        let (mut survey, mut bad_stays) = (Survey::of(members, rules, now), false);
        for (index, fresh) in fresh.into_iter().enumerate() {
            let state = members.state(index);
            if state.is_out() {
                continue;
            }
            let fails = fails_often(state, rules);
            let cause = if fails && stands_out(state, &survey) {
                Cause::Share
            } else if fresh && takes_longer(members, index, rules) {
                Cause::Latency
            } else {
                bad_stays |= fails;
                continue;
            };
            // Whoever answers is not ejected while somebody is in who does not.
            let decided = match state.is_well() && has_dead(members, rules) {
                true => Vec::new(),
                false => self.eject(members, index, rules, now, random, cause),
            };
            if decided.is_empty() {
                bad_stays = true;
            } else {
                survey = Survey::of(members, rules, now);
                changes.extend(decided);
            }
        }
        if bad_stays {
            self.is_needed(members, now);
        }
        changes
    }
}

/// Adds what is new to what is remembered. Whether there was anything.
fn take_in(state: &OutlierState) -> bool {
    let (good, bad) = (state.new_good.swap(0, Ordering::Relaxed), state.new_bad.swap(0, Ordering::Relaxed));
    for (kept, new) in [(&state.good, good), (&state.bad, bad)] {
        let sum = kept.load(Ordering::Relaxed) as f64 * KEPT + new as f64 * 1e3;
        kept.store(sum as u64, Ordering::Relaxed);
    }
    good + bad > 0
}

fn fails_often(state: &OutlierState, rules: &Outlier) -> bool {
    let (share, attempts) = state.share();
    attempts >= f64::from(rules.min_attempts) && share >= rules.failure_share
}

fn stands_out(state: &OutlierState, survey: &Survey<'_>) -> bool {
    let (share, (others, all)) = (state.share().0, survey.others(state));
    // Where all the others are out, it is held against them; else nobody to compare with is no reason.
    survey.is_alone() || all > 0.0 && share >= others + ABOVE
}

fn takes_longer(members: &(impl Members + ?Sized), index: usize, rules: &Outlier) -> bool {
    let slow = &members.state(index).slow;
    // Nearly all of its answers are late. The median alone is moved by what is asked: by half as many quick pages, by POSTs that
    // others do not get.
    let quarter = members.quarter_us(index).saturating_mul(QUARTER_FACTOR);
    if !is_outside(members, index, members.median_us(index).min(quarter), rules) {
        slow.store(0, Ordering::Relaxed);
        return false;
    }
    slow.fetch_add(1, Ordering::Relaxed) + 1 >= LOOKS
}

/// Whether a latency, in microseconds, is far outside those of an endpoint's peers. Not where nothing is known of them.
pub(super) fn is_outside(members: &(impl Members + ?Sized), index: usize, own: u64, rules: &Outlier) -> bool {
    let mut others: Vec<u64> = (0..members.count())
        .filter(|i| *i != index && !members.state(*i).is_out())
        .map(|i| members.median_us(i))
        .filter(|median| *median > 0)
        .collect();
    if others.is_empty() {
        return false;
    }
    let middle = others.len() / 2;
    let peers = *others.select_nth_unstable(middle).1;
    own as f64 > peers as f64 * rules.latency_factor && own > peers + SLOWER_BY_US
}
