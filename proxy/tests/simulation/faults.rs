//! What can go wrong with an endpoint, and when it does.
//!
//! A fault is data: [`strike`] begins it and [`mend`] ends it, on the network, on the host, or in the endpoint's own
//! behaviour. A schedule is data too, made from the seed before the simulation begins.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use turmoil::Sim;

use crate::endpoint::{Mood, NAMES};

/// Something that is wrong with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The endpoint itself misbehaves.
    Behaves(Mood),
    /// Its process dies, its kernel says so, and it is started again.
    Crash,
    /// Everything between it and the proxy is lost.
    Partition,
    /// Everything between it and the proxy is late, and comes at once in the end.
    Hold,
    /// Messages to and from it take up to this long.
    Jitter(Duration),
}

/// A fault, when, how long, and whose.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
    /// Indices into [`NAMES`].
    pub whom: Vec<usize>,
}

/// Any fault, with what it has to be told.
pub fn any() -> Fault {
    let ms = |range| Duration::from_millis(fastrand::u64(range));
    match fastrand::u8(..13) {
        0 => Fault::Behaves(Mood::Refusing),
        1 => Fault::Behaves(Mood::HangingUp),
        2 => Fault::Behaves(Mood::BreakingOff),
        3 => Fault::Behaves(Mood::Failing(503)),
        4 => Fault::Behaves(Mood::Failing(500)),
        5 => Fault::Behaves(Mood::Hanging),
        6 | 7 => Fault::Behaves(Mood::Slow(ms(300..2_000))),
        8 => Fault::Behaves(Mood::Trickling(ms(5..50))),
        9 => Fault::Crash,
        10 => Fault::Partition,
        11 => Fault::Hold,
        _ => Fault::Jitter(ms(50..400)),
    }
}

/// One endpoint at a time, with a moment between one trouble and the next.
pub fn one_at_a_time(from: Duration, until: Duration) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut at = from;
    loop {
        let lasts = Duration::from_millis(fastrand::u64(200..2_000));
        if at + lasts >= until {
            return strikes;
        }
        strikes.push(Strike { at, lasts, fault: any(), whom: vec![fastrand::usize(..NAMES.len())] });
        at += lasts + Duration::from_millis(fastrand::u64(100..800));
    }
}

/// Two at a time, each with a fault of its own, one after the other without a moment between.
pub fn two_at_a_time(from: Duration, until: Duration) -> Vec<Strike> {
    let mut strikes = Vec::new();
    // Each half of the pool has its own row of troubles, so that no endpoint has two at once.
    for half in [0..2, 2..NAMES.len()] {
        let mut at = from;
        loop {
            let lasts = Duration::from_millis(fastrand::u64(200..2_000));
            if at + lasts >= until {
                break;
            }
            strikes.push(Strike { at, lasts, fault: any(), whom: vec![fastrand::usize(half.clone())] });
            at += lasts;
        }
    }
    strikes
}

/// All endpoints at once, and all in the same way.
pub fn outage(from: Duration, until: Duration) -> Vec<Strike> {
    let fault = match fastrand::u8(..4) {
        0 => Fault::Behaves(Mood::HangingUp),
        1 => Fault::Behaves(Mood::Failing(503)),
        2 => Fault::Behaves(Mood::Hanging),
        _ => Fault::Behaves(Mood::BreakingOff),
    };
    vec![Strike { at: from, lasts: until - from, fault, whom: (0..NAMES.len()).collect() }]
}

/// Begins a fault.
pub fn strike(sim: &mut Sim<'static>, moods: &[Rc<Cell<Mood>>], fault: Fault, whom: usize) {
    let name = NAMES[whom];
    match fault {
        Fault::Behaves(mood) => moods[whom].set(mood),
        Fault::Crash => sim.crash(name),
        Fault::Partition => sim.partition("proxy", name),
        Fault::Hold => sim.hold("proxy", name),
        Fault::Jitter(most) => sim.set_link_max_message_latency("proxy", name, most),
    }
}

/// Ends it.
pub fn mend(sim: &mut Sim<'static>, moods: &[Rc<Cell<Mood>>], fault: Fault, whom: usize, latency: Duration) {
    let name = NAMES[whom];
    match fault {
        Fault::Behaves(_) => moods[whom].set(Mood::Well),
        Fault::Crash => sim.bounce(name),
        Fault::Partition => sim.repair("proxy", name),
        Fault::Hold => sim.release("proxy", name),
        Fault::Jitter(_) => sim.set_link_max_message_latency("proxy", name, latency),
    }
}
