//! What was learned of a service's answers, and what follows from it: or why nothing does.
//!
//! A time that a proxy has found by itself is believed only by whoever can see it. So each has its reason beside it, and
//! so does each that is not there.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::settings::{PerTry, Policy};
use crate::counts::paces::Pace;
use crate::resilience::latency_policy::{HEDGE_SAMPLES, Known, TRY_SAMPLES};
use crate::resilience::retry;
use crate::resilience::sketch::Quantile;
use crate::snapshot::{Cluster, Snapshot};

/// What is known of the requests of one route and method.
#[derive(Debug, Serialize)]
pub struct LearnedEntry {
    /// `routes[2]`; none for those that reached the service by its name.
    pub route: Option<Arc<str>>,
    /// `GET`; `other` for one that is not told apart.
    pub method: &'static str,
    /// Answers that are remembered, by all workers.
    pub samples: u64,
    /// What half of them stay within, to the worker that knows most.
    pub p50_ms: Option<f64>,
    /// What all but a hundredth stay within; none also where that is longer than anybody has waited.
    pub p99_ms: Option<f64>,
    /// When a try is taken for stuck and another one starts beside it; none for never.
    pub per_try_ms: Option<f64>,
    /// Why then, or why never.
    pub per_try: String,
    /// When a hedge starts; none for never.
    pub hedge_ms: Option<f64>,
    /// Why then, or why never.
    pub hedge: String,
}

/// A time, or none, and why.
type Told = (Option<Duration>, String);

/// What is known of a service's requests. Those of routes that are gone are left out.
pub fn learned(snapshot: &Snapshot, cluster: &Cluster) -> Vec<LearnedEntry> {
    let entry = |pace: Pace| {
        let policy = match &pace.route {
            None => &cluster.policy,
            Some(name) => &snapshot.routes.named_to(name, &cluster.name)?.policy,
        };
        let (per_try, hedge) = (per_try(&pace, policy), hedge(&pace, policy));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Some(LearnedEntry {
            method: if pace.method.is_empty() { "other" } else { pace.method },
            samples: pace.samples,
            p50_ms: pace.known.p50.time().map(ms),
            p99_ms: pace.known.p99.time().map(ms),
            per_try_ms: per_try.0.map(ms),
            per_try: per_try.1,
            hedge_ms: hedge.0.map(ms),
            hedge: hedge.1,
            route: pace.route,
        })
    };
    cluster.shared.paces.read().into_iter().filter_map(entry).collect()
}

/// Why there is neither, whatever was learned.
fn never(pace: &Pace, policy: &Policy) -> Option<String> {
    let repeated = policy.retries.any_method || pace.method.is_empty() || retry::is_idempotent(pace.method.as_bytes());
    if policy.retries.max == 0 {
        Some("off: `retries.max` is 0".to_owned())
    } else if !repeated {
        Some(format!("a {} is not sent twice", pace.method))
    } else {
        None
    }
}

fn per_try(pace: &Pace, policy: &Policy) -> Told {
    let Known { p99, samples, .. } = pace.known;
    if let Some(why) = never(pace, policy) {
        return (None, why);
    }
    let time = pace.known.per_try(&policy.per_try, policy.timeout);
    let why = match policy.per_try {
        PerTry::Off => "off".to_owned(),
        PerTry::Fixed(_) => "as configured".to_owned(),
        PerTry::Learned { .. } if samples < TRY_SAMPLES => {
            format!("the ceiling: a worker needs {TRY_SAMPLES} answers and has {samples}")
        }
        PerTry::Learned { .. } if p99 == Quantile::Beyond => {
            "the ceiling: the p99 is longer than anybody has waited".to_owned()
        }
        PerTry::Learned { multiple, .. } => format!("{multiple} times the p99, within floor and ceiling"),
    };
    (time, why)
}

fn hedge(pace: &Pace, policy: &Policy) -> Told {
    let Known { p99, samples, lent, .. } = pace.known;
    if policy.hedge.share <= 0.0 {
        return (None, "off".to_owned());
    }
    if let Some(why) = never(pace, policy) {
        return (None, why);
    }
    if !retry::is_safe(pace.method.as_bytes()) {
        return (None, "only GET and HEAD are hedged".to_owned());
    }
    let time = pace.known.hedge(&policy.hedge);
    let why = if time.is_none() && samples < HEDGE_SAMPLES {
        format!("a worker needs {HEDGE_SAMPLES} answers and has {samples}")
    } else if time.is_none() {
        "the p99 was never known".to_owned()
    } else if samples < HEDGE_SAMPLES && lent.is_some() {
        "another worker's p99".to_owned()
    } else if p99 == Quantile::Beyond {
        "twice the last p99 that was known".to_owned()
    } else {
        "the p99, and not below the floor".to_owned()
    };
    (time, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Hedge;

    const MS: Duration = Duration::from_millis(1);

    fn pace(method: &'static str, samples: u32, p99: Quantile) -> Pace {
        let known = Known { p50: p99, p99, usual: p99.time(), samples, ..Known::default() };
        Pace { route: None, method, known, samples: u64::from(samples) }
    }

    fn told(pace: &Pace, policy: &Policy) -> [String; 2] {
        let line = |(time, why): Told| format!("{time:?} {why}").replace("Some", "");
        [line(per_try(pace, policy)), line(hedge(pace, policy))]
    }

    #[test]
    fn each_time_has_its_reason_and_so_does_each_that_is_missing() {
        let (p99, default) = (Quantile::Within(10 * MS), Policy::default());
        let cases = [
            (
                pace("GET", 500, p99),
                "(30ms) 3 times the p99, within floor and ceiling",
                "(10ms) the p99, and not below the floor",
            ),
            (
                pace("GET", 499, p99),
                "(5s) the ceiling: a worker needs 500 answers and has 499",
                "(10ms) the p99, and not below the floor",
            ),
            (
                pace("GET", 29, p99),
                "(5s) the ceiling: a worker needs 500 answers and has 29",
                "None a worker needs 30 answers and has 29",
            ),
            (
                pace("PUT", 500, p99),
                "(30ms) 3 times the p99, within floor and ceiling",
                "None only GET and HEAD are hedged",
            ),
            (pace("POST", 500, p99), "None a POST is not sent twice", "None a POST is not sent twice"),
            (
                pace("GET", 500, Quantile::Beyond),
                "(5s) the ceiling: the p99 is longer than anybody has waited",
                "None the p99 was never known",
            ),
        ];
        for (pace, per_try, hedge) in cases {
            assert_eq!(told(&pace, &default), [per_try, hedge], "{pace:?}");
        }
        let mut lent = pace("GET", 3, p99);
        lent.known.lent = Some(40 * MS);
        assert_eq!(told(&lent, &default)[1], "(40ms) another worker's p99");
        let mut beyond = pace("GET", 500, Quantile::Beyond);
        beyond.known.usual = Some(7 * MS);
        assert_eq!(told(&beyond, &default)[1], "(14ms) twice the last p99 that was known");
    }

    #[test]
    fn what_is_off_says_so() {
        let pace = pace("GET", 500, Quantile::Within(10 * MS));
        let off = Policy { per_try: PerTry::Off, hedge: Hedge { share: 0.0, ..Hedge::default() }, ..Policy::default() };
        assert_eq!(told(&pace, &off), ["None off", "None off"]);
        let fixed = Policy { per_try: PerTry::Fixed(7 * MS), ..Policy::default() };
        assert_eq!(told(&pace, &fixed)[0], "(7ms) as configured");
        let mut once = Policy::default();
        once.retries.max = 0;
        assert_eq!(told(&pace, &once), ["None off: `retries.max` is 0", "None off: `retries.max` is 0"]);
    }
}
