//! What a dependency is worth, before and after what the proxy does for it.
//!
//! The reason for the program is one number, the share of requests that succeed, and a program that raises it has to
//! show by how much, or nobody can tell a good month of the service from a good policy of the proxy. So each request
//! that ends has one [`Fate`], and two shares follow from these. *Before* is what the instances would have given without us: the
//! requests whose first attempt was good. *After* is what clients got. What is in one and not in the other was rescued,
//! and by what is counted too; what is in neither was lost, and why. The account reconciles: every request that reached the
//! service has one fate or is in flight.
//!
//! Which fate a request has is decided in one place, [`fate`], and on purpose against us where it is a question of taste:
//!
//! - A slow first attempt that in the end is answered well is a good first attempt, whoever was faster.
//! - A first attempt that another one has overtaken is listened to for as long as that costs nothing. What is not known by then
//!   is a fate of its own, unknown. It counts as good *before*, so that a slow percent of a healthy service does not look like one
//!   that was rescued.
//! - An answer of 500, 502, 503 or 504 is a failure although it was passed on faithfully. Other answers are the
//!   service's to give.
//! - What one of our own limits refused (breaker, limit, queue, bulkhead, caps) while no attempt had failed is told apart from what
//!   was lost. Nobody knows what the instances would have given: it is good neither before nor after.
//! - What the client did to itself is in neither share: 4xx answers (429 among them) from whomever, and everything the
//!   table of errors blames on the client. A scanner that asks for a thousand missing pages shows nothing of the service.
//! - A client that leaves before it has an answer has not waited for ever for nothing: if it waited for [`PATIENCE`]
//!   or longer, the request is lost (`client_gone`), because that is what a timeout of the client's looks like from here.
//!   One that leaves sooner changed its mind: its request is abandoned, and in neither share. One that leaves in the middle of an
//!   answer was answered.
//!
//! A fallback's answer is a fate of its own, degraded: the client was answered, and not with what it asked for. *After*
//! counts it as answered, and says how many there were.
//!
//! How the numbers are kept: each worker counts into plain integers ([`ServiceTally`]), the sums are the service's
//! ([`ServiceMetrics`]), and a [`Ledger`] on the admin thread looks at the sums once a second.
//!
//! [`ServiceTally`]: crate::counts::ServiceTally
//! [`ServiceMetrics`]: crate::counts::ServiceMetrics

mod ledger;

use std::time::Duration;

pub use self::ledger::{Ledger, Ring};
use crate::counts::{Fate, First, Rescue, Totals};
use crate::error::{Blame, Reason};

/// A client that leaves after waiting this long has given up; one that leaves sooner has changed its mind.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What is known of a request when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The status that went to the client; 0 for none.
    pub status: u16,
    /// The gRPC status, in the head or in the trailers, where it is a gRPC answer.
    pub grpc: Option<u8>,
    /// Why the proxy answered itself, or nobody did.
    pub refused: Option<Reason>,
    /// Why the answer broke off after its head.
    pub broken: Option<Reason>,
    /// Whether a fallback answered.
    pub degraded: bool,
    /// From the end of the request to the answer's head, or to the client's leaving.
    pub waited: Duration,
    /// What became of its first attempt, as far as is known.
    pub first: First,
    /// What the attempt that was answered had been started for; none for the first.
    pub by: Option<Rescue>,
}

/// What became of a request.
pub fn fate(ended: &Ended) -> Fate {
    match (ended.refused, ended.broken) {
        (Some(Reason::ClientGone), _) if ended.waited >= PATIENCE => return Fate::Lost(Reason::ClientGone),
        (Some(Reason::ClientGone), _) => return Fate::Abandoned,
        (Some(reason), _) if reason.is_limit() && ended.first != First::Failed => return Fate::Refused(reason),
        (Some(reason), _) | (None, Some(reason)) if reason.row().blame != Blame::Client => return Fate::Lost(reason),
        (Some(_), _) => return Fate::ClientError,
        // The client had its answer and did not want all of it.
        (None, _) => {}
    }
    if ended.degraded {
        return Fate::Degraded;
    }
    match (ended.status, ended.grpc) {
        (500, _) => Fate::Lost(Reason::UpstreamError),
        (502..=504, _) => Fate::Lost(Reason::UpstreamStatus),
        (400..=499, _) => Fate::ClientError,
        // Of gRPC's codes, those that are the server's by OpenTelemetry's conventions; RESOURCE_EXHAUSTED is its 429.
        (_, None | Some(0)) => answered(ended),
        (_, Some(4)) => Fate::Lost(Reason::Timeout),
        (_, Some(14)) => Fate::Lost(Reason::UpstreamStatus),
        (_, Some(2 | 13 | 15)) => Fate::Lost(Reason::UpstreamError),
        (_, Some(_)) => Fate::ClientError,
    }
}

fn answered(ended: &Ended) -> Fate {
    match (ended.first, ended.by) {
        (First::Good, _) | (_, None) => Fate::FirstGood,
        (First::Failed, Some(rescue)) => Fate::Rescued(rescue),
        (First::Unknown, Some(_)) => Fate::Unknown,
    }
}

/// How far back is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Window {
    /// Each of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// `1m`, `5m`, `1h`, `24h`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "24h",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }

    /// Its length.
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

#[cfg(test)]
mod tests;
