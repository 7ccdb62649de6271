//! Guards, as they are asked for: what must stay true while something is broken on purpose, or everything is put back.
//!
//! A drill is to show what breaks, and what it shows may be worse than anybody thought. So a guard watches what the drill must
//! not hurt: the share of a service's or of a route's requests that succeed, how long they take, or any metric that the
//! process exposes. Who looks, and how often, is [`fault_manager::guard`](crate::fault_manager::guard).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::Invalid;
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
    pub(crate) metric: Metric,
    /// In the metric's own unit: a share as 0.0 to 1.0, a time in seconds.
    pub(crate) below: Option<f64>,
    pub(crate) above: Option<f64>,
    pub(crate) over: Duration,
    pub(crate) min_requests: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Metric {
    Success(Arc<str>),
    RouteSuccess(Arc<str>),
    P99(Arc<str>),
    Series { name: Arc<str>, labels: Vec<(Arc<str>, Arc<str>)> },
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

    /// Whether it only rises, so that its increase is what counts.
    pub(crate) fn is_counter(&self) -> bool {
        matches!(self, Self::Series { name, .. } if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum"))
    }
}
