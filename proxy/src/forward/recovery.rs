//! Recovery: retries, hedges and replays. It decides which further attempt is started, for what reason, and who pays
//! for it.
//!
//! Everything here is synchronous. [`forward`](crate::forward) waits, and asks what to do about what has happened. A
//! further attempt is started for one of five reasons ([`Why`]). A reason only ever *starts* an attempt. It never
//! ends one.

mod outcome;

use self::outcome::Accused;

use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use crate::clock::Instant;
use crate::config::settings::Protocol;
use crate::error::Reason;
use crate::forward::answer::Answer;
use crate::forward::attempt::AttemptContext;
use crate::forward::first::{Bearings, FirstAttempt};
use crate::forward::race::{AttemptOutcome, Race};
use crate::forward::record::RequestRecord;
use crate::forward::record::start_of;
use crate::forward::waiting::{Clock, Live, Turn};
use crate::http::Head;
use crate::http::head::Name;
use crate::resilience::retry::{self, Allowance, Next, Pushback};
use crate::telemetry::explain::{Ending, NoMore, What};
use crate::telemetry::metrics::Steering;
use crate::timer;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::{Token, Tried};

/// A request in trouble: its live attempts, and what it may still do.
#[derive(Debug)]
pub struct Recovery<'r> {
    /// The attempts that are live.
    pub race: Race<'r>,
    record: &'r mut RequestRecord,
    x: AttemptContext<'r>,
    b: Bearings<'r>,
    allowance: Allowance,
    tried: Tried,
    /// A bad answer, kept for the client in case no attempt gets a better one.
    kept: Option<Box<Answer>>,
    last: Reason,
    /// The attempt that is planned: when, why, and the token that pays for it.
    next: Option<(Instant, Why, Option<Token<'r>>)>,
    rounds: u32,
    /// What a replay would repeat: what the attempt that met a closing connection was started for.
    repeats: Why,
    /// The attempt that was answered with 500 or against the rules, until another endpoint's answer tells whose fault
    /// that is.
    accused: Option<Box<Accused<'r>>>,
}

/// What follows for the request.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is looked at once and taken apart")]
pub enum Step {
    /// The request is over, with this result.
    Done(Result<Answer, Reason>),
    /// An attempt is under way or planned: wait.
    Wait,
}

impl<'r> Recovery<'r> {
    /// Takes a request over from its first attempt, which is under way or over.
    pub fn after(first: FirstAttempt<'r>, record: &'r mut RequestRecord) -> Self {
        let (b, attempt) = first.into_parts();
        let mut race = Race::default();
        if let Some(attempt) = attempt {
            race.add(attempt);
        }
        Self {
            race,
            record,
            x: b.x,
            b,
            allowance: Allowance::new(b.x.policy.retries.max, b.x.repeatable),
            tried: Tried::default(),
            kept: None,
            last: Reason::NoEndpoint,
            next: None,
            rounds: 0,
            repeats: Why::First,
            accused: None,
        }
    }

    /// Something has gone wrong. From here on the request's details are recorded, its first attempt included.
    fn trouble(&mut self, first: Option<&AttemptInfo>) {
        let first = first.or_else(|| self.race.infos().next());
        self.b.trouble(self.record, first);
    }

    fn ended(&mut self, info: &AttemptInfo, now: Instant, ending: impl FnOnce() -> Ending) {
        if let Some(details) = &mut self.record.details {
            details.ended(info.number, now, ending());
        }
    }

    /// A due time has come: a planned attempt starts, or another attempt starts beside a slow one.
    pub fn slow(&mut self, now: Instant) -> Step {
        if let Some((_, why, token)) = self.next.take_if(|(at, ..)| *at <= now) {
            if !self.start(why, token, now) && self.race.is_empty() {
                return self.give_up();
            }
            return Step::Wait;
        }
        let Some(ended) = self.x.request.body.ended() else { return Step::Wait };
        let (hedge, per_try) = (self.b.pace.hedge, self.b.pace.per_try);
        let mut reason = None;
        for attempt in self.race.live() {
            let info = &mut attempt.info;
            let known = info.is_overdue();
            let passed = |after: Option<Duration>| after.is_some_and(|after| info.started.max(ended) + after <= now);
            if passed(per_try) && !info.timed {
                info.timed = true;
                reason = Some(Why::TryTimeout);
            } else if passed(hedge) && !info.hedged && !info.timed {
                info.hedged = true;
                reason.get_or_insert(Why::Hedge);
            }
            if info.is_overdue() && !known {
                info.upstream.overdue();
            }
        }
        if let Some(why) = reason {
            self.trouble(None);
            self.start_beside(why, now);
        }
        Step::Wait
    }

    /// Starts an attempt beside the live ones, if the policies and the budget allow one.
    fn start_beside(&mut self, why: Why, now: Instant) {
        let x = self.x;
        // Where the whole service is slow, a second attempt doubles the load and is no faster.
        if x.side.is_overloaded() || x.side.is_refused(&x.case()) {
            return;
        }
        self.leave_out_live();
        let has_another = match why {
            Why::Hedge => x.side.has_untried_in(&self.tried),
            _ => x.side.has_untried(&self.tried),
        };
        if !has_another || !self.allowance.has_one_beside(x.request.body.is_replayable()) {
            return;
        }
        let Some(token) = self.withdraw(why, now) else { return };
        if self.start(why, Some(token), now) {
            self.allowance.spend_beside();
            if why == Why::Hedge {
                x.side.counts.tally.borrow_mut().hedged();
            }
        }
    }

    fn withdraw(&mut self, why: Why, now: Instant) -> Option<Token<'r>> {
        let token = self.x.side.withdraw(why == Why::Hedge, &self.x.case(), now);
        let (tokens, granted) = (|| self.x.side.cluster.shared.budget.balance().tokens, token.is_some());
        self.record.note(now, || What::Budget { tokens: tokens(), granted, for_a: start_of(why) });
        token
    }

    /// Picks an endpoint and starts an attempt. False when there is no endpoint or no time; the token is given back
    /// then.
    fn start(&mut self, why: Why, token: Option<Token<'r>>, now: Instant) -> bool {
        let Some(mut attempt) = self.b.start(self.record, &self.tried, why, token, None, now) else { return false };
        if why == Why::Replay {
            attempt.info.cause = self.repeats;
        }
        if let Some(kept) = &mut self.kept {
            kept.stop_upload();
        }
        self.race.add(attempt);
        true
    }

    /// Decides what follows a failure. Nothing does while an attempt is under way that may yet be in time, or while a
    /// further one is planned. Late attempts do not hold it up: their endpoints may hang.
    fn follow(&mut self, next: impl FnOnce(&mut Self) -> Next, wait: Option<Duration>, now: Instant) -> Step {
        let all_late = self.race.infos().all(|info| self.b.pace.is_late(info));
        if self.next.is_some() || !all_late {
            return Step::Wait;
        }
        // Where the whole service is slow, another attempt beside those that are late is no faster.
        if !self.race.is_empty() && self.x.side.is_overloaded() {
            return Step::Wait;
        }
        match self.plan(next, wait, now) {
            Ok(()) => Step::Wait,
            // The late ones may answer after all.
            Err(_) if !self.race.is_empty() => Step::Wait,
            Err(no_more) => {
                if let Some(no_more) = no_more {
                    self.record.give_up(now, no_more);
                }
                self.give_up()
            }
        }
    }

    /// Plans a further attempt, or starts it. `next` says what is allowed, and spends it. An error says why there is
    /// none, unless that is recorded already.
    fn plan(
        &mut self,
        next: impl FnOnce(&mut Self) -> Next,
        wait: Option<Duration>,
        now: Instant,
    ) -> Result<(), Option<NoMore>> {
        let x = self.x;
        let why = match next(self) {
            Next::GiveUp => {
                let may = x.repeatable && x.request.body.is_replayable();
                let no_more = if may { NoMore::RetriesUsed } else { NoMore::NotRepeatable };
                return Err((!self.record.has_given_up()).then_some(no_more));
            }
            Next::Replay => Why::Replay,
            Next::Move => Why::Move,
            Next::Retry => Why::Retry,
        };
        if x.side.is_refused(&x.case()) {
            return Err(Some(NoMore::BreakerOpen));
        }
        self.leave_out_live();
        let elsewhere = x.side.has_untried(&self.tried);
        let why = if why == Why::Move && !elsewhere {
            // All endpoints have been tried: another round of them is a retry, although nothing was written.
            if !self.allowance.another_round() {
                return Err(Some(NoMore::RetriesUsed));
            }
            Why::Retry
        } else {
            why
        };
        let is_free = match why {
            // It repeats what was bad luck.
            Why::Replay => true,
            // It has cost no endpoint anything, unless one had to refuse its stream.
            Why::Move => x.policy.protocol != Protocol::Http2 || self.last != Reason::UpstreamClosed,
            _ => false,
        };
        let token = if is_free { None } else { self.withdraw(why, now) };
        if !is_free && token.is_none() {
            return Err(Some(NoMore::BudgetEmpty));
        }
        let mut pause = if is_free { Duration::ZERO } else { retry::pause(self.rounds, x.worker.random()) };
        pause = pause.max(wait.unwrap_or_default());
        if !elsewhere {
            // All endpoints have been tried. One of them may be back, but not before the time that it stated in
            // `Retry-After`. A replay has nothing to wait for.
            if why != Why::Replay {
                pause = pause.max(self.wished());
            }
            self.tried.clear();
            self.leave_out_live();
        }
        self.rounds += 1;
        if !retry::fits(self.b.deadline.remaining(x.request.body.ended(), now), pause, None) {
            return Err(Some(NoMore::TooLate));
        }
        if pause.is_zero() {
            if !self.start(why, token, now) {
                return Err(None);
            }
        } else {
            self.next = Some((now + pause, why, token));
        }
        Ok(())
    }

    /// No further attempt goes to an endpoint that has one of this request's under way.
    fn leave_out_live(&mut self) {
        for info in self.race.infos() {
            self.tried.add(info.upstream.id);
        }
    }

    /// How long the endpoint that answered last wants to be left alone (`Retry-After`).
    fn wished(&self) -> Duration {
        let value = self.kept.as_ref().and_then(|answer| answer.head().first(Name::RetryAfter));
        // The field is parsed only here, after a failure.
        let said = value.map(|value| retry::retry_after(value, SystemTime::now()));
        if said == Some(None) {
            self.x.worker.malformed(Steering::RetryAfter);
        }
        said.flatten().unwrap_or_default()
    }

    /// What a gRPC endpoint says about retries (`grpc-retry-pushback-ms`). A value that makes no sense forbids them.
    fn wishes(&self, head: &Head, trailers: Option<&Head>) -> Option<Pushback> {
        let said = trailers.and_then(|t| t.first(Name::GrpcPushback)).or_else(|| head.first(Name::GrpcPushback))?;
        Some(retry::pushback(said).unwrap_or_else(|| {
            self.x.worker.malformed(Steering::RetryPushback);
            Pushback::Never
        }))
    }

    fn give_up(&mut self) -> Step {
        Step::Done(self.kept.take().map(|kept| *kept).ok_or(self.last))
    }
}

impl<'r> Live<'r> for Recovery<'r> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<AttemptOutcome<'r>> {
        self.race.poll(cx, self.x)
    }

    fn due(&self, ended: Option<Instant>) -> Option<Instant> {
        let planned = self.next.as_ref().map(|(at, ..)| *at);
        let slow = ended.and_then(|ended| self.race.infos().filter_map(|info| self.b.pace.slow_at(info, ended)).min());
        [planned, slow].into_iter().flatten().min()
    }

    fn wakes(&self) -> Option<Instant> {
        self.race.wakes()
    }

    fn eldest(&self) -> Option<&AttemptInfo> {
        self.race.infos().next()
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        if !self.race.is_empty() {
            self.abandoned();
        }
        self.unresolved();
    }
}

/// Once something has happened: what follows, until the request has what it gets.
pub async fn recover<'r>(
    mut recovery: Recovery<'r>,
    mut happened: Turn<'r>,
    mut clock: Clock<'_>,
    x: AttemptContext<'r>,
) -> Result<Answer, Reason> {
    loop {
        let step = match happened {
            Turn::Ended(AttemptOutcome { info, probe, response: Ok(response) }) => {
                recovery.answered(info, probe, response)
            }
            Turn::Ended(AttemptOutcome { info, probe, response: Err(broken) }) => recovery.broke(info, probe, broken),
            Turn::Due => recovery.slow(timer::now()),
            Turn::Over(reason) => recovery.over(reason),
        };
        if let Step::Done(result) = step {
            return result;
        }
        happened = clock.turn(&mut recovery, x).await;
    }
}

#[cfg(test)]
mod tests;
