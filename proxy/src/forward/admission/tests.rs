use std::pin::Pin;
use std::time::Duration;

use super::*;
use crate::config::settings::Priority;
use crate::resilience::limit::Limiter;
use crate::testing::{Stage, paused};

const MS: Duration = Duration::from_millis(1);
const ONE: &str = "services: { orders: { instances: ['127.0.0.1:1'],
  limit: { max_in_flight: 1, queue: 2, queue_timeout: 100ms, adaptive: false } } }";
const NO_QUEUE: &str = "services: { orders: { instances: ['127.0.0.1:1'],
  limit: { max_in_flight: 1, queue: 0, adaptive: false } } }";
const PER_CALLER: Option<Bulkhead> = Some(Bulkhead::PerCaller(5));

async fn worth(side: &WorkerCluster, bulkhead: Option<Bulkhead>, priority: Priority) -> Result<Admitted, Reason> {
    admit(side, bulkhead, |_| b"somebody".to_vec(), Ask { priority, deadline: None }, timer::now()).await
}

async fn enter(side: &WorkerCluster) -> Result<Admitted, Reason> {
    worth(side, PER_CALLER, Priority::Default).await
}

/// Whether it has come to a point at which it waits.
async fn waits<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// In flight, waiting, and callers that hold a place.
fn held(side: &WorkerCluster) -> (u32, u32, usize) {
    let status = side.gate.borrow().status();
    (status.in_flight, status.queued, side.cluster.shared.limits.bulkheads().callers())
}

#[test]
fn who_waits_goes_on_when_a_place_is_free_and_its_time_begins_then() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let first = enter(&side).await.unwrap();
        let start = timer::now();
        let mut second = Box::pin(enter(&side));
        assert!(waits(&mut second).await);
        assert_eq!(held(&side), (1, 1, 1));
        tokio::time::sleep(50 * MS).await;
        assert!(waits(&mut second).await);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(second.since() - start, 50 * MS);
        assert_eq!(held(&side), (1, 0, 1));
        drop(second);
        assert_eq!(held(&side), (0, 0, 0));
    });
}

#[test]
fn who_waits_for_too_long_is_told_so_and_holds_nothing_any_more() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let first = enter(&side).await.unwrap();
        let start = timer::now();
        assert_eq!(enter(&side).await.unwrap_err(), Reason::QueueTimeout);
        let took = timer::now() - start;
        assert!(took >= 100 * MS && took <= 100 * MS + 2 * RECHECK, "{took:?}");
        assert_eq!(held(&side), (1, 0, 1));
        drop(first);
        assert_eq!(held(&side), (0, 0, 0));
        drop(enter(&side).await.unwrap());
    });
}

#[test]
fn who_goes_away_while_waiting_gives_up_its_place_in_line() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let first = enter(&side).await.unwrap();
        let (mut gone, mut stays) = (Box::pin(enter(&side)), Box::pin(enter(&side)));
        assert!(waits(&mut gone).await && waits(&mut stays).await);
        drop(gone);
        assert_eq!(held(&side), (1, 1, 1));
        drop(first);
        drop(stays.await.unwrap());
        assert_eq!(held(&side), (0, 0, 0));
    });
}

/// Between being given a pass and being polled again lies time enough for a client to go away.
#[test]
fn who_goes_away_with_its_pass_in_hand_leaves_it_to_the_next() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let first = enter(&side).await.unwrap();
        let (mut gone, mut next) = (Box::pin(enter(&side)), Box::pin(enter(&side)));
        assert!(waits(&mut gone).await && waits(&mut next).await);
        drop(first);
        assert_eq!(held(&side), (1, 1, 1), "the pass is with the first in line");
        drop(gone);
        // At once: no look of its own is needed.
        let start = timer::now();
        let next = next.await.unwrap();
        assert_eq!(timer::now(), start);
        drop(next);
        assert_eq!(held(&side), (0, 0, 0));
    });
}

#[test]
fn who_is_pushed_out_of_the_line_is_told_at_once() {
    paused(async {
        let side = Stage::new(&ONE.replace("queue: 2", "queue: 1"), 1).side("orders");
        let first = enter(&side).await.unwrap();
        let mut sheddable = Box::pin(worth(&side, None, Priority::Sheddable));
        assert!(waits(&mut sheddable).await);
        let mut critical = Box::pin(worth(&side, None, Priority::Critical));
        assert!(waits(&mut critical).await);
        let start = timer::now();
        assert_eq!(sheddable.await.unwrap_err(), Reason::LimitReached);
        assert_eq!(timer::now(), start);
        drop(first);
        drop(critical.await.unwrap());
        assert_eq!(held(&side), (0, 0, 0));
    });
}

/// A place that another worker leaves becomes free without a word to this one.
#[test]
fn a_place_that_another_worker_leaves_is_found() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let limit = &side.cluster.policy.limit;
        let mut other: Limiter<()> = Limiter::new(&side.cluster.shared.limits, limit, 1, timer::now());
        let ask = Ask { priority: Priority::Default, deadline: None };
        let Entry::Now(pass) = other.enter(ask, || (), timer::now()) else { panic!("no place") };
        let mut waiting = Box::pin(enter(&side));
        assert!(waits(&mut waiting).await);
        tokio::time::sleep(20 * MS).await;
        assert!(waits(&mut waiting).await);
        other.end(pass);
        let start = timer::now();
        drop(waiting.await.unwrap());
        assert!(timer::now() - start <= 2 * RECHECK, "{:?}", timer::now() - start);
    });
}

#[test]
fn a_place_in_a_bulkhead_is_free_again_whatever_becomes_of_a_request() {
    paused(async {
        let side = Stage::new(NO_QUEUE, 1).side("orders");
        let first = worth(&side, None, Priority::Default).await.unwrap();
        assert_eq!(enter(&side).await.unwrap_err(), Reason::LimitReached);
        assert_eq!(held(&side).2, 0, "refused by the limit");
        drop(first);
        drop(enter(&side).await.unwrap());
        assert_eq!(held(&side).2, 0, "served");

        let side = Stage::new(ONE, 1).side("orders");
        let _first = worth(&side, None, Priority::Default).await.unwrap();
        let mut waiting = Box::pin(enter(&side));
        assert!(waits(&mut waiting).await);
        assert_eq!(held(&side).2, 1, "waiting");
        drop(waiting);
        assert_eq!(held(&side).2, 0, "gone while it waited");
        assert_eq!(enter(&side).await.unwrap_err(), Reason::QueueTimeout);
        assert_eq!(held(&side).2, 0, "waited for too long");
    });
}

#[test]
fn a_full_bulkhead_refuses_before_the_line_and_takes_no_place_in_it() {
    paused(async {
        let side = Stage::new(ONE, 1).side("orders");
        let one = Some(Bulkhead::PerCaller(1));
        let first = worth(&side, one, Priority::Default).await.unwrap();
        assert_eq!(worth(&side, one, Priority::Critical).await.unwrap_err(), Reason::BulkheadFull);
        assert_eq!(held(&side), (1, 0, 1));
        drop(first);
        assert_eq!(held(&side), (0, 0, 0));
    });
}
