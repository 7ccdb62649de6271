//! Guards: what must stay true while something is broken on purpose, or everything is put back.
//!
//! A drill is to show what breaks, and what it shows may be worse than anybody thought. So a guard watches what the drill must
//! not hurt: the share of a service's or of a route's requests that succeed, how long they take, or any metric that the
//! process exposes. Several times a second it is held against what was counted within the last seconds, and when it does not
//! hold any more, every fault ends at once.
//!
//! A share of a handful of requests says nothing, so shares and percentiles wait for [`GuardSpec::min_requests`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::Invalid;
use crate::clock::Instant;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{BUCKETS_US, LatencyCounts};
use crate::units::{Interval, Share};

/// A guard that somebody asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardSpec {
    /// Whoever asks. With `heartbeat`, the guard goes when its controller has not been heard of for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// See `controller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Interval>,
    /// `success`, the share of requests that were answered, also by a fallback; `p99`, the time within which 99 of 100 were; or
    /// the name of a metric, as `/metrics` has it. Of a counter (`…_total`) it is the increase a second.
    pub metric: String,
    /// `success` and `p99`: of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `success`: of this route, `routes[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A metric: only series with these labels. The sum of those that are left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It trips below this: `99%`, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Level>,
    /// It trips above this: `2s`, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Level>,
    /// Over how long. 1s to 5m.
    #[serde(default = "five_seconds")]
    pub over: Interval,
    /// `success` and `p99`: nothing is said of fewer requests than this.
    #[serde(default = "twenty")]
    pub min_requests: u64,
}

fn five_seconds() -> Interval {
    Interval(Duration::from_secs(5))
}

fn twenty() -> u64 {
    20
}

/// A threshold as it is written: `99%`, `2s`, or a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Level {
    /// A number.
    Number(f64),
    /// `99%` or `2s`.
    Text(String),
}

/// What a guard watches, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    metric: Metric,
    /// In the metric's own unit: a share as 0.0 to 1.0, a time in seconds.
    below: Option<f64>,
    above: Option<f64>,
    over: Duration,
    min_requests: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Metric {
    Success(Arc<str>),
    RouteSuccess(Arc<str>),
    P99(Arc<str>),
    Series { name: Arc<str>, labels: Vec<(Arc<str>, Arc<str>)> },
}

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

impl GuardSpec {
    /// The same, understood.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn understand(&self) -> Result<Terms, Invalid> {
        let subject = |of: &Option<String>, key| {
            let name = of.as_deref().map(Arc::from);
            name.ok_or_else(|| Invalid::new(key, format!("expected whose `{}` it is about", self.metric)))
        };
        let metric = match (self.metric.as_str(), &self.route) {
            ("success", Some(route)) => Metric::RouteSuccess(Arc::from(route.as_str())),
            ("success", None) => Metric::Success(subject(&self.service, "service")?),
            ("p99", _) => Metric::P99(subject(&self.service, "service")?),
            (name, _) if name.starts_with("outrigger_") || name.starts_with("process_") => {
                let label = |(name, value): (&String, &String)| (Arc::from(name.as_str()), Arc::from(value.as_str()));
                Metric::Series { name: name.into(), labels: self.labels.iter().map(label).collect() }
            }
            (name, _) => {
                let message = format!(
                    "found `{name}`, expected `success`, `p99`, or a metric of `/metrics` like `outrigger_requests_total`"
                );
                return Err(Invalid::new("metric", message));
            }
        };
        let level = |level: &Option<Level>, key: &str| level.as_ref().map(|l| metric.level(l, key)).transpose();
        let (below, above) = (level(&self.below, "below")?, level(&self.above, "above")?);
        if below.is_none() && above.is_none() {
            return Err(Invalid::new("below", "expected `below` or `above`: when does it trip?"));
        }
        if self.over.0 < Duration::from_secs(1) || self.over.0 > Duration::from_secs(300) {
            return Err(Invalid::new("over", format!("found {}, expected 1s to 5m", self.over)));
        }
        if self.heartbeat.is_some() && self.controller.is_none() {
            return Err(Invalid::new("heartbeat", "expected `controller` beside it"));
        }
        Ok(Terms { metric, below, above, over: self.over.0, min_requests: self.min_requests.max(1) })
    }
}

impl Metric {
    fn level(&self, level: &Level, key: &str) -> Result<f64, Invalid> {
        let wrong = |expected: &str| {
            let found = match level {
                Level::Number(n) => n.to_string(),
                Level::Text(text) => text.clone(),
            };
            Invalid::new(key, format!("found `{found}`, expected {expected}"))
        };
        match (self, level) {
            (Self::Success(_) | Self::RouteSuccess(_), Level::Text(text)) => match text.parse::<Share>() {
                Ok(share) if share.0 <= 1.0 => Ok(share.0),
                _ => Err(wrong("a share like `99%`")),
            },
            (Self::Success(_) | Self::RouteSuccess(_), Level::Number(_)) => Err(wrong("a share like `99%`")),
            (Self::P99(_), Level::Text(text)) => {
                text.parse::<Interval>().map(|t| t.0.as_secs_f64()).map_err(|_| wrong("a duration like `2s`"))
            }
            (Self::P99(_), Level::Number(_)) => Err(wrong("a duration like `2s`")),
            (Self::Series { .. }, Level::Number(n)) if n.is_finite() => Ok(*n),
            (Self::Series { .. }, _) => Err(wrong("a number")),
        }
    }

    /// What is counted now; none where there is nothing to count.
    fn sample(&self, facts: &Facts<'_>) -> Option<Sample> {
        match self {
            Self::Success(service) => {
                let totals = facts.snapshot.clusters.get(service)?.shared.metrics.totals();
                Some(Sample::Share(totals.success + totals.degraded, totals.requests()))
            }
            Self::RouteSuccess(name) => {
                let (answered, all) = facts.snapshot.routes.named(name)?.outcomes.read();
                Some(Sample::Share(answered, all))
            }
            Self::P99(service) => {
                Some(Sample::Latency(Box::new(facts.snapshot.clusters.get(service)?.shared.metrics.latency())))
            }
            Self::Series { name, labels } => series(&(facts.metrics)(), name, labels).map(Sample::Value),
        }
    }

    fn is_counter(&self) -> bool {
        matches!(self, Self::Series { name, .. } if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum"))
    }
}

impl Guard {
    /// At its post from now on.
    pub fn new(id: u64, spec: GuardSpec, terms: Terms) -> Self {
        Self { id, spec, terms, samples: VecDeque::new() }
    }

    /// Looks. What it saw, where it trips.
    pub fn look(&mut self, facts: &Facts<'_>, now: Instant) -> Option<Arc<str>> {
        let Terms { metric, over, .. } = &self.terms;
        let sample = metric.sample(facts)?;
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
