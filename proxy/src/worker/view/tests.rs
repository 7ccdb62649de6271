use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::config::settings::Policy;
use crate::counts::ServiceMetrics;
use crate::resilience::outlier::Failure;
use crate::resilience::shape::Shape;
use crate::snapshot::{Clock, Cluster, ClusterShared, DiscoveryState, Endpoint, EndpointId, Health};
use crate::upstream::Upstream;
use crate::worker::cluster::Tried;

fn policy(max_idle: u32) -> Arc<Policy> {
    let text = format!("services: {{ orders: {{ instances: ['127.0.0.1:1'], max_idle: {max_idle} }} }}");
    let settings = crate::config::parse("test.yaml", &text, &|_| None, |_| ()).unwrap().settings;
    Arc::new(settings.services["orders"].policy.clone())
}

fn endpoint(id: u64, weight: u32) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        id: EndpointId(id),
        instance: format!("i{id}").into(),
        address: SocketAddr::from(([127, 0, 0, 1], 1000 + id as u16)),
        weight,
        health: Health::Passing,
        shared: Arc::default(),
    })
}

fn cluster(endpoints: &[Arc<Endpoint>], max_idle: u32) -> Arc<Cluster> {
    let metrics = ServiceMetrics::provisional("orders");
    let now = Instant::now();
    let shared = ClusterShared::new("orders", metrics, &policy(max_idle), Clock::new(now), now);
    Arc::new(Cluster {
        name: "orders".into(),
        policy: policy(max_idle),
        standing: DiscoveryState::Known,
        endpoints: endpoints.into(),
        shared: Arc::new(shared),
    })
}

fn snapshot(generation: u64, cluster: &Arc<Cluster>) -> Snapshot {
    let clusters = HashMap::from([(Arc::from("orders"), Arc::clone(cluster))]);
    Snapshot {
        generation,
        clock: Clock::new(Instant::now()),
        routes: Arc::default(),
        clusters,
        changes: Default::default(),
    }
}

fn view(generation: u64, cluster: &Arc<Cluster>, old: Option<&View>, workers: usize) -> View {
    View::of(&snapshot(generation, cluster), old, workers, 1, Instant::now())
}

fn side(view: &View) -> &Rc<WorkerCluster> {
    view.cluster("orders").unwrap()
}

fn upstream(view: &View, id: u64) -> Option<Rc<Upstream>> {
    side(view).upstreams.iter().map(|m| &m.upstream).find(|u| u.id == EndpointId(id)).map(Rc::clone)
}

#[test]
fn survivors_keep_their_side_and_the_others_go() {
    let before = view(1, &cluster(&[endpoint(1, 1), endpoint(2, 1)], 256), None, 1);
    let (gone, stays) = (Rc::downgrade(&upstream(&before, 1).unwrap()), upstream(&before, 2).unwrap());
    let in_flight = stays.begin();

    // The same endpoint under another weight, in another place.
    let after = view(2, &cluster(&[endpoint(2, 5), endpoint(3, 1)], 256), Some(&before), 1);
    drop(before);
    assert!(Rc::ptr_eq(&upstream(&after, 2).unwrap(), &stays));
    assert_eq!(stays.in_flight(), 1);
    assert!(upstream(&after, 3).is_some() && upstream(&after, 1).is_none());
    assert!(gone.upgrade().is_none(), "somebody still holds the endpoint that is gone");
    drop(in_flight);
    assert_eq!(stays.in_flight(), 0);
}

#[test]
fn a_cluster_that_did_not_change_keeps_its_whole_side() {
    let cluster = cluster(&[endpoint(1, 1)], 256);
    let before = view(1, &cluster, None, 1);
    let after = view(2, &cluster, Some(&before), 1);
    assert_eq!(after.generation, 2);
    assert!(Rc::ptr_eq(side(&before), side(&after)));
}

#[test]
fn counts_outlive_the_side() {
    let before = view(1, &cluster(&[endpoint(1, 1)], 256), None, 1);
    let counts = Rc::clone(&side(&before).counts);
    let after = view(2, &cluster(&[endpoint(2, 1)], 256), Some(&before), 1);
    assert!(Rc::ptr_eq(&counts, &side(&after).counts));
}

#[test]
fn the_idle_cap_is_shared_out_and_nobody_is_left_with_nothing() {
    for (max_idle, workers, keep) in [(256, 2, 128), (256, 1, 256), (1, 4, 1), (0, 4, 0)] {
        let view = view(1, &cluster(&[endpoint(1, 1)], max_idle), None, workers);
        assert_eq!(side(&view).keep, keep, "{max_idle} over {workers}");
    }
}

#[test]
fn what_was_tried_is_not_picked_again() {
    let view = view(1, &cluster(&[endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)], 256), None, 1);
    let mut tried = Tried::default();
    let mut seen = Vec::new();
    while let Some(picked) = side(&view).pick(&tried, true, Instant::now()) {
        tried.add(picked.upstream.id);
        seen.push(picked.upstream.id.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
    tried.clear();
    assert!(side(&view).pick(&tried, true, Instant::now()).is_some());
}

#[test]
fn a_tick_tells_that_a_service_was_used_once() {
    let view = view(1, &cluster(&[endpoint(1, 1)], 256), None, 1);
    let told = || side(&view).cluster.shared.last_used.load(Ordering::Relaxed);
    view.report(5, Instant::now(), 0.5);
    assert_eq!(told(), 0);
    side(&view).counts.used.set(true);
    view.report(7, Instant::now(), 0.5);
    view.report(9, Instant::now(), 0.5);
    assert_eq!(told(), 7);
}

/// Who is left for a request with one try; all, where nobody is left out.
fn left(view: &View, now: Instant) -> Vec<u64> {
    let side = side(view);
    let left = side.safest(side.ms(now), now);
    let is_left = |at: &usize| left.as_ref().is_none_or(|left| left[*at]);
    (0..side.upstreams.len()).filter(is_left).map(|at| side.upstreams[at].upstream.id.0).collect()
}

#[test]
fn who_has_something_to_answer_and_is_silent_gets_no_request_with_one_try() {
    let ms = Duration::from_millis;
    let cluster = cluster(&[endpoint(1, 1), endpoint(2, 1), endpoint(3, 1), endpoint(4, 1)], 256);
    cluster.endpoints.iter().for_each(|endpoint| endpoint.shared.median_us.store(10_000, Ordering::Relaxed));
    let view = view(1, &cluster, None, 1);
    let start = Instant::now();
    let hung = upstream(&view, 2).unwrap();
    (1..=4).for_each(|id| upstream(&view, id).unwrap().answered(10 * ms(1), start));
    hung.wait(start);
    assert_eq!(left(&view, start + ms(19)), [1, 2, 3, 4], "answers take 10 ms");
    assert_eq!(left(&view, start + ms(21)), [1, 3, 4]);
    for _ in 0..100 {
        let pick = side(&view).pick(&Tried::default(), false, start + ms(21)).unwrap();
        assert_ne!(pick.upstream.id, hung.id);
    }
    let taken = |_| side(&view).pick(&Tried::default(), true, start + ms(21)).unwrap().upstream.id == hung.id;
    assert!((0..100).any(taken), "who can be retried finds out");
    // Somebody else's answer is a sign of life, too.
    hung.wait(start + ms(5));
    hung.answered(ms(20), start + ms(25));
    hung.heard();
    assert_eq!(left(&view, start + ms(30)), [1, 2, 3, 4]);
    hung.heard();
    assert_eq!(left(&view, start + ms(500)), [1, 2, 3, 4], "it has nothing to answer");
    // Where most are silent, silence says nothing.
    for id in [1, 2, 3] {
        upstream(&view, id).unwrap().wait(start + ms(600));
    }
    assert_eq!(left(&view, start + ms(700)), [1, 2, 3, 4]);
}

#[test]
fn what_one_worker_waits_for_too_long_keeps_requests_with_one_try_of_all_workers_away() {
    let cluster = cluster(&[endpoint(1, 1), endpoint(2, 1), endpoint(3, 1), endpoint(4, 1)], 256);
    let (one, other) = (view(1, &cluster, None, 2), view(1, &cluster, None, 2));
    let now = Instant::now();
    let hung = upstream(&one, 3).unwrap();
    hung.overdue();
    assert_eq!(left(&other, now), [1, 2, 4]);
    hung.in_time();
    assert_eq!(left(&other, now), [1, 2, 3, 4]);
    // It was overtaken once: bad news until it answers well, or for five seconds.
    let (shared, rules) = (&cluster.shared, &cluster.policy.outlier);
    let clock = side(&one).ms(now);
    let failure = Failure { shape: Shape::default(), trouble: 2, begun: clock };
    shared.pool.failed(&*cluster.endpoints, 2, rules, failure, clock, 0.5);
    assert_eq!(left(&other, now), [1, 2, 4]);
    assert_eq!(left(&other, now + Duration::from_secs(6)), [1, 2, 3, 4]);
    cluster.endpoints[2].shared.outlier.succeeded(Shape::default, clock);
    assert_eq!(left(&other, now), [1, 2, 3, 4]);
}

#[test]
fn requests_with_one_try_go_where_the_news_is_fresh_while_others_bring_the_news() {
    let ms = Duration::from_millis;
    let view = view(1, &cluster(&[endpoint(1, 1), endpoint(2, 1), endpoint(3, 1), endpoint(4, 1)], 256), None, 1);
    let start = Instant::now();
    for (id, at) in [(1, 10), (2, 40), (3, 20), (4, 30)] {
        upstream(&view, id).unwrap().answered(ms(5), start + ms(at));
    }
    assert_eq!(left(&view, start + ms(50)), [2, 4], "half of them");
    let once = |_| drop(side(&view).pick(&Tried::default(), false, start + ms(50)));
    (0..10).for_each(once);
    assert_eq!(left(&view, start + ms(50)), [1, 2, 3, 4], "nobody else would bring news of the others");
    let repeatable = |_| drop(side(&view).pick(&Tried::default(), true, start + ms(50)));
    (0..10).for_each(repeatable);
    assert_eq!(left(&view, start + ms(50)), [2, 4]);
}

/// How many of 5,000 picks go to the last of the endpoints, `after` they were published.
fn picks_of_the_last(endpoints: &[Arc<Endpoint>], after: Duration) -> usize {
    let cluster = cluster(endpoints, 256);
    let now = Instant::now();
    let joined = &endpoints[endpoints.len() - 1].shared.joined;
    if joined.load(Ordering::Relaxed) > 0 {
        joined.store(cluster.shared.ms(now), Ordering::Relaxed);
    }
    let view = View::of(&snapshot(1, &cluster), None, 1, 1, now);
    let last = endpoints[endpoints.len() - 1].id;
    let picked = |_| side(&view).pick(&Tried::default(), true, now + after).unwrap().upstream.id;
    (0..5_000).map(picked).filter(|id| *id == last).count()
}

#[test]
fn an_endpoint_that_joins_others_begins_slowly_and_one_of_the_first_answer_does_not() {
    let joins = || {
        let new = endpoint(5, 1);
        new.shared.joined.store(1, Ordering::Relaxed);
        [endpoint(1, 1), endpoint(2, 1), endpoint(3, 1), endpoint(4, 1), new]
    };
    let at_first = picks_of_the_last(&joins(), Duration::ZERO);
    assert!((60..=250).contains(&at_first), "{at_first} of 5,000, where 122 are due");
    assert!((950..=1_050).contains(&picks_of_the_last(&joins(), Duration::from_secs(2))));
    let first: Vec<_> = (1..=5).map(|id| endpoint(id, 1)).collect();
    assert!((950..=1_050).contains(&picks_of_the_last(&first, Duration::ZERO)));
}

#[test]
fn a_host_is_remembered_until_there_is_a_new_view() {
    let cluster = cluster(&[endpoint(1, 1)], 256);
    let before = view(1, &cluster, None, 1);
    let finds = |view: &View, host: &[u8]| view.by_host(host, |known| Rc::ptr_eq(&known.side, side(view)));
    assert_eq!(finds(&before, b"orders"), None);
    before.remember(b"orders", side(&before), None);
    assert_eq!(finds(&before, b"orders"), Some(true));
    for other in [&b"Orders"[..], b"orders:80", b"o", b""] {
        assert_eq!(finds(&before, other), None);
    }
    // One of the same length and the same ends takes its place.
    before.remember(b"oxxxxs", side(&before), None);
    assert_eq!((finds(&before, b"orders"), finds(&before, b"oxxxxs")), (None, Some(true)));
    before.remember(&[b'x'; LONGEST + 1], side(&before), None);
    assert_eq!(finds(&before, &[b'x'; LONGEST + 1]), None);
    assert_eq!(finds(&view(2, &cluster, Some(&before), 1), b"oxxxxs"), None);
}

/// So many services, and the same with `changed` made anew.
fn many(count: usize) -> HashMap<Arc<str>, Arc<Cluster>> {
    let policy = policy(256);
    let clusters = (0..count).map(|at| {
        let name: Arc<str> = format!("service-{at}").into();
        let now = Instant::now();
        let metrics = ServiceMetrics::provisional("many");
        let shared = Arc::new(ClusterShared::new(&name, metrics, &policy, Clock::new(now), now));
        let cluster = Cluster {
            name: Arc::clone(&name),
            policy: Arc::clone(&policy),
            standing: DiscoveryState::Known,
            endpoints: [endpoint(at as u64 + 1, 1)].into(),
            shared,
        };
        (name, Arc::new(cluster))
    });
    clusters.collect()
}

/// The cluster as it is under another weight.
fn other(cluster: &Cluster) -> Arc<Cluster> {
    Arc::new(Cluster {
        name: Arc::clone(&cluster.name),
        policy: Arc::clone(&cluster.policy),
        standing: cluster.standing,
        endpoints: [endpoint(9_000, 7)].into(),
        shared: Arc::clone(&cluster.shared),
    })
}

fn published(clusters: &HashMap<Arc<str>, Arc<Cluster>>) -> Snapshot {
    let clusters = clusters.clone();
    Snapshot {
        generation: 0,
        clock: Clock::new(Instant::now()),
        routes: Arc::default(),
        clusters,
        changes: Default::default(),
    }
}

#[test]
fn a_change_of_one_service_among_two_thousand_makes_one_side_anew_and_is_cheap() {
    let mut clusters = many(2_000);
    let (mut publisher, reader, _asked) = crate::snapshot::joint(published(&clusters));
    let mut view = View::of(&reader.snapshot(), None, 2, 1, Instant::now());
    let mut took = Vec::new();
    for round in 0..50 {
        let name: Arc<str> = format!("service-{}", round * 7).into();
        let changed = other(&clusters[&name]);
        clusters.insert(Arc::clone(&name), changed);
        publisher.publish(published(&clusters));
        let snapshot = reader.snapshot();
        assert_eq!(snapshot.changes.names, [Arc::clone(&name)]);
        let start = std::time::Instant::now();
        let next = View::of(&snapshot, Some(&view), 2, 1, Instant::now());
        took.push(start.elapsed());
        let anew: Vec<_> = clusters.keys().filter(|name| !same(&view, &next, name)).collect();
        assert_eq!(anew, [&name]);
        assert!(Arc::ptr_eq(&next.cluster(&name).unwrap().cluster, &clusters[&name]));
        view = next;
    }
    took.sort_unstable();
    eprintln!("a change of one service among 2,000: {:?}, at most {:?}", took[25], took[49]);
    // 50 us are the aim, for a build with optimisations.
    assert!(took[25] < Duration::from_millis(2), "{:?}", took[25]);
}

fn same(one: &View, other: &View, name: &str) -> bool {
    match (one.cluster(name), other.cluster(name)) {
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn a_view_has_what_its_snapshot_has_however_many_generations_it_has_missed() {
    let mut clusters = many(40);
    let (mut publisher, reader, _asked) = crate::snapshot::joint(published(&clusters));
    let mut view = View::of(&reader.snapshot(), None, 2, 1, Instant::now());
    for round in 0..30 {
        for step in 0..=round % 3 {
            let gone: Arc<str> = format!("service-{}", round + step).into();
            clusters.remove(&gone);
            clusters.extend(many(50).into_iter().filter(|(name, _)| name.ends_with(&format!("-{}", 40 + step))));
            publisher.publish(published(&clusters));
        }
        view = View::of(&reader.snapshot(), Some(&view), 2, 1, Instant::now());
        assert_eq!(view.clusters.values().count(), clusters.len(), "{round}");
        for (name, cluster) in &clusters {
            assert!(Arc::ptr_eq(&view.cluster(name).unwrap().cluster, cluster), "{round}: {name}");
        }
    }
}
