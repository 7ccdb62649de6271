//! The matrix as JUnit's XML, which every CI shows: a test for each cell.
//!
//! A test fails where its cell got worse than the baseline. Without a baseline none does: a cell that is unavailable may be
//! meant so.

use std::fmt::Write as _;

use super::baseline::{Change, Comparison, details};
use super::cell::State;
use super::matrix::Matrix;
use super::words::escaped;

/// One suite.
pub fn suite(matrix: &Matrix, comparison: Option<&Comparison>) -> String {
    let gone: Vec<&Change> =
        comparison.iter().flat_map(|c| &c.changes).filter(|change| change.is.is_none() && change.is_worse()).collect();
    let failures = comparison.map_or(0, |comparison| comparison.worse().len());
    let tests = matrix.rows.len() * matrix.probes.len() + gone.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let name = escaped(&matrix.drill);
    // None of the writing can fail: it is to a string.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"drill {name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" timestamp=\"{}T00:00:00\">",
        escaped(&matrix.date)
    );
    for row in &matrix.rows {
        let class = format!("{}.{}.{}", row.dependency.replace('.', "_"), row.fault.name(), row.place.name());
        for probe in &matrix.probes {
            let change = comparison.and_then(|comparison| comparison.change(row, probe));
            let worse = change.filter(|change| change.is_worse());
            let told = format!("{}\n{}", row.cell(probe).name(), details(row, probe, ""));
            test(&mut xml, &class, probe, worse.map(|change| (change, matrix)), &told);
        }
    }
    for change in gone {
        let class = format!("{}.{}.{}", change.dependency.replace('.', "_"), change.fault.name(), change.place.name());
        test(&mut xml, &class, &change.probe, Some((change, matrix)), "");
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn test(xml: &mut String, class: &str, name: &str, failed: Option<(&Change, &Matrix)>, told: &str) {
    let _ = writeln!(xml, "    <testcase classname=\"{}\" name=\"{}\" time=\"0\">", escaped(class), escaped(name));
    if let Some((change, matrix)) = failed {
        let state = |state: Option<State>| state.map_or("not drilled", State::name);
        let message = format!("was {}, is {}", state(change.was), state(change.is));
        let why = escaped(&change.explain(matrix));
        let _ = writeln!(xml, "      <failure message=\"{message}\" type=\"regression\">{why}</failure>");
    }
    if !told.is_empty() {
        let _ = writeln!(xml, "      <system-out>{}</system-out>", escaped(told.trim_end()));
    }
    xml.push_str("    </testcase>\n");
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::matrix;
    use super::*;

    #[test]
    fn a_cell_is_a_test_that_fails_where_it_got_worse() {
        let now = matrix();
        let plain = suite(&now, None);
        assert!(plain.contains("<testsuite name=\"drill shop\" tests=\"6\" failures=\"0\""), "{plain}");
        assert!(plain.contains("<testcase classname=\"payments.down.upstream\" name=\"admin\" time=\"0\">"));
        let mut before = now.clone();
        before.rows[0].cells.insert("admin".into(), State::Degraded);
        before.rows.push(super::super::matrix::tests::row(
            "a<b",
            crate::drill::plan::FaultName::Hang,
            crate::fault::Place::Edge,
            [State::Available; 2],
        ));
        let failed = suite(&now, Some(&Comparison::of(&now, &before, &[])));
        assert!(failed.contains("tests=\"8\" failures=\"3\""), "{failed}");
        assert!(
            failed
                .contains("<failure message=\"was degraded, is unavailable\" type=\"regression\">admin under payments")
        );
        assert!(failed.contains("classname=\"a&lt;b.hang.edge\""));
    }
}
