//! A matrix against the one that was committed: what got worse, and why.
//!
//! Only cells are compared. A cell that is there no longer counts as worse: else the way to make a drill pass is to drill
//! less.

use std::fmt::Write as _;

use serde::Serialize;

use super::cell::State;
use super::matrix::{Matrix, Row};
use super::plan::FaultName;
use super::words::{percent, reasons};
use crate::fault::Place;

/// How a matrix differs from an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Cell by cell, in the order of the rows; those that are the same are left out.
    pub changes: Vec<Change>,
}

/// A cell that is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of the row.
    pub dependency: String,
    /// Of the row.
    pub fault: FaultName,
    /// Of the row.
    pub place: Place,
    /// The column.
    pub probe: String,
    /// Before; none where there was no such cell.
    pub was: Option<State>,
    /// Now; none where there is no such cell any more.
    pub is: Option<State>,
}

impl Comparison {
    /// Of a matrix with the committed one. With `only`, nobody misses the rows of other dependencies.
    pub fn of(matrix: &Matrix, baseline: &Matrix, only: &[String]) -> Self {
        let mut changes = Vec::new();
        let mut change = |row: &Row, probe: &String, was: Option<State>, is: Option<State>| {
            if was != is {
                let (dependency, probe) = (row.dependency.clone(), probe.clone());
                changes.push(Change { dependency, fault: row.fault, place: row.place, probe, was, is });
            }
        };
        for row in &matrix.rows {
            let before = baseline.row(&row.dependency, row.fault, row.place);
            for probe in &matrix.probes {
                let was = before.and_then(|before| before.cells.get(probe)).copied();
                change(row, probe, was, Some(row.cell(probe)));
            }
        }
        for row in baseline.rows.iter().filter(|row| only.is_empty() || only.contains(&row.dependency)) {
            let now = matrix.row(&row.dependency, row.fault, row.place);
            for probe in baseline.probes.iter() {
                if now.is_none_or(|now| !now.cells.contains_key(probe)) {
                    change(row, probe, Some(row.cell(probe)), None);
                }
            }
        }
        Self { changes }
    }

    /// Those that got worse.
    pub fn worse(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| change.is_worse()).collect()
    }

    /// Those that got better.
    pub fn better(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| change.is_better()).collect()
    }

    /// What became of a cell; none where it is as it was.
    pub fn change(&self, row: &Row, probe: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.is_of(row) && change.probe == probe)
    }
}

impl Change {
    /// Whether a change for the worse.
    pub fn is_worse(&self) -> bool {
        match (self.was, self.is) {
            (Some(was), Some(is)) => is > was,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Whether a change for the better.
    pub fn is_better(&self) -> bool {
        matches!((self.was, self.is), (Some(was), Some(is)) if is < was)
    }

    fn is_of(&self, row: &Row) -> bool {
        row.dependency == self.dependency && row.fault == self.fault && row.place == self.place
    }

    /// What happened, in lines: what was injected, how the probe failed, what absorbed the rest.
    pub fn explain(&self, matrix: &Matrix) -> String {
        let Self { dependency, fault, place, probe, .. } = self;
        let state = |state: Option<State>| state.map_or("not drilled", State::name);
        let mut told = format!(
            "{probe} under {dependency} {} ({}): was {}, is {}\n",
            fault.name(),
            place.name(),
            state(self.was),
            state(self.is)
        );
        match matrix.rows.iter().find(|row| self.is_of(row)) {
            Some(row) => told.push_str(&details(row, probe, "  ")),
            None => told.push_str("  the plan has no such row any more\n"),
        }
        told
    }
}

/// What is known of a cell, a line each.
pub fn details(row: &Row, probe: &str, indent: &str) -> String {
    let mut told = String::new();
    let mut line = |what: &str, text: String| {
        // It cannot fail: it is a string.
        let _ = writeln!(told, "{indent}{what:<10}{text}");
    };
    let Some(evidence) = &row.evidence else {
        line("injected", row.what.clone());
        return told;
    };
    line("injected", format!("{}; struck {}", row.what, evidence.injected));
    if let Some(tally) = evidence.tries.get(probe) {
        let tries = tally.tries();
        let share = |part| percent(part, tries);
        line(
            "seen",
            format!(
                "{tries} tries: {} available, {} degraded, {} unavailable; median {} ms",
                share(tally.available),
                share(tally.degraded),
                share(tally.unavailable),
                tally.median_ms
            ),
        );
        if !tally.why.is_empty() {
            line("because", reasons(&tally.why));
        }
    }
    if let Some(account) = &evidence.absorbed {
        line("absorbed", account.to_string());
    }
    match evidence.recovery_ms {
        Some(0) => line("recovered", "at once".into()),
        Some(ms) => line("recovered", format!("{ms} ms after the fault's end")),
        None => line("recovered", "not in time".into()),
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::matrix;
    use super::*;

    #[test]
    fn a_cell_that_got_worse_is_told_with_its_reasons() {
        let now = matrix();
        let mut before = now.bare();
        before.rows[0].cells.insert("admin".into(), State::Degraded);
        before.date = "2020-01-01".into();
        let comparison = Comparison::of(&now, &before, &[]);
        let [change] = comparison.worse()[..] else { panic!("{comparison:?}") };
        assert_eq!(
            change.explain(&now),
            "admin under payments down (upstream): was degraded, is unavailable\n  \
             injected  connections are refused and broken; struck 48\n  \
             seen      20 tries: 5 % available, 0 % degraded, 95 % unavailable; median 12 ms\n  \
             because   19 x status 503\n  \
             absorbed  raw 30 % -> seen 100 %, by retry 22, hedge 6\n  \
             recovered 300 ms after the fault's end\n"
        );
        let better = Comparison::of(&before, &now, &[]);
        assert_eq!((better.worse().len(), better.better().len()), (0, 1));
    }

    #[test]
    fn a_row_that_is_drilled_no_longer_is_a_change_for_the_worse_and_a_new_one_is_none() {
        let all = matrix();
        let mut fewer = all.clone();
        fewer.rows.pop();
        let comparison = Comparison::of(&fewer, &all, &[]);
        assert_eq!(comparison.worse().len(), 2);
        assert!(
            comparison.worse()[0].explain(&fewer).contains("was available, is not drilled\n  the plan has no such row")
        );
        assert_eq!(Comparison::of(&fewer, &all, &["payments".into()]).worse().len(), 0);
        assert_eq!(Comparison::of(&all, &fewer, &[]).worse().len(), 0);
        assert_eq!(Comparison::of(&all, &all.bare(), &[]), Comparison::default());
    }
}
