use proptest::prelude::*;

use super::*;

/// As soon as twenty have failed.
const RULES: Breaker = Breaker {
    enabled: true,
    consecutive: 20,
    silence: std::time::Duration::ZERO,
    probe_every: std::time::Duration::from_millis(100),
};

fn get(path: &str) -> Shape {
    Shape::of(b"GET", path.as_bytes())
}

fn root() -> Shape {
    get("/")
}

fn open(now: u64) -> CircuitBreaker {
    let breaker = CircuitBreaker::default();
    (0..20).for_each(|_| {
        let _ = breaker.failed(&RULES, root(), now, now);
    });
    assert!(breaker.is_open());
    breaker
}

#[test]
fn twenty_failures_in_a_row_open_it_and_nineteen_do_not() {
    let breaker = CircuitBreaker::default();
    for round in 0..100 {
        for _ in 0..19 {
            assert!(!breaker.failed(&RULES, root(), 1 + round, 1 + round));
        }
        assert_eq!(breaker.admit(&RULES, root(), 1 + round), Admission::Pass);
        breaker.succeeded(root, 1 + round, 1 + round);
    }
    assert!((0..20).any(|_| breaker.failed(&RULES, root(), 200, 200)));
    assert_eq!(breaker.admit(&RULES, root(), 201), Admission::Refused);
}

#[test]
fn a_dead_service_gets_a_trickle() {
    let breaker = open(1_000);
    let passed = (1_000..11_000).filter(|now| {
        let passed = breaker.admit(&RULES, root(), *now) == Admission::Probe;
        if passed {
            breaker.failed(&RULES, root(), *now, *now);
        }
        passed
    });
    assert_eq!(passed.count(), 99, "one in a tenth of a second, for ten seconds");
    assert_eq!(breaker.status(11_000).open_for, Some(10_000));
}

#[test]
fn it_is_half_open_from_the_first_success_until_it_closes_or_fails_again() {
    let breaker = open(1_000);
    assert!(!breaker.status(1_000).half_open);
    assert!(!breaker.succeeded(root, 2_000, 2_000));
    assert!(breaker.status(2_000).half_open);
    breaker.failed(&RULES, root(), 2_001, 2_001);
    assert!(!breaker.status(2_001).half_open, "it failed again");
    let closed = (0..3).map(|_| breaker.succeeded(root, 3_000, 3_000)).last();
    assert_eq!((closed, breaker.status(3_000).half_open), (Some(true), false));
}

#[test]
fn a_service_that_is_back_is_open_to_all_within_a_second() {
    let breaker = open(1_000);
    let back = 5_000;
    // Every millisecond a request, each answered two milliseconds later.
    let mut due = Vec::new();
    for now in back..back + 1_000 {
        if breaker.admit(&RULES, root(), now) != Admission::Refused {
            due.push(now + 2);
        }
        due.iter().filter(|at| **at == now).for_each(|_| {
            let _ = breaker.succeeded(root, now, now);
        });
        if !breaker.is_open() {
            assert!(now < back + 200, "only after {} ms", now - back);
            assert_eq!(breaker.admit(&RULES, root(), now), Admission::Pass);
            return;
        }
    }
    panic!("it never closed");
}

#[test]
fn one_good_answer_of_a_service_that_falls_over_again_does_not_close_it() {
    let breaker = open(1_000);
    breaker.succeeded(root, 2_000, 2_000);
    breaker.failed(&RULES, root(), 2_010, 2_010);
    assert!(breaker.is_open());
    assert_eq!(breaker.admit(&RULES, root(), 2_100), Admission::Refused);
    assert_eq!(breaker.admit(&RULES, root(), 2_110), Admission::Probe);
}

#[test]
fn what_was_under_way_before_a_change_says_nothing_of_after() {
    let breaker = open(1_000);
    (0..5).for_each(|_| assert!(!breaker.succeeded(root, 900, 1_500)));
    assert!(breaker.is_open(), "late successes have closed it");
    (0..3).for_each(|n| _ = breaker.succeeded(root, 2_000 + n, 2_010 + n));
    assert!(!breaker.is_open());
    // The timeouts of when it hung.
    (0..50).for_each(|_| assert!(!breaker.failed(&RULES, root(), 900, 2_500)));
    assert!(!breaker.is_open());
}

#[test]
fn switched_off_it_never_refuses() {
    let off = Breaker { enabled: false, ..RULES };
    let breaker = CircuitBreaker::default();
    (0..100).for_each(|_| assert!(!breaker.failed(&off, root(), 1, 1)));
    assert_eq!(breaker.admit(&off, root(), 1), Admission::Pass);
}

proptest! {
    /// Whatever comes: it refuses only after twenty failures without a success between them, and while it is open
    /// no more than a trickle passes.
    #[test]
    fn it_opens_only_on_a_row_and_lets_no_more_than_a_trickle_through(
        steps in proptest::collection::vec((0u64..40, 0u8..8), 1..400),
    ) {
        let breaker = CircuitBreaker::default();
        let (mut now, mut row, mut last_probe) = (1_000u64, 0u32, 0u64);
        for (wait, what) in steps {
            now += wait;
            match what {
                0 => { breaker.succeeded(root, now, now); if !breaker.is_open() { row = 0 } }
                1..=5 => { let opened = breaker.failed(&RULES, root(), now, now); row += 1; prop_assert!(!opened || row >= 20); }
                _ => match breaker.admit(&RULES, root(), now) {
                    Admission::Pass => prop_assert!(!breaker.is_open()),
                    Admission::Refused => prop_assert!(row >= 20),
                    Admission::Probe => { prop_assert!(now >= last_probe + SOON); last_probe = now; }
                },
            }
        }
    }
}

#[test]
fn nothing_is_dead_that_was_answered_within_the_last_second() {
    let rules = Breaker::default();
    let breaker = CircuitBreaker::default();
    // One item in a hundred is answered, so that no shape is known to fail alone; all of it comes to sixty rows of a hundred.
    for now in 1_000..7_000u64 {
        match now % 100 {
            0 => _ = breaker.succeeded(root, now, now),
            _ => assert!(!breaker.failed(&rules, root(), now, now), "at {now}"),
        }
    }
    let opened = (7_000..9_000u64).find(|now| breaker.failed(&rules, root(), *now, *now));
    assert_eq!(opened, Some(7_901), "a second after the first failure that followed the last good answer");
}

#[test]
fn a_page_that_fails_alone_opens_nothing_however_seldom_others_are_asked_for() {
    let rules = Breaker::default();
    let breaker = CircuitBreaker::default();
    breaker.failed(&rules, get("/bad"), 1_000, 1_000);
    breaker.succeeded(root, 1_001, 1_001);
    for now in 1_002..61_000u64 {
        match now % 5_000 {
            1 => _ = breaker.succeeded(root, now, now),
            _ => assert!(!breaker.failed(&rules, get("/bad"), now, now), "at {now}"),
        }
    }
    // When the others fail as well, it is over.
    let dead = (61_000..63_000u64).find(|now| breaker.failed(&rules, root(), *now, *now));
    assert!(dead.is_some_and(|now| now <= 62_000), "{dead:?}");
}

#[test]
fn what_failed_alone_is_heard_again_once_nobody_is_answered() {
    let breaker = CircuitBreaker::default();
    breaker.failed(&RULES, get("/bad"), 1_000, 1_000);
    breaker.succeeded(root, 1_001, 1_001);
    let opened = (1_002..20_000).find(|now| breaker.failed(&RULES, get("/bad"), *now, *now));
    assert_eq!(opened, Some(1_001 + HEARD_AGAIN + 19));
}

#[test]
fn who_has_not_failed_is_not_refused_by_what_others_have() {
    let breaker = CircuitBreaker::default();
    (0..20).for_each(|n| _ = breaker.failed(&RULES, get("/bad"), 1_000 + n, 1_000 + n));
    assert!(breaker.is_open());
    assert!((1_020..1_100).all(|now| breaker.admit(&RULES, get("/bad"), now) == Admission::Refused));
    assert!((1_020..1_100).all(|now| breaker.admit(&RULES, root(), now) == Admission::Pass));
    assert!(breaker.refuses(|| get("/bad")) && !breaker.refuses(root));
    // Until it has.
    breaker.failed(&RULES, root(), 1_100, 1_100);
    assert_eq!(breaker.admit(&RULES, root(), 1_101), Admission::Refused);
    assert_eq!(breaker.admit(&RULES, root(), 1_119), Admission::Probe);
}

#[test]
fn a_page_that_goes_on_failing_does_not_keep_a_service_that_is_back_from_the_others() {
    let breaker = CircuitBreaker::default();
    let pages = [get("/bad"), root()];
    (0..40).for_each(|n| _ = breaker.failed(&RULES, pages[n as usize % 2], 1_000 + n, 1_000 + n));
    assert!(breaker.is_open());
    // From here on `/` is well. A hundred and fifty times as many ask for the other.
    let mut passed = 0;
    let back = (2_000..3_000u64).find(|now| {
        for _ in 0..150 {
            if breaker.admit(&RULES, pages[0], *now) != Admission::Refused {
                passed += 1;
                breaker.failed(&RULES, pages[0], *now, *now);
            }
        }
        breaker.admit(&RULES, pages[1], *now) != Admission::Refused && breaker.succeeded(root, *now, *now)
    });
    assert!(back.is_some_and(|now| now < 2_300), "{back:?}");
    assert!(passed < 10, "{passed} of the bad page's were let through");
}

#[test]
fn a_request_that_made_no_attempt_leaves_the_trickle_to_the_next() {
    let breaker = open(1_000);
    assert_eq!(breaker.admit(&RULES, root(), 1_100), Admission::Probe);
    assert_eq!(breaker.admit(&RULES, root(), 1_101), Admission::Refused);
    breaker.give_back(root(), 1_102);
    assert_eq!(breaker.admit(&RULES, root(), 1_102), Admission::Probe);
    assert_eq!(breaker.admit(&RULES, root(), 1_103), Admission::Refused);
}

/// Pages of which no two have the same shape's place.
const PAGES: [&str; 6] = ["/", "/bad", "/worse", "/users", "/items", "/search"];

proptest! {
    /// Whatever fails by its page, how often it is asked for and how it is interleaved: nobody else is ever refused.
    #[test]
    fn what_fails_by_its_page_never_costs_another_page_a_request(
        bad in 1usize..6,
        steps in proptest::collection::vec((0u64..3_000, 0usize..6, 1u32..60), 1..300),
    ) {
        let rules = Breaker::default();
        let breaker = CircuitBreaker::default();
        let mut now = 1_000u64;
        for (wait, page, times) in steps {
            now += wait;
            let shape = get(PAGES[page]);
            for _ in 0..times {
                now += 1;
                let admitted = breaker.admit(&rules, shape, now);
                if page >= bad {
                    if admitted != Admission::Refused {
                        breaker.failed(&rules, shape, now, now);
                    }
                } else {
                    prop_assert_ne!(admitted, Admission::Refused, "{} at {}", PAGES[page], now);
                    breaker.succeeded(|| shape, now, now);
                }
            }
        }
    }

    /// And as long as anything is answered once a second, nothing opens at all.
    #[test]
    fn no_interleaving_of_failures_with_a_good_answer_a_second_opens_it(
        steps in proptest::collection::vec((0u64..60, 0usize..6), 1..2_000),
    ) {
        let rules = Breaker::default();
        let breaker = CircuitBreaker::default();
        let (mut now, mut good) = (1_000u64, 1_000u64);
        for (wait, page) in steps {
            now += wait;
            if now - good >= 900 {
                breaker.succeeded(|| get(PAGES[page]), now, now);
                good = now;
            }
            prop_assert!(!breaker.failed(&rules, get(PAGES[page]), now, now), "at {now}");
        }
    }

    /// Whatever was before, an outage of everything opens it: a second and twenty failures after it began, or, of what had
    /// failed alone before, ten seconds and twenty.
    #[test]
    fn a_total_outage_always_opens_it_and_three_good_answers_close_it(
        before in proptest::collection::vec((0u64..500, 0usize..6, any::<bool>()), 0..200),
        asked in proptest::collection::vec(0usize..6, 1..20),
    ) {
        let rules = Breaker::default();
        let breaker = CircuitBreaker::default();
        let mut now = 1_000u64;
        for (wait, page, good) in before {
            now += wait;
            let shape = get(PAGES[page]);
            if breaker.admit(&rules, shape, now) == Admission::Refused {
                continue;
            }
            match good {
                true => _ = breaker.succeeded(|| shape, now, now),
                false => _ = breaker.failed(&rules, shape, now, now),
            }
        }
        let began = now;
        let mut turn = asked.iter().cycle();
        while !breaker.is_open() {
            now += 1;
            breaker.failed(&rules, get(PAGES[*turn.next().unwrap()]), now, now);
            prop_assert!(now <= began + HEARD_AGAIN + 200, "still closed");
        }
        let back = now + 1_000;
        now = back;
        while breaker.is_open() {
            now += 1;
            let shape = get(PAGES[*turn.next().unwrap()]);
            if breaker.admit(&rules, shape, now) != Admission::Refused {
                breaker.succeeded(|| shape, now, now);
            }
            prop_assert!(now < back + 500, "still open");
        }
    }
}
