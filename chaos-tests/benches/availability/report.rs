//! What the rounds come to, in a table and in JSON. Every round is shown, not only the middle one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{Came, Seen};
use crate::peers::Peer;
use crate::rounds::Outcome;
use crate::scenario::{Measure, Scenario};

/// What one proxy reached in one round.
#[derive(Debug, Clone)]
pub struct Cell {
    pub users: usize,
    pub failed: usize,
    pub degraded: usize,
    /// User requests of which a GET failed.
    pub lost_gets: usize,
    /// User requests of which a POST failed.
    pub lost_posts: usize,
    pub doubled: usize,
    /// Of the row's own measure: amplification, or the share of capacity.
    pub ratio: Option<f64>,
    /// Seconds until all was well.
    pub back: Option<f64>,
    pub p99_ms: f64,
    /// What the failed calls came to, by service 0 and the others.
    pub why: BTreeMap<String, usize>,
}

impl Cell {
    pub fn of(scenario: &Scenario, outcome: &Outcome) -> Self {
        let seen = &outcome.seen;
        let count = |is: &dyn Fn(&crate::client::User) -> bool| seen.users.iter().filter(|u| is(u)).count();
        let (ratio, back) = match scenario.measure {
            Measure::Outage { from, to } => (Some(amplification(seen, outcome.upstream)), Some(back(seen, to, from))),
            Measure::Overload { from, to, capacity } => {
                (Some(goodput(seen, from, to) / capacity), Some(back(seen, to, from)))
            }
            Measure::Users | Measure::Gets => (None, None),
        };
        let mut why = BTreeMap::new();
        for call in seen.calls.iter().filter(|c| !matches!(c.came, Came::Good | Came::Degraded)) {
            let whose = if call.service == 0 { "s0" } else { "other" };
            let method = if call.post { "POST" } else { "GET" };
            *why.entry(format!("{whose} {method} {:?}", call.came)).or_default() += 1;
        }
        Self {
            users: seen.users.len(),
            failed: count(&|u| !u.good),
            degraded: count(&|u| u.good && u.degraded),
            lost_gets: count(&|u| u.lost_get),
            lost_posts: count(&|u| u.lost_post),
            doubled: outcome.doubled,
            ratio,
            back,
            p99_ms: p99(seen),
            why,
        }
    }

    /// The share of users that got what they wanted.
    pub fn success(&self) -> f64 {
        1.0 - self.failed as f64 / self.users.max(1) as f64
    }

    pub fn json(&self, peer: Peer, scenario: &Scenario, round: usize) -> Value {
        json!({
            "scenario": scenario.name, "peer": peer.name(), "round": round, "users": self.users, "failed": self.failed,
            "success": self.success(), "degraded": self.degraded, "lost_gets": self.lost_gets,
            "lost_posts": self.lost_posts, "doubled_posts": self.doubled, "ratio": self.ratio, "back_s": self.back,
            "p99_ms": self.p99_ms, "why": self.why,
        })
    }

    /// As it stands in the table.
    fn text(&self, scenario: &Scenario) -> String {
        let mut text = match scenario.measure {
            Measure::Overload { .. } => format!("{:.0} % of capacity", 100.0 * self.ratio.unwrap_or_default()),
            _ => format!("{:.2}", 100.0 * self.success()),
        };
        if scenario.measure == Measure::Gets && self.failed > 0 {
            text += &format!(" (GET {}, POST {} of {})", self.lost_gets, self.lost_posts, self.users);
        }
        if let (Measure::Outage { .. }, Some(ratio)) = (scenario.measure, self.ratio) {
            text += &format!(", degraded {:.0} %, × {ratio:.2}", 100.0 * self.degraded as f64 / self.users as f64);
        }
        if let Some(back) = self.back {
            text += &format!(", back {back:.1} s");
        }
        if self.doubled > 0 {
            text += &format!(", **{} POSTs twice**", self.doubled);
        }
        text
    }
}

/// Upstream requests to the first service for each call of a client.
fn amplification(seen: &Seen, upstream: u64) -> f64 {
    let calls = seen.calls.iter().filter(|c| c.service == 0).count();
    // The warm-up's are among the fleet's counts: as many again for each of its seconds.
    let warm = calls as f64 * crate::rounds::WARM_UP / 15.0;
    upstream as f64 / (calls as f64 + warm)
}

/// Good answers a second, between two times.
pub fn goodput(seen: &Seen, from: f64, to: f64) -> f64 {
    let within = |c: &&crate::client::Call| {
        let done = (c.at + c.took).as_secs_f64();
        done >= from && done < to && c.came == Came::Good
    };
    seen.calls.iter().filter(within).count() as f64 / (to - from)
}

/// How long after `end` until every user of the next half second, and of all halves of seconds after, got what they
/// wanted (one in a hundred may not).
pub fn back(seen: &Seen, end: f64, _from: f64) -> f64 {
    let last = seen
        .users
        .iter()
        .filter(|u| u.at.as_secs_f64() >= end && (!u.good || u.degraded))
        .map(|u| u.at.as_secs_f64() - end)
        .collect::<Vec<_>>();
    let after = seen.users.iter().filter(|u| u.at.as_secs_f64() >= end).count();
    let mut last = last;
    last.sort_by(f64::total_cmp);
    // One in a hundred may fail for reasons of its own.
    last.truncate(last.len().saturating_sub(after / 100));
    last.last().copied().unwrap_or(0.0)
}

fn p99(seen: &Seen) -> f64 {
    let mut took: Vec<f64> = seen.calls.iter().map(|c| c.took.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// A row of the table.
pub fn row(scenario: &Scenario, peers: &[Peer], rounds: &[Vec<Cell>]) -> String {
    let mut row = format!("| {} | {} |", scenario.title, scenario.goal);
    for at in 0..peers.len() {
        let cells: Vec<_> = rounds.iter().map(|round| round[at].text(scenario)).collect();
        row += &format!(" {} |", cells.join(" · "));
    }
    row
}

/// The table's head.
pub fn head(peers: &[Peer]) -> String {
    let names: Vec<_> = peers.iter().map(|p| p.name()).collect();
    format!("| scenario | to reach | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(peers.len()))
}
