//! How many requests may be at a service at once, and who waits or is refused when it is too many.
//!
//! A service that gets more than it can do answers nobody in time: everything waits in its queue until whoever asked has
//! gone. The remedy is to refuse early what will not be answered in time, so that the rest is. Three bounds, from the
//! outermost in: a [`bulkhead`] for one caller or route, a fixed number that the operator gives, and one that is found
//! while the service is overloaded ([`adaptive`]). What finds no room waits for a moment ([`queue`]) and is then
//! refused, the sheddable first: they have a place only while four fifths of the limit are free.
//!
//! What belongs to whom. A fixed number is the operator's word about the process, so it is one shared counter, which
//! only services with such a number pay for. The adaptive limit is the process's, too, and found from what all workers see;
//! they bring it every few milliseconds, and count together only while there is a limit. Each worker has its own queue, with
//! its share of the places.
//!
//! None starves. A place that becomes free goes to the next in line of the worker that had it; with a shared counter, a
//! worker with little in flight could wait for ever beside a busy one. So a worker whose next in line has had no turn for
//! [`TURN`] says so in the shared state; while anyone says so, nobody else takes a free place, neither for one that
//! comes nor for its own queue, and it looks again every [`RECHECK`].

pub mod adaptive;
pub mod bulkhead;
pub mod cohort;
pub mod queue;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use self::adaptive::{Adaptive, Done, Overload, Ticket};
use self::bulkhead::Bulkheads;
use self::queue::Queue;
use super::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::clock::Instant;
use crate::config::settings::{Limit, Priority};
use crate::error::Reason;

/// How long the next in line waits for a place of its own worker before it asks for anyone's.
pub const TURN: Duration = Duration::from_millis(10);
/// How often a worker with someone in line looks for a place that another one has left.
pub const RECHECK: Duration = Duration::from_millis(2);
/// The share of a limit that sheddable requests may fill.
const SHEDDABLE: f64 = 0.8;

/// A service's limits, as far as they belong to the process. Outlives snapshots.
#[derive(Debug, Default)]
pub struct Shared {
    /// Requests that count against a fixed number. Not written where there is none.
    fixed: AtomicU32,
    /// Workers whose next in line has had no turn for too long.
    wanting: AtomicU32,
    /// Workers that limit.
    limiting: AtomicU32,
    bulkheads: OnceLock<Bulkheads>,
    /// What is known of its load. Not there where nobody wants to know.
    overload: OnceLock<Arc<Overload>>,
    // Sums of what the workers last reported.
    in_flight: AtomicI64,
    queued: AtomicI64,
    refused: AtomicU64,
}

/// What there is to see of a service's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Workers that found the service overloaded.
    pub limiting: u32,
    /// The sum of their limits; none while there is none.
    pub limit: Option<u32>,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Requests refused since the start.
    pub refused: u64,
}

impl Shared {
    /// The counts of callers or routes, made when they are first asked for.
    pub fn bulkheads(&self) -> &Bulkheads {
        self.bulkheads.get_or_init(Bulkheads::default)
    }

    /// Requests that count against a fixed number, now.
    pub fn counted(&self) -> u32 {
        self.fixed.load(Ordering::Relaxed)
    }

    /// As of the workers' last ticks.
    pub fn status(&self) -> Status {
        let read = |sum: &AtomicI64| u32::try_from(sum.load(Ordering::Relaxed)).unwrap_or(0);
        let limiting = self.limiting.load(Ordering::Relaxed);
        Status {
            limiting,
            limit: self.overload.get().and_then(|overload| overload.limit()).filter(|_| limiting > 0),
            in_flight: read(&self.in_flight),
            queued: read(&self.queued),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// What a request brings.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// What it is worth.
    pub priority: Priority,
    /// When nobody wants its answer any more.
    pub deadline: Option<Instant>,
}

/// A request that was let through; to be given back to the limiter that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    ticket: Option<Ticket>,
    fixed: bool,
}

/// What becomes of a request that comes.
#[derive(Debug)]
pub enum Entry<T> {
    /// It goes on.
    Now(Pass),
    /// It waits under this number, and takes the place of one that is refused.
    Wait(u64, Option<T>),
    /// There is no place.
    Refused,
}

/// A service's limits, as far as they belong to one worker. Outlives snapshots.
#[derive(Debug)]
pub struct Limiter<T> {
    shared: Arc<Shared>,
    max_in_flight: Option<u32>,
    adaptive: Option<Adaptive>,
    queue: Queue<T>,
    in_flight: u32,
    refused: u64,
    is_limiting: bool,
    wants: bool,
    turn: Instant,
    reported: (i64, i64),
}

impl<T> Limiter<T> {
    /// For one of `workers`.
    pub fn new(shared: &Arc<Shared>, limit: &Limit, workers: usize, now: Instant) -> Self {
        let mut limiter = Self {
            shared: Arc::clone(shared),
            max_in_flight: None,
            adaptive: None,
            queue: Queue::new(0, limit.queue_timeout),
            in_flight: 0,
            refused: 0,
            is_limiting: false,
            wants: false,
            turn: now,
            reported: (0, 0),
        };
        limiter.configure(limit, workers, now);
        limiter
    }

    /// Takes other settings. What is in flight stays counted as it began.
    pub fn configure(&mut self, limit: &Limit, workers: usize, now: Instant) {
        self.max_in_flight = limit.max_in_flight;
        match (limit.adaptive, &self.adaptive) {
            (true, None) => {
                let overload = self.shared.overload.get_or_init(|| Arc::new(Overload::new(now)));
                self.adaptive = Some(Adaptive::new(overload, now));
            }
            (false, Some(_)) => self.adaptive = None,
            _ => {}
        }
        let places = limit.queue as usize;
        self.queue.places = if places == 0 { 0 } else { places.div_ceil(workers.max(1)) };
        self.queue.patience = limit.queue_timeout;
        self.note_limiting();
    }

    /// A request comes. `item` is made only where it waits.
    pub fn enter(&mut self, ask: Ask, item: impl FnOnce() -> T, now: Instant) -> Entry<T> {
        if self.adaptive.as_mut().is_some_and(|adaptive| adaptive.offered(now)) != self.is_limiting {
            self.note_limiting();
        }
        // Whoever waits comes first, unless it is worth less.
        let first = self.queue.peek().is_none_or(|next| next < ask.priority);
        if first && let Some(pass) = self.take(ask.priority) {
            return Entry::Now(pass);
        }
        if self.is_limiting
            && let Some(adaptive) = &mut self.adaptive
        {
            adaptive.felt(now);
        }
        if self.queue.places == 0 {
            self.refused += 1;
            return Entry::Refused;
        }
        if self.queue.is_empty() {
            self.turn = now;
        }
        match self.queue.push(item(), ask.priority, ask.deadline, now) {
            Ok((id, out)) => {
                self.refused += u64::from(out.is_some());
                Entry::Wait(id, out)
            }
            Err(_) => {
                self.refused += 1;
                Entry::Refused
            }
        }
    }

    /// Whoever waits and is due: one that may go on now, or one that has waited for too long. To be asked until there is
    /// none, after each [`end`](Self::end) and every [`RECHECK`] while someone waits.
    pub fn next(&mut self, now: Instant) -> Option<(T, Result<Pass, Reason>)> {
        if self.queue.is_empty() {
            self.want(false);
            return None;
        }
        let expected = self.adaptive.as_ref().map(Adaptive::expected).unwrap_or_default();
        if let Some(item) = self.queue.expired(expected, now) {
            self.refused += 1;
            return Some((item, Err(Reason::QueueTimeout)));
        }
        let priority = self.queue.peek()?;
        let Some(pass) = self.take(priority) else {
            if (self.max_in_flight.is_some() || self.is_limiting) && now.saturating_duration_since(self.turn) >= TURN {
                self.want(true);
            }
            return None;
        };
        self.turn = now;
        self.want(false);
        match self.queue.pop(now) {
            Some(item) => Some((item, Ok(pass))),
            None => {
                self.forget(pass);
                None
            }
        }
    }

    /// Someone who waited has gone. False if it was no longer waiting.
    pub fn gone(&mut self, id: u64) -> bool {
        let gone = self.queue.remove(id);
        if self.queue.is_empty() {
            self.want(false);
        }
        gone
    }

    /// What became of a request; once, at the answer's head.
    pub fn done(&mut self, pass: &Pass, done: Done) {
        if let (Some(adaptive), Some(ticket)) = (&mut self.adaptive, pass.ticket) {
            adaptive.done(ticket, done);
        }
    }

    /// It is no longer in flight; once, at the answer's end. Whether someone waits for its place.
    pub fn end(&mut self, pass: Pass) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        if pass.fixed {
            self.shared.fixed.fetch_sub(1, Ordering::AcqRel);
        }
        !self.queue.is_empty()
    }

    /// Whether the service has more than it can do: no time for hedges and second attempts.
    pub fn is_overloaded(&self) -> bool {
        self.adaptive.as_ref().is_some_and(Adaptive::is_overloaded)
    }

    /// This worker's part of [`Shared::status`].
    pub fn status(&self) -> Status {
        let share = |limit: u32| limit.div_ceil(self.shared.limiting.load(Ordering::Relaxed).max(1));
        Status {
            limiting: u32::from(self.is_limiting),
            limit: self.adaptive.as_ref().and_then(Adaptive::limit).filter(|_| self.is_limiting).map(share),
            in_flight: self.in_flight,
            queued: self.queue.len() as u32,
            refused: self.refused,
        }
    }

    /// Adds what has changed since the last time to the process's numbers. At the worker's ticks.
    pub fn report(&mut self) {
        self.tell((i64::from(self.in_flight), self.queue.len() as i64));
    }

    fn tell(&mut self, now: (i64, i64)) {
        let before = std::mem::replace(&mut self.reported, now);
        for (sum, change) in [(&self.shared.in_flight, now.0 - before.0), (&self.shared.queued, now.1 - before.1)] {
            if change != 0 {
                sum.fetch_add(change, Ordering::Relaxed);
            }
        }
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        }
    }

    fn take(&mut self, priority: Priority) -> Option<Pass> {
        let share = if priority == Priority::Sheddable { SHEDDABLE } else { 1.0 };
        if self.is_limiting
            && let Some(adaptive) = &self.adaptive
            && (self.barges() || !adaptive.has_room(share))
        {
            return None;
        }
        let fixed = match self.max_in_flight {
            Some(most) => {
                let most = if share < 1.0 { (f64::from(most) * share).ceil() as u32 } else { most };
                let free = |seen| (seen < most).then_some(seen + 1);
                if self.barges() || self.shared.fixed.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).is_err() {
                    return None;
                }
                true
            }
            None => false,
        };
        self.in_flight += 1;
        Some(Pass { ticket: self.adaptive.as_mut().map(Adaptive::begin), fixed })
    }

    /// Whether a place would be taken from another worker's next in line.
    fn barges(&self) -> bool {
        !self.wants && self.shared.wanting.load(Ordering::Relaxed) > 0
    }

    fn forget(&mut self, pass: Pass) {
        self.done(&pass, Done::Failed);
        self.end(pass);
    }

    fn want(&mut self, wants: bool) {
        if wants != self.wants {
            self.wants = wants;
            let wanting = &self.shared.wanting;
            let _ = if wants { wanting.fetch_add(1, Ordering::AcqRel) } else { wanting.fetch_sub(1, Ordering::AcqRel) };
        }
    }

    fn note_limiting(&mut self) {
        let limiting = self.adaptive.as_ref().is_some_and(|adaptive| adaptive.limit().is_some());
        if limiting != self.is_limiting {
            self.is_limiting = limiting;
            let workers = &self.shared.limiting;
            let _ =
                if limiting { workers.fetch_add(1, Ordering::AcqRel) } else { workers.fetch_sub(1, Ordering::AcqRel) };
        }
    }
}

impl<T> Drop for Limiter<T> {
    fn drop(&mut self) {
        self.want(false);
        self.adaptive = None;
        self.note_limiting();
        self.tell((0, 0));
    }
}

#[cfg(test)]
mod tests;
