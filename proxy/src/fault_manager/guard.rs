//! Guards at their posts.
//!
//! Several times a second what a guard watches is held against what was counted within the last seconds, and when it does not
//! hold any more, every fault ends at once. A share of a handful of requests says nothing, so shares and percentiles wait for
//! [`GuardSpec::min_requests`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::counts::{BUCKETS_US, LatencyCounts};
use crate::fault::guard::{GuardSpec, Metric, Terms};
use crate::snapshot::Snapshot;
use crate::units::{Interval, Share};

/// What guards look at.
pub struct Facts<'a> {
    /// Services and routes with their counts.
    pub snapshot: &'a Snapshot,
    /// `/metrics`; called only where a guard is about one.
    pub metrics: &'a dyn Fn() -> String,
}

/// A guard at its post.
#[derive(Debug)]
pub struct Guard {
    /// Never used twice.
    pub id: u64,
    /// As it was asked for.
    pub spec: GuardSpec,
    terms: Terms,
    samples: VecDeque<(Instant, Sample)>,
}

/// What was counted at a time.
#[derive(Debug, Clone, PartialEq)]
enum Sample {
    /// Answered, and all.
    Share(u64, u64),
    Latency(Box<LatencyCounts>),
    Value(f64),
}

impl Guard {
    /// At its post from now on.
    pub fn new(id: u64, spec: GuardSpec, terms: Terms) -> Self {
        Self { id, spec, terms, samples: VecDeque::new() }
    }

    /// Looks. What it saw, where it trips.
    pub fn look(&mut self, facts: &Facts<'_>, now: Instant) -> Option<Arc<str>> {
        let Terms { metric, over, .. } = &self.terms;
        let sample = sample(metric, facts)?;
        // The newest of those that are older than the window stays: what was counted since then is the window's.
        while self.samples.len() > 1 && now.saturating_duration_since(self.samples[1].0) >= *over {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
        let (since, first) = self.samples.front()?;
        let (_, last) = self.samples.back()?;
        let value = self.value(first, last, now.saturating_duration_since(*since))?;
        let (word, level) = match (self.terms.below, self.terms.above) {
            (Some(below), _) if value < below => ("below", below),
            (_, Some(above)) if value > above => ("above", above),
            _ => return None,
        };
        let Terms { metric, over, .. } = &self.terms;
        let over = Interval(*over);
        Some(match metric {
            Metric::Success(of) | Metric::RouteSuccess(of) => {
                format!("success of {of} was {} over {over}, {word} {}", Share(value), Share(level)).into()
            }
            Metric::P99(of) => format!("p99 of {of} was {value:.3} s over {over}, {word} {level} s").into(),
            Metric::Series { name, .. } if metric.is_counter() => {
                format!("{name} rose by {value} a second over {over}, {word} {level}").into()
            }
            Metric::Series { name, .. } => format!("{name} was {value}, {word} {level}").into(),
        })
    }

    fn value(&self, first: &Sample, last: &Sample, within: Duration) -> Option<f64> {
        let min = self.terms.min_requests;
        match (first, last) {
            (Sample::Share(answered, all), Sample::Share(answered_now, all_now)) => {
                let (answered, all) = (answered_now.saturating_sub(*answered), all_now.saturating_sub(*all));
                (all >= min).then(|| answered as f64 / all as f64)
            }
            (Sample::Latency(then), Sample::Latency(now)) => {
                let counts: Vec<u64> =
                    now.iter().zip(then.iter()).map(|(now, then)| now.saturating_sub(*then)).collect();
                let all: u64 = counts.iter().sum();
                (all >= min).then(|| p99(&counts, all))
            }
            (Sample::Value(then), Sample::Value(now)) if self.terms.metric.is_counter() => {
                let seconds = within.as_secs_f64();
                (seconds >= 0.5).then(|| (now - then) / seconds)
            }
            (_, Sample::Value(now)) => Some(*now),
            _ => None,
        }
    }
}

/// What is counted now; none where there is nothing to count.
fn sample(metric: &Metric, facts: &Facts<'_>) -> Option<Sample> {
    match metric {
        Metric::Success(service) => {
            let totals = facts.snapshot.clusters.get(service)?.shared.metrics.totals();
            Some(Sample::Share(totals.answered(), totals.requests()))
        }
        Metric::RouteSuccess(name) => {
            let (answered, all) = facts.snapshot.routes.named(name)?.outcomes.read();
            Some(Sample::Share(answered, all))
        }
        Metric::P99(service) => {
            Some(Sample::Latency(Box::new(facts.snapshot.clusters.get(service)?.shared.metrics.latency())))
        }
        Metric::Series { name, labels } => series(&(facts.metrics)(), name, labels).map(Sample::Value),
    }
}

/// Within which bucket's bound 99 of 100 are, in seconds; what is beyond the last counts as twice its bound.
fn p99(counts: &[u64], all: u64) -> f64 {
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen * 100 >= all * 99 {
            let last = BUCKETS_US.last().copied().unwrap_or_default();
            return BUCKETS_US.get(bucket).copied().unwrap_or(last * 2) as f64 / 1e6;
        }
    }
    0.0
}

/// The sum of a metric's series with these labels, out of Prometheus' text; none where there is none.
fn series(text: &str, name: &str, labels: &[(Arc<str>, Arc<str>)]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let (within, value) = match rest.strip_prefix('{') {
            Some(rest) => match rest.rsplit_once("} ") {
                Some(parts) => parts,
                None => continue,
            },
            None => match rest.strip_prefix(' ') {
                Some(value) => ("", value),
                None => continue,
            },
        };
        let has = |(name, value): &(Arc<str>, Arc<str>)| {
            let pair = format!("{name}=\"{value}\"");
            within == pair
                || within.starts_with(&format!("{pair},"))
                || within.ends_with(&format!(",{pair}"))
                || within.contains(&format!(",{pair},"))
        };
        if labels.iter().all(has)
            && let Ok(value) = value.trim().parse::<f64>()
        {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

#[cfg(test)]
mod tests;
