mod checks;

use std::collections::HashSet;

use outrigger_registry::Health as CheckStatus;
use proptest::prelude::*;

use super::*;
use crate::control::testing::{instance, policy, set, skipped_only};
use crate::counts::ServiceMetrics;
use crate::snapshot::Clock;

/// The control plane's side of a test: services, and the snapshot that was made of them last.
struct World {
    services: BTreeMap<Arc<str>, Service>,
    hosts: Hosts,
    ids: Ids,
    routes: Arc<RouteTable>,
    current: Snapshot,
}

impl World {
    fn new() -> Self {
        let routes = Arc::new(RouteTable::default());
        let current = Snapshot {
            generation: 0,
            clock: Clock::new(crate::clock::Instant::now()),
            routes: Arc::clone(&routes),
            clusters: HashMap::new(),
            changes: Default::default(),
        };
        Self { services: BTreeMap::new(), hosts: Hosts::new(), ids: Ids::after(&current), routes, current }
    }

    fn set(&mut self, name: &str, set: Option<Arc<InstanceSet>>) -> &mut Service {
        let clock = self.current.clock;
        let service = self.services.entry(name.into()).or_insert_with(|| {
            let metrics = ServiceMetrics::new(name);
            let shared = ClusterShared::new(name, metrics, &policy(5), clock, crate::clock::Instant::now());
            Service::new(Arc::new(policy(5)), Arc::new(shared), None, true)
        });
        service.set = set;
        service.touched = true;
        service
    }

    /// Whether it was published, and what takes no traffic.
    fn step(&mut self) -> (bool, BTreeMap<Arc<str>, Vec<LeftOut>>) {
        let (published, findings) = self.step_at(1);
        (published, findings.into_iter().map(|(name, found)| (name, found.left_out)).collect())
    }

    fn step_at(&mut self, clock: u64) -> (bool, BTreeMap<Arc<str>, Findings>) {
        let next = reconcile(&self.current, &self.routes, &self.services, &self.hosts, &mut self.ids, clock);
        let published = next.snapshot.is_some();
        if let Some(snapshot) = next.snapshot {
            self.current = snapshot;
        }
        for (name, found) in &next.findings {
            let service = self.services.get_mut(name).unwrap();
            service.memory = found.memory.clone();
        }
        (published, next.findings)
    }

    fn pool(&self, name: &str) -> Vec<Arc<Endpoint>> {
        self.current.clusters[name].endpoints.to_vec()
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        self.pool(name).iter().map(|endpoint| endpoint.address.to_string()).collect()
    }
}

#[test]
fn a_service_is_awaited_until_its_first_answer_and_known_for_good_after_it() {
    let mut world = World::new();
    world.set("a", None);
    assert!(world.step().0);
    assert_eq!(world.current.clusters["a"].standing, DiscoveryState::Awaited);
    world.set("a", Some(set(vec![])));
    assert!(world.step().0);
    assert_eq!(world.current.clusters["a"].standing, DiscoveryState::Known);
    world.set("b", Some(set(vec![]))).seen = false;
    assert!(world.step().0);
    assert_eq!(world.current.clusters["b"].standing, DiscoveryState::Unseen);
}

#[test]
fn what_takes_no_traffic_is_left_out_with_the_reason() {
    let mut world = World::new();
    let critical = Instance { health: CheckStatus::Critical, ..instance("c", "10.0.0.1", 1) };
    let weightless = Instance { weight: 0, ..instance("w", "10.0.0.2", 1) };
    let warning = Instance { health: CheckStatus::Warning, weight: 7, ..instance("y", "10.0.0.3", 1) };
    world.set("a", Some(set(vec![critical, weightless, warning, instance("z", "10.0.0.4", 1)])));
    world.set("s", Some(skipped_only("p0", "port is 0")));
    let (_, left_out) = world.step();
    let reasons: Vec<(&str, &str)> = left_out["a"].iter().map(|l| (&*l.instance, l.reason.as_str())).collect();
    assert_eq!(reasons, [("c", "critical"), ("w", "weight 0")]);
    assert_eq!(left_out["s"][0].reason, "port is 0");
    let pool = world.pool("a");
    assert_eq!((pool[0].weight, pool[0].health), (7, Health::Warning));
    assert_eq!((pool[1].weight, pool[1].health), (1, Health::Passing));
}

#[test]
fn a_host_name_is_one_endpoint_per_address_and_a_failed_look_up_keeps_them() {
    let mut world = World::new();
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    world.set("a", Some(set(vec![instance("i", "web", 80)])));
    let (_, left_out) = world.step();
    assert_eq!(world.current.clusters["a"].standing, DiscoveryState::Awaited);
    assert!(left_out["a"][0].reason.contains("being looked up"));

    world.hosts.insert("web".into(), Resolution { addresses: ips(&["10.0.0.1", "fe80::1"]), error: None });
    world.set("a", Some(set(vec![instance("i", "web", 80)])));
    assert!(world.step().0);
    assert_eq!(world.addresses("a"), ["10.0.0.1:80", "[fe80::1]:80"]);
    let first = world.pool("a")[0].id;

    let failed = Resolution { addresses: ips(&["10.0.0.1", "fe80::1"]), error: Some("gone".into()) };
    world.hosts.insert("web".into(), failed);
    world.set("a", Some(set(vec![instance("i", "web", 80)])));
    assert!(!world.step().0, "a failed look-up changes no pool");

    world.hosts.insert("web".into(), Resolution { addresses: ips(&["10.0.0.1", "10.0.0.2"]), error: None });
    world.set("a", Some(set(vec![instance("i", "web", 80)])));
    assert!(world.step().0);
    assert_eq!(world.pool("a")[0].id, first);

    world.hosts.insert("web".into(), Resolution { addresses: vec![], error: Some("no such name".into()) });
    world.set("a", Some(set(vec![instance("i", "web", 80)])));
    let (_, left_out) = world.step();
    assert_eq!(left_out["a"][0].reason, "the host name web cannot be resolved: no such name");
    assert_eq!(world.current.clusters["a"].standing, DiscoveryState::Known);
}

#[test]
fn a_policy_or_route_change_publishes_and_moves_nobody() {
    let mut world = World::new();
    world.set("a", Some(set(vec![instance("i", "10.0.0.1", 80)])));
    world.step();
    let before = world.pool("a");
    let a = world.services.get_mut("a").unwrap();
    (a.policy, a.touched) = (Arc::new(policy(9)), true);
    assert!(world.step().0);
    assert_eq!(world.current.clusters["a"].policy.timeout.as_secs(), 9);
    assert!(Arc::ptr_eq(&before[0], &world.pool("a")[0]));
    world.routes = Arc::new(RouteTable::default());
    assert!(world.step().0);
    assert!(!world.step().0);
}

#[test]
fn ids_go_on_after_those_of_the_first_snapshot() {
    let mut world = World::new();
    world.set("a", Some(set(vec![instance("i", "10.0.0.1", 80), instance("j", "10.0.0.1", 81)])));
    world.step();
    let highest = world.pool("a").iter().map(|endpoint| endpoint.id).max().unwrap();
    assert!(Ids::after(&world.current).fresh() > highest);
}

/// Few ids, hosts and ports, so that instances come back, swap addresses and share them.
fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let word =
        prop_oneof![4 => Just(CheckStatus::Passing), 1 => Just(CheckStatus::Warning), 1 => Just(CheckStatus::Critical)];
    let host = prop_oneof![3 => Just("10.0.0.1"), 3 => Just("10.0.0.2"), 2 => Just("web"), 1 => Just("nowhere")];
    let one = ("[a-d]", host, 1..3u16, 0..3u32, word).prop_map(|(id, host, port, weight, health)| Instance {
        weight,
        health,
        ..instance(&id, host, port)
    });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn survivors_stay_and_ids_are_never_used_twice(
        steps in prop::collection::vec(("[xy]", prop::option::weighted(0.9, instances()), any::<bool>()), 1..30),
    ) {
        let mut world = World::new();
        let web = |second: bool| {
            let mut addresses: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap()];
            if second { addresses.push("10.0.0.9".parse().unwrap()); }
            Resolution { addresses, error: None }
        };
        let mut dead: HashSet<EndpointId> = HashSet::new();
        let mut highest = EndpointId(0);
        for (name, answer, second) in steps {
            match answer {
                Some(answer) => { world.set(&name, Some(set(answer))); }
                None => { world.services.remove(&*name); }
            }
            world.hosts.insert("web".into(), web(second));
            for service in world.services.values_mut() { service.touched = true; }
            let before: HashMap<Arc<str>, Vec<Arc<Endpoint>>> =
                world.current.clusters.iter().map(|(n, c)| (Arc::clone(n), c.endpoints.to_vec())).collect();
            world.step();

            let mut living = HashSet::new();
            for (name, cluster) in &world.current.clusters {
                let old = before.get(name).map_or(&[][..], |old| old);
                for endpoint in cluster.endpoints.iter() {
                    prop_assert!(living.insert(endpoint.id), "two endpoints with one id");
                    prop_assert!(!dead.contains(&endpoint.id), "an id came back");
                    prop_assert!(endpoint.weight > 0);
                    let survivor = old.iter()
                        .find(|o| o.instance == endpoint.instance && o.address == endpoint.address);
                    match survivor {
                        Some(old) => {
                            prop_assert_eq!(old.id, endpoint.id);
                            prop_assert!(Arc::ptr_eq(&old.shared, &endpoint.shared));
                            let same = old.weight == endpoint.weight && old.health == endpoint.health;
                            prop_assert_eq!(Arc::ptr_eq(old, endpoint), same);
                        }
                        None => prop_assert!(endpoint.id > highest, "a new endpoint with an old id"),
                    }
                }
            }
            highest = living.iter().copied().max().unwrap_or(highest).max(highest);
            dead.extend(before.values().flatten().map(|old| old.id).filter(|id| !living.contains(id)));

            for service in world.services.values_mut() { service.touched = true; }
            prop_assert!(!world.step().0, "the same again was published");
            for service in world.services.values_mut() { service.touched = false; }
            prop_assert!(!world.step().0, "untouched services were published");
        }
    }

    #[test]
    fn the_order_of_a_set_does_not_matter(mut answer in instances(), seed in any::<u64>()) {
        answer.sort_by(|a, b| a.id.cmp(&b.id));
        answer.dedup_by(|a, b| a.id == b.id);
        let mut shuffled = answer.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let pool = |answer: Vec<Instance>| {
            let mut world = World::new();
            world.set("a", Some(set(answer)));
            world.step();
            let pool = world.pool("a");
            pool.iter().map(|e| (e.id, e.instance.to_string(), e.address, e.weight)).collect::<Vec<_>>()
        };
        prop_assert_eq!(pool(answer), pool(shuffled));
    }
}
