//! Tables in Markdown, so that they can be kept as they are.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::numbers::Spread;
use super::round::{Cell, Outcome};
use super::scenario::{Measure, Scenario};

/// A run, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The machine and the programs.
    pub about: Vec<String>,
    /// Scenario by scenario.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The rounds of another run beside those of this; a scenario that was run again replaces what there was.
    pub fn merge(&mut self, other: Self) {
        self.about = other.about;
        for outcome in other.outcomes {
            self.outcomes.retain(|o| o.scenario != outcome.scenario);
            self.outcomes.push(outcome);
        }
    }

    /// The whole of it.
    pub fn markdown(&self, scenarios: &[Scenario]) -> String {
        let mut out = String::new();
        for line in &self.about {
            let _ = writeln!(out, "{line}  ");
        }
        self.summary(scenarios, &mut out);
        for (scenario, outcome) in self.pairs(scenarios) {
            rounds(scenario, outcome, &mut out);
        }
        out
    }

    fn pairs<'a>(&'a self, scenarios: &'a [Scenario]) -> impl Iterator<Item = (&'a Scenario, &'a Outcome)> {
        let of = |s: &'a Scenario| self.outcomes.iter().find(|o| o.scenario == s.name).map(|o| (s, o));
        scenarios.iter().filter_map(of)
    }

    fn peers(&self) -> Vec<&str> {
        let mut peers = Vec::new();
        for cell in self.outcomes.iter().flat_map(|o| &o.cells) {
            if !peers.contains(&cell.peer.as_str()) {
                peers.push(&cell.peer);
            }
        }
        peers
    }

    fn summary(&self, scenarios: &[Scenario], out: &mut String) {
        let peers = self.peers();
        let _ = writeln!(out, "\n| what goes wrong | to reach | {} |", peers.join(" | "));
        let _ = writeln!(out, "|---|---|{}", "---|".repeat(peers.len()));
        for (scenario, outcome) in self.pairs(scenarios) {
            let _ = write!(out, "| {} | {} |", scenario.says, scenario.goal);
            for peer in &peers {
                let all = outcome.cells.iter().filter(|c| c.peer == *peer);
                let quiet = all.clone().filter(|c| !outcome.disturbed(c)).collect::<Vec<_>>();
                let all = all.collect::<Vec<_>>();
                let _ = match (all.is_empty(), outcome.absent.contains_key(*peer)) {
                    (true, true) => write!(out, " did not start |"),
                    (true, false) => write!(out, " |"),
                    _ if quiet.is_empty() => write!(out, " disturbed: {} |", cell(scenario, &all)),
                    _ => write!(out, " {} |", cell(scenario, &quiet)),
                };
            }
            let _ = writeln!(out);
        }
    }
}

fn main_number(scenario: &Scenario, cell: &Cell) -> f64 {
    match scenario.measure {
        Measure::Users => cell.tally.users.percent(),
        Measure::UsersByGets => cell.tally.users_by_gets.percent(),
        Measure::Goodput => cell.goodput.unwrap_or_default() * 100.0,
    }
}

/// The row's number, and what else the row asks for.
fn cell(scenario: &Scenario, cells: &[&Cell]) -> String {
    let spread = |of: &dyn Fn(&Cell) -> f64| Spread::of(cells.iter().map(|c| of(c)));
    let mut said = spread(&|c| main_number(scenario, c)).map_or_else(String::new, percents);
    if scenario.measure == Measure::Users {
        let gets = spread(&|c| c.tally.users_by_gets.percent()).map_or_else(String::new, percents);
        let _ = write!(said, "; GETs {gets}");
    }
    if let Some(allowed) = scenario.allowed {
        let users = cells.iter().map(|c| c.tally.users.all).sum::<u64>().max(1) as f64;
        let error = (allowed * (1.0 - allowed) / users).sqrt();
        let failed = cells.iter().map(|c| c.tally.users.failed).sum::<u64>() as f64;
        let off = ((1.0 - failed / users) - allowed) / error;
        let _ = write!(said, "; {off:+.1} SE from {:.1}", allowed * 100.0);
    }
    if scenario.focus.is_some() {
        let never = cells.iter().filter(|c| c.recovery_s.is_none()).count();
        let _ = match Spread::of(cells.iter().filter_map(|c| c.recovery_s)) {
            _ if never > 0 => write!(said, "; never back in {never} of {}", cells.len()),
            Some(Spread { median, max, .. }) => write!(said, "; back in {median:.1} s (..{max:.1})"),
            None => Ok(()),
        };
        if let Some(Spread { median, max, .. }) = spread(&|c| c.amplification) {
            let _ = write!(said, "; × {median:.2} (..{max:.2})");
        }
    }
    if scenario.fallback {
        let others = cells.iter().map(|c| c.others_failed).sum::<u64>();
        let degraded = cells.iter().map(|c| c.tally.degraded).sum::<u64>();
        let _ = write!(said, "; {degraded} degraded, {others} failed elsewhere");
    }
    let doubled = cells.iter().map(|c| c.doubled).sum::<u64>();
    if doubled > 0 {
        let _ = write!(said, "; **{doubled} POSTs TWICE**");
    }
    said
}

fn percents(spread: Spread) -> String {
    format!("{:.2} ({:.2}..{:.2})", spread.median, spread.min, spread.max)
}

fn rounds(scenario: &Scenario, outcome: &Outcome, out: &mut String) {
    let _ = writeln!(out, "\n### {}: {}\n\n{}.\n", scenario.name, scenario.says, outcome.how);
    for (peer, why) in &outcome.absent {
        let _ = writeln!(out, "{peer} did not start: {why}\n");
    }
    for weather in &outcome.weather {
        let _ = writeln!(
            out,
            "Round {}{}: cores {:.0} % busy, starts {:.1} ms late at p99, control {} of {} failed{}  ",
            weather.round + 1,
            weather.peer.as_ref().map_or_else(String::new, |p| format!(", {p}")),
            weather.busy,
            weather.late_p99_ms,
            weather.control_failed,
            weather.control,
            if weather.disturbed() { ": DISTURBED, not to be quoted" } else { "" }
        );
    }
    let _ = writeln!(
        out,
        "\n| | round | users failed | by their GETs | GETs failed | POSTs failed | POSTs twice | degraded | upstream ÷ calls | \
         back after s | goodput | p50 ms | p99 ms | failures |\n|---|{}",
        "---|".repeat(13)
    );
    for c in &outcome.cells {
        let t = &c.tally;
        let back = match (scenario.window, c.recovery_s) {
            (None, _) => String::new(),
            (_, Some(s)) => format!("{s:.1}"),
            (_, None) => "never".into(),
        };
        let goodput = c.goodput.map_or_else(String::new, |g| format!("{:.1} %", g * 100.0));
        let failures = t.failures.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ");
        let of = |count: super::numbers::Count| format!("{} / {}", count.failed, count.all);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.3} | {back} | {goodput} | {:.1} | {:.1} | {failures} |",
            c.peer,
            c.round + 1,
            of(t.users),
            t.users_by_gets.failed,
            of(t.gets),
            of(t.posts),
            c.doubled,
            t.degraded,
            c.amplification,
            t.p50_ms,
            t.p99_ms,
        );
    }
}

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// A document with what stands between its two marks replaced.
///
/// # Errors
/// It has no such marks.
pub fn replace(document: &str, measured: &str) -> Result<String, String> {
    let marks = || format!("the document wants the lines {BEGIN} and {END}");
    let (before, rest) = document.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", measured.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{Count, Tally};
    use super::super::scenario;
    use super::super::weather::Weather;
    use super::*;

    fn report() -> Report {
        let cell = |peer: &str, round: usize, failed: u64, doubled: u64| {
            let users = Count { all: 1000, failed };
            let tally = Tally { users, users_by_gets: Count { all: 1000, failed: 0 }, ..Tally::default() };
            Cell { peer: peer.into(), round, tally, doubled, ..Cell::default() }
        };
        let cells = vec![cell("outrigger", 0, 1, 0), cell("outrigger", 1, 500, 0), cell("nginx", 0, 20, 2)];
        let weather = |round, control_failed| Weather { round, control: 750, control_failed, ..Weather::default() };
        let outcome = Outcome {
            scenario: "hang".into(),
            cells,
            weather: vec![weather(0, 0), weather(1, 1)],
            absent: [("envoy".to_owned(), "not installed".to_owned())].into(),
            ..Outcome::default()
        };
        Report { about: vec!["a machine".into()], outcomes: vec![outcome] }
    }

    #[test]
    fn the_table_is_of_undisturbed_rounds_and_every_round_is_printed() {
        let text = report().markdown(&scenario::all());
        assert!(text.contains("| 99.90 (99.90..99.90); GETs 100.00 (100.00..100.00) |"), "{text}");
        assert!(text.contains("**2 POSTs TWICE**"), "{text}");
        assert!(text.contains("| outrigger | 2 | 500 / 1000 |"), "{text}");
        assert!(text.contains("control 1 of 750 failed: DISTURBED"), "{text}");
        assert!(text.contains("envoy did not start: not installed"), "{text}");
        let mut all_spoilt = report();
        all_spoilt.outcomes[0].weather[0].late_p99_ms = 21.0;
        assert!(all_spoilt.markdown(&scenario::all()).contains("| disturbed: "));
    }

    #[test]
    fn a_scenario_that_is_measured_again_replaces_what_there_was() {
        let mut kept = report();
        let mut other = report();
        other.outcomes[0].cells.truncate(1);
        kept.merge(other);
        assert_eq!((kept.outcomes.len(), kept.outcomes[0].cells.len()), (1, 1));
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(replace(&document, "new\n").unwrap(), format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert!(replace("no marks", "new").is_err());
    }
}
