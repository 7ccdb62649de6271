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
//! These need cohorts that are back. **A flood** (`flood`) is seen before: more requests than were ever carried, of which
//! fewer are back than should be, by how long answers are known to take.
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
//! What a service has queued it works off, though the clients have gone. So what left without an answer counts against the
//! limit for as long as that takes (`hidden`), and of what sets out then only a part may be out until answers come.
//!
//! One such limit per service. Each worker sees a part of the requests, and of a small service next to nothing; so they
//! put together what they see (`overload`), every few milliseconds, and one judgement is made of it (`pool`).

mod counted;
mod flood;
mod hidden;
mod overload;
mod pool;
mod pulse;
mod usual;

use std::sync::Arc;
use std::time::Duration;

use self::counted::{Counted, Since};
pub use self::overload::Overload;
use self::pool::News;
use super::cohort::Counts;
use crate::clock::Instant;

/// Cohorts that are remembered.
const COHORTS: usize = 16;

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
    /// Its client gave up after this time, or its time was over.
    Cancelled(Duration),
}

/// What one worker counts of a service's load.
#[derive(Debug)]
pub struct Adaptive {
    overload: Arc<Overload>,
    counted: Counted,
    /// What all workers know of [`Counted::sum`].
    told: u32,
    news: News,
    view: View,
    look_at: Instant,
}

/// What was known when a worker last looked.
#[derive(Debug, Clone, Copy)]
struct View {
    /// The number of the open cohort.
    newest: u64,
    /// Latency in good health, and of the last cohort that is known, seconds.
    usual: f64,
    latency: f64,
    /// Until what age a request counts, seconds.
    young: f64,
    is_healthy: bool,
    is_overloaded: bool,
    /// When to look again.
    look_after: Duration,
}

impl Adaptive {
    /// Knows nothing but what other workers do.
    pub fn new(overload: &Arc<Overload>, now: Instant) -> Self {
        let view = View {
            newest: 0,
            usual: 0.0,
            latency: 0.0,
            young: 1.0,
            is_healthy: true,
            is_overloaded: false,
            look_after: Duration::ZERO,
        };
        let mut adaptive = Self {
            overload: Arc::clone(overload),
            counted: Counted::new(now),
            told: 0,
            news: News::default(),
            view,
            look_at: now,
        };
        adaptive.look(now);
        adaptive
    }

    /// A request has come; nothing is said yet about whether it may go on. Whether there is a limit is what comes back.
    pub fn offered(&mut self, now: Instant) -> bool {
        if now >= self.look_at {
            self.look(now);
        }
        self.cohort(self.view.newest).offered += 1;
        self.overload.limit().is_some()
    }

    /// Whether one more may set out, if it may use this share of the limit.
    pub fn has_room(&self, share: f64) -> bool {
        self.overload.has_room(share)
    }

    /// A request could not set out at once, because of the limit.
    pub fn felt(&mut self, now: Instant) {
        self.news.felt = Some(now);
    }

    /// A request sets out.
    pub fn begin(&mut self) -> Ticket {
        self.cohort(self.view.newest).sent += 1;
        let ticket = Ticket(self.view.newest, self.counted.enter());
        self.count();
        ticket
    }

    /// What became of it, and it no longer counts; to be told once, at the answer's head.
    pub fn done(&mut self, ticket: Ticket, done: Done) {
        let View { usual, young, newest, is_healthy, .. } = self.view;
        let counted = self.counted.leave(ticket.1);
        self.count();
        if let Done::Answered(latency) = done {
            let latency = latency.as_secs_f64();
            // What was out for longer is a poll that ended.
            self.news.answered += u32::from(latency <= young);
            if is_healthy {
                self.news.carried.0 += latency.min(young);
                self.news.carried.1 += 1;
            }
        }
        let is_known = newest.checked_sub(ticket.0).is_some_and(|age| age < COHORTS as u64);
        match done {
            Done::Answered(latency) if is_known => self.cohort(ticket.0).answered(latency),
            // Whoever gives up sooner than an answer takes says nothing; later, that it takes at least as long.
            Done::Cancelled(age) if usual > 0.0 && age.as_secs_f64() > 2.0 * usual => {
                self.news.left.cancelled += u32::from(counted);
                if is_known {
                    self.cohort(ticket.0).given_up(age);
                }
            }
            Done::Failed | Done::Cancelled(_) if is_known => self.cohort(ticket.0).voided(),
            _ => {}
        }
    }

    /// The limit that holds now, for all workers; none while there is none.
    pub fn limit(&self) -> Option<u32> {
        self.overload.limit()
    }

    /// What a request takes that sets out now, as far as is known.
    pub fn expected(&self) -> Duration {
        Duration::from_secs_f64(self.view.latency)
    }

    /// Whether the service has more than it can do, or may be about to: no time for requests that nobody asked for.
    pub fn is_overloaded(&self) -> bool {
        self.view.is_overloaded
    }

    fn cohort(&mut self, number: u64) -> &mut Counts {
        let at = number as usize % COHORTS;
        self.news.touched |= 1 << at;
        &mut self.news.cohorts[at]
    }

    /// While there is a limit, every worker's requests are counted as they come and go.
    fn count(&mut self) {
        if self.overload.limit().is_some() {
            self.tell(self.counted.sum());
        }
    }

    fn tell(&mut self, sum: u32) {
        let change = i64::from(sum) - i64::from(std::mem::replace(&mut self.told, sum));
        if change != 0 {
            self.overload.count(change);
        }
    }

    /// Brings what was counted here and takes what is known. Every few milliseconds, at an arrival.
    fn look(&mut self, now: Instant) {
        self.news.left.aged += self.counted.pass(Duration::from_secs_f64(self.view.young), now);
        self.tell(self.counted.sum());
        if let Some(mut pool) = self.overload.pool() {
            pool.look(&mut self.news, self.overload.counted(), now);
            self.overload.show(&pool);
            self.view = pool.view();
        }
        self.look_at = now + self.view.look_after;
    }
}

impl Drop for Adaptive {
    fn drop(&mut self) {
        self.tell(0);
    }
}

#[cfg(test)]
mod tests;
