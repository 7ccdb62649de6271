//! What holds in a crowd, whoever else is there. As in [`crate::invariants`], each is a list of what breaks it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Report;
use super::client::{Asked, Kind, Outcome, PATIENCE};

/// An invariant, by its name.
pub type Invariant = (&'static str, fn(&Report) -> Vec<String>);

/// Those that hold whatever endpoints, clients and the control plane do.
pub const ALWAYS: [Invariant; 4] = [
    ("every request ends", every_request_ends),
    ("bytes arrive whole or an error does", bytes_arrive_whole_or_an_error_does),
    ("nothing is executed twice that may not be", nothing_is_executed_twice),
    ("everything is given back", everything_is_given_back),
];

fn lines<'a>(asked: impl Iterator<Item = &'a Asked>) -> Vec<String> {
    asked.map(|asked| format!("{asked:?}")).collect()
}

/// A client hears of its request before it gives up.
pub fn every_request_ends(report: &Report) -> Vec<String> {
    let mut broken = lines(report.asked.iter().filter(|a| a.outcome == Outcome::Nothing || a.took > PATIENCE));
    if report.begun != report.asked.len() as u64 {
        broken.push(format!("{} requests began, {} ended", report.begun, report.asked.len()));
    }
    broken
}

/// What is answered is the answer, and what was answered was given to the endpoint as it was sent.
pub fn bytes_arrive_whole_or_an_error_does(report: &Report) -> Vec<String> {
    let whole: Vec<u64> = report.taken.iter().filter(|taken| taken.whole).map(|taken| taken.id).collect();
    let is_sent = |kind| matches!(kind, Kind::Put | Kind::Post);
    let wrong = |asked: &&Asked| match &asked.outcome {
        Outcome::Wrong(_) => true,
        Outcome::Right => is_sent(asked.kind) && !whole.contains(&asked.id),
        _ => false,
    };
    let mut broken = lines(report.asked.iter().filter(wrong));
    broken.extend(report.taken.iter().filter(|taken| !taken.whole).map(|taken| format!("{taken:?}")));
    broken
}

/// An endpoint that was given all of a POST has executed it. No second one is.
pub fn nothing_is_executed_twice(report: &Report) -> Vec<String> {
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    report.taken.iter().filter(|taken| taken.is_post).for_each(|taken| *times.entry(taken.id).or_default() += 1);
    times.retain(|_, times| *times > 1);
    times.iter().map(|(id, times)| format!("POST {id} {times} times")).collect()
}

/// Once good clients have gone, and bad ones have not moved for longer than any deadline, nothing is held.
pub fn everything_is_given_back(report: &Report) -> Vec<String> {
    report.held.iter().map(|(name, amount)| format!("{amount} {name}")).collect()
}

/// A small answer of a service whose endpoints are well takes its turn, and no more, whoever else is there.
pub fn nobody_delays_another(report: &Report) -> Vec<String> {
    lines(report.asked.iter().filter(|asked| asked.kind == Kind::Small && asked.took > Duration::from_secs(1)))
}

/// What is right is answered, whatever else of its service is not.
pub fn nobody_pays_for_anothers_fault(report: &Report) -> Vec<String> {
    lines(report.asked.iter().filter(|asked| asked.kind != Kind::Bad && asked.outcome != Outcome::Right))
}

/// One endpoint of two in trouble costs no small GET.
pub fn every_small_get_is_answered(report: &Report) -> Vec<String> {
    lines(report.asked.iter().filter(|asked| asked.kind == Kind::Small && asked.outcome != Outcome::Right))
}
