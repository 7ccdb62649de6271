//! Running a plan: one row after the other, and everything put back, however it ends.
//!
//! ```text
//!   begin       the lease of each proxy: no other drill meanwhile. The guards. Would every fault be taken?
//!   steady      every probe is available, three times in a row; else nothing is injected
//!   row         account, inject, watch, account, end
//!     recover   steady again, within the plan's time, before the next one
//!   finish      the lease goes back, and with it whatever is left
//! ```
//!
//! All of it is one future beside three others: the heartbeat, which learns that a guard has tripped, the operator's signal,
//! and nothing else. Whichever ends first, the last step is the same, and where even that cannot be done, because this
//! process is killed or the proxies cannot be reached, the heartbeat's absence does it.

mod steady;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::absorbed::Account;
use super::admin::{Admin, Trouble};
use super::cell::State;
use super::heart::Heart;
use super::matrix::{Evidence, Matrix, Row};
use super::plan::{Injection, Plan, Probe};
use super::probe::{Tally, watch};
use super::words::plural;
use crate::clock::Instant;
use crate::fault::{Place, Spec};
use crate::telemetry::access_log::rfc3339;
use crate::units::Interval;

/// The proxies end everything when they have not heard of us for so long.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A fault outlives its row by no more than this.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the product may take to show that it is well before anything was injected.
const FIRST: Duration = Duration::from_secs(3);
/// Workers hand over what they have counted within this.
const COUNTED: Duration = Duration::from_millis(350);
/// How often whoever watches is told how far it is.
const TOLD: Duration = Duration::from_millis(100);

/// What a drill came to.
#[derive(Debug)]
pub struct Outcome {
    /// The rows that were made.
    pub matrix: Matrix,
    /// Why there are not more; none where all were.
    pub stopped: Option<Stop>,
    /// Proxies that could not be told that it is over. They find out.
    pub untold: Vec<String>,
}

/// Why a drill did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It did not begin.
    #[error("{0}")]
    Refused(String),
    /// A guard ended it.
    #[error("{0}; every fault has been ended")]
    Guard(String),
    /// The product did not recover from a row.
    #[error("the product was not well again {after} after {row}: {seen}")]
    NotWell {
        /// The row.
        row: String,
        /// The plan's `recovery`.
        after: Interval,
        /// Which probes were not available, and why.
        seen: String,
    },
    /// A proxy does not answer.
    #[error("{0}; the faults there end by themselves")]
    Lost(String),
    /// Somebody else has ended a fault.
    #[error("a fault at {0} was ended by somebody else while it was watched; who, is in the audit log (/api/v1/audit)")]
    FaultGone(String),
    /// A proxy refused something that it had promised.
    #[error("{0}")]
    Trouble(String),
    /// The operator did.
    #[error("interrupted")]
    Interrupted,
    /// A defect of this program.
    #[error("the heartbeat broke")]
    Broken,
}

/// What is going on, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// The product is looked at; nothing is injected.
    Steady,
    /// A row begins: its number, from 1.
    Begun(usize, &'a Injection),
    /// So much of the row is done: 0.0 to 1.0.
    Done(f64),
    /// The fault is over; the product recovers.
    Recovering,
    /// A row was made: its number, from 1.
    Made(usize, &'a Row),
    /// Something that whoever reads the matrix should know.
    Note(String),
}

/// Runs a plan's rows, all of them or those of the dependencies that are named, until they are made or `interrupted` returns.
pub async fn run(
    plan: &Plan,
    only: &[String],
    interrupted: impl Future<Output = ()>,
    told: &mut dyn FnMut(Event<'_>),
) -> Outcome {
    let today = today();
    let columns = plan.probes.iter().map(|probe| probe.name.clone()).collect();
    let mut matrix = Matrix::new(&plan.name, plan.environment.as_deref(), &today, columns);
    let drill = Drill {
        plan,
        admins: plan.admins.iter().map(Admin::at).collect(),
        probes: plan.probes.iter().cloned().map(Arc::new).collect(),
        // Two machines may have the same process ids, and a container's is always 1.
        controller: format!("drill {} {}-{:08x}", plan.name, std::process::id(), fastrand::u32(..)),
    };
    let wanted: Vec<&Injection> =
        plan.rows.iter().filter(|row| only.is_empty() || only.contains(&row.dependency)).collect();
    let unknown = only.iter().find(|name| plan.rows.iter().all(|row| row.dependency != **name));
    let refused = match unknown {
        Some(name) => Some(Stop::Refused(format!("the plan has no dependency `{name}`"))),
        None => drill.begin(told).await.err(),
    };
    let mut untold = Vec::new();
    let stopped = match refused {
        Some(stop) => Some(stop),
        None => {
            let heart = Heart::start(&drill.admins, &drill.controller, HEARTBEAT);
            let stopped = tokio::select! {
                biased;
                () = interrupted => Some(Stop::Interrupted),
                why = heart.failed() => Some(why),
                made = drill.rows(&wanted, &heart, &mut matrix, told) => made.err(),
            };
            drop(heart);
            untold = drill.finish().await;
            stopped
        }
    };
    matrix.judge(&today);
    Outcome { matrix, stopped, untold }
}

/// Today's date, in UTC.
pub fn today() -> String {
    rfc3339(SystemTime::now()).chars().take(10).collect()
}

struct Drill<'p> {
    plan: &'p Plan,
    admins: Vec<Admin>,
    probes: Vec<Arc<Probe>>,
    /// Whom the proxies take us for: another one in each process.
    controller: String,
}

impl Drill<'_> {
    /// Takes the leases. Where one is refused, those that were given go back.
    async fn begin(&self, told: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        for (at, admin) in self.admins.iter().enumerate() {
            if let Err(stop) = self.begin_at(admin, told).await {
                for given in &self.admins[..=at] {
                    // It may not have been given; and if it cannot be given back, it runs out.
                    let _ = given.finish(&self.controller).await;
                }
                return Err(stop);
            }
        }
        Ok(())
    }

    async fn begin_at(&self, admin: &Admin, told: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        let refused = |trouble: Trouble| match trouble {
            Trouble::Refused { said, .. } => Stop::Refused(format!("{}: {said}", admin.address())),
            trouble => Stop::Refused(trouble.to_string()),
        };
        let (unlocked, others) = admin.faults().await.map_err(refused)?;
        if !unlocked {
            let message = "faults are locked there: start it with `faults: { enabled: true }` or `--faults` where drills are wanted";
            return Err(Stop::Refused(format!("{}: {message}", admin.address())));
        }
        if others > 0 {
            let others = plural(others, "fault");
            told(Event::Note(format!(
                "{others} of somebody else's at {}: what that does is in the matrix, too",
                admin.address()
            )));
        }
        admin.begin(&self.controller, &self.plan.name, HEARTBEAT).await.map_err(refused)
    }

    /// Gives everything back. Those that could not be told.
    async fn finish(&self) -> Vec<String> {
        let mut untold = Vec::new();
        for admin in &self.admins {
            let told = admin.finish(&self.controller).await;
            let cleared = admin.clear(&self.controller).await;
            // It may be over already: a guard, or a proxy that started anew.
            if matches!(told, Err(Trouble::Unreachable(..) | Trouble::Strange(..))) || cleared.is_err() {
                untold.push(admin.address());
            }
        }
        untold
    }

    async fn rows(
        &self,
        wanted: &[&Injection],
        heart: &Heart,
        matrix: &mut Matrix,
        told: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Stop> {
        let at = self.places(wanted).await?;
        for admin in &self.admins {
            for guard in &self.plan.guards {
                self.guard(admin, guard).await?;
            }
        }
        told(Event::Steady);
        if let Err(seen) = steady::all(&self.probes, FIRST).await {
            let message = format!("the product is not well, and nothing was injected: {seen}");
            return Err(Stop::Refused(message));
        }
        for (number, (injection, at)) in wanted.iter().zip(&at).enumerate() {
            told(Event::Begun(number + 1, injection));
            let mut row = self.row(injection, at, heart, told).await?;
            told(Event::Recovering);
            let recovered = steady::all(&self.probes, self.plan.recovery).await;
            if let Some(evidence) = &mut row.evidence {
                evidence.recovery_ms = recovered.as_ref().ok().map(|took| ms(*took));
            }
            told(Event::Made(number + 1, &row));
            matrix.rows.push(row);
            if let Err(seen) = recovered {
                let (row, after) = (title(injection), Interval(self.plan.recovery));
                return Err(Stop::NotWell { row, after, seen });
            }
        }
        Ok(())
    }

    /// Which proxies know each row's dependency. One has to; and whoever does has to take the fault.
    async fn places(&self, wanted: &[&Injection]) -> Result<Vec<Vec<usize>>, Stop> {
        let mut places = Vec::new();
        for injection in wanted {
            let spec = self.spec(injection);
            let mut known = Vec::new();
            let mut unknown = None;
            for (at, admin) in self.admins.iter().enumerate() {
                match admin.would_add(&spec).await {
                    Ok(()) => known.push(at),
                    Err(Trouble::Refused { status: StatusCode::NOT_FOUND, said }) => unknown = Some(said),
                    Err(trouble) => return Err(Stop::Refused(format!("{}: {trouble}", title(injection)))),
                }
            }
            match (known.as_slice(), unknown) {
                ([], Some(said)) => return Err(Stop::Refused(format!("`{}`: {said}", injection.dependency))),
                _ => places.push(known),
            }
        }
        Ok(places)
    }

    async fn guard(&self, admin: &Admin, guard: &crate::fault::guard::GuardSpec) -> Result<(), Stop> {
        match admin.guard(&self.controller, HEARTBEAT, guard).await {
            Ok(()) => Ok(()),
            // Another proxy's service or route. One that nobody knows would guard nothing.
            Err(Trouble::Refused { status: StatusCode::NOT_FOUND, .. }) if self.admins.len() > 1 => Ok(()),
            Err(trouble) => Err(Stop::Refused(format!("the guard on `{}`: {trouble}", guard.metric))),
        }
    }

    async fn row(
        &self,
        injection: &Injection,
        at: &[usize],
        heart: &Heart,
        told: &mut dyn FnMut(Event<'_>),
    ) -> Result<Row, Stop> {
        let trouble = |trouble: Trouble| Stop::Trouble(format!("{}: {trouble}", title(injection)));
        let before = self.account(injection, at).await.map_err(trouble)?;
        let spec = self.spec(injection);
        let mut faults = Vec::new();
        for place in at {
            faults.push((*place, self.admins[*place].add(&spec).await.map_err(trouble)?.id));
        }
        heart.expect(faults.clone());
        let tallies = self.watch(told).await;
        // Before the fault's end, or what comes after it would be accounted for, too.
        let after = self.account(injection, at).await.map_err(trouble)?;
        let mut injected = 0;
        for (place, id) in &faults {
            injected += self.admins[*place].injected(*id).await.map_err(trouble)?.unwrap_or(0);
        }
        heart.expect(Vec::new());
        for (place, id) in faults {
            self.admins[place].end(id).await.map_err(trouble)?;
        }
        let absorbed = before.zip(after).map(|(before, after)| after.since(&before));
        let cells = self.probes.iter().map(|probe| {
            let state = tallies.get(&probe.name).map_or(State::Unavailable, |tally| tally.state(probe.hold));
            (probe.name.clone(), state)
        });
        Ok(Row {
            dependency: injection.dependency.clone(),
            fault: injection.fault,
            place: injection.place,
            what: injection.what.clone(),
            struck: injected > 0,
            absorbed: absorbed.as_ref().is_some_and(|account| account.saved() > 0),
            cells: cells.collect(),
            evidence: Some(Evidence { injected, tries: tallies, absorbed, recovery_ms: None }),
        })
    }

    /// Watches all probes for the time of a row.
    async fn watch(&self, told: &mut dyn FnMut(Event<'_>)) -> BTreeMap<String, Tally> {
        let Plan { settle, duration, .. } = *self.plan;
        let mut watching = JoinSet::new();
        for probe in &self.probes {
            let probe = Arc::clone(probe);
            watching.spawn(async move { (probe.name.clone(), watch(probe, settle, duration).await) });
        }
        let (began, mut clock) = (Instant::now(), interval(TOLD));
        let mut tallies = BTreeMap::new();
        loop {
            tokio::select! {
                watched = watching.join_next() => match watched {
                    Some(Ok((name, tally))) => drop(tallies.insert(name, tally)),
                    Some(Err(_)) => {}
                    None => return tallies,
                },
                _ = clock.tick() => {
                    told(Event::Done((began.elapsed().as_secs_f64() / duration.as_secs_f64()).min(1.0)));
                }
            }
        }
    }

    /// The proxies' account of a row's service, once all has been counted; none where they keep none of it.
    async fn account(&self, injection: &Injection, at: &[usize]) -> Result<Option<Account>, Trouble> {
        let Some(service) = injection.spec.service.as_ref().filter(|_| injection.place == Place::Upstream) else {
            return Ok(None);
        };
        sleep(COUNTED).await;
        let mut sum = Account::default();
        for place in at {
            sum.add(&self.admins[*place].account(service).await?.unwrap_or_default());
        }
        Ok(Some(sum))
    }

    /// A row's fault as it is asked for: with an end, and with us to answer for it.
    fn spec(&self, injection: &Injection) -> Spec {
        let longest = self.plan.probes.iter().map(|probe| probe.timeout).max().unwrap_or_default();
        Spec {
            name: Some(format!("drill {} {}", self.plan.name, injection.fault.name())),
            ttl: Some(Interval(self.plan.duration + longest + MARGIN)),
            controller: Some(self.controller.clone()),
            heartbeat: Some(Interval(HEARTBEAT)),
            ..injection.spec.clone()
        }
    }
}

fn title(injection: &Injection) -> String {
    format!("{} {} ({})", injection.dependency, injection.fault.name(), injection.place.name())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
