//! Who gets the requests: one worker's picks and what it learns from them, on simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::testing::{Stage, paused};
use crate::timer;
use crate::upstream::InFlight;
use crate::worker::attempt_info::{AttemptInfo, Why};

const MS: Duration = Duration::from_millis(1);

/// Endpoints of one service that answer after a time of their own, or never.
struct Service {
    stage: Stage,
    side: Rc<WorkerCluster>,
    now: Instant,
    ticked: Instant,
    /// When the next answers come, and which of `attempts` they are.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    attempts: Vec<Option<(AttemptInfo, InFlight)>>,
    picked: Vec<usize>,
}

impl Service {
    fn of(weights: &[u32]) -> Self {
        let instances: Vec<String> =
            (1..).zip(weights).map(|(n, w)| format!("{{address: '127.0.0.1:{n}', weight: {w}}}")).collect();
        let stage = Stage::new(&format!("services: {{ orders: {{ instances: [{}] }} }}", instances.join(", ")), 1);
        let (side, now) = (stage.side("orders"), timer::now());
        let picked = vec![0; weights.len()];
        Self { stage, side, now, ticked: now, due: BinaryHeap::new(), attempts: Vec::new(), picked }
    }

    fn index_of(&self, port: u16) -> usize {
        usize::from(port) - 1
    }

    /// Sends a request. It is answered after `latency` of its endpoint; none for never.
    fn send(&mut self, latency: impl FnOnce(usize) -> Option<Duration>) -> usize {
        let pick = self.side.pick(&Tried::default(), true, self.now).unwrap();
        let (upstream, number) = (pick.upstream, self.attempts.len());
        let index = self.index_of(upstream.address.port());
        self.picked[index] += 1;
        upstream.wait(self.now);
        let in_flight = upstream.begin();
        let started = self.now;
        let info = AttemptInfo {
            upstream,
            index: pick.index,
            started,
            why: Why::First,
            number: 0,
            hedged: false,
            timed: false,
            cause: Why::First,
        };
        self.attempts.push(Some((info, in_flight)));
        if let Some(latency) = latency(index) {
            self.due.push(Reverse((self.now + latency, number)));
        }
        index
    }

    /// Goes on to the next answer. False where none comes.
    fn answer(&mut self) -> bool {
        let Some(Reverse((at, number))) = self.due.pop() else { return false };
        self.go_to(at);
        let (info, in_flight) = self.attempts[number].take().unwrap();
        let rules = &self.side.cluster.policy.breaker;
        let case = Case { worker: &self.stage.worker, request: None, route: None, rules };
        self.side.good(&info, None, at - info.started, at, &case);
        drop((info, in_flight));
        true
    }

    /// Takes in all answers until then.
    fn until(&mut self, then: Instant) {
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= then) {
            self.answer();
        }
        self.go_to(then);
    }

    fn go_to(&mut self, then: Instant) {
        self.now = then;
        if then - self.ticked >= 250 * MS {
            self.ticked = then;
            self.side.report(self.side.ms(then), then, 0.5);
        }
    }

    /// So many clients that send their next request when they have an answer.
    fn closed_loop(&mut self, clients: usize, requests: usize, mut latency: impl FnMut(usize) -> Duration) {
        for sent in 0..requests {
            if sent >= clients {
                assert!(self.answer());
            }
            self.send(|index| Some(latency(index)));
        }
        while self.answer() {}
    }

    /// One request each `every`, for `time`: how many went where.
    fn open_loop(
        &mut self,
        every: Duration,
        time: Duration,
        latency: impl Fn(usize) -> Option<Duration>,
    ) -> Vec<usize> {
        self.picked.fill(0);
        let end = self.now + time;
        while self.now < end {
            self.send(&latency);
            self.until(self.now + every);
        }
        self.picked.clone()
    }
}

/// How latencies are drawn that have a mean or a median of some five milliseconds.
type Draw = fn(&mut fastrand::Rng) -> f64;

const NOISES: [(&str, Draw); 5] = [
    ("constant", |_| 5.0),
    ("uniform", |random| 1.0 + 8.0 * random.f64()),
    ("exponential", |random| -5.0 * (1.0 - random.f64()).ln()),
    ("lognormal", |random| {
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        5.0 * normal.exp()
    }),
    ("bimodal", |random| if random.f64() < 0.1 { 60.0 } else { 3.0 }),
];

#[test]
fn while_instances_are_alike_weights_are_shares_at_any_concurrency() {
    paused(async {
        let pools: [&[u32]; 5] = [&[3, 1], &[9, 1], &[1, 1, 1], &[9, 1, 1], &[5, 3, 2]];
        let mut wrong = Vec::new();
        for (name, draw) in NOISES {
            for weights in pools {
                for clients in [1, 2, 4, 8, 16, 64] {
                    let mut random = fastrand::Rng::with_seed(clients as u64);
                    let mut service = Service::of(weights);
                    service.closed_loop(clients, 10_000, |_| Duration::from_secs_f64(draw(&mut random) / 1e3));
                    let whole: u32 = weights.iter().sum();
                    for (weight, got) in weights.iter().zip(&service.picked) {
                        let due = 10_000.0 * f64::from(*weight) / f64::from(whole);
                        if (*got as f64 - due).abs() > due * 0.05 {
                            wrong.push(format!("{name}, {clients} clients, {weights:?}: {:?}", service.picked));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn while_instances_are_alike_weights_are_shares_of_few_requests_too() {
    paused(async {
        // One in two seconds: what was learned of the light one is always old.
        let mut random = fastrand::Rng::with_seed(1);
        let mut service = Service::of(&[9, 1]);
        for _ in 0..10_000 {
            let latency = Duration::from_secs_f64(NOISES[2].1(&mut random) / 1e3);
            service.send(|_| Some(latency));
            service.until(service.now + Duration::from_secs(2));
        }
        assert!((950..=1_050).contains(&service.picked[1]), "{:?}", service.picked);
    });
}

#[test]
fn an_instance_that_has_become_ten_times_slower_loses_its_traffic_and_has_it_back_when_it_is_quick_again() {
    paused(async {
        let mut service = Service::of(&[1; 5]);
        let seconds = Duration::from_secs;
        let before = service.open_loop(4 * MS, seconds(5), |_| Some(5 * MS));
        assert!((240..=260).contains(&before[0]), "{before:?}");
        let slow = service.open_loop(4 * MS, seconds(20), |index| Some(if index == 0 { 50 * MS } else { 5 * MS }));
        assert!(slow[0] < 50, "a hundredth of 5,000: {slow:?}");
        service.open_loop(4 * MS, seconds(40), |_| Some(5 * MS));
        let after = service.open_loop(4 * MS, seconds(5), |_| Some(5 * MS));
        assert!(after[0] > 230, "{after:?}");
    });
}

#[test]
fn an_instance_that_is_slow_from_the_start_loses_its_traffic() {
    paused(async {
        let mut service = Service::of(&[1; 5]);
        let slow =
            service.open_loop(4 * MS, Duration::from_secs(20), |index| Some(if index == 0 { 50 * MS } else { 5 * MS }));
        assert!(slow[0] < 75, "{slow:?}");
    });
}

#[test]
fn an_instance_that_hangs_loses_its_traffic() {
    paused(async {
        for known in [0, 5] {
            let mut service = Service::of(&[1; 5]);
            service.open_loop(4 * MS, Duration::from_secs(known), |_| Some(5 * MS));
            let hung = service.open_loop(4 * MS, Duration::from_secs(20), |index| (index != 0).then_some(5 * MS));
            assert!(hung[0] < 25, "{hung:?}, known for {known} s");
        }
    });
}

#[test]
fn of_a_burst_at_the_start_no_more_than_its_share_goes_to_an_instance_that_does_not_answer() {
    paused(async {
        let mut service = Service::of(&[1; 3]);
        let latency = |index: usize| (index != 2).then_some(20 * MS);
        (0..60).for_each(|_| _ = service.send(latency));
        assert_eq!(service.picked, [20, 20, 20]);
        // The others have answered: it is taken for one of them, and not for the quickest.
        service.until(service.now + 21 * MS);
        (0..60).for_each(|_| _ = service.send(latency));
        assert!(service.picked[2] <= 41, "{:?}", service.picked);
        // It has been silent for three times as long as they take.
        service.until(service.now + 40 * MS);
        let before = service.picked[2];
        (0..50).for_each(|_| _ = service.send(latency));
        assert_eq!(service.picked[2], before);
    });
}
