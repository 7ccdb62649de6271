//! What an attempt's outcome says about its endpoint, its service, and its route where that has a breaker of its own.
//!
//! [ADR 16](../../../../docs/adr/0016-blame.md) says what is judged where, and why.

use std::rc::Rc;
use std::time::Duration;

use super::{Pick, Probe, WorkerCluster};
use crate::clock::Instant;
use crate::config::settings::Breaker;
use crate::request::Request;
use crate::resilience::breaker::{Admission, CircuitBreaker};
use crate::resilience::outlier::{Failure, GoodAnswer};
use crate::resilience::shape::Shape;
use crate::worker::Worker;
use crate::worker::attempt_info::AttemptInfo;

/// What was asked for, and which circuit breaker judges it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'r> {
    /// Whose attempt it is.
    pub worker: &'r Worker,
    /// The request; none for a TCP connection.
    pub request: Option<&'r Request>,
    /// The circuit breaker of its route, where that has one of its own.
    pub route: Option<&'r CircuitBreaker>,
    /// What opens either breaker.
    pub rules: &'r Breaker,
}

impl Case<'_> {
    /// The request's shape. Computing it costs, so it is asked for only where something fails.
    pub fn shape(&self) -> Shape {
        self.request.map_or_else(Shape::default, Request::shape)
    }
}

impl WorkerCluster {
    /// The circuit breaker that applies to a request: its route's, or the service's.
    fn circuit<'a>(&'a self, case: &Case<'a>) -> &'a CircuitBreaker {
        case.route.unwrap_or(&self.cluster.shared.breaker)
    }

    /// Whether a request may make an attempt: always while its circuit is closed, and as a probe now and then while
    /// it is open. A request that was admitted as a probe and makes no attempt has to [say so](Self::not_asked), unless
    /// it got an endpoint to try: one that has come since the circuit's endpoints began to fail.
    pub fn admit(&self, case: &Case<'_>, now: Instant) -> (Admission, Option<Pick<'_>>) {
        let circuit = self.circuit(case);
        if !circuit.is_open() {
            return (Admission::Pass, None);
        }
        match self.newcomer(case, now).filter(|_| case.rules.enabled) {
            Some(pick) => (Admission::Probe, Some(pick)),
            None => (circuit.admit(case.rules, case.shape(), self.ms(now)), None),
        }
    }

    fn newcomer(&self, case: &Case<'_>, now: Instant) -> Option<Pick<'_>> {
        let (pool, outage) = (&self.cluster.shared.pool, self.circuit(case).outage());
        let index = pool.claim_newcomer(&*self.cluster.endpoints, || case.shape(), outage, self.ms(now))?;
        let probe = Some(Probe { side: self, index });
        Some(Pick { upstream: Rc::clone(&self.upstreams.get(index)?.upstream), index, probe })
    }

    /// A request that was admitted as a probe made no attempt.
    pub fn not_asked(&self, case: &Case<'_>, now: Instant) {
        self.circuit(case).give_back(case.shape(), self.ms(now));
    }

    /// Whether a further attempt is refused: a probe is one attempt only.
    pub fn is_refused(&self, case: &Case<'_>) -> bool {
        case.rules.enabled && self.circuit(case).refuses(|| case.shape())
    }

    /// Whether requests of this shape fail while others are answered.
    pub(super) fn fails_alone(&self, case: &Case<'_>) -> bool {
        self.circuit(case).fails_alone(|| case.shape())
    }

    /// An endpoint answered, and that was good.
    pub fn good(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, latency: Duration, now: Instant, case: &Case<'_>) {
        self.does_its_work(info, probe, latency, now, case);
        // A service of which one route is answered is not dead, whichever breaker judges that route.
        let circuits = [Some(&self.cluster.shared.breaker), case.route];
        for circuit in circuits.into_iter().flatten() {
            if circuit.succeeded(|| case.shape(), self.ms(info.started), self.ms(now)) {
                tracing::info!(service = &*self.cluster.name, "the circuit breaker has closed");
            }
        }
    }

    /// An endpoint answered well, or no worse than another endpoint did: whatever is wrong is not its fault.
    pub fn does_its_work(
        &self,
        info: &AttemptInfo,
        probe: Option<Probe<'_>>,
        latency: Duration,
        now: Instant,
        case: &Case<'_>,
    ) {
        info.upstream.answered(latency, now);
        if let Some(state) = self.cluster.endpoints.get(info.index).map(|endpoint| &endpoint.shared.outlier) {
            if state.is_out() {
                self.shows_itself_well(info, latency, now, case);
            } else {
                state.succeeded(|| case.shape(), self.ms(now));
            }
        }
        // Another attempt may try the endpoint only after what this one has shown.
        drop(probe);
    }

    /// An endpoint that is ejected answered well.
    #[cold]
    fn shows_itself_well(&self, info: &AttemptInfo, latency: Duration, now: Instant, case: &Case<'_>) {
        let (took_us, begun) = (latency.as_micros() as u64, self.ms(info.started));
        let answer = GoodAnswer { shape: case.shape(), took_us, begun };
        let (pool, rules) = (&self.cluster.shared.pool, &self.cluster.policy.outlier);
        let (endpoints, now, random) = (&*self.cluster.endpoints, self.ms(now), case.worker.random());
        self.tell(&pool.answered(endpoints, info.index, rules, answer, now, random));
    }

    /// An answer was bad, and no other endpoint's was better: nothing is held against an endpoint or the service. The
    /// breaker only notes that requests of this shape fail.
    pub fn is_in_doubt(&self, case: &Case<'_>, now: Instant) {
        self.circuit(case).suspected(case.shape(), self.ms(now));
    }

    /// An attempt failed, and it is its endpoint's fault.
    pub fn bad(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, now: Instant, case: &Case<'_>) {
        let row = self.worse(info, probe, now, case);
        let (circuit, begun, now) = (self.circuit(case), self.ms(info.started), self.ms(now));
        if circuit.is_open() && row != 1 {
            circuit.still_fails(case.shape(), begun, now);
        } else if circuit.failed(case.rules, case.shape(), begun, now) {
            self.counts.tally.borrow_mut().breaker_opened();
            tracing::warn!(service = &*self.cluster.name, "the circuit breaker has opened");
        }
    }

    /// An attempt failed, and another endpoint's answer was good. It counts against the endpoint and not against the
    /// service. Returns how many in a row that makes, as [`Held::row`](crate::resilience::outlier::Held::row).
    pub fn worse(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, now: Instant, case: &Case<'_>) -> u32 {
        self.counted(info, now, case);
        self.is_accused(info, false);
        self.hold_against(info, probe, now, case, true)
    }

    /// An answer broke a rule, and no other endpoint was asked. It does not count as a failure in a row. It counts in
    /// the endpoint's share of failures, which is compared with that of the others.
    pub fn suspect(&self, info: &AttemptInfo, now: Instant, case: &Case<'_>) {
        let (pool, endpoints) = (&self.cluster.shared.pool, &*self.cluster.endpoints);
        if info.index < endpoints.len() {
            pool.suspected(endpoints, info.index, case.shape(), self.ms(now));
            self.counted(info, now, case);
        }
    }

    /// Counts a failure in its endpoint's share, unless requests of this shape fail alone.
    fn counted(&self, info: &AttemptInfo, now: Instant, case: &Case<'_>) {
        if !self.cluster.shared.pool.is_its_own(&*self.cluster.endpoints, info.index, case.shape()) {
            info.upstream.failed(now);
        }
    }

    /// An attempt was overtaken by a later one, or its client left. `stuck` says that it had passed its per-try
    /// timeout.
    ///
    /// Returns true when the latency class should learn from it. That is so the first time in a row: after that the
    /// endpoint is in trouble, and its slowness says nothing about the other endpoints.
    pub fn overtaken(
        &self,
        info: &AttemptInfo,
        probe: Option<Probe<'_>>,
        stuck: bool,
        now: Instant,
        case: &Case<'_>,
    ) -> bool {
        info.upstream.outlasted(now.saturating_duration_since(info.started), now);
        self.is_accused(info, true);
        self.hold_against(info, probe, now, case, stuck) == 1
    }

    fn is_accused(&self, info: &AttemptInfo, overtaken: bool) {
        if let Some(endpoint) = self.cluster.endpoints.get(info.index) {
            endpoint.shared.outlier.is_accused(overtaken);
        }
    }

    /// How many failures in a row this one makes; 0 for one that was to be expected.
    fn hold_against(
        &self,
        info: &AttemptInfo,
        probe: Option<Probe<'_>>,
        now: Instant,
        case: &Case<'_>,
        surely: bool,
    ) -> u32 {
        let (shared, endpoints) = (&self.cluster.shared, &*self.cluster.endpoints);
        if info.index >= endpoints.len() {
            return 0;
        }
        let trouble = if surely { 1 } else { ROW_OF_TROUBLE };
        let failure = Failure { shape: case.shape(), trouble, begun: self.ms(info.started) };
        let rules = &self.cluster.policy.outlier;
        let held = shared.pool.failed(endpoints, info.index, rules, failure, self.ms(now), case.worker.random());
        self.tell(&held.changes);
        // Another attempt may try the endpoint only after what this one has shown.
        drop(probe);
        held.row
    }
}

/// How many times in a row an endpoint has to be overtaken before it counts as failing: every endpoint is overtaken
/// now and then.
const ROW_OF_TROUBLE: u32 = 2;
