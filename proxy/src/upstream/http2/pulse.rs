//! When a stream's sending half ends, whatever its peer does.
//!
//! A stream whose peer takes nothing of what is at hand for the idle time is dropped, which resets it and gives back all that
//! it held. To an endpoint a body is sent by hyper, which asks it for its next piece only when the peer has opened its window
//! for the one before, so a body cannot keep a deadline against a peer that opens none: nobody polls it. What is polled is the
//! task of the stream, on every wake of its timer, and that task is ours to run ([`Watch`]).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Instant;
use crate::error::Reason;
use crate::timer::{self, Timer};
use crate::upstream::Upstream;
use crate::upstream::slow::Held;

/// A connection to an endpoint that a stream keeps for itself.
#[derive(Debug)]
pub struct Keeps {
    /// The endpoint.
    pub upstream: Rc<Upstream>,
    /// Who holds it by this.
    pub who: IpAddr,
    /// Long and quiet by its nature.
    pub exempt: bool,
    /// Bytes that the client has been sent.
    pub sent: u64,
}

/// One stream's sending half, as far as its end goes.
#[derive(Debug)]
pub struct Pulse {
    /// The stream's timer: whatever is waited for on it, one task waits.
    pub timer: Timer,
    idle: Duration,
    /// Since when a piece waits for the peer, who has not asked for another.
    handed: Cell<Option<Instant>>,
    /// Why it was ended, where it was.
    ended: Cell<Option<Reason>>,
    /// The endpoint whose connection it keeps for itself meanwhile.
    keeps: RefCell<Option<Keeps>>,
    held: RefCell<Option<Held>>,
    given_up: Cell<bool>,
    /// Nothing more is sent.
    finished: Cell<bool>,
    /// The stream's task, where somebody else may give the stream up.
    waker: RefCell<Option<Waker>>,
}

impl Pulse {
    /// A stream whose peer has `idle` to take something of what is at hand.
    pub fn new(idle: Duration) -> Rc<Self> {
        Rc::new(Self {
            timer: Timer::new(timer::now() + idle.min(FIRST_LOOK)),
            idle,
            handed: Cell::new(None),
            ended: Cell::new(None),
            keeps: RefCell::default(),
            held: RefCell::default(),
            given_up: Cell::new(false),
            finished: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Another stream begins, with the same timer.
    pub fn begin_again(&mut self, idle: Duration) {
        self.idle = idle;
        self.handed.set(None);
        self.ended.set(None);
        self.keeps.take();
        self.held.take();
        self.given_up.set(false);
        self.finished.set(false);
        self.waker.take();
    }

    /// A piece was handed over.
    pub fn handed(&self) {
        self.handed.set(Some(timer::now()));
    }

    /// The same, and while it waits a connection is kept that others may need.
    pub fn handed_of(&self, keeps: Option<Keeps>) {
        self.handed();
        if keeps.is_none() {
            self.held.take();
        }
        self.keeps.replace(keeps);
    }

    /// Another is asked for: the one before is on its way. How large it may be: a peer that takes its time gets small ones,
    /// so that little is enough to be seen to go on.
    pub fn asked(&self) -> usize {
        if let (Some(keeps), Some(held)) = (&*self.keeps.borrow(), &*self.held.borrow()) {
            held.progress(keeps.sent, false);
        }
        match self.handed.take() {
            Some(since) if timer::now().saturating_duration_since(since) >= SLOW => SMALL_PIECE,
            _ => PIECE,
        }
    }

    /// Nothing more is sent: all of it was, or nobody takes more.
    pub fn finish(&self) {
        self.finished.set(true);
    }

    /// Whether that is so.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Since when the peer could have taken something and has not.
    pub fn waits_since(&self) -> Option<Instant> {
        self.handed.get()
    }

    /// Why it was ended, where it was because its peer took nothing.
    pub fn ended(&self) -> Option<Reason> {
        self.ended.get()
    }

    /// Nobody wants what is sent any more: its task ends now, whatever its peer does.
    pub fn give_up(&self) {
        self.given_up.set(true);
        if let Some(task) = self.waker.take() {
            task.wake();
        }
    }

    fn poll_given_up(&self, cx: &Context<'_>) -> Poll<()> {
        if self.given_up.get() {
            return Poll::Ready(());
        }
        match &mut *self.waker.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Ready when its peer has taken nothing for too long, or takes it too slowly for what it keeps.
    pub fn poll_stalled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.handed.get() else { return Poll::Pending };
        if let Some(keeps) = &*self.keeps.borrow() {
            let mut held = self.held.borrow_mut();
            let held = held.get_or_insert_with(|| {
                Held::reading(&keeps.upstream, keeps.sent, keeps.who, keeps.exempt, timer::now())
            });
            held.progress(keeps.sent, true);
            if held.has_to_go(cx) {
                self.ended.set(Some(Reason::TooSlow));
                return Poll::Ready(());
            }
        }
        self.timer.poll(cx, since + self.idle).map(|()| self.ended.set(Some(Reason::Timeout)))
    }
}

/// Runs hyper's parts on the worker they belong to, each under the pulse of its stream.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    next: Rc<RefCell<Option<Rc<Pulse>>>>,
}

impl Watch {
    /// The pulse of what is run next: hyper hands a stream over in the same breath in which it calls for it.
    pub fn next(&self, pulse: &Rc<Pulse>) {
        self.next.replace(Some(Rc::clone(pulse)));
    }
}

impl<F> hyper::rt::Executor<F> for Watch
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let Some(pulse) = self.next.take() else {
            tokio::task::spawn_local(future);
            return;
        };
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if pulse.poll_given_up(cx).is_ready() || future.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                pulse.poll_stalled(cx)
            })
            .await;
        });
    }
}

/// A piece of a body.
pub const PIECE: usize = 64 * 1024;
const SMALL_PIECE: usize = 4 * 1024;
/// A peer that takes this long over a piece is slow.
const SLOW: Duration = Duration::from_secs(1);
/// Where a stream's timer stands until something is asked of it.
const FIRST_LOOK: Duration = Duration::from_secs(15);
