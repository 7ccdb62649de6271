//! What a row of checks says of one address, and when the next one is due. Pure: results and the time are handed in.
//!
//! Why not believe the last check? Because a check is one packet on a busy machine: one that is lost says as little
//! about an instance as one that is answered by a process about to die. So a word changes only after several results in
//! a row that contradict it, as in HAProxy's `rise` and `fall`.
//!
//! There is a third word beside the usual two. Before the first results nothing is known, and that is kept apart from
//! both: who is unknown takes traffic, because the registry vouches for it (checks only ever take away what they have
//! seen failing), and is not kept once the registry no longer does. From there one good result is enough, and it takes
//! as many bad ones as from "passing": otherwise a single lost packet after a reload would empty half a pool.
//!
//! Why jitter? Checks that began together, at the start or at a registry's answer, would stay together: a thousand
//! connections in one millisecond, then none for two seconds. Gaps are between 0.8 and 1.0 of the interval (never
//! longer, so that `interval * unhealthy` stays a bound on what is told to operators), and the first is anything.

use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::HealthCheck;
use crate::telemetry::status::CheckStatus;

/// The results of one address's checks so far, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckState {
    word: CheckStatus,
    /// Good results in a row; 0 after a bad one.
    good: u32,
    /// Bad results in a row; stays through the good ones that are too few to change the word.
    bad: u32,
    /// Why the last bad one was bad.
    why: Option<Arc<str>>,
    /// Since when the word is what it is, in milliseconds of the joint's clock; 0 before the first result.
    since: u64,
    /// When the last bad result came, on the same clock; 0 for never.
    last_bad: u64,
}

/// What one more result did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody sees.
    None,
    /// The word is the same, what is told of it is not.
    Told,
    /// The word is another one.
    Status,
}

impl CheckState {
    /// The word.
    pub fn word(&self) -> CheckStatus {
        self.word
    }

    /// Since when it is what it is, in milliseconds of the joint's clock; 0 before the first result.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// When the last bad result came, in milliseconds of the joint's clock; 0 for never.
    pub fn last_bad(&self) -> u64 {
        self.last_bad
    }

    /// Takes one result in: nothing, or why it was bad. `now` is the joint's clock.
    pub fn take(&mut self, result: Result<(), Arc<str>>, rules: &HealthCheck, now: u64) -> Change {
        if self.since == 0 {
            self.since = now;
        }
        let told = (self.word == CheckStatus::Failing).then(|| self.why());
        let word = match result {
            Ok(()) => {
                self.good = self.good.saturating_add(1);
                if self.word == CheckStatus::Unknown || self.good >= rules.healthy {
                    (self.bad, self.why) = (0, None);
                    CheckStatus::Passing
                } else {
                    self.word
                }
            }
            Err(why) => {
                self.bad = if self.good > 0 { 1 } else { self.bad.saturating_add(1) };
                self.good = 0;
                (self.why, self.last_bad) = (Some(why), now);
                if self.bad >= rules.unhealthy { CheckStatus::Failing } else { self.word }
            }
        };
        if word != self.word {
            (self.word, self.since) = (word, now);
            return Change::Status;
        }
        match told {
            Some(told) if told != self.why() => Change::Told,
            _ => Change::None,
        }
    }

    /// Why it fails, for operators: `connection refused (3 in a row)`.
    pub fn why(&self) -> String {
        let why = self.why.as_deref().unwrap_or("no result yet");
        match self.good {
            0 => format!("{why} ({} in a row)", self.bad),
            good => format!("{why} ({} in a row), then {good} good", self.bad),
        }
    }

    /// The verdict for operators: `passing`, `unknown`, `failing: connection refused (3 in a row)`.
    pub fn told(&self) -> String {
        match self.word {
            CheckStatus::Failing => format!("{}: {}", self.word.name(), self.why()),
            word => word.name().into(),
        }
    }
}

/// From the start of one check to the start of the next. `random` is from 0.0 to 1.0. After the first check it is
/// anything up to the interval, which spreads checks that began together.
pub fn gap(interval: Duration, first: bool, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    interval.mul_f64(if first { random } else { 0.8 + 0.2 * random })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::Probe;

    fn rules(healthy: u32, unhealthy: u32) -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            healthy,
            unhealthy,
            keep_absent: Duration::from_secs(30),
        }
    }

    fn result(good: bool) -> Result<(), Arc<str>> {
        if good { Ok(()) } else { Err("connection refused".into()) }
    }

    /// `+` and `-` are results, the letters the word after each.
    fn words(healthy: u32, unhealthy: u32, results: &str) -> String {
        let mut verdict = CheckState::default();
        let mut word = |c| {
            verdict.take(result(c == '+'), &rules(healthy, unhealthy), 1);
            match verdict.word() {
                CheckStatus::Unknown => '?',
                CheckStatus::Passing => 'p',
                CheckStatus::Failing => 'f',
            }
        };
        results.chars().map(&mut word).collect()
    }

    #[test]
    fn a_word_changes_after_enough_results_in_a_row() {
        for (healthy, unhealthy, results, expected) in [
            (2, 3, "+", "p"),
            (2, 3, "---", "??f"),
            (2, 3, "--+---", "??pppf"),
            (2, 3, "+--+--+---", "pppppppppf"),
            (2, 3, "---+-++", "??ffffp"),
            (2, 3, "---+-+-+-++", "??ffffffffp"),
            (1, 1, "-+-+", "fpfp"),
            (3, 1, "-++-+++", "ffffffp"),
        ] {
            assert_eq!(words(healthy, unhealthy, results), expected, "rise {healthy}, fall {unhealthy}: {results}");
        }
    }

    #[test]
    fn it_says_why_since_when_and_how_often() {
        let rules = rules(2, 2);
        let mut verdict = CheckState::default();
        assert_eq!((verdict.told().as_str(), verdict.since()), ("unknown", 0));
        assert_eq!(verdict.take(Err("status 503".into()), &rules, 5), Change::None);
        assert_eq!((verdict.told().as_str(), verdict.since()), ("unknown", 5));
        assert_eq!(verdict.take(Err("connection refused".into()), &rules, 7), Change::Status);
        assert_eq!(verdict.told(), "failing: connection refused (2 in a row)");
        assert_eq!(verdict.take(Err("connection refused".into()), &rules, 9), Change::Told);
        assert_eq!((verdict.why().as_str(), verdict.since()), ("connection refused (3 in a row)", 7));
        assert_eq!(verdict.take(Ok(()), &rules, 11), Change::Told);
        assert_eq!(verdict.why(), "connection refused (3 in a row), then 1 good");
        assert_eq!(verdict.take(Err("status 500".into()), &rules, 13), Change::Told);
        assert_eq!(verdict.told(), "failing: status 500 (1 in a row)");
        verdict.take(Ok(()), &rules, 15);
        assert_eq!(verdict.take(Ok(()), &rules, 17), Change::Status);
        assert_eq!((verdict.told().as_str(), verdict.since()), ("passing", 17));
        assert_eq!(verdict.take(Ok(()), &rules, 19), Change::None);
        assert_eq!(verdict.last_bad(), 13);
    }

    #[test]
    fn gaps_are_never_longer_than_the_interval_nor_much_shorter() {
        let second = Duration::from_secs(1);
        for (first, random, expected) in [
            (false, 0.0, 800),
            (false, 0.5, 900),
            (false, 1.0, 1000),
            (true, 0.0, 0),
            (true, 0.5, 500),
            (true, 1.0, 1000),
            (false, 7.0, 1000),
        ] {
            let expected = Duration::from_millis(expected);
            assert!(gap(second, first, random).abs_diff(expected) < Duration::from_micros(1), "{first} {random}");
        }
    }

    proptest! {
        #[test]
        fn no_word_without_enough_in_a_row(
            healthy in 1..5u32, unhealthy in 1..5u32, results in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let rules = rules(healthy, unhealthy);
            let mut verdict = CheckState::default();
            for (at, good) in results.iter().enumerate() {
                let (before, now) = (verdict.clone(), at as u64 + 1);
                let change = verdict.take(result(*good), &rules, now);
                prop_assert_eq!(change == Change::Status, before.word() != verdict.word());
                let row = results[..=at].iter().rev().take_while(|r| *r == good).count() as u32;
                match verdict.word() {
                    CheckStatus::Unknown => prop_assert!(results[..=at].iter().all(|r| !r) && row < unhealthy),
                    _ if verdict.word() == before.word() => {
                        prop_assert_eq!(verdict.since(), before.since());
                        // What has been contradicted often enough in a row does not stay.
                        let contradicted = *good != (verdict.word() == CheckStatus::Passing);
                        let enough = if *good { healthy } else { unhealthy };
                        prop_assert!(!contradicted || row < enough);
                    }
                    CheckStatus::Passing => {
                        prop_assert!(*good && (before.word() == CheckStatus::Unknown || row >= healthy));
                        prop_assert_eq!(verdict.since(), now);
                    }
                    CheckStatus::Failing => {
                        prop_assert!(!*good && row >= unhealthy);
                        prop_assert_eq!(verdict.since(), now);
                    }
                }
            }
        }
    }
}
