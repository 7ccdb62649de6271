//! When a client's connection ends, whatever its peer does.
//!
//! It ends after the idle time without a stream: GOAWAY first, and for who does not heed that, the end. What
//! keeps it is streams and the bytes of answers, and nothing else that a peer may send. One from which nothing has come for a
//! while is asked for a sign of life, and ends without one.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::wire::Seen;
use crate::clock::Instant;
use crate::timer::{self, Timer};

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
/// From GOAWAY, and the last byte of an answer after it, to the end.
const GRACE: Duration = Duration::from_secs(5);
