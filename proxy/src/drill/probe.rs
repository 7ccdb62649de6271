//! Watching a part of the product: tries, one after the other, and what each of them was.
//!
//! Tries are started by the clock and not when the last one has ended, as users are. How many are out at one time is bounded;
//! while they hang, no further ones are added. A try that is out when its time is over counts, but for those that were started
//! before the judging began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use super::cell::State;
use super::client::{self, Answer};
use super::plan::{Expectation, Probe};
use crate::clock::Instant;
use crate::resilience::fallback::Degraded;

/// Tries of a probe that are out at one time.
const OUT: usize = 16;
/// Kinds of failures that are told apart.
const REASONS: usize = 12;

/// What the tries of a probe were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Tries that were as they should be.
    pub available: u64,
    /// That were less, and said so.
    pub degraded: u64,
    /// That were neither.
    pub unavailable: u64,
    /// Why those that were not available were not, and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<String, u64>,
    /// The median time a try took, in milliseconds.
    pub median_ms: u64,
}

impl Tally {
    /// All of them.
    pub fn tries(&self) -> u64 {
        self.available.saturating_add(self.degraded).saturating_add(self.unavailable)
    }

    /// What the cell is.
    pub fn state(&self, hold: f64) -> State {
        State::that_held(self.available, self.degraded, self.unavailable, hold)
    }
}

/// Starts tries for `duration`, waits for those that are out then, and judges those that were started after `settle`.
pub async fn watch(probe: Arc<Probe>, settle: Duration, duration: Duration) -> Tally {
    let began = Instant::now();
    let end = began + duration;
    let mut clock = interval_at(began.into(), probe.every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out = JoinSet::new();
    let mut count = Count::default();
    loop {
        tokio::select! {
            biased;
            () = sleep_until(end.into()) => break,
            Some(tried) = out.join_next() => count.add(tried),
            started = clock.tick(), if out.len() < OUT => {
                let started = Instant::from(started);
                if started >= end {
                    break;
                }
                let probe = Arc::clone(&probe);
                let judged = started.saturating_duration_since(began) >= settle;
                out.spawn(async move { judged.then_some(try_once(&probe).await) });
            }
        }
    }
    while let Some(tried) = out.join_next().await {
        count.add(tried);
    }
    count.tally()
}

/// One try.
pub async fn try_once(probe: &Probe) -> Tried {
    let began = Instant::now();
    let body = Bytes::from(probe.body.clone());
    let answer = client::send(&probe.url, probe.method.clone(), &probe.headers, body, probe.timeout).await;
    let took = began.elapsed();
    let (state, why) = match answer {
        Ok(answer) => judge(probe, &answer),
        Err(failure) => (State::Unavailable, failure.to_string()),
    };
    Tried { state, why, took }
}

/// What a try was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What the part of the product was to it.
    pub state: State,
    /// Why it was not available; empty where it was.
    pub why: String,
    /// From its start to its end.
    pub took: Duration,
}

/// What an answer makes of a try, and why.
fn judge(probe: &Probe, answer: &Answer) -> (State, String) {
    let marked = answer.headers.get(Degraded::FIELD).map(|mark| String::from_utf8_lossy(mark.as_bytes()).into_owned());
    let missed = match (probe.available.misses(answer), marked) {
        (None, None) => return (State::Available, String::new()),
        // It cannot be what it should be, or nobody would have said so. But a failure that is marked is still one.
        (missed, Some(mark)) if answer.status.is_success() || missed.is_none() => {
            // How old a copy is, is another number each time.
            let mark: Vec<&str> = mark.split(';').filter(|part| !part.trim_start().starts_with("age=")).collect();
            return (State::Degraded, format!("{}: {}", Degraded::FIELD.to_lowercase(), mark.join(";")));
        }
        (missed, _) => missed.unwrap_or_default(),
    };
    match &probe.degraded {
        Some(degraded) if degraded.misses(answer).is_none() => (State::Degraded, missed),
        _ => (State::Unavailable, missed),
    }
}

impl Expectation {
    /// What an answer lacks; none where it is as expected.
    fn misses(&self, answer: &Answer) -> Option<String> {
        let status = answer.status.as_u16();
        let good = if self.status.is_empty() { (200..300).contains(&status) } else { self.status.contains(&status) };
        if !good {
            return Some(format!("status {status}"));
        }
        for (name, value) in &self.headers {
            let mut found = answer.headers.get_all(name).iter().peekable();
            let has = match value {
                None => found.peek().is_some(),
                Some(value) => found.any(|found| found == value),
            };
            if !has {
                return Some(format!("status {status}, without the expected `{name}`"));
            }
        }
        match &self.body_contains {
            Some(part) if memchr::memmem::find(&answer.body, part.as_bytes()).is_none() => {
                let part: String = part.chars().take(40).collect();
                Some(format!("status {status}, without `{part}` in its body"))
            }
            _ => None,
        }
    }
}

#[derive(Default)]
struct Count {
    tally: Tally,
    took: Vec<Duration>,
}

impl Count {
    fn add(&mut self, tried: Result<Option<Tried>, tokio::task::JoinError>) {
        let tried = match tried {
            Ok(Some(tried)) => tried,
            Ok(None) => return,
            Err(_) => Tried { state: State::Unavailable, why: "the try broke".into(), took: Duration::ZERO },
        };
        let Tally { available, degraded, unavailable, why, .. } = &mut self.tally;
        *match tried.state {
            State::Available => available,
            State::Degraded => degraded,
            State::Unavailable => unavailable,
        } += 1;
        self.took.push(tried.took);
        if tried.state != State::Available {
            let known = why.contains_key(&tried.why) || why.len() < REASONS;
            *why.entry(if known { tried.why } else { "other".into() }).or_default() += 1;
        }
    }

    fn tally(mut self) -> Tally {
        self.took.sort_unstable();
        let median = self.took.get(self.took.len() / 2).copied().unwrap_or_default();
        Tally { median_ms: u64::try_from(median.as_millis()).unwrap_or(u64::MAX), ..self.tally }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, StatusCode};

    use super::*;

    fn probe() -> Probe {
        let expects = |status: &[u16], body: Option<&str>| Expectation {
            status: status.to_vec(),
            body_contains: body.map(str::to_owned),
            headers: Vec::new(),
        };
        Probe {
            name: "checkout".into(),
            url: "http://127.0.0.1:1/".parse().unwrap(),
            method: Method::GET,
            headers: HeaderMap::new(),
            body: String::new(),
            timeout: Duration::from_millis(200),
            every: Duration::from_millis(10),
            hold: 1.0,
            available: expects(&[200], Some("paid")),
            degraded: Some(expects(&[202], None)),
        }
    }

    fn judged(status: u16, body: &str, mark: Option<&'static str>) -> (State, String) {
        let mut headers = HeaderMap::new();
        if let Some(mark) = mark {
            headers.insert("outrigger-degraded", HeaderValue::from_static(mark));
        }
        let status = StatusCode::from_u16(status).unwrap();
        judge(&probe(), &Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    #[test]
    fn an_answer_is_what_the_plan_says_of_it() {
        assert_eq!(judged(200, "it is paid", None), (State::Available, String::new()));
        assert_eq!(judged(202, "later", None), (State::Degraded, "status 202".into()));
        let unpaid = (State::Unavailable, "status 200, without `paid` in its body".to_owned());
        assert_eq!(judged(200, "it is free", None), unpaid);
        assert_eq!(judged(500, "paid", None), (State::Unavailable, "status 500".into()));
    }

    #[test]
    fn what_is_marked_as_degraded_is_degraded_however_good_it_looks() {
        let stale = (State::Degraded, "outrigger-degraded: stale;reason=timeout".to_owned());
        assert_eq!(judged(200, "it is paid", Some("stale;reason=timeout;age=12")), stale);
        assert_eq!(judged(200, "it is free", Some("stale;reason=timeout;age=1")), stale);
        assert_eq!(judged(503, "", Some("static")).0, State::Unavailable);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_and_counts_as_unavailable() {
        // It takes connections, by its backlog, and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let probe = Probe { url: url.parse().unwrap(), ..probe() };
        let tally = watch(Arc::new(probe), Duration::ZERO, Duration::from_millis(100)).await;
        assert!(tally.tries() >= 1 && tally.tries() <= OUT as u64, "{tally:?}");
        assert_eq!((tally.available, tally.why.keys().next().map(String::as_str)), (0, Some("no answer within 200ms")));
    }

    #[tokio::test]
    async fn tries_before_the_settling_are_not_judged() {
        let refused = Probe { every: Duration::from_millis(5), ..probe() };
        let tally = watch(Arc::new(refused.clone()), Duration::from_secs(5), Duration::from_millis(100)).await;
        assert_eq!(tally.tries(), 0);
        let tally = watch(Arc::new(refused), Duration::ZERO, Duration::from_millis(100)).await;
        assert!(tally.unavailable >= 2 && tally.available == 0, "{tally:?}");
    }
}
