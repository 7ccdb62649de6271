use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One answer of a history: what was asked for, how long it took, what came, and what is to be done.
struct Row {
    asked: u64,
    took: Duration,
    index: Option<u64>,
    changed: bool,
    verdict: Verdict,
}

const fn row(asked: u64, took: u64, index: Option<u64>, changed: bool, verdict: Verdict) -> Row {
    Row { asked, took: ms(took), index, changed, verdict }
}

const fn rest(n: u64) -> Verdict {
    Verdict::Use(ms(n))
}

const AGAIN: Verdict = Verdict::ReadAgain(Duration::ZERO);

fn holds(name: &str, history: &[Row]) {
    // Full reads have a test of their own.
    let mut blocking = Blocking::new(Rules { full_reread: ms(3_600_000), ..Rules::default() });
    let mut now = Instant::now();
    for (at, row) in history.iter().enumerate() {
        let ask = blocking.ask(now);
        assert_eq!(ask.index, row.asked, "{name}, read {at}: index asked for");
        let answer = Answer { index: row.index, changed: row.changed };
        let verdict = blocking.answered(ask, answer, now, now + row.took);
        assert_eq!(verdict, row.verdict, "{name}, read {at}: verdict");
        let (Verdict::Use(rest) | Verdict::ReadAgain(rest)) = verdict;
        now += row.took + rest;
    }
}

#[test]
fn the_first_read_does_not_block_and_the_next_waits_past_its_index() {
    holds(
        "plain",
        &[
            row(0, 1, Some(7), true, rest(49)),
            row(7, 9_000, Some(9), true, rest(0)),
            row(9, 2, Some(10), true, rest(48)),
        ],
    );
}

#[test]
fn an_index_of_zero_or_none_counts_as_one() {
    holds(
        "zero",
        &[
            row(0, 1, Some(0), true, rest(49)),
            row(1, 60_000, Some(0), false, rest(0)),
            row(1, 60_000, None, false, rest(0)),
        ],
    );
}

#[test]
fn an_index_that_goes_back_is_read_again_at_once_without_blocking() {
    holds(
        "backwards",
        &[
            row(0, 50, Some(700), true, rest(0)),
            row(700, 50, Some(12), true, AGAIN),
            row(0, 50, Some(12), true, rest(0)),
            row(12, 60_000, Some(12), false, rest(0)),
        ],
    );
}

#[test]
fn two_servers_with_indexes_of_their_own_do_not_make_a_busy_loop() {
    let mut history = vec![row(0, 0, Some(700), true, rest(50))];
    for gap in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
        history.push(row(700, 0, Some(12), false, AGAIN));
        history.push(row(0, 0, Some(700), false, rest(gap)));
    }
    holds("two servers", &history);
}

#[test]
fn answers_that_come_at_once_and_unchanged_slow_it_down_and_a_change_brings_it_back() {
    holds(
        "racing index",
        &[
            row(0, 0, Some(1), true, rest(50)),
            row(1, 0, Some(2), false, rest(100)),
            row(2, 0, Some(3), false, rest(200)),
            row(3, 0, Some(4), false, rest(400)),
            row(4, 0, Some(5), false, rest(800)),
            row(5, 0, Some(6), false, rest(1_000)),
            row(6, 0, Some(7), false, rest(1_000)),
            row(7, 0, Some(8), true, rest(50)),
            row(8, 0, Some(9), false, rest(100)),
            row(9, 60_000, Some(9), false, rest(0)),
            row(9, 0, Some(10), false, rest(100)),
        ],
    );
}

#[test]
fn changes_in_a_row_are_followed_every_fifty_milliseconds() {
    let history: Vec<_> = (0..100).map(|n| row(n, 0, Some(n + 1), true, rest(50))).collect();
    holds("rolling restart", &history);
}

#[test]
fn a_failure_makes_the_next_read_one_that_does_not_block() {
    let mut blocking = Blocking::new(Rules::default());
    let now = Instant::now();
    let ask = blocking.ask(now);
    blocking.answered(ask, Answer { index: Some(900), changed: true }, now, now);
    assert_eq!(blocking.ask(now).index, 900);
    blocking.failed();
    assert_eq!(blocking.ask(now).index, 0);
    // A server that came back with an index far below is believed.
    let ask = blocking.ask(now);
    assert_eq!(blocking.answered(ask, Answer { index: Some(3), changed: true }, now, now), rest(50));
    assert_eq!(blocking.ask(now).index, 3);
}

#[test]
fn everything_is_read_anew_once_per_period() {
    let mut blocking = Blocking::new(Rules { full_reread: ms(300_000), ..Rules::default() });
    let start = Instant::now();
    let mut now = start;
    let mut full = Vec::new();
    while now < start + ms(1_000_000) {
        let ask = blocking.ask(now);
        let took = if ask.index == 0 { ms(0) } else { ask.wait };
        if ask.index == 0 {
            full.push(now - start);
        }
        let answer = Answer { index: Some(5), changed: false };
        let (Verdict::Use(rest) | Verdict::ReadAgain(rest)) = blocking.answered(ask, answer, now, now + took);
        now += took + rest;
    }
    assert_eq!(full.len(), 4, "{full:?}");
}

#[test]
fn the_socket_outlives_the_wait_and_its_jitter() {
    let mut blocking = Blocking::new(Rules { wait: ms(160_000), ..Rules::default() });
    let now = Instant::now();
    assert_eq!(blocking.ask(now).timeout, ms(10_000));
    let ask = blocking.ask(now);
    blocking.answered(ask, Answer { index: Some(5), changed: true }, now, now);
    assert_eq!(blocking.ask(now).timeout, ms(160_000 + 10_000 + 10_000));
}

#[test]
fn a_wait_stays_within_consuls_bounds() {
    let wait = |wait| Blocking::new(Rules { wait, ..Rules::default() }).ask(Instant::now()).wait;
    assert_eq!(wait(Duration::ZERO), ms(1));
    assert_eq!(wait(Duration::MAX), ms(600_000));
}

proptest! {
    /// Whatever indexes a server makes up, and however fast.
    #[test]
    fn no_history_makes_it_loop(history in proptest::collection::vec((any::<Option<u64>>(), any::<bool>(), 0u64..200), 1..400)) {
        let mut blocking = Blocking::new(Rules::default());
        let start = Instant::now();
        let mut now = start;
        let mut last_again = false;
        for (index, changed, took) in &history {
            let ask = blocking.ask(now);
            let back = now + ms(*took);
            match blocking.answered(ask, Answer { index: *index, changed: *changed }, now, back) {
                Verdict::Use(rest) => {
                    prop_assert!(rest <= ms(1_000));
                    prop_assert!(ms(*took) + rest >= ms(50));
                    now = back + rest;
                    last_again = false;
                }
                Verdict::ReadAgain(rest) => {
                    prop_assert!(!last_again, "two steps back in a row");
                    prop_assert_eq!(blocking.ask(back).index, 0);
                    now = back + rest;
                    last_again = true;
                }
            }
        }
        // At most two reads for each 50 ms.
        prop_assert!(now - start >= ms(50) * (history.len() as u32 / 2));
    }

    /// The index asked for is 0 or the last one that was answered, never below 1 once answered.
    #[test]
    fn it_waits_only_on_an_index_that_the_server_gave(history in proptest::collection::vec((0u64..5, any::<bool>(), any::<bool>()), 1..100)) {
        let mut blocking = Blocking::new(Rules::default());
        let mut now = Instant::now();
        let mut last = 0;
        for (index, changed, fails) in history {
            let ask = blocking.ask(now);
            prop_assert!(ask.index == 0 || ask.index == last);
            if fails {
                blocking.failed();
                now += ms(1);
                continue;
            }
            blocking.answered(ask, Answer { index: Some(index), changed }, now, now);
            last = index.max(1);
            now += ms(1);
        }
    }
}
