//! Which parts of a connection were woken: the connection itself, and each of its streams.
//!
//! A connection and all its streams run in one task, so that what is ready together leaves together. A wake of the
//! task must not mean that every stream is polled. So each part has a waker of its own, which sets the part's bit and
//! wakes the task once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The parts of a connection that were woken and have not been polled since.
#[derive(Debug, Default)]
pub struct Wakes {
    task: Arc<AtomicWaker>,
    groups: Vec<Arc<Group>>,
    wakers: Vec<Waker>,
    /// The part where the next look begins. It moves on, so that no part is always the last.
    first: usize,
}

/// The part that is the connection itself.
pub const CONNECTION: usize = 0;
/// How many parts make a group: one bit each.
const GROUP: usize = u64::BITS as usize;

#[derive(Debug)]
struct Group {
    woken: AtomicU64,
    task: Arc<AtomicWaker>,
}

struct Part {
    group: Arc<Group>,
    bit: u64,
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.group.woken.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0 {
            self.group.task.wake();
        }
    }
}

impl Wakes {
    /// The waker of a part.
    pub fn waker(&mut self, part: usize) -> &Waker {
        while self.wakers.len() <= part {
            let bit = self.wakers.len() % GROUP;
            if bit == 0 {
                let group = Group { woken: AtomicU64::new(0), task: Arc::clone(&self.task) };
                self.groups.push(Arc::new(group));
            }
            if let Some(group) = self.groups.last() {
                self.wakers.push(Waker::from(Arc::new(Part { group: Arc::clone(group), bit: 1 << bit })));
            }
        }
        &self.wakers[part]
    }

    /// Registers the task to be woken from now on. Wakes that came before have to be looked for again after this.
    pub fn listen(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Whether any part was woken.
    pub fn any(&self) -> bool {
        self.groups.iter().any(|group| group.woken.load(Ordering::Acquire) != 0)
    }

    /// Whether a part was woken. Clears its bit.
    pub fn take(&self, part: usize) -> bool {
        let Some(group) = self.groups.get(part / GROUP) else { return false };
        let bit = 1 << (part % GROUP);
        group.woken.load(Ordering::Relaxed) & bit != 0 && group.woken.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Clears the bits of all parts but the connection's, and calls `each` for every part that was woken.
    pub fn take_streams(&mut self, mut each: impl FnMut(&Waker, usize)) {
        let Self { groups, wakers, first, .. } = self;
        let (from, turn) = (*first / GROUP, (*first % GROUP) as u32);
        for step in 0..groups.len() {
            let group = (from + step) % groups.len();
            let stays = if group == CONNECTION / GROUP { 1 << (CONNECTION % GROUP) } else { 0 };
            if groups[group].woken.load(Ordering::Relaxed) & !stays == 0 {
                continue;
            }
            let taken = groups[group].woken.fetch_and(stays, Ordering::AcqRel) & !stays;
            let mut bits = taken.rotate_right(turn);
            while bits != 0 {
                let bit = (bits.trailing_zeros() + turn) as usize % GROUP;
                bits &= bits - 1;
                let part = group * GROUP + bit;
                if let Some(waker) = wakers.get(part) {
                    each(waker, part);
                }
            }
        }
        *first = (*first + 1) % (GROUP * groups.len().max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn taken(wakes: &mut Wakes) -> Vec<usize> {
        let mut parts = Vec::new();
        wakes.take_streams(|_, part| parts.push(part));
        parts
    }

    #[test]
    fn who_was_woken_is_polled_once_however_often_that_was_and_the_task_woken_once_for_all() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut wakes = Wakes::default();
        wakes.listen(&Context::from_waker(&waker));
        for part in [3, 64, 3, 200, CONNECTION] {
            wakes.waker(part).wake_by_ref();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(taken(&mut wakes), [3, 64, 200]);
        assert!(wakes.any() && wakes.take(CONNECTION) && !wakes.take(CONNECTION));
        assert!(!wakes.any() && taken(&mut wakes).is_empty());
    }

    #[test]
    fn each_is_the_first_at_some_time() {
        let mut wakes = Wakes::default();
        let all = [1, 2, 63, 64, 130];
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..3 * GROUP {
            all.iter().for_each(|part| wakes.waker(*part).wake_by_ref());
            let mut parts = taken(&mut wakes);
            firsts.insert(parts[0]);
            parts.sort_unstable();
            assert_eq!(parts, all);
        }
        assert_eq!(firsts.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_wake_between_the_poll_and_the_next_listening_is_seen() {
        let mut wakes = Wakes::default();
        wakes.waker(5).wake_by_ref();
        wakes.listen(&Context::from_waker(Waker::noop()));
        assert!(wakes.any());
    }
}
