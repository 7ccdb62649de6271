//! When requests set out, finely, for as long as it matters which of them should be back.

use std::time::Duration;

use crate::clock::Instant;

const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 256;

/// Requests that set out, by the steps of time in which they did.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    newest: u64,
    steps: [u32; STEPS],
}

impl Pulse {
    /// How long it remembers.
    pub const SPAN: Duration = Duration::from_millis(20 * 250);

    /// None yet.
    pub fn new(start: Instant) -> Self {
        Self { start, newest: 0, steps: [0; STEPS] }
    }

    /// So many more set out just now.
    pub fn add(&mut self, sent: u32, now: Instant) {
        let newest = self.step(now).max(self.newest);
        for step in (self.newest + 1..=newest).take(STEPS) {
            self.steps[step as usize % STEPS] = 0;
        }
        self.newest = newest;
        self.steps[newest as usize % STEPS] += sent;
    }

    /// How many each step since then sent, and how old the youngest of them are by now, seconds.
    pub fn since(&self, from: Instant, now: Instant) -> impl Iterator<Item = (f64, f64)> {
        let first = self.step(from).max((self.newest + 1).saturating_sub(STEPS as u64));
        let age = now.saturating_duration_since(self.start).as_secs_f64();
        (first..=self.newest).map(move |step| {
            let end = STEP.as_secs_f64() * (step + 1) as f64;
            (f64::from(self.steps[step as usize % STEPS]), age - end)
        })
    }

    /// How many a second set out in this step and the one before.
    pub fn lately(&self, now: Instant) -> f64 {
        let at = |step: u64| f64::from(self.steps[step as usize % STEPS]);
        let before = self.newest.saturating_sub(1);
        let sent = at(self.newest) + if before < self.newest { at(before) } else { 0.0 };
        let age = now.saturating_duration_since(self.start).as_secs_f64();
        sent / (age - STEP.as_secs_f64() * before as f64).max(STEP.as_secs_f64())
    }

    fn step(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.start).as_nanos() / STEP.as_nanos()) as u64
    }
}
