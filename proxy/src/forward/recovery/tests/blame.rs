//! Who pays for what: an attempt that was not made costs nothing, and what is nobody's fault is held against nobody.

use super::*;
use crate::worker::cluster::Case;

/// Time enough for whatever would be started beside an attempt.
const LONG: Duration = Duration::from_millis(150);
const NONSENSE: &[u8] = b"HTTP/1.1 nonsense\r\n\r\n";

fn one(keys: &str) -> Stage {
    Stage::new(&format!("services: {{ orders: {{ instances: ['127.0.0.1:1'], idle_timeout: 10m, {keys} }} }}"), 1)
}

fn tokens(stage: &Stage) -> f64 {
    stage.side("orders").cluster.shared.budget.balance().tokens
}

/// Failures in a row, of the whole service.
fn row(stage: &Stage) -> u32 {
    stage.side("orders").cluster.shared.breaker.status(1).row
}

/// Whether anything of this endpoint is known to fail.
fn is_clean(stage: &Stage, index: usize) -> bool {
    !in_trouble(stage, index)
}

#[test]
fn a_slow_try_beside_which_nobody_is_left_costs_no_retry() {
    paused(async {
        let stage = one("per_try_timeout: 100ms, hedge: off, retries: { max: 2 }");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        for answer in [DOWN, DOWN, OK] {
            asked(&mut ends).await;
            tokio::time::sleep(LONG).await;
            ends[0].write_all(answer).await.unwrap();
        }
        assert_eq!(answer(&mut client, 2).await.1, "ok", "both retries were there when they were needed");
    });
}

#[test]
fn an_attempt_that_is_not_made_costs_no_token() {
    paused(async {
        // What there is, is all that there may be.
        let stage = one("per_try_timeout: 100ms, hedge: off, retries: { budget: 1%, min_per_second: 1 }");
        let before = tokens(&stage);
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        asked(&mut ends).await;
        tokio::time::sleep(LONG).await;
        ends[0].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
        assert_eq!(tokens(&stage), before);
    });
}

#[test]
fn a_retry_that_its_client_did_not_wait_for_costs_no_token() {
    paused(async {
        let stage = one("per_try_timeout: off, hedge: off, retries: { budget: 1%, min_per_second: 1 }");
        let before = tokens(&stage);
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        asked(&mut ends).await;
        ends[0].write_all(b"HTTP/1.1 503 Down\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        tokio::time::sleep(LONG).await;
        assert!(tokens(&stage) < before, "it was to be paid for");
        drop(client);
        tokio::time::sleep(LONG).await;
        assert!(tokens(&stage) >= before, "{} of {before}", tokens(&stage));
    });
}

#[test]
fn a_failure_beside_which_another_attempt_is_under_way_costs_no_retry() {
    paused(async {
        let stage = orders("per_try_timeout: 100ms, hedge: off, retries: { max: 2 }");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        let (second, _) = asked(&mut ends).await;
        // Two attempts, of three that it may have: the first fails, and then the one beside it.
        ends[first].write_all(DOWN).await.unwrap();
        tokio::time::sleep(MS).await;
        ends[second].write_all(DOWN).await.unwrap();
        let (third, _) = asked(&mut ends).await;
        ends[third].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
    });
}

#[test]
fn an_upgrade_is_never_raced() {
    paused(async {
        let stage = orders("per_try_timeout: 100ms");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        let start = timer::now();
        let upgrade = b"GET /cart HTTP/1.1\r\nHost: orders\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(upgrade).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        let raced = tokio::time::timeout(20 * LONG, asked(&mut ends)).await;
        assert!(raced.is_err(), "{raced:?}");
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        ends[first].write_all(switching).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(timer::now() - start, 20 * LONG);
    });
}

#[test]
fn an_answer_that_breaks_a_rule_is_held_against_who_gave_it_only_where_another_one_is_clean() {
    let large = [b"HTTP/1.1 302 Found\r\nLocation: /", &[b'a'; 33_000][..], b"\r\nContent-Length: 0\r\n\r\n"].concat();
    for broken in [NONSENSE, &large] {
        paused(async {
            let stage = orders("per_try_timeout: off, hedge: off");
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(LOOPBACK);
            client.write_all(GET).await.unwrap();
            let (first, _) = asked(&mut ends).await;
            let mut other = ends.remove(1 - first);
            ends[0].write_all(broken).await.unwrap();
            head(&mut other).await;
            other.write_all(OK).await.unwrap();
            assert_eq!(answer(&mut client, 2).await.1, "ok");
            assert_eq!((is_clean(&stage, first), is_clean(&stage, 1 - first)), (false, true));
            assert_eq!(row(&stage), 0, "the service answers");
        });
        paused(async {
            let stage = orders("per_try_timeout: off, hedge: off");
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(LOOPBACK);
            client.write_all(GET).await.unwrap();
            let (first, _) = asked(&mut ends).await;
            let mut other = ends.remove(1 - first);
            ends[0].write_all(broken).await.unwrap();
            head(&mut other).await;
            other.write_all(broken).await.unwrap();
            assert!(head(&mut client).await.starts_with("HTTP/1.1 502 "));
            assert_eq!((is_clean(&stage, 0), is_clean(&stage, 1), row(&stage)), (true, true, 0));
        });
    }
}

#[test]
fn a_caller_that_leaves_no_time_for_an_answer_blames_nobody() {
    for (deadline, blames) in [("1", false), ("99", false), ("1500", true)] {
        paused(async {
            let stage = orders("per_try_timeout: off, hedge: off");
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(LOOPBACK);
            let request = format!("GET /cart HTTP/1.1\r\nHost: orders\r\nX-Request-Deadline: {deadline}\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let (index, _) = asked(&mut ends).await;
            assert!(head(&mut client).await.starts_with("HTTP/1.1 504 "));
            assert_eq!((in_trouble(&stage, index), row(&stage) > 0), (blames, blames), "{deadline} ms");
        });
    }
}

#[test]
fn who_closes_on_a_client_that_has_stopped_sending_is_not_blamed() {
    paused(async {
        let stage = orders("per_try_timeout: off, hedge: off");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client
            .write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 100\r\n\r\nhalf of it")
            .await
            .unwrap();
        let (index, _) = asked(&mut ends).await;
        tokio::time::sleep(LONG).await;
        ends.remove(index);
        assert!(head(&mut client).await.starts_with("HTTP/1.1 502 "));
        assert_eq!((is_clean(&stage, index), row(&stage)), (true, 0));
    });
}

#[test]
fn a_token_that_is_refused_is_not_given_back() {
    paused(async {
        let stage = one("retries: { budget: 1%, min_per_second: 0 }");
        let side = stage.side("orders");
        let rules = &side.cluster.policy.breaker;
        let case = Case { worker: &stage.worker, request: None, route: None, rules };
        assert_eq!(tokens(&stage), 0.0);
        assert!((0..10).all(|_| side.withdraw(false, &case, timer::now()).is_none()));
        assert_eq!(tokens(&stage), 0.0);
    });
}
