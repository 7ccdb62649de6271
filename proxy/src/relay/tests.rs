//! Over pipes, on a clock that jumps.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::config::settings::FaultLimits;
use crate::control::first_snapshot;
use crate::control::testing::settings;
use crate::fault::Spec;
use crate::fault::active::Sort;
use crate::fault_manager::FaultManager;
use crate::snapshot::joint;
use crate::testing::paused;

/// A relay under way: the client's end and the server's, and how it ended.
struct Stage {
    client: DuplexStream,
    server: DuplexStream,
    ended: tokio::task::JoinHandle<(End, Moved)>,
}

fn start(relay: Relay) -> Stage {
    let ((client, near), (server, far)) = (tokio::io::duplex(64 << 10), tokio::io::duplex(64 << 10));
    let ended = tokio::task::spawn_local(async move {
        let (mut relay, mut near, mut far, pool) = (relay, Io::pipe(near), Io::pipe(far), BufferPool::new(2));
        // Looked at again and again, as somebody wakes it when faults change.
        let mut look = tokio::time::interval(Duration::from_millis(1));
        let end = std::future::poll_fn(|cx| {
            while look.poll_tick(cx).is_ready() {}
            relay.poll(cx, &mut near, &mut far, &pool)
        });
        let end = end.await;
        (end, relay.moved())
    });
    Stage { client, server, ended }
}

/// A TCP proxy's faults, and who keeps them.
fn faults() -> (Arc<FaultManager>, Arc<FaultTarget>) {
    let (_publisher, reader, _demands) = joint(first_snapshot(&settings(&[])));
    let fault_manager = FaultManager::new(FaultLimits::default(), reader);
    let subject = FaultTarget::new("db", Sort::TcpProxy);
    fault_manager.enrol(&subject, true);
    (fault_manager, subject)
}

fn spec(kind: &str, attributes: serde_json::Value) -> Spec {
    let attributes = attributes.as_object().cloned().unwrap_or_default();
    Spec { service: None, proxy: Some("db".into()), attributes, ..Spec::new(kind, "") }
}

#[test]
fn each_side_s_end_is_passed_on_by_itself() {
    paused(async {
        let Stage { mut client, mut server, ended } = start(Relay::new(None));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        heard.clear();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
        let (end, moved) = ended.await.unwrap();
        assert_eq!(end, End::Done);
        assert_eq!(moved, Moved { received_up: 8, sent_up: 8, received_down: 6, sent_down: 6 });
    });
}

#[test]
fn it_ends_when_nothing_has_moved_for_its_idle_time_and_not_before() {
    paused(async {
        let idle = Duration::from_secs(10);
        let Stage { mut client, mut server, ended } = start(Relay::new(Some(idle)));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            server.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
        }
        let last = crate::timer::now();
        assert_eq!(ended.await.unwrap().0, End::Idle);
        let took = crate::timer::now() - last;
        assert!((idle..idle + Duration::from_millis(20)).contains(&took), "{took:?}");
    });
}

#[test]
fn faults_come_and_go_on_a_connection_that_lives_and_no_byte_is_lost() {
    paused(async {
        let (fault_manager, subject) = faults();
        let Stage { mut client, mut server, ended } = start(Relay::new(None).under(&subject, None));
        let now = || crate::timer::now();
        client.write_all(b"a").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'a');

        let mut held = spec("latency", serde_json::json!({ "latency": 100_000 }));
        held.stream = Some(Stream::Upstream);
        let fault = fault_manager.add(held, "test", now()).unwrap();
        client.write_all(b"bc").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(50), server.read_u8()).await;
        assert!(waited.is_err(), "it is held");
        let before = now();
        fault_manager.end(fault.id, "test");
        assert_eq!(server.read_u8().await.unwrap(), b'b');
        assert_eq!(server.read_u8().await.unwrap(), b'c');
        assert!(now() - before < Duration::from_millis(20));

        fault_manager.add(spec("timeout", serde_json::json!({ "timeout": 1_000 })), "test", now()).unwrap();
        server.write_all(b"never seen").await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"");
        assert_eq!(ended.await.unwrap().0, End::Closed);
    });
}

#[test]
fn a_fault_is_drawn_once_for_a_connection() {
    paused(async {
        let (fault_manager, subject) = faults();
        let now = || crate::timer::now();
        let mut some = spec("latency", serde_json::json!({ "latency": 10 }));
        some.percent = crate::units::Share(0.5);
        let fault = fault_manager.add(some, "test", now()).unwrap();
        let mut slow = 0;
        for _ in 0..200 {
            let Stage { mut client, mut server, .. } = start(Relay::new(None).under(&subject, None));
            let mut took = Vec::new();
            for _ in 0..5 {
                let before = now();
                server.write_all(b"x").await.unwrap();
                client.read_u8().await.unwrap();
                took.push(now() - before >= Duration::from_millis(10));
            }
            assert!(took.iter().all(|slow| *slow == took[0]), "{took:?}");
            slow += u64::from(took[0]);
        }
        assert_eq!(fault.injected(), slow);
        assert!((60..140).contains(&slow), "{slow}");
    });
}
