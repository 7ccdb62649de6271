//! What absorbed a fault: the proxy's accounts of the dependency, before it and after it.
//!
//! The proxy keeps two accounts of every service ([`availability`](crate::telemetry::availability)): what its first attempts
//! were worth, and what its clients got. Their difference over a row of the matrix is what resilience did about the fault, and
//! by which means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words::{kinds, percent};

/// A service's account: since it is followed, or between two moments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Requests that count.
    pub requests: u64,
    /// Of which the first attempt was good, as far as is known.
    pub first_good: u64,
    /// Answered, by a fallback too.
    pub answered: u64,
    /// Of which by a fallback.
    pub degraded: u64,
    /// By what saved them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rescued: BTreeMap<String, u64>,
    /// By what they were lost to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, u64>,
}

impl Account {
    /// What was added since `earlier`. A service that was forgotten in between begins at nothing.
    pub fn since(&self, earlier: &Self) -> Self {
        let forgotten = self.requests < earlier.requests;
        let earlier = if forgotten { &Self::default() } else { earlier };
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let each =
                now.iter().map(|(name, n)| (name.clone(), n.saturating_sub(then.get(name).copied().unwrap_or(0))));
            each.filter(|(_, n)| *n > 0).collect()
        };
        Self {
            requests: self.requests - earlier.requests,
            first_good: self.first_good.saturating_sub(earlier.first_good),
            answered: self.answered.saturating_sub(earlier.answered),
            degraded: self.degraded.saturating_sub(earlier.degraded),
            rescued: less(&self.rescued, &earlier.rescued),
            lost: less(&self.lost, &earlier.lost),
        }
    }

    /// Of several proxies together.
    pub fn add(&mut self, other: &Self) {
        for (from, to) in [
            (other.requests, &mut self.requests),
            (other.first_good, &mut self.first_good),
            (other.answered, &mut self.answered),
            (other.degraded, &mut self.degraded),
        ] {
            *to = to.saturating_add(from);
        }
        for (from, to) in [(&other.rescued, &mut self.rescued), (&other.lost, &mut self.lost)] {
            for (name, n) in from {
                let sum = to.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*n);
            }
        }
    }

    /// How many requests were answered whose first attempt was not good. One that a hedge overtook would have been.
    pub fn saved(&self) -> u64 {
        self.answered.saturating_sub(self.first_good)
    }
}

/// `raw 71 % -> seen 100 %, by retry 22, other endpoint 6, hedge 1`.
impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.requests == 0 {
            return f.write_str("no requests");
        }
        let share = |part: u64| percent(part, self.requests);
        write!(f, "raw {} -> seen {}", share(self.first_good), share(self.answered))?;
        if !self.rescued.is_empty() {
            write!(f, ", by {}", kinds(&self.rescued))?;
        }
        if !self.lost.is_empty() {
            write!(f, "; lost to {}", kinds(&self.lost))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(requests: u64, first_good: u64, answered: u64, retry: u64) -> Account {
        let rescued = [("retry".to_owned(), retry), ("other_endpoint".to_owned(), 6)].into();
        Account { requests, first_good, answered, rescued, ..Account::default() }
    }

    #[test]
    fn what_absorbed_it_is_the_difference_of_two_accounts() {
        let (before, after) = (account(100, 100, 100, 0), account(200, 171, 200, 23));
        let row = after.since(&before);
        assert_eq!(row.to_string(), "raw 71 % -> seen 100 %, by retry 23");
        assert_eq!(row.saved(), 29);
        assert_eq!(before.since(&after).requests, 100, "a service that is followed anew begins at nothing");
        assert_eq!(Account::default().to_string(), "no requests");
        let mut both = row.clone();
        both.add(&Account { lost: [("timeout".to_owned(), 2)].into(), requests: 100, answered: 98, ..row });
        assert_eq!(both.to_string(), "raw 71 % -> seen 99 %, by retry 46; lost to timeout 2");
    }
}
