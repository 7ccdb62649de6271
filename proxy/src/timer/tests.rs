use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::testing::paused;

const SECOND: Duration = Duration::from_secs(1);

/// How long it takes a timer that stands at `standing` to reach `deadline`.
fn takes(standing: Duration, deadline: Duration) -> Duration {
    paused(async {
        let start = now();
        let timer = Timer::new(start + standing);
        poll_fn(|cx| timer.poll(cx, start + deadline)).await;
        now() - start
    })
}

/// The runtime's wheel turns in milliseconds.
fn is_about(taken: Duration, wanted: Duration) -> bool {
    taken >= wanted && taken <= wanted + Duration::from_millis(2)
}

#[test]
fn a_timer_that_stands_too_late_is_moved() {
    assert!(is_about(takes(100 * SECOND, 2 * SECOND), 2 * SECOND));
}

#[test]
fn a_timer_that_stands_too_early_goes_off_for_nobody() {
    assert!(is_about(takes(SECOND, 5 * SECOND), 5 * SECOND));
}

#[test]
fn a_timer_serves_one_deadline_after_the_other() {
    paused(async {
        let start = now();
        let timer = Timer::new(start + SECOND);
        for seconds in [3, 3, 7, 20] {
            poll_fn(|cx| timer.poll(cx, start + seconds * SECOND)).await;
            assert!(is_about(now() - start, seconds * SECOND), "{seconds}: {:?}", now() - start);
        }
    });
}

#[test]
fn what_has_passed_is_ready_at_once() {
    paused(async {
        let start = now();
        let timer = Timer::new(start + 10 * SECOND);
        tokio::time::advance(SECOND).await;
        poll_fn(|cx| timer.poll(cx, start)).await;
        assert!(is_about(now() - start, SECOND));
    });
}
