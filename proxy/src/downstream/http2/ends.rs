//! When a connection and its streams end, whatever their peer does.
//!
//! A stream whose peer takes nothing of what is at hand for the idle time is dropped, which resets it and gives back all that
//! it held. To an endpoint a body is sent by hyper, which asks it for its next piece only when the peer has opened its window
//! for the one before, so a body cannot keep a deadline against a peer that opens none: nobody polls it. What is polled is the
//! task of the stream, on every wake of its timer, and that task is ours to run ([`Watch`]).
//!
//! A client's connection ends after the idle time without a stream: GOAWAY first, and for who does not heed that, the end. What
//! keeps it is streams and the bytes of answers, and nothing else that a peer may send. One from which nothing has come for a
//! while is asked for a sign of life, and ends without one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::wire::Seen;
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

/// What is due on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// GOAWAY.
    Tell,
    /// The end.
    Cut,
    /// A question whether anybody is there.
    Ping,
    /// The end of one that did not answer it.
    Dead,
}

/// The deadlines of a client's connection.
#[derive(Debug)]
pub struct Ends {
    timer: Timer,
    seen: Rc<Seen>,
    idle: Duration,
    header: Duration,
    told: Option<Instant>,
    open: usize,
    /// When the last stream had ended.
    quiet: Instant,
    asks: Asks,
}

/// Whether a sign of life is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Not yet, or never again.
    No,
    /// Once nothing has come for a while.
    Soon,
    /// It was, and there is none.
    Since(Instant),
}

impl Ends {
    /// Of a connection that has just opened.
    pub fn new(seen: Rc<Seen>, idle: Duration, header: Duration) -> Self {
        let now = timer::now();
        let timer = Timer::new(now + header.min(idle));
        Self { timer, seen, idle, header, told: None, open: 0, quiet: now, asks: Asks::No }
    }

    /// Both sides have spoken.
    pub fn met(&mut self) {
        self.asks = Asks::Soon;
    }

    /// A stream has begun.
    pub fn opened(&mut self) {
        self.open += 1;
    }

    /// A stream has ended.
    pub fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.quiet = timer::now();
        }
    }

    /// GOAWAY is sent.
    pub fn told(&mut self) {
        self.told = Some(timer::now());
    }

    /// A sign of life is asked for; none is where it could not be.
    pub fn asked(&mut self, was: bool) {
        self.asks = if was { Asks::Since(timer::now()) } else { Asks::No };
    }

    /// Whether one is waited for.
    pub fn waits_for_a_sign(&self) -> bool {
        matches!(self.asks, Asks::Since(_))
    }

    /// Ready with what is due.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let (due, at) = self.next();
            if self.timer.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
    }

    /// What is due next, and when; nothing but another look while there are streams.
    fn next(&self) -> (Option<Due>, Instant) {
        let rests = match self.told {
            _ if self.open > 0 => (None, timer::now() + self.idle),
            None => (Some(Due::Tell), self.quiet + self.idle),
            Some(told) => (Some(Due::Cut), told.max(self.quiet).max(self.seen.sent.get()) + GRACE),
        };
        let signs = match self.asks {
            Asks::No => rests,
            Asks::Soon => (Some(Due::Ping), self.seen.came.get() + KEEP_ALIVE),
            Asks::Since(asked) => (Some(Due::Dead), asked + KEEP_ALIVE),
        };
        let rests = if signs.1 < rests.1 { signs } else { rests };
        match self.seen.unfinished.get().map(|since| since + self.header) {
            Some(cut) if cut <= rests.1 => (Some(Due::Cut), cut),
            _ => rests,
        }
    }
}

/// How long nothing may come before a sign of life is asked for, and how long that may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A piece of a body.
pub const PIECE: usize = 64 * 1024;
const SMALL_PIECE: usize = 4 * 1024;
/// A peer that takes this long over a piece is slow.
const SLOW: Duration = Duration::from_secs(1);
/// Where a stream's timer stands until something is asked of it.
const FIRST_LOOK: Duration = Duration::from_secs(15);
/// From GOAWAY, and the last byte of an answer after it, to the end.
const GRACE: Duration = Duration::from_secs(5);
