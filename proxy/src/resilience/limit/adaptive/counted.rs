//! Which of the requests in flight count against a limit: those that are still young.
//!
//! A long poll, a watch or a download is in flight for minutes and takes no place from anyone. If it counted, a thousand of
//! them would fill a limit of fifty, and everything would be refused until they end. What is out for several times as
//! long as a request takes is such a one, so it stops counting, by the clock alone: even where everything is refused and
//! nothing comes back, room appears after that time.

use std::time::Duration;

use crate::clock::Instant;

/// How finely ages are told apart.
const STEP: Duration = Duration::from_millis(20);
/// The oldest request that can count is [`STEPS`] times [`STEP`], ten seconds.
const STEPS: usize = 512;

/// When a request set out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(u64);

/// Requests that set out lately and were not answered yet.
#[derive(Debug)]
pub struct Counted {
    start: Instant,
    /// The step that began last.
    newest: u64,
    /// The first step whose requests still count.
    oldest: u64,
    steps: Box<[u32; STEPS]>,
    sum: u32,
}

impl Counted {
    /// None yet.
    pub fn new(start: Instant) -> Self {
        Self { start, newest: 0, oldest: 0, steps: Box::new([0; STEPS]), sum: 0 }
    }

    /// Whoever is older than `age` no longer counts, not even where a later call gives more time. How many that were.
    pub fn pass(&mut self, age: Duration, now: Instant) -> u32 {
        let step = |time: Duration| (time.as_nanos() / STEP.as_nanos()) as u64;
        self.newest = self.newest.max(step(now.saturating_duration_since(self.start)));
        let kept = (step(age) + 1).min(STEPS as u64 - 1);
        let oldest = self.newest.saturating_sub(kept).max(self.oldest);
        // After a long silence every step is over, once round is enough.
        let before = self.sum;
        for gone in self.oldest..oldest.min(self.oldest + STEPS as u64) {
            self.sum -= std::mem::take(&mut self.steps[gone as usize % STEPS]);
        }
        self.oldest = oldest;
        before - self.sum
    }

    /// One more, as of the last [`pass`](Self::pass).
    pub fn enter(&mut self) -> Since {
        self.steps[self.newest as usize % STEPS] += 1;
        self.sum += 1;
        Since(self.newest)
    }

    /// One was answered, or is gone. One that entered elsewhere, before a reload switched the limit off and on, was never
    /// counted here. Whether it counted until now.
    pub fn leave(&mut self, since: Since) -> bool {
        let step = &mut self.steps[since.0 as usize % STEPS];
        let counted = (self.oldest..=self.newest).contains(&since.0) && *step > 0;
        if counted {
            *step -= 1;
            self.sum -= 1;
        }
        counted
    }

    /// How many count.
    pub fn sum(&self) -> u32 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_older_than_was_asked_for_does_not_count() {
        let start = Instant::now();
        let mut counted = Counted::new(start);
        counted.pass(100 * MS, start);
        let first = counted.enter();
        counted.pass(100 * MS, start + 80 * MS);
        let second = counted.enter();
        assert_eq!(counted.sum(), 2);
        counted.pass(100 * MS, start + 150 * MS);
        assert_eq!(counted.sum(), 1, "the first is 150 ms old");
        counted.leave(first);
        assert_eq!(counted.sum(), 1, "it had left already");
        counted.leave(second);
        assert_eq!(counted.sum(), 0);
    }

    #[test]
    fn after_a_silence_longer_than_its_memory_nothing_counts() {
        let start = Instant::now();
        let mut counted = Counted::new(start);
        for _ in 0..5 {
            counted.enter();
        }
        counted.pass(Duration::from_secs(60), start + Duration::from_secs(3_600));
        assert_eq!(counted.sum(), 0);
        counted.enter();
        assert_eq!(counted.sum(), 1);
    }

    #[test]
    fn who_entered_before_the_limit_was_switched_off_and_on_leaves_without_harm() {
        let start = Instant::now();
        let (mut before, mut after) = (Counted::new(start), Counted::new(start + 1_000 * MS));
        let early = before.enter();
        before.pass(100 * MS, start + 1_000 * MS);
        let late = before.enter();
        after.leave(early);
        after.leave(late);
        assert_eq!(after.sum(), 0);
        assert_eq!((after.enter(), after.sum()), (Since(0), 1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_who_is_out(
            moves in proptest::collection::vec((0u64..400, 20u64..9_000, any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let start = Instant::now();
            let mut counted = Counted::new(start);
            let mut out: Vec<Since> = Vec::new();
            let (mut now, mut oldest) = (0, 0);
            for (pause, age, enters, which) in moves {
                now += pause;
                counted.pass(age as u32 * MS, start + now as u32 * MS);
                oldest = oldest.max((now / 20).saturating_sub((age / 20 + 1).min(511)));
                if enters {
                    out.push(counted.enter());
                } else if !out.is_empty() {
                    let gone = out.swap_remove(which.index(out.len()));
                    counted.leave(gone);
                }
                let counting = out.iter().filter(|since| since.0 >= oldest).count();
                prop_assert_eq!(counted.sum() as usize, counting);
            }
        }
    }
}
