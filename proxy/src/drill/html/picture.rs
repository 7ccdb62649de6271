//! A matrix as a picture (SVG), with its colours from the page.
//!
//! A state is told three times, by its colour, by a sign and by its word, so that none of them is needed.

use std::fmt::Write as _;

use super::super::baseline::Comparison;
use super::super::cell::State;
use super::super::markdown::title;
use super::super::matrix::{Matrix, Row};
use super::super::plan::FaultName;
use super::super::words::escaped;

const CELL_HEIGHT: usize = 34;
const GAP: usize = 4;
const HEAD: usize = 34;
/// Between dependencies.
const BREAK: usize = 10;
/// Of a letter, on average, in the font that is asked for.
const LETTER: usize = 9;
/// Longer names are cut; the whole is in the table below the picture.
const LETTERS: usize = 24;

/// The picture of a fault.
pub fn picture(matrix: &Matrix, fault: FaultName, comparison: Option<&Comparison>) -> String {
    let rows: Vec<&Row> = matrix.rows.iter().filter(|row| row.fault == fault).collect();
    let wide = |names: &mut dyn Iterator<Item = &str>| names.map(|n| n.chars().count().min(LETTERS)).max().unwrap_or(0);
    let names = wide(&mut rows.iter().map(|row| row.dependency.as_str())) * LETTER + 16;
    let places = 8 * LETTER + 12;
    let cell = (wide(&mut matrix.probes.iter().map(String::as_str)) * LETTER + 24).max(124);
    let left = names + places;
    let breaks = rows.windows(2).filter(|pair| pair[0].dependency != pair[1].dependency).count();
    let width = left + matrix.probes.len() * (cell + GAP);
    let height = HEAD + rows.len() * (CELL_HEIGHT + GAP) + breaks * BREAK;
    let id = fault.name();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" style=\"max-width:{width}px;min-width:{}px\" role=\"img\" aria-labelledby=\"t-{id} d-{id}\">\n\
         <title id=\"t-{id}\">{}</title>\n<desc id=\"d-{id}\">{}</desc>\n",
        // Smaller, its words could not be read; the page lets it be moved instead.
        width * 4 / 5,
        title(fault),
        escaped(&described(matrix, &rows))
    );
    // None of the writing can fail: it is to a string.
    for (at, probe) in matrix.probes.iter().enumerate() {
        let x = left + at * (cell + GAP) + cell / 2;
        let _ = writeln!(svg, "<text class=\"head\" x=\"{x}\" y=\"20\" text-anchor=\"middle\">{}</text>", cut(probe));
    }
    let mut y = HEAD;
    let mut last: Option<&str> = None;
    for row in rows {
        if last.is_some_and(|last| last != row.dependency) {
            let line = y + BREAK / 2 - GAP / 2;
            let _ = writeln!(svg, "<line class=\"rule\" x1=\"0\" y1=\"{line}\" x2=\"{width}\" y2=\"{line}\"/>");
            y += BREAK;
        }
        let base = y + CELL_HEIGHT / 2 + 5;
        if last != Some(&row.dependency) {
            let _ = writeln!(svg, "<text class=\"head\" x=\"0\" y=\"{base}\">{}</text>", cut(&row.dependency));
        }
        let _ = writeln!(svg, "<text class=\"soft\" x=\"{names}\" y=\"{base}\">{}</text>", row.place.name());
        for (at, probe) in matrix.probes.iter().enumerate() {
            let changed = comparison.and_then(|c| c.change(row, probe)).is_some_and(|c| c.is_worse() || c.is_better());
            square(&mut svg, row, row.cell(probe), probe, [left + at * (cell + GAP), y, cell], changed);
        }
        last = Some(&row.dependency);
        y += CELL_HEIGHT + GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

fn square(svg: &mut String, row: &Row, state: State, probe: &str, [x, y, width]: [usize; 3], changed: bool) {
    let name = state.name();
    let changed = if changed { " changed" } else { "" };
    let unstruck = if row.struck { "" } else { " unstruck" };
    let told = format!("{probe} under {}: {name}", row.title());
    let (sx, sy) = (x + 12, y + CELL_HEIGHT / 2);
    let sign = match state {
        State::Available => format!("M{} {} l4 4 l7 -8", sx, sy),
        State::Degraded => format!("M{} {} h11", sx, sy),
        State::Unavailable => format!("M{} {} l9 9 m0 -9 l-9 9", sx + 1, sy - 4),
    };
    let _ = writeln!(
        svg,
        "<g><title>{}</title><rect class=\"cell {name}{unstruck}{changed}\" x=\"{}.5\" y=\"{}.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <path class=\"sign on-{name}\" d=\"{sign}\"/>\
         <text class=\"on-{name}\" x=\"{}\" y=\"{}\">{name}</text></g>",
        escaped(&told),
        x,
        y,
        width - 1,
        CELL_HEIGHT - 1,
        sx + 20,
        sy + 5
    );
}

/// The picture in words, for those who hear it.
fn described(matrix: &Matrix, rows: &[&Row]) -> String {
    let rows = rows.iter().map(|row| {
        let cells = matrix.probes.iter().map(|probe| format!("{probe} {}", row.cell(probe).name()));
        format!("{} at {}: {}.", row.dependency, row.place.name(), cells.collect::<Vec<_>>().join(", "))
    });
    rows.collect::<Vec<_>>().join(" ")
}

fn cut(name: &str) -> String {
    let short: String = name.chars().take(LETTERS).collect();
    if short.len() < name.len() { format!("{}…", escaped(&short)) } else { escaped(name) }
}
