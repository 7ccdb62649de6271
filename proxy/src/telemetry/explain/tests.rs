use super::facts::LEFT_OUT;
use super::recorder::WAITING;
use super::*;
use crate::counts::Rescue;
use crate::telemetry::query::Values;

const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

fn a(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

/// A request whose first endpoint closed the connection, and whose second answered.
fn rescued() -> Record {
    let start = Instant::now();
    let at = |micros| start + Duration::from_micros(micros);
    let mut record = Record::new(b"6f1c-01", false, start, EPOCH + Duration::from_millis(1_700_000_000_123));
    record.request(b"GET", b"shop.local", b"/cart?x=1", Some("10.9.9.9:5123".parse().unwrap()));
    record.service = Some("orders".into());
    record.route = Some("routes[2]".into());
    record.deadline = Some(DeadlineFacts { after_ms: Ms(1_000.0), by: DeadlineBy::GrpcTimeout });
    record.policy = Some(Policies {
        timeout_ms: Ms(15_000.0),
        per_try_ms: Some(Ms(250.0)),
        hedge_after_ms: Some(Ms(40.0)),
        retries: 2,
        repeatable: true,
    });
    let mut pick = Pick { chosen: Some(a(1)), candidates: 2, ..Pick::default() };
    pick.leave_out(a(3), LeftOut::Ejected);
    record.note(at(20), What::Pick(pick));
    let first = record.attempt(at(20), a(1), Start::First);
    record.connected(first, Duration::from_micros(400));
    record.ended(first, at(12_300), Ending::failed(Reason::UpstreamClosed));
    record.note(at(12_300), What::Budget { tokens: 4.25, granted: true, for_a: Start::Retry });
    let mut pick = Pick { chosen: Some(a(2)), candidates: 1, ..Pick::default() };
    pick.leave_out(a(1), LeftOut::Tried);
    pick.leave_out(a(3), LeftOut::Ejected);
    record.note(at(12_300), What::Pick(pick));
    let second = record.attempt(at(12_300), a(2), Start::Retry);
    record.ended(second, at(20_000), Ending::Answered(200));
    record.returned(at(20_100), 200, Fate::Rescued(Rescue::Retry), None);
    record
}

#[test]
fn a_page_tells_a_life_in_its_order() {
    let expected = "\
GET shop.local/cart?x=1
  2023-11-14T22:13:20.123Z  id 6f1c-01  from 10.9.9.9:5123
  to orders by routes[2]: 200, success, rescued by retry after 20.1 ms

  over after 1000.0 ms at the latest, by grpc-timeout; a try may take 250.0 ms; hedged after 40.0 ms; 2 retries at most; may be repeated

        0.0 ms  picked 10.0.0.1:80 of 2 candidates; not 10.0.0.3:80 (ejected)
        0.0 ms  #1 to 10.0.0.1:80 (first attempt), connected in 0.4 ms
       12.3 ms  #1 failed: upstream_closed
       12.3 ms  budget: 4.2 tokens, granted (retry)
       12.3 ms  picked 10.0.0.2:80 of 1 candidate; not 10.0.0.1:80 (tried), 10.0.0.3:80 (ejected)
       12.3 ms  #2 to 10.0.0.2:80 (retry)
       20.0 ms  #2 answered 200
       20.1 ms  over: 200, success, rescued by retry

  Recorded from the first thing that went wrong; `x-outrigger-explain: 1` has everything recorded.
";
    assert_eq!(rescued().to_string(), expected);
}

#[test]
fn every_sentence_is_one() {
    let start = Instant::now();
    let mut record = Record::new(b"i\x1b[31m", true, start, EPOCH);
    for what in [
        What::Breaker { state: "half open".into(), passed: true },
        What::Limit { limit: Some(10), in_flight: 10, queued: 2 },
        What::Limit { limit: None, in_flight: 3, queued: 0 },
        What::Waited { on: WaitedFor::Turn, took_ms: Ms(12.0) },
        What::NoMore { why: NoMore::TooLate },
        What::Fallback { kind: "answer".into(), answered: true },
        What::Note { text: "a\nb".into() },
        What::Pick(Pick { fail_open: true, ..Pick::default() }),
    ] {
        record.note(start, what);
    }
    let attempt = record.attempt(start, a(1), Start::First);
    record.ended(attempt, start, Ending::failed(Reason::ConnectFailed));
    record.returned(start + Duration::from_secs(11), 0, Fate::Abandoned, Some(Reason::ClientGone));
    let page = record.to_string();
    for line in [
        "id i?[31m",
        "to no service: no answer, the client's own doing (client_gone) after 11.0 s",
        "breaker: half open, let through",
        "limit: 10 of 10 in flight, 2 waiting",
        "limit: none, 3 in flight",
        "waited 12.0 ms for its turn",
        "no further attempt: less time is left than an attempt usually takes",
        "fallback, answer: answered",
        "a?b",
        "nothing to pick among 0 candidates, ejected ones among them",
        "#1 to 10.0.0.1:80 (first attempt)\n        0.0 ms  #1 failed: connect_failed",
    ] {
        assert!(page.contains(line), "no {line:?} in\n{page}");
    }
    assert!(!page.contains('\x1b') && !page.contains("Recorded from"), "{page}");
}

#[test]
fn json_is_read_back_as_it_was() {
    let mut record = rescued();
    record.note(Instant::now(), What::NoMore { why: NoMore::BudgetEmpty });
    record.started = None;
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record, "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["events"][1]["what"], "budget");
    assert_eq!(value["attempts"][0]["ending"]["failed"], "upstream_closed");
    assert_eq!(value["attempts"][1]["start"], "retry");
}

#[test]
fn a_record_is_bounded_whatever_happens() {
    let start = Instant::now();
    let mut record = Record::new(&[b'i'; 9_999], true, start, EPOCH);
    record.request(b"GET", &[b'h'; 9_999], "é".repeat(9_999).as_bytes(), None);
    let mut pick = Pick::default();
    for n in 0..1_000 {
        record.note(start, What::Note { text: "x".into() });
        let attempt = record.attempt(start, a(1), Start::Retry);
        record.connected(attempt, Duration::ZERO);
        record.ended(attempt, start, Ending::Dropped);
        pick.leave_out(a((n % 250) as u8), LeftOut::Tried);
    }
    assert_eq!((record.events.len(), record.attempts.len()), (EVENTS, ATTEMPTS));
    assert_eq!(record.omitted as usize, 2_000 - EVENTS - ATTEMPTS);
    assert_eq!((pick.left_out.len(), pick.more), (LEFT_OUT, 1_000 - LEFT_OUT as u32));
    assert!(record.id.len() <= TEXT && record.host.len() <= TEXT && record.path.len() <= TEXT + 3);
    assert!(record.to_string().contains("more were not recorded"));
}

fn kept(id: String, asked: bool, fate: Fate, time_ms: u64) -> Box<Record> {
    let start = Instant::now();
    let mut record = Record::new(id.as_bytes(), asked, start, EPOCH + Duration::from_millis(time_ms));
    record.returned(start, 200, fate, None);
    Box::new(record)
}

#[test]
fn the_newest_win_each_in_their_own_group() {
    let mut shelves = Shelves::default();
    shelves.put(kept("asked".into(), true, Fate::Lost(Reason::Timeout), 0));
    shelves.put(kept("slow".into(), false, Fate::FirstGood, 1));
    for n in 0..10_000 {
        shelves.put(kept(format!("lost-{n}"), false, Fate::Lost(Reason::Timeout), 2 + n));
    }
    let list = shelves.list();
    assert_eq!(list.len(), 258);
    assert_eq!(
        (list[0].id.as_str(), list[0].kept, list[0].reason.as_deref()),
        ("lost-9999", Group::Failed, Some("http_response_timeout"))
    );
    assert_eq!((list[257].id.as_str(), list[257].kept), ("asked", Group::Asked));
    assert!(shelves.find("slow").is_some() && shelves.find("lost-9744").is_some());
    assert!(shelves.find("lost-9743").is_none());

    shelves.put(kept("slow".into(), false, Fate::Degraded, 50_000));
    assert_eq!(shelves.find("slow").map(|record| record.time_ms), Some(50_000), "of two, the newer");
    for n in 0..10_000 {
        shelves.put(kept(format!("slow-{n}"), false, Fate::FirstGood, n));
        shelves.put(kept(format!("asked-{n}"), true, Fate::FirstGood, n));
    }
    assert_eq!(shelves.list().len(), 640);
}

#[test]
fn a_storm_is_recorded_by_its_beginning() {
    let (explainer, mut records) = Explainer::start(Values::Masked);
    let recorder = Recorder::new(explainer);
    let admitted = (0..1_000).filter(|_| recorder.admits(false)).count();
    assert_eq!(admitted, PER_TICK as usize);
    assert!(recorder.admits(true), "what was asked for is always recorded");
    assert_eq!(recorder.dropped.get(), 1_000 - u64::from(PER_TICK));
    recorder.tick();
    assert!(recorder.admits(false));
    assert_eq!(recorder.dropped.get(), 0);
    for _ in 0..WAITING + 5 {
        recorder.hand_in(Box::new(rescued()));
    }
    assert_eq!(recorder.dropped.get(), 5, "a reader that is too slow costs records, never time");
    let mut handed = 0;
    while records.try_recv().is_ok() {
        handed += 1;
    }
    assert_eq!(handed, WAITING);
}

#[test]
fn nothing_is_begun_where_nobody_reads() {
    assert!(!Recorder::new(Explainer::off()).admits(true));
}
