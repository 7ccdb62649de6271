//! When an attempt is slow enough that another one is started beside it.
//!
//! Two times, from the same knowledge of how long the route's answers take. After the first (a **hedge**) the attempt is
//! slower than all but a hundredth of its like: a second one, elsewhere, is likely to be sooner, and is cheap because so
//! few get here. After the second (the **per-try timeout**) it is not slow any more but stuck.
//!
//! **Neither ends the attempt.** A timeout that cancels turns slowness into failure: where every answer takes longer than
//! it, no request ever succeeds, and the work of each is thrown away and begun again. Here the first attempt goes on, and
//! whichever answers first wins, until the request's own deadline. So a time that is learned may be wrong, at the price of
//! some attempts beyond the first, which the budget bounds.
//!
//! **Learned how.** The per-try timeout is a multiple of the p99. Within a floor, because below it everything is
//! scheduling; within a ceiling, which also holds until 500 answers are known, and when more than a hundredth of the tries
//! was given up on: then the p99 lies beyond what anybody has waited for, and the right answer to "how long is long" is
//! "longer". (Learning from successes alone would tighten the timeout with each one that it cuts off.) A route of which one
//! call in a thousand takes a thousand times longer than the rest keeps that call: it is raced, not cut.
//!
//! **Hedges** wait for the p99 itself and never less, so a healthy service spends a hundredth of its requests at most
//! (J. Dean, L. A. Barroso, "The tail at scale", 2013); where it was never known there are none. Where it has come to lie
//! beyond what anybody waits for, twice the last that was known holds: that is when hedges are needed most, and their share
//! of the budget bounds them.

use std::time::Duration;

use super::sketch::{Quantile, Sketch};
use crate::clock::Instant;
use crate::config::settings::{Hedge, PerTry};

/// Samples without which nothing is learned about tries.
pub const TRY_SAMPLES: u32 = 500;
/// Samples without which nothing is hedged: of so few the p99 is the slowest.
pub const HEDGE_SAMPLES: u32 = 30;

/// So many times the p99 nobody has to wait.
const STUCK: u32 = 3;

/// How long the answers of one kind of requests take, and what follows. Reading it costs nothing: it is worked out at the
/// worker's ticks.
#[derive(Debug)]
pub struct Learned {
    sketch: Sketch,
    known: Known,
    observed: bool,
}

/// What is known at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// What half stay within.
    pub p50: Quantile,
    /// What all but a hundredth stay within.
    pub p99: Quantile,
    /// The last p99 that was a time, here or with another worker.
    pub usual: Option<Duration>,
    /// Another worker's p99.
    pub lent: Option<Duration>,
    /// Samples that the quantiles stand on.
    pub samples: u32,
}

impl Learned {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { sketch: Sketch::new(now), known: Known::default(), observed: false }
    }

    /// What is known since the last tick.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// An answer took so long.
    pub fn observe(&mut self, latency: Duration) {
        self.sketch.observe(latency);
        self.observed = true;
    }

    /// A try was given up on.
    pub fn give_up(&mut self) {
        self.sketch.give_up();
        self.observed = true;
    }

    /// Works the quantiles out anew, where there is anything new.
    pub fn refresh(&mut self, now: Instant) {
        if std::mem::take(&mut self.observed) {
            self.sketch.age(now);
            let p99 = self.sketch.quantile(0.99);
            self.known = Known {
                p50: self.sketch.quantile(0.5),
                p99,
                samples: self.sketch.samples(),
                usual: p99.time().or(self.known.usual),
                lent: self.known.lent,
            };
        }
    }

    /// The p99, where enough is known to hedge by it: for other workers, who may have seen less.
    pub fn to_lend(&self) -> Option<Duration> {
        self.known.p99.time().filter(|_| self.known.samples >= HEDGE_SAMPLES)
    }

    /// Another worker's p99, for as long as this one knows too little.
    pub fn borrow(&mut self, p99: Duration) {
        if self.known.samples < HEDGE_SAMPLES {
            self.known.lent = Some(p99);
        }
    }
}

impl Known {
    /// When an attempt is stuck; none where that is switched off. `total` bounds the ceiling.
    pub fn per_try(&self, rules: &PerTry, total: Duration) -> Option<Duration> {
        match *rules {
            PerTry::Off => None,
            PerTry::Fixed(time) => Some(time),
            PerTry::Learned { multiple, floor, ceiling } => {
                let ceiling = ceiling.min(total);
                Some(match self.p99 {
                    Quantile::Within(p99) if self.samples >= TRY_SAMPLES => {
                        // Above the ceiling nothing is left of the product.
                        p99.min(ceiling).mul_f64(multiple).max(floor).min(ceiling)
                    }
                    _ => ceiling,
                })
            }
        }
    }

    /// After what time an attempt is certainly no usual one, whether another may be started beside it or not; none while too
    /// little is known.
    pub fn stuck(&self) -> Option<Duration> {
        let p99 = if self.samples >= HEDGE_SAMPLES { self.p99.time().or(self.usual) } else { self.lent };
        p99.map(|p99| p99.saturating_mul(STUCK))
    }

    /// When an attempt is slower than nearly all; none where it is not hedged.
    pub fn hedge(&self, rules: &Hedge) -> Option<Duration> {
        let own = self.p99.time().or_else(|| Some(self.usual? * 2));
        let late = if self.samples >= HEDGE_SAMPLES { own } else { self.lent };
        late.filter(|_| rules.share > 0.0).map(|late| late.max(rules.floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TOTAL: Duration = Duration::from_secs(15);

    fn learned(samples: impl Iterator<Item = Duration>) -> Learned {
        let start = Instant::now();
        let mut learned = Learned::new(start);
        samples.for_each(|s| learned.observe(s));
        learned.refresh(start);
        learned
    }

    fn per_try(learned: &Learned) -> Duration {
        learned.known().per_try(&PerTry::default(), TOTAL).unwrap()
    }

    #[test]
    fn below_500_samples_the_ceiling_holds() {
        assert_eq!(per_try(&learned(std::iter::repeat_n(10 * MS, 499))), Duration::from_secs(5));
        assert!(per_try(&learned(std::iter::repeat_n(10 * MS, 500))) < 36 * MS);
    }

    #[test]
    fn it_stays_within_floor_and_ceiling_and_below_the_total() {
        assert_eq!(per_try(&learned(std::iter::repeat_n(MS, 1_000))), 20 * MS);
        assert_eq!(per_try(&learned(std::iter::repeat_n(4_000 * MS, 1_000))), 5_000 * MS);
        let unknown = learned(std::iter::empty());
        assert_eq!(unknown.known().per_try(&PerTry::default(), 800 * MS), Some(800 * MS));
        assert_eq!(unknown.known().per_try(&PerTry::Off, TOTAL), None);
        assert_eq!(unknown.known().per_try(&PerTry::Fixed(7 * MS), TOTAL), Some(7 * MS));
    }

    /// What is cut is not learned from as if it had been quick: with every tenth call slow and given up on, no number of
    /// rounds makes the timeout shorter than it would have to be.
    #[test]
    fn learning_only_from_successes_cannot_tighten_it() {
        let start = Instant::now();
        let mut learned = Learned::new(start);
        let mut now = start;
        for _ in 0..50 {
            for n in 0..100 {
                let takes = if n % 10 == 0 { 1_000 * MS } else { 10 * MS };
                if takes > per_try(&learned) { learned.give_up() } else { learned.observe(takes) }
            }
            now += Duration::from_secs(1);
            learned.refresh(now);
            assert!(per_try(&learned) >= 3_000 * MS, "{:?} after {:?}", per_try(&learned), now - start);
        }
    }

    #[test]
    fn a_route_with_a_thousandth_of_its_calls_a_thousand_times_slower_races_them_only() {
        let calls = (0..10_000).map(|n| if n % 1_000 == 0 { 10_000 * MS } else { 10 * MS });
        // Thirty times what a call takes: the slow ones get a second attempt, and go on. Nothing here can end one.
        let time = per_try(&learned(calls));
        assert!(time >= 30 * MS && time < 40 * MS, "{time:?}");
    }

    #[test]
    fn a_healthy_service_hedges_a_hundredth_at_most() {
        // Latencies of an exponential distribution, mean 10 ms.
        let mut random = fastrand::Rng::with_seed(7);
        let mut calls = || (0..20_000).map(|_| (10 * MS).mul_f64(-random.f64().max(1e-12).ln())).collect::<Vec<_>>();
        let learned = learned(calls().into_iter());
        let after = learned.known().hedge(&Hedge::default()).unwrap();
        let hedged = calls().iter().filter(|c| **c > after).count();
        assert!(hedged <= 220, "{hedged} of 20,000");
        assert!(hedged >= 40, "{hedged} of 20,000: never, in effect");
    }

    #[test]
    fn a_worker_that_has_seen_little_hedges_by_what_another_knows() {
        let mut few = learned(std::iter::repeat_n(10 * MS, 3));
        let many = learned(std::iter::repeat_n(10 * MS, 300));
        assert_eq!((few.to_lend(), few.known().hedge(&Hedge::default())), (None, None));
        few.borrow(many.to_lend().unwrap());
        assert_eq!(few.known().hedge(&Hedge::default()), many.known().hedge(&Hedge::default()));
    }

    #[test]
    fn nothing_is_hedged_where_the_p99_is_not_known() {
        assert_eq!(learned(std::iter::repeat_n(10 * MS, 29)).known().hedge(&Hedge::default()), None);
        let known = learned(std::iter::repeat_n(10 * MS, 30));
        assert!(known.known().hedge(&Hedge::default()).unwrap() >= 10 * MS);
        assert_eq!(known.known().hedge(&Hedge { share: 0.0, ..Hedge::default() }), None);
        let mut beyond = learned(std::iter::repeat_n(10 * MS, 100));
        (0..5).for_each(|_| beyond.give_up());
        beyond.refresh(Instant::now());
        assert!(beyond.known().hedge(&Hedge::default()).unwrap() >= 20 * MS, "twice the last that was known");
        let quick = learned(std::iter::repeat_n(MS / 10, 1_000));
        assert_eq!(quick.known().hedge(&Hedge::default()), Some(Hedge::default().floor));
    }
}
