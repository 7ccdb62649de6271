//! How far a drill is: a bar on a terminal, a line for each row elsewhere.

use std::io::{self, IsTerminal, Write};

use outrigger::drill::matrix::Row;
use outrigger::drill::runner::Event;

/// Of the bar, in characters.
const WIDTH: usize = 24;
/// Of the line it stands in: one that is broken by the terminal cannot be taken away again.
const LINE: usize = 79;

/// Standard error.
#[derive(Debug)]
pub struct Screen {
    rows: usize,
    columns: Vec<String>,
    bar: bool,
    /// The row that is being made, from 1, and what it is.
    row: (usize, String),
}

impl Screen {
    /// For so many rows, and these columns.
    pub fn new(rows: usize, columns: Vec<String>) -> Self {
        Self { rows, columns, bar: io::stderr().is_terminal(), row: (0, String::new()) }
    }

    /// Shows what is going on.
    pub fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Steady => self.say("is the product well?"),
            Event::Begun(number, injection) => {
                let title = format!("{} {} ({})", injection.dependency, injection.fault.name(), injection.place.name());
                self.row = (*number, title);
                self.draw(0.0, "");
            }
            Event::Done(part) => self.draw(*part, ""),
            Event::Recovering => self.draw(1.0, ", recovering"),
            // On a terminal the table says it in a moment.
            Event::Made(..) if self.bar => {}
            Event::Made(number, row) => self.say(&format!("{number}/{} {}", self.rows, self.told(row))),
            Event::Note(note) => {
                self.clear();
                write(&format!("{note}\n"));
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if self.bar {
            write("\r\x1b[K");
        }
    }

    fn say(&mut self, line: &str) {
        if self.bar {
            write(&format!("\r\x1b[K{line}"));
        } else {
            write(&format!("{line}\n"));
        }
    }

    fn draw(&mut self, part: f64, more: &str) {
        if !self.bar {
            return;
        }
        let (number, title) = &self.row;
        let done = (*number as f64 - 1.0 + part).max(0.0) / self.rows.max(1) as f64;
        let full = ((done * WIDTH as f64) as usize).min(WIDTH);
        let bar = format!("{}{}", "=".repeat(full), " ".repeat(WIDTH - full));
        let line: String = format!("[{bar}] {number}/{} {title}{more}", self.rows).chars().take(LINE).collect();
        write(&format!("\r\x1b[K{line}"));
    }

    fn told(&self, row: &Row) -> String {
        let cells: Vec<_> = self.columns.iter().map(|probe| format!("{probe} {}", row.cell(probe).name())).collect();
        let note = row.note();
        let note = if note.is_empty() { note } else { format!("; {note}") };
        format!("{}: {}{note}", row.title(), cells.join(", "))
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Progress that nobody can see is no failure.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
