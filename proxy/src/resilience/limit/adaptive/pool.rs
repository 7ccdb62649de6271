//! What all workers know of a service's load, and what follows from it.

use std::time::Duration;

use super::super::cohort::{Cohort, Counts};
use super::flood;
use super::hidden::{Hidden, Left};
use super::pulse::Pulse;
use super::usual::Usual;
use super::{COHORTS, View};
use crate::clock::Instant;

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
/// What a request takes while nothing is known, seconds.
const UNHEARD: f64 = 0.5;
/// The share of a step that is taken at once.
const GAIN: f64 = 0.7;

/// What a worker has counted since it last looked.
#[derive(Debug)]
pub struct News {
    /// By the numbers of their cohorts.
    pub cohorts: Box<[Counts; COHORTS]>,
    /// Which of them were touched, a bit each.
    pub touched: u16,
    /// Answers that are no polls that ended.
    pub answered: u32,
    /// What answers took in good health, together in seconds, and how many they were.
    pub carried: (f64, u32),
    /// When a request last could not set out because of the limit.
    pub felt: Option<Instant>,
    /// Requests that no longer count, though nothing is known of their end at the service.
    pub left: Left,
}

impl Default for News {
    fn default() -> Self {
        let cohorts = Box::new([Counts::NONE; COHORTS]);
        Self { cohorts, touched: 0, answered: 0, carried: (0.0, 0), felt: None, left: Left::default() }
    }
}

/// What is known of a service's load.
#[derive(Debug)]
pub struct Pool {
    pub(super) cohorts: Box<[Cohort; COHORTS]>,
    /// The number of the open cohort.
    pub(super) newest: u64,
    /// The first cohort that was not learned from.
    pub(super) unseen: u64,
    /// The first of which more can be known yet than it is.
    unsettled: u64,
    pub(super) usual: Usual,
    /// Answers so far.
    pub(super) answers: u64,
    measured: (Instant, u64),
    /// Given up by their clients, since it limits.
    lost: u32,
    throughput: f64,
    /// The highest of it lately.
    peak: f64,
    /// Latency of the last cohort that is known, seconds.
    pub(super) latency: f64,
    climb: Option<Climb>,
    collapse: Option<Instant>,
    limiting: Option<Limiting>,
    hidden: Hidden,
    pub(super) pulse: Pulse,
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
    /// When the first of them was opened, and the answers by then.
    from: (Instant, u64),
}

#[derive(Debug, Clone, Copy)]
struct Limiting {
    limit: f64,
    /// The part of it that may be used: more with each answer, less with each client that gives up.
    open: f64,
    /// The highest throughput of the last seconds.
    best: f64,
    /// Since when every slot has been busy, and the answers by then.
    busy: (Instant, u64),
    /// The first cohort that set out under it.
    first: u64,
    /// The first that set out under the last step.
    from: u64,
    /// Steps that were taken.
    steps: u32,
    /// Steps in a row after which latency was far above what is aimed at.
    slow: u32,
    felt: Instant,
    since: Instant,
    /// When the last step was taken.
    stepped: Instant,
    /// How long the service has to work at what was there before.
    backlog: Duration,
    /// A limit that it had, and the latency under it: what steps since then are measured by.
    lately: (f64, f64),
    /// As it began: latency, throughput and requests in flight.
    at_first: (f64, f64, f64),
}

impl Pool {
    /// Knows nothing.
    pub fn new(now: Instant) -> Self {
        Self {
            cohorts: Box::new(std::array::from_fn(|_| Cohort::new(now, 0, 0))),
            newest: 0,
            unseen: 0,
            unsettled: 0,
            usual: Usual::default(),
            answers: 0,
            measured: (now, 0),
            lost: 0,
            throughput: 0.0,
            peak: 0.0,
            latency: 0.0,
            climb: None,
            collapse: None,
            limiting: None,
            hidden: Hidden::new(now),
            pulse: Pulse::new(now),
        }
    }

    /// The limit that holds now, and the part of it that may be used; none while there is none.
    pub fn limit(&self) -> Option<(u32, u32)> {
        let whole = |limit: f64| (limit.ceil() as u32).max(1);
        self.limiting.map(|limiting| (whole(limiting.limit), whole(limiting.open)))
    }

    /// Requests that the service works at for nobody, as far as can be said.
    pub fn hidden(&self) -> u32 {
        self.hidden.count() as u32
    }

    /// What workers go by until they look again.
    pub(super) fn view(&self) -> View {
        let is_climbing = self.climb.is_some_and(|climb| climb.surge || climb.grows);
        View {
            newest: self.newest,
            usual: self.usual.latency,
            latency: self.latency,
            young: self.young(),
            is_healthy: self.is_healthy(),
            is_overloaded: self.limiting.is_some() || is_climbing || self.collapse.is_some(),
            look_after: Duration::from_secs_f64((self.shortest() / 4.0).clamp(0.005, 0.025)),
        }
    }

    /// Takes over what a worker has counted, and looks at what is known now, while so many requests count.
    pub fn look(&mut self, news: &mut News, counted: u32, now: Instant) {
        self.absorb(news, now);
        self.measure(now);
        let capacity = self.limiting.map_or(self.peak.max(self.usual.rate), |limiting| limiting.best);
        self.hidden.pass(std::mem::take(&mut news.left), self.young(), capacity, self.answers, now);
        let load = counted + self.hidden();
        self.unseen = self.unseen.max((self.newest + 1).saturating_sub(COHORTS as u64));
        while self.unseen < self.newest {
            let Some(latency) = self.at(self.unseen).quartile(now) else {
                if self.is_slow_by_nature(self.unseen, now) {
                    self.unseen += 1;
                    continue;
                }
                break;
            };
            self.unseen += 1;
            self.learn(self.unseen - 1, latency, load, now);
        }
        self.settle(now);
        if self.limiting.is_none()
            && let Some(flood) = flood::seen(self, now)
        {
            self.start(flood.waited, load, flood.from, now);
        }
        if self.hidden.count() > self.limiting.map_or(f64::INFINITY, |limiting| 2.0 * limiting.limit)
            && let Some(limiting) = &mut self.limiting
        {
            // Nothing can be known before that is worked off.
            limiting.stepped = now;
        }
        if let Some(limiting) = self.limiting
            && (now.saturating_duration_since(limiting.felt) >= UNFELT || limiting.is_blind(self.latency, now))
        {
            self.limiting = None;
            self.climb = None;
        }
        let (shortest, open) = (self.shortest(), self.at(self.newest));
        let waited_for = self.at(self.unseen).length_since(now).as_secs_f64();
        let shortest = shortest.max((waited_for / 8.0).min(2.0));
        let length = open.length(now).as_secs_f64();
        let samples = if self.limiting.is_some() && length < 0.5 { 2 * SAMPLES } else { SAMPLES };
        if (length >= shortest && open.counts.sent >= samples) || open.counts.sent >= MOST {
            self.roll(load, now);
        }
    }

    fn absorb(&mut self, news: &mut News, now: Instant) {
        let touched = std::mem::take(&mut news.touched);
        let (mut sent, mut lost, mut lost_under) = (0, 0, 0);
        let first = self.limiting.map_or(u64::MAX, |limiting| limiting.first);
        for (at, counts) in news.cohorts.iter_mut().enumerate().filter(|(at, _)| touched >> at & 1 == 1) {
            // Its number, unless the worker has not looked for as long as sixteen cohorts take.
            let number = self.newest.saturating_sub((self.newest + (COHORTS - at) as u64) % COHORTS as u64);
            sent += counts.sent;
            lost += counts.cancelled;
            lost_under += if number >= first { counts.cancelled } else { 0 };
            self.cohorts[at].counts.absorb(counts);
        }
        self.lost += lost;
        self.pulse.add(sent, now);
        let answered = std::mem::take(&mut news.answered);
        self.answers += u64::from(answered);
        if let Some(limiting) = &mut self.limiting {
            limiting.heard(f64::from(answered), f64::from(lost - lost_under), f64::from(lost_under));
        }
        let (seconds, count) = std::mem::take(&mut news.carried);
        self.usual.carried(seconds, f64::from(count));
        if let (Some(limiting), Some(felt)) = (&mut self.limiting, news.felt.take()) {
            limiting.felt = limiting.felt.max(felt);
        }
    }

    /// How long a cohort is open at the least, seconds.
    fn shortest(&self) -> f64 {
        (self.usual.latency / 4.0).max(self.latency / 6.0).clamp(SHORTEST, 2.0)
    }

    /// Until what age a request counts, seconds.
    fn young(&self) -> f64 {
        let takes = if self.usual.latency > 0.0 { self.usual.target() } else { UNHEARD };
        YOUNG * takes.max(self.latency)
    }

    pub(super) fn at(&self, number: u64) -> &Cohort {
        &self.cohorts[number as usize % COHORTS]
    }

    /// Cohorts are learned from in order: whoever is known early is known because it was quick, and skipping the others
    /// would show a climb that is none. But a queue serves in order, too: where a younger cohort is back and this one is not
    /// after several times as long, it is not waiting, it is made of requests that are slow by nature.
    fn is_slow_by_nature(&self, number: u64, now: Instant) -> bool {
        let closed = self.at(number).closed;
        let age = closed.map_or(0.0, |closed| now.saturating_duration_since(closed).as_secs_f64());
        let younger = (number + 1..self.newest).map(|at| self.at(at).quartile(now));
        younger.flatten().any(|latency| age > YOUNG * latency.max(self.usual.target()))
    }

    /// Takes what became of cohorts of good health for what is usual, once hardly any more can come back.
    fn settle(&mut self, now: Instant) {
        self.unsettled = self.unsettled.max((self.newest + 1).saturating_sub(COHORTS as u64));
        let is_healthy = self.is_healthy();
        while self.unsettled < self.newest {
            let cohort = self.at(self.unsettled);
            let age = cohort.closed.map_or(0.0, |closed| now.saturating_duration_since(closed).as_secs_f64());
            if cohort.counts.known() < cohort.counts.sent && age < self.young() {
                break;
            }
            if is_healthy {
                self.usual.outcome(&self.cohorts[self.unsettled as usize % COHORTS].counts);
            }
            self.unsettled += 1;
        }
    }

    fn is_healthy(&self) -> bool {
        self.limiting.is_none() && self.latency <= self.usual.surge_threshold()
    }

    /// Closes the open cohort and opens the next.
    fn roll(&mut self, load: u32, now: Instant) {
        self.cohorts[self.newest as usize % COHORTS].closed = Some(now);
        self.newest += 1;
        self.cohorts[self.newest as usize % COHORTS] = Cohort::new(now, load, self.answers);
    }

    fn measure(&mut self, now: Instant) {
        let since = |(at, answers): (Instant, u64)| {
            (now.saturating_duration_since(at).as_secs_f64(), (self.answers - answers) as f64)
        };
        let (length, answered) = since(self.measured);
        if length < 0.05 {
            return;
        }
        let steady = (20.0 / self.throughput.max(20.0)).max(0.2);
        self.throughput += (1.0 - (-length / steady).exp()) * (answered / length - self.throughput);
        self.peak = (self.peak * (-length / 10.0).exp()).max(self.throughput);
        if let Some(limiting) = &mut self.limiting {
            let (busy, answered) = since(limiting.busy);
            if limiting.steps == 0 && self.lost == 0 && busy >= 0.1 {
                // Every slot is busy, and all that is done is seen.
                limiting.best = (answered + 1.0) / busy;
            } else {
                limiting.best = limiting.best.max(self.throughput);
            }
        }
        self.measured = (now, self.answers);
    }

    /// A cohort is known.
    fn learn(&mut self, number: u64, latency: f64, now_load: u32, now: Instant) {
        let cohort = self.at(number);
        let (load, lost, length) = (cohort.load, cohort.lost(), cohort.length(now).as_secs_f64());
        let quick = f64::from(cohort.quicker_than(1.2 * self.usual.latency));
        let few = if self.usual.rate > 0.0 { 0.1 } else { 0.02 };
        let sent = f64::from(cohort.counts.sent);
        let is_blocked = quick < (0.125 * self.usual.rate * length).max(few * sent);
        let (closed, from) = (cohort.middle(now), (cohort.opened, cohort.answers));
        self.usual.arrived(cohort.counts.offered, length);
        self.latency = latency;
        if lost < 0.25 {
            let cancelled = (number..=self.newest).map(|at| f64::from(self.at(at).counts.cancelled)).sum();
            self.hidden.served(closed, cancelled);
        }
        if let Some(limiting) = self.limiting {
            if number >= limiting.from {
                self.adjust(limiting, latency, load, now_load, now);
            }
            return;
        }
        if self.usual.latency == 0.0 {
            self.usual.latency = latency;
        }
        // A burst that is being worked off looks like a climb, but for this.
        let offered: f64 = (number + 1..=self.newest).map(|at| f64::from(self.at(at).counts.offered)).sum();
        let grows = offered > 1.05 * (self.answers - self.at(number + 1).answers) as f64;
        let certain = (self.is_climbing(latency, load, lost, is_blocked, from) && grows)
            | self.is_collapsing(latency, lost, closed);
        if certain {
            let from = self.climb.map_or((now, self.answers), |climb| climb.from);
            self.start(latency, load, from, now);
        } else {
            self.usual.learn(latency, length, self.throughput, closed);
        }
    }

    fn is_climbing(&mut self, latency: f64, load: u32, lost: f64, is_blocked: bool, from: (Instant, u64)) -> bool {
        let usual = &self.usual;
        let surge = usual.is_surge();
        if !is_blocked || latency <= if surge { usual.surge_threshold() } else { usual.climb_threshold() } {
            self.climb = None;
            return false;
        }
        let mut climb = match self.climb {
            Some(Climb { length: 1, surge: false, from, .. }) if !surge => {
                Climb { length: 2, latency, load, surge, grows: false, from }
            }
            Some(climb) if latency >= 0.9 * climb.latency => Climb { length: climb.length + 1, surge, ..climb },
            _ => Climb { length: 1, latency, load, surge, grows: false, from },
        };
        let (by, first) = (latency / climb.latency, f64::from(climb.load));
        let more = f64::from(load) - first;
        // Nothing takes longer than anybody waits: then it shows in those that give up.
        let is_late = climb.length >= 2 && lost > 0.3;
        climb.grows = is_late || (climb.length >= 2 && by >= CLIMB && more > (0.05 * first).max(first.sqrt()));
        self.climb = Some(climb);
        let long = climb.length >= 6 && by >= 2.0 && more > (0.5 * first).max(4.0 * first.sqrt());
        // At the very beginning nothing is known but that it grows, and everything that begins does.
        let is_known = self.usual.rate > 0.0 || (climb.length >= 5 && by >= 1.5);
        (climb.grows && surge && is_known) || long
    }

    fn is_collapsing(&mut self, latency: f64, lost: f64, at: Instant) -> bool {
        if lost <= 0.5 || latency < self.usual.surge_threshold().max(4.0 * self.usual.latency) {
            self.collapse = None;
            return false;
        }
        let since = *self.collapse.get_or_insert(at);
        at.saturating_duration_since(since) >= COLLAPSE
    }

    fn start(&mut self, latency: f64, load: u32, busy: (Instant, u64), now: Instant) {
        let since = now.saturating_duration_since(busy.0).as_secs_f64();
        let measured = if since >= 0.05 { (self.answers - busy.1) as f64 / since } else { 0.0 };
        let best = measured.max(self.peak);
        let limit = self.usual.first(best);
        self.lost = 0;
        self.limiting = Some(Limiting {
            limit,
            open: limit,
            best,
            busy,
            first: self.newest + 1,
            from: self.newest + 1,
            steps: 0,
            slow: 0,
            felt: now,
            since: now,
            stepped: now,
            backlog: Duration::from_secs_f64((f64::from(load) / best.max(1.0)).min(10.0)),
            lately: (0.0, 0.0),
            at_first: (latency, self.throughput, f64::from(load)),
        });
        self.climb = None;
        self.collapse = None;
        self.roll(load, now);
    }

    /// A step, now that it is known what the last one did.
    fn adjust(&mut self, mut limiting: Limiting, latency: f64, load: u32, now_load: u32, now: Instant) {
        limiting.from = self.newest + 1;
        limiting.stepped = now;
        if f64::from(load) > 1.5 * limiting.limit + 4.0 {
            // It set out behind what was there before the limit, and says nothing of the limit.
            self.limiting = Some(limiting);
            return self.roll(now_load, now);
        }
        let (before, latency_before) = limiting.lately;
        if limiting.limit > before {
            limiting.lately = (limiting.limit, latency);
        } else if limiting.limit < 0.7 * before {
            // In a queue it would have become as much quicker. So this is what the service takes now.
            if latency > 0.9 * latency_before {
                self.usual.latency = self.usual.latency.max(latency);
            }
            limiting.lately = (limiting.limit, latency);
        }
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
        limiting.steps += 1;
        let (before, throughput, at_first) = limiting.at_first;
        let unanswered = now.saturating_duration_since(limiting.since) >= Duration::from_secs(1)
            && limiting.steps >= 4
            && limiting.limit < 0.5 * at_first
            && latency > 0.9 * before
            && self.throughput < 0.7 * throughput;
        if unanswered && self.lost == 0 {
            self.usual.latency = latency;
            self.limiting = None;
        } else {
            self.limiting = Some(limiting);
        }
        self.roll(now_load, now);
    }
}

impl Limiting {
    /// So many were answered; so many gave up who had set out before it, and under it.
    fn heard(&mut self, answered: f64, before: f64, under: f64) {
        let least = if under > 0.0 { 0.25 } else { 0.5 } * self.limit;
        let open = self.open + answered - 2.0 * (before + under);
        self.open = open.clamp(least.min(self.open).max(1.0).min(self.limit), self.limit);
        // The service can do less than was thought, or they would have had their answers.
        self.best *= (1.0 - 0.5 / self.limit.max(1.0)).powf(under);
    }

    /// Whether nothing is known of its effect although there was time for it.
    fn is_blind(&self, latency: f64, now: Instant) -> bool {
        let backlog = if self.steps == 0 { self.backlog } else { Duration::ZERO };
        let since = now.saturating_duration_since(self.stepped);
        since >= UNKNOWN + Duration::from_secs_f64(2.0 * latency.min(5.0)) + backlog
    }
}
