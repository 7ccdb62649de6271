//! The deadline of a stream's sending half, whatever its peer does.
//!
//! A stream whose peer takes nothing of what is ready for the idle time is dropped, which resets it and gives back
//! all that it held. A body to an endpoint is sent by hyper. hyper polls it for the next piece only when the peer has
//! opened its window for the piece before. So the body itself cannot keep a deadline against a peer that opens no
//! window: nobody polls it. The task of the stream is polled at every wake of its timer, and that task is ours to run
//! ([`Watch`]).

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

/// The whole connection to an endpoint that a client's stream occupies while its answer is on the way.
#[derive(Debug)]
pub struct Keeps {
    /// The endpoint.
    pub upstream: Rc<Upstream>,
    /// The client that holds the connection.
    pub who: IpAddr,
    /// Whether the exchange is long and quiet by its nature.
    pub exempt: bool,
    /// How many bytes the client has been sent.
    pub sent: u64,
}

/// The deadline of one stream's sending half.
#[derive(Debug)]
pub struct Pulse {
    /// The stream's timer. One task waits for everything on the stream, so one timer is enough.
    pub timer: Timer,
    idle: Duration,
    /// Since when a piece waits for the peer. None once the next piece was asked for.
    handed: Cell<Option<Instant>>,
    /// Why the stream was ended here, if it was.
    ended: Cell<Option<Reason>>,
    /// The connection to an endpoint that the stream occupies meanwhile.
    keeps: RefCell<Option<Keeps>>,
    held: RefCell<Option<Held>>,
    given_up: Cell<bool>,
    /// Whether nothing more is sent.
    finished: Cell<bool>,
    /// The stream's task, for when another task gives the stream up.
    waker: RefCell<Option<Waker>>,
}

impl Pulse {
    /// The deadline of a stream whose peer has `idle` to take something of what is ready.
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

    /// Begins anew for another stream, with the same timer.
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

    /// The same, where the stream occupies a connection that others may need while the piece waits.
    pub fn handed_of(&self, keeps: Option<Keeps>) {
        self.handed();
        if keeps.is_none() {
            self.held.take();
        }
        self.keeps.replace(keeps);
    }

    /// The next piece is asked for, so the one before is on its way. Returns how large the next piece may be. A slow
    /// peer gets small pieces, so that taking a little is seen as progress.
    pub fn asked(&self) -> usize {
        if let (Some(keeps), Some(held)) = (&*self.keeps.borrow(), &*self.held.borrow()) {
            held.progress(keeps.sent, false);
        }
        match self.handed.take() {
            Some(since) if timer::now().saturating_duration_since(since) >= SLOW => SMALL_PIECE,
            _ => PIECE,
        }
    }

    /// Notes that nothing more is sent: all was, or nobody takes more.
    pub fn finish(&self) {
        self.finished.set(true);
    }

    /// Whether nothing more is sent.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Since when the peer could have taken a piece and has not.
    pub fn waits_since(&self) -> Option<Instant> {
        self.handed.get()
    }

    /// Why the stream was ended, if it was because its peer took nothing or too little.
    pub fn ended(&self) -> Option<Reason> {
        self.ended.get()
    }

    /// Gives the stream up: nobody wants what it sends any more. Its task ends now, whatever its peer does.
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

    /// Ready when the peer has taken nothing for too long, or is too slow for the connection that the stream
    /// occupies.
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

/// hyper's executor: runs its tasks on this worker, each under the pulse of its stream.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    next: Rc<RefCell<Option<Rc<Pulse>>>>,
}

impl Watch {
    /// Sets the pulse of the task that hyper hands over next. hyper does that in the same call in which it first
    /// polls the body.
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
/// A peer that takes this long for a piece is slow.
const SLOW: Duration = Duration::from_secs(1);
/// Where a stream's timer stands until it is needed.
const FIRST_LOOK: Duration = Duration::from_secs(15);
