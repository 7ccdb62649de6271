//! Who waits for a turn.
//!
//! A queue absorbs what comes unevenly; it cannot make up for too little capacity. When it is never empty, everyone only
//! waits longer, and first come, first served then means that each is served just before giving up. So the queue is
//! short in places and in time, and changes its order: first come, first served while waits are short; once someone has
//! waited for half of what is allowed, the newest first, because it has the best chance of being in time, while the
//! oldest wait out their time and are refused (Facebook's adaptive LIFO, Maurer, "Fail at Scale", ACM Queue 2015). A full
//! queue then refuses its oldest, not the one that comes.
//!
//! Whoever is worth more goes first, and may take the place of one that is worth less.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::Priority;

const LEVELS: usize = 3;

fn level(priority: Priority) -> usize {
    match priority {
        Priority::Critical => 0,
        Priority::Default => 1,
        Priority::Sheddable => 2,
    }
}

/// One that waits.
#[derive(Debug)]
pub struct Waiter<T> {
    /// Who.
    pub item: T,
    /// What it is worth.
    pub priority: Priority,
    since: Instant,
    deadline: Option<Instant>,
    id: u64,
}

/// A bounded queue of one worker.
#[derive(Debug)]
pub struct Queue<T> {
    levels: [VecDeque<Waiter<T>>; LEVELS],
    /// Places.
    pub places: usize,
    /// The longest wait.
    pub patience: Duration,
    ids: u64,
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new(places: usize, patience: Duration) -> Self {
        Self { levels: Default::default(), places, patience, ids: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.levels.iter().map(VecDeque::len).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(VecDeque::is_empty)
    }

    /// When the oldest came.
    pub fn oldest(&self) -> Option<Instant> {
        self.levels.iter().filter_map(|level| Some(level.front()?.since)).min()
    }

    /// Takes a place. Who has to go for it comes back beside the id: one that is worth less, or, under pressure, the
    /// oldest of the same worth. The item itself comes back where there is no place for it.
    pub fn push(
        &mut self,
        item: T,
        priority: Priority,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<(u64, Option<T>), T> {
        let mut pushed_out = None;
        if self.len() >= self.places {
            let lowest = self.levels.iter().rposition(|level| !level.is_empty());
            let own = level(priority);
            let goes = match lowest {
                Some(lowest) if lowest > own => self.levels[lowest].pop_back(),
                Some(lowest) if lowest == own && self.is_pressed(now) => self.levels[lowest].pop_front(),
                _ => None,
            };
            match goes {
                Some(waiter) => pushed_out = Some(waiter.item),
                None => return Err(item),
            }
        }
        self.ids += 1;
        self.levels[level(priority)].push_back(Waiter { item, priority, since: now, deadline, id: self.ids });
        Ok((self.ids, pushed_out))
    }

    /// Someone who has waited for too long, or can no longer be answered in time if an answer takes `expected`.
    pub fn expired(&mut self, expected: Duration, now: Instant) -> Option<T> {
        let patience = self.patience;
        self.levels.iter_mut().find_map(|level| {
            let late = |waiter: &Waiter<T>| {
                now.saturating_duration_since(waiter.since) >= patience
                    || waiter.deadline.is_some_and(|deadline| now + expected >= deadline)
            };
            let at = level.iter().position(late)?;
            Some(level.remove(at)?.item)
        })
    }

    /// What the next in turn is worth.
    pub fn peek(&self) -> Option<Priority> {
        self.levels.iter().find_map(|level| Some(level.front()?.priority))
    }

    /// The next in turn.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let pressed = self.is_pressed(now);
        let level = self.levels.iter_mut().find(|level| !level.is_empty())?;
        let waiter = if pressed { level.pop_back() } else { level.pop_front() };
        Some(waiter?.item)
    }

    /// Gives a place up. False if it was not held any more.
    pub fn remove(&mut self, id: u64) -> bool {
        self.levels.iter_mut().any(|level| match level.iter().position(|waiter| waiter.id == id) {
            Some(at) => level.remove(at).is_some(),
            None => false,
        })
    }

    /// Whether someone has waited for half of what is allowed.
    fn is_pressed(&self, now: Instant) -> bool {
        self.oldest().is_some_and(|since| now.saturating_duration_since(since) > self.patience / 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn queue(places: usize) -> (Queue<u32>, Instant) {
        (Queue::new(places, 100 * MS), Instant::now())
    }

    #[test]
    fn first_come_first_served_while_waits_are_short() {
        let (mut queue, now) = queue(8);
        for n in 0..3 {
            queue.push(n, Priority::Default, None, now + n * 10 * MS).unwrap();
        }
        assert_eq!([queue.pop(now + 40 * MS), queue.pop(now + 40 * MS)], [Some(0), Some(1)]);
    }

    #[test]
    fn the_newest_first_once_someone_has_waited_for_half_the_time() {
        let (mut queue, now) = queue(8);
        for n in 0..3 {
            queue.push(n, Priority::Default, None, now + n * 10 * MS).unwrap();
        }
        assert_eq!(queue.pop(now + 51 * MS), Some(2));
        assert_eq!(queue.expired(Duration::ZERO, now + 99 * MS), None);
        assert_eq!(queue.expired(Duration::ZERO, now + 100 * MS), Some(0));
        assert_eq!(queue.pop(now + 101 * MS), Some(1));
    }

    #[test]
    fn who_is_worth_more_goes_first_and_may_take_the_place_of_one_that_is_worth_less() {
        let (mut queue, now) = queue(2);
        queue.push(0, Priority::Sheddable, None, now).unwrap();
        queue.push(1, Priority::Default, None, now).unwrap();
        assert_eq!(queue.push(2, Priority::Default, None, now).unwrap().1, Some(0));
        assert_eq!(queue.push(3, Priority::Sheddable, None, now), Err(3));
        assert_eq!(queue.push(4, Priority::Critical, None, now).unwrap().1, Some(2));
        assert_eq!([queue.pop(now), queue.pop(now), queue.pop(now)], [Some(4), Some(1), None]);
    }

    #[test]
    fn a_full_queue_refuses_its_oldest_under_pressure_and_the_newest_otherwise() {
        let (mut queue, now) = queue(2);
        queue.push(0, Priority::Default, None, now).unwrap();
        queue.push(1, Priority::Default, None, now).unwrap();
        assert_eq!(queue.push(2, Priority::Default, None, now + 50 * MS), Err(2));
        assert_eq!(queue.push(3, Priority::Default, None, now + 51 * MS).unwrap().1, Some(0));
    }

    #[test]
    fn who_can_no_longer_be_answered_in_time_does_not_wait() {
        let (mut queue, now) = queue(2);
        queue.push(0, Priority::Default, Some(now + 80 * MS), now).unwrap();
        assert_eq!(queue.expired(30 * MS, now + 49 * MS), None);
        assert_eq!(queue.expired(30 * MS, now + 50 * MS), Some(0));
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_nobody_is_served_twice(
            steps in prop::collection::vec((0u8..5, 0u8..3, 0u64..40), 1..200), places in 1usize..6,
        ) {
            let (mut queue, mut now) = queue(places);
            let mut ids = std::collections::HashMap::new();
            let (mut next, mut gone) = (0, Vec::new());
            for (what, worth, wait) in steps {
                now += Duration::from_millis(wait);
                let priority = [Priority::Sheddable, Priority::Default, Priority::Critical][usize::from(worth)];
                match what {
                    0..=1 => match queue.push(next, priority, None, now) {
                        Ok((id, out)) => {
                            ids.insert(next, id);
                            gone.extend(out);
                        }
                        Err(back) => gone.push(back),
                    },
                    2 => gone.extend(queue.pop(now)),
                    3 => gone.extend(queue.expired(Duration::ZERO, now)),
                    _ => {
                        let known = ids.iter().next().map(|(n, id)| (*n, *id));
                        if let Some((n, id)) = known {
                            ids.remove(&n);
                            if queue.remove(id) {
                                gone.push(n);
                            }
                        }
                    }
                }
                next += u32::from(what <= 1);
                prop_assert!(queue.len() <= places);
            }
            while let Some(n) = queue.pop(now) {
                gone.push(n);
            }
            gone.sort_unstable();
            prop_assert_eq!(gone, (0..next).collect::<Vec<_>>());
        }
    }
}
