use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn empty() -> Catalog {
    Catalog::new(([127, 0, 0, 1], 8500).into(), 100)
}

fn web(id: &str) -> Registration {
    Registration::new(id, "web", "127.0.0.1", 80)
}

fn status(catalog: &Catalog, at: usize) -> String {
    let checks = catalog.health("web", false)[at]["Checks"].as_array().unwrap().clone();
    checks.last().unwrap()["Status"].as_str().unwrap().to_owned()
}

fn register(catalog: &mut Catalog, registration: Registration, now: Instant) {
    catalog.register(registration, true, now).unwrap();
}

#[test]
fn the_index_moves_with_a_change_and_only_then() {
    let (mut catalog, now) = (empty(), Instant::now());
    register(&mut catalog, web("a").with_ttl(Duration::from_secs(9), Health::Passing), now);
    let index = catalog.index_of("web");
    register(&mut catalog, web("a").with_ttl(Duration::from_secs(9), Health::Passing), now);
    catalog.report("service:a", Health::Passing, "", now).unwrap();
    catalog.maintenance("a", None).unwrap();
    catalog.node_maintenance(None);
    assert_eq!(catalog.index_of("web"), index);
    catalog.report("service:a", Health::Warning, "", now).unwrap();
    assert!(catalog.index_of("web") > index);
}

#[test]
fn a_change_elsewhere_does_not_move_a_services_index() {
    let (mut catalog, now) = (empty(), Instant::now());
    register(&mut catalog, web("a"), now);
    let index = catalog.index_of("web");
    register(&mut catalog, Registration::new("x", "other", "127.0.0.1", 81), now);
    catalog.deregister("x").unwrap();
    assert_eq!(catalog.index_of("web"), index);
}

#[test]
fn the_last_instances_end_moves_the_index_of_its_name_forward() {
    let (mut catalog, now) = (empty(), Instant::now());
    register(&mut catalog, web("a"), now);
    let before = catalog.index_of("web");
    catalog.deregister("a").unwrap();
    assert!(catalog.index_of("web") > before);
    assert_eq!(catalog.names().count(), 0);
}

#[test]
fn an_instance_that_takes_another_name_leaves_the_old_one() {
    let (mut catalog, now) = (empty(), Instant::now());
    register(&mut catalog, web("a"), now);
    let before = catalog.index_of("web");
    register(&mut catalog, Registration::new("a", "shop", "127.0.0.1", 80), now);
    assert!(catalog.index_of("web") > before);
    assert_eq!(catalog.names().collect::<Vec<_>>(), ["shop"]);
}

#[test]
fn a_check_expires_at_its_ttl_and_each_report_moves_that() {
    let (mut catalog, start) = (empty(), Instant::now());
    let ttl = Duration::from_secs(10);
    register(&mut catalog, web("a").with_ttl(ttl, Health::Passing), start);
    assert_eq!(catalog.next_deadline(), Some(start + ttl));
    let later = start + ttl / 2;
    catalog.report("service:a", Health::Passing, "", later).unwrap();
    catalog.expire(start + ttl);
    assert_eq!(status(&catalog, 0), "passing");
    catalog.expire(later + ttl);
    assert_eq!(status(&catalog, 0), "critical");
    assert_eq!(catalog.next_deadline(), None);
}

#[test]
fn what_is_critical_for_too_long_is_deregistered_after_a_minute_at_least() {
    let (mut catalog, start) = (empty(), Instant::now());
    let mut registration = web("a").with_ttl(Duration::from_secs(10), Health::Passing);
    registration.check.as_mut().unwrap().deregister_critical_service_after = "5s".to_owned();
    register(&mut catalog, registration, start);
    let critical = start + Duration::from_secs(10);
    catalog.expire(critical);
    assert_eq!(catalog.next_deadline(), Some(critical + SHORTEST_REAP));
    catalog.expire(critical + SHORTEST_REAP - Duration::from_millis(1));
    assert_eq!(catalog.names().count(), 1);
    catalog.expire(critical + SHORTEST_REAP);
    assert_eq!(catalog.names().count(), 0);
}

#[test]
fn registering_again_keeps_what_a_check_last_said() {
    let (mut catalog, now) = (empty(), Instant::now());
    let registration = web("a").with_ttl(Duration::from_secs(10), Health::Critical);
    register(&mut catalog, registration.clone(), now);
    catalog.report("service:a", Health::Passing, "", now).unwrap();
    register(&mut catalog, Registration { port: 81, ..registration }, now);
    assert_eq!(status(&catalog, 0), "passing");
}

#[test]
fn maintenance_of_the_node_reaches_every_service() {
    let (mut catalog, now) = (empty(), Instant::now());
    register(&mut catalog, web("a"), now);
    let before = catalog.index_of("web");
    catalog.node_maintenance(Some("power"));
    assert!(catalog.index_of("web") > before);
    assert_eq!(status(&catalog, 0), "critical");
    assert_eq!(catalog.health("web", true), json!([]));
    catalog.node_maintenance(None);
    assert_eq!(status(&catalog, 0), "passing");
}

#[test]
fn a_full_registry_refuses_a_new_instance_and_still_takes_a_known_one() {
    let (mut catalog, now) = (Catalog::new(([127, 0, 0, 1], 8500).into(), 1), Instant::now());
    register(&mut catalog, web("a"), now);
    assert_eq!(catalog.register(web("b"), true, now), Err(Refused::Full(1)));
    register(&mut catalog, Registration { port: 81, ..web("a") }, now);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (mut catalog, now) = (empty(), Instant::now());
    let with = |check: Check| Registration { check: Some(check), ..web("a") };
    for registration in [
        Registration { name: String::new(), ..web("a") },
        Registration { name: "a\nb".to_owned(), ..web("a") },
        Registration { id: "x".repeat(5_000), ..web("a") },
        with(Check { ttl: "soon".to_owned(), ..Check::default() }),
        with(Check { status: "fine".to_owned(), ..Check::default() }),
    ] {
        assert!(matches!(catalog.register(registration, true, now), Err(Refused::Invalid(_))));
    }
    assert_eq!(catalog.index(), 1);
}

#[test]
fn a_ttl_as_long_as_can_be_written_does_not_overflow() {
    let (mut catalog, now) = (empty(), Instant::now());
    let check = Check { ttl: "4000000000000h".to_owned(), ..Check::default() };
    let long = Check { deregister_critical_service_after: "4000000000000h".to_owned(), ..check };
    register(&mut catalog, Registration { check: Some(long), ..web("a") }, now);
    catalog.expire(now);
    assert!(catalog.next_deadline().is_some());
}

#[derive(Debug, Clone)]
enum Act {
    Register(u8, bool),
    Deregister(u8),
    Report(u8, u8),
    Maintain(u8, bool),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4u8, any::<bool>()).prop_map(|(id, other)| Act::Register(id, other)),
        (0..4u8).prop_map(Act::Deregister),
        (0..4u8, 0..3u8).prop_map(|(id, status)| Act::Report(id, status)),
        (0..4u8, any::<bool>()).prop_map(|(id, on)| Act::Maintain(id, on)),
        (0..200u16).prop_map(Act::Pass),
    ]
}

proptest! {
    /// The promise a blocking query rests on.
    #[test]
    fn whoever_waits_on_the_index_sees_every_change(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut catalog, mut now) = (empty(), Instant::now());
        for act in acts {
            let before = ["web", "shop"].map(|name| (name, catalog.index_of(name), catalog.health(name, false)));
            let listing = (catalog.listing_index(), catalog.listing());
            let index = catalog.index();
            let _ = match act {
                Act::Register(id, other) => {
                    let name = if other { "shop" } else { "web" };
                    let new = Registration::new(id.to_string(), name, "127.0.0.1", 80);
                    catalog.register(new.with_ttl(Duration::from_secs(50), Health::Passing), true, now)
                }
                Act::Deregister(id) => catalog.deregister(&id.to_string()),
                Act::Report(id, status) => {
                    let status = [Health::Passing, Health::Warning, Health::Critical][usize::from(status)];
                    catalog.report(&format!("service:{id}"), status, "", now)
                }
                Act::Maintain(id, on) => catalog.maintenance(&id.to_string(), on.then_some("x")),
                Act::Pass(seconds) => {
                    now += Duration::from_secs(u64::from(seconds));
                    catalog.expire(now);
                    prop_assert!(catalog.next_deadline().is_none_or(|at| at > now), "a deadline that stays is a busy loop");
                    Ok(())
                }
            };
            for (name, index, content) in before {
                prop_assert!(catalog.index_of(name) >= index, "{name}: the index went back");
                prop_assert!(catalog.health(name, false) == content || catalog.index_of(name) > index, "{name}: unseen");
            }
            prop_assert!(catalog.listing() == listing.1 || catalog.listing_index() > listing.0, "names: unseen");
            prop_assert!(catalog.index() >= index);
        }
    }
}
