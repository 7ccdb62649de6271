//! What the outcome of an attempt means for its endpoint, for the service's statistics, and for the request.

use std::time::Duration;

use super::{Recovery, Step};
use crate::clock::Instant;
use crate::counts::First;
use crate::error::{Blame, Reason};
use crate::forward::answer::Response;
use crate::forward::attempt::{Attempt, AttemptContext};
use crate::forward::first::{PATIENT, verdict};
use crate::forward::record::late_first::{LateFirst, Witness};
use crate::resilience::outlier;
use crate::resilience::retry::{Next, Pushback, Verdict};
use crate::telemetry::explain::Ending;
use crate::telemetry::explain::NoMore;
use crate::timer;
use crate::upstream::Broken;
use crate::worker::attempt_info::{AttemptInfo, Why};
use crate::worker::cluster::Probe;

/// An attempt that was answered with 500, or against the rules of HTTP.
#[derive(Debug)]
pub(super) struct Accused<'r> {
    info: AttemptInfo,
    probe: Option<Probe<'r>>,
    /// Whether its answer was 500, and kept the rules.
    answered: bool,
}

impl<'r> Recovery<'r> {
    /// An attempt has an answer.
    pub fn answered(&mut self, info: AttemptInfo, probe: Option<Probe<'r>>, response: Response) -> Step {
        let (verdict, grpc) = verdict(&response, self.b.pace.safe);
        let Response { answer, heard } = response;
        let (head, trailers, status) = (answer.head(), answer.trailers(), answer.status());
        self.record.grpc = grpc;
        self.record.heard = Some(heard);
        if verdict != Verdict::Good {
            self.trouble(Some(&info));
            self.failed(&info);
        }
        self.ended(&info, heard, || Ending::Answered(status));
        match verdict {
            Verdict::Good => {
                self.won(&info, probe, heard);
                return Step::Done(Ok(answer));
            }
            Verdict::Unavailable => self.blame(&info, probe, Reason::UpstreamStatus, heard),
            Verdict::Error => self.accuse(info, probe, Reason::UpstreamError, heard),
        }
        let pushed = self.wishes(head, trailers.as_deref());
        self.last = if verdict == Verdict::Error { Reason::UpstreamError } else { Reason::UpstreamStatus };
        self.kept = Some(Box::new(answer));
        if pushed == Some(Pushback::Never) {
            self.record.give_up(heard, NoMore::PushedBack);
            return if self.race.is_empty() { self.give_up() } else { Step::Wait };
        }
        let next = |life: &mut Self| life.allowance.after_answer(verdict, life.x.request.body.is_replayable());
        let wait = match pushed {
            Some(Pushback::After(time)) => Some(time),
            _ => None,
        };
        self.follow(next, wait, heard)
    }

    /// An attempt succeeded. Its endpoint gets a success. Attempts that were started before it have been overtaken,
    /// which counts against their endpoints. Attempts that were started after it are dropped and say nothing.
    fn won(&mut self, info: &AttemptInfo, probe: Option<Probe<'r>>, heard: Instant) {
        let x = self.x;
        let ended = x.request.body.ended();
        let latency = heard.saturating_duration_since(info.started);
        x.side.good(info, probe, latency, heard, &x.case());
        self.record.by = Some(info.cause);
        if info.cause == Why::First {
            self.record.first = Some(First::Good);
        }
        if info.why == Why::Hedge {
            x.side.counts.tally.borrow_mut().hedge_won();
        }
        x.side.counts.tally.borrow_mut().attempted(None);
        let mut latency_classes = x.side.latency_classes.borrow_mut();
        let mut learned = latency_classes.at(self.b.pace.class);
        // Where the body was still coming, the time would be the client's and not the service's: nothing is learned
        // from it.
        if let (Some(learned), Some(ended)) = (&mut learned, ended) {
            learned.observe(heard.saturating_duration_since(info.started.max(ended)));
        }
        if let Some(accused) = self.accused.take() {
            let Accused { info, probe, .. } = *accused;
            x.side.worse(&info, probe, heard, &x.case());
        }
        for loser in self.race.losers() {
            let overtaken = loser.info.started < info.started;
            if let Some(details) = &mut self.record.details {
                details.ended(loser.info.number, heard, Ending::Dropped);
            }
            let witness = (loser.info.cause == Why::First).then(|| {
                let (late, witness) = LateFirst::new();
                self.record.late = Some(late);
                witness
            });
            if lose(x, loser, overtaken, witness, self.b.pace.safe, heard)
                && let Some(learned) = &mut learned
            {
                learned.give_up();
            }
        }
    }

    /// An attempt has broken.
    pub fn broke(&mut self, info: AttemptInfo, probe: Option<Probe<'r>>, broken: Broken) -> Step {
        let now = timer::now();
        let tried = info.upstream.id;
        let starved = self.x.request.body.ended().is_none() && self.x.request.body.is_starved();
        if broken.stale {
            self.repeats = info.cause;
        } else {
            self.trouble(Some(&info));
            if !starved && broken.reason.row().blame != Blame::Proxy {
                self.failed(&info);
            }
        }
        self.ended(&info, now, || Ending::failed(broken.reason));
        if broken.stale {
            // A stale connection says nothing about its endpoint.
            self.x.side.counts.tally.borrow_mut().attempted(Some(broken.reason));
            drop(probe);
        } else if starved {
            // An endpoint may close on a client that has stopped sending: nothing is held against it.
            self.x.side.counts.tally.borrow_mut().attempted(Some(broken.reason));
            drop(probe);
        } else if broken.reason.row().blame == Blame::Answer {
            self.accuse(info, probe, broken.reason, now);
        } else {
            self.blame(&info, probe, broken.reason, now);
        }
        self.last = broken.reason;
        let next = |life: &mut Self| {
            let next = life.allowance.after(&broken, life.x.request.body.is_replayable());
            if next != Next::Replay {
                life.tried.add(tried);
            }
            next
        };
        self.follow(next, None, now)
    }

    /// An attempt failed by its endpoint's fault: that is what the request would have come to, if it is the first.
    fn failed(&mut self, info: &AttemptInfo) {
        if info.cause == Why::First {
            self.record.first = Some(First::Failed);
        }
    }

    fn blame(&mut self, info: &AttemptInfo, probe: Option<Probe<'r>>, reason: Reason, now: Instant) {
        self.tried.add(info.upstream.id);
        self.x.side.counts.tally.borrow_mut().attempted(Some(reason));
        if outlier::counts(reason) {
            self.x.side.bad(info, probe, now, &self.x.case());
        }
    }

    /// A 500, or an answer that breaks a rule, may be the endpoint's fault or the request's. Another endpoint's
    /// answer tells: where that is as bad, nothing counts against either endpoint.
    fn accuse(&mut self, info: AttemptInfo, probe: Option<Probe<'r>>, reason: Reason, heard: Instant) {
        self.tried.add(info.upstream.id);
        self.x.side.counts.tally.borrow_mut().attempted(Some(reason));
        let latency = heard.saturating_duration_since(info.started);
        let second = Accused { info, probe, answered: reason == Reason::UpstreamError };
        match self.accused.take() {
            None => self.accused = Some(Box::new(second)),
            Some(first) => {
                // Another endpoint was asked, and no third one is.
                self.allowance.second_opinion = false;
                for Accused { info, probe, .. } in [*first, second].into_iter().filter(|accused| accused.answered) {
                    self.x.side.does_its_work(&info, probe, latency, heard, &self.x.case());
                }
                self.x.side.is_in_doubt(&self.x.case(), heard);
            }
        }
    }

    /// The request ends and no other endpoint was asked. An answer that broke a rule counts in its endpoint's share
    /// of failures only.
    pub(super) fn unresolved(&mut self) {
        if let Some(accused) = self.accused.take() {
            let now = timer::now();
            self.x.side.is_in_doubt(&self.x.case(), now);
            if !accused.answered {
                self.x.side.suspect(&accused.info, now, &self.x.case());
            }
        }
    }

    /// The request's time is over.
    pub fn over(&mut self, reason: Reason) -> Step {
        let now = timer::now();
        let x = self.x;
        self.trouble(None);
        // Where the deadline is the caller's and too short for an answer, it says nothing about the endpoint.
        let callers = self.b.waits.is_some() && self.b.waits == self.b.deadline.total;
        let patience = if callers { self.b.patience().min(PATIENT) } else { Duration::ZERO };
        for attempt in self.race.losers() {
            if let Some(details) = &mut self.record.details {
                details.ended(attempt.info.number, now, Ending::failed(reason));
            }
            x.side.counts.tally.borrow_mut().attempted(Some(reason));
            if now.saturating_duration_since(attempt.info.started) < patience {
                continue;
            }
            if let Some(learned) = x.side.latency_classes.borrow_mut().at(self.b.pace.class) {
                learned.give_up();
            }
            if outlier::counts(reason) {
                x.side.bad(&attempt.info, attempt.probe, now, &x.case());
            }
        }
        self.last = reason;
        self.give_up()
    }

    /// The client has gone.
    pub(super) fn abandoned(&mut self) {
        let now = timer::now();
        for attempt in self.race.losers() {
            self.b.abandoned(attempt, now);
        }
    }
}

/// An attempt has lost the race and is let go. If a later attempt was faster, that is held against its endpoint.
/// Returns true when the latency class should learn from it.
fn lose<'r>(
    x: AttemptContext<'r>,
    mut loser: Attempt<'r>,
    overtaken: bool,
    witness: Option<Witness>,
    safe: bool,
    now: Instant,
) -> bool {
    let probe = loser.probe.take();
    let tells = overtaken && x.side.overtaken(&loser.info, probe, loser.info.timed, now, &x.case());
    loser.lose(witness, safe);
    tells
}
