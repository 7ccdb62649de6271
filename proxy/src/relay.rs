//! Bytes between two connections, in both directions, and what byte-stream faults do to them on the way.
//!
//! Without faults, a read is followed by a write and nothing stands between. A direction has one pooled buffer, which
//! it holds only while there is something in it, and both directions share one task. A fault puts a
//! [`Chain`](crate::fault::stream::Chain) between the read and the write. The chain holds what it was given in pieces
//! of its own, within bounds, and while it is full nothing more is read. Nothing is locked: faults are looked up when
//! their subject's generation has moved, and each is drawn once for the connection.
//!
//! One side may have sent everything while the other still sends. So the end of one direction is passed on as such,
//! and the other direction goes on. An end, clean or a reset, is an event in its stream's order: it reaches the other
//! side behind the bytes that came before it, and a fault that holds those bytes holds the end, too.

mod direction;
mod hook;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use self::direction::{Direction, Step};
pub use self::hook::{StreamFaultHook, StreamFaultHooks};
pub use self::watch::{Change, Watch};
use crate::clock::Instant;
use crate::fault::{FaultTarget, Stream};
use crate::http::{Buffer, BufferPool};
use crate::net::Io;
use crate::timer::{Timer, now};

/// Two connections, joined.
#[derive(Debug)]
pub struct Relay {
    up: Direction,
    down: Direction,
    watch: Option<Watch>,
    timer: Timer,
    idle: Option<Duration>,
    last: (u64, Instant),
    aside: bool,
    /// Whether both connections are there, so that a fault that strikes from now on meets open connections.
    begun: bool,
    /// Whether it makes room for others while memory is short.
    yields: bool,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides had sent everything.
    Done,
    /// One side broke off, or took nothing of what was ready for it for the idle time (for less while memory is
    /// short). The other side is to see that.
    Broken,
    /// Nothing moved for the idle time.
    Idle,
    /// A fault closed it.
    Closed,
    /// A fault reset it.
    Reset,
}

/// The bytes that went through a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Came from the client.
    pub received_up: u64,
    /// Went to the server.
    pub sent_up: u64,
    /// Came from the server.
    pub received_down: u64,
    /// Went to the client.
    pub sent_down: u64,
}

impl Relay {
    /// A relay for connections on which nothing was read yet. It ends when nothing has moved for `idle`. It also ends
    /// when one side has not taken what is ready for it for as long, whatever the other direction does. So a
    /// direction that has nothing to carry is kept alive by the other one, and a direction that is stuck is not.
    /// Bytes that a fault holds are not ready.
    pub fn new(idle: Option<Duration>) -> Self {
        let now = now();
        Self {
            up: Direction::default(),
            down: Direction::default(),
            watch: None,
            timer: Timer::new(now + idle.unwrap_or(FAR)),
            idle,
            last: (0, now),
            aside: false,
            begun: false,
            yields: false,
        }
    }

    /// The same. If it `yields`, it also ends when memory is short and one side has taken nothing of what is ready
    /// for it for a second.
    pub fn yielding(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }

    /// The same with bytes that were read already.
    pub fn with(mut self, from_client: Option<Buffer>, from_server: Option<Buffer>) -> Self {
        self.up.take_over(from_client);
        self.down.take_over(from_server);
        self
    }

    /// The same, under the faults of a subject. Of a service's faults, those count whose scope includes the endpoint.
    pub fn under(mut self, subject: &Arc<FaultTarget>, endpoint: Option<SocketAddr>) -> Self {
        self.watch = Some(Watch::new(Arc::clone(subject), endpoint));
        self
    }

    /// The same, under faults that were looked up already.
    pub fn watched(mut self, watch: Watch, met: Vec<(Stream, Change)>) -> Self {
        self.watch = Some(watch);
        let now = now();
        for (stream, change) in met {
            match stream {
                Stream::Upstream => self.up.apply(&change, now, false),
                Stream::Downstream => self.down.apply(&change, now, false),
            }
        }
        self
    }

    /// Both connections are there. Returns whether closing them is to be a reset whatever the reason, because a fault
    /// of that kind strikes them from the start.
    pub fn begin(&mut self, now: Instant) -> bool {
        self.refresh(now);
        self.begun = true;
        self.watch.as_ref().is_some_and(Watch::resets)
    }

    /// Whether a fault ends the connection before it has begun.
    pub fn is_down(&mut self, now: Instant) -> bool {
        self.refresh(now);
        self.watch.as_ref().is_some_and(Watch::is_down)
    }

    /// The bytes that have gone through so far.
    pub fn moved(&self) -> Moved {
        Moved {
            received_up: self.up.received,
            sent_up: self.up.sent,
            received_down: self.down.received,
            sent_down: self.down.sent,
        }
    }

    /// Carries bytes. Ready when that is over; both connections have to be closed or reset then.
    pub fn poll(&mut self, cx: &mut Context<'_>, client: &mut Io, server: &mut Io, pool: &BufferPool) -> Poll<End> {
        loop {
            let mut due = None;
            if let Some(watch) = &self.watch
                && (watch.is_stale() || !watch.is_quiet())
            {
                let now = now();
                due = self.refresh(now);
                if self.watch.as_ref().is_some_and(Watch::is_down) {
                    return Poll::Ready(End::Closed);
                }
            }
            let up = self.up.poll(cx, client, server, pool, self.down.is_over());
            let down = self.down.poll(cx, server, client, pool, self.up.is_over());
            match (up, down) {
                (Step::Reset, _) | (_, Step::Reset) => return Poll::Ready(End::Reset),
                (Step::Broken, _) | (_, Step::Broken) => return Poll::Ready(End::Broken),
                _ => {}
            }
            if up == Step::Lost {
                self.down.bereave();
            }
            if down == Step::Lost {
                self.up.bereave();
            }
            // A fault that closes one direction closes the connection, which the other direction needs, too.
            if up == Step::Closed {
                self.down.cut(now());
            }
            if down == Step::Closed {
                self.up.cut(now());
            }
            if self.up.is_over() && self.down.is_over() {
                let closed = self.up.is_closed() || self.down.is_closed();
                return Poll::Ready(if closed { End::Closed } else { End::Done });
            }
            for step in [up, down] {
                if let Step::Due(at) = step {
                    due = Some(due.map_or(at, |due: Instant| due.min(at)));
                }
            }
            let total = self.up.received + self.up.sent + self.down.received + self.down.sent;
            let turned = [up, down].iter().any(|step| matches!(step, Step::Closed | Step::Lost));
            if total == self.last.0 && !turned {
                return self.wait(cx, due, pool);
            }
            self.last = (total, now());
            self.aside = !self.aside;
            if self.aside {
                // Let the worker's other connections have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn wait(&self, cx: &mut Context<'_>, mut due: Option<Instant>, pool: &BufferPool) -> Poll<End> {
        let idle = self.idle.map(|idle| self.last.1 + idle);
        let stuck = [self.up.stuck, self.down.stuck].into_iter().flatten().min();
        if self.yields
            && let Some(since) = stuck
        {
            let now = now();
            let mut look = since + GRACE;
            if look <= now {
                if pool.budget().excess() > 0 {
                    return Poll::Ready(End::Broken);
                }
                look = now + GRACE;
            }
            due = Some(due.map_or(look, |due| due.min(look)));
        }
        let stuck = self.idle.zip(stuck).map(|(idle, since)| since + idle);
        let Some(first) = [idle, stuck, due].into_iter().flatten().min() else { return Poll::Pending };
        if self.timer.poll(cx, first).is_pending() {
            return Poll::Pending;
        }
        if stuck.is_some_and(|stuck| stuck <= first) {
            return Poll::Ready(End::Broken);
        }
        if idle.is_some_and(|idle| idle <= first) {
            return Poll::Ready(End::Idle);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn refresh(&mut self, now: Instant) -> Option<Instant> {
        let Self { up, down, watch, begun, .. } = self;
        watch.as_mut()?.refresh(now, |stream, change| match stream {
            Stream::Upstream => up.apply(&change, now, *begun),
            Stream::Downstream => down.apply(&change, now, *begun),
        })
    }
}

/// How long a side may take nothing while memory is short, and how often it is looked whether memory is short.
const GRACE: Duration = Duration::from_secs(1);
/// Where the timer stands while nobody waits for it.
const FAR: Duration = Duration::from_secs(86_400 * 365);

#[cfg(test)]
mod tests;
