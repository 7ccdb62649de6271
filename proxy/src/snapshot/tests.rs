//! The joint under stress: real threads, as many publishes as the time allows.

use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use super::*;

const PUBLISHES: u64 = 30_000;
const ENDPOINTS: usize = 5;

/// A snapshot each part of which says the same number.
fn snapshot(number: u64, mark: &Arc<str>) -> Snapshot {
    let endpoint = |at: usize| {
        Arc::new(Endpoint {
            id: EndpointId(number * ENDPOINTS as u64 + at as u64),
            instance: Arc::clone(mark),
            address: ([127, 0, 0, 1], 80).into(),
            weight: number as u32,
            health: Health::Passing,
            shared: Arc::default(),
        })
    };
    let name: Arc<str> = number.to_string().into();
    let policy = Arc::new(Policy::default());
    let now = Instant::now();
    let clock = Clock::new(now);
    let cluster = Cluster {
        name: Arc::clone(&name),
        standing: DiscoveryState::Known,
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        shared: Arc::new(ClusterShared::new(&name, ServiceMetrics::new(&name), &policy, clock, now)),
        policy,
    };
    let clusters = HashMap::from([(name, Arc::new(cluster))]);
    Snapshot { generation: number, routes: Arc::default(), clusters, clock, changes: Default::default() }
}

/// The number that a snapshot is, if all of it is one.
fn number(snapshot: &Snapshot) -> u64 {
    let [(name, cluster)] = Vec::from_iter(&snapshot.clusters)[..] else { panic!("one service") };
    assert_eq!(**name, *snapshot.generation.to_string());
    assert_eq!(cluster.endpoints.len(), ENDPOINTS);
    for (at, endpoint) in cluster.endpoints.iter().enumerate() {
        assert_eq!(endpoint.id, EndpointId(snapshot.generation * ENDPOINTS as u64 + at as u64));
        assert_eq!(u64::from(endpoint.weight), snapshot.generation);
    }
    snapshot.generation
}

#[test]
fn whoever_reads_while_it_is_published_sees_whole_snapshots_in_order_and_the_last_one() {
    let mark: Arc<str> = "all of them".into();
    let (mut publisher, reader, _asked) = joint(snapshot(0, &mark));
    let seen = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..3)
        .map(|worker| {
            let (reader, seen) = (reader.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                // As a worker does: what it has is kept until the generation says that there is another.
                let mut held = reader.snapshot();
                let mut kept = Vec::new();
                while held.generation < PUBLISHES {
                    let told = reader.generation();
                    if told <= held.generation {
                        thread::yield_now();
                        continue;
                    }
                    let next = reader.snapshot();
                    assert!(next.generation >= told, "told of {told}, given {}", next.generation);
                    assert!(number(&next) > held.generation, "after {}", held.generation);
                    // Some requests are long.
                    if next.generation % 7 == worker {
                        kept.push(Arc::clone(&next));
                        kept.truncate(50);
                    }
                    held = next;
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let waiter = thread::spawn({
        let reader = reader.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut last = 0;
                while last < PUBLISHES {
                    let newer = reader.newer_than(last);
                    tokio::time::timeout(Duration::from_secs(60), newer).await.expect("nobody woke it");
                    last = number(&reader.snapshot());
                }
            });
        }
    });
    for number in 1..=PUBLISHES {
        publisher.publish(snapshot(number, &mark));
    }
    for thread in readers.into_iter().chain([waiter]) {
        thread.join().expect("a reader has something to say");
    }
    assert!(seen.load(Ordering::Relaxed) >= 3, "the readers saw nothing change");
    publisher.sweep();
    assert!(publisher.retired.is_empty(), "{} old ones are held by nobody", publisher.retired.len());
    assert_eq!(Arc::strong_count(&mark), 1 + ENDPOINTS, "only the current one is left");
}

#[test]
fn what_a_reader_holds_is_not_dropped_before_it_lets_go() {
    let mark: Arc<str> = "all of them".into();
    let (mut publisher, reader, _asked) = joint(snapshot(0, &mark));
    let held = reader.snapshot();
    (1..=3).for_each(|number| publisher.publish(snapshot(number, &mark)));
    assert_eq!(publisher.retired.len(), 1, "the one that is held");
    assert_eq!(number(&held), 0);
    drop(held);
    assert_eq!(Arc::strong_count(&mark), 1 + 2 * ENDPOINTS, "a reader's drop frees nothing: the publisher does");
    publisher.sweep();
    assert_eq!(Arc::strong_count(&mark), 1 + ENDPOINTS);
}

#[test]
fn a_cluster_that_a_request_still_holds_is_dropped_by_the_publisher_and_nobody_else() {
    let mark: Arc<str> = "all of them".into();
    let (mut publisher, reader, _asked) = joint(snapshot(0, &mark));
    // As a worker does: the snapshot goes as soon as a view is made of it, and the view keeps its clusters.
    let held = Arc::clone(&reader.snapshot().clusters["0"]);
    (1..=3).for_each(|number| publisher.publish(snapshot(number, &mark)));
    assert!(publisher.retired.is_empty());
    let freed = Arc::downgrade(&held);
    drop(held);
    assert!(freed.upgrade().is_some(), "its last drop was a request's");
    publisher.sweep();
    assert!(freed.upgrade().is_none() && publisher.gone.is_empty());
}
