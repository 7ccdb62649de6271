use proptest::prelude::*;

use super::super::CLEARLY;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} is not {b}");
}

/// One that has lately given so many answers, each after `latency`, one each ten milliseconds.
fn known(latency: Duration, answers: u32, start: Instant) -> (Ewma, Instant) {
    let ewma = Ewma::new(None, start);
    (0..answers).for_each(|n| ewma.observe(latency, start + n * 10 * MS));
    (ewma, start + answers * 10 * MS)
}

#[test]
fn one_outlier_moves_nobody_and_an_endpoint_that_has_become_slow_is_seen_within_twelve_answers() {
    let (ewma, now) = known(5 * MS, 100, Instant::now());
    ewma.observe(500 * MS, now);
    assert!(ewma.value(now) < 6_000.0, "{}", ewma.value(now));
    let (ewma, mut now) = known(5 * MS, 100, Instant::now());
    for _ in 0..12 {
        ewma.observe(50 * MS, now);
        now += 10 * MS;
    }
    assert!(5_000.0 < ewma.value(now) * CLEARLY, "{}", ewma.value(now));
}

#[test]
fn the_first_answer_replaces_the_default_in_both_directions() {
    let start = Instant::now();
    for sample in [3, 100] {
        let ewma = Ewma::new(None, start);
        ewma.observe(sample * MS, start + MS);
        close(ewma.value(start + MS), f64::from(sample) * 1e3);
    }
}

#[test]
fn without_news_it_goes_back_to_what_is_typical_whether_read_or_not() {
    let start = Instant::now();
    let ((read, now), (unread, _)) = (known(800 * MS, 100, start), known(800 * MS, 100, start));
    for ewma in [&read, &unread] {
        ewma.suppose(5_000.0);
    }
    for ms in 0..20_000 {
        read.value(now + ms * MS - 10 * MS);
    }
    let then = now - 10 * MS + 2 * DECAY;
    close(read.value(then), 5_000.0 + 795_000.0 * (-2f64).exp());
    close(unread.value(then), 5_000.0 + 795_000.0 * (-2f64).exp());
}

#[test]
fn what_stands_on_a_few_samples_is_doubted_within_seconds() {
    let start = Instant::now();
    let ewma = Ewma::new(Some(5 * MS), start);
    ewma.observe(500 * MS, start);
    assert!(5_000.0 > ewma.value(start) * CLEARLY, "the first request may have been the one that took long");
    (0..4).for_each(|_| ewma.observe(500 * MS, start));
    assert!(5_000.0 < ewma.value(start) * CLEARLY);
    assert!(5_000.0 > ewma.value(start + Duration::from_secs(5)) * CLEARLY);
}

#[test]
fn one_that_is_tried_again_and_is_as_slow_as_ever_is_left_again_at_once() {
    let (ewma, now) = known(50 * MS, 100, Instant::now());
    ewma.suppose(5_000.0);
    let later = now + 3 * DECAY;
    assert!(ewma.value(later) < 10_000.0);
    ewma.observe(49 * MS, later);
    close(ewma.value(later), 49_000.0);
    let much_later = later + 3 * DECAY;
    ewma.observe(5 * MS, much_later);
    assert!(ewma.value(much_later) < 10_000.0, "it is as quick as the others now");
}

#[test]
fn one_failure_is_forgiven_and_two_are_not() {
    let (ewma, now) = known(5 * MS, 100, Instant::now());
    ewma.penalise(now);
    assert!(ewma.value(now) * CLEARLY <= 5_000.0);
    ewma.penalise(now);
    assert!(ewma.value(now) * CLEARLY > 5_000.0);
}

#[test]
fn failures_alone_keep_an_endpoint_away_for_no_longer_than_a_minute_or_so() {
    let start = Instant::now();
    let ewma = Ewma::new(None, start);
    for _ in 0..1_000 {
        ewma.penalise(start);
    }
    close(ewma.value(start), PENALTY_LIMIT_US);
    assert!(ewma.value(start + Duration::from_secs(70)) * CLEARLY <= FLOOR_US);
}

#[test]
fn one_that_was_never_heard_of_is_what_is_typical_times_its_failures() {
    let start = Instant::now();
    let ewma = Ewma::new(None, start);
    ewma.suppose(20_000.0);
    close(ewma.value(start), 20_000.0);
    ewma.penalise(start);
    close(ewma.value(start), 40_000.0);
    ewma.suppose(10_000.0);
    close(ewma.value(start), 20_000.0);
    ewma.observe(5 * MS, start);
    ewma.suppose(10_000.0);
    assert!(ewma.value(start) < 20_000.0, "what is known is not supposed");
}

#[test]
fn a_clock_that_seems_to_go_backwards_changes_nothing() {
    let start = Instant::now();
    let later = start + Duration::from_secs(5);
    let ewma = Ewma::new(None, later);
    ewma.observe(10 * MS, later);
    close(ewma.value(start), 10_000.0);
    ewma.observe(10 * MS, start);
    close(ewma.value(start), 10_000.0);
}

#[test]
fn typical_is_the_lower_median_of_those_that_have_answered() {
    let now = Instant::now();
    let pool: Vec<Ewma> = (0..5).map(|_| Ewma::new(Some(999 * MS), now)).collect();
    assert_eq!(typical(pool.iter(), now), None);
    let pool: Vec<Ewma> = (0..5).map(|_| Ewma::new(None, now)).collect();
    for (ewma, ms) in pool.iter().zip([7, 5_000, 9]) {
        ewma.observe(ms * MS, now);
    }
    assert_eq!(typical(pool.iter(), now), Some(9 * MS));
    assert_eq!(typical(pool[..2].iter(), now), Some(7 * MS));
}

proptest! {
    #[test]
    fn an_estimate_is_finite_and_not_negative(
        steps in proptest::collection::vec((0u8..5, 0u64..10_000_000, 0u64..100_000), 0..60),
    ) {
        let mut now = Instant::now();
        let ewma = Ewma::new(None, now);
        for (what, micros, wait) in steps {
            now += Duration::from_millis(wait);
            match what {
                0 => ewma.observe(Duration::from_micros(micros), now),
                1 => ewma.penalise(now),
                2 => ewma.outlast(Duration::from_micros(micros), now),
                3 => ewma.suppose(micros as f64),
                _ => drop(ewma.value(now)),
            }
            let value = ewma.value(now);
            prop_assert!(value.is_finite() && value >= 0.0);
        }
    }

    #[test]
    fn an_estimate_stays_between_the_lowest_and_the_highest_sample(
        samples in proptest::collection::vec((0u64..10_000_000, 0u64..30_000), 1..60),
    ) {
        let mut now = Instant::now();
        let ewma = Ewma::new(None, now);
        let (mut lowest, mut highest) = (FLOOR_US, FLOOR_US);
        for (micros, wait) in samples {
            now += Duration::from_millis(wait);
            ewma.observe(Duration::from_micros(micros), now);
            (lowest, highest) = (lowest.min(micros as f64), highest.max(micros as f64));
            let value = ewma.value(now);
            prop_assert!(value >= lowest * 0.999_999 && value <= highest * 1.000_001, "{value}");
        }
    }
}
