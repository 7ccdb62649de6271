//! The registry's view and our own, as one.

use std::time::Duration;

use super::*;
use crate::config::settings::Probe;

const KEEP: u64 = 30_000;

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        healthy: 1,
        unhealthy: 1,
        keep_absent: Duration::from_millis(KEEP),
    }
}

fn checked() -> Arc<Policy> {
    Arc::new(Policy { health_check: Some(check()), ..policy(5) })
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn member(id: &str, last: u8) -> Instance {
    instance(id, &format!("10.0.0.{last}"), 80)
}

impl World {
    fn word(&mut self, last: u8, word: Check) {
        self.word_at(last, word, 1);
    }

    fn word_at(&mut self, last: u8, word: Check, clock: u64) {
        let service = self.services.get_mut("a").unwrap();
        let verdict = service.verdicts.entry(address(last)).or_default();
        *verdict = Default::default();
        match word {
            Check::Unknown => {}
            Check::Passing => drop(verdict.take(Ok(()), &check(), clock)),
            Check::Failing => drop(verdict.take(Err("connection refused".into()), &check(), clock)),
        }
        assert_eq!(verdict.word(), word);
        service.touched = true;
    }

    /// What is in, by the last byte of the address, and what was found.
    fn at(&mut self, clock: u64) -> (Vec<u8>, Findings) {
        let mut findings = self.step_at(clock).1;
        let last = |endpoint: &Arc<Endpoint>| match endpoint.address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        (self.pool("a").iter().map(last).collect(), findings.remove("a").unwrap_or_default())
    }
}

/// A service of three, 10.0.0.1 to .3, of which nothing is known by checks yet.
fn three() -> World {
    let mut world = World::new();
    world.set("a", Some(set(vec![member("i1", 1), member("i2", 2), member("i3", 3)]))).policy = checked();
    assert_eq!(world.at(1).0, [1, 2, 3]);
    world
}

#[test]
fn the_table_of_both_views() {
    #[derive(Debug, Clone, Copy)]
    enum Registry {
        Has,
        Critical,
        Weightless,
        Lost,
    }
    use Registry::{Critical, Has, Lost, Weightless};
    for (registry, word, stays) in [
        (Has, Check::Passing, true),
        (Has, Check::Unknown, true),
        (Has, Check::Failing, false),
        (Critical, Check::Passing, false),
        (Critical, Check::Unknown, false),
        (Critical, Check::Failing, false),
        (Weightless, Check::Passing, false),
        (Weightless, Check::Unknown, false),
        (Weightless, Check::Failing, false),
        (Lost, Check::Passing, true),
        (Lost, Check::Unknown, false),
        (Lost, Check::Failing, false),
    ] {
        let mut world = three();
        let mut instances = vec![member("i1", 1), member("i3", 3)];
        match registry {
            Has => instances.push(member("i2", 2)),
            Critical => instances.push(Instance { health: CheckStatus::Critical, ..member("i2", 2) }),
            Weightless => instances.push(Instance { weight: 0, ..member("i2", 2) }),
            Lost => {}
        }
        world.set("a", Some(set(instances)));
        world.word(2, word);
        let expected: &[u8] = if stays { &[1, 2, 3] } else { &[1, 3] };
        let (pool, found) = world.at(2);
        assert_eq!(pool, expected, "{registry:?} {word:?}");
        assert_eq!(found.memory.absent.len(), usize::from(stays && matches!(registry, Lost)), "{registry:?} {word:?}");
    }
}

#[test]
fn a_failing_one_is_left_out_with_the_reason_and_comes_back_as_another() {
    let mut world = three();
    let before = world.pool("a");
    world.word(2, Check::Failing);
    let (pool, found) = world.at(2);
    assert_eq!(pool, [1, 3]);
    let out: Vec<_> = found.left_out.iter().map(|out| (&*out.instance, out.reason.as_str())).collect();
    assert_eq!(out, [("i2", "health check failing: connection refused (1 in a row)")]);
    assert_eq!(found.targets, BTreeSet::from([address(1), address(2), address(3)]), "it goes on being checked");
    world.word(2, Check::Passing);
    assert_eq!(world.at(900).0, [1, 2, 3]);
    let after = world.pool("a");
    assert!(Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[2], &after[2]));
    assert!(after[1].id > before[2].id, "an id is never used twice");
    let joined = |endpoint: &Endpoint| endpoint.shared.joined.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((joined(&after[0]), joined(&after[1])), (0, 900));
}

#[test]
fn when_all_fail_all_stay() {
    let mut world = three();
    let before = world.pool("a");
    world.word(1, Check::Failing);
    world.word(2, Check::Failing);
    assert_eq!(world.at(2).0, [3], "one is not known to fail");
    world.word(3, Check::Failing);
    let (pool, found) = world.at(3);
    assert_eq!(pool, [1, 2, 3]);
    assert!(found.memory.all_failing && found.left_out.is_empty());
    assert!(Arc::ptr_eq(&before[2], &world.pool("a")[2]));
    world.word(1, Check::Passing);
    let (pool, found) = world.at(40);
    assert_eq!((pool, found.memory.all_failing), (vec![1, 2, 3], false));
    assert!(Arc::ptr_eq(&before[2], &world.pool("a")[2]), "no stampede to the first that answers");
    world.word_at(2, Check::Failing, 41);
    assert_eq!(world.at(41).0, [1, 3], "the next bad result counts");
    world.word_at(3, Check::Passing, 42);
    assert_eq!(world.at(42).0, [1, 3]);
    world.word_at(3, Check::Failing, 43);
    assert_eq!(world.at(43).0, [1], "a pardon is for once");
}

#[test]
fn who_is_lost_but_answers_stays_for_a_while_and_is_the_same_when_it_returns() {
    let mut world = three();
    let before = world.pool("a");
    for last in 1..=3 {
        world.word(last, Check::Passing);
    }
    world.at(5);
    world.set("a", Some(set(vec![])));
    let (pool, found) = world.at(10);
    assert_eq!(pool, [1, 2, 3], "a registry that loses everything takes nothing that answers");
    assert_eq!(found.targets.len(), 3, "who stays is checked");
    world.set("a", Some(set(vec![member("i1", 1)])));
    assert_eq!(world.at(20_000).0, [1, 2, 3]);
    assert!(world.pool("a").iter().zip(&before).all(|(a, b)| Arc::ptr_eq(a, b)));
    world.word(3, Check::Failing);
    assert_eq!(world.at(20_001).0, [1, 2], "nobody vouches for it any more");
    world.services.get_mut("a").unwrap().touched = true;
    assert_eq!(world.at(10 + KEEP - 1).0, [1, 2]);
    world.services.get_mut("a").unwrap().touched = true;
    let (pool, found) = world.at(10 + KEEP);
    assert_eq!((pool, found.memory.absent.len()), (vec![1], 0));
    assert!(Arc::ptr_eq(&world.pool("a")[0], &before[0]));
}

#[test]
fn who_has_moved_is_not_kept_at_the_old_address_but_half_an_answer_of_dns_keeps_the_rest() {
    let mut world = three();
    world.word(2, Check::Passing);
    world.set("a", Some(set(vec![member("i1", 1), member("i2", 9), member("i3", 3)])));
    assert_eq!(world.at(2).0, [1, 9, 3]);

    let mut world = World::new();
    let resolution =
        |lasts: &[u8]| Resolution { addresses: lasts.iter().map(|l| address(*l).ip()).collect(), error: None };
    world.hosts.insert("web".into(), resolution(&[1, 2]));
    world.set("a", Some(set(vec![instance("i", "web", 80)]))).policy = checked();
    world.at(1);
    world.word(1, Check::Passing);
    world.hosts.insert("web".into(), resolution(&[2]));
    assert_eq!(world.at(2).0, [1, 2]);
    world.set("a", Some(set(vec![instance("i", "web", 81)])));
    assert_eq!(world.at(3).0, [2], "another port is another place");
}

#[test]
fn without_a_check_verdicts_mean_nothing() {
    let mut world = three();
    world.word(1, Check::Passing);
    world.word(2, Check::Failing);
    world.services.get_mut("a").unwrap().policy = Arc::new(policy(5));
    assert_eq!(world.at(2).0, [1, 2, 3]);
    world.set("a", Some(set(vec![])));
    assert!(world.at(3).0.is_empty());
}

#[test]
fn who_is_there_from_the_first_answer_on_has_not_joined() {
    let joined = |world: &World| -> Vec<u64> {
        let ids = world.pool("a");
        ids.iter().map(|endpoint| endpoint.shared.joined.load(std::sync::atomic::Ordering::Relaxed)).collect()
    };
    let mut world = World::new();
    world.set("a", None);
    world.step_at(1);
    world.set("a", Some(set(vec![member("i1", 1), instance("i2", "web", 80)])));
    world.step_at(10);
    world.hosts.insert("web".into(), Resolution { addresses: vec![address(2).ip()], error: None });
    world.services.get_mut("a").unwrap().touched = true;
    world.step_at(20);
    assert_eq!(joined(&world), [0, 0], "a name's first look-up is a part of the first answer");
    world.set("a", Some(set(vec![member("i1", 1), instance("i2", "web", 80), member("i3", 3)])));
    world.step_at(30);
    assert_eq!(joined(&world), [0, 0, 30]);
    world.set("a", Some(set(vec![])));
    world.step_at(40);
    world.set("a", Some(set(vec![member("i1", 1), member("i3", 3)])));
    world.step_at(50);
    assert_eq!(joined(&world), [0, 0], "there is nobody to leave the work to");
}

#[derive(Debug, Clone)]
enum Event {
    /// Which of 10.0.0.1 to .5 the registry has: 0 not, 1 has, 2 critical.
    Answer([u8; 5]),
    CheckStatus(u8, Check),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let word = prop_oneof![1 => Just(Check::Unknown), 2 => Just(Check::Passing), 2 => Just(Check::Failing)];
    prop_oneof![
        2 => prop::array::uniform5(prop_oneof![1 => Just(0u8), 3 => Just(1u8), 1 => Just(2u8)]).prop_map(Event::Answer),
        4 => (1..6u8, word).prop_map(|(last, word)| Event::CheckStatus(last, word)),
        2 => (1..KEEP).prop_map(Event::Time),
    ]
}

proptest! {
    #[test]
    fn checks_empty_no_pool_keep_ids_and_let_the_lost_go(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        world.set("a", Some(set(vec![]))).policy = checked();
        world.step_at(1);
        let mut clock = 1;
        let mut has = [0u8; 5];
        // By address: since when the registry does not have it, as this test counts it.
        let mut lost_since: HashMap<u8, u64> = HashMap::new();
        let mut dead: HashSet<EndpointId> = HashSet::new();
        // By address: when it failed last; and when all last ceased to fail.
        let mut last_bad: HashMap<u8, u64> = HashMap::new();
        let (mut all_failed, mut pardon) = (false, 0);
        for event in events {
            match event {
                Event::Answer(answer) => {
                    has = answer;
                    let instances = (1..=5u8).filter(|last| answer[*last as usize - 1] > 0).map(|last| {
                        let health = if answer[last as usize - 1] == 2 { CheckStatus::Critical } else { CheckStatus::Passing };
                        Instance { health, ..member(&format!("i{last}"), last) }
                    });
                    world.set("a", Some(set(instances.collect())));
                }
                Event::CheckStatus(last, word) => {
                    if word == Check::Failing { last_bad.insert(last, clock); }
                    world.word_at(last, word, clock);
                }
                Event::Time(ms) => clock += ms,
            }
            for last in 1..=5 {
                if has[last as usize - 1] == 0 { lost_since.entry(last).or_insert(clock); } else { lost_since.remove(&last); }
            }
            let before = world.pool("a");
            world.services.get_mut("a").unwrap().touched = true;
            let (pool, found) = world.at(clock);
            let after = world.pool("a");
            let word = |last: u8| world.services["a"].verdict(address(last));

            let present: Vec<u8> = (1..=5).filter(|last| has[*last as usize - 1] == 1).collect();
            prop_assert!(present.is_empty() || !pool.is_empty(), "checks have emptied a pool");
            let all_failing = !present.is_empty() && present.iter().all(|last| word(*last) == Check::Failing);
            prop_assert_eq!(found.memory.all_failing, all_failing);
            if all_failed && !all_failing { pardon = clock; }
            all_failed = all_failing;
            for last in &present {
                let failing = word(*last) == Check::Failing;
                prop_assert!(failing || pool.contains(last), "{} is out and does not fail", last);
                prop_assert!(!all_failing || pool.contains(last), "{} is out though all fail", last);
                let stays = all_failing || last_bad.get(last).is_some_and(|bad| *bad <= pardon);
                prop_assert!(!failing || stays || !pool.contains(last), "{} is in and fails", last);
                prop_assert!(found.targets.contains(&address(*last)));
            }
            for last in pool.iter().filter(|last| !present.contains(last)) {
                prop_assert!(has[*last as usize - 1] == 0 && word(*last) == Check::Passing, "{} is in", last);
                prop_assert!(before.iter().any(|old| old.address == address(*last)), "it was not in");
                prop_assert!(clock - lost_since[last] < KEEP, "{} was lost {} ms ago", last, clock - lost_since[last]);
                prop_assert!(found.targets.contains(&address(*last)));
            }
            // Who was in, is lost since less than that, and answers, stays.
            for old in &before {
                let last = (1..=5).find(|last| address(*last) == old.address).unwrap();
                let stays = has[last as usize - 1] == 0 && word(last) == Check::Passing && clock - lost_since[&last] < KEEP;
                prop_assert!(!stays || pool.contains(&last));
                match after.iter().find(|new| new.address == old.address) {
                    Some(new) => prop_assert!(Arc::ptr_eq(old, new), "a survivor is another one"),
                    None => { dead.insert(old.id); }
                }
            }
            prop_assert!(after.iter().all(|new| !dead.contains(&new.id)), "an id came back");
            prop_assert!(after.windows(2).all(|two| two[0].address < two[1].address), "the order is another one");
            world.services.get_mut("a").unwrap().touched = true;
            prop_assert!(!world.step_at(clock).0, "the same again was published");
        }
    }
}

#[test]
fn whoever_comes_into_a_pool_or_passes_again_in_one_of_which_all_fail_is_a_newcomer() {
    let mut world = three();
    // Since when everything has failed, and who is tried at once for having come since.
    let newcomer = |world: &World, outage: u64| {
        let cluster = &world.current.clusters["a"];
        let claimed = cluster.shared.pool.claim_newcomer(&*cluster.endpoints, Default::default, outage, outage + 1);
        claimed.inspect(|index| cluster.shared.pool.released(&*cluster.endpoints, *index, outage + 1))
    };
    assert_eq!(newcomer(&world, 5), None);
    world.set("a", Some(set(vec![member("i1", 1), member("i2", 2), member("i3", 3), member("i4", 4)])));
    world.at(10);
    assert_eq!((newcomer(&world, 5), newcomer(&world, 10)), (Some(3), None), "it was registered");
    (1..=4).for_each(|last| world.word(last, Check::Failing));
    assert_eq!(world.at(20).0, [1, 2, 3, 4]);
    assert_eq!(newcomer(&world, 20), None);
    world.word_at(2, Check::Passing, 30);
    assert_eq!(world.at(30).0[1], 2);
    let index = newcomer(&world, 20).expect("its check passes again");
    assert_eq!(world.pool("a")[index].address, address(2));
    assert_eq!(newcomer(&world, 30), None);
    // It is no longer one for passing.
    world.word_at(2, Check::Passing, 40);
    world.at(40);
    assert_eq!(newcomer(&world, 30), None);
}
