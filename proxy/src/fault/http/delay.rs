//! `delay`: the request waits before it goes on.
//!
//! A real dependency is not slow by a constant. Three shapes: the same for all, evenly between two bounds, or lognormal,
//! which is how latencies of services are commonly spread: most near the median, a few far beyond it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Interval;

/// Delays a request: `fixed`, or evenly from `min` to `max`, or lognormal by `median` and `p99`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delay {
    /// The same for every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Interval>,
    /// Evenly spread: the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Interval>,
    /// Evenly spread: the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Interval>,
    /// Lognormal: half of the requests wait less than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<Interval>,
    /// Lognormal: one of a hundred waits longer than this. No wait is longer than ten times this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<Interval>,
}

/// The standard normal distribution's 99th percentile.
const Z99: f64 = 2.326_347_874;

impl Delay {
    pub(super) fn checked(self) -> Result<Self, String> {
        match (self.fixed, self.min, self.max, self.median, self.p99) {
            (Some(_), None, None, None, None) => Ok(self),
            (None, Some(min), Some(max), None, None) if min.0 <= max.0 => Ok(self),
            (None, Some(min), Some(max), None, None) => Err(format!("found `min: {min}` above `max: {max}`")),
            (None, None, None, Some(median), Some(p99)) if !median.0.is_zero() && median.0 <= p99.0 => Ok(self),
            (None, None, None, Some(_), Some(_)) => Err("expected `median` above 0 and at most `p99`".into()),
            _ => Err("expected `fixed`, or `min` and `max`, or `median` and `p99`".into()),
        }
    }

    /// How long one request waits. Both are even in `0.0..1.0`.
    pub fn draw(&self, one: f64, two: f64) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed.0;
        }
        if let (Some(min), Some(max)) = (self.min, self.max) {
            return min.0 + (max.0 - min.0).mul_f64(one);
        }
        let (Some(median), Some(p99)) = (self.median, self.p99) else { return Duration::ZERO };
        let sigma = (p99.0.as_secs_f64() / median.0.as_secs_f64()).ln() / Z99;
        lognormal(median.0, sigma, one, two).min(p99.0 * 10)
    }

    /// The same for every request.
    pub fn fixed(delay: Duration) -> Self {
        Self { fixed: Some(Interval(delay)), ..Self::default() }
    }
}

/// A time of a lognormal distribution with this median and this standard deviation of its logarithm. `one` and `two` are even
/// in `0.0..1.0` (Box and Muller's method).
pub fn lognormal(median: Duration, sigma: f64, one: f64, two: f64) -> Duration {
    // 1 - one is never 0.
    let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos();
    median.mul_f64((sigma * normal).exp())
}
