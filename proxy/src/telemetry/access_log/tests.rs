use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, channel};

use serde_json::{Value, json};

use super::*;

fn entry(path: &str) -> Entry {
    Entry {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(951_827_696_789),
        method: "GET".into(),
        host: "shop.local:8080".into(),
        path: path.into(),
        service: Some("cart".into()),
        route: Some("routes[2]".into()),
        endpoint: Some("10.0.0.1:80".parse().unwrap()),
        status: 503,
        reason: Some(Reason::NoEndpoint),
        rule: None,
        attempts: 2,
        request_bytes: 3,
        response_bytes: 4,
        duration: Duration::from_micros(1500),
        client: Some("[::1]:4000".parse().unwrap()),
        faults: Vec::new(),
        request_id: "id".into(),
        protocol: "HTTP/1.1",
    }
}

/// Hands on what is written, and takes as long over it as the test likes: until it can receive.
struct Gated {
    written: Sender<Vec<u8>>,
    gate: Option<Receiver<()>>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            gate.recv().map_err(io::Error::other)?;
        }
        self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(written: &Receiver<Vec<u8>>) -> Vec<Value> {
    let bytes: Vec<u8> = written.try_iter().flatten().collect();
    String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_is_json_with_every_field() {
    let (sink, written) = channel();
    let log = AccessLog::to(Gated { written: sink, gate: None }, Values::Masked).unwrap();
    log.log(entry("/a\"b\n"));
    log.log(Entry { service: None, route: None, endpoint: None, client: None, reason: None, ..entry("/") });
    assert!(log.flush(Duration::from_secs(10)));
    let lines = lines(&written);
    let whole = json!({
        "time": "2000-02-29T12:34:56.789Z", "client": "[::1]:4000", "protocol": "HTTP/1.1", "method": "GET",
        "host": "shop.local:8080", "path": "/a\"b\n", "service": "cart", "route": "routes[2]",
        "endpoint": "10.0.0.1:80", "status": 503, "reason": Reason::NoEndpoint.token(), "attempts": 2,
        "request_bytes": 3, "response_bytes": 4, "duration_ms": 1.5, "request_id": "id",
    });
    assert_eq!(lines[0], whole);
    assert_eq!((&lines[1]["service"], &lines[1]["reason"]), (&Value::Null, &Value::Null));
    assert_eq!(lines.len(), 2);
}

#[test]
fn values_of_queries_are_written_only_where_that_is_wanted() {
    for (values, told) in [(Values::Masked, "/a?token=…"), (Values::Whole, "/a?token=secret")] {
        let (sink, written) = channel();
        let log = AccessLog::to(Gated { written: sink, gate: None }, values).unwrap();
        log.log(entry("/a?token=secret"));
        assert!(log.flush(Duration::from_secs(10)));
        assert_eq!(lines(&written)[0]["path"], told);
    }
}

#[test]
fn a_reader_that_stops_blocks_nobody_and_what_is_lost_is_counted() {
    let (sink, written) = channel();
    let (open, gate) = channel();
    let counted = Arc::new(AtomicU64::new(0));
    let lost = Lost::new("access log", ::metrics::Counter::from_arc(Arc::clone(&counted)));
    let log = AccessLog::with(Gated { written: sink, gate: Some(gate) }, Values::Masked, lost).unwrap();
    let sent = 3 * WAITING;
    for _ in 0..sent {
        log.log(entry("/"));
    }
    assert!(!log.flush(Duration::from_millis(50)), "the reader has stopped");
    // While the reader is still stopped: the writer is not there to count.
    let dropped = counted.load(Relaxed) as usize;
    // The channel, and what the writer holds: its page and the line in its hands.
    let held = WAITING + PAGE / 100;
    assert!((sent - held..=sent - WAITING).contains(&dropped), "{dropped} of {sent}");
    for _ in 0..sent {
        open.send(()).unwrap();
    }
    assert!(log.flush(Duration::from_secs(10)));
    assert_eq!(lines(&written).len(), sent - dropped, "what was not dropped is written, whole");
}

#[test]
fn long_paths_wait_within_a_bound_of_bytes() {
    let (sink, written) = channel();
    let (open, gate) = channel();
    let counted = Arc::new(AtomicU64::new(0));
    let lost = Lost::new("access log", ::metrics::Counter::from_arc(Arc::clone(&counted)));
    let log = AccessLog::with(Gated { written: sink, gate: Some(gate) }, Values::Masked, lost).unwrap();
    let path = "/a".repeat(16 << 10);
    let fit = WAITING_BYTES / path.len();
    for _ in 0..2 * fit {
        log.log(entry(&path));
    }
    let dropped = counted.load(Relaxed) as usize;
    // Beside what waits, the writer has a page of them and the line in its hands.
    assert!((fit - 8..=fit + 1).contains(&dropped), "{dropped} of {}, {fit} may wait", 2 * fit);
    (0..2 * fit).for_each(|_| open.send(()).unwrap());
    assert!(log.flush(Duration::from_secs(10)));
    log.log(entry(&path));
    assert!(log.flush(Duration::from_secs(10)));
    assert_eq!(lines(&written).len(), 2 * fit - dropped + 1, "there is room again");
}

#[test]
fn a_closed_stdout_is_survived_and_each_line_counted() {
    let (sink, written) = channel();
    drop(written);
    let counted = Arc::new(AtomicU64::new(0));
    let lost = Lost::new("access log", ::metrics::Counter::from_arc(Arc::clone(&counted)));
    let log = AccessLog::with(Gated { written: sink, gate: None }, Values::Masked, lost).unwrap();
    for _ in 0..1000 {
        log.log(entry("/"));
        assert!(log.flush(Duration::from_secs(10)));
    }
    assert_eq!(counted.load(Relaxed), 1000);
    assert!(!AccessLog::off().is_on() && AccessLog::off().flush(Duration::ZERO));
}

#[test]
fn times_are_rfc_3339() {
    let at = |seconds, millis: u32| rfc3339(SystemTime::UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000));
    assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(68_169_599, 1), "1972-02-28T23:59:59.001Z");
    assert_eq!(at(68_169_600, 0), "1972-02-29T00:00:00.000Z");
    assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
    assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    assert_eq!(at(253_402_300_799, 999), "9999-12-31T23:59:59.999Z");
    assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
}
