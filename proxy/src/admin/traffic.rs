//! Why an endpoint gets the traffic that it gets.
//!
//! Four have a say in it: the registry, our own checks, what requests have shown (an ejection), and how long it has been
//! there. Each of them is seen somewhere else; here they are one sentence, because whoever asks "why does this instance get
//! nothing" does not know yet whose doing it is. What the registry or a check keeps out altogether is in no pool, and
//! among those left out, with its reason.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::balance::slow_start::{FLOOR, Newcomers, ramp};
use crate::resilience::outlier::EjectionState;
use crate::snapshot::{Cluster, Endpoint};
use crate::telemetry::status::{CheckStatus, ServiceStatus};

/// What an endpoint gets, and why.
#[derive(Debug, PartialEq)]
pub struct Traffic {
    /// `in`, `slow_start`, `ejected` or `probing`.
    pub state: &'static str,
    /// The part of its weight's share, 0.0 to 1.0.
    pub share: f64,
    /// A sentence; none where there is nothing to say.
    pub why: Option<String>,
    /// For how long it has been so, in milliseconds; none where nobody has looked yet.
    pub since_ms: Option<u64>,
}

/// A pool as it stands at a time.
pub struct Pool<'p> {
    cluster: &'p Cluster,
    status: Option<&'p ServiceStatus>,
    newcomers: Newcomers,
    all_out: bool,
    clock: u64,
}

impl<'p> Pool<'p> {
    /// `clock` is the joint's.
    pub fn new(cluster: &'p Cluster, status: Option<&'p ServiceStatus>, clock: u64) -> Self {
        let joined = || cluster.endpoints.iter().map(|endpoint| endpoint.shared.joined.load(Relaxed));
        let weights = cluster.endpoints.iter().map(|endpoint| endpoint.weight);
        // As it was for the workers, who look at it when the pool changes, and then no more.
        let changed = joined().max().unwrap_or_default();
        let newcomers = Newcomers::of(joined().zip(weights), cluster.policy.slow_start, changed);
        let all_out = cluster.endpoints.iter().all(|endpoint| endpoint.shared.outlier.is_out());
        Self { cluster, status, newcomers, all_out, clock }
    }

    /// Of one of its endpoints.
    pub fn traffic(&self, endpoint: &Endpoint) -> Traffic {
        let mut why = Vec::new();
        let (mut state, mut share) = match endpoint.shared.outlier.standing(self.clock) {
            EjectionState::In => ("in", 1.0),
            EjectionState::Probing => {
                why.push("ejected: one request tries it".to_owned());
                ("probing", 0.0)
            }
            EjectionState::Out { left, cause } => {
                let next = match left {
                    _ if self.all_out => "used all the same, because nobody else is left".to_owned(),
                    0 => "the next request that may be sent again tries it".to_owned(),
                    left => format!("tried again in {}", time(left)),
                };
                why.push(format!("ejected ({}): {next}", cause.text()));
                ("ejected", if self.all_out { 1.0 } else { 0.0 })
            }
        };
        if state == "in"
            && let Some((part, since)) = self.ramping(endpoint)
        {
            (state, share) = ("slow_start", part);
            why.push(format!("{:.0} % of its share: {since}", part * 100.0));
        }
        why.extend(self.vouched_for(endpoint));
        if endpoint.shared.connections.load(Relaxed) >= self.cluster.policy.max_connections {
            why.push(format!("all its {} connections are in use or kept", self.cluster.policy.max_connections));
        }
        let since_ms = self.since(endpoint);
        Traffic { state, share, why: (!why.is_empty()).then(|| why.join("; ")), since_ms }
    }

    /// For how long an endpoint has been in its state. A slow start begins with the joining or the return.
    fn since(&self, endpoint: &Endpoint) -> Option<u64> {
        let shared = &endpoint.shared;
        let since = [shared.changed.load(Relaxed), shared.joined.load(Relaxed)].into_iter().max();
        since.filter(|since| *since > 0).map(|since| self.clock.saturating_sub(since))
    }

    /// The part of its share, and since when it is there, for one that does not have the whole yet.
    fn ramping(&self, endpoint: &Endpoint) -> Option<(f64, String)> {
        let (joined, returned) = (endpoint.shared.joined.load(Relaxed), endpoint.shared.outlier.returned());
        let ago = |at: u64| self.clock.saturating_sub(at);
        let new = self.newcomers.share(joined, self.clock);
        let back = match returned {
            0 => 1.0,
            _ => ramp(Duration::from_millis(ago(returned)), self.cluster.policy.slow_start, FLOOR),
        };
        if new.min(back) >= 1.0 {
            None
        } else if back <= new {
            Some((back, format!("came back {} ago", time(ago(returned)))))
        } else {
            Some((new, format!("joined {} ago", time(ago(joined)))))
        }
    }

    /// What the registry and our checks disagree about.
    fn vouched_for(&self, endpoint: &Endpoint) -> Option<String> {
        let status = self.status?;
        if status.absent.contains(&endpoint.id) {
            return Some("no longer in the registry, kept because its checks pass".to_owned());
        }
        match (self.fails(endpoint.address), status.all_failing) {
            (false, _) => None,
            (true, true) => Some("its checks fail, and it is kept because those of all do".to_owned()),
            (true, false) => {
                Some("its checks fail, and it is kept until the next bad one, because all have failed".to_owned())
            }
        }
    }

    fn fails(&self, address: SocketAddr) -> bool {
        let said = self.status.and_then(|status| status.checks.get(&address));
        said.is_some_and(|said| said.starts_with(CheckStatus::Failing.name()))
    }
}

fn time(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1e3),
        _ => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::config::settings::{Outlier, Policy};
    use crate::counts::ServiceMetrics;
    use crate::resilience::outlier::{Failure, GoodAnswer};
    use crate::resilience::shape::Shape;
    use crate::snapshot::{Clock, ClusterShared, DiscoveryState as Known, EndpointId, Health};

    const NOW: u64 = 100_000;

    fn cluster(endpoints: usize) -> Cluster {
        let (policy, now) = (Policy::default(), crate::clock::Instant::now());
        let endpoint = |id| {
            let address = SocketAddr::from(([10, 0, 0, id], 80));
            let (id, instance) = (EndpointId(id.into()), format!("i{id}").into());
            Arc::new(Endpoint { id, instance, address, weight: 1, health: Health::Passing, shared: Arc::default() })
        };
        Cluster {
            name: "orders".into(),
            standing: Known::Known,
            endpoints: (1..=endpoints as u8).map(endpoint).collect(),
            shared: Arc::new(ClusterShared::new(
                "orders",
                ServiceMetrics::new("orders"),
                &policy,
                Clock::new(now),
                now,
            )),
            policy: Arc::new(policy),
        }
    }

    fn told(cluster: &Cluster, status: &ServiceStatus, at: u64) -> (&'static str, f64, String) {
        let traffic = Pool::new(cluster, Some(status), at).traffic(&cluster.endpoints[0]);
        (traffic.state, traffic.share, traffic.why.unwrap_or_default())
    }

    fn eject(cluster: &Cluster, index: usize) {
        let rules = Outlier { consecutive: 1, max_ejected: 1.0, ..Outlier::default() };
        let failure = Failure { shape: Shape::default(), trouble: 1, begun: NOW };
        while !cluster.endpoints[index].shared.outlier.is_out() {
            cluster.shared.pool.failed(&*cluster.endpoints, index, &rules, failure, NOW, 0.5);
        }
    }

    #[test]
    fn nothing_is_said_of_an_endpoint_that_has_its_share() {
        assert_eq!(told(&cluster(2), &ServiceStatus::default(), NOW), ("in", 1.0, String::new()));
    }

    #[test]
    fn an_endpoint_that_is_out_says_why_and_until_when_and_then_that_it_ramps() {
        let (cluster, status) = (cluster(4), ServiceStatus::default());
        eject(&cluster, 0);
        let (state, share, why) = told(&cluster, &status, NOW);
        assert_eq!((state, share), ("ejected", 0.0));
        assert!(why.starts_with("ejected (failures in a row): tried again in "), "{why}");
        let later = NOW + 10_000;
        let due = "ejected (failures in a row): the next request that may be sent again tries it";
        assert_eq!(told(&cluster, &status, later), ("ejected", 0.0, due.to_owned()));
        let pool = &cluster.shared.pool;
        assert_eq!(pool.claim_probe(&*cluster.endpoints, &Outlier::default(), true, later, |_| true), Some(0));
        assert_eq!(told(&cluster, &status, later), ("probing", 0.0, "ejected: one request tries it".to_owned()));
        let answer = GoodAnswer { shape: Shape::default(), took_us: 1_000, begun: later };
        (0..3).for_each(|_| {
            pool.answered(&*cluster.endpoints, 0, &Outlier::default(), answer, later, 0.5);
        });
        pool.released(&*cluster.endpoints, 0, later);
        let half = ("slow_start", 0.5, "50 % of its share: came back 1.0 s ago".to_owned());
        assert_eq!(told(&cluster, &status, later + 1_000), half);
        assert_eq!(told(&cluster, &status, later + 2_000).0, "in");
    }

    #[test]
    fn an_endpoint_that_has_joined_says_how_much_it_gets() {
        let (cluster, status) = (cluster(3), ServiceStatus::default());
        cluster.endpoints[0].shared.joined.store(NOW - 500, Relaxed);
        let quarter = ("slow_start", 0.25, "25 % of its share: joined 0.5 s ago".to_owned());
        assert_eq!(told(&cluster, &status, NOW), quarter);
        cluster.endpoints.iter().for_each(|endpoint| endpoint.shared.joined.store(NOW - 500, Relaxed));
        assert_eq!(told(&cluster, &status, NOW).0, "in", "all are new");
    }

    #[test]
    fn a_state_has_its_age() {
        let (cluster, status) = (cluster(2), ServiceStatus::default());
        let shared = &cluster.endpoints[0].shared;
        let age = |at: u64| Pool::new(&cluster, Some(&status), at).traffic(&cluster.endpoints[0]).since_ms;
        assert_eq!(age(NOW), None, "nobody has looked yet");
        assert!(!shared.look(NOW) && !shared.look(NOW + 100));
        assert_eq!(age(NOW + 300), Some(300));
        shared.outlier.put_out(NOW + 5_000);
        assert!(shared.look(NOW + 500) && shared.look(NOW + 700));
        assert_eq!(age(NOW + 1_500), Some(1_000), "since it is out");
    }

    #[test]
    fn a_pool_that_is_out_altogether_is_used_all_the_same() {
        let cluster = cluster(1);
        cluster.endpoints[0].shared.outlier.put_out(NOW + 5_000);
        let (state, share, why) = told(&cluster, &ServiceStatus::default(), NOW);
        assert_eq!((state, share), ("ejected", 1.0));
        assert!(why.ends_with("used all the same, because nobody else is left"), "{why}");
    }

    #[test]
    fn the_registry_and_the_checks_are_one_sentence() {
        let cluster = cluster(2);
        let checks = |said: &str| BTreeMap::from([(cluster.endpoints[0].address, said.to_owned())]);
        let why = |status: ServiceStatus| told(&cluster, &status, NOW).2;
        let failing =
            || ServiceStatus { checks: checks("failing: status 503 (3 in a row)"), ..ServiceStatus::default() };
        assert!(why(ServiceStatus { all_failing: true, ..failing() }).contains("because those of all do"));
        assert!(why(failing()).contains("until the next bad one"));
        let absent =
            ServiceStatus { absent: vec![EndpointId(1)], checks: checks("passing"), ..ServiceStatus::default() };
        assert_eq!(why(absent), "no longer in the registry, kept because its checks pass");
        assert_eq!(why(ServiceStatus { checks: checks("unknown"), ..ServiceStatus::default() }), "");
        cluster.endpoints[0].shared.connections.store(1_024, Relaxed);
        assert_eq!(why(ServiceStatus::default()), "all its 1024 connections are in use or kept");
    }
}
