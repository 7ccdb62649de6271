//! What an instance does wrong.
//!
//! One fault is one file. A fault is two questions to the instance that has it: how does its *door* stand (does the
//! kernel answer a SYN, does the process accept), and what becomes of a request that came in. Everything else, the
//! sockets, the waiting, the counting, is the instance's ([`super::instance`]) and the same for all faults, so that a
//! fault's file holds nothing but what is special about it. The random numbers are the instance's, from the round's
//! seed: the fleets of two proxies meet the same luck, as far as they get the same requests.
//!
//! What a proxy can inject between itself and an instance is the proxy's own library ([`outrigger::fault`]) here, too
//! ([`injected`]): a drill and this table mean the same by an abort, a delay, a body that breaks off. What only an instance can
//! do, such as not to answer a SYN, or to have a capacity, is here.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use capacity::Capacity;
pub use fail_fast::FailFast;
pub use flap::Flap;
pub use gray::Gray;
pub use hang::Hang;
pub use random_status::RandomStatus;
pub use refuse::Refuse;
pub use reset_mid_body::ResetMidBody;
pub use slow::Slow;
pub use trickle::Trickle;
pub use vanish::Vanish;

mod capacity;
mod fail_fast;
mod flap;
mod gray;
mod hang;
pub mod injected;
mod random_status;
mod refuse;
mod reset_mid_body;
mod slow;
mod trickle;
mod vanish;

/// How an instance's door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It accepts.
    Open,
    /// Nobody listens: a SYN is answered with RST, and so is what comes on the connections there were.
    Closed,
    /// Nobody is there: a SYN is not answered, and neither is what comes on the connections there were.
    Deaf,
    /// The process is about to end: nobody listens, idle connections are closed, requests that are in it are answered.
    Draining,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deed {
    /// Before anything is written.
    pub after: Duration,
    /// Then.
    pub what: What,
}

/// What an instance does when it is done with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// It answers.
    Answer {
        /// The status.
        status: u16,
        /// The size of the body, in bytes.
        size: usize,
        /// How the body is sent.
        manner: Manner,
    },
    /// It resets the connection without a byte.
    Reset,
    /// Nothing, ever.
    Silence,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Manner {
    /// In one piece with the head.
    Whole,
    /// So many bytes of it; then the connection is reset.
    Cut(usize),
    /// In so many pieces, so far apart.
    Pieces(u32, Duration),
}

impl Deed {
    /// What an instance without a fault does: 200 and 1 KiB, after a lognormal time with a median of 5 ms (p99 16 ms).
    pub fn ordinary(rng: &mut fastrand::Rng) -> Self {
        let what = What::Answer { status: 200, size: 1024, manner: Manner::Whole };
        Self { after: lognormal(rng, ORDINARY_MEDIAN), what }
    }

    /// The same time, another end.
    pub fn with(self, what: What) -> Self {
        Self { what, ..self }
    }

    /// The same time, an error.
    pub fn status(self, status: u16) -> Self {
        self.with(What::Answer { status, size: 64, manner: Manner::Whole })
    }
}

/// The median of the time that an ordinary answer takes.
pub const ORDINARY_MEDIAN: Duration = Duration::from_millis(5);

/// A time with this median; its 99th percentile is 3.2 times that, its mean 1.13 times.
pub fn lognormal(rng: &mut fastrand::Rng, median: Duration) -> Duration {
    const SIGMA: f64 = 0.5;
    outrigger::fault::http::delay::lognormal(median, SIGMA, rng.f64(), rng.f64())
}

/// What is special about a fault.
pub trait Model {
    /// How the door stands when the fault has lasted for so long, and when it will stand otherwise, if it will.
    fn door(&self, lasted: Duration) -> (Door, Option<Duration>) {
        let _ = lasted;
        (Door::Open, None)
    }

    /// What becomes of a request for which a faultless instance would do what `ordinary` says.
    fn deed(&mut self, ordinary: Deed, rng: &mut fastrand::Rng, now: Instant) -> Deed {
        let _ = (rng, now);
        ordinary
    }
}

/// A fault as it is told to an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// It works.
    None,
    /// [`RandomStatus`]
    RandomStatus(RandomStatus),
    /// [`Refuse`]
    Refuse(Refuse),
    /// [`Flap`]
    Flap(Flap),
    /// [`Hang`]
    Hang(Hang),
    /// [`Vanish`]
    Vanish(Vanish),
    /// [`Slow`]
    Slow(Slow),
    /// [`FailFast`]
    FailFast(FailFast),
    /// [`Gray`]
    Gray(Gray),
    /// [`ResetMidBody`]
    ResetMidBody(ResetMidBody),
    /// [`Trickle`]
    Trickle(Trickle),
    /// [`Capacity`]
    Capacity(Capacity),
}

/// Works.
struct Faultless;

impl Model for Faultless {}

impl Fault {
    /// A fresh model of it.
    pub fn model(&self) -> Box<dyn Model> {
        match self.clone() {
            Self::None => Box::new(Faultless),
            Self::RandomStatus(model) => Box::new(model),
            Self::Refuse(model) => Box::new(model),
            Self::Flap(model) => Box::new(model),
            Self::Hang(model) => Box::new(model),
            Self::Vanish(model) => Box::new(model),
            Self::Slow(model) => Box::new(model),
            Self::FailFast(model) => Box::new(model),
            Self::Gray(model) => Box::new(model),
            Self::ResetMidBody(model) => Box::new(model),
            Self::Trickle(model) => Box::new(model),
            Self::Capacity(model) => Box::new(model),
        }
    }
}
