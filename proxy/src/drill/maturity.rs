//! How far a dependency is up the resiliency maturity pyramid, by what was seen and not by what is hoped.
//!
//! The pyramid is that of the talk "Resilient Routing and Discovery" (Shopify, 2015). Each of its levels that a proxy beside the
//! application can see has a rule here. A dependency stands on the highest level that has no gap below it; levels further
//! up for which there is evidence all the same are told, too. Level 5, killing nodes, is for whoever may kill nodes, and is
//! passed over; so is everything above 7.

use serde::{Deserialize, Serialize};

use super::cell::State;
use super::matrix::{Matrix, Row};
use super::plan::FaultName;
use crate::fault::Place;

/// A drill in production counts for so many days.
pub const DAYS: u64 = 30;

/// The levels: number, name, and what has to have been seen.
pub const RULES: [(u8, &str, &str); 5] = [
    (2, "in the matrix", "it was drilled `down`, and the fault struck: a probe asks for it"),
    (
        3,
        "patterns hold",
        "a fault at `upstream` struck, and either the proxy saved requests whose first attempt had failed, or nothing became unavailable",
    ),
    (4, "practised", "it was drilled with `environment: production` within the last 30 days"),
    (6, "slowness survived", "it was drilled `slow`, the fault struck, and nothing became unavailable"),
    (7, "fallbacks", "under a fault that struck, something became degraded, and nothing unavailable"),
];

/// How far a dependency is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub dependency: String,
    /// The highest level with no gap below it; 0 for none.
    pub level: u8,
    /// All levels for which there is evidence.
    pub shown: Vec<u8>,
    /// The next level; none at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How far each dependency of a matrix is, seen from `today`, a date like `2026-11-26`.
pub fn standings(matrix: &Matrix, today: &str) -> Vec<Standing> {
    matrix.dependencies().into_iter().map(|name| standing(matrix, name, today)).collect()
}

fn standing(matrix: &Matrix, name: &str, today: &str) -> Standing {
    let struck: Vec<&Row> = matrix.rows.iter().filter(|row| row.dependency == name && row.struck).collect();
    let has = |row: &Row, state| row.cells.values().any(|cell| *cell == state);
    let holds = |row: &Row| !has(row, State::Unavailable);
    let is_shown = |level| match level {
        2 => struck.iter().any(|row| row.fault == FaultName::Down),
        3 => struck.iter().any(|row| row.place == Place::Upstream && (row.absorbed || holds(row))),
        4 => {
            !struck.is_empty() && matrix.environment.as_deref() == Some("production") && is_recent(&matrix.date, today)
        }
        6 => {
            struck.iter().any(|row| row.fault == FaultName::Slow)
                && struck.iter().filter(|row| row.fault == FaultName::Slow).all(|row| holds(row))
        }
        7 => struck.iter().any(|row| has(row, State::Degraded) && holds(row)),
        _ => false,
    };
    let shown: Vec<u8> = RULES.iter().map(|(level, ..)| *level).filter(|level| is_shown(*level)).collect();
    let level = RULES.iter().map(|(level, ..)| *level).take_while(|level| shown.contains(level)).last().unwrap_or(0);
    let next = RULES.iter().find(|(level, ..)| !shown.contains(level));
    let next = next.map(|(level, name, _)| format!("{level}, {name}"));
    Standing { dependency: name.to_owned(), level, shown, next }
}

impl Standing {
    /// The level's name.
    pub fn name(&self) -> &'static str {
        RULES.iter().find(|(level, ..)| *level == self.level).map_or("not in the matrix", |(_, name, _)| name)
    }

    /// The levels above the one it is on for which there is evidence: `6, 7`.
    pub fn beyond(&self) -> String {
        let above: Vec<String> = self.shown.iter().filter(|level| **level > self.level).map(u8::to_string).collect();
        above.join(", ")
    }
}

fn is_recent(date: &str, today: &str) -> bool {
    match (days(date), days(today)) {
        (Some(date), Some(today)) => today.saturating_sub(date) <= DAYS,
        _ => false,
    }
}

/// Days since some day long ago, of `2026-11-26`.
fn days(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 9999 {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    Some(year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day)
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{matrix, row};
    use super::*;
    use FaultName::{Down, Slow};
    use State::{Available, Degraded, Unavailable};

    fn of(rows: Vec<Row>, environment: Option<&str>, today: &str) -> Standing {
        let matrix = Matrix { rows, environment: environment.map(str::to_owned), ..matrix() };
        standings(&matrix, today).remove(0)
    }

    #[test]
    fn a_dependency_stands_where_nothing_is_missing_below() {
        let rows = |slow| {
            vec![
                row("payments", Down, Place::Upstream, [Degraded, Available]),
                row("payments", Slow, Place::Edge, [slow, Available]),
            ]
        };
        let standing = of(rows(Available), None, "2026-11-26");
        assert_eq!((standing.level, standing.shown.as_slice()), (3, [2, 3, 6, 7].as_slice()));
        assert_eq!((standing.name(), standing.beyond().as_str()), ("patterns hold", "6, 7"));
        assert_eq!(standing.next.as_deref(), Some("4, practised"));
        let standing = of(rows(Available), Some("production"), "2026-12-26");
        assert_eq!((standing.level, standing.next), (7, None));
        assert_eq!(of(rows(Available), Some("production"), "2026-12-27").level, 3, "it was too long ago");
        assert_eq!(of(rows(Unavailable), Some("production"), "2026-11-26").level, 4);
    }

    #[test]
    fn what_nothing_met_is_evidence_of_nothing() {
        let mut untouched = row("payments", Down, Place::Upstream, [Available, Available]);
        untouched.struck = false;
        assert_eq!(of(vec![untouched], None, "2026-11-26").level, 0);
        let broken = row("payments", Down, Place::Upstream, [Unavailable, Available]);
        assert_eq!(of(vec![broken.clone()], None, "2026-11-26").level, 2);
        let saved = Row { absorbed: true, ..broken };
        assert_eq!(of(vec![saved], None, "2026-11-26").level, 3);
    }

    #[test]
    fn days_are_counted_over_the_ends_of_months_and_years() {
        let between = |a: &str, b: &str| days(b).unwrap() - days(a).unwrap();
        assert_eq!(between("2026-11-26", "2026-12-26"), 30);
        assert_eq!(between("2027-12-31", "2028-03-01"), 61);
        assert_eq!(between("2026-01-01", "2027-01-01"), 365);
        assert_eq!(days("yesterday"), None);
    }
}
