//! Who gets the requests: one worker's picks and what it learns from them, on simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::resilience::outlier::EjectionState;
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
        // Workers draw their seeds from the thread's: a share a little beyond chance comes again, or never.
        fastrand::seed(1);
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
        assert!(service.picked.iter().all(|picked| (18..=22).contains(picked)), "{:?}", service.picked);
        // The others have answered: it is taken for one of them, and not for the quickest.
        service.until(service.now + 21 * MS);
        (0..60).for_each(|_| _ = service.send(latency));
        assert!(service.picked[2] <= 44, "{:?}", service.picked);
        // It has been silent for four times as long as they take.
        service.until(service.now + 62 * MS);
        let before = service.picked[2];
        (0..50).for_each(|_| _ = service.send(latency));
        // Now and then nobody else is drawn as the second choice.
        assert!(service.picked[2] <= before + 3, "{:?}", service.picked);
    });
}

/// Who of three instances, of which the first was tried, is picked for a further attempt; each is picked at least once.
fn picked_beside(service: &Service) -> Vec<usize> {
    let mut tried = Tried::default();
    tried.add(service.side.upstreams[0].upstream.id);
    let pick = |_| service.side.pick(&tried, true, service.now).unwrap().index;
    let mut picked: Vec<usize> = (0..100).map(pick).collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

#[test]
fn a_further_attempt_goes_to_nobody_of_whom_something_bad_is_known_while_another_is_free() {
    paused(async {
        let known = || {
            let mut service = Service::of(&[1; 3]);
            service.open_loop(4 * MS, Duration::from_secs(2), |_| Some(10 * MS));
            service.until(service.now + 300 * MS);
            assert_eq!(picked_beside(&service), [1, 2]);
            service
        };
        let fails = |service: &Service| {
            let upstream = Rc::clone(&service.side.upstreams[1].upstream);
            let (started, why) = (service.now, Why::First);
            let info =
                AttemptInfo { upstream, index: 1, started, why, cause: why, number: 0, hedged: false, timed: false };
            let rules = &service.side.cluster.policy.breaker;
            let case = Case { worker: &service.stage.worker, request: None, route: None, rules };
            service.side.bad(&info, None, service.now, &case);
        };
        let mut service = known();
        fails(&service);
        assert_eq!(picked_beside(&service), [2], "its last news is bad");

        service = known();
        service.side.upstreams[1].upstream.wait(service.now);
        service.now += 25 * MS;
        assert_eq!(picked_beside(&service), [2], "it is silent");
        service.side.upstreams[2].upstream.wait(service.now);
        service.now += 25 * MS;
        assert_eq!(picked_beside(&service), [1, 2], "so are all");

        service = known();
        for _ in 0..30 {
            service.side.upstreams[1].upstream.answered(100 * MS, service.now);
        }
        assert_eq!(picked_beside(&service), [2], "it is slow");
    });
}

#[test]
fn nobody_hedges_with_an_instance_that_is_ejected() {
    paused(async {
        let service = Service::of(&[1; 2]);
        let mut tried = Tried::default();
        tried.add(service.side.upstreams[0].upstream.id);
        assert!(service.side.has_untried_in(&tried));
        service.side.cluster.endpoints[1].shared.outlier.put_out(u64::MAX);
        assert!(!service.side.has_untried_in(&tried) && service.side.has_untried(&tried));
    });
}

impl Service {
    /// An attempt at an instance, begun `ago`, of which nothing came; `overtaken`, or it failed.
    fn comes_to_nothing(&self, index: usize, ago: Duration, overtaken: bool, probe: Option<Probe<'_>>) {
        let upstream = Rc::clone(&self.side.upstreams[index].upstream);
        upstream.wait(self.now);
        let why = Why::First;
        let info = AttemptInfo {
            upstream,
            index,
            started: self.now - ago,
            why,
            cause: why,
            number: 0,
            hedged: false,
            timed: false,
        };
        let rules = &self.side.cluster.policy.breaker;
        let case = Case { worker: &self.stage.worker, request: None, route: None, rules };
        match overtaken {
            true => drop(self.side.overtaken(&info, probe, true, self.now, &case)),
            false => self.side.bad(&info, probe, self.now, &case),
        }
    }

    fn standing(&self, index: usize) -> EjectionState {
        self.side.cluster.endpoints[index].shared.outlier.standing(self.side.ms(self.now))
    }
}

#[test]
fn an_instance_that_is_only_overtaken_is_ejected_for_its_silence_and_one_that_fails_for_failures() {
    paused(async {
        for (overtaken, cause) in [(true, Cause::Silent), (false, Cause::Consecutive)] {
            let mut service = Service::of(&[1; 3]);
            service.open_loop(4 * MS, Duration::from_secs(2), |_| Some(10 * MS));
            // Something failed before, and was answered since.
            service.comes_to_nothing(1, 50 * MS, !overtaken, None);
            service.open_loop(4 * MS, Duration::from_secs(1), |_| Some(10 * MS));
            (0..5).for_each(|_| service.comes_to_nothing(1, 50 * MS, overtaken, None));
            assert!(
                matches!(service.standing(1), EjectionState::Out { cause: found, .. } if found == cause),
                "{:?} where {cause:?} is due",
                service.standing(1)
            );
            let failures = service.side.upstreams[1].upstream.own_failures();
            assert_eq!(failures, if overtaken { 0 } else { 5 }, "being overtaken is no failure");
        }
    });
}

#[test]
fn an_instance_that_was_silent_and_answers_too_late_is_out_for_its_latency_until_it_is_quick() {
    paused(async {
        let mut service = Service::of(&[1; 3]);
        service.open_loop(4 * MS, Duration::from_secs(2), |_| Some(10 * MS));
        service.side.cluster.endpoints.iter().for_each(|e| e.shared.median_us.store(10_000, Ordering::Relaxed));
        (0..5).for_each(|_| service.comes_to_nothing(1, 50 * MS, true, None));
        let mut causes = Vec::new();
        // It is overtaken twice more, then it answers after a second, then after ten milliseconds.
        for step in 0..12 {
            service.go_to(service.now + Duration::from_secs(70));
            if service.standing(1) == EjectionState::In {
                break;
            }
            let side = Rc::clone(&service.side);
            let pick = side.pick(&Tried::default(), true, service.now).unwrap();
            assert_eq!(pick.index, 1, "it is due");
            if step < 2 {
                service.comes_to_nothing(1, 50 * MS, true, pick.probe);
            } else {
                let took = if step == 2 { Duration::from_secs(1) } else { 10 * MS };
                let (upstream, why, started) = (pick.upstream, Why::First, service.now - took);
                upstream.wait(service.now);
                let info = AttemptInfo {
                    upstream,
                    index: 1,
                    started,
                    why,
                    cause: why,
                    number: 0,
                    hedged: false,
                    timed: false,
                };
                let case = Case {
                    worker: &service.stage.worker,
                    request: None,
                    route: None,
                    rules: &side.cluster.policy.breaker,
                };
                side.good(&info, pick.probe, took, service.now, &case);
            }
            if let EjectionState::Out { cause, .. } = service.standing(1) {
                causes.push(cause);
            }
        }
        assert_eq!(causes[..3], [Cause::Silent, Cause::Silent, Cause::Latency]);
        assert_eq!(service.standing(1), EjectionState::In);
    });
}
