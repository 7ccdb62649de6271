//! What became of requests: what the instances alone would have given, and what clients got.
//!
//! A request that reached a service has exactly one [`Fate`] once it is over, and is in flight until then. So the account of a
//! service reconciles at any time, whoever reads it: as many requests were started as have a fate or are in flight
//! ([`Totals::reconciles`]). Which request has which fate is decided by
//! [`telemetry::availability`](crate::telemetry::availability); this is what it is written down in.
//!
//! A worker counts for itself and hands all of it over at once ([`Sums::absorb`]), under a lock that is taken at ticks and
//! by readers only. A worker that finds it taken keeps what it has until its next tick, so no worker ever waits. Separate
//! atomics would not do: a reader between two of them would see a request that is over and still in flight.

use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "no worker waits for it, and its readers hold it for a copy")]
use std::sync::{Mutex, PoisonError};

use crate::error::Reason;

/// What a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered.
    Success,
    /// A fallback answered in the service's place.
    Degraded,
    /// Neither.
    Failure(Reason),
}

/// What became of a request's first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It has a good answer.
    Good,
    /// It failed.
    Failed,
    /// Another attempt was faster, and nobody waited for what became of this one.
    Unknown,
}

/// What saved a request whose first attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescue {
    /// Another attempt after one that was answered badly or broke off.
    Retry,
    /// Another endpoint after one that could not be connected to.
    OtherEndpoint,
    /// An attempt that was started because the first took longer than a try may.
    TryTimeout,
    /// An attempt that was started because the first was slower than usual.
    Hedge,
}

impl Rescue {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Retry, Self::OtherEndpoint, Self::TryTimeout, Self::Hedge];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::OtherEndpoint => "other_endpoint",
            Self::TryTimeout => "try_timeout",
            Self::Hedge => "hedge",
        }
    }
}

/// What became of a request. Each request that is over has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its first attempt has a good answer, whoever was faster.
    FirstGood,
    /// Its first attempt failed, and another one has a good answer.
    Rescued(Rescue),
    /// Another attempt has a good answer, and what would have become of the first is not known.
    Unknown,
    /// A fallback answered.
    Degraded,
    /// It was not answered, or badly.
    Lost(Reason),
    /// One of our own limits refused it, and no attempt had failed before.
    Refused(Reason),
    /// Its client left before it had waited for long.
    Abandoned,
    /// Its client did it to itself: an answer of 4xx, a message that breaks the rules.
    ClientError,
}

impl Fate {
    /// What the client got; none where that says nothing about the service.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::FirstGood | Self::Rescued(_) | Self::Unknown => Some(Outcome::Success),
            Self::Degraded => Some(Outcome::Degraded),
            Self::Lost(reason) | Self::Refused(reason) => Some(Outcome::Failure(reason)),
            Self::Abandoned | Self::ClientError => None,
        }
    }

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstGood => "first_good",
            Self::Rescued(_) => "rescued",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Lost(_) => "lost",
            Self::Refused(_) => "refused",
            Self::Abandoned => "abandoned",
            Self::ClientError => "client_error",
        }
    }
}

/// A request that has ended, as it is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// What became of it.
    pub fate: Fate,
    /// Attempts at endpoints, the first included.
    pub attempts: u32,
}

impl Account {
    /// A request that its first attempt answered.
    pub const GOOD: Self = Self::of(Fate::FirstGood, 1);

    /// A request of this fate.
    pub const fn of(fate: Fate, attempts: u32) -> Self {
        Self { fate, attempts }
    }
}

const REASONS: usize = Reason::ALL.len();

/// Requests by reason, in the order of [`Reason::ALL`].
pub type ByReason = [u64; REASONS];

/// Requests that were not answered, by reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    /// Lost.
    pub lost: ByReason,
    /// Refused by our own limits.
    pub refused: ByReason,
}

impl Losses {
    const NONE: Self = Self { lost: [0; REASONS], refused: [0; REASONS] };
}

/// Requests of a service: since it is followed, or in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have reached the service.
    pub started: u64,
    /// Of those, the ones that are not over at the end of the window.
    pub in_flight: u64,
    /// Requests that had been started before the window and were not over at its beginning.
    pub carried: u64,
    /// [`Fate::FirstGood`].
    pub first_good: u64,
    /// [`Fate::Rescued`], in the order of [`Rescue::ALL`].
    pub rescued: [u64; Rescue::ALL.len()],
    /// [`Fate::Unknown`].
    pub unknown: u64,
    /// [`Fate::Degraded`].
    pub degraded: u64,
    /// [`Fate::Lost`] and [`Fate::Refused`]. Shared, because most samples have the same.
    pub losses: Arc<Losses>,
    /// [`Fate::Abandoned`].
    pub abandoned: u64,
    /// [`Fate::ClientError`].
    pub client_errors: u64,
    /// Attempts at endpoints, of all requests that are over.
    pub attempts: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            started: 0,
            in_flight: 0,
            carried: 0,
            first_good: 0,
            rescued: [0; Rescue::ALL.len()],
            unknown: 0,
            degraded: 0,
            losses: Arc::new(Losses::NONE),
            abandoned: 0,
            client_errors: 0,
            attempts: 0,
        }
    }
}

impl Totals {
    /// Requests that say something about the service: without those that were abandoned and the clients' own errors.
    pub fn requests(&self) -> u64 {
        self.answered() + self.failure()
    }

    /// Answered by the service.
    pub fn success(&self) -> u64 {
        self.first_good + self.rescued.iter().sum::<u64>() + self.unknown
    }

    /// Answered, by a fallback too.
    pub fn answered(&self) -> u64 {
        self.success() + self.degraded
    }

    /// Lost.
    pub fn lost(&self) -> u64 {
        self.losses.lost.iter().sum()
    }

    /// Refused by our own limits.
    pub fn refused(&self) -> u64 {
        self.losses.refused.iter().sum()
    }

    /// Lost or refused.
    pub fn failure(&self) -> u64 {
        self.lost() + self.refused()
    }

    /// Each fate by its label, and how many requests have it.
    pub fn fates(&self) -> [(&'static str, u64); 8] {
        [
            ("first_good", self.first_good),
            ("rescued", self.rescued.iter().sum()),
            ("unknown", self.unknown),
            ("degraded", self.degraded),
            ("lost", self.lost()),
            ("refused", self.refused()),
            ("abandoned", self.abandoned),
            ("client_error", self.client_errors),
        ]
    }

    /// Whether each request that was started has one fate or is in flight. Always so.
    pub fn reconciles(&self) -> bool {
        let ended: u64 = self.fates().iter().map(|(_, requests)| requests).sum();
        self.carried + self.started == ended + self.in_flight
    }

    /// The share of requests that the instances alone would have answered, as far as is known; none without requests. A
    /// first attempt whose fate is unknown counts as good.
    pub fn before(&self) -> Option<f64> {
        share(self.first_good + self.unknown, self.requests())
    }

    /// The share of requests that were answered, by a fallback too; none without requests.
    pub fn after(&self) -> Option<f64> {
        share(self.answered(), self.requests())
    }

    /// What was added since `earlier`, which is older than this.
    pub fn since(&self, earlier: &Self) -> Self {
        fn less<const N: usize>(now: &[u64; N], then: &[u64; N]) -> [u64; N] {
            std::array::from_fn(|at| now[at].saturating_sub(then[at]))
        }
        let losses = Losses {
            lost: less(&self.losses.lost, &earlier.losses.lost),
            refused: less(&self.losses.refused, &earlier.losses.refused),
        };
        Self {
            started: self.started.saturating_sub(earlier.started),
            in_flight: self.in_flight,
            carried: earlier.in_flight,
            first_good: self.first_good.saturating_sub(earlier.first_good),
            rescued: less(&self.rescued, &earlier.rescued),
            unknown: self.unknown.saturating_sub(earlier.unknown),
            degraded: self.degraded.saturating_sub(earlier.degraded),
            losses: Arc::new(losses),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
            client_errors: self.client_errors.saturating_sub(earlier.client_errors),
            attempts: self.attempts.saturating_sub(earlier.attempts),
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What one worker has written down since it last handed over.
#[derive(Debug)]
pub(super) struct Entries {
    touched: bool,
    started: u32,
    /// Requests in flight now, and when it was last handed over.
    open: u32,
    reported: u32,
    first_good: u32,
    rescued: [u32; Rescue::ALL.len()],
    unknown: u32,
    degraded: u32,
    lost: [u32; REASONS],
    refused: [u32; REASONS],
    abandoned: u32,
    client_errors: u32,
    attempts: u32,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            touched: false,
            started: 0,
            open: 0,
            reported: 0,
            first_good: 0,
            rescued: [0; Rescue::ALL.len()],
            unknown: 0,
            degraded: 0,
            lost: [0; REASONS],
            refused: [0; REASONS],
            abandoned: 0,
            client_errors: 0,
            attempts: 0,
        }
    }
}

impl Entries {
    pub fn open(&mut self) {
        self.touched = true;
        self.started += 1;
        self.open += 1;
    }

    pub fn close(&mut self, account: &Account) {
        self.touched = true;
        self.open = self.open.saturating_sub(1);
        self.attempts += account.attempts;
        let count = match account.fate {
            Fate::FirstGood => &mut self.first_good,
            Fate::Rescued(rescue) => &mut self.rescued[rescue as usize],
            Fate::Unknown => &mut self.unknown,
            Fate::Degraded => &mut self.degraded,
            Fate::Lost(reason) => &mut self.lost[reason as usize],
            Fate::Refused(reason) => &mut self.refused[reason as usize],
            Fate::Abandoned => &mut self.abandoned,
            Fate::ClientError => &mut self.client_errors,
        };
        *count += 1;
    }
}

/// The account of a service: what all workers have handed over.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "no worker waits for it, and its readers hold it for a copy")]
pub(crate) struct Sums(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    started: u64,
    in_flight: u64,
    first_good: u64,
    rescued: [u64; Rescue::ALL.len()],
    unknown: u64,
    degraded: u64,
    losses: Losses,
    abandoned: u64,
    client_errors: u64,
    attempts: u64,
}

impl Sums {
    #[allow(clippy::disallowed_types, reason = "no worker waits for it, and its readers hold it for a copy")]
    pub const fn new() -> Self {
        Self(Mutex::new(Kept {
            started: 0,
            in_flight: 0,
            first_good: 0,
            rescued: [0; Rescue::ALL.len()],
            unknown: 0,
            degraded: 0,
            losses: Losses::NONE,
            abandoned: 0,
            client_errors: 0,
            attempts: 0,
        }))
    }

    /// Takes over what a worker has written down, all of it or, while somebody else is here, nothing.
    pub(super) fn absorb(&self, entries: &mut Entries) {
        if !entries.touched {
            return;
        }
        let Ok(mut kept) = self.0.try_lock() else { return };
        let Entries { open, reported, .. } = *entries;
        kept.started += u64::from(entries.started);
        kept.in_flight = kept.in_flight.wrapping_add_signed(i64::from(open) - i64::from(reported));
        kept.first_good += u64::from(entries.first_good);
        add_all(&mut kept.rescued, &entries.rescued);
        kept.unknown += u64::from(entries.unknown);
        kept.degraded += u64::from(entries.degraded);
        add_all(&mut kept.losses.lost, &entries.lost);
        add_all(&mut kept.losses.refused, &entries.refused);
        kept.abandoned += u64::from(entries.abandoned);
        kept.client_errors += u64::from(entries.client_errors);
        kept.attempts += u64::from(entries.attempts);
        drop(kept);
        *entries = Entries { open, reported: open, ..Entries::default() };
    }

    pub fn totals(&self) -> Totals {
        // Whoever had panicked with it would have ended the process.
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            started: kept.started,
            in_flight: kept.in_flight,
            carried: 0,
            first_good: kept.first_good,
            rescued: kept.rescued,
            unknown: kept.unknown,
            degraded: kept.degraded,
            losses: Arc::new(kept.losses.clone()),
            abandoned: kept.abandoned,
            client_errors: kept.client_errors,
            attempts: kept.attempts,
        }
    }
}

fn add_all<const N: usize>(to: &mut [u64; N], what: &[u32; N]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += u64::from(*what));
}
