//! What is learned from an attempt: of its endpoint, of its service, and of its route where that is judged by itself.
//!
//! [ADR 16](../../../../docs/adr/0016-blame.md) says what is judged where, and why.

use std::time::Duration;

use super::{Probe, WorkerCluster};
use crate::clock::Instant;
use crate::config::settings::Breaker;
use crate::counts::Ejection;
use crate::request::Request;
use crate::resilience::breaker::{Admission, CircuitBreaker};
use crate::resilience::outlier::Failure;
use crate::resilience::shape::Shape;
use crate::worker::Worker;
use crate::worker::attempt_info::AttemptInfo;

/// What was asked, and by which circuit it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'r> {
    /// Whose attempt it is.
    pub worker: &'r Worker,
    /// The request; none where it is a connection.
    pub request: Option<&'r Request>,
    /// The circuit of its route, where that has one of its own.
    pub route: Option<&'r CircuitBreaker>,
    /// What opens either.
    pub rules: &'r Breaker,
}

impl Case<'_> {
    /// The request's shape. It is reckoned, and so asked for only where something fails.
    pub fn shape(&self) -> Shape {
        self.request.map_or_else(Shape::default, Request::shape)
    }
}

impl WorkerCluster {
    /// The circuit that stops a request, and is opened by its failures: its route's, or the service's.
    fn circuit<'a>(&'a self, case: &Case<'a>) -> &'a CircuitBreaker {
        case.route.unwrap_or(&self.cluster.shared.breaker)
    }

    /// Whether a request may make an attempt although its circuit may be open. What is let through to see and makes none is
    /// [given back](Self::not_asked).
    pub fn admit(&self, case: &Case<'_>, now: Instant) -> Admission {
        match self.circuit(case) {
            circuit if circuit.is_open() => circuit.admit(case.rules, case.shape(), self.ms(now)),
            _ => Admission::Pass,
        }
    }

    /// A request that was let through to see made no attempt.
    pub fn not_asked(&self, case: &Case<'_>, now: Instant) {
        self.circuit(case).give_back(case.shape(), self.ms(now));
    }

    /// Whether a further attempt is refused: what is let through to see is one attempt.
    pub fn is_refused(&self, case: &Case<'_>) -> bool {
        case.rules.enabled && self.circuit(case).refuses(|| case.shape())
    }

    /// Whether such requests fail while others are answered.
    pub(super) fn fails_alone(&self, case: &Case<'_>) -> bool {
        self.circuit(case).fails_alone(|| case.shape())
    }

    /// An endpoint answered, and that was good.
    pub fn good(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, latency: Duration, now: Instant, case: &Case<'_>) {
        self.does_its_work(info, probe, latency, now, case);
        // A service is not dead of which a route is answered, whoever judges that route.
        let circuits = [Some(&self.cluster.shared.breaker), case.route];
        for circuit in circuits.into_iter().flatten() {
            if circuit.succeeded(|| case.shape(), self.ms(info.started), self.ms(now)) {
                tracing::info!(service = &*self.cluster.name, "the circuit breaker has closed");
            }
        }
    }

    /// An endpoint answered, well or as badly as another one: what is wrong is not its fault.
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
            state.succeeded(|| case.shape(), self.ms(now));
        }
        if let Some(probe) = probe {
            self.probed(probe, Some(latency), now, case.worker);
        }
    }

    /// What was asked for is answered badly by whoever is asked.
    pub fn is_in_doubt(&self, case: &Case<'_>, now: Instant) {
        self.circuit(case).suspected(case.shape(), self.ms(now));
    }

    /// An attempt failed by its endpoint's fault.
    pub fn bad(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, now: Instant, case: &Case<'_>) {
        self.worse(info, probe, now, case);
        if self.circuit(case).failed(case.rules, case.shape(), self.ms(info.started), self.ms(now)) {
            self.counts.tally.borrow_mut().breaker_opened();
            tracing::warn!(service = &*self.cluster.name, "the circuit breaker has opened");
        }
    }

    /// An attempt failed where another endpoint's answer was good: that says nothing against the service.
    pub fn worse(&self, info: &AttemptInfo, probe: Option<Probe<'_>>, now: Instant, case: &Case<'_>) {
        self.counted(info, now, case);
        self.hold_against(info, probe, now, case, true);
    }

    /// An answer broke a rule, and nobody else was asked: no row, only a share to be compared with that of others.
    pub fn suspect(&self, info: &AttemptInfo, now: Instant, case: &Case<'_>) {
        let (pool, endpoints) = (&self.cluster.shared.pool, &*self.cluster.endpoints);
        if info.index < endpoints.len() {
            pool.suspected(endpoints, info.index, case.shape(), self.ms(now));
            self.counted(info, now, case);
        }
    }

    /// Counts a failure in its endpoint's share, unless it is the page's.
    fn counted(&self, info: &AttemptInfo, now: Instant, case: &Case<'_>) {
        if !self.cluster.shared.pool.is_its_own(&*self.cluster.endpoints, info.index, case.shape()) {
            info.upstream.failed(now);
        }
    }

    /// An attempt was overtaken by a later one, or left by its client. `stuck`: it had taken longer than a try may. True
    /// when that says something of how long the service's answers take, and not of this endpoint alone: the first time. An
    /// endpoint that is overtaken again and again is in trouble, and its service's other answers take what they take.
    pub fn overtaken(
        &self,
        info: &AttemptInfo,
        probe: Option<Probe<'_>>,
        stuck: bool,
        now: Instant,
        case: &Case<'_>,
    ) -> bool {
        info.upstream.outlasted(now.saturating_duration_since(info.started), now);
        self.hold_against(info, probe, now, case, stuck) == 1
    }

    /// How long the row of failures is; 0 for one that was to be expected.
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
        let shape = case.shape();
        if let Some(probe) = probe {
            // What fails at the others, too, says nothing of whether it is back: another request may try it.
            if !shared.pool.is_its_own(endpoints, info.index, shape) {
                self.probed(probe, None, now, case.worker);
            }
            return 0;
        }
        let failure = Failure { shape, trouble: if surely { 1 } else { ROW_OF_TROUBLE } };
        let rules = &self.cluster.policy.outlier;
        let held = shared.pool.failed(endpoints, info.index, rules, failure, self.ms(now), case.worker.random());
        if held.ejected {
            self.counts.tally.borrow_mut().ejected(Ejection::Consecutive);
            tracing::warn!(service = &*self.cluster.name, endpoint = %info.upstream.address, "ejected: failures in a row");
        }
        held.row
    }

    fn probed(&self, probe: Probe<'_>, took: Option<Duration>, now: Instant, worker: &Worker) {
        let took = took.map(|took| took.as_micros() as u64);
        let (shared, rules) = (&self.cluster.shared, &self.cluster.policy.outlier);
        shared.pool.probed(&*self.cluster.endpoints, probe.index, took, rules, self.ms(now), worker.random());
        // It has its outcome: there is nothing to release.
        std::mem::forget(probe);
    }
}

/// Failures that show only in being overtaken are trouble from the second in a row on: every endpoint is overtaken now and
/// then.
const ROW_OF_TROUBLE: u32 = 2;
