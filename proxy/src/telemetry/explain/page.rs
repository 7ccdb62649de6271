//! A record as a page that is read in ten seconds: what was asked and what came of it, what held, and a line for each
//! thing that happened with its time.

use std::fmt::{self, Display, Formatter, Write};
use std::time::{Duration, SystemTime};

use super::{
    Attempt, DeadlineBy, Ending, LeftOut, Ms, NoMore, Pick, Record, Returned, Start, Verdict, WaitedFor, What,
};
use crate::counts::Fate;
use crate::telemetry::access_log::rfc3339;

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}{}", Clean(&self.method), Clean(&self.host), Clean(&self.path))?;
        write!(
            f,
            "  {}  id {}",
            rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(self.time_ms)),
            Clean(&self.id)
        )?;
        if let Some(client) = self.client {
            write!(f, "  from {client}")?;
        }
        write!(f, "\n  to {}", self.service.as_deref().unwrap_or("no service"))?;
        match &self.route {
            Some(route) => write!(f, " by {route}")?,
            None if self.service.is_some() => f.write_str(" by its name")?,
            None => {}
        }
        match &self.returned {
            Some(returned) => writeln!(f, ": {returned} after {}\n", returned.at_ms)?,
            None => f.write_str(", not over\n\n")?,
        }
        self.rules(f)?;
        for (at, _, line) in self.lines() {
            writeln!(f, "{:>11.1} ms  {line}", at.0)?;
        }
        if self.omitted > 0 {
            writeln!(f, "  {} more were not recorded", self.omitted)?;
        }
        if !self.asked {
            let header = super::HEADER;
            writeln!(f, "\n  Recorded from the first thing that went wrong; `{header}: 1` has everything recorded.")?;
        }
        Ok(())
    }
}

impl Record {
    /// Everything that happened, by its time. At one time an end comes before what it led to, and that before the next
    /// start.
    fn lines(&self) -> Vec<(Ms, u8, String)> {
        let mut lines: Vec<(Ms, u8, String)> =
            self.events.iter().map(|event| (event.at_ms, 1, event.what.to_string())).collect();
        for (number, attempt) in (1..).zip(&self.attempts) {
            lines.push((attempt.started_ms, 2, format!("#{number} to {attempt}")));
            if let (Some(at), Some(ending)) = (attempt.ended_ms, &attempt.ending) {
                let order = if at > attempt.started_ms { 0 } else { 3 };
                lines.push((at, order, format!("#{number} {ending}")));
            }
        }
        if let Some(returned) = &self.returned {
            lines.push((returned.at_ms, 4, format!("over: {returned}")));
        }
        lines.sort_by(|(a, first, _), (b, second, _)| a.0.total_cmp(&b.0).then(first.cmp(second)));
        lines
    }

    fn rules(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rules = Vec::new();
        if let Some(deadline) = &self.deadline {
            let by = match deadline.by {
                DeadlineBy::Route => "its route",
                DeadlineBy::GrpcTimeout => "grpc-timeout",
                DeadlineBy::UpstreamTimeout => "x-envoy-upstream-rq-timeout-ms",
                DeadlineBy::Caller => "its caller",
            };
            rules.push(format!("over after {} at the latest, by {by}", deadline.after_ms));
        }
        if let Some(policy) = &self.policy {
            if let Some(per_try) = policy.per_try_ms {
                rules.push(format!("a try may take {per_try}"));
            }
            if let Some(hedge) = policy.hedge_after_ms {
                rules.push(format!("hedged after {hedge}"));
            }
            let plural = if policy.retries == 1 { "retry" } else { "retries" };
            rules.push(format!("{} {plural} at most", policy.retries));
            rules.push(if policy.repeatable { "may be repeated" } else { "must not be repeated" }.to_owned());
        }
        if rules.is_empty() { Ok(()) } else { writeln!(f, "  {}\n", rules.join("; ")) }
    }
}

impl Display for Ms {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 10_000.0 => write!(f, "{:.1} s", ms / 1e3),
            ms => write!(f, "{ms:.1} ms"),
        }
    }
}

impl Display for Returned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.status {
            0 => f.write_str("no answer")?,
            status => write!(f, "{status}")?,
        }
        f.write_str(match self.verdict {
            Verdict::Success => ", success",
            Verdict::Degraded => ", degraded",
            Verdict::Failure => ", failure",
            Verdict::NotCounted => ", the client's own doing",
        })?;
        if let Some(reason) = &self.reason {
            write!(f, " ({})", Clean(reason))?;
        }
        match &self.rescued_by {
            Some(rescue) => write!(f, ", rescued by {}", Clean(rescue).to_string().replace('_', " ")),
            None if self.fate == Fate::Unknown.name() => {
                f.write_str(", another attempt was faster than the first, of which nobody knows what became")
            }
            None => Ok(()),
        }
    }
}

impl Display for Attempt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.endpoint, self.start)?;
        match self.connected_ms {
            Some(took) => write!(f, ", connected in {took}"),
            None => Ok(()),
        }
    }
}

impl Display for Start {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first attempt",
            Self::Retry => "retry",
            Self::FreeMove => "free move: nothing was sent",
            Self::Replay => "free repetition: the connection was closing",
            Self::TryTimeout => "the one before takes too long",
            Self::Hedge => "hedge",
        })
    }
}

impl Display for Ending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {status}"),
            Self::Failed(reason) => write!(f, "failed: {}", Clean(reason)),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pick(pick) => pick.fmt(f),
            Self::Budget { tokens, granted, for_a } => {
                let word = if *granted { "granted" } else { "refused" };
                write!(f, "budget: {tokens:.1} tokens, {word} ({for_a})")
            }
            Self::Breaker { state, passed } => {
                write!(f, "breaker: {}, {}", Clean(state), if *passed { "let through" } else { "refused" })
            }
            Self::Limit { limit, in_flight, queued } => {
                match limit {
                    Some(limit) => write!(f, "limit: {in_flight} of {limit} in flight")?,
                    None => write!(f, "limit: none, {in_flight} in flight")?,
                }
                if *queued > 0 { write!(f, ", {queued} waiting") } else { Ok(()) }
            }
            Self::Waited { on, took_ms } => {
                let on = match on {
                    WaitedFor::Registry => "the registry",
                    WaitedFor::Turn => "its turn",
                    WaitedFor::Backoff => "another attempt's time",
                    WaitedFor::RetryAfter => "as long as the endpoint asked",
                };
                write!(f, "waited {took_ms} for {on}")
            }
            Self::NoMore { why } => write!(f, "no further attempt: {why}"),
            Self::Fallback { kind, answered } => {
                write!(f, "fallback, {}: {}", Clean(kind), if *answered { "answered" } else { "no answer" })
            }
            Self::Fault { name, kind, place, endpoint } => {
                write!(f, "injected {place} fault `{}`: {kind}", Clean(name))?;
                endpoint.map_or(Ok(()), |endpoint| write!(f, " on {endpoint}"))
            }
            Self::Note { text } => write!(f, "{}", Clean(text)),
        }
    }
}

impl Display for NoMore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRepeatable => "it may have been processed, and must not be twice",
            Self::NotReplayable => "its body is no longer there to be sent again",
            Self::NotRetryable => "another endpoint would do no better",
            Self::RetriesUsed => "its retries are used up",
            Self::BudgetEmpty => "the service's budget is empty",
            Self::TooLate => "less time is left than an attempt usually takes",
            Self::PushedBack => "the endpoint said not to",
            Self::BreakerOpen => "the service's circuit breaker is open",
            Self::NoEndpoint => "every endpoint was tried or left out",
            Self::HeadSent => "the answer's head is with the client already",
        })
    }
}

impl Display for LeftOut {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tried => "tried",
            Self::Ejected => "ejected",
            Self::Probing => "being probed",
            Self::Unsafe => "less safe",
            Self::Unhealthy => "unhealthy",
            Self::SlowStart => "starting slowly",
            Self::Full => "full",
        })
    }
}

impl Display for Pick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = if self.candidates == 1 { "candidate" } else { "candidates" };
        match self.chosen {
            Some(chosen) => write!(f, "picked {chosen} of {} {plural}", self.candidates)?,
            None => write!(f, "nothing to pick among {} {plural}", self.candidates)?,
        }
        if self.fail_open {
            f.write_str(", ejected ones among them")?;
        }
        for (at, absent) in self.left_out.iter().enumerate() {
            let before = if at == 0 { "; not " } else { ", " };
            write!(f, "{before}{} ({})", absent.endpoint, absent.why)?;
        }
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// What came over the network, without what a terminal would obey.
struct Clean<'a>(&'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}
