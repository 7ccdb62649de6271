//! The promises of both balancers, on simulated pools.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Instant;

/// By their places in the pool.
fn built(kind: Balance, weights: &[u32], seed: u64) -> Box<dyn LoadBalancer> {
    build(kind, weights, &|index| index as u64, seed)
}

mod ramps;

const KINDS: [Balance; 2] = [Balance::P2c, Balance::RoundRobin];

/// A pool whose loads and usability a test sets, and that counts what it is asked.
struct Pool {
    loads: Vec<f64>,
    usable: Vec<bool>,
    asked: Cell<usize>,
}

impl Pool {
    fn of(len: usize) -> Self {
        Self { loads: vec![1.0; len], usable: vec![true; len], asked: Cell::new(0) }
    }

    fn only(len: usize, usable: impl Fn(usize) -> bool) -> Self {
        Self { usable: (0..len).map(usable).collect(), ..Self::of(len) }
    }

    /// How many of `picks` each candidate gets.
    fn counts(&self, balancer: &dyn LoadBalancer, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.loads.len()];
        for _ in 0..picks {
            counts[balancer.pick(self).unwrap()] += 1;
        }
        counts
    }
}

impl Candidates for Pool {
    fn load(&self, index: usize) -> Load {
        self.asked.set(self.asked.get() + 1);
        Load { latency: self.loads[index], in_flight: 0, weight: 1.0 }
    }

    fn usable(&self, index: usize) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.usable[index]
    }
}

fn assert_shares(counts: &[usize], weights: &[u32], tolerance: f64) {
    let (picks, total): (usize, u64) = (counts.iter().sum(), weights.iter().map(|weight| u64::from(*weight)).sum());
    for (index, (count, weight)) in counts.iter().zip(weights).enumerate() {
        let expected = picks as f64 * f64::from(*weight) / total as f64;
        let error = (*count as f64 - expected).abs() / expected;
        assert!(error <= tolerance, "candidate {index} of {weights:?}: {count} picks where {expected:.1} are due");
    }
}

#[test]
fn weights_are_exact_within_one_percent_over_100_000_picks() {
    let pools: [&[u32]; 8] = [
        &[1],
        &[1, 1],
        &[3, 1],
        &[5, 1, 1],
        &[100, 1],
        &[7, 11, 13, 17],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[65_535, 30_000, 1_000, 700],
    ];
    for kind in KINDS {
        for weights in pools {
            for seed in 0..5 {
                let balancer = built(kind, weights, seed);
                let counts = Pool::of(weights.len()).counts(&*balancer, 100_000);
                assert_shares(&counts, weights, 0.01);
            }
        }
    }
}

#[test]
fn weights_hold_within_one_percent_with_a_thousand_endpoints() {
    // Shares of a few hundred picks leave a low-discrepancy sequence two or three picks of error: summed over
    // the endpoints of one weight, as an operator would look at two versions of a service.
    let weights: Vec<u32> = (0..1_000).map(|index| if index % 3 == 0 { 5 } else { 2 }).collect();
    for kind in KINDS {
        let counts = Pool::of(1_000).counts(&*built(kind, &weights, 9), 100_000);
        let heavy: usize = counts.iter().step_by(3).sum();
        assert_shares(&[heavy, 100_000 - heavy], &[334 * 5, 666 * 2], 0.01);
        for (count, weight) in counts.iter().zip(&weights) {
            let due = 100_000.0 * f64::from(*weight) / 3_002.0;
            assert!((*count as f64 - due).abs() <= 4.0, "{count} picks where {due} are due");
        }
    }
}

#[test]
fn round_robin_is_exact_over_each_turn() {
    let weights = vec![1; 10_000];
    let counts = Pool::of(10_000).counts(&RoundRobin::new(&weights, 4), 100_000);
    assert!(counts.iter().all(|count| *count == 10));
    let weights = [5, 1, 3];
    let counts = Pool::of(3).counts(&RoundRobin::new(&weights, 4), 9 * 1_000);
    assert_eq!(counts, [5_000, 1_000, 3_000]);
}

#[test]
fn a_heavy_endpoint_does_not_get_its_share_in_one_burst() {
    let weights = [50, 50, 50, 50];
    let turn = |weights: &[u32]| {
        let (pool, balancer) = (Pool::of(weights.len()), RoundRobin::new(weights, 1));
        (0..1_000).map(|_| balancer.pick(&pool).unwrap()).collect::<Vec<_>>()
    };
    assert!(turn(&weights).windows(2).all(|pair| pair[0] != pair[1]), "equal endpoints take turns");
    // 49 of 100 apart from one another in at least every other pick, so hardly ever thrice in a row.
    let run = turn(&[49, 17, 34]);
    assert!(run.windows(4).all(|four| four.iter().any(|index| *index != four[0])), "{run:?}");
}

#[test]
fn workers_do_not_march_in_step() {
    let weights = [1; 8];
    for kind in KINDS {
        let firsts: Vec<usize> = (0..200).map(|seed| built(kind, &weights, seed).pick(&Pool::of(8)).unwrap()).collect();
        for index in 0..8 {
            let count = firsts.iter().filter(|first| **first == index).count();
            assert!((5..=60).contains(&count), "{count} of 200 workers start at {index}");
        }
    }
}

#[test]
fn equally_good_endpoints_keep_their_weights_under_noise() {
    // Latencies that differ by tens of percent from one request to the next.
    let weights = [3, 1, 2];
    let mut noise = fastrand::Rng::with_seed(5);
    let balancer = P2c::new(&weights, 5);
    let mut pool = Pool::of(3);
    let mut counts = vec![0; 3];
    for _ in 0..100_000 {
        for load in &mut pool.loads {
            *load = 1.0 + 0.9 * noise.f64();
        }
        counts[balancer.pick(&pool).unwrap()] += 1;
    }
    assert_shares(&counts, &weights, 0.01);
}

#[test]
fn a_clearly_loaded_endpoint_is_avoided_by_two_choices_and_not_by_round_robin() {
    let mut pool = Pool::of(4);
    pool.loads[2] = 10.0;
    assert!(pool.counts(&P2c::new(&[1; 4], 3), 10_000)[2] < 200);
    assert_shares(&pool.counts(&RoundRobin::new(&[1; 4], 3), 10_000), &[1; 4], 0.01);
}

#[test]
fn what_an_unusable_endpoint_would_have_had_falls_on_all_others_by_weight() {
    let weights = [4, 1, 3, 2, 1];
    for kind in KINDS {
        let pool = Pool::only(5, |index| index != 0);
        let counts = pool.counts(&*built(kind, &weights, 11), 100_000);
        assert_eq!(counts[0], 0);
        assert_shares(&counts[1..], &weights[1..], 0.03);
    }
}

#[test]
fn the_few_usable_of_a_large_pool_share_evenly() {
    let usable = |index: usize| index % 1_000 < 2;
    for kind in KINDS {
        let counts = Pool::only(5_000, usable).counts(&*built(kind, &vec![1; 5_000], 2), 10_000);
        let taken: Vec<usize> = counts.into_iter().enumerate().filter(|(i, _)| usable(*i)).map(|(_, n)| n).collect();
        assert_eq!(taken.iter().sum::<usize>(), 10_000);
        // Neighbours that are usable together: a plain scan would give the first of each pair nearly everything.
        assert!(taken.iter().all(|count| (700..1_300).contains(count)), "{taken:?}");
    }
}

#[test]
fn stale_loads_raise_no_stampede() {
    // One endpoint of ten looks idle, and goes on looking idle: the news of its load do not arrive.
    let mut pool = Pool::of(10);
    for load in pool.loads.iter_mut().skip(1) {
        *load = 50.0;
    }
    let counts = pool.counts(&P2c::new(&[1; 10], 8), 10_000);
    assert!(counts[0] <= 2_100, "{counts:?}");
    assert!(counts[0] >= 1_800, "{counts:?}");
}

/// Endpoints that take a time of their own, and one worker's estimates of them, on simulated time.
struct Service {
    estimates: Vec<Ewma>,
    in_flight: RefCell<Vec<u32>>,
    now: Cell<Instant>,
}

impl Candidates for Service {
    fn load(&self, index: usize) -> Load {
        let latency = self.estimates[index].value(self.now.get()).max(ewma::FLOOR_US);
        Load { latency, in_flight: self.in_flight.borrow()[index], weight: 1.0 }
    }

    fn usable(&self, _: usize) -> bool {
        true
    }
}

impl Service {
    fn new(len: usize, now: Instant) -> Self {
        let estimates = (0..len).map(|_| Ewma::new(None, now)).collect();
        Self { estimates, in_flight: RefCell::new(vec![0; len]), now: Cell::new(now) }
    }

    /// One request each `every` for `seconds`; how many went where. None from `latency` is a failure, at once.
    fn run(
        &self,
        balancer: &dyn LoadBalancer,
        every: Duration,
        seconds: u64,
        latency: impl Fn(usize) -> Option<Duration>,
    ) -> Vec<usize> {
        let mut counts = vec![0; self.estimates.len()];
        let mut running: Vec<(Instant, usize, Duration)> = Vec::new();
        let end = self.now.get() + Duration::from_secs(seconds);
        while self.now.get() < end {
            let now = self.now.get();
            running.retain(|(done, index, took)| {
                if *done <= now {
                    self.in_flight.borrow_mut()[*index] -= 1;
                    self.estimates[*index].observe(*took, *done);
                }
                *done > now
            });
            if let Some(typical) = ewma::typical(self.estimates.iter(), now) {
                self.estimates.iter().for_each(|one| one.suppose(typical.as_secs_f64() * 1e6));
            }
            let index = balancer.pick(self).unwrap();
            counts[index] += 1;
            match latency(index) {
                Some(took) => {
                    self.in_flight.borrow_mut()[index] += 1;
                    running.push((now + took, index, took));
                }
                None => self.estimates[index].penalise(now),
            }
            self.now.set(now + every);
        }
        counts
    }
}

#[test]
fn a_recovered_endpoint_is_used_again() {
    let ms = Duration::from_millis;
    let service = Service::new(3, Instant::now());
    let balancer = P2c::new(&[1; 3], 1);
    let slow = service.run(&balancer, ms(5), 30, |index| Some(if index == 0 { ms(2_000) } else { ms(5) }));
    assert!(slow[0] < 60, "a slow endpoint goes on being used: {slow:?}");
    service.run(&balancer, ms(5), 90, |_| Some(ms(5)));
    let after = service.run(&balancer, ms(5), 10, |_| Some(ms(5)));
    assert_shares(&after, &[1; 3], 0.15);
}

#[test]
fn an_endpoint_that_fails_at_once_attracts_nothing_and_comes_back() {
    let ms = Duration::from_millis;
    let service = Service::new(3, Instant::now());
    let balancer = P2c::new(&[1; 3], 1);
    let failing = service.run(&balancer, ms(2), 60, |index| (index != 1).then_some(ms(5)));
    // A third of 30,000 would be its share: it is tried two or three times a second.
    assert!(failing[1] < 300, "a failing endpoint goes on being used: {failing:?}");
    service.run(&balancer, ms(2), 70, |_| Some(ms(5)));
    let after = service.run(&balancer, ms(2), 10, |_| Some(ms(5)));
    assert_shares(&after, &[1; 3], 0.15);
}

#[test]
fn a_new_endpoint_neither_starves_nor_is_flooded() {
    let ms = Duration::from_millis;
    for latency in [ms(1), ms(40), ms(800)] {
        let now = Instant::now();
        let mut service = Service::new(4, now);
        service.run(&P2c::new(&[1; 4], 1), ms(3), 30, |_| Some(latency));
        let now = service.now.get();
        let in_flight: u32 = service.in_flight.borrow().iter().sum();
        let typical = ewma::typical(service.estimates.iter(), now);
        service.estimates.push(Ewma::new(typical, now));
        service.in_flight.borrow_mut().push(in_flight / 4);
        let balancer = P2c::new(&[1; 5], 1);
        // The four others' answers that were under way are counted, but never come: only what is new matters.
        let mut first = vec![0; 5];
        for _ in 0..500 {
            first[balancer.pick(&service).unwrap()] += 1;
        }
        assert!((60..=210).contains(&first[4]), "at {latency:?}: {first:?}");
    }
}

#[test]
fn what_a_pick_asks_for_does_not_grow_with_the_pool() {
    for kind in KINDS {
        let asked = |len: usize, usable: fn(usize) -> bool| {
            let pool = Pool::only(len, usable);
            pool.counts(&*built(kind, &vec![1; len], 6), 10_000);
            pool.asked.get() as f64 / 10_000.0
        };
        assert!(asked(10_000, |_| true) <= 6.0);
        assert!(asked(10_000, |index| index % 2 == 0) <= 12.0);
        assert!(asked(10_000, |_| true) <= asked(10, |_| true) * 1.5);
    }
}

#[test]
fn picks_per_second_do_not_depend_on_the_pool() {
    let time = |kind, len: usize| {
        let (pool, balancer) = (Pool::of(len), built(kind, &vec![1; len], 6));
        (0..5)
            .map(|_| {
                let start = Instant::now();
                pool.counts(&*balancer, 20_000);
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    for kind in KINDS {
        let (small, large) = (time(kind, 10), time(kind, 10_000));
        // A thousand times the endpoints; ten times leaves room for caches and for a busy machine.
        assert!(large < small * 10, "{kind:?}: {small:?} with 10 endpoints, {large:?} with 10,000");
    }
}

#[test]
fn what_is_in_flight_counts_where_it_is_no_chance() {
    let load = |in_flight, weight| Load { latency: 5_000.0, in_flight, weight };
    for (own, other, is_above) in [
        (load(1, 1.0), load(0, 1.0), false),
        (load(4, 1.0), load(0, 1.0), false),
        (load(20, 1.0), load(0, 1.0), true),
        (load(8, 1.8), load(0, 0.2), false),
        (load(1, 0.2), load(0, 1.8), false),
        (load(6, 0.2), load(2, 1.8), true),
        (load(90, 1.8), load(10, 0.2), false),
        (load(600, 1.0), load(300, 1.0), false),
        (load(620, 1.0), load(300, 1.0), true),
        (load(0, 1.0), load(0, 1.0), false),
    ] {
        assert_eq!(own.yields_to(&other) > 0.0, is_above, "{own:?} and {other:?}");
    }
}

#[test]
fn a_turn_goes_elsewhere_the_more_surely_the_less_doubt_there_is() {
    let load = |latency| Load { latency, in_flight: 0, weight: 1.0 };
    let yields = [1.0, 0.51, 0.5, 0.375, 0.25, 0.01].map(|other| load(10.0).yields_to(&load(10.0 * other)));
    assert_eq!(yields[..3], [0.0; 3]);
    assert_eq!(yields[3], 0.5);
    assert!(yields[4..].iter().all(|yields| *yields >= 1.0), "{yields:?}");
}

#[test]
fn an_empty_pool_has_nothing_to_pick() {
    for kind in KINDS {
        assert_eq!(built(kind, &[], 1).pick(&Pool::of(0)), None);
    }
}

proptest! {
    #[test]
    fn a_pick_is_usable_and_is_found_if_there_is_one(
        pool in proptest::collection::vec((0u32..1_000, proptest::bool::weighted(0.1)), 0..80),
        seed: u64,
    ) {
        let weights: Vec<u32> = pool.iter().map(|(weight, _)| *weight).collect();
        for kind in KINDS {
            let balancer = built(kind, &weights, seed);
            let candidates = Pool::only(pool.len(), |index| pool[index].1);
            for _ in 0..20 {
                match balancer.pick(&candidates) {
                    Some(index) => prop_assert!(pool[index].1),
                    None => prop_assert!(pool.iter().all(|(_, usable)| !usable)),
                }
            }
        }
    }

    #[test]
    fn shares_follow_any_weights(weights in proptest::collection::vec(1u32..200, 1..20), seed: u64) {
        let total: u32 = weights.iter().sum();
        for kind in KINDS {
            let counts = Pool::of(weights.len()).counts(&*built(kind, &weights, seed), 20_000);
            for (count, weight) in counts.iter().zip(&weights) {
                let due = 20_000.0 * f64::from(*weight) / f64::from(total);
                prop_assert!((*count as f64 - due).abs() <= 6.0, "{kind:?}: {count} picks where {due} are due");
            }
        }
    }

    #[test]
    fn load_never_gives_an_endpoint_much_more_than_twice_its_share(
        loads in proptest::collection::vec(0.001f64..1_000.0, 5..12),
        seed: u64,
    ) {
        let len = loads.len();
        let pool = Pool { loads, ..Pool::of(len) };
        let counts = pool.counts(&P2c::new(&vec![1; len], seed), 20_000);
        prop_assert!(counts.iter().all(|count| (*count as f64) < 2.1 * 20_000.0 / len as f64), "{counts:?}");
    }
}
