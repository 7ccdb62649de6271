//! One line of JSON per request, on stdout.
//!
//! A log must not be a way to stop the proxy: whoever reads stdout may be slow, or stop. So a worker only puts an
//! [`Entry`] into a bounded channel, one thread formats and writes, and what finds the channel full is dropped.
//! A log that lost lines says so: they are counted in `outrigger_access_log_dropped_total`, and told on stderr.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::Instant;
use crate::error::Reason;
use crate::telemetry::metrics;
use crate::telemetry::outlet::{self, Lost, Sink};
use crate::telemetry::query::Values;

/// Lines that may wait for the writer.
const WAITING: usize = 8192;
/// Bytes of what clients have sent that may wait for the writer.
const WAITING_BYTES: usize = 8 << 20;
/// Bytes that are written at once while lines wait.
const PAGE: usize = 64 << 10;

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When its head had arrived.
    pub time: SystemTime,
    /// As sent.
    pub method: String,
    /// As sent, port included.
    pub host: String,
    /// As sent, query included; what is told of that is the log's to decide.
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
    /// The access rule that has refused it: `routes[2].access.deny: 10.0.0.0/8`.
    pub rule: Option<Arc<str>>,
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

impl Entry {
    /// Bytes of it that are as large as the client made them.
    fn sent(&self) -> usize {
        self.method.len() + self.host.len() + self.path.len() + self.request_id.len()
    }
}

/// The log, or no log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    lines: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
    lost: Lost,
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

    /// Writes to stdout, from a thread of its own that ends with the last clone. After [`metrics::install`].
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn start(values: Values) -> io::Result<Self> {
        Self::to(outlet::apart(&io::stdout())?, values)
    }

    /// Writes to something else.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn to(sink: impl Write + Send + 'static, values: Values) -> io::Result<Self> {
        Self::with(sink, values, Lost::new("access log", metrics::access_log_dropped()))
    }

    fn with(sink: impl Write + Send + 'static, values: Values, lost: Lost) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let (queued, losses) = (Arc::clone(&bytes), lost.clone());
        let writer = Writer { sink: Sink::new(sink), values, lost: losses, queued, page: Vec::new(), lines: 0 };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&waiting))?;
        Ok(Self(Some(Arc::new(Open { lines, bytes, lost }))))
    }

    /// Whether an entry would be written; making one costs allocations.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands an entry to the writer. Never waits: without room the entry is dropped, and counted here and now, since the
    /// writer may be stuck for good.
    pub fn log(&self, entry: Entry) {
        let Some(open) = &self.0 else { return };
        let Open { lines, bytes, lost } = &**open;
        let len = entry.sent();
        if bytes.fetch_add(len, Relaxed) + len > WAITING_BYTES
            || lines.try_send(Message::Line(Box::new(entry))).is_err()
        {
            bytes.fetch_sub(len, Relaxed);
            lost.add(1, None);
        }
    }

    /// Waits until everything logged before is written, or the time is over. For the end of the process; blocks.
    /// False when something may be missing.
    pub fn flush(&self, within: Duration) -> bool {
        let Some(open) = &self.0 else { return true };
        let deadline = Instant::now() + within;
        let (done, written) = sync_channel(1);
        outlet::send_by(&open.lines, Message::Flush(done), deadline)
            && written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

struct Writer<W: Write> {
    sink: Sink<W>,
    values: Values,
    lost: Lost,
    queued: Arc<AtomicUsize>,
    /// Lines that are written at once, and how many they are.
    page: Vec<u8>,
    lines: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self, waiting: &Receiver<Message>) {
        loop {
            let message = match waiting.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Nothing waits: now is the time for what was put off.
                    self.flush();
                    match waiting.recv_timeout(outlet::TELL_EVERY) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => {
                            self.lost.tell();
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            match message {
                Message::Line(entry) => {
                    self.queued.fetch_sub(entry.sent(), Relaxed);
                    self.write(&entry);
                }
                Message::Flush(done) => {
                    self.flush();
                    // Whoever waited may have given up.
                    let _gone = done.send(());
                }
            }
        }
        self.flush();
    }

    fn write(&mut self, entry: &Entry) {
        let begun = self.page.len();
        match serde_json::to_writer(&mut self.page, &Line::of(entry, self.values)) {
            Ok(()) => {
                self.page.push(b'\n');
                self.lines += 1;
            }
            // Never, to memory; and if so, without half a line.
            Err(error) => {
                self.page.truncate(begun);
                self.lost.add(1, Some(&error.into()));
            }
        }
        if self.page.len() >= PAGE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.write(&self.page) {
            self.lost.add(self.lines, Some(&error));
        }
        self.page.clear();
        self.lines = 0;
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
    path: Cow<'e, str>,
    service: Option<&'e str>,
    route: Option<&'e str>,
    endpoint: Option<SocketAddr>,
    status: u16,
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'e str>,
    attempts: u32,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    faults: &'e [String],
    request_id: &'e str,
}

impl<'e> Line<'e> {
    fn of(entry: &'e Entry, values: Values) -> Self {
        Self {
            time: rfc3339(entry.time),
            client: entry.client,
            protocol: entry.protocol,
            method: &entry.method,
            host: &entry.host,
            path: values.tell(&entry.path),
            service: entry.service.as_deref(),
            route: entry.route.as_deref(),
            endpoint: entry.endpoint,
            status: entry.status,
            reason: entry.reason.map(Reason::token),
            rule: entry.rule.as_deref(),
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
