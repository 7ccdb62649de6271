//! A bound that is found while a service is overloaded, and is not there otherwise.
//!
//! Nobody knows the capacity of a service, least of all whoever writes its configuration. The usual answer is a gradient
//! (Netflix's concurrency-limits, Envoy's adaptive concurrency): always have a limit, and move it by the ratio of the
//! latency to the least latency ever seen. It takes every slow day for an overload: a dependency that has become five
//! times slower, traffic that grows within a second, a few calls that are slow by nature, and a healthy service is
//! refused its requests. So here there is no limit until there is proof of a queue that grows.
//!
//! The proof. Latency is seen by cohorts ([`super::cohort`]): requests that set out within the same moment. Where a
//! queue grows, each cohort takes longer than the one before, and more and more requests are in flight. Where
//! things merely became slower, cohorts are alike from then on. Three kinds of evidence, each sufficient:
//!
//! - **A surge**: more requests arrive than were ever answered in good health lately, latency is far above the
//!   usual, and still climbs, over three cohorts and with the requests in flight. Answers quickly, because more load than
//!   ever before *and* a climb seldom mean anything else.
//! - **A long climb**: without more load, latency has grown many times over, and doubles again. A service that lost half
//!   of its capacity looks like this, and so would one that becomes slower for minutes on end; hence the patience.
//! - **A collapse**: for a while most clients give up, after waiting for many times the usual. What would be refused now
//!   would not have been answered in time.
//!
//! The bound. In a queue, a change of latency is a change of the number in flight divided by throughput (Little). So each
//! step is `limit += throughput x (target - latency)`, taken when a cohort is known that set out entirely under the
//! last step. This counts only what *waits*: slow minorities, long polls and streams, which are in flight and do not
//! wait, move neither term, and requests that are out for several times the usual no longer count (`counted`). The limit does
//! not go below what the service carried in good health, grows only while it is felt, and disappears when it was not felt
//! for a second. If it is felt and latency does not answer to it, there was no queue: the limiter was wrong,
//! takes the latency as it is for the usual one, and is gone. It is gone, too, if for seconds nothing is known of those
//! that set out under it: without evidence nobody is refused.
//!
//! One such limiter per worker and service. Workers see different requests but the same queue, and their steps add up to
//! the right one. That one of them is certain counts as evidence for the others.

mod counted;
mod usual;

use std::time::Duration;

use self::counted::{Counted, Since};
use self::usual::Usual;
use super::cohort::Cohort;
use crate::clock::Instant;

/// Cohorts that are remembered.
const COHORTS: usize = 16;
/// The shortest cohort.
const SHORTEST: f64 = 0.025;
/// Requests of the smallest cohort that says anything.
const SAMPLES: u32 = 12;
/// A cohort is not larger than its counters.
const MOST: u32 = 20_000;
/// Growth that is not chance.
const CLIMB: f64 = 1.15;
/// How long most clients have to give up.
const COLLAPSE: Duration = Duration::from_secs(1);
/// How long a limit has to be unfelt.
const UNFELT: Duration = Duration::from_secs(1);
/// How long nothing may be known of a limit's effect.
const UNKNOWN: Duration = Duration::from_secs(2);
/// A request counts for so many times what one takes.
const YOUNG: f64 = 4.0;
/// The share of a step that is taken at once.
const GAIN: f64 = 0.7;

/// A request that set out: the number of its cohort, and since when it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64, Since);

/// How a request ended, as far as its latency is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The head of a good answer came after this time.
    Answered(Duration),
    /// It failed: what that took says nothing about a queue.
    Failed,
    /// Its client gave up after this time.
    Cancelled(Duration),
}

/// What a worker knows of a service's load.
#[derive(Debug)]
pub struct Adaptive {
    cohorts: Box<[Cohort; COHORTS]>,
    /// The number of the open cohort.
    newest: u64,
    /// The first cohort that was not looked at.
    unseen: u64,
    counted: Counted,
    look_at: Instant,
    usual: Usual,
    answered: u32,
    /// Given up by their clients, since it limits.
    lost: u32,
    throughput: f64,
    measured_at: Instant,
    /// Latency of the last cohort that is known, seconds.
    latency: f64,
    climb: Option<Climb>,
    collapse: Option<Instant>,
    limiting: Option<Limiting>,
}

/// Cohorts that are slower and slower.
#[derive(Debug, Clone, Copy)]
struct Climb {
    length: u32,
    /// From where growth is measured: the second of them, because the first may have been part of a step.
    latency: f64,
    load: u32,
    surge: bool,
    grows: bool,
}

#[derive(Debug, Clone, Copy)]
struct Limiting {
    limit: f64,
    /// The highest throughput of the last seconds.
    best: f64,
    /// The first cohort that set out under it.
    from: u64,
    /// Steps that were taken.
    steps: u32,
    /// Steps in a row after which latency was far above what is aimed at.
    slow: u32,
    felt: Instant,
    since: Instant,
    /// When the last step was taken.
    stepped: Instant,
    /// As it began: latency, throughput and requests in flight.
    at_first: (f64, f64, f64),
}

impl Adaptive {
    /// Knows nothing, limits nothing.
    pub fn new(now: Instant) -> Self {
        Self {
            cohorts: Box::new(std::array::from_fn(|_| Cohort::new(now, 0))),
            newest: 0,
            unseen: 0,
            counted: Counted::new(now),
            look_at: now,
            usual: Usual::default(),
            answered: 0,
            lost: 0,
            throughput: 0.0,
            measured_at: now,
            latency: 0.0,
            climb: None,
            collapse: None,
            limiting: None,
        }
    }

    /// A request has come; nothing is said yet about whether it may go on. `others`: another worker limits this service.
    /// Whether this worker does is what comes back.
    pub fn offered(&mut self, others: impl Fn() -> bool, now: Instant) -> bool {
        if now >= self.look_at {
            self.look(others(), now);
        }
        self.open().offered += 1;
        self.limiting.is_some()
    }

    /// Whether one more may set out, if it may use this share of the limit.
    pub fn has_room(&self, share: f64) -> bool {
        self.limiting.is_none_or(|limiting| f64::from(self.counted.sum()) < (limiting.limit * share).max(1.0).ceil())
    }

    /// A request could not set out at once, because of the limit.
    pub fn felt(&mut self, now: Instant) {
        if let Some(limiting) = &mut self.limiting {
            limiting.felt = now;
        }
    }

    /// A request sets out.
    pub fn begin(&mut self) -> Ticket {
        self.open().sent += 1;
        Ticket(self.newest, self.counted.enter())
    }

    /// What became of it, and it no longer counts; to be told once, at the answer's head.
    pub fn done(&mut self, ticket: Ticket, done: Done) {
        self.counted.leave(ticket.1);
        if let Done::Answered(latency) = done {
            let (latency, young) = (latency.as_secs_f64(), self.young());
            // What was out for longer is a poll that ended.
            self.answered += u32::from(latency <= young);
            if self.limiting.is_none() && self.latency <= self.usual.surge_threshold() {
                self.usual.carried(latency.min(young));
            }
        }
        if self.newest.checked_sub(ticket.0).is_none_or(|age| age >= COHORTS as u64) {
            return;
        }
        let usual = self.usual.latency;
        let cohort = &mut self.cohorts[ticket.0 as usize % COHORTS];
        match done {
            Done::Answered(latency) => cohort.answered(latency),
            // Whoever gives up sooner than an answer takes says nothing; later, that it takes at least as long.
            Done::Cancelled(age) if usual > 0.0 && age.as_secs_f64() > 2.0 * usual => {
                cohort.cancelled += 1;
                self.lost += 1;
                cohort.answered(age);
            }
            Done::Failed | Done::Cancelled(_) => cohort.voided(),
        }
    }

    /// The limit that holds now; none while there is none.
    pub fn limit(&self) -> Option<u32> {
        self.limiting.map(|limiting| limiting.limit as u32)
    }

    /// What a request takes that sets out now, as far as is known.
    pub fn expected(&self) -> Duration {
        Duration::from_secs_f64(self.latency)
    }

    /// Whether the service has more than it can do, or may be about to: no time for requests that nobody asked for.
    pub fn is_overloaded(&self) -> bool {
        self.limiting.is_some() || self.climb.is_some_and(|climb| climb.surge || climb.grows) || self.collapse.is_some()
    }

    /// Until what age a request counts, seconds.
    fn young(&self) -> f64 {
        YOUNG * self.usual.target().max(self.latency)
    }

    fn open(&mut self) -> &mut Cohort {
        &mut self.cohorts[self.newest as usize % COHORTS]
    }

    /// Looks at what is known now. Every few milliseconds, at an arrival.
    fn look(&mut self, others: bool, now: Instant) {
        self.measure(now);
        self.counted.pass(Duration::from_secs_f64(self.young()), now);
        self.unseen = self.unseen.max((self.newest + 1).saturating_sub(COHORTS as u64));
        while self.unseen < self.newest {
            let Some(latency) = self.cohorts[self.unseen as usize % COHORTS].quartile(now) else {
                if self.is_slow_by_nature(self.unseen, now) {
                    self.unseen += 1;
                    continue;
                }
                break;
            };
            self.unseen += 1;
            self.learn(self.unseen - 1, latency, others, now);
        }
        if let Some(limiting) = self.limiting
            && (now.saturating_duration_since(limiting.felt) >= UNFELT || limiting.is_blind(self.latency, now))
        {
            self.limiting = None;
            self.climb = None;
        }
        let waited_for = self.cohorts[self.unseen as usize % COHORTS].length_since(now).as_secs_f64();
        let shortest = (self.usual.latency / 4.0).max(self.latency / 6.0).max(waited_for / 8.0).clamp(SHORTEST, 2.0);
        let open = self.open();
        let length = open.length(now).as_secs_f64();
        let samples = if self.limiting.is_some() { 2 * SAMPLES } else { SAMPLES };
        if (length >= shortest && self.open().sent >= samples) || self.open().sent >= MOST {
            self.roll(now);
        }
        self.look_at = now + Duration::from_secs_f64((shortest / 4.0).clamp(0.005, 0.025));
    }

    /// Cohorts are learned from in order: whoever is known early is known because it was quick, and skipping the others
    /// would show a climb that is none. But a queue serves in order, too: where a younger cohort is back and this one is not
    /// after several times as long, it is not waiting, it is made of requests that are slow by nature.
    fn is_slow_by_nature(&self, number: u64, now: Instant) -> bool {
        let closed = self.cohorts[number as usize % COHORTS].closed;
        let age = closed.map_or(0.0, |closed| now.saturating_duration_since(closed).as_secs_f64());
        let younger = (number + 1..self.newest).map(|at| self.cohorts[at as usize % COHORTS].quartile(now));
        younger.flatten().any(|latency| age > YOUNG * latency.max(self.usual.target()))
    }

    /// Closes the open cohort and opens the next.
    fn roll(&mut self, now: Instant) {
        self.open().closed = Some(now);
        self.newest += 1;
        let load = self.counted.sum();
        *self.open() = Cohort::new(now, load);
    }

    fn measure(&mut self, now: Instant) {
        let length = now.saturating_duration_since(self.measured_at).as_secs_f64();
        if length >= 0.05 {
            let rate = f64::from(std::mem::take(&mut self.answered)) / length;
            let steady = (20.0 / self.throughput.max(20.0)).max(0.2);
            self.throughput += (1.0 - (-length / steady).exp()) * (rate - self.throughput);
            if let Some(limiting) = &mut self.limiting {
                limiting.best = limiting.best.max(self.throughput);
            }
            self.measured_at = now;
        }
    }

    /// A cohort is known.
    fn learn(&mut self, number: u64, latency: f64, others: bool, now: Instant) {
        let cohort = &self.cohorts[number as usize % COHORTS];
        let (load, lost, length) = (cohort.load, cohort.lost(), cohort.length(now).as_secs_f64());
        let quick = f64::from(cohort.quicker_than(1.2 * self.usual.latency));
        let few = if self.usual.rate > 0.0 { 0.1 } else { 0.02 };
        let is_blocked = quick < (0.125 * self.usual.rate * length).max(few * f64::from(cohort.sent));
        let closed = cohort.middle(now);
        self.usual.arrived(cohort.offered, length);
        self.latency = latency;
        if let Some(limiting) = self.limiting {
            if number >= limiting.from {
                self.adjust(limiting, latency, now);
            }
            return;
        }
        if self.usual.latency == 0.0 {
            self.usual.latency = latency;
        }
        let certain = self.is_climbing(latency, load, is_blocked, others) | self.is_collapsing(latency, lost, closed);
        if certain {
            self.start(latency, load, now);
        } else {
            self.usual.learn(latency, length, self.throughput, closed);
        }
    }

    fn is_climbing(&mut self, latency: f64, load: u32, is_blocked: bool, others: bool) -> bool {
        let usual = &self.usual;
        let surge = usual.is_surge();
        if !is_blocked || latency <= if surge || others { usual.surge_threshold() } else { usual.climb_threshold() } {
            self.climb = None;
            return false;
        }
        let mut climb = match self.climb {
            Some(Climb { length: 1, surge: false, .. }) if !surge => {
                Climb { length: 2, latency, load, surge, grows: false }
            }
            Some(climb) if latency >= 0.9 * climb.latency => Climb { length: climb.length + 1, surge, ..climb },
            _ => Climb { length: 1, latency, load, surge, grows: false },
        };
        let (by, from) = (latency / climb.latency, f64::from(climb.load));
        let more = f64::from(load) - from;
        climb.grows = climb.length >= 2 && by >= CLIMB && more > (0.05 * from).max(from.sqrt());
        self.climb = Some(climb);
        let long = climb.length >= 6 && by >= 2.0 && more > (0.5 * from).max(4.0 * from.sqrt());
        // At the very beginning nothing is known but that it grows, and everything that begins does.
        let is_known = self.usual.rate > 0.0 || (climb.length >= 5 && by >= 1.5);
        (climb.grows && (surge || others) && is_known) || long
    }

    fn is_collapsing(&mut self, latency: f64, lost: f64, at: Instant) -> bool {
        if lost <= 0.5 || latency < self.usual.surge_threshold().max(4.0 * self.usual.latency) {
            self.collapse = None;
            return false;
        }
        let since = *self.collapse.get_or_insert(at);
        at.saturating_duration_since(since) >= COLLAPSE
    }

    fn start(&mut self, latency: f64, load: u32, now: Instant) {
        self.lost = 0;
        let (least, most) = self.usual.range(self.throughput);
        self.limiting = Some(Limiting {
            limit: (least + most) / 2.0,
            best: self.throughput,
            from: self.newest + 1,
            steps: 0,
            slow: 0,
            felt: now,
            since: now,
            stepped: now,
            at_first: (latency, self.throughput, f64::from(load)),
        });
        self.climb = None;
        self.collapse = None;
        self.roll(now);
    }

    /// A step, now that it is known what the last one did.
    fn adjust(&mut self, mut limiting: Limiting, latency: f64, now: Instant) {
        let step = GAIN * self.throughput * (self.usual.target() - latency);
        let was_felt = now.saturating_duration_since(limiting.felt).as_secs_f64() < 2.0 * latency + 0.1;
        if latency > self.usual.target() {
            limiting.best += 0.1 * (self.throughput - limiting.best);
        }
        let (least, most) = self.usual.range(limiting.best);
        let next = if step < 0.0 || was_felt { limiting.limit + step } else { limiting.limit };
        // What is carried without waiting is only an estimate: it does not hold against a queue that stays.
        let is_slow = latency > 1.5 * self.usual.target();
        limiting.slow = if is_slow { limiting.slow + 1 } else { 0 };
        limiting.limit = if limiting.slow >= 2 {
            next.min(most).max(0.7 * limiting.limit).max(1.0)
        } else {
            next.clamp(least, most)
        };
        limiting.from = self.newest + 1;
        limiting.stepped = now;
        limiting.steps += 1;
        let (before, throughput, load) = limiting.at_first;
        let unanswered = now.saturating_duration_since(limiting.since) >= Duration::from_secs(1)
            && limiting.steps >= 4
            && limiting.limit < 0.5 * load
            && latency > 0.9 * before
            && self.throughput < 0.7 * throughput;
        if unanswered && self.lost == 0 {
            self.usual.latency = latency;
            self.limiting = None;
        } else {
            self.limiting = Some(limiting);
        }
        self.roll(now);
    }
}

impl Limiting {
    /// Whether nothing is known of its effect although there was time for it.
    fn is_blind(&self, latency: f64, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.stepped);
        since >= UNKNOWN + Duration::from_secs_f64(2.0 * latency.min(5.0))
    }
}

#[cfg(test)]
mod tests;
