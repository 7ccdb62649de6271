//! One timer per connection, moved as seldom as possible.
//!
//! Every request sets a deadline and nearly none reaches it. Putting a timer into the runtime's wheel and taking it
//! out again for each would be the larger part of what a deadline costs. So the timer is left standing where it is
//! as long as it stands early enough; when it goes off it looks at the deadline that is asked for now.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::clock::Instant;

/// A timer that one task polls with whatever deadline it has at the moment.
#[derive(Debug)]
pub struct Timer {
    sleep: RefCell<Pin<Box<Sleep>>>,
    /// Where it stands.
    stands: Cell<Instant>,
}

impl Timer {
    /// A timer that stands at `first`.
    pub fn new(first: Instant) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(first.into()));
        Self { sleep: RefCell::new(sleep), stands: Cell::new(first) }
    }

    /// Ready when `deadline` has passed.
    pub fn poll(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut sleep = self.sleep.borrow_mut();
        if self.stands.get() > deadline {
            self.stands.set(deadline);
            sleep.as_mut().reset(deadline.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if now() >= deadline {
                return Poll::Ready(());
            }
            self.stands.set(deadline);
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}

/// The time, on the clock that tests can stop.
pub fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
