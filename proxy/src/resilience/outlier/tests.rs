mod pools;

use std::time::Duration;

use super::*;

struct Pool {
    states: Vec<OutlierState>,
    medians: Vec<u64>,
    /// Where they are not like the medians.
    quarters: Option<Vec<u64>>,
    shared: PoolState,
    rules: Outlier,
}

fn get(path: &str) -> Shape {
    Shape::of(b"GET", path.as_bytes())
}

impl Members for Pool {
    fn count(&self) -> usize {
        self.states.len()
    }

    fn state(&self, index: usize) -> &OutlierState {
        &self.states[index]
    }

    fn median_us(&self, index: usize) -> u64 {
        self.medians[index]
    }

    fn quarter_us(&self, index: usize) -> u64 {
        self.quarters.as_ref().map_or(self.medians[index], |quarters| quarters[index])
    }
}

impl Pool {
    fn of(count: usize) -> Self {
        let states = (0..count).map(|_| OutlierState::default()).collect();
        Self {
            states,
            medians: vec![0; count],
            quarters: None,
            shared: PoolState::default(),
            rules: Outlier::default(),
        }
    }

    fn fail(&self, index: usize, now: u64) -> bool {
        self.fail_at(index, "/", now)
    }

    fn fail_at(&self, index: usize, path: &str, now: u64) -> bool {
        let failure = Failure { shape: get(path), trouble: 1, begun: now };
        let held = self.shared.failed(self, index, &self.rules, failure, now, 0.5);
        held.changes.iter().any(|change| matches!(change, Change::Out(out, _) if *out == index))
    }

    fn good_at(&self, index: usize, path: &str, now: u64) {
        self.answer_at(index, path, 5_000, now);
    }

    /// What a worker does with a good answer.
    fn answer_at(&self, index: usize, path: &str, took_us: u64, now: u64) {
        if self.states[index].is_out() {
            let answer = GoodAnswer { shape: get(path), took_us, begun: now };
            self.shared.answered(self, index, &self.rules, answer, now, 0.5);
        } else {
            self.states[index].succeeded(|| get(path), now);
        }
    }

    fn good(&self, index: usize, now: u64) {
        self.good_at(index, "/", now);
    }

    fn fail_row(&self, index: usize, now: u64) -> bool {
        (0..self.rules.consecutive).any(|_| self.fail(index, now))
    }

    fn claim(&self, repeatable: bool, now: u64) -> Option<usize> {
        self.shared.claim_probe(self, &self.rules, repeatable, now, |_| true)
    }

    /// The request that tries an endpoint has an outcome.
    fn probed(&self, index: usize, good: bool, now: u64) {
        match good {
            true => self.good(index, now),
            false => _ = self.fail(index, now),
        }
        self.shared.released(self, index, now);
    }

    /// Requests that try an endpoint, all answered well, until it is back. How many it took.
    fn comes_back(&self, index: usize, now: u64) -> usize {
        let mut requests = 0;
        while self.states[index].is_out() {
            assert_eq!(self.claim(true, now), Some(index));
            self.probed(index, true, now);
            requests += 1;
        }
        requests
    }

    fn out(&self) -> Vec<usize> {
        (0..self.count()).filter(|i| self.states[*i].is_out()).collect()
    }

    fn evaluate(&self, now: u64) -> usize {
        self.shared.evaluate(self, &self.rules, now, 0.5).len()
    }
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let pool = Pool::of(3);
    for _ in 0..50 {
        (0..4).for_each(|_| assert!(!pool.fail(0, 1_000)));
        pool.good_at(0, "/", 1_000);
    }
    assert!(pool.fail_row(0, 1_000));
    assert_eq!(pool.out(), [0]);
    assert_eq!(pool.states[0].standing(1_200), EjectionState::Out { left: 800, cause: Cause::Consecutive });
}

#[test]
fn never_more_than_the_share_and_never_the_last() {
    for (count, most) in [(1, 0), (2, 1), (3, 2), (5, 3), (10, 7)] {
        let pool = Pool::of(count);
        // The last one is good all the time.
        (0..count.max(2) - 1).for_each(|i| {
            let _ = pool.fail_row(i.min(count - 1), 1_000);
        });
        assert_eq!(pool.out().len(), most, "of {count}");
    }
}

#[test]
fn an_error_that_all_endpoints_share_ejects_none() {
    let pool = Pool::of(5);
    for round in 0..100 {
        (0..5).for_each(|i| {
            let _ = pool.fail(i, 1_000 + round);
        });
    }
    assert_eq!(pool.out(), [0; 0]);
}

#[test]
fn a_part_of_errors_that_all_endpoints_share_ejects_none() {
    let pool = Pool::of(5);
    let mut random = fastrand::Rng::with_seed(3);
    let mut ejected = 0;
    for now in 1_000..61_000u64 {
        let index = random.usize(0..5);
        if random.f64() < 0.3 {
            pool.states[index].count(0, 1);
            // The first second is without a past to compare with.
            ejected += usize::from(pool.fail(index, now) && now > 2_000);
        } else {
            pool.states[index].count(1, 0);
            pool.good_at(index, "/", now);
        }
        pool.evaluate(now);
        if let Some(index) = pool.claim(true, now) {
            pool.probed(index, true, now);
        }
    }
    assert_eq!(ejected, 0);
}

#[test]
fn one_that_fails_half_of_its_requests_is_ejected_by_its_share() {
    let pool = Pool::of(5);
    for second in 1..4u64 {
        (0..5).for_each(|i| pool.states[i].count(if i == 2 { 10 } else { 20 }, if i == 2 { 10 } else { 0 }));
        pool.evaluate(second * 1_000);
    }
    assert_eq!(pool.out(), [2]);
}

#[test]
fn one_that_is_ten_times_slower_than_its_peers_is_ejected_after_three_looks() {
    let mut pool = Pool::of(5);
    pool.medians = vec![10_000, 12_000, 2_000_000, 9_000, 11_000];
    for second in 1..=3u64 {
        assert_eq!(pool.out(), [0; 0]);
        (0..5).for_each(|i| pool.states[i].count(5, 0));
        pool.evaluate(second * 1_000);
    }
    assert_eq!(pool.out(), [2]);
    // Half of what it is asked for is quick, as with the others, and of the other half it has more.
    let mut pool = Pool::of(2);
    (pool.medians, pool.quarters) = (vec![1_000, 200_000], Some(vec![1_000, 1_000]));
    for second in 1..=9u64 {
        (0..2).for_each(|i| pool.states[i].count(5, 0));
        pool.evaluate(second * 1_000);
    }
    assert_eq!(pool.out(), [0; 0]);
    // Ten times nearly nothing is nothing.
    let mut pool = Pool::of(3);
    pool.medians = vec![300, 300, 30_000];
    for second in 1..=9u64 {
        (0..3).for_each(|i| pool.states[i].count(5, 0));
        pool.evaluate(second * 1_000);
    }
    assert_eq!(pool.out(), [0; 0]);
}

#[test]
fn one_request_tries_it_and_the_next_only_if_that_had_no_outcome() {
    let pool = Pool::of(3);
    pool.fail_row(0, 1_000);
    assert_eq!(pool.claim(true, 1_999), None);
    assert_eq!(pool.claim(true, 2_000), Some(0));
    assert_eq!(pool.claim(true, 2_001), None);
    assert_eq!(pool.states[0].standing(2_001), EjectionState::Probing);
    pool.shared.released(&pool, 0, 2_001);
    assert_eq!(pool.comes_back(0, 2_010), 3);
    assert_eq!((pool.out(), pool.states[0].returned()), (vec![], 2_010));
}

#[test]
fn a_request_that_cannot_be_sent_again_tries_it_only_when_no_other_came() {
    let pool = Pool::of(3);
    pool.fail_row(0, 1_000);
    assert_eq!(pool.claim(false, 2_999), None);
    assert_eq!(pool.claim(false, 3_000), Some(0));
}

#[test]
fn a_request_does_not_try_an_endpoint_that_it_has_been_to() {
    let pool = Pool::of(3);
    pool.fail_row(0, 1_000);
    assert_eq!(pool.shared.claim_probe(&pool, &pool.rules, true, 5_000, |i| i != 0), None);
    assert_eq!(pool.claim(true, 5_000), Some(0));
}

#[test]
fn each_failed_try_doubles_the_time_up_to_the_longest() {
    let pool = Pool::of(3);
    let mut now = 1_000;
    pool.fail_row(0, now);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let due = now + seconds * 1_000;
        assert_eq!((pool.claim(true, due - 1), pool.claim(true, due)), (None, Some(0)), "after {seconds} s");
        now = due;
        pool.probed(0, false, now);
    }
}

#[test]
fn one_that_was_good_for_a_while_begins_at_the_beginning() {
    let pool = Pool::of(3);
    pool.fail_row(0, 1_000);
    pool.claim(true, 2_000);
    pool.probed(0, false, 2_000);
    assert_eq!(pool.comes_back(0, 4_000), 3);
    // Bad again at once: twice as long as the last time, and twice as many good answers.
    pool.fail_row(0, 4_100);
    assert_eq!(pool.states[0].standing(4_100), EjectionState::Out { left: 4_000, cause: Cause::Consecutive });
    assert_eq!(pool.comes_back(0, 8_100), 6);
    let later = 8_100 + FORGIVEN_AFTER;
    pool.fail_row(0, later);
    assert_eq!(pool.states[0].standing(later), EjectionState::Out { left: 1_000, cause: Cause::Consecutive });
    assert_eq!(pool.comes_back(0, later + 1_000), 3);
}

#[test]
fn while_most_of_a_pool_is_out_it_is_tried_every_250_ms_and_one_success_makes_all_due() {
    let pool = Pool::of(5);
    (0..3).for_each(|i| {
        let _ = pool.fail_row(i, 10_000);
    });
    assert_eq!(pool.out(), [0, 1, 2]);
    let tried: Vec<u64> = (10_000..11_000)
        .filter(|now| {
            let claimed = pool.claim(true, *now);
            claimed.inspect(|i| pool.probed(*i, false, *now)).is_some()
        })
        .collect();
    assert!((4..=5).contains(&tried.len()), "{tried:?}");
    let now = 11_250;
    let index = pool.claim(true, now).unwrap();
    pool.probed(index, true, now);
    assert_eq!(pool.claim(true, now + 1), Some(index), "it has begun to answer");
    assert!(pool.claim(true, now + 1).is_some(), "the others are due at once");
}

#[test]
fn the_one_that_has_waited_longest_is_tried_and_not_the_first() {
    let pool = Pool::of(5);
    (0..3).for_each(|i| _ = pool.fail_row(i, 10_000));
    // The first is dead, the others are not: while most is out, each is tried in turn.
    let mut tried = Vec::new();
    for now in 10_000..11_500 {
        if let Some(index) = pool.claim(true, now) {
            tried.push(index);
            pool.probed(index, false, now);
        }
    }
    assert!((0..3).all(|i| tried.contains(&i)), "{tried:?}");
}

#[test]
fn one_that_was_slow_comes_back_only_when_it_is_not() {
    let mut pool = Pool::of(3);
    pool.medians = vec![10_000, 10_000, 2_000_000];
    for second in 1..=3u64 {
        (0..3).for_each(|i| pool.states[i].count(5, 0));
        pool.evaluate(second * 1_000);
    }
    assert_eq!(pool.out(), [2]);
    let tried = |now, took| {
        assert_eq!(pool.claim(true, now), Some(2));
        pool.answer_at(2, "/", took, now);
        pool.shared.released(&pool, 2, now);
        pool.out().is_empty()
    };
    assert!((0..9).all(|n| !tried(10_000 + n * 60_000, 1_500_000)), "it answered, as slowly as before");
    assert!(!tried(990_000, 12_000) && !tried(990_000, 12_000) && tried(990_000, 12_000));
}

#[test]
fn a_page_that_fails_at_every_endpoint_ejects_none_and_hides_no_dead_one() {
    for count in 2..8 {
        let pool = Pool::of(count);
        let mut random = fastrand::Rng::with_seed(count as u64);
        let mut ejected = Vec::new();
        for now in 1_000..31_000u64 {
            let index = random.usize(0..count);
            // Three of four are for the page.
            if random.f64() < 0.75 {
                pool.states[index].count(0, u64::from(!pool.shared.is_its_own(&pool, index, get("/bad"))));
                ejected.extend(pool.fail_at(index, "/bad", now).then_some(now));
            } else {
                pool.states[index].count(1, 0);
                pool.good_at(index, "/", now);
            }
            ejected.extend((pool.evaluate(now) > 0).then_some(now));
        }
        assert_eq!(ejected, [0; 0], "of {count}");
        // One of them dies, and the page goes on failing everywhere.
        let now = 31_000;
        (0..count).for_each(|i| pool.good_at(i, "/", now));
        let dies = (0..100).find(|n| pool.fail_at(0, if n % 2 == 0 { "/bad" } else { "/" }, now + n));
        assert_eq!(dies, Some(9), "of {count}: five of what it answered before");
    }
}

#[test]
fn one_that_fails_at_what_the_others_answer_is_ejected_by_its_share() {
    let pool = Pool::of(5);
    for now in 1_000..8_000u64 {
        let index = now as usize % 5;
        let bad = index == 2 && now % 10 < 7;
        pool.states[index].count(u64::from(!bad), u64::from(bad && !pool.shared.is_its_own(&pool, index, get("/x"))));
        match bad {
            true => assert!(!pool.fail_at(index, "/x", now) || now % 1_000 < 30, "it answers other things"),
            false => pool.good_at(index, "/", now),
        }
        pool.evaluate(now);
    }
    assert_eq!(pool.out(), [2]);
}

#[test]
fn one_that_answers_nothing_any_more_is_dead_whatever_failed_alone_before() {
    let pool = Pool::of(3);
    pool.fail_at(0, "/a", 1_000);
    pool.good_at(0, "/b", 1_001);
    let ejected = (1_002..5_000).find(|now| {
        pool.good_at(1, "/a", *now);
        pool.fail_at(0, "/a", *now)
    });
    assert_eq!(ejected, Some(1_001 + DEAD_AFTER + 4), "a second, and five in a row");
}

#[test]
fn what_is_not_an_endpoints_fault_does_not_count() {
    for reason in Reason::ALL.iter().copied().filter(|reason| reason.row().blame != Blame::Endpoint) {
        assert!(!counts(reason), "{reason:?}");
    }
    for reason in [Reason::ConnectFailed, Reason::Timeout, Reason::UpstreamStatus, Reason::UpstreamClosed] {
        assert!(counts(reason), "{reason:?}");
    }
}

#[test]
fn switched_off_nobody_is_ejected() {
    let mut pool = Pool::of(5);
    pool.rules.enabled = false;
    (0..50).for_each(|now| {
        let _ = pool.fail(0, 1_000 + now);
    });
    assert_eq!(pool.out(), [0; 0]);
}
