//! What a soak tells, and when it says that something has grown.
//!
//! Memory and descriptors go up and down with the load. What leaks shows in the least of each minute, which only what is kept
//! for ever lifts; and what caches and pools take at first is there after a quarter of the time. So the least of the
//! last quarter is held against the most of the second quarter's least ones. A run of a few minutes has no quarters worth
//! the name, and only its end is judged: once all clients have gone, descriptors go back to what they were.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::load::Told;
use crate::proxy::Proxy;
use crate::tools::say;

/// What a process holds at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    memory: usize,
    descriptors: usize,
}

/// What may not grow: its name, how much of it there was, and how much there may be later.
type Rule = (&'static str, fn(&Sample) -> usize, fn(usize) -> usize);

impl Sample {
    pub fn of(proxy: &Proxy) -> Self {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).map_or(0, Iterator::count);
        let memory = if proxy.has_ended() { 0 } else { proxy.memory() };
        Self { memory, descriptors }
    }
}

/// Looks every so often, until it is told to stop.
pub fn samples(proxy: &Proxy, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        samples.push(Sample::of(proxy));
        std::thread::sleep(Duration::from_secs(1));
    }
    samples
}

/// A minute.
#[derive(Debug)]
pub struct Minute {
    pub number: u64,
    pub samples: Vec<Sample>,
    pub told: Vec<Told>,
    pub failed: Vec<String>,
}

impl Minute {
    fn least(&self, what: fn(&Sample) -> usize) -> usize {
        self.samples.iter().map(what).min().unwrap_or_default()
    }

    fn most(&self, what: fn(&Sample) -> usize) -> usize {
        self.samples.iter().map(what).max().unwrap_or_default()
    }
}

/// All minutes.
pub struct Report {
    before: Sample,
    minutes: Vec<Minute>,
    failed: usize,
    broken: Vec<String>,
}

/// So much more than before is growth, and anything less the allocator's.
const MEMORY: fn(usize) -> usize = |before| before + before / 4 + (8 << 20);
/// The same of descriptors: connections that are kept come and go.
const DESCRIPTORS: fn(usize) -> usize = |before| before + before / 4 + 16;
/// What is idle is closed within a minute or so.
const REST_WITHIN: Duration = Duration::from_secs(180);

impl Report {
    pub const HEADER: &str = "minute  memory MiB  descriptors  good (failed)";

    pub fn begin(before: Sample) -> Self {
        Self { before, minutes: Vec::new(), failed: 0, broken: Vec::new() }
    }

    /// Tells of a minute.
    pub fn add(&mut self, minute: Minute) {
        let mib = |bytes: usize| bytes >> 20;
        let (memory, descriptors) = (|s: &Sample| s.memory, |s: &Sample| s.descriptors);
        let memory = format!("{}..{}", mib(minute.least(memory)), mib(minute.most(memory)));
        let descriptors = format!("{}..{}", minute.least(descriptors), minute.most(descriptors));
        let mut line = format!("{:>6}  {memory:>10}  {descriptors:>11}  ", minute.number);
        for told in minute.told.iter().filter(|told| told.good + told.failed.len() > 0) {
            let _ = write!(line, "{} {} ({}); ", told.name, told.good, told.failed.len());
        }
        say(line.trim_end_matches("; "));
        let failed = || minute.told.iter().flat_map(|told| told.failed.iter().map(move |why| (told.name, why)));
        failed().take(5).for_each(|(name, why)| say(&format!("        {name}: {why}")));
        minute.failed.iter().for_each(|why| say(&format!("        {why}")));
        self.failed += failed().count() + minute.failed.len();
        self.minutes.push(minute);
    }

    /// Waits until all is given back after the last client has gone.
    pub fn rest(&mut self, proxy: &Proxy) {
        let (begun, most) = (Instant::now(), DESCRIPTORS(self.before.descriptors));
        while Sample::of(proxy).descriptors > most && begun.elapsed() < REST_WITHIN {
            std::thread::sleep(Duration::from_secs(1));
        }
        let Sample { memory, descriptors } = Sample::of(proxy);
        let (took, before) = (begun.elapsed().as_secs(), self.before);
        let (was, is) = (before.memory >> 20, memory >> 20);
        say(&format!(
            "at rest after {took} s: {is} MiB and {descriptors} descriptors; before the load: {was} MiB and {}",
            before.descriptors
        ));
        if descriptors > most {
            self.broken.push(format!("{descriptors} descriptors at rest, {} before", before.descriptors));
        }
    }

    /// The end of it.
    pub fn judge(mut self, proxy: &Proxy) -> ExitCode {
        let quarter = self.minutes.len() / 4;
        if quarter >= 2 {
            let rules: [Rule; 2] =
                [("bytes of memory", |s| s.memory, MEMORY), ("descriptors", |s| s.descriptors, DESCRIPTORS)];
            for (name, what, allowed) in rules {
                let least = |minutes: &[Minute]| minutes.iter().map(|m| m.least(what)).collect::<Vec<_>>();
                let earlier = least(&self.minutes[quarter..2 * quarter]).into_iter().max().unwrap_or_default();
                let later = least(&self.minutes[self.minutes.len() - quarter..]).into_iter().min().unwrap_or_default();
                if later > allowed(earlier) {
                    self.broken.push(format!("{name} have grown: {earlier}, and {later} later"));
                }
            }
        }
        if self.failed > 0 {
            self.broken.push(format!("{} requests or steps failed", self.failed));
        }
        let log = proxy.log();
        if proxy.has_ended() {
            self.broken.push("the proxy ended".into());
        }
        self.broken.extend(log.lines().filter(|line| line.contains("panicked")).map(Into::into));
        self.broken.iter().for_each(|why| say(&format!("NOT SO: {why}")));
        match self.broken.is_empty() {
            true => {
                say("nothing failed, nothing grew");
                ExitCode::SUCCESS
            }
            false => {
                let last: Vec<_> = log.lines().rev().take(20).collect();
                last.iter().rev().for_each(|line| say(&format!("  {line}")));
                ExitCode::FAILURE
            }
        }
    }
}
