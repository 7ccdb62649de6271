//! The matrix: what every part of the product was while each dependency failed.
//!
//! As JSON it is made to be committed: with the same product it is the same text, but for its date. What was measured on the
//! way, and is another number each time, is beside it only where somebody asks for it ([`Matrix::bare`] takes it out).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::absorbed::Account;
use super::cell::State;
use super::maturity::{self, Standing};
use super::plan::FaultName;
use super::probe::Tally;
use crate::fault::Place;

/// Of the JSON: raised when something that is read changes its meaning.
pub const SCHEMA: u32 = 1;

/// A matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What the drill is called.
    pub drill: String,
    /// Where it was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// When, in UTC: `2026-11-26`. Never compared.
    pub date: String,
    /// The columns, in their order.
    pub probes: Vec<String>,
    /// The rows, in the order in which they were made.
    pub rows: Vec<Row>,
    /// How far each dependency is up the pyramid. Follows from the rest.
    #[serde(default)]
    pub maturity: Vec<Standing>,
}

/// A row: something that befell a dependency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub dependency: String,
    /// What.
    pub fault: FaultName,
    /// Where.
    pub place: Place,
    /// In words.
    pub what: String,
    /// Whether anything met it: else no probe asks for this dependency, and the row says nothing of it.
    pub struck: bool,
    /// Whether the proxy saved requests whose first attempt had failed.
    pub absorbed: bool,
    /// By column.
    pub cells: BTreeMap<String, State>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What was measured while a row was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How many requests or connections the fault struck.
    pub injected: u64,
    /// By column: what the tries were.
    pub tries: BTreeMap<String, Tally>,
    /// The proxy's account of the dependency; none at the edge, and of a TCP proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absorbed: Option<Account>,
    /// From the fault's end until the product was well; none where it was not, in time.
    pub recovery_ms: Option<u64>,
}

impl Matrix {
    /// One without rows.
    pub fn new(drill: &str, environment: Option<&str>, date: &str, probes: Vec<String>) -> Self {
        Self {
            schema: SCHEMA,
            drill: drill.to_owned(),
            environment: environment.map(str::to_owned),
            date: date.to_owned(),
            probes,
            rows: Vec::new(),
            maturity: Vec::new(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// Where it is none, or a newer one than this program knows.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let wrong = |e: serde_json::Error| format!("is not a matrix as `outrigger drill` writes it: {e}");
        let Version { schema } = serde_json::from_str(text).map_err(wrong)?;
        if schema != SCHEMA {
            return Err(format!("has `schema: {schema}`, and this program reads {SCHEMA}; write it anew"));
        }
        let matrix: Self = serde_json::from_str(text).map_err(wrong)?;
        let gap = matrix.rows.iter().find_map(|row| {
            let lacks = matrix.probes.iter().find(|probe| !row.cells.contains_key(*probe))?;
            Some(format!("has no cell `{lacks}` in the row `{}`", row.title()))
        });
        gap.map_or(Ok(matrix), Err)
    }

    /// As it is committed: without what was measured.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut bare = self.clone();
        bare.rows.iter_mut().for_each(|row| row.evidence = None);
        bare
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// Says anew how far each dependency is, seen from `today`.
    pub fn judge(&mut self, today: &str) {
        self.maturity = maturity::standings(self, today);
    }

    /// The dependencies, in the order of their first rows.
    pub fn dependencies(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.dependency.as_str()) {
                names.push(&row.dependency);
            }
        }
        names
    }

    /// The faults, in the order in which pictures of them are shown: down and slow first.
    pub fn faults(&self) -> Vec<FaultName> {
        let mut faults: Vec<FaultName> = self.rows.iter().map(|row| row.fault).collect();
        faults.sort_unstable();
        faults.dedup();
        faults
    }

    /// The row of a dependency, a fault and a place.
    pub fn row(&self, dependency: &str, fault: FaultName, place: Place) -> Option<&Row> {
        self.rows.iter().find(|row| row.dependency == dependency && row.fault == fault && row.place == place)
    }

    /// How many cells there are, and how many of each kind.
    pub fn count(&self) -> [usize; 3] {
        State::ALL
            .map(|state| self.rows.iter().flat_map(|row| row.cells.values()).filter(|cell| **cell == state).count())
    }
}

impl Row {
    /// `payments down (upstream)`.
    pub fn title(&self) -> String {
        format!("{} {} ({})", self.dependency, self.fault.name(), self.place.name())
    }

    /// What a column's cell says.
    pub fn cell(&self, probe: &str) -> State {
        self.cells.get(probe).copied().unwrap_or(State::Unavailable)
    }

    /// What there is to say beside the cells: what absorbed it, or that nothing met it; empty where neither is known.
    pub fn note(&self) -> String {
        if !self.struck {
            return "nothing met it: no probe asks for this dependency".to_owned();
        }
        let account = self.evidence.as_ref().and_then(|evidence| evidence.absorbed.as_ref());
        account.map(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use FaultName::{Down, Slow};
    use State::{Available, Degraded, Unavailable};

    pub fn row(dependency: &str, fault: FaultName, place: Place, cells: [State; 2]) -> Row {
        let [checkout, admin] = cells;
        Row {
            dependency: dependency.into(),
            fault,
            place,
            what: "connections are refused and broken".into(),
            struck: true,
            absorbed: false,
            cells: [("checkout".to_owned(), checkout), ("admin".to_owned(), admin)].into(),
            evidence: None,
        }
    }

    pub fn matrix() -> Matrix {
        let mut matrix = Matrix::new("shop", None, "2026-11-26", vec!["checkout".into(), "admin".into()]);
        matrix.rows = vec![
            row("payments", Down, Place::Upstream, [Degraded, Unavailable]),
            row("payments", Slow, Place::Upstream, [Degraded, Unavailable]),
            row("search", Down, Place::Edge, [Available, Available]),
        ];
        let account = Account { requests: 40, first_good: 12, answered: 40, ..Account::default() };
        let rescued = [("retry".to_owned(), 22), ("hedge".to_owned(), 6)].into();
        let tally = |available, degraded, unavailable, why: &str| Tally {
            available,
            degraded,
            unavailable,
            why: [(why.to_owned(), degraded + unavailable)].into_iter().filter(|(why, _)| !why.is_empty()).collect(),
            median_ms: 12,
        };
        matrix.rows[0].absorbed = true;
        matrix.rows[0].evidence = Some(Evidence {
            injected: 48,
            tries: [
                ("checkout".to_owned(), tally(0, 20, 0, "status 202")),
                ("admin".to_owned(), tally(1, 0, 19, "status 503")),
            ]
            .into(),
            absorbed: Some(Account { rescued, ..account }),
            recovery_ms: Some(300),
        });
        matrix.judge("2026-11-26");
        matrix
    }

    #[test]
    fn a_matrix_is_read_back_as_it_was_written() {
        let matrix = matrix();
        assert_eq!(Matrix::parse(&matrix.json()), Ok(matrix.clone()));
        let bare = matrix.bare();
        assert!(!bare.json().contains("injected") && bare.json().contains("\"struck\""));
        assert_eq!(bare.count(), [2, 2, 2]);
        assert_eq!((matrix.dependencies(), matrix.faults()), (vec!["payments", "search"], vec![Down, Slow]));
    }

    #[test]
    fn what_is_no_matrix_is_told_why() {
        let told = |text: &str| Matrix::parse(text).unwrap_err();
        assert!(told("{}").contains("missing field `schema`"));
        assert!(told(r#"{"schema": 9}"#).contains("has `schema: 9`"));
        let gap = matrix().json().replacen("\"admin\": \"unavailable\",", "", 1);
        assert!(told(&gap).contains("has no cell `admin` in the row `payments down (upstream)`"));
    }

    #[test]
    fn a_report_with_numbers_beyond_all_measure_is_shown_all_the_same() {
        let mut matrix = matrix();
        let evidence = matrix.rows[0].evidence.as_mut().unwrap();
        let tally = evidence.tries.get_mut("admin").unwrap();
        (tally.available, tally.unavailable) = (u64::MAX, u64::MAX);
        evidence.absorbed.as_mut().unwrap().requests = u64::MAX;
        let page = crate::drill::html::page(&matrix, Some(&crate::drill::baseline::Comparison::default()));
        assert!(page.contains("18446744073709551615 tries"));
    }
}
