//! One line of JSON per request, on stdout.
//!
//! A log must not be a way to stop the proxy: whoever reads stdout may be slow, or stop. So a worker only puts an
//! [`Entry`] into a bounded channel, one thread formats and writes, and what finds the channel full is dropped.
//! A log that lost lines says so: they are counted in `outrigger_access_log_dropped_total`, and told on stderr.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::error::Reason;
use crate::telemetry::metrics;

/// Lines that may wait for the writer.
const WAITING: usize = 8192;
/// How often what was dropped is told, at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When its head had arrived.
    pub time: SystemTime,
    /// As sent.
    pub method: String,
    /// As sent, port included.
    pub host: String,
    /// As sent, query included.
    pub path: String,
    /// Where it went.
    pub service: Option<Arc<str>>,
    /// Why there: `routes[2]`; none for a service's own name.
    pub route: Option<Arc<str>>,
    /// Who answered.
    pub endpoint: Option<SocketAddr>,
    /// What the client got; 0 if it got none.
    pub status: u16,
    /// Why the proxy answered itself, or what went wrong after the head.
    pub reason: Option<Reason>,
    /// Attempts at endpoints.
    pub attempts: u32,
    /// Of the body, as received.
    pub request_bytes: u64,
    /// Of the body, as sent.
    pub response_bytes: u64,
    /// From the head's arrival to the answer's last byte.
    pub duration: Duration,
    /// Who asked; none on a Unix socket.
    pub client: Option<SocketAddr>,
    /// Faults that have struck it: `upstream delay slow-payments`.
    pub faults: Vec<String>,
    /// The id in `X-Request-Id`.
    pub request_id: String,
    /// `HTTP/1.1`.
    pub protocol: &'static str,
}

/// The log, or no log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Box<Entry>),
    /// Everything before it is to be written out, and then said so.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// A log that writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Writes to stdout, from a thread of its own that ends with the last clone.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn start() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    /// Writes to something else.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            sink: io::BufWriter::with_capacity(64 << 10, sink),
            dropped: Arc::clone(&dropped),
            untold: 0,
            told: None,
            broken: false,
        };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&waiting))?;
        Ok(Self(Some(Arc::new(Open { lines, dropped }))))
    }

    /// Whether an entry would be written; making one costs allocations.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands an entry to the writer. Never waits: without room the entry is dropped, and counted.
    pub fn log(&self, entry: Entry) {
        let Some(open) = &self.0 else { return };
        if open.lines.try_send(Message::Line(Box::new(entry))).is_err() {
            open.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything logged before is written, or the time is over. For the end of the process; blocks.
    /// False when something may be missing.
    pub fn flush(&self, within: Duration) -> bool {
        let Some(open) = &self.0 else { return true };
        let deadline = Instant::now() + within;
        let (done, written) = sync_channel(1);
        let mut flush = Message::Flush(done);
        while let Err(full) = open.lines.try_send(flush) {
            let (std::sync::mpsc::TrySendError::Full(back) | std::sync::mpsc::TrySendError::Disconnected(back)) = full;
            if Instant::now() >= deadline {
                return false;
            }
            flush = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

struct Writer<W: Write> {
    sink: io::BufWriter<W>,
    dropped: Arc<AtomicU64>,
    untold: u64,
    told: Option<Instant>,
    broken: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self, waiting: &Receiver<Message>) {
        let mut busy = 0_u32;
        loop {
            // While lines are being lost there is never a quiet moment to say so in.
            busy = busy.wrapping_add(1);
            if busy.is_multiple_of(1024) {
                self.tell_dropped();
            }
            let message = match waiting.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Nothing waits: now is the time for what was put off.
                    self.flush();
                    self.tell_dropped();
                    match waiting.recv_timeout(Duration::from_secs(1)) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            match message {
                Message::Line(entry) => self.write(&entry),
                Message::Flush(done) => {
                    self.flush();
                    // Whoever waited may have given up.
                    let _gone = done.send(());
                }
            }
        }
        self.flush();
        self.tell_dropped();
    }

    fn write(&mut self, entry: &Entry) {
        let written = serde_json::to_writer(&mut self.sink, &Line::of(entry))
            .map_err(io::Error::from)
            .and_then(|()| self.sink.write_all(b"\n"));
        self.check(written, 1);
    }

    fn flush(&mut self) {
        let flushed = self.sink.flush();
        self.check(flushed, 0);
    }

    /// A stdout that is closed is no reason to end, and a line about it for each request is no help.
    fn check(&mut self, result: io::Result<()>, lines: u64) {
        match result {
            Ok(()) => self.broken = false,
            Err(error) => {
                if !self.broken {
                    tracing::warn!(%error, "the access log cannot be written");
                }
                self.broken = true;
                self.dropped.fetch_add(lines, Relaxed);
            }
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Relaxed);
        if dropped > 0 {
            metrics::count_dropped_log_lines(dropped);
            self.untold += dropped;
        }
        if self.untold > 0 && self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            tracing::warn!(lines = self.untold, "lines of the access log were dropped: its reader is too slow");
            self.untold = 0;
            self.told = Some(Instant::now());
        }
    }
}

/// An entry as it is written.
#[derive(Serialize)]
struct Line<'e> {
    time: String,
    client: Option<SocketAddr>,
    protocol: &'static str,
    method: &'e str,
    host: &'e str,
    path: &'e str,
    service: Option<&'e str>,
    route: Option<&'e str>,
    endpoint: Option<SocketAddr>,
    status: u16,
    reason: Option<&'static str>,
    attempts: u32,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    faults: &'e [String],
    request_id: &'e str,
}

impl<'e> Line<'e> {
    fn of(entry: &'e Entry) -> Self {
        Self {
            time: rfc3339(entry.time),
            client: entry.client,
            protocol: entry.protocol,
            method: &entry.method,
            host: &entry.host,
            path: &entry.path,
            service: entry.service.as_deref(),
            route: entry.route.as_deref(),
            endpoint: entry.endpoint,
            status: entry.status,
            reason: entry.reason.map(|reason| reason.row().flag),
            attempts: entry.attempts,
            request_bytes: entry.request_bytes,
            response_bytes: entry.response_bytes,
            duration_ms: entry.duration.as_micros() as f64 / 1e3,
            faults: &entry.faults,
            request_id: &entry.request_id,
        }
    }
}

/// UTC, to the millisecond: `2026-02-28T23:59:59.999Z`. The days are Howard Hinnant's `civil_from_days`
/// ("chrono-compatible low-level date algorithms"). A time before 1970 is 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is their last; eras are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests;
