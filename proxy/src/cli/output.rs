//! Writing to whoever typed the command: errors handled, colour only where it is seen.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use outrigger::config::ConfigErrors;

use super::INVALID;

/// Writes to standard output and ends with `code`. A reader that went away (`| head`) is no failure.
pub fn print(text: impl Display, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => fail(format_args!("cannot write: {e}")),
        _ => code,
    }
}

/// Writes JSON to standard output and ends with `code`.
pub fn print_json(value: &impl serde::Serialize, code: ExitCode) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(json) => print(format_args!("{json}\n"), code),
        Err(e) => fail(format_args!("cannot be written as JSON: {e}")),
    }
}

/// Says on standard error what went wrong, and ends with 1.
pub fn fail(message: impl Display) -> ExitCode {
    complain("", message);
    ExitCode::FAILURE
}

/// Says on standard error what went wrong, and ends with a code of its own.
pub fn fail_as(code: u8, message: impl Display) -> ExitCode {
    complain("", message);
    ExitCode::from(code)
}

/// Says on standard error what is wrong with a configuration, and ends with 3. With the file's text, each error is
/// followed by its line.
pub fn invalid(errors: &ConfigErrors, text: Option<&str>) -> ExitCode {
    let paint = Paint::of(&io::stderr());
    let mut told = String::new();
    for error in &errors.errors {
        told.push_str(&format!("{}:{error}\n", errors.file));
        if let Some(mark) = error.mark
            && let Some(line) = text.and_then(|t| t.lines().nth(mark.line.saturating_sub(1)))
        {
            let shown: String = line.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let before = mark.column.saturating_sub(1).min(120);
            told.push_str(&format!("  {shown}\n  {}{}\n", " ".repeat(before), paint.red("^")));
        }
    }
    let plural = if errors.errors.len() == 1 { "error" } else { "errors" };
    complain(&told, format_args!("{} {plural}", errors.errors.len()));
    ExitCode::from(INVALID)
}

fn complain(before: &str, message: impl Display) {
    let paint = Paint::of(&io::stderr());
    // There is nobody left to tell that nobody can be told.
    let _unheard = writeln!(io::stderr().lock(), "{before}{} {message}", paint.red("outrigger:"));
}

/// Colours, or none: only on a terminal, and not where `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self(stream.is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|t| t != "dumb"))
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Lines of columns, each as wide as its widest cell. Cells are measured before they are painted.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
