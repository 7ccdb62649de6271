//! What fails, when, and what is asked meanwhile.

use serde_json::json;

use crate::client::Load;

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// For `--scenario`.
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    /// What has to be reached, in words.
    pub goal: &'static str,
    pub load: Load,
    /// Whether the first service has a fallback (Outrigger's other file).
    pub fallback: bool,
    /// Commands to the fleet.
    pub script: Vec<Step>,
    /// What the row is about, beside the share of users.
    pub measure: Measure,
}

/// Something that is done to the fleet, in seconds from the round's start; before it when negative.
#[derive(Debug, Clone)]
pub struct Step {
    pub at: f64,
    /// Which instance; none for all.
    pub instance: Option<usize>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    /// A line for its standard input.
    Say(String),
    /// It is killed, and started again after so many seconds.
    Kill { again_after: f64 },
    /// It is told to end, and started again after so many seconds.
    Terminate { again_after: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// The share of users.
    Users,
    /// The share of users that have no POST, too.
    Gets,
    /// Upstream requests for each client's, while the service is down from..to, and how long until it is back.
    Outage { from: f64, to: f64 },
    /// Good answers a second of what the service can do, from..to, and how long until all is well after.
    Overload { from: f64, to: f64, capacity: f64 },
}

/// Instances of a service.
pub const INSTANCES: usize = 5;
/// How long a round is.
const SECONDS: f64 = 15.0;

fn load(services: usize, users: f64, posts: f64) -> Load {
    Load { services, rates: vec![(0.0, users)], posts, seconds: SECONDS }
}

fn say(at: f64, instance: Option<usize>, service: &str, fault: serde_json::Value) -> Step {
    Step { at, instance, what: What::Say(format!("fault {service} {fault}")) }
}

/// One instance of one service, for the middle of the round.
fn one_of_five(name: &'static str, title: &'static str, goal: &'static str, fault: serde_json::Value) -> Scenario {
    let none = json!({ "kind": "none" });
    Scenario {
        name,
        title,
        goal,
        load: load(10, 40.0, 0.1),
        fallback: false,
        script: vec![say(3.0, Some(0), "0", fault), say(10.0, Some(0), "0", none)],
        measure: Measure::Gets,
    }
}

fn restart(name: &'static str, title: &'static str, what: fn(f64) -> What) -> Scenario {
    let script =
        (0..INSTANCES).map(|i| Step { at: 2.0 + 2.2 * i as f64, instance: Some(i), what: what(0.7) }).collect();
    Scenario {
        name,
        title,
        goal: "100 % of GETs, ≥ 99.95 % in all",
        load: load(10, 40.0, 0.1),
        fallback: false,
        script,
        measure: Measure::Gets,
    }
}

/// Every row.
pub fn all() -> Vec<Scenario> {
    let everywhere = |share| json!({ "kind": "answers", "status": 503, "share": share });
    let overload = json!({ "kind": "capacity", "slots": 2, "ms": 40 });
    let capacity = INSTANCES as f64 * 2.0 / 0.040;
    vec![
        Scenario {
            name: "errors-get",
            title: "1 % random 503 everywhere, N=100, GETs",
            goal: "100 %",
            load: load(100, 5.0, 0.0),
            fallback: false,
            script: vec![say(-3.0, None, "*", everywhere(0.01))],
            measure: Measure::Users,
        },
        Scenario {
            name: "errors",
            title: "1 % random 503 everywhere, N=100, with POSTs",
            goal: "0.999^100 = 90.5 % less two standard errors",
            load: load(100, 5.0, 0.1),
            fallback: false,
            script: vec![say(-3.0, None, "*", everywhere(0.01))],
            measure: Measure::Gets,
        },
        one_of_five("refuses", "one of five refuses, N=10", "≥ 99.95 %", json!({ "kind": "refuses" })),
        one_of_five("flaps", "one of five flaps, N=10", "≥ 99.95 %", json!({ "kind": "flaps", "ms": 500 })),
        one_of_five("hangs", "one of five hangs, N=10", "GETs 100 %, ≥ 99.85 % in all", json!({ "kind": "hangs" })),
        one_of_five(
            "vanishes",
            "one of five vanishes (SYNs dropped), N=10",
            "GETs 100 %, ≥ 99.85 % in all",
            json!({ "kind": "vanishes" }),
        ),
        one_of_five(
            "slow",
            "one of five slow (median 2 s) for 7 s of 15, N=10",
            "≥ 99.8 %",
            json!({ "kind": "slow", "median_ms": 2000.0 }),
        ),
        one_of_five(
            "fails-fast",
            "one of five fails fast with 500, N=10",
            "≥ 99.7 %",
            json!({ "kind": "answers", "status": 500, "share": 1.0 }),
        ),
        one_of_five(
            "gray",
            "one of five gray: 30 % errors, 3 × latency, N=10",
            "≥ 99.8 %",
            json!({ "kind": "gray", "share": 0.3, "times": 3.0 }),
        ),
        Scenario {
            name: "resets",
            title: "0.5 % resets in mid-body everywhere (1 to 16 KiB), N=10",
            goal: "≥ 99.9 % of GETs",
            load: load(10, 40.0, 0.0),
            fallback: false,
            script: vec![say(-3.0, None, "*", json!({ "kind": "resets", "share": 0.005 }))],
            measure: Measure::Users,
        },
        Scenario {
            load: load(10, 40.0, 0.0),
            measure: Measure::Users,
            ..one_of_five(
                "trickles",
                "one of five trickles its body (16 pieces, 100 ms apart), N=10",
                "≥ 99.5 % of GETs",
                json!({ "kind": "trickles" }),
            )
        },
        Scenario {
            name: "down",
            title: "one service wholly down for 5 s, with a fallback declared, N=10",
            goal: "100 % answered, ≤ 1.2 × amplification, back within 1 s",
            load: load(10, 40.0, 0.1),
            fallback: true,
            script: vec![
                say(4.0, None, "0", json!({ "kind": "refuses" })),
                say(9.0, None, "0", json!({ "kind": "none" })),
            ],
            measure: Measure::Outage { from: 4.0, to: 9.0 },
        },
        Scenario {
            name: "overload",
            title: "one service at twice its capacity for 7 s, then half; the capacity not told",
            goal: "≥ 90 % of capacity, back within 1 s",
            load: Load {
                services: 1,
                rates: vec![(0.0, capacity / 2.0), (3.0, capacity * 2.0), (10.0, capacity / 2.0)],
                posts: 0.1,
                seconds: SECONDS,
            },
            fallback: false,
            script: vec![say(-4.0, None, "0", overload)],
            measure: Measure::Overload { from: 3.0, to: 10.0, capacity },
        },
        restart("restart-abrupt", "rolling restart, abrupt (kill -9), N=10", |again_after| What::Kill { again_after }),
        restart("restart-graceful", "rolling restart, graceful (SIGTERM), N=10", |again_after| What::Terminate {
            again_after,
        }),
    ]
}
