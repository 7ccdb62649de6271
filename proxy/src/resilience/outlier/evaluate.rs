//! What only shows over time: a share of failures, and latency. Looked at once a second, by whichever worker comes first.

use super::{Cause, Members, Outlier, OutlierState, PoolState};
use crate::resilience::sync::Ordering;

/// From one look to the next, in milliseconds.
const EVERY: u64 = 1_000;
/// What a second leaves of what was counted: about ten seconds are remembered.
const KEPT: f64 = 0.9;
/// A share of failures has to lie so far above that of the others.
const ABOVE: f64 = 0.3;
/// A latency has to lie so far above that of the others, in microseconds: below that it hurts nobody.
const SLOWER_BY_US: u64 = 50_000;
/// Looks in a row at which it has to.
const LOOKS: u32 = 3;

impl PoolState {
    /// Takes in what was counted, and ejects who stands out. Why each of them was.
    pub fn evaluate(&self, members: &(impl Members + ?Sized), rules: &Outlier, now: u64, random: f64) -> Vec<Cause> {
        let before = self.evaluated.load(Ordering::Relaxed);
        if now < before + EVERY
            || self.evaluated.compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Vec::new();
        }
        let fresh: Vec<bool> = (0..members.count()).map(|i| take_in(members.state(i))).collect();
        // What two who ejected and brought back at once may have left wrong is put right here.
        self.plan(members);
        if !rules.enabled || members.count() < 2 {
            return Vec::new();
        }
        let mut ejected = Vec::new();
        for (index, fresh) in fresh.into_iter().enumerate() {
            let state = members.state(index);
            if state.is_out() {
                continue;
            }
            let cause = if fails_more(members, index, rules) {
                Some(Cause::Share)
            } else if fresh && takes_longer(members, index, rules) {
                Some(Cause::Latency)
            } else {
                None
            };
            if let Some(cause) = cause
                && self.eject(members, index, rules, now, random, cause)
            {
                ejected.push(cause);
            }
        }
        ejected
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

fn fails_more(members: &(impl Members + ?Sized), index: usize, rules: &Outlier) -> bool {
    let (share, attempts) = members.state(index).share();
    if attempts < f64::from(rules.min_attempts) || share < rules.failure_share {
        return false;
    }
    let others = (0..members.count()).filter(|i| *i != index).map(|i| members.state(i)).filter(|s| !s.is_out());
    let (bad, all) = others.fold((0.0, 0.0), |(bad, all), state| {
        let (share, attempts) = state.share();
        (bad + share * attempts, all + attempts)
    });
    // Nobody to compare with is no reason.
    all > 0.0 && share >= bad / all + ABOVE
}

fn takes_longer(members: &(impl Members + ?Sized), index: usize, rules: &Outlier) -> bool {
    let slow = &members.state(index).slow;
    if !is_outside(members, index, members.median_us(index), rules) {
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
