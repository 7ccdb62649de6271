mod account;
mod blame;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::testing::{Stage, asked, head, paused};
use crate::timer;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ERROR: &[u8] = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh";
const DOWN: &[u8] = b"HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown";
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n";
const MS: Duration = Duration::from_millis(1);
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const FOREIGN: [u8; 4] = [192, 0, 2, 7];

/// Two instances, and what else there is to say of them.
fn orders(keys: &str) -> Stage {
    let text = format!(
        "services: {{ orders: {{ instances: ['127.0.0.1:1', '127.0.0.1:2'], idle_timeout: 10m, balance: round_robin, {keys} }} }}"
    );
    Stage::new(&text, 1)
}

/// A GET whose first attempt is late, and that is tried at the other instance beside it.
struct Beside {
    stage: Stage,
    ends: Vec<DuplexStream>,
    client: DuplexStream,
    first: usize,
    second: usize,
}

async fn tried_beside() -> Beside {
    let stage = orders("per_try_timeout: 100ms, hedge: off");
    let mut ends = stage.side("orders").endpoints();
    let mut client = stage.client(LOOPBACK);
    client.write_all(GET).await.unwrap();
    let (first, _) = asked(&mut ends).await;
    let (second, _) = asked(&mut ends).await;
    Beside { stage, ends, client, first, second }
}

/// The answer's status line and its body of so many bytes.
async fn answer(client: &mut DuplexStream, length: usize) -> (String, String) {
    let head = head(client).await;
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), String::from_utf8(body).unwrap())
}

/// Whether an endpoint has lately failed.
fn in_trouble(stage: &Stage, index: usize) -> bool {
    stage.side("orders").cluster.endpoints[index].shared.outlier.trouble() != 0
}

#[test]
fn a_try_that_takes_too_long_is_not_ended_and_may_still_win() {
    paused(async {
        let stage = orders("per_try_timeout: 100ms, hedge: off");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        let start = timer::now();
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        let (second, request) = asked(&mut ends).await;
        assert_eq!((timer::now() - start, first == second), (100 * MS, false));
        assert!(request.contains("\r\nX-Envoy-Attempt-Count: 2\r\n"), "{request}");
        tokio::time::sleep(50 * MS).await;
        ends[first].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
        assert_eq!(timer::now() - start, 150 * MS);
        assert!(!in_trouble(&stage, first) && !in_trouble(&stage, second), "nobody was overtaken by a later one");
    });
}

#[test]
fn a_try_has_its_time_from_the_end_of_a_body_that_came_after_it_had_begun() {
    paused(async {
        let stage = orders("per_try_timeout: 100ms, hedge: off");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(b"PUT /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
        let (first, _) = asked(&mut ends).await;
        tokio::time::sleep(500 * MS).await;
        let start = timer::now();
        client.write_all(b"llo").await.unwrap();
        let mut body = [0; 5];
        ends[first].read_exact(&mut body).await.unwrap();
        let (second, _) = asked(&mut ends).await;
        assert_eq!((timer::now() - start, first == second), (100 * MS, false));
        ends[second].read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        ends[second].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
    });
}

#[test]
fn who_is_overtaken_when_it_was_stuck_is_in_trouble_and_the_winner_is_not() {
    paused(async {
        let Beside { stage, mut ends, mut client, first, second } = tried_beside().await;
        ends[second].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
        assert_eq!((in_trouble(&stage, first), in_trouble(&stage, second)), (true, false));
    });
}

#[test]
fn a_replay_goes_to_the_only_instance_although_a_try_beside_it_was_due() {
    paused(async {
        let stage = Stage::new(
            "services: { orders: { instances: ['127.0.0.1:1'], idle_timeout: 10m, per_try_timeout: 100ms, hedge: off } }",
            1,
        );
        let mut ends = vec![stage.endpoint("orders"), stage.endpoint("orders")];
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        tokio::time::sleep(150 * MS).await;
        drop(ends.remove(first));
        asked(&mut ends).await;
        ends[0].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
    });
}

#[test]
fn a_post_that_is_stuck_has_its_one_try_until_its_time_is_over() {
    paused(async {
        let stage = orders("per_try_timeout: 100ms, timeout: 2s");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        let start = timer::now();
        client.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let (first, _) = asked(&mut ends).await;
        let head = head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
        assert_eq!(timer::now() - start, Duration::from_secs(2));
        let mut rest = [0; 1];
        let other = &mut ends[1 - first];
        assert!(tokio::time::timeout(MS, other.read(&mut rest)).await.is_err(), "it was sent elsewhere, too");
    });
}

#[test]
fn a_second_try_is_due_from_when_its_turn_had_come() {
    paused(async {
        let stage = orders(
            "per_try_timeout: 200ms, hedge: off, limit: { max_in_flight: 1, queue: 2, queue_timeout: 1s, adaptive: false }",
        );
        let mut ends = stage.side("orders").endpoints();
        let (mut client, mut waiting) = (stage.client(LOOPBACK), stage.client(LOOPBACK));
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        waiting.write_all(GET).await.unwrap();
        tokio::time::sleep(150 * MS).await;
        ends[first].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut client, 2).await.1, "ok");
        let start = timer::now();
        asked(&mut ends).await;
        let (second, _) = asked(&mut ends).await;
        let after = timer::now() - start;
        assert!(after >= 195 * MS, "another one was started after {after:?}, of which it had waited in line before");
        ends[second].write_all(OK).await.unwrap();
        assert_eq!(answer(&mut waiting, 2).await.1, "ok");
    });
}

#[test]
fn an_error_of_both_is_held_against_neither_and_of_one_against_that_one() {
    paused(async {
        for (second_answers, status) in [(ERROR, "HTTP/1.1 500 Oh"), (OK, "HTTP/1.1 200 OK")] {
            let stage = orders("retries: { max: 2 }");
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(LOOPBACK);
            client.write_all(GET).await.unwrap();
            let (first, _) = asked(&mut ends).await;
            ends[first].write_all(ERROR).await.unwrap();
            let (second, _) = asked(&mut ends).await;
            assert_ne!(first, second);
            ends[second].write_all(second_answers).await.unwrap();
            assert_eq!(answer(&mut client, 2).await.0, status);
            let blamed = [in_trouble(&stage, first), in_trouble(&stage, second)];
            assert_eq!(blamed, [second_answers == OK, false], "{status}");
        }
    });
}

#[test]
fn a_client_that_leaves_after_waiting_is_held_against_the_endpoint_and_one_that_leaves_at_once_is_not() {
    paused(async {
        for (waits, blamed) in [(50 * MS, false), (6_000 * MS, true)] {
            let stage = orders("retries: { max: 0 }");
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(LOOPBACK);
            client.write_all(GET).await.unwrap();
            let (first, _) = asked(&mut ends).await;
            tokio::time::sleep(waits).await;
            drop(client);
            let mut rest = Vec::new();
            ends[first].read_to_end(&mut rest).await.unwrap();
            assert_eq!(in_trouble(&stage, first), blamed, "after {waits:?}");
            assert_eq!(stage.side("orders").upstreams[first].upstream.in_flight(), 0);
        }
    });
}

#[test]
fn an_answer_that_is_no_good_is_kept_until_there_is_a_better_one() {
    paused(async {
        // The second breaks off: what the first said is still more than nothing.
        let stage = orders("retries: { max: 1 }");
        let mut ends = stage.side("orders").endpoints();
        let mut client = stage.client(LOOPBACK);
        client.write_all(GET).await.unwrap();
        let (first, _) = asked(&mut ends).await;
        ends[first].write_all(DOWN).await.unwrap();
        let (second, _) = asked(&mut ends).await;
        assert_ne!(first, second);
        ends[second].write_all(b"HTTP/1.1 2").await.unwrap();
        ends.remove(second);
        assert_eq!(answer(&mut client, 4).await, ("HTTP/1.1 503 Down".to_owned(), "down".to_owned()));
    });
}

#[test]
fn the_word_of_a_client_that_is_not_trusted_is_neither_obeyed_nor_passed_on() {
    const WORDS: [&str; 6] = [
        "x-request-deadline: 50",
        "grpc-timeout: 50m",
        "x-envoy-upstream-rq-timeout-ms: 50",
        "x-outrigger-priority: sheddable",
        "x-outrigger-caller: the-boss",
        "x-outrigger-explain: 1",
    ];
    paused(async {
        for (from, cidrs, trusted) in [
            (FOREIGN, "", false),
            (FOREIGN, "192.0.2.8/30", false),
            (FOREIGN, "10.0.0.0/8, 192.0.2.0/24", true),
            (LOOPBACK, "", true),
        ] {
            let text = "services: { orders: { instances: ['127.0.0.1:1'], idle_timeout: 10m } }";
            let (stage, mut records) = Stage::explained(&format!("http: {{ trusted_cidrs: [{cidrs}] }}\n{text}"));
            let mut ends = stage.side("orders").endpoints();
            let mut client = stage.client(from);
            let start = timer::now();
            let request = format!("GET /cart HTTP/1.1\r\nHost: orders\r\n{}\r\n\r\n", WORDS.join("\r\n"));
            client.write_all(request.as_bytes()).await.unwrap();
            let (_, passed) = asked(&mut ends).await;
            assert!(passed.contains(if trusted {
                "x-request-deadline: 50\r\n"
            } else {
                "x-request-deadline: 15000\r\n"
            }));
            for word in &WORDS[2..] {
                let name = word.split(':').next().unwrap();
                let kept = trusted && (name.ends_with("priority") || name.ends_with("caller"));
                assert_eq!(passed.contains(name), kept, "{name}, trusted: {trusted}: {passed}");
            }
            // What is stated is what holds.
            let micros = if trusted { 50_000 } else { 15_000_000 };
            assert!(passed.contains(&format!("grpc-timeout: {micros}u\r\n")), "{passed}");
            if !trusted {
                // Past what the client had no right to say.
                tokio::time::sleep(1_000 * MS).await;
                ends[0].write_all(OK).await.unwrap();
            }
            let status = answer(&mut client, 0).await.0;
            assert_eq!(status.contains(" 504 "), trusted, "{status} after {:?}", timer::now() - start);
            assert_eq!(status.contains(" 200 "), !trusted, "{status}");
            tokio::time::sleep(MS).await;
            let asked_for = records.try_recv().is_ok_and(|record| record.asked);
            assert_eq!(asked_for, trusted, "whether it is explained");
        }
    });
}

#[test]
fn who_loses_gets_no_byte_more_and_keeps_its_connection_only_where_it_has_the_whole_request() {
    let request = format!("PUT /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 2000\r\n\r\n{}", "a".repeat(2_000));
    // What an instance's connection takes, what it has said when it loses, and how long it has for the rest.
    for (takes, said, kept) in [
        (512, "", Duration::ZERO),
        (512, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", Duration::ZERO),
        (64 * 1024, "", 50 * MS),
        (64 * 1024, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 50 * MS),
    ] {
        paused(async {
            let stage = orders("per_try_timeout: 100ms, hedge: off");
            let side = stage.side("orders");
            let lend = |member: &crate::worker::cluster::Member| {
                let (ours, theirs) = tokio::io::duplex(takes);
                member.upstream.lend(crate::net::Io::pipe(ours), timer::now());
                theirs
            };
            let mut ends: Vec<_> = side.upstreams.iter().map(lend).collect();
            let mut client = stage.client(LOOPBACK);
            client.write_all(request.as_bytes()).await.unwrap();
            let (first, _) = asked(&mut ends).await;
            ends[first].write_all(said.as_bytes()).await.unwrap();
            head(&mut ends[1 - first]).await;
            ends[1 - first].read_exact(&mut [0; 2_000]).await.unwrap();
            ends[1 - first].write_all(OK).await.unwrap();
            assert_eq!(answer(&mut client, 2).await.1, "ok");
            // In the same buffer now.
            client.write_all(b"PUT /next HTTP/1.1\r\nX: bbbb").await.unwrap();
            let won = timer::now();
            let mut rest = String::new();
            ends[first].read_to_string(&mut rest).await.unwrap();
            assert_eq!(timer::now() - won, kept, "of {takes} bytes, after {said:?}");
            assert!(rest.bytes().all(|byte| byte == b'a'), "another request's: {rest}");
            assert_eq!(rest.len() < 2_000, kept.is_zero(), "{} of {takes} bytes", rest.len());
        });
    }
}
