//! What the calls of a round come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::client::End;

/// One call, as the client saw it. Times are in seconds from the start of the round; what was warm-up is below 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// Whose it is.
    pub user: u32,
    /// Of which service.
    pub service: u32,
    /// Whether it must not be repeated.
    pub post: bool,
    /// When it was sent.
    pub sent: f64,
    /// When it ended.
    pub ended: f64,
    /// How.
    pub end: End,
}

/// Calls by what is asked of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All.
    pub all: u64,
    /// Without an answer.
    pub failed: u64,
}

impl Count {
    fn add(&mut self, failed: bool) {
        self.all += 1;
        self.failed += u64::from(failed);
    }

    /// The share that was answered, in percent.
    pub fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { (self.all - self.failed) as f64 / self.all as f64 * 100.0 }
    }
}

/// User requests and calls of a round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// User requests: failed if any of their calls did.
    pub users: Count,
    /// The same, as if their POSTs had not been.
    pub users_by_gets: Count,
    /// Calls with GET.
    pub gets: Count,
    /// Calls with POST.
    pub posts: Count,
    /// Calls that were answered by a fallback.
    pub degraded: u64,
    /// Failed calls by how.
    pub failures: BTreeMap<String, u64>,
    /// Median and 99th percentile of the time of good calls, in milliseconds.
    pub p50_ms: f64,
    /// See there.
    pub p99_ms: f64,
}

impl Tally {
    /// Of the calls of the round; a user request belongs to it if its first call was sent in it.
    pub fn of(calls: &[Call]) -> Self {
        let mut users: BTreeMap<u32, (f64, bool, bool)> = BTreeMap::new();
        for call in calls {
            let failed = !call.end.is_answered();
            let (sent, any, get) = users.entry(call.user).or_insert((call.sent, false, false));
            *sent = sent.min(call.sent);
            *any |= failed;
            *get |= failed && !call.post;
        }
        users.retain(|_, (sent, ..)| *sent >= 0.0);
        let mut tally = Self::default();
        for (_, any, get) in users.values() {
            tally.users.add(*any);
            tally.users_by_gets.add(*get);
        }
        let mut times = Vec::new();
        for call in calls.iter().filter(|c| users.contains_key(&c.user)) {
            let failed = !call.end.is_answered();
            if call.post { &mut tally.posts } else { &mut tally.gets }.add(failed);
            tally.degraded += u64::from(call.end == End::Degraded);
            if failed {
                let method = if call.post { "POST" } else { "GET" };
                *tally.failures.entry(format!("{method} {}", name(call.end))).or_default() += 1;
            }
            if call.end == End::Good {
                times.push((call.ended - call.sent) * 1000.0);
            }
        }
        times.sort_by(f64::total_cmp);
        tally.p50_ms = percentile(&times, 0.5).unwrap_or_default();
        tally.p99_ms = percentile(&times, 0.99).unwrap_or_default();
        tally
    }
}

fn name(end: End) -> String {
    match end {
        End::Status(status) => status.to_string(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The value that a share of the sorted ones does not exceed: the nearest rank.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// From when the trouble is over until calls succeed again, in seconds: the first tenth of a second from which on, for a
/// second, 95 % of the calls that are sent succeed, those of that tenth too (90 % of them). None if there is none
/// before `end`.
pub fn recovery<'a>(calls: impl Iterator<Item = &'a Call>, over: f64, end: f64) -> Option<f64> {
    const STEP: f64 = 0.1;
    const STEADY: usize = 10;
    let steps = ((end - over) / STEP + 1e-9).floor() as usize;
    let mut counts = vec![Count::default(); steps];
    for call in calls {
        let at = ((call.sent - over) / STEP + 1e-9).floor();
        if at >= 0.0 && (at as usize) < steps {
            counts[at as usize].add(!call.end.is_answered());
        }
    }
    let steady = |from: usize| {
        let second = counts.get(from..from + STEADY)?;
        let sum =
            second.iter().fold(Count::default(), |s, c| Count { all: s.all + c.all, failed: s.failed + c.failed });
        Some(sum.all > 0 && sum.percent() >= 95.0 && counts[from].percent() >= 90.0)
    };
    (0..steps).find(|from| steady(*from) == Some(true)).map(|from| from as f64 * STEP)
}

/// Requests that came to the services, by the calls that were sent between two times.
pub fn amplification<'a>(came: u64, calls: impl Iterator<Item = &'a Call>, from: f64, to: f64) -> f64 {
    let sent = calls.filter(|c| (from..to).contains(&c.sent)).count();
    came as f64 / sent.max(1) as f64
}

/// Calls that ended well between two times, by what the service could have done in that time.
pub fn goodput(calls: &[Call], from: f64, to: f64, per_second: f64) -> f64 {
    let good = calls.iter().filter(|c| c.end == End::Good && (from..to).contains(&c.ended)).count();
    good as f64 / ((to - from) * per_second)
}

/// The middle of some numbers, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; of two, their mean.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// None of none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted = numbers.into_iter().collect::<Vec<_>>();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(user: u32, post: bool, sent: f64, end: End) -> Call {
        Call { user, service: 0, post, sent, ended: sent + 0.01, end }
    }

    #[test]
    fn one_failed_call_fails_its_user_and_a_failed_post_spares_the_gets() {
        let calls = [
            call(1, false, 1.0, End::Good),
            call(1, true, 1.0, End::Status(503)),
            call(2, false, 1.0, End::Good),
            call(2, false, 1.1, End::Late),
            call(3, false, 2.0, End::Degraded),
            call(3, true, 2.0, End::Good),
            // Warm-up: its first call was sent before the round.
            call(4, false, -0.1, End::Broken),
            call(4, false, 0.1, End::Broken),
        ];
        let tally = Tally::of(&calls);
        assert_eq!(tally.users, Count { all: 3, failed: 2 });
        assert_eq!(tally.users_by_gets, Count { all: 3, failed: 1 });
        assert_eq!(tally.gets, Count { all: 4, failed: 1 });
        assert_eq!(tally.posts, Count { all: 2, failed: 1 });
        assert_eq!(tally.degraded, 1);
        assert_eq!(tally.failures, BTreeMap::from([("GET late".into(), 1), ("POST 503".into(), 1)]));
        assert!((tally.p50_ms - 10.0).abs() < 1e-6);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let numbers = (1..=200).map(f64::from).collect::<Vec<_>>();
        assert_eq!(percentile(&numbers, 0.5), Some(100.0));
        assert_eq!(percentile(&numbers, 0.99), Some(198.0));
        assert_eq!(percentile(&numbers[..1], 0.99), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn recovery_is_the_first_tenth_of_a_steady_second() {
        let steady = |from: f64| {
            let calls = (0..1000).map(|n| f64::from(n) * 0.01);
            calls.map(|at| call(0, false, at, if at < from { End::Late } else { End::Good })).collect::<Vec<_>>()
        };
        let seen = |calls: &[Call]| recovery(calls.iter(), 5.0, 10.0);
        assert_eq!(seen(&steady(0.0)), Some(0.0));
        assert!((seen(&steady(5.8)).unwrap() - 0.8).abs() < 1e-9);
        assert_eq!(seen(&steady(9.5)), None, "half a second is no steady second");
        let mut relapse = steady(5.0);
        relapse.iter_mut().filter(|c| (5.5..5.7).contains(&c.sent)).for_each(|c| c.end = End::Status(503));
        assert!((seen(&relapse).unwrap() - 0.7).abs() < 1e-9, "{:?}", seen(&relapse));
        assert_eq!(recovery([].iter(), 5.0, 10.0), None, "silence is no success");
    }

    #[test]
    fn goodput_counts_what_ended_well_in_time() {
        let mut calls = (0..100).map(|n| call(n, false, f64::from(n) * 0.1, End::Good)).collect::<Vec<_>>();
        assert!((goodput(&calls, 0.0, 5.0, 10.0) - 1.0).abs() < 0.03);
        calls.iter_mut().step_by(2).for_each(|c| c.end = End::Status(503));
        assert!((goodput(&calls, 0.0, 5.0, 10.0) - 0.5).abs() < 0.03);
    }

    #[test]
    fn amplification_is_what_came_by_what_was_sent_in_that_time() {
        let calls = (0..100).map(|n| call(n, false, f64::from(n) * 0.1, End::Late)).collect::<Vec<_>>();
        assert!((amplification(60, calls.iter(), 2.0, 7.0) - 1.2).abs() < 0.03);
        assert!((amplification(0, [].iter(), 2.0, 7.0)).abs() < 1e-9);
    }

    #[test]
    fn a_spread_has_its_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
