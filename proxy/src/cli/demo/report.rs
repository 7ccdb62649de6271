//! What the demo says: a table for people, or the same numbers as JSON.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::availability::Sum;
use super::super::output::Paint;
use super::measure::Tally;

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// How many services a user request needs.
    pub services: usize,
    /// Per-call availability of direct calls, over all of them so far.
    pub per_call: f64,
    /// Measured without the proxy.
    pub direct: Tally,
    /// Measured through it.
    pub proxied: Tally,
}

impl Row {
    /// What Aⁿ says.
    pub(crate) fn predicted(&self) -> f64 {
        self.per_call.powf(self.services as f64)
    }
}

/// Where the demo writes: lines on stdout; progress on stderr, and only where that is a terminal.
#[derive(Debug)]
pub(crate) struct Screen {
    json: bool,
    paint: Paint,
    progress: bool,
    shown: Option<Instant>,
}

impl Screen {
    /// By what stdout and stderr are.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, paint: Paint::of(&io::stdout()), progress: io::stderr().is_terminal(), shown: None }
    }

    /// Writes lines for people; nothing where JSON is asked for.
    pub(crate) fn say(&mut self, lines: &str) -> io::Result<()> {
        self.clear();
        if self.json {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{lines}")?;
        stdout.flush()
    }

    /// Replaces the line of progress, at most ten times a second.
    pub(crate) fn progress(&mut self, line: std::fmt::Arguments<'_>) {
        let due = self.shown.is_none_or(|at| at.elapsed() > Duration::from_millis(100));
        if self.progress && due {
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.shown = Some(Instant::now());
        }
    }

    /// Takes the line of progress away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// The head of the table.
    pub(crate) fn head(&mut self) -> io::Result<()> {
        self.say(&format!(
            "{:>8}  {:>10}  {:>25}  {:>25}  {:>8}\n{:>8}  {:>10}  {:>25}  {:>25}  {:>8}",
            "services",
            "A^n",
            "instances called",
            "called through",
            "user",
            "needed",
            "predicts",
            "directly",
            "Outrigger",
            "requests"
        ))
    }

    /// A line of the table.
    pub(crate) fn row(&mut self, row: &Row) -> io::Result<()> {
        let cell = |tally: &Tally| {
            let (low, high) = tally.interval();
            let range = format!("({:.2} - {:.2})", low * 100.0, high * 100.0);
            (format!("{:>7.2} %", tally.availability() * 100.0), range)
        };
        let ((direct, direct_range), (proxied, proxied_range)) = (cell(&row.direct), cell(&row.proxied));
        self.say(&format!(
            "{:>8}  {:>8.2} %  {direct} {direct_range:>15}  {} {proxied_range:>15}  {:>8}",
            row.services,
            row.predicted() * 100.0,
            self.paint.green(&proxied),
            row.direct.requests,
        ))
    }

    /// Everything, as one JSON document on stdout.
    pub(crate) fn json(&mut self, report: &Report<'_>) -> io::Result<()> {
        self.clear();
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, report)?;
        writeln!(stdout)?;
        stdout.flush()
    }
}

/// The numbers of a run, as `--json` prints them. Shares are from 0 to 1.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// Of the faults.
    pub seed: u64,
    /// In the fleet.
    pub services: usize,
    /// Of each service.
    pub instances: u32,
    /// That stand for the instances.
    pub processes: usize,
    /// What the fault model was made to give per direct call.
    pub designed_availability: f64,
    /// What direct calls gave, over the whole run.
    pub measured_availability: f64,
    /// What calls through Outrigger gave, over the whole run.
    pub proxied_availability: f64,
    /// Seconds that the table took.
    pub seconds: f64,
    /// The table.
    pub rows: Vec<JsonRow<'a>>,
    /// What the proxy says it did, its warm-up included; none if it did not say.
    pub accounts: Option<Sum>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct JsonRow<'a> {
    services: usize,
    per_call: f64,
    predicted: f64,
    direct: JsonCell<'a>,
    proxied: JsonCell<'a>,
}

#[derive(Debug, Serialize)]
struct JsonCell<'a> {
    availability: f64,
    low: f64,
    high: f64,
    #[serde(flatten)]
    tally: &'a Tally,
}

impl<'a> JsonRow<'a> {
    /// A line's numbers and what follows from them.
    pub(crate) fn new(row: &'a Row) -> Self {
        let cell = |tally: &'a Tally| {
            let (low, high) = tally.interval();
            JsonCell { availability: tally.availability(), low, high, tally }
        };
        Self {
            services: row.services,
            per_call: row.per_call,
            predicted: row.predicted(),
            direct: cell(&row.direct),
            proxied: cell(&row.proxied),
        }
    }
}
