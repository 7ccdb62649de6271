//! The matrix as Markdown: for a README, a pull request, a wiki.

use std::fmt::Write as _;

use super::baseline::Comparison;
use super::cell::State;
use super::matrix::{Matrix, Row};
use super::plan::FaultName;
use super::words::plural;

/// A table for each fault, then how far each dependency is.
pub fn page(matrix: &Matrix, comparison: Option<&Comparison>) -> String {
    let mut page = format!("## Resiliency matrix: {}\n\n", text(&matrix.drill));
    // None of the writing can fail: it is to a string.
    let [available, degraded, unavailable] = matrix.count();
    let place = matrix.environment.as_deref().map(|name| format!(", {}", text(name))).unwrap_or_default();
    let _ = writeln!(
        page,
        "{} ({}{place}): {available} available, {degraded} degraded, {unavailable} unavailable.",
        plural(available + degraded + unavailable, "cell"),
        matrix.date,
    );
    for fault in matrix.faults() {
        let _ = writeln!(page, "\n### {}\n", title(fault));
        table(&mut page, matrix, fault, comparison);
    }
    if let Some(comparison) = comparison.filter(|comparison| !comparison.worse().is_empty()) {
        let _ = writeln!(page, "\n### Worse than the baseline\n");
        for change in comparison.worse() {
            let _ = writeln!(page, "```text\n{}```\n", change.explain(matrix).replace('`', "'"));
        }
    }
    page.push_str("\n### Maturity\n\n| dependency | level | also shown | next |\n|---|---|---|---|\n");
    for standing in &matrix.maturity {
        let next = standing.next.as_deref().map(text).unwrap_or_default();
        let (name, beyond) = (text(&standing.dependency), standing.beyond());
        let _ = writeln!(page, "| {name} | {}, {} | {beyond} | {next} |", standing.level, standing.name());
    }
    page
}

/// What a picture or a table of a fault is called.
pub fn title(fault: FaultName) -> &'static str {
    match fault {
        FaultName::Down => "When it is down",
        FaultName::Slow => "When it is slow",
        FaultName::Errors => "When it answers with errors",
        FaultName::Hang => "When it hangs",
        FaultName::Reset => "When it resets connections",
    }
}

fn table(page: &mut String, matrix: &Matrix, fault: FaultName, comparison: Option<&Comparison>) {
    let rows: Vec<&Row> = matrix.rows.iter().filter(|row| row.fault == fault).collect();
    let noted = rows.iter().any(|row| !row.note().is_empty());
    let columns: Vec<String> = matrix.probes.iter().map(|probe| text(probe)).collect();
    let _ = write!(page, "| dependency | where | {} |", columns.join(" | "));
    page.push_str(if noted { " what absorbed it |\n" } else { "\n" });
    let _ = write!(page, "|---|---|{}", "---|".repeat(columns.len()));
    page.push_str(if noted { "---|\n" } else { "\n" });
    for row in rows {
        let _ = write!(page, "| {} | {} |", text(&row.dependency), row.place.name());
        for probe in &matrix.probes {
            let _ = write!(page, " {} |", cell(row, probe, comparison));
        }
        if noted {
            let _ = write!(page, " {} |", text(&row.note()));
        }
        page.push('\n');
    }
}

fn cell(row: &Row, probe: &str, comparison: Option<&Comparison>) -> String {
    let told = match row.cell(probe) {
        State::Available => "🟢 available",
        State::Degraded => "🟡 degraded",
        State::Unavailable => "🔴 unavailable",
    };
    match comparison.and_then(|comparison| comparison.change(row, probe)) {
        Some(change) if change.is_worse() || change.is_better() => {
            format!("**{told}** (was {})", change.was.map_or("", State::name))
        }
        _ => told.to_owned(),
    }
}

/// Text that is nothing but text in a table's cell.
fn text(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                told.push('\\');
                told.push(c);
            }
            '<' => told.push_str("&lt;"),
            '&' => told.push_str("&amp;"),
            c if c.is_control() => told.push(' '),
            c => told.push(c),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::matrix;
    use super::*;

    #[test]
    fn a_page_has_a_table_for_each_fault() {
        let mut matrix = matrix();
        matrix.rows[0].dependency = "pay|ments".into();
        let page = page(&matrix, None);
        assert!(page.contains("6 cells (2026-11-26): 2 available, 2 degraded, 2 unavailable.\n"), "{page}");
        assert!(page.contains("### When it is down\n\n| dependency | where | checkout | admin | what absorbed it |\n|---|---|---|---|---|\n"));
        assert!(page.contains(
            "| pay\\|ments | upstream | 🟡 degraded | 🔴 unavailable | raw 30 % -> seen 100 %, by retry 22, hedge 6 |\n"
        ));
        assert!(page.contains("### When it is slow\n\n| dependency | where | checkout | admin |\n"));
        assert!(page.contains("| search | 2, in the matrix |  | 3, patterns hold |\n"));
    }

    #[test]
    fn a_cell_that_changed_says_what_it_was() {
        let now = matrix();
        let mut before = now.clone();
        before.rows[1].cells.insert("checkout".into(), State::Available);
        let page = page(&now, Some(&Comparison::of(&now, &before, &[])));
        assert!(page.contains("**🟡 degraded** (was available)"), "{page}");
        assert!(page.contains("```text\ncheckout under payments slow (upstream): was available, is degraded\n"));
    }
}
