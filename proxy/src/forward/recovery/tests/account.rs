//! What a request comes to in its service's account.

use super::*;
use crate::counts::Totals;

/// The service's account, as of now.
fn account(stage: &Stage) -> Totals {
    stage.worker.tick();
    let totals = stage.side("orders").cluster.shared.metrics.totals();
    assert!(totals.reconciles(), "{totals:?}");
    totals
}

/// The fates of the account that requests have, as labels, and how many have them.
fn fates(totals: &Totals) -> Vec<(&'static str, u64)> {
    totals.fates().into_iter().filter(|(_, requests)| *requests > 0).collect()
}

#[test]
fn a_first_attempt_that_was_overtaken_is_what_it_comes_to_within_its_last_chance() {
    const BROKEN: &[u8] = b"HTTP/9.9 200 OK\r\n\r\n";
    for (then, fate) in [
        (Some(OK), ("first_good", 1)),
        (Some(DOWN), ("rescued", 1)),
        (Some(BROKEN), ("rescued", 1)),
        (None, ("unknown", 1)),
    ] {
        paused(async {
            let Beside { stage, mut ends, mut client, first, second } = tried_beside().await;
            assert_eq!(account(&stage).in_flight, 1);
            ends[second].write_all(OK).await.unwrap();
            assert_eq!(answer(&mut client, 2).await.1, "ok");
            tokio::time::sleep(20 * MS).await;
            assert_eq!((account(&stage).in_flight, fates(&account(&stage))), (1, vec![]), "nobody knows yet");
            if let Some(then) = then {
                ends[first].write_all(then).await.unwrap();
                tokio::time::sleep(MS).await;
            } else {
                tokio::time::sleep(40 * MS).await;
            }
            let account = account(&stage);
            assert_eq!((account.started, account.in_flight, fates(&account)), (1, 0, vec![fate]));
            assert_eq!(account.rescued[crate::counts::Rescue::TryTimeout as usize], u64::from(fate.0 == "rescued"));
        });
    }
}

#[test]
fn a_slow_first_attempt_that_wins_in_the_end_is_a_good_one_whatever_became_of_the_others() {
    for others in [None, Some(DOWN)] {
        paused(async {
            let Beside { stage, mut ends, mut client, first, second } = tried_beside().await;
            if let Some(others) = others {
                ends[second].write_all(others).await.unwrap();
            }
            tokio::time::sleep(20 * MS).await;
            ends[first].write_all(OK).await.unwrap();
            assert_eq!(answer(&mut client, 2).await.1, "ok");
            tokio::time::sleep(100 * MS).await;
            assert_eq!(fates(&account(&stage)), [("first_good", 1)]);
        });
    }
}

#[test]
fn what_a_replay_of_a_retry_answers_was_rescued_by_the_retry() {
    paused(async {
        let stage = orders("retries: { max: 2 }");
        let mut spare = stage.side("orders").endpoints();
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        ends[first].write_all(DOWN).await.unwrap();
        let (second, _) = asked(&mut ends).await;
        assert_ne!(first, second);
        // A connection that was closing.
        let (empty, _) = tokio::io::duplex(1);
        drop(std::mem::replace(&mut ends[second], empty));
        let (replayed, _) = asked(&mut spare).await;
        assert_eq!(replayed, second);
        spare[second].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
        tokio::time::sleep(MS).await;
        let account = account(&stage);
        assert_eq!((fates(&account), account.rescued), (vec![("rescued", 1)], [1, 0, 0, 0]));
    });
}

#[test]
fn what_a_limit_refuses_is_refused_and_who_leaves_at_once_has_left() {
    paused(async {
        let stage = orders("limit: { max_in_flight: 1, queue: 0, adaptive: false }");
        let mut ends = stage.side("orders").endpoints();
        let (mut client, mut refused) = (stage.client(LOOPBACK), stage.client(LOOPBACK));
        client.write_all(GET).await.unwrap();
        asked(&mut ends).await;
        refused.write_all(GET).await.unwrap();
        assert!(head(&mut refused).await.starts_with("HTTP/1.1 503 "));
        drop(client);
        tokio::time::sleep(MS).await;
        let account = account(&stage);
        assert_eq!((account.started, fates(&account)), (2, vec![("refused", 1), ("abandoned", 1)]));
        assert_eq!(account.requests(), 1, "who leaves at once says nothing of the service");
    });
}
