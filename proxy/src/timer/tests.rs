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

#[test]
fn a_timer_goes_off_for_whoever_polled_it_last() {
    struct Flag(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    paused(async {
        let flags = [(); 2].map(|()| std::sync::Arc::new(Flag(false.into())));
        let start = now();
        let timer = Timer::new(start + SECOND);
        for at in [0, 1, 1, 0, 1] {
            let waker = std::sync::Arc::clone(&flags[at]).into();
            assert!(timer.poll(&mut Context::from_waker(&waker), start + SECOND).is_pending());
        }
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(flags.map(|flag| flag.0.load(std::sync::atomic::Ordering::Relaxed)), [false, true]);
    });
}

#[test]
fn a_timer_goes_off_although_its_task_had_no_budget_left_when_it_was_asked_for() {
    paused(async {
        let start = now();
        let timer = Timer::new(start + SECOND);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                while has_budget_remaining() {
                    assert!(std::pin::pin!(tokio::task::consume_budget()).poll(cx).is_ready());
                }
            }
            timer.poll(cx, start + SECOND)
        })
        .await;
        assert!(is_about(now() - start, SECOND));
        assert_eq!(polls, 3, "it went to sleep once the runtime knew it");
    });
}
