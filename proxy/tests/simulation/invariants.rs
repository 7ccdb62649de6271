//! What holds whatever happens to the endpoints.
//!
//! Each invariant takes a [`Report`] and returns what breaks it, one line each: nothing, as long as it holds. They know
//! nothing of how the proxy does it, only what was asked, what endpoints have read, and what is held in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger::config::settings::Retries;

use crate::client::{Asked, DEADLINE, Outcome, SLACK};
use crate::endpoint::Fate;
use crate::world::Report;

/// An invariant, by its name.
pub type Invariant = (&'static str, fn(&Report) -> Vec<String>);

/// Those that hold under any faults.
pub const ALWAYS: [Invariant; 6] = [
    ("no POST is executed twice", no_post_is_executed_twice),
    ("no answer is wrong", no_answer_is_wrong),
    ("the account is never exceeded", the_account_is_never_exceeded),
    ("every request ends by its deadline", every_request_ends_by_its_deadline),
    ("every guard is freed", every_guard_is_freed),
    ("the account of requests reconciles", the_account_of_requests_reconciles),
];

/// A GET is promised an answer as long as one endpoint at a time is in trouble, and the service's account has not refused
/// anybody while the request was under way.
pub fn every_promised_get_is_answered(report: &Report) -> Vec<String> {
    let lost = report.asked.iter().filter(|asked| is_promised(asked) && asked.outcome != Outcome::Right);
    lost.map(|asked| format!("{asked:?}")).collect()
}

/// Whether a request is one that the policies promise to save.
pub fn is_promised(asked: &Asked) -> bool {
    !asked.is_post && asked.in_credit
}

/// An endpoint that has read all of a POST has executed it. No second one does, not even later.
pub fn no_post_is_executed_twice(report: &Report) -> Vec<String> {
    let mut executed: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
    for read in report.read.iter().filter(|read| read.is_post) {
        executed.entry(read.id).or_default().push(read.at);
    }
    executed.retain(|_, times| times.len() > 1);
    executed.iter().map(|(id, times)| format!("POST {id} at {times:?}")).collect()
}

/// What is answered with 200 is the answer to that very request, and a POST that was answered was executed.
pub fn no_answer_is_wrong(report: &Report) -> Vec<String> {
    let executed: Vec<u64> = report.read.iter().filter(|read| read.is_post).map(|read| read.id).collect();
    let wrong = |asked: &&Asked| match asked.outcome {
        Outcome::Wrong(_) => true,
        Outcome::Right => asked.is_post && !executed.contains(&asked.id),
        _ => false,
    };
    report.asked.iter().filter(wrong).map(|asked| format!("{asked:?}")).collect()
}

/// So many seconds of income are kept.
const RESERVE_S: f64 = 10.0;
/// Windows begin and end at multiples of this.
const STEP: Duration = Duration::from_millis(100);
/// What was paid for before a window may be read in it: a message can be as late as a fault lasts.
const LATE: Duration = Duration::from_secs(2);

/// Over any stretch of time, endpoints read no more requests beyond each request's first than the account held when it
/// began (at the very beginning: ten seconds of the floor) and was paid since. Not counted are those that followed a
/// connection that had been idle and ended without a word: these replays are free, and at most one for each such end.
pub fn the_account_is_never_exceeded(report: &Report) -> Vec<String> {
    let terms = Retries::default();
    let mut seen = std::collections::BTreeSet::new();
    let further = sums(report.read.iter().filter(|read| !seen.insert(read.id)).map(|read| read.at));
    let free = sums(report.read.iter().filter(|r| r.reused && r.fate.get() == Fate::Dropped).map(|read| read.at));
    let begun = sums(report.begun.iter().copied());
    let second = steps(Duration::from_secs(1));
    let peak = (second..begun.len()).map(|end| begun[end] - begun[end - second]).max().unwrap_or(0);
    let mut broken = Vec::new();
    for start in 0..begun.len() {
        let floor = RESERVE_S * terms.min_per_second;
        let reserve = if start == 0 { floor } else { floor.max(RESERVE_S * terms.budget * f64::from(peak)) };
        let earlier = start.saturating_sub(steps(LATE));
        for end in start + 1..begun.len() {
            let seconds = (end - earlier) as f64 * STEP.as_secs_f64();
            let income = terms.budget * f64::from(begun[end] - begun[earlier]) + terms.min_per_second * seconds;
            let most = reserve + income + f64::from(free[end] - free[earlier]);
            let read = further[end] - further[start];
            if f64::from(read) > most {
                broken
                    .push(format!("{read} further attempts from {start}00 to {end}00 ms, and {most:.0} are paid for"));
            }
        }
    }
    broken
}

/// While the whole service is down, it gets 1.2 times what it is asked, at most.
pub fn an_outage_is_not_made_worse(report: &Report, from: Duration, until: Duration) -> Vec<String> {
    let within = |at: &Duration| (from..until).contains(at);
    let asked = report.begun.iter().filter(|at| within(at)).count();
    let read = report.read.iter().filter(|read| within(&read.at)).count();
    let worse = read as f64 > 1.2 * asked as f64;
    worse.then(|| format!("{read} attempts for {asked} requests")).into_iter().collect()
}

/// From a second after the outage on, everything is answered again.
pub fn an_outage_is_over_when_it_ends(report: &Report, end: Duration) -> Vec<String> {
    let after = end + Duration::from_secs(1);
    let lost = report.asked.iter().filter(|asked| asked.at >= after && asked.outcome != Outcome::Right);
    lost.map(|asked| format!("{asked:?}")).collect()
}

/// Every request ends, and whoever told the proxy its deadline has heard from it by then.
pub fn every_request_ends_by_its_deadline(report: &Report) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    if report.begun.len() != report.asked.len() {
        broken.push(format!("{} requests began, {} ended", report.begun.len(), report.asked.len()));
    }
    let silent = |asked: &&Asked| asked.told && asked.outcome == Outcome::Nothing;
    let late = |asked: &&Asked| asked.took > DEADLINE + SLACK + Duration::from_millis(1);
    broken.extend(report.asked.iter().filter(|a| silent(a) || late(a)).map(|asked| format!("{asked:?}")));
    broken
}

/// Once everything has ended, nothing of what requests hold while they live is held any more.
pub fn every_guard_is_freed(report: &Report) -> Vec<String> {
    report.held.iter().map(|(name, amount)| format!("{amount} {name}")).collect()
}

/// At any time each request that was started has one fate or is in flight. When all is over none is in flight, and the
/// account says no less than what the clients have seen.
pub fn the_account_of_requests_reconciles(report: &Report) -> Vec<String> {
    let account = &report.account;
    let mut broken = report.unsound.clone();
    let seen = |outcome: fn(&Outcome) -> bool| report.asked.iter().filter(|a| outcome(&a.outcome)).count() as u64;
    let (right, refused) = (seen(|o| *o == Outcome::Right), seen(|o| matches!(o, Outcome::Status(_))));
    let untold = seen(|o| matches!(o, Outcome::Closed | Outcome::Nothing));
    let within = |count: u64, seen: u64| (seen..=seen + untold).contains(&count);
    for (holds, what) in [
        (account.reconciles(), "it does not add up"),
        (account.in_flight == 0, "a request is in flight for ever"),
        (within(account.started, right + refused), "more or fewer were started than clients know of"),
        (within(account.success(), right), "more or fewer were answered than clients know of"),
        (within(account.failure(), refused), "more or fewer were lost than clients know of"),
    ] {
        if !holds {
            broken.push(format!("{what}: {right} right, {refused} refused, {untold} untold; {account:?}"));
        }
    }
    broken
}

fn steps(time: Duration) -> usize {
    (time.as_millis() / STEP.as_millis()) as usize
}

/// How many there were until the end of each step.
fn sums(times: impl Iterator<Item = Duration>) -> Vec<u32> {
    let mut sums = vec![0; steps(crate::world::LAST + Duration::from_secs(4))];
    times.for_each(|time| sums[steps(time) + 1] += 1);
    for at in 1..sums.len() {
        sums[at] += sums[at - 1];
    }
    sums
}
