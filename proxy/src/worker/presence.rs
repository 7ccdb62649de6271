//! What each client's connection is doing, so that idle ones can be closed when connections run short.
//!
//! Clients' connections are limited in number, and ten thousand that do nothing would keep everybody else out for as
//! long as their idle timeout lets them. So when few permits are left, the connections that have been idle longest
//! are told to make room. After them come those whose request head has been on its way for longer than an honest one
//! takes. A connection that carries a request is never closed for this.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::clock::Instant;

/// A client's connection: what it is doing, and how its task is woken.
#[derive(Debug)]
pub struct Presence {
    does: Cell<Does>,
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Nothing.
    Rest(Instant),
    /// A request's head has begun to come at that moment, and is not complete.
    Begin(Instant),
    /// It carries a request, or many.
    Work,
}

/// Which connections may be asked to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Idle ones, and after them those with a slow head.
    All,
    /// Only those with a slow head. This is for memory, and an idle connection holds none.
    Beginning,
}

/// A head that takes longer than this is slow.
const BEGINS: Duration = Duration::from_secs(1);

impl Presence {
    /// A connection that has just come.
    pub fn new(now: Instant) -> Self {
        Self { does: Cell::new(Does::Rest(now)), told: Cell::new(false), waker: RefCell::default() }
    }

    /// Notes what the connection is doing from now on.
    pub fn does(&self, does: Does) {
        self.does.set(does);
    }

    /// Whether the connection was told to make room, and still carries no request.
    pub fn is_told(&self) -> bool {
        self.told.get()
    }

    fn tell(&self) {
        self.told.set(true);
        self.wake();
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The same, unless it is the connection's own task that calls.
    pub fn wake_from(&self, cx: &Context<'_>) {
        if let Some(waker) = &*self.waker.borrow()
            && !waker.will_wake(cx.waker())
        {
            waker.wake_by_ref();
        }
    }

    /// Remembers the task that is polling, so that it can be woken.
    pub fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

/// Tells up to `most` connections to make room, the longest idle first. Returns how many were idle and how many had a
/// slow head.
pub fn make_room<'p>(
    all: impl Iterator<Item = &'p Presence>,
    among: Among,
    most: usize,
    now: Instant,
) -> (usize, usize) {
    let candidate = |presence: &'p Presence| match presence.does.get() {
        _ if presence.told.get() => None,
        Does::Rest(since) if among == Among::All => Some((false, since, presence)),
        Does::Begin(since) if now.saturating_duration_since(since) >= BEGINS => Some((true, since, presence)),
        _ => None,
    };
    let mut candidates: Vec<_> = all.filter_map(candidate).collect();
    let most = most.min(candidates.len());
    if most == 0 {
        return (0, 0);
    }
    if most < candidates.len() {
        candidates.select_nth_unstable_by_key(most, |(begins, since, _)| (*begins, *since));
    }
    candidates.truncate(most);
    candidates.iter().for_each(|(_, _, presence)| presence.tell());
    let slow = candidates.iter().filter(|(begins, _, _)| *begins).count();
    (most - slow, slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_go_first_then_slow_heads_and_never_a_request() {
        let now = Instant::now() + Duration::from_secs(100);
        let ago = |seconds| now - Duration::from_secs(seconds);
        let does = [
            Does::Work,
            Does::Rest(ago(1)),
            Does::Begin(ago(50)),
            Does::Rest(ago(9)),
            Does::Begin(ago(0)),
            Does::Rest(ago(5)),
        ];
        let told = |among, most| {
            let all = does.map(|does| {
                let presence = Presence::new(now);
                presence.does(does);
                presence
            });
            let counts = make_room(all.iter(), among, most, now);
            (counts, all.iter().map(Presence::is_told).collect::<Vec<_>>())
        };
        assert_eq!(told(Among::All, 2), ((2, 0), vec![false, false, false, true, false, true]));
        assert_eq!(told(Among::All, 4), ((3, 1), vec![false, true, true, true, false, true]));
        assert_eq!(told(Among::All, 100).0, (3, 1));
        assert_eq!(told(Among::Beginning, 100), ((0, 1), vec![false, false, true, false, false, false]));
    }

    #[test]
    fn nobody_is_asked_twice() {
        let now = Instant::now();
        let all = [Presence::new(now), Presence::new(now)];
        assert_eq!(make_room(all.iter(), Among::All, 1, now), (1, 0));
        assert_eq!(make_room(all.iter(), Among::All, 2, now), (1, 0));
        assert!(all.iter().all(Presence::is_told));
    }
}
