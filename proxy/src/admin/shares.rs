//! What part of its service's requests an endpoint got lately, beside the part that its weight gives it.
//!
//! A weight is a share that somebody meant. Under two choices an endpoint that is clearly slower than another gives its turns
//! away, and then the weight does not hold. Whoever looks at a canary has to be told so.

use std::sync::atomic::Ordering::Relaxed;

use super::traffic::Pool;
use crate::config::settings::Balance;
use crate::snapshot::{Cluster, Endpoint};

/// What an endpoint got.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The part of the requests that its weight gives it, less what slow start or an ejection takes; 0.0 to 1.0.
    pub due: f64,
    /// The part of the attempts that it got in about the last ten seconds; none where there were too few.
    pub got: Option<f64>,
    /// Why the two differ, where latency makes them.
    pub why: Option<&'static str>,
}

/// Fewer attempts say nothing of shares.
const ENOUGH: f64 = 200.0;
/// A share that is off by no more than this part of it is as it is meant.
const OFF: f64 = 0.1;
/// So many times another's latency makes a difference to the balancer, now or a moment ago.
const SLOWER: f64 = 1.5;

/// Of each endpoint of a pool, in its order.
pub fn shares(cluster: &Cluster, pool: &Pool<'_>, clock: u64) -> Vec<Share> {
    let counts: Vec<f64> = cluster.endpoints.iter().map(|e| e.shared.lately.count(clock)).collect();
    let dues: Vec<f64> = cluster.endpoints.iter().map(|e| f64::from(e.weight) * pool.traffic(e).share).collect();
    let (all, whole): (f64, f64) = (counts.iter().sum(), dues.iter().sum());
    let latencies = latencies(&cluster.endpoints);
    let quickest = latencies.iter().copied().filter(|latency| *latency > 0.0).min_by(f64::total_cmp);
    let slowest = latencies.iter().copied().max_by(f64::total_cmp).unwrap_or_default();
    let differ = quickest.is_some_and(|quickest| slowest > quickest * SLOWER);
    let share = |((count, due), latency): ((f64, f64), f64)| {
        let due = if whole > 0.0 { due / whole } else { 0.0 };
        let got = (all >= ENOUGH).then_some(count / all);
        let off = got.map_or(0.0, |got| got - due);
        let why = if cluster.policy.balance != Balance::P2c || !differ || due <= 0.0 || off.abs() <= due * OFF {
            None
        } else if off > 0.0 {
            Some("others take longer")
        } else if quickest.is_some_and(|quickest| latency > quickest * SLOWER) {
            Some("it takes longer than others")
        } else {
            None
        };
        Share { due, got, why }
    };
    counts.into_iter().zip(dues).zip(latencies).map(share).collect()
}

/// What the balancer takes each of them for, in microseconds: below a millisecond it sees no difference.
fn latencies(endpoints: &[std::sync::Arc<Endpoint>]) -> Vec<f64> {
    let latency = |endpoint: &std::sync::Arc<Endpoint>| match endpoint.shared.score_us.load(Relaxed) {
        0 => 0.0,
        micros => (micros as f64).max(crate::balance::ewma::FLOOR_US),
    };
    endpoints.iter().map(latency).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::settings::Policy;
    use crate::counts::ServiceMetrics;
    use crate::snapshot::{Clock, ClusterShared, DiscoveryState, EndpointId, Health};

    const NOW: u64 = 100_000;

    /// Endpoints by weight, attempts of the last second, and latency in microseconds.
    fn told(endpoints: &[(u32, u64, u64)]) -> Vec<Share> {
        let (policy, now) = (Policy::default(), crate::clock::Instant::now());
        let endpoint = |(id, (weight, count, latency)): (u8, &(u32, u64, u64))| {
            let address = std::net::SocketAddr::from(([10, 0, 0, id], 80));
            let (id, instance) = (EndpointId(id.into()), format!("i{id}").into());
            let one =
                Endpoint { id, instance, address, weight: *weight, health: Health::Passing, shared: Arc::default() };
            one.shared.lately.add(*count, NOW);
            one.shared.score_us.store(*latency, Relaxed);
            Arc::new(one)
        };
        let shared = ClusterShared::new("orders", ServiceMetrics::new("orders"), &policy, Clock::new(now), now);
        let cluster = Cluster {
            name: "orders".into(),
            standing: DiscoveryState::Known,
            endpoints: (1..).zip(endpoints).map(endpoint).collect(),
            shared: Arc::new(shared),
            policy: Arc::new(policy),
        };
        shares(&cluster, &Pool::new(&cluster, None, NOW), NOW)
    }

    #[test]
    fn a_share_that_is_as_it_was_meant_needs_no_word() {
        let [heavy, light] = &told(&[(9, 905, 5_000), (1, 95, 9_000)])[..] else { panic!() };
        assert_eq!((heavy.due, heavy.got, heavy.why), (0.9, Some(0.905), None));
        assert_eq!((light.due, light.got, light.why), (0.1, Some(0.095), None));
    }

    #[test]
    fn where_latency_makes_shares_deviate_it_is_said_of_who_loses_and_of_who_wins() {
        let [heavy, light] = &told(&[(9, 200, 50_000), (1, 800, 5_000)])[..] else { panic!() };
        assert_eq!(heavy.why, Some("it takes longer than others"));
        assert_eq!(light.why, Some("others take longer"));
    }

    #[test]
    fn what_is_not_for_latency_is_not_said_to_be() {
        assert!(told(&[(9, 500, 5_000), (1, 500, 5_500)]).iter().all(|share| share.why.is_none()));
        assert!(
            told(&[(9, 20, 50_000), (1, 80, 5_000)])
                .iter()
                .all(|share| share == &Share { got: None, why: None, ..*share })
        );
        assert!(told(&[(9, 500, 900), (1, 500, 80)]).iter().all(|share| share.why.is_none()), "both are quick");
    }
}
