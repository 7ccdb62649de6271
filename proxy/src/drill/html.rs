//! The matrix as one page that needs nothing else: two pictures, and under them what they are made of.

mod picture;

use std::fmt::Write as _;

use super::baseline::{Comparison, details};
use super::cell::State;
use super::markdown::title;
use super::matrix::{Matrix, Row};
use super::maturity::RULES;
use super::plan::FaultName;
use super::words::{escaped, plural};

const STYLE: &str = include_str!("html/style.css");

/// The page. With a comparison, what got worse is at its top.
pub fn page(matrix: &Matrix, comparison: Option<&Comparison>) -> String {
    let name = escaped(&matrix.drill);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: resiliency matrix</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    head(&mut page, matrix, &name);
    if let Some(comparison) = comparison {
        compared(&mut page, matrix, comparison);
    }
    page.push_str("<div class=\"pictures\">\n");
    for fault in matrix.faults() {
        // None of the writing can fail: it is to a string.
        let _ = writeln!(page, "<figure>\n<figcaption>{}</figcaption>", title(fault));
        let _ = writeln!(
            page,
            "<div class=\"wide\" tabindex=\"0\">\n{}</div>\n</figure>",
            picture::picture(matrix, fault, comparison)
        );
    }
    page.push_str("</div>\n");
    page.push_str(LEGEND);
    for fault in matrix.faults() {
        table(&mut page, matrix, fault);
    }
    maturity(&mut page, matrix);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

const LEGEND: &str = "<ul class=\"legend\">\n\
    <li><span class=\"tag available\">available</span> it does what it is for</li>\n\
    <li><span class=\"tag degraded\">degraded</span> it does less, and says so</li>\n\
    <li><span class=\"tag unavailable\">unavailable</span> neither</li>\n\
    <li><span class=\"soft\">upstream: between the proxy and the instances, below resilience &middot; edge: between the application and \
    the proxy, above it &middot; dashed: nothing met the fault &middot; outlined: not as in the baseline</span></li>\n</ul>\n";

fn head(page: &mut String, matrix: &Matrix, name: &str) {
    let [available, degraded, unavailable] = matrix.count();
    let place = matrix.environment.as_deref().map(|place| format!(", in {}", escaped(place))).unwrap_or_default();
    let _ = write!(
        page,
        "<h1>{name}: what works while something does not</h1>\n\
         <p class=\"soft\">Drilled on {}{place}. {} over {}: {available} available, {degraded} degraded, {unavailable} unavailable.</p>\n",
        escaped(&matrix.date),
        plural(available + degraded + unavailable, "cell"),
        plural(matrix.rows.len(), "row"),
    );
}

fn compared(page: &mut String, matrix: &Matrix, comparison: &Comparison) {
    let (worse, better) = (comparison.worse(), comparison.better());
    if worse.is_empty() {
        let better = match better.len() {
            0 => String::new(),
            1 => " 1 cell is better; commit this matrix to hold that.".to_owned(),
            many => format!(" {many} cells are better; commit this matrix to hold that."),
        };
        let _ = writeln!(page, "<p>Nothing is worse than the baseline.{better}</p>");
        return;
    }
    let _ =
        writeln!(page, "<section class=\"worse\">\n<h2>{} worse than the baseline</h2>", plural(worse.len(), "cell"));
    for change in worse {
        let _ = writeln!(page, "<pre>{}</pre>", escaped(&change.explain(matrix)));
    }
    page.push_str("</section>\n");
}

fn table(page: &mut String, matrix: &Matrix, fault: FaultName) {
    let _ = write!(
        page,
        "<h2>{}</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">dependency</th>",
        title(fault)
    );
    page.push_str("<th scope=\"col\">where</th><th scope=\"col\">what befell it</th>");
    for probe in &matrix.probes {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escaped(probe));
    }
    page.push_str("<th scope=\"col\">what absorbed it</th></tr></thead>\n<tbody>\n");
    for row in matrix.rows.iter().filter(|row| row.fault == fault) {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>",
            escaped(&row.dependency),
            row.place.name(),
            escaped(&row.what)
        );
        for probe in &matrix.probes {
            let _ = write!(page, "<td class=\"state\">{}</td>", tag(row.cell(probe)));
        }
        let _ = writeln!(page, "<td>{}{}</td></tr>", escaped(&row.note()), measured(matrix, row));
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn tag(state: State) -> String {
    let name = state.name();
    format!("<span class=\"tag {name}\">{name}</span>")
}

fn measured(matrix: &Matrix, row: &Row) -> String {
    if row.evidence.is_none() {
        return String::new();
    }
    let each = matrix.probes.iter().map(|probe| format!("{probe}\n{}", details(row, probe, "  ")));
    format!("<details><summary>measured</summary><pre>{}</pre></details>", escaped(&each.collect::<String>()))
}

fn maturity(page: &mut String, matrix: &Matrix) {
    page.push_str(
        "<h2>Maturity</h2>\n<p class=\"soft\">The highest level with no gap below it; a level is shown by what was seen in this drill.</p>\n\
         <div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">dependency</th><th scope=\"col\">level</th>\
         <th scope=\"col\">also shown</th><th scope=\"col\">next</th></tr></thead>\n<tbody>\n",
    );
    for standing in &matrix.maturity {
        let next = standing.next.as_deref().unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}, {}</td><td>{}</td><td>{}</td></tr>",
            escaped(&standing.dependency),
            standing.level,
            standing.name(),
            standing.beyond(),
            escaped(next)
        );
    }
    page.push_str("</tbody>\n</table></div>\n<details><summary>the rules</summary>\n<ul>\n");
    for (level, name, rule) in RULES {
        let _ = writeln!(page, "<li>{level}, {name}: {}</li>", escaped(rule));
    }
    page.push_str("</ul></details>\n");
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::matrix;
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_says_everything_in_words_too() {
        let mut matrix = matrix();
        matrix.rows[2].dependency = "<script>alert(1)</script>".into();
        matrix.judge("2026-11-26");
        let page = page(&matrix, None);
        for outside in ["http://", "https://", "src=", "<link", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg ").count(), 2);
        assert!(
            page.contains("<desc id=\"d-down\">payments at upstream: checkout degraded, admin unavailable."),
            "{page}"
        );
        assert!(page.contains("raw 30 % -&gt; seen 100 %, by retry 22, hedge 6"));
        assert!(page.contains("19 x status 503"));
    }

    #[test]
    fn what_got_worse_is_at_the_top() {
        let now = matrix();
        let mut before = now.clone();
        before.rows[0].cells.insert("admin".into(), State::Degraded);
        let worse = page(&now, Some(&Comparison::of(&now, &before, &[])));
        let banner = worse.find("1 cell worse than the baseline").unwrap();
        assert!(banner < worse.find("<svg ").unwrap());
        assert!(worse.contains(" changed\""));
        let same = page(&now, Some(&Comparison::of(&now, &now, &[])));
        assert!(same.contains("Nothing is worse than the baseline.</p>"));
        assert!(page(&before, Some(&Comparison::of(&before, &now, &[]))).contains("1 cell is better"));
    }
}
