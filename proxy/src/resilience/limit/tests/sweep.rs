//! How much of a service's work is of use while it is given more than it can do, beside the best that a limit which
//! somebody set by hand would have done: over capacities, kinds of service, steps of load, and seeds.
//!
//! Half of the capacity, from the fifth second on a multiple of it for seven seconds, then half again. Users wait a
//! second; work that nobody waits for any more is done nevertheless, first come, first served. The reference is a fixed
//! number, the best of some for this very seed.

use std::fmt::Write as _;
#[allow(clippy::disallowed_types, reason = "threads of a test")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::sim::{self, History, Service, Spread, World};
use crate::config::settings::Limit;

const SERVERS: usize = 5;
const STEP: std::ops::Range<f64> = 5.0..12.0;
const END: f64 = 18.0;
/// When a capacity halves that does.
const HALVED: f64 = 8.5;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Requests a second that are done.
    capacity: f64,
    /// Of each server.
    slots: usize,
    spread: Spread,
    /// The load of the step, by the capacity.
    times: f64,
    workers: usize,
    /// Whether the capacity halves in the middle of the step, for good.
    halves: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    /// Answers in time, a second, from shortly after the step began.
    goodput: f64,
    /// From the end of the step until 95 % are answered for a second, in seconds.
    recovery: f64,
}

impl Cell {
    fn mean(&self) -> f64 {
        (SERVERS * self.slots) as f64 / self.capacity
    }

    fn world(&self, seed: u64, limit: Limit) -> World {
        let Self { capacity, times, halves, .. } = *self;
        let mean = self.mean();
        let rate = move |t: f64| match t {
            t if STEP.contains(&t) => times * capacity,
            t if t > STEP.end && halves => 0.25 * capacity,
            _ => 0.5 * capacity,
        };
        let service = Service::Queues { servers: SERVERS, slots: self.slots };
        let mut world = World::new(seed, service, self.spread, mean, Box::new(rate), END);
        world.mean = Box::new(move |t| if halves && t >= HALVED { 2.0 * mean } else { mean });
        (world.workers, world.limit) = (self.workers, limit);
        world
    }

    fn score(&self, history: &History) -> Score {
        // A small service has answered hardly anything within a second.
        let settled = if self.capacity < 100.0 { 3.0 } else { 1.0 };
        let goodput = history.goodput(STEP.start + settled, STEP.end);
        let is_well = |from: f64| history.goodput(from, from + 1.0) >= 0.95 * history.came(from, from + 1.0);
        let tenths = ((END - STEP.end - 1.0) * 10.0) as u32;
        let recovery = (0..tenths).map(|tenth| f64::from(tenth) / 10.0).find(|after| is_well(STEP.end + after));
        Score { goodput, recovery: recovery.unwrap_or(END - STEP.end) }
    }

    /// Without being told anything, and the best of some fixed limits.
    fn run(&self, seed: u64) -> (Score, Score) {
        let found = self.score(&sim::run(&self.world(seed, Limit::default())));
        let slots = (SERVERS * self.slots) as f64;
        let most = 0.7 * self.capacity;
        let grid: &[f64] = if self.capacity < 500.0 { &[1.0, 1.25, 1.6, 2.0, 3.0] } else { &[1.1, 1.6, 4.0] };
        let fixed =
            grid.iter().map(|by| (by * slots).ceil()).filter(|places| *places <= most.max(slots)).map(|places| {
                let limit = Limit { max_in_flight: Some(places as u32), adaptive: false, ..Limit::default() };
                self.score(&sim::run(&self.world(seed, limit)))
            });
        let best = fixed.max_by(|a, b| a.goodput.total_cmp(&b.goodput).then(b.recovery.total_cmp(&a.recovery)));
        (found, best.unwrap_or_default())
    }
}

/// All of them: those whose requests take a quarter of a second at most.
fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for capacity in [20.0, 50.0, 100.0, 500.0, 2_000.0] {
        for slots in [1, 2, 4, 8, 16] {
            for spread in [Spread::Constant, Spread::Lognormal, Spread::Bimodal] {
                for times in [1.5, 2.0, 4.0, 10.0] {
                    for (workers, halves) in [(1, false), (2, false), (1, true), (2, true)] {
                        cells.push(Cell { capacity, slots, spread, times, workers, halves });
                    }
                }
            }
        }
    }
    cells.retain(|cell| cell.mean() <= 0.25);
    cells
}

/// Means over seeds: goodput by the best fixed limit's, and how much longer recovery takes.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    cell: Cell,
    share: f64,
    longer: f64,
}

impl Outcome {
    fn of(cell: Cell, seeds: std::ops::Range<u64>) -> Self {
        let scores: Vec<_> = seeds.map(|seed| cell.run(seed)).collect();
        let sum = |of: fn(&(Score, Score)) -> f64| scores.iter().map(of).sum::<f64>();
        let share = sum(|(found, _)| found.goodput) / sum(|(_, best)| best.goodput);
        let longer = sum(|(found, best)| found.recovery - best.recovery) / scores.len() as f64;
        Self { cell, share, longer }
    }

    fn is_met(&self) -> bool {
        self.share >= 0.85 && self.longer <= 1.0
    }
}

#[allow(clippy::disallowed_types, reason = "threads of a test")]
fn all(cells: &[Cell], seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = Outcome::of(*cell, seeds.clone());
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn a_service_of_any_size_does_in_an_overload_what_a_known_limit_would_let_it_do() {
    let mut cells = cells();
    let sizes = [(50.0, 1), (50.0, 2), (100.0, 1), (100.0, 2), (500.0, 4)];
    cells.retain(|cell| !cell.halves && cell.workers == 2 && cell.times * cell.capacity <= 1_000.0);
    cells.retain(|cell| sizes.contains(&(cell.capacity, cell.slots)) && !matches!(cell.spread, Spread::Bimodal));
    assert_eq!(cells.len(), 36);
    for outcome in all(&cells, 0..3) {
        assert!(outcome.is_met(), "{outcome:?}");
    }
}

#[test]
fn a_limit_does_not_outlive_an_overload_in_which_the_service_became_slower() {
    let spread = Spread::Constant;
    let cell = Cell { capacity: 2_000.0, slots: 16, spread, times: 4.0, workers: 2, halves: true };
    let outcome = Outcome::of(cell, 1..3);
    assert!(outcome.longer <= 1.0, "{outcome:?}");
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[ignore = "an hour with optimisation: `just overload`"]
fn the_whole_sweep() {
    let seeds = number("OUTRIGGER_SEEDS").map_or(20, |n| n as u64);
    let mut cells = cells();
    for (name, of) in [
        ("CAPACITY", (|c: &Cell| c.capacity) as fn(&Cell) -> f64),
        ("SLOTS", |c| c.slots as f64),
        ("TIMES", |c| c.times),
        ("WORKERS", |c| c.workers as f64),
        ("HALVES", |c| f64::from(u8::from(c.halves))),
    ] {
        if let Some(only) = number(name) {
            cells.retain(|cell| of(cell) == only);
        }
    }
    let outcomes = all(&cells, 0..seeds);
    println!("{}", table(&outcomes));
}

/// A row for each capacity and number of slots, a column for each step: the mean, and the least.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from("| capacity | slots | × 1.5 | × 2 | × 4 | × 10 |\n|---|---|---|---|---|---|\n");
    let mut rows: Vec<_> = outcomes.iter().map(|o| (o.cell.capacity as u32, o.cell.slots)).collect();
    rows.sort_unstable();
    rows.dedup();
    for (capacity, slots) in rows {
        let _ = write!(text, "| {capacity} | {slots} |");
        for times in [1.5, 2.0, 4.0, 10.0] {
            let is_here =
                |o: &&Outcome| (o.cell.capacity as u32, o.cell.slots, o.cell.times) == (capacity, slots, times);
            let here: Vec<_> = outcomes.iter().filter(is_here).collect();
            let count = here.len().max(1) as f64;
            let mean = here.iter().map(|o| o.share).sum::<f64>() / count;
            let least = here.iter().map(|o| o.share).fold(f64::INFINITY, f64::min);
            let longer = here.iter().map(|o| o.longer).fold(f64::NEG_INFINITY, f64::max);
            let _ = write!(text, " {:.0} % ({:.0}), {longer:+.1} s |", 100.0 * mean, 100.0 * least);
        }
        text.push('\n');
    }
    let mut missed: Vec<_> = outcomes.iter().filter(|o| !o.is_met()).collect();
    missed.sort_by(|a, b| a.share.total_cmp(&b.share));
    let _ = writeln!(text, "\n{} of {} missed", missed.len(), outcomes.len());
    for Outcome { cell, share, longer } in missed {
        let _ = writeln!(text, "- {:.1} %, {longer:+.1} s: {cell:?}", 100.0 * share);
    }
    text
}
