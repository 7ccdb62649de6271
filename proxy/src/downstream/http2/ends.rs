//! When a client's HTTP/2 connection ends, whatever the client does.
//!
//! A connection without a stream ends after the idle timeout: first GOAWAY is sent, and if the client does not heed
//! that, the connection is cut. Only streams and the bytes of answers keep it open; nothing else that a client may
//! send does. A client from which nothing has come for a while gets a PING, and its connection ends if that is not
//! answered.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::wire::Seen;
use crate::clock::Instant;
use crate::timer::{self, Timer};

/// What is due on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send GOAWAY.
    Tell,
    /// Cut the connection.
    Cut,
    /// Send a PING.
    Ping,
    /// End the connection: the PING was not answered.
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

/// Where the connection stands with its PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// None is sent: not yet, or never again.
    No,
    /// One is sent when nothing has come for a while.
    Soon,
    /// One was sent, and is not answered yet.
    Since(Instant),
}

impl Ends {
    /// The deadlines of a connection that has just opened.
    pub fn new(seen: Rc<Seen>, idle: Duration, header: Duration) -> Self {
        let now = timer::now();
        let timer = Timer::new(now + header.min(idle));
        Self { timer, seen, idle, header, told: None, open: 0, quiet: now, asks: Asks::No }
    }

    /// The handshake is over, or a PING was answered.
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

    /// GOAWAY was sent.
    pub fn told(&mut self) {
        self.told = Some(timer::now());
    }

    /// A PING was sent (`was`), or could not be; then none is sent again.
    pub fn asked(&mut self, was: bool) {
        self.asks = if was { Asks::Since(timer::now()) } else { Asks::No };
    }

    /// Whether the answer to a PING is awaited.
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

    /// What is due next, and when. While there are streams, that may be nothing but another look.
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

/// How long nothing may come before a PING is sent, and how long its answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a connection lives after GOAWAY, or after the last byte of an answer that follows it.
const GRACE: Duration = Duration::from_secs(5);
