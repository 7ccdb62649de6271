//! What goes wrong, when, and what is asked of a proxy meanwhile.
//!
//! A round is 15 s after its warm-up. What goes wrong for a part of it goes wrong from 3 s to 10 s, so that a round shows
//! the first failures, the steady state, and the return.

use super::fault::{
    Capacity, FailFast, Fault, Flap, Gray, Hang, RandomStatus, Refuse, ResetMidBody, Slow, Trickle, Vanish,
};

/// Of a round without its warm-up, in seconds, where it is no burst.
const ROUND: f64 = 15.0;

/// Instances of every service, where the row says nothing else.
pub const INSTANCES: usize = 5;

/// What happens to a fleet.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Instances of services have a fault from now on.
    Fault(Option<usize>, Option<usize>, Fault),
    /// One process gets `kill -9`.
    Kill(usize),
    /// One process is asked to end.
    Term(usize),
    /// It is started again.
    Revive(usize),
}

/// What the row's number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// User requests that succeed.
    Users,
    /// User requests whose GETs succeed.
    UsersByGets,
    /// What the service did, by what it could have done, while too much was asked of it.
    Goodput,
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// On the command line.
    pub name: &'static str,
    /// In the table.
    pub says: &'static str,
    /// To reach, as the project's goals have it.
    pub goal: &'static str,
    /// The share of user requests that can succeed if no POST is sent twice, where that is not all.
    pub allowed: Option<f64>,
    /// Services that a user request calls.
    pub services: usize,
    /// Instances of every service.
    pub instances: usize,
    /// So many POSTs at once are all that comes, to contenders that have just started.
    pub burst: Option<usize>,
    /// What happens, and when, in seconds; before 0: with the warm-up.
    pub steps: Vec<(f64, Step)>,
    /// What is looked at.
    pub measure: Measure,
    /// When it goes wrong, for the amplification and the time of recovery.
    pub window: Option<(f64, f64)>,
    /// The service that goes wrong, where it is one.
    pub focus: Option<usize>,
    /// Whether fallbacks are declared.
    pub fallback: bool,
    /// What each instance can do, where that is little.
    pub capacity: Option<Capacity>,
}

impl Scenario {
    /// How long a round is without its warm-up, in seconds. Of a burst all calls have ended within that.
    pub fn length(&self) -> f64 {
        if self.burst.is_some() { 3.0 } else { ROUND }
    }

    /// Requests per second that all instances together can do.
    pub fn capacity_of(&self, each: &Capacity) -> f64 {
        each.per_second() * self.instances as f64
    }

    /// Calls per second that are asked for at a time, where they are not as always.
    pub fn rate(&self, at: f64, always: f64) -> f64 {
        match (&self.capacity, self.window) {
            (Some(capacity), Some((from, to))) => {
                let all = self.capacity_of(capacity);
                if (from..to).contains(&at) { 2.0 * all } else { 0.5 * all }
            }
            _ => always,
        }
    }
}

const BEFORE: f64 = f64::NEG_INFINITY;
const WINDOW: (f64, f64) = (3.0, 10.0);

fn plain(name: &'static str, says: &'static str, goal: &'static str) -> Scenario {
    Scenario {
        name,
        says,
        goal,
        allowed: None,
        services: 10,
        instances: INSTANCES,
        burst: None,
        steps: Vec::new(),
        measure: Measure::Users,
        window: None,
        focus: None,
        fallback: false,
        capacity: None,
    }
}

/// All instances, always.
fn everywhere(scenario: Scenario, fault: Fault) -> Scenario {
    Scenario { steps: vec![(BEFORE, Step::Fault(None, None, fault))], ..scenario }
}

/// The same one of five instances of every service, for 7 s.
fn one_of_five(scenario: Scenario, fault: Fault) -> Scenario {
    let steps =
        vec![(WINDOW.0, Step::Fault(None, Some(1), fault)), (WINDOW.1, Step::Fault(None, Some(1), Fault::None))];
    Scenario { steps, window: Some(WINDOW), ..scenario }
}

/// One process after the other: two seconds each, one of them without it.
fn restart(scenario: Scenario, end: fn(usize) -> Step) -> Scenario {
    let turn = |i: usize| {
        let at = 2.0 + 2.0 * i as f64;
        [(at, end(i)), (at + 1.0, Step::Revive(i))]
    };
    Scenario { steps: (0..INSTANCES).flat_map(turn).collect(), ..scenario }
}

const OVER: &str = "≥ 90 % of capacity, back within 1 s";
const SMALL: &str = "≥ 85 % of capacity, back within 1 s";

/// One service whose instances can do so much each.
fn overload(name: &'static str, says: &'static str, goal: &'static str, capacity: Capacity) -> Scenario {
    Scenario {
        services: 1,
        steps: vec![(BEFORE, Step::Fault(None, None, Fault::Capacity(capacity.clone())))],
        measure: Measure::Goodput,
        window: Some((0.0, 7.0)),
        focus: Some(0),
        capacity: Some(capacity),
        ..plain(name, says, goal)
    }
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Scenario> {
    let dead = Fault::FailFast(FailFast { status: 503 });
    vec![
        plain("calm", "nothing, N=10", "100 %"),
        everywhere(
            Scenario {
                services: 100,
                // One POST in ten, one error in a hundred.
                allowed: Some(0.999_f64.powi(100)),
                ..plain("random-503", "1 % random 503 everywhere, N=100", "GETs 100 %; total within 2 SE of 90.5 %")
            },
            Fault::RandomStatus(RandomStatus { share: 0.01, status: 503 }),
        ),
        one_of_five(plain("refuse", "one of five refuses, N=10", "≥ 99.95 %"), Fault::Refuse(Refuse {})),
        one_of_five(plain("flap", "one of five flaps, N=10", "≥ 99.95 %"), Fault::Flap(Flap { half_ms: 750 })),
        one_of_five(plain("hang", "one of five hangs, N=10", "GETs 100 %, total ≥ 99.85 %"), Fault::Hang(Hang {})),
        one_of_five(
            plain("vanish", "one of five vanishes (SYNs dropped), N=10", "GETs 100 %, total ≥ 99.85 %"),
            Fault::Vanish(Vanish {}),
        ),
        one_of_five(
            plain("slow", "one of five slow (median 2 s) for 7 s of 15, N=10", "≥ 99.8 %"),
            Fault::Slow(Slow { median_ms: 2000 }),
        ),
        one_of_five(
            plain("fail-fast", "one of five fails fast with 500, N=10", "≥ 99.7 %"),
            Fault::FailFast(FailFast { status: 500 }),
        ),
        one_of_five(
            plain("gray", "one of five gray: 30 % errors, 3 × latency, N=10", "≥ 99.8 %"),
            Fault::Gray(Gray { share: 0.3, slower: 3.0 }),
        ),
        Scenario {
            instances: 2,
            steps: vec![
                (2.0, Step::Fault(None, Some(0), dead.clone())),
                (8.0, Step::Fault(None, Some(0), Fault::None)),
                (8.5, Step::Kill(1)),
                (13.0, Step::Revive(1)),
            ],
            ..plain("pair", "of two, one answers 503; once it is well, the other is killed, N=10", "≥ 99.7 %")
        },
        Scenario {
            services: 1,
            instances: 3,
            burst: Some(400),
            steps: vec![(BEFORE, Step::Fault(None, Some(1), Fault::Vanish(Vanish {})))],
            ..plain("burst", "400 POSTs at once at the start, one of three vanishes", "100 %")
        },
        everywhere(
            Scenario {
                measure: Measure::UsersByGets,
                ..plain("reset", "0.5 % resets in mid-body (1 KiB to 16 KiB), N=10", "≥ 99.9 % of GETs")
            },
            Fault::ResetMidBody(ResetMidBody { share: 0.005 }),
        ),
        one_of_five(
            Scenario {
                measure: Measure::UsersByGets,
                ..plain("trickle", "one of five trickles its body (16 × 100 ms), N=10", "≥ 99.5 % of GETs")
            },
            Fault::Trickle(Trickle { pieces: 16, gap_ms: 100 }),
        ),
        Scenario {
            steps: vec![(3.0, Step::Fault(Some(0), None, dead)), (8.0, Step::Fault(Some(0), None, Fault::None))],
            window: Some((3.0, 8.0)),
            focus: Some(0),
            fallback: true,
            ..plain(
                "down",
                "one service wholly down 5 s, with a fallback declared, N=10",
                "100 % answered, ≤ 1.2 × amplification, back within 1 s",
            )
        },
        overload("overload", "twice the capacity for 7 s, then half", OVER, Capacity::new(4, 100)),
        overload("overload-50", "twice the capacity of 50 requests/s", SMALL, Capacity::new(1, 100)),
        overload("overload-100", "twice the capacity of 100 requests/s", SMALL, Capacity::new(2, 100)),
        overload("overload-500", "twice the capacity of 500 requests/s", SMALL, Capacity::new(4, 40)),
        restart(plain("restart-abrupt", "rolling restart, abrupt, N=10", "GETs 100 %, total ≥ 99.95 %"), Step::Kill),
        restart(
            plain("restart-graceful", "rolling restart, graceful, N=10", "GETs 100 %, total ≥ 99.95 %"),
            Step::Term,
        ),
    ]
}
