//! One timer per connection, moved as seldom as possible.
//!
//! Every request sets a deadline and nearly none reaches it. Putting a timer into the runtime's wheel and taking it
//! out again for each would be the larger part of what a deadline costs. So the timer is left standing where it is
//! as long as it stands early enough; when it goes off it looks at the deadline that is asked for now.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep_until};

use crate::clock::Instant;

/// A timer that one task polls with whatever deadline it has at the moment.
pub struct Timer {
    /// Taken out only while it is polled.
    sleep: Cell<Option<Pin<Box<Sleep>>>>,
    /// Where it stands.
    stands: Cell<Instant>,
    /// Whom the runtime wakes when it goes off, as far as that is certain: the place of a waker's task, which stays where it
    /// is for as long as the runtime has that waker.
    wakes: Cell<usize>,
}

/// Nobody's place.
const NOBODY: usize = usize::MAX;

impl Timer {
    /// A timer that stands at `first`.
    pub fn new(first: Instant) -> Self {
        let sleep = Box::pin(sleep_until(first.into()));
        Self { sleep: Cell::new(Some(sleep)), stands: Cell::new(first), wakes: Cell::new(NOBODY) }
    }

    /// Ready when `deadline` has passed.
    pub fn poll(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut sleep = self.sleep.take().unwrap_or_else(|| Box::pin(sleep_until(deadline.into())));
        let polled = self.poll_sleep(sleep.as_mut(), cx, deadline);
        self.sleep.set(Some(sleep));
        polled
    }

    #[inline]
    fn poll_sleep(&self, mut sleep: Pin<&mut Sleep>, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let who = cx.waker().data().addr();
        if self.stands.get() > deadline {
            self.stands.set(deadline);
            sleep.as_mut().reset(deadline.into());
        } else if self.wakes.get() == who && !sleep.is_elapsed() {
            // The runtime knows whom to wake, and has not done so.
            return Poll::Pending;
        }
        loop {
            // Without it the runtime polls again soon, and has not remembered anybody.
            let remembers = has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.wakes.set(if remembers { who } else { NOBODY });
                return Poll::Pending;
            }
            if now() >= deadline {
                self.wakes.set(NOBODY);
                return Poll::Ready(());
            }
            self.stands.set(deadline);
            sleep.as_mut().reset(deadline.into());
        }
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("stands", &self.stands).finish_non_exhaustive()
    }
}

/// The time, on the clock that tests can stop.
pub fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
