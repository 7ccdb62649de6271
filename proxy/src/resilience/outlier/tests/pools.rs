//! Who is out in small pools and over time: swaps, gray endpoints, newcomers, and any history.

use proptest::prelude::*;

use super::*;

#[test]
fn an_endpoint_that_answers_takes_the_place_of_one_that_has_died() {
    for count in 2..6 {
        let pool = Pool::of(count);
        let dies = count - 1;
        // All but one are out or as good as out, and the first of them has failed for long.
        (0..dies).for_each(|i| _ = pool.fail_row(i, 1_000));
        let out = pool.out();
        for n in 0..20 {
            pool.shared.failed_again(&pool, 0, &pool.rules, 2_000 + n * 60_000, 0.5);
        }
        // It recovers, unseen, and the last one dies: what is tried a second time finds nobody else.
        let now = 1_300_000;
        (0..dies).filter(|i| !out.contains(i)).for_each(|i| _ = pool.fail_row(i, now));
        (0..5).for_each(|_| _ = pool.fail(dies, now));
        (0..3).for_each(|n| {
            pool.shared.panicked(now);
            assert!(pool.states[0].is_out(), "of {count}, after {n} good answers");
            pool.good(0, now + n);
        });
        assert!(!pool.states[0].is_out(), "of {count}");
        assert!(pool.fail(dies, now + 3), "of {count}: the dead one goes, and that is one out as before");
        assert!(pool.out().len() <= decide::most(&pool, &pool.rules));
    }
}

#[test]
fn one_that_is_needed_is_tried_at_once_however_long_it_would_be_out() {
    let pool = Pool::of(2);
    pool.fail_row(0, 1_000);
    let mut now = 1_000;
    for _ in 0..8 {
        now += 60_000;
        assert_eq!(pool.claim(true, now), Some(0));
        pool.probed(0, false, now);
    }
    assert_eq!(pool.claim(true, now + 30_000), None, "the other one is well");
    now += 30_000;
    pool.fail_row(1, now);
    let tried: Vec<_> =
        (now..now + 1_000).filter_map(|now| pool.claim(true, now).inspect(|i| pool.probed(*i, false, now))).collect();
    assert_eq!(tried, [0, 1, 0, 1], "the dead one that has to stay as well");
}

#[test]
fn a_gray_endpoint_and_a_late_one_beat_a_dead_one() {
    for late in [false, true] {
        let mut pool = Pool::of(2);
        for second in 1..=6u64 {
            pool.medians = vec![if late { 2_000_000 } else { 5_000 }, 5_000];
            pool.states[0].count(20, if late { 0 } else { 25 });
            pool.states[1].count(40, 0);
            pool.evaluate(second * 1_000);
        }
        assert_eq!(pool.out(), [0]);
        assert!(pool.fail_row(1, 7_000), "it dies");
        assert_eq!(pool.out(), [1], "late: {late}");
    }
}

#[test]
fn requests_under_way_when_an_endpoint_comes_back_are_not_held_against_it() {
    let pool = Pool::of(3);
    pool.fail_row(0, 1_000);
    pool.comes_back(0, 5_000);
    for _ in 0..20 {
        let failure = Failure { shape: get("/"), trouble: 1, begun: 900 };
        pool.shared.failed(&pool, 0, &pool.rules, failure, 5_001, 0.5);
    }
    assert_eq!(pool.out(), [0; 0]);
}

#[test]
fn a_small_share_of_a_small_pool_is_one() {
    let most = |count: usize, share: f64| {
        decide::most(&Pool::of(count), &Outlier { max_ejected: share, ..Outlier::default() })
    };
    assert_eq!([1, 2, 3, 10].map(|count| most(count, 0.1)), [0, 1, 1, 1]);
    assert_eq!([1, 2, 3, 10].map(|count| most(count, 0.0)), [0; 4]);
    assert_eq!([1, 2, 3, 10].map(|count| most(count, 1.0)), [0, 1, 2, 9]);
    assert_eq!(most(100, 0.29), 29);
}

/// Clients of a pool of which each endpoint fails so many of a hundred requests.
struct Clients {
    pool: Pool,
    fails: Vec<u32>,
    random: fastrand::Rng,
    requests: u32,
    /// First attempts that failed, and requests of which the second one did too.
    first: u32,
    lost: u32,
    changes: u32,
}

impl Clients {
    fn of(fails: &[u32], seed: u64) -> Self {
        let (pool, random) = (Pool::of(fails.len()), fastrand::Rng::with_seed(seed));
        Self { pool, fails: fails.to_vec(), random, requests: 0, first: 0, lost: 0, changes: 0 }
    }

    fn attempt(&mut self, tried: Option<usize>, now: u64) -> (usize, bool) {
        let pool = &self.pool;
        let claimed = if tried.is_none() { pool.claim(true, now) } else { None };
        let index = claimed.unwrap_or_else(|| {
            let ins: Vec<usize> =
                (0..pool.count()).filter(|i| !pool.states[*i].is_out() && tried != Some(*i)).collect();
            let all: Vec<usize> = (0..pool.count()).filter(|i| pool.count() == 1 || tried != Some(*i)).collect();
            if ins.is_empty() {
                pool.shared.panicked(now);
            }
            let among = if ins.is_empty() { all } else { ins };
            among[self.random.usize(0..among.len())]
        });
        let good = self.random.u32(0..100) >= self.fails[index];
        pool.states[index].count(u64::from(good), u64::from(!good));
        match good {
            true => pool.good(index, now),
            false => _ = pool.fail(index, now),
        }
        if claimed.is_some() {
            pool.shared.released(pool, index, now);
        }
        (index, good)
    }

    /// So many seconds from `now` on, with so many requests a second.
    fn run(&mut self, now: u64, seconds: u64, rate: u64) {
        for n in 0..seconds * rate {
            let at = now + n * 1_000 / rate;
            let before = self.pool.out();
            let (index, good) = self.attempt(None, at);
            self.requests += 1;
            self.first += u32::from(!good);
            if !good && !self.attempt(Some(index), at).1 {
                self.lost += 1;
            }
            self.pool.evaluate(at);
            self.changes += u32::from(self.pool.out() != before);
        }
    }
}

#[test]
fn an_endpoint_that_fails_a_part_of_its_requests_does_not_come_and_go() {
    for (count, rate, fails) in [2, 3, 5, 10]
        .into_iter()
        .flat_map(|count| [10, 100].map(|rate| (count, rate)))
        .flat_map(|(count, rate)| [10, 30, 50, 70].map(|fails| (count, rate, fails)))
    {
        let mut parts = vec![0; count];
        parts[0] = fails;
        let mut clients = Clients::of(&parts, fails as u64 + rate);
        clients.run(60_000, 120, rate);
        let (changes, first, requests) = (clients.changes, clients.first, clients.requests);
        clients.run(180_000, 300, rate);
        let per_minute = f64::from(clients.changes - changes) / 5.0;
        let share = f64::from(clients.first - first) / f64::from(clients.requests - requests);
        let without = f64::from(fails) / 100.0 / count as f64;
        let told = format!(
            "of {count} at {rate}/s, one fails {fails} %: {changes} changes in two minutes, then {per_minute} a minute; \
             {:.2} % of first attempts fail, {:.2} % without ejection; {} lost",
            share * 100.0,
            without * 100.0,
            clients.lost
        );
        assert!(changes <= 16 && per_minute <= 2.0, "{told}");
        assert!(share <= without * 1.1 + 0.002, "{told}");
        assert!(fails < 50 || share <= without * 0.2, "{told}");
        assert_eq!(clients.lost, 0, "{told}");
    }
}

#[test]
fn a_gray_endpoint_serves_while_it_is_the_best_that_is_left() {
    for count in [2, 3, 5] {
        let mut parts = vec![0; count];
        parts[0] = 50;
        let mut clients = Clients::of(&parts, 7);
        clients.run(60_000, 300, 40);
        assert_eq!((clients.pool.out(), clients.lost), (vec![0], 0));
        clients.fails[1..].fill(100);
        clients.run(360_000, 2, 40);
        let (lost, requests) = (clients.lost, clients.requests);
        clients.run(362_000, 300, 40);
        let share = f64::from(clients.lost - lost) / f64::from(clients.requests - requests);
        // Of five, two may be dead and in: the cap leaves no fewer.
        assert!(!clients.pool.states[0].is_out(), "of {count}");
        assert!(share < 0.75, "of {count}: {share}");
        // And goes once they are back.
        clients.fails[1..].fill(0);
        clients.run(662_000, 60, 40);
        assert_eq!(clients.pool.out(), [0], "of {count}");
        let lost = clients.lost;
        clients.run(722_000, 300, 40);
        assert_eq!(clients.lost - lost, 0, "of {count}");
    }
}

#[test]
fn of_two_the_one_that_recovered_serves_within_a_second_of_the_others_death() {
    let mut clients = Clients::of(&[0, 0], 1);
    clients.run(60_000, 5, 40);
    clients.fails[0] = 100;
    clients.run(65_000, 22, 40);
    clients.fails = vec![0, 100];
    let lost = clients.lost;
    clients.run(87_000, 1, 40);
    assert!(clients.lost - lost <= 1, "{} of the first second", clients.lost - lost);
    clients.run(88_000, 30, 40);
    assert_eq!(clients.pool.out(), [1]);
    assert!(clients.lost - lost <= 1 && clients.first < 70, "{} {}", clients.lost - lost, clients.first);
}

#[test]
fn a_newcomer_is_asked_at_once_while_everybody_else_is_dead_and_until_it_fails() {
    let pool = Pool::of(4);
    let newcomer = |shape: &str, now| pool.shared.claim_newcomer(&pool, || get(shape), 2_000, now);
    pool.shared.arrives(&pool.states[3], 1_000);
    assert_eq!(newcomer("/", 3_000), None, "it was there when it began");
    pool.shared.arrives(&pool.states[3], 3_000);
    assert_eq!(newcomer("/", 3_001), Some(3));
    assert_eq!(newcomer("/", 3_001), None, "one at a time");
    pool.shared.released(&pool, 3, 3_002);
    assert_eq!(newcomer("/", 3_002), Some(3));
    pool.fail_at(3, "/", 3_003);
    pool.shared.released(&pool, 3, 3_003);
    assert_eq!(newcomer("/", 3_003), None, "it has failed at this");
    // Another page: what fails may be that.
    for path in ["/bad", "/worse"] {
        assert_eq!(newcomer(path, 3_004), Some(3));
        pool.fail_at(3, path, 3_004);
        pool.shared.released(&pool, 3, 3_004);
    }
    assert_eq!(newcomer("/users", 3_005), None, "it is as dead as the others");
    // Who comes back is new, too.
    let mut pool = Pool::of(4);
    pool.rules.base_ejection = Duration::from_millis(10);
    pool.fail_row(1, 1_000);
    assert_eq!(pool.comes_back(1, 3_000), 3);
    assert_eq!(pool.shared.claim_newcomer(&pool, || get("/"), 2_000, 3_001), Some(1));
    assert_eq!(pool.shared.claim_newcomer(&pool, || get("/"), 3_000, 3_001), None);
}

/// The last observations of an endpoint, as somebody who only watches counts them.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    good: u32,
    bad: u32,
}

proptest! {
    /// Over any history of pools of one to ten: whose last three attempts were good is not out while one whose last five
    /// failed is in; the cap holds, and somebody is always in.
    #[test]
    fn whoever_answers_is_not_out_while_one_that_is_dead_is_in(
        count in 1usize..=10,
        cap in prop_oneof![Just(0.7), 0.0..=1.0],
        steps in proptest::collection::vec((0u64..600, 0usize..10, 0u8..16), 1..400),
    ) {
        let mut pool = Pool::of(count);
        pool.rules.max_ejected = cap;
        let mut seen = [Seen::default(); 10];
        let mut claimed = Vec::new();
        let mut now = 60_000;
        for (step, (wait, index, what)) in steps.into_iter().enumerate() {
            now += wait;
            let index = index % count;
            let good = |pool: &Pool, seen: &mut [Seen; 10], index: usize| {
                seen[index] = Seen { good: seen[index].good + 1, bad: 0 };
                pool.states[index].count(1, 0);
                pool.good(index, now);
            };
            let bad = |pool: &Pool, seen: &mut [Seen; 10], index: usize| {
                seen[index] = Seen { good: 0, bad: seen[index].bad + 1 };
                pool.states[index].count(0, 1);
                pool.fail(index, now);
            };
            match what {
                0..=2 => (0..=what).for_each(|_| good(&pool, &mut seen, index)),
                3..=6 => (3..=what).for_each(|_| bad(&pool, &mut seen, index)),
                7 => {
                    seen[index] = Seen::default();
                    pool.states[index].count(1, 0);
                    pool.answer_at(index, "/", 2_000_000, now);
                }
                8 => pool.medians[index] = if pool.medians[index] > 5_000 { 5_000 } else { 2_000_000 },
                9..=10 => _ = pool.evaluate(now),
                11..=12 => claimed.extend(pool.claim(now % 2 == 0, now)),
                13 => pool.shared.panicked(now),
                _ => if let Some(index) = claimed.pop() {
                    match now % 3 {
                        0 => {}
                        1 => good(&pool, &mut seen, index),
                        _ => bad(&pool, &mut seen, index),
                    }
                    pool.shared.released(&pool, index, now);
                }
            }
            let out = pool.out();
            let most = if cap > 0.0 { ((cap * count as f64 + 1e-6) as usize).max(1) } else { 0 };
            prop_assert!(out.len() <= most && out.len() < count, "{} of {count} are out, {most} may be", out.len());
            let dead: Vec<usize> = (0..count).filter(|i| !out.contains(i) && seen[*i].bad >= 5).collect();
            let well: Vec<usize> = out.iter().copied().filter(|i| seen[*i].good >= 3).collect();
            prop_assert!(dead.is_empty() || well.is_empty(), "step {step}: {well:?} are out, {dead:?} are in: {seen:?}");
        }
    }

    /// Over any history: never more out than may be, never the last, an ejection no longer than the longest, and whoever
    /// is out is tried again some time.
    #[test]
    fn no_history_empties_a_pool_or_forgets_an_endpoint(
        count in 1usize..9,
        steps in proptest::collection::vec((0u64..800, 0usize..9, 0u8..7), 1..300),
    ) {
        let pool = Pool::of(count);
        let mut now = 1_000;
        let mut claimed = Vec::new();
        for (wait, index, what) in steps {
            now += wait;
            let index = index % count;
            match what {
                0..=2 => { let _ = pool.fail(index, now); }
                3 => { pool.good_at(index, "/", now); pool.states[index].count(3, 1); }
                4 => { let _ = pool.evaluate(now); }
                5 => claimed.extend(pool.claim(now % 2 == 0, now)),
                _ => if let Some(index) = claimed.pop() {
                    match now % 3 { 0 => pool.shared.released(&pool, index, now), n => pool.probed(index, n == 1, now) }
                }
            }
            let out = pool.out().len();
            prop_assert!(out <= (0.7 * count as f64) as usize && out < count);
        }
        claimed.into_iter().for_each(|index| pool.shared.released(&pool, index, now));
        now += Duration::from_secs(80).as_millis() as u64;
        while let Some(index) = pool.claim(false, now) {
            pool.probed(index, true, now);
            now += 1;
        }
        prop_assert_eq!(pool.out(), Vec::<usize>::new());
    }
}
