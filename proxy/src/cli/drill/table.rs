//! The matrix for a terminal.

use std::fmt::Write as _;

use outrigger::drill::baseline::Comparison;
use outrigger::drill::cell::State;
use outrigger::drill::markdown::title;
use outrigger::drill::matrix::{Matrix, Row};
use outrigger::drill::plan::{FaultName, Plan};
use outrigger::drill::words::plural;
use outrigger::units::Interval;

use super::super::output::{Paint, table};

/// A table for each fault, then how far each dependency is. None of the writing can fail: it is to a string.
pub fn page(matrix: &Matrix, comparison: Option<&Comparison>, paint: Paint) -> String {
    let [available, degraded, unavailable] = matrix.count();
    let cells = plural(available + degraded + unavailable, "cell");
    let mut page = format!(
        "{}: {}, {cells}: {available} available, {degraded} degraded, {unavailable} unavailable\n",
        paint.bold(&matrix.drill),
        plural(matrix.rows.len(), "row")
    );
    for fault in matrix.faults() {
        let _ = writeln!(page, "\n{}", paint.bold(title(fault)));
        page.push_str(&grid(matrix, fault, comparison, paint));
    }
    let _ = writeln!(page, "\n{}", paint.bold("Maturity"));
    let rows = matrix.maturity.iter().map(|standing| {
        let beyond = standing.beyond();
        let beyond = if beyond.is_empty() { beyond } else { format!("also shown: {beyond}") };
        vec![format!("  {}", standing.dependency), format!("{}, {}", standing.level, standing.name()), beyond]
    });
    page.push_str(&table(&rows.collect::<Vec<_>>()));
    if let Some(comparison) = comparison {
        let (worse, better) = (comparison.worse().len(), comparison.better().len());
        let told = match (worse, better) {
            (0, 0) => paint.green("as in the baseline"),
            (0, better) => paint
                .green(&format!("{} better than in the baseline: write it anew to hold that", plural(better, "cell"))),
            (worse, _) => paint.red(&format!("{} worse than in the baseline", plural(worse, "cell"))),
        };
        let _ = writeln!(page, "\n{told}");
    }
    page
}

/// Cells are measured before they are painted.
fn grid(matrix: &Matrix, fault: FaultName, comparison: Option<&Comparison>, paint: Paint) -> String {
    let rows: Vec<&Row> = matrix.rows.iter().filter(|row| row.fault == fault).collect();
    let told = |row: &Row, probe: &str| {
        let state = row.cell(probe).name();
        match comparison.and_then(|comparison| comparison.change(row, probe)) {
            Some(change) if change.is_worse() || change.is_better() => {
                format!("{state} (was {})", change.was.map_or("-", State::name))
            }
            _ => state.to_owned(),
        }
    };
    let wide = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let chars = |text: &str| text.chars().count();
    let name = wide(&mut rows.iter().map(|row| chars(&row.dependency)).chain([10]));
    let widths: Vec<usize> = matrix
        .probes
        .iter()
        .map(|probe| wide(&mut rows.iter().map(|row| chars(&told(row, probe))).chain([chars(probe)])))
        .collect();
    let mut grid = format!("  {:name$}  {:8}", "DEPENDENCY", "WHERE");
    for (probe, width) in matrix.probes.iter().zip(&widths) {
        let _ = write!(grid, "  {probe:width$}");
    }
    grid.push_str(if rows.iter().any(|row| !row.note().is_empty()) { "  WHAT ABSORBED IT\n" } else { "\n" });
    for row in rows {
        let _ = write!(grid, "  {:name$}  {:8}", row.dependency, row.place.name());
        for (probe, width) in matrix.probes.iter().zip(&widths) {
            let text = format!("{:width$}", told(row, probe));
            let painted = match row.cell(probe) {
                State::Available => paint.green(&text),
                State::Degraded => paint.yellow(&text),
                State::Unavailable => paint.red(&text),
            };
            let _ = write!(grid, "  {painted}");
        }
        let _ = writeln!(grid, "  {}", row.note());
    }
    grid.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What a plan would do.
pub fn plan(plan: &Plan) -> String {
    let mut page = format!(
        "{}: {} by {}, at least {}\n\n",
        plan.name,
        plural(plan.rows.len(), "row"),
        plural(plan.probes.len(), "probe"),
        Interval(plan.takes())
    );
    let mut rows = vec![["  PROBE", "ASKS", "EVERY", "CUT AFTER", "HOLDS"].map(str::to_owned).to_vec()];
    rows.extend(plan.probes.iter().map(|probe| {
        vec![
            format!("  {}", probe.name),
            format!("{} {}", probe.method, probe.url),
            Interval(probe.every).to_string(),
            Interval(probe.timeout).to_string(),
            outrigger::units::Share(probe.hold).to_string(),
        ]
    }));
    page.push_str(&table(&rows));
    page.push('\n');
    let mut rows = vec![["  DEPENDENCY", "FAULT", "WHERE", "WHAT BEFALLS IT"].map(str::to_owned).to_vec()];
    rows.extend(plan.rows.iter().map(|row| {
        let (fault, place) = (row.fault.name().to_owned(), row.place.name().to_owned());
        vec![format!("  {}", row.dependency), fault, place, row.what.clone()]
    }));
    page.push_str(&table(&rows));
    page
}
