use crate::fault::spec::Aim;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::control::first_snapshot;
use crate::control::testing::{declare_static, settings};
use crate::fault::active::Sort;
use crate::snapshot::{Publisher, joint};

struct World {
    fault_manager: Arc<FaultManager>,
    _publisher: Publisher,
    now: Instant,
}

/// A service `orders` with four endpoints, and one, `lone`, with one.
fn world(change: impl FnOnce(&mut FaultLimits)) -> World {
    let mut settings = settings(&[]);
    let four: Vec<(&str, u16)> = (1..=4).map(|port| ("10.0.0.1", port)).collect();
    declare_static(&mut settings, "orders", &four);
    declare_static(&mut settings, "lone", &[("10.0.0.2", 1)]);
    let (publisher, reader, _) = joint(first_snapshot(&settings));
    let mut limits = FaultLimits { enabled: true, ..FaultLimits::default() };
    change(&mut limits);
    World { fault_manager: FaultManager::new(limits, reader), _publisher: publisher, now: Instant::now() }
}

fn spec(value: Value) -> Spec {
    serde_json::from_value(value).unwrap()
}

fn delay(service: &str, more: Value) -> Spec {
    let mut spec = json!({ "type": "delay", "service": service, "attributes": { "fixed": "2s" } });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

impl World {
    fn add(&self, spec: Spec) -> Result<Arc<Active>, Refused> {
        self.fault_manager.add(spec, "test", self.now)
    }

    /// So much later, everything that is due has been done.
    fn tend(&mut self, later: Duration) {
        self.now += later;
        let snapshot = self.fault_manager.reader.snapshot();
        self.fault_manager.tend(&Facts { snapshot: &snapshot, metrics: &String::new }, self.now);
    }

    fn subject(&self, service: &str) -> Arc<FaultTarget> {
        Arc::clone(&self.fault_manager.reader.snapshot().clusters[service].shared.faults)
    }

    fn why(&self) -> Option<String> {
        self.fault_manager.audit().last().and_then(|entry| entry.why.clone())
    }
}

#[test]
fn in_a_process_that_was_not_started_for_it_every_fault_is_refused() {
    let world = world(|limits| limits.enabled = false);
    assert_eq!(world.add(delay("orders", json!({ "endpoints": 1 }))).unwrap_err(), Refused::Locked);
    assert!(world.subject("orders").is_quiet());
    assert_eq!(world.fault_manager.audit()[0].what, Happened::Refused);
}

#[test]
fn every_fault_has_an_end_five_minutes_away_at_most_unless_it_says_more() {
    let mut world = world(|_| {});
    let fault = world.add(delay("orders", json!({ "endpoints": 1 }))).unwrap();
    assert_eq!(fault.until, Some(world.now + Duration::from_secs(300)));
    assert!(!world.subject("orders").is_quiet());
    // Over by itself, before anybody has looked.
    assert!(fault.is_over(world.now + Duration::from_secs(300)) && !fault.is_over(world.now));
    world.tend(Duration::from_secs(300));
    assert!(world.subject("orders").is_quiet() && world.fault_manager.list(world.now).is_empty());
    assert_eq!(world.why().as_deref(), Some("its time to live was over"));
    let long = world.add(delay("orders", json!({ "endpoints": 1, "ttl": "2h" }))).unwrap_err();
    assert!(matches!(&long, Refused::Cap(why) if why.contains("`faults.max_ttl`")), "{long}");
}

#[test]
fn a_fault_dies_with_its_controller() {
    let mut world = world(|_| {});
    let held = delay("orders", json!({ "endpoints": 1, "controller": "me", "heartbeat": "2s" }));
    let fault = world.add(held).unwrap();
    world.tend(Duration::from_secs(2));
    assert_eq!(world.fault_manager.heartbeat("me", world.now).0.len(), 1);
    world.tend(Duration::from_secs(2));
    assert!(!fault.is_over(world.now));
    world.tend(Duration::from_millis(1));
    assert!(fault.is_over(world.now));
    assert_eq!(world.why().as_deref(), Some("its controller was not heard of"));
}

#[test]
fn one_healthy_endpoint_is_left_alone_unless_all_are_asked_for_by_name() {
    let world = world(|limits| limits.max_endpoints = 1.0);
    let refused = |spec: Spec| match world.add(spec) {
        Err(Refused::Cap(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(delay("orders", json!({}))).contains("4 of 4 are met"));
    assert!(refused(delay("lone", json!({ "endpoints": 1 }))).contains("leaves no healthy endpoint"));
    assert!(refused(delay("orders", json!({ "endpoints": "100%" }))).contains("or say `all`"));
    world.add(delay("orders", json!({ "endpoints": 3 }))).unwrap();
    // What several faults meet together counts.
    assert!(refused(delay("orders", json!({ "endpoints": "10.0.0.1:4" }))).contains("4 of 4"));
    world.add(delay("orders", json!({ "endpoints": "all" }))).unwrap();
    world.add(delay("lone", json!({ "endpoints": "all" }))).unwrap();
    // The edge is above the choice of an endpoint.
    world.add(delay("lone", json!({ "place": "edge" }))).unwrap();
}

#[test]
fn which_faults_may_stand_beside_each_other_does_not_depend_on_their_order() {
    let edge = delay("orders", json!({ "place": "edge" }));
    let all = delay("orders", json!({ "endpoints": "all" }));
    let bytes = spec(json!({ "type": "latency", "service": "orders", "endpoints": "all" }));
    let elsewhere = delay("lone", json!({ "endpoints": "all" }));
    let half = delay("orders", json!({ "endpoints": "50%" }));
    let third = delay("orders", json!({ "endpoints": "10.0.0.1:3" }));
    let first = delay("orders", json!({ "endpoints": 1 }));
    let both = |one: &Spec, other: &Spec| {
        let mut world = world(|_| {});
        let added = [one, other].map(|spec| world.add(spec.clone()).is_ok());
        // What may be added stays.
        world.tend(Duration::from_millis(100));
        assert_eq!(world.fault_manager.list(world.now).len(), added.iter().filter(|added| **added).count());
        added == [true, true]
    };
    for (one, other, fit) in [
        (&edge, &first, true),
        (&edge, &half, true),
        (&edge, &all, true),
        (&all, &half, true),
        (&bytes, &half, true),
        (&bytes, &all, true),
        (&elsewhere, &half, true),
        (&first, &half, true),
        (&third, &half, false),
    ] {
        assert_eq!((both(one, other), both(other, one)), (fit, fit), "{one:?}\n{other:?}");
    }
}

#[test]
fn a_share_of_endpoints_is_a_list_of_them_within_its_cap() {
    let world = world(|_| {});
    let half = world.add(delay("orders", json!({ "endpoints": "50%" }))).unwrap();
    let meets = |fault: &Active| match &fault.fault.scope.endpoints {
        Aim::These(list) => list.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(meets(&half), [1, 2]);
    let more = world.add(delay("orders", json!({ "endpoints": "10.0.0.1:3" }))).unwrap_err();
    assert!(matches!(&more, Refused::Cap(why) if why.contains("3 of the 4") && why.contains("50%")), "{more}");
    let stranger = world.add(delay("orders", json!({ "endpoints": "10.9.9.9:3" }))).unwrap_err();
    assert!(matches!(&stranger, Refused::Invalid(invalid) if invalid.message.contains("10.0.0.1:1")), "{stranger}");
}

#[test]
fn a_fault_ends_when_what_it_spared_is_no_longer_healthy() {
    let mut world = world(|_| {});
    let first = world.add(delay("orders", json!({ "endpoints": "10.0.0.1:1" }))).unwrap();
    let second = world.add(delay("orders", json!({ "endpoints": "10.0.0.1:2" }))).unwrap();
    let snapshot = world.fault_manager.reader.snapshot();
    for endpoint in &snapshot.clusters["orders"].endpoints[2..] {
        endpoint.shared.outlier.put_out(u64::MAX);
    }
    world.tend(Duration::from_millis(100));
    assert!(second.is_over(world.now) && !first.is_over(world.now), "the newest goes first");
    assert!(world.why().unwrap().contains("no longer healthy"));
}

#[test]
fn as_many_faults_as_are_allowed_and_no_more() {
    let world = world(|limits| limits.max_active = 2);
    let one = world.add(delay("orders", json!({ "place": "edge" }))).unwrap();
    world.add(delay("orders", json!({ "place": "edge" }))).unwrap();
    assert!(matches!(world.add(delay("orders", json!({ "place": "edge" }))), Err(Refused::Cap(_))));
    assert!(world.fault_manager.end(one.id, "test") && !world.fault_manager.end(one.id, "test"));
    world.add(delay("orders", json!({ "place": "edge" }))).unwrap();
}

#[test]
fn a_share_of_requests_has_its_cap() {
    let world = world(|limits| limits.max_requests = 0.2);
    world.add(delay("orders", json!({ "place": "edge", "percent": "20%" }))).unwrap();
    let more = world.add(delay("orders", json!({ "place": "edge", "percent": "21%" }))).unwrap_err();
    assert!(matches!(&more, Refused::Cap(why) if why.contains("`faults.max_requests`")), "{more}");
}

#[test]
fn what_is_not_there_is_told_with_what_may_have_been_meant() {
    let world = world(|_| {});
    let typo = world.add(delay("order", json!({ "place": "edge" }))).unwrap_err();
    assert_eq!(typo, Refused::Unknown("there is no service `order`; perhaps `orders`".into()));
    let proxy = spec(json!({ "type": "down", "proxy": "cache" }));
    assert_eq!(world.add(proxy).unwrap_err(), Refused::Unknown("there is no TCP proxy `cache`, and no other".into()));
    let route = world.add(delay("orders", json!({ "place": "edge", "route": "routes[7]" }))).unwrap_err();
    assert!(matches!(&route, Refused::Invalid(invalid) if invalid.key == "route"), "{route}");
    let taken = delay("orders", json!({ "place": "edge", "name": "x" }));
    world.add(taken.clone()).unwrap();
    assert_eq!(world.add(taken).unwrap_err(), Refused::Taken("orders".into(), "x".into()));
}

#[test]
fn a_proxy_of_toxiproxys_api_is_its_users_own() {
    let mut world = world(|limits| (limits.max_active, limits.max_requests) = (1, 0.1));
    let subject = FaultTarget::new("cache", Sort::TcpProxy);
    world.fault_manager.enrol(&subject, true);
    let toxic = |name: &str| spec(json!({ "type": "latency", "proxy": "cache", "name": name }));
    let fault = world.add(toxic("a")).unwrap();
    world.add(toxic("b")).unwrap();
    assert_eq!(fault.until, None);
    world.tend(Duration::from_secs(100_000));
    assert_eq!(world.fault_manager.clear(Which::All, &End::Cleared, "test"), 0);
    assert_eq!(subject.faults().len(), 2);
    world.fault_manager.dismiss("cache", "test");
    assert!(subject.is_quiet() && fault.is_over(world.now));
    // Faults of a proxy that stands in the configuration are under the same rules as a service's.
    world.fault_manager.enrol(&FaultTarget::new("configured", Sort::TcpProxy), false);
    let capped = world.add(spec(json!({ "type": "latency", "proxy": "configured" }))).unwrap_err();
    assert!(matches!(capped, Refused::Cap(_)));
}

#[test]
fn the_first_so_many_and_every_so_manyth_are_counted_over_all_workers() {
    let mut world = world(|_| {});
    let strikes = |fault: &Active, now| (0..10).filter(|_| fault.strikes(0.5, now)).count();
    let first = world.add(delay("orders", json!({ "place": "edge", "first": 3 }))).unwrap();
    let every = world.add(delay("orders", json!({ "place": "edge", "every": 3 }))).unwrap();
    let both = world.add(delay("orders", json!({ "place": "edge", "every": 3, "first": 2 }))).unwrap();
    let late = world.add(delay("orders", json!({ "place": "edge", "after": "1s" }))).unwrap();
    let none = world.add(delay("orders", json!({ "place": "edge", "percent": "0%" }))).unwrap();
    let half = world.add(delay("orders", json!({ "place": "edge", "percent": "50%" }))).unwrap();
    let now = world.now;
    let struck = [&first, &every, &both, &late, &none, &half].map(|fault| strikes(fault, now));
    assert_eq!(struck, [3, 3, 2, 0, 0, 0]);
    assert!(half.strikes(0.499, now));
    world.tend(Duration::from_secs(1));
    assert!(first.is_over(world.now) && both.is_over(world.now), "what is used up ends");
    assert_eq!(strikes(&late, world.now), 10);
}

#[test]
fn a_change_keeps_the_place_the_name_and_the_time() {
    let world = world(|_| {});
    let one = world.add(delay("orders", json!({ "place": "edge", "name": "one" }))).unwrap();
    world.add(delay("orders", json!({ "place": "edge", "name": "two" }))).unwrap();
    let kind = Kind::parse("delay", Default::default(), &json!({ "fixed": "5s" })).unwrap();
    let changed = world.fault_manager.change(one.id, kind, 0.5, "test", world.now).unwrap().unwrap();
    assert!(one.is_over(world.now) && !changed.is_over(world.now));
    let names: Vec<_> = world.subject("orders").faults().iter().map(|fault| fault.name.to_string()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!((changed.id, changed.until, changed.fault.percent), (one.id, one.until, 0.5));
    assert_eq!(changed.spec.attributes["fixed"], "5s");
}

#[test]
fn a_change_is_held_to_the_share_of_requests_as_well() {
    let world = world(|limits| limits.max_requests = 0.5);
    let one = world.add(delay("orders", json!({ "place": "edge", "percent": "20%" }))).unwrap();
    let change = |percent| world.fault_manager.change(one.id, one.fault.kind.clone(), percent, "test", world.now);
    assert!(matches!(change(0.6), Err(Refused::Cap(_))));
    assert!(!one.is_over(world.now), "it is as it was");
    assert_eq!(change(0.5).unwrap().unwrap().fault.percent, 0.5);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_fault_is_let_go_when_it_ends_or_its_time_is_over() {
    let world = world(|_| {});
    let now = Instant::now;
    let add = |ttl: &str| {
        world.fault_manager.add(delay("orders", json!({ "place": "edge", "ttl": ttl })), "test", now()).unwrap()
    };
    let (asked, timed) = (add("5m"), add("3s"));
    let start = now();
    let waits = tokio::spawn({
        let asked = Arc::clone(&asked);
        async move { asked.over().await }
    });
    tokio::task::yield_now().await;
    world.fault_manager.end(asked.id, "test");
    waits.await.unwrap();
    assert_eq!(now() - start, Duration::ZERO);
    timed.over().await;
    assert_eq!((now() - start).as_secs(), 3);
}

#[test]
fn one_drill_at_a_time_and_it_ends_with_its_heart() {
    let mut world = world(|_| {});
    let drill = |name: &str| Drill { controller: name.into(), name: "shop".into(), heartbeat: Duration::from_secs(5) };
    world.fault_manager.begin_drill(drill("a"), world.now).unwrap();
    let second = world.fault_manager.begin_drill(drill("b"), world.now).unwrap_err();
    assert_eq!(second, Refused::Cap("the drill `shop` of `a` is running; only one may".into()));
    let held = delay("orders", json!({ "place": "edge", "controller": "a", "heartbeat": "5s" }));
    world.add(held.clone()).unwrap();
    world.tend(Duration::from_secs(6));
    assert!(world.subject("orders").is_quiet());
    world.fault_manager.begin_drill(drill("b"), world.now).unwrap();
    assert!(world.fault_manager.end_drill("b", "test") && !world.fault_manager.end_drill("b", "test"));
    world.fault_manager.begin_drill(drill("a"), world.now).unwrap();
    world.add(held).unwrap();
    assert!(world.fault_manager.end_drill("a", "test") && world.subject("orders").is_quiet());
}

#[test]
fn a_long_heartbeat_is_as_long_as_it_says() {
    let mut world = world(|_| {});
    let heartbeat = Duration::from_secs(300);
    world
        .fault_manager
        .begin_drill(Drill { controller: "a".into(), name: "shop".into(), heartbeat }, world.now)
        .unwrap();
    let guard = json!({
        "controller": "a", "heartbeat": "5m", "metric": "success", "service": "orders", "below": "99%",
    });
    let guard = world.fault_manager.guard(serde_json::from_value(guard).unwrap(), world.now).unwrap();
    for _ in 0..4 {
        world.tend(Duration::from_secs(70));
    }
    let other = Drill { controller: "b".into(), name: "shop".into(), heartbeat };
    assert!(world.fault_manager.begin_drill(other.clone(), world.now).is_err(), "it lives");
    world.tend(Duration::from_secs(21));
    world.fault_manager.begin_drill(other, world.now).unwrap();
    assert!(!world.fault_manager.unguard(guard), "and the guard has gone with it");
}

#[test]
fn what_is_done_is_written_to_the_audit_file_as_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let world = world(|limits| limits.audit_log = Some(path.clone()));
    let fault = world.add(delay("orders", json!({ "place": "edge", "name": "slow" }))).unwrap();
    assert!(fault.strikes(0.0, world.now));
    world.fault_manager.end(fault.id, "somebody");
    world.fault_manager.flush_audit(Duration::from_secs(20));
    let lines: Vec<Value> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["what"], &lines[1]["what"]), (2, &json!("added"), &json!("ended")));
    assert_eq!(
        (&lines[0]["place"], &lines[0]["subject"], &lines[0]["by"]),
        (&json!("edge"), &json!("orders"), &json!("test"))
    );
    assert_eq!(
        (&lines[1]["by"], &lines[1]["why"], &lines[1]["injected"]),
        (&json!("somebody"), &json!("asked to end"), &json!(1))
    );
    // Nobody is kept from anything by a log that cannot be written.
    let unwritable = self::world(|limits| limits.audit_log = Some("/nowhere/audit.log".into()));
    unwritable.add(delay("orders", json!({ "place": "edge" }))).unwrap();
}

#[test]
fn a_check_says_what_adding_would_say_and_changes_nothing() {
    let world = world(|_| ());
    let check = |spec: &Spec| world.fault_manager.check(spec, world.now);
    assert_eq!(check(&delay("orders", json!({ "endpoints": 1 }))), Ok(()));
    for refused in [delay("nobody", json!({})), delay("orders", json!({})), delay("orders", json!({ "ttl": "24h" }))] {
        let said = check(&refused).unwrap_err();
        assert_eq!(Err(said), world.add(refused).map(drop));
    }
    assert!(world.fault_manager.list(world.now).is_empty() && world.subject("orders").is_quiet());
}
