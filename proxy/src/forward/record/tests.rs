use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::error::Reason;
use crate::resilience::outlier::Failure;
use crate::resilience::shape::Shape;
use crate::telemetry::explain::{Ending, Verdict};
use crate::testing::{Stage, asked, head, paused};
use crate::timer;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const DOWN: &[u8] = b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\nno";
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const TWO: &str = "services: { orders: { instances: ['127.0.0.1:1', '127.0.0.1:2'], idle_timeout: 10m,
  balance: round_robin, retries: { max: 1 }, timeout: 5s, outlier: { consecutive: 2 } } }";

/// A request whose attempts get these answers; none where it is never answered.
async fn request(stage: &Stage, fields: &str, answers: &[Option<&[u8]>]) {
    let mut ends = stage.side("orders").endpoints();
    let mut client = stage.client(LOOPBACK);
    let text = format!("GET /cart?n=1 HTTP/1.1\r\nHost: orders\r\nX-Request-Id: one\r\n{fields}\r\n");
    client.write_all(text.as_bytes()).await.unwrap();
    for answer in answers {
        let (index, _) = asked(&mut ends).await;
        if let Some(answer) = answer {
            ends[index].write_all(answer).await.unwrap();
        }
    }
    whole(&mut client).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn whole(client: &mut DuplexStream) {
    let head = head(client).await;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    client.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
}

fn handed_in(records: &mut Receiver<Box<Record>>) -> Record {
    *records.try_recv().expect("a record")
}

#[test]
fn of_a_request_that_goes_well_nothing_is_written() {
    paused(async {
        let (stage, mut records) = Stage::explained(TWO);
        request(&stage, "", &[Some(OK)]).await;
        assert!(records.try_recv().is_err());
    });
}

#[test]
fn the_first_trouble_begins_a_record_that_knows_the_first_attempt() {
    paused(async {
        let (stage, mut records) = Stage::explained(TWO);
        request(&stage, "", &[Some(DOWN), Some(OK)]).await;
        let record = handed_in(&mut records);
        assert!(!record.asked);
        assert_eq!((&*record.id, &*record.path, record.service.as_deref()), ("one", "/cart?n=…", Some("orders")));
        let attempts: Vec<_> = record.attempts.iter().map(|a| (a.start, a.ending.clone())).collect();
        let expected = [(Start::First, Some(Ending::Answered(503))), (Start::Retry, Some(Ending::Answered(200)))];
        assert_eq!(attempts, expected);
        assert_ne!(record.attempts[0].endpoint, record.attempts[1].endpoint);
        // The first pick had been made before anything was written; the second says who was left out.
        let picks: Vec<_> = record.events.iter().filter_map(|event| pick(&event.what)).collect();
        assert_eq!(picks.len(), 1, "{record:?}");
        assert_eq!(picks[0].chosen, Some(record.attempts[1].endpoint));
        let left_out: Vec<_> = picks[0].left_out.iter().map(|absent| (absent.endpoint, absent.why)).collect();
        assert_eq!(left_out, [(record.attempts[0].endpoint, LeftOut::Tried)]);
        let returned = record.returned.expect("what was returned");
        assert_eq!(
            (returned.status, returned.verdict, returned.rescued_by.as_deref()),
            (200, Verdict::Success, Some("retry"))
        );
    });
}

fn pick(what: &What) -> Option<&Pick> {
    match what {
        What::Pick(pick) => Some(pick),
        _ => None,
    }
}

#[test]
fn a_request_that_asked_is_written_down_from_its_first_pick_on() {
    paused(async {
        let (stage, mut records) = Stage::explained(TWO);
        request(&stage, "x-outrigger-explain: 1\r\nx-request-deadline: 700\r\n", &[Some(OK)]).await;
        let record = handed_in(&mut records);
        assert!(record.asked);
        let picks: Vec<_> = record.events.iter().filter_map(|event| pick(&event.what)).collect();
        assert_eq!((picks.len(), picks[0].candidates), (1, 2));
        let held = record.policy.expect("what held");
        assert_eq!((held.timeout_ms.0, held.retries, held.repeatable), (5_000.0, 1, true));
        let deadline = record.deadline.expect("a deadline");
        assert_eq!((deadline.after_ms.0, deadline.by), (700.0, DeadlineBy::Caller));
    });
}

#[test]
fn a_request_that_is_never_answered_ends_with_what_was_under_way() {
    paused(async {
        let (stage, mut records) = Stage::explained(&TWO.replace("timeout: 5s", "timeout: 5s, per_try_timeout: 'off'"));
        request(&stage, "", &[None]).await;
        let record = handed_in(&mut records);
        assert_eq!(record.attempts.len(), 1);
        assert_eq!(record.attempts[0].ending, Some(Ending::failed(Reason::Timeout)));
        assert_eq!(record.deadline.map(|deadline| deadline.by), Some(DeadlineBy::Route));
        let returned = record.returned.expect("what was returned");
        assert_eq!((returned.status, returned.verdict), (504, Verdict::Failure));
        assert_eq!(returned.at_ms.0, 5_000.0);
    });
}

#[test]
fn that_and_why_there_was_no_further_attempt_is_written() {
    paused(async {
        let (stage, mut records) = Stage::explained(TWO);
        request(&stage, "", &[Some(DOWN), Some(DOWN)]).await;
        let why = |record: &Record| {
            record.events.iter().find_map(|event| match &event.what {
                What::NoMore { why } => Some(*why),
                _ => None,
            })
        };
        assert_eq!(why(&handed_in(&mut records)), Some(NoMore::RetriesUsed));
    });
}

/// One request that meets many troubles is one record: it must not use up what others have a right to.
#[test]
fn a_request_takes_one_record_of_its_workers_allowance() {
    paused(async {
        // So that all of them meet the same.
        let (stage, mut records) =
            Stage::explained(&TWO.replace("outlier: { consecutive: 2 }", "outlier: 'off', breaker: 'off'"));
        for _ in 0..crate::telemetry::explain::PER_TICK {
            request(&stage, "", &[Some(DOWN), Some(DOWN)]).await;
            handed_in(&mut records);
        }
        request(&stage, "", &[Some(DOWN), Some(DOWN)]).await;
        assert!(records.try_recv().is_err(), "more than a tick's allowance");
        request(&stage, "x-outrigger-explain: 1\r\n", &[Some(DOWN), Some(DOWN)]).await;
        assert!(handed_in(&mut records).asked, "who asks has it on top");
    });
}

#[test]
fn who_cannot_be_picked_is_told_with_the_reason() {
    paused(async {
        let text = TWO.replace("'127.0.0.1:2']", "'127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4']");
        let stage = Stage::new(&text, 1);
        let side = stage.side("orders");
        let now = timer::now();
        let all = side.candidates(&Tried::default(), true, now);
        assert_eq!((all.candidates, all.left_out.len()), (4, 0));
        let mut tried = Tried::default();
        tried.add(side.upstreams[0].upstream.id);
        let (shared, endpoints) = (&side.cluster.shared, &*side.cluster.endpoints);
        let rules = &side.cluster.policy.outlier;
        // Twice: it is out. Once: in doubt.
        for index in [1, 1, 2] {
            let failure = Failure { shape: Shape::default(), trouble: 1, begun: side.ms(now) };
            shared.pool.failed(endpoints, index, rules, failure, side.ms(now), 0.5);
        }
        let why =
            |pick: &Pick| pick.left_out.iter().map(|absent| (absent.endpoint.port(), absent.why)).collect::<Vec<_>>();
        let repeatable = side.candidates(&tried, true, now);
        assert_eq!(why(&repeatable), [(1, LeftOut::Tried), (2, LeftOut::Ejected)]);
        assert_eq!(repeatable.candidates, 2);
        let once = side.candidates(&Tried::default(), false, now);
        assert_eq!(why(&once), [(2, LeftOut::Ejected), (3, LeftOut::Unsafe)]);
        assert_eq!(once.candidates, 2);
    });
}

#[test]
fn an_upload_that_breaks_off_before_anything_was_taken_for_it_is_recorded_with_where_it_was_going() {
    for fields in ["", "X-Outrigger-Explain: 1\r\n"] {
        paused(async {
            let (stage, mut records) = Stage::explained(TWO);
            let mut client = stage.client(LOOPBACK);
            let text = format!("POST /cart HTTP/1.1\r\nHost: orders\r\n{fields}Content-Length: 10\r\n\r\nhello");
            client.write_all(text.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(client);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let record = handed_in(&mut records);
            assert_eq!((record.service.as_deref(), record.asked), (Some("orders"), !fields.is_empty()));
            assert!(record.attempts.is_empty());
            let reason = record.returned.expect("what was returned").reason;
            assert_eq!(reason.as_deref(), Some(Reason::ClientGone.token()));
        });
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_answer_is_in_the_record() {
    paused(async {
        let (stage, mut records) = Stage::explained(&TWO.replace("idle_timeout", "hold: off, idle_timeout"));
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client_with_room(LOOPBACK, 256);
        client.write_all(b"GET /cart HTTP/1.1\r\nHost: orders\r\nX-Outrigger-Explain: 1\r\n\r\n").await.unwrap();
        let (index, _) = asked(&mut ends).await;
        ends[index].write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        ends[index].write_all(&[b'x'; 50_000]).await.unwrap();
        head(&mut client).await;
        drop(client);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let returned = handed_in(&mut records).returned.expect("what was returned");
        assert_eq!(returned.reason.as_deref(), Some(Reason::ClientGone.token()));
    });
}
