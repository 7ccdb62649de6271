//! Where lines leave the process: stderr, stdout, a file.
//!
//! Whoever reads them may be gone, slow or stopped, and a disk may be full. None of that may end the proxy or hold a
//! thread of it, so lines are put into a bounded queue, and a thread of their own writes them. What finds the queue full
//! or cannot be written is lost, counted, and told once the outlet works again.
//!
//! tracing-subscriber's own writer, given stderr, does neither: a full pipe blocks every thread that logs, and a write
//! that fails is reported with `eprintln!`, which panics where stderr is what has failed.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
#[allow(clippy::disallowed_types, reason = "taken where a line is lost, for an addition")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::clock::Instant;

/// Lines that may wait for the writer.
const WAITING: usize = 8192;
/// Bytes that may wait for the writer.
const WAITING_BYTES: usize = 8 << 20;
/// How often what was lost is told, at most.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long an outlet that is not blocking and full is left alone.
const FULL: Duration = Duration::from_millis(5);

/// A queue of lines and the thread that writes them. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Outlet(Arc<Open>);

#[derive(Debug)]
struct Open {
    lines: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
    lost: Lost,
}

enum Message {
    Line(Vec<u8>),
    /// Everything before it is to be written, and then said so.
    Flush(SyncSender<()>),
}

impl Outlet {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn start(name: &str, sink: impl Write + Send + 'static, lost: Lost) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let (queued, losses) = (Arc::clone(&bytes), lost.clone());
        std::thread::Builder::new().name(name.into()).spawn(move || run(sink, &waiting, &queued, &losses))?;
        Ok(Self(Arc::new(Open { lines, bytes, lost })))
    }

    /// Hands a line to the writer, its end included. Never waits.
    pub fn put(&self, line: Vec<u8>) {
        let Open { lines, bytes, lost } = &*self.0;
        let len = line.len();
        if bytes.fetch_add(len, Relaxed) + len > WAITING_BYTES || lines.try_send(Message::Line(line)).is_err() {
            bytes.fetch_sub(len, Relaxed);
            lost.add(1, None);
        }
    }

    /// Waits until everything that was put before is written, or the time is over. False when something may be missing.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let (done, written) = sync_channel(1);
        send_by(&self.0.lines, Message::Flush(done), deadline)
            && written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// Sends into a queue that may be full, until the deadline.
pub(super) fn send_by<T>(queue: &SyncSender<T>, mut message: T, deadline: Instant) -> bool {
    loop {
        match queue.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(_)) if Instant::now() >= deadline => return false,
            Err(TrySendError::Full(back)) => message = back,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Takes what is written as one line: tracing-subscriber writes an event at once.
impl Write for Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(sink: impl Write, waiting: &Receiver<Message>, bytes: &AtomicUsize, lost: &Lost) {
    let mut sink = Sink::new(sink);
    loop {
        let message = match waiting.recv_timeout(TELL_EVERY) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                lost.tell();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match message {
            Message::Line(line) => {
                bytes.fetch_sub(line.len(), Relaxed);
                if let Err(error) = sink.write(&line) {
                    lost.add(1, Some(&error));
                }
            }
            Message::Flush(done) => {
                // Whoever waited may have given up.
                let _gone = done.send(());
            }
        }
    }
}

/// A stream of whole lines: where one was cut by an error, the next begins on a line of its own.
#[derive(Debug)]
pub(super) struct Sink<W> {
    inner: W,
    torn: bool,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, torn: false }
    }

    /// Writes lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.torn) {
            self.write_all(b"\n").inspect_err(|_| self.torn = true)?;
        }
        self.write_all(lines)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut begun = false;
        while !bytes.is_empty() {
            match self.inner.write(bytes) {
                Ok(0) => {
                    self.torn |= begun;
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(n) => {
                    bytes = &bytes[n..];
                    begun = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the description has made it so; a reader that is slow is no error.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(FULL),
                Err(error) => {
                    self.torn |= begun;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Another descriptor of the same stream: a write that blocks must not hold the lock of the standard library's.
///
/// # Errors
///
/// When there is no descriptor left.
pub fn apart(stream: &impl AsFd) -> io::Result<std::fs::File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Counts lines that were lost, and tells them once an interval.
#[derive(Debug, Clone)]
pub struct Lost(Arc<Losses>);

#[derive(Debug)]
struct Losses {
    what: &'static str,
    counter: metrics::Counter,
    #[allow(clippy::disallowed_types, reason = "see the import")]
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    lines: u64,
    told: Option<Instant>,
}

impl Untold {
    /// Counts, and hands out what is to be told: nothing twice within the interval.
    fn due(&mut self, lines: u64) -> Option<u64> {
        self.lines += lines;
        if self.lines == 0 || self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.lines))
    }
}

impl Lost {
    /// `what` is whose lines they are, in the log; `counter` counts them.
    pub fn new(what: &'static str, counter: metrics::Counter) -> Self {
        #[allow(clippy::disallowed_types, reason = "see the import")]
        Self(Arc::new(Losses { what, counter, untold: Mutex::default() }))
    }

    /// Counts, and says so where nothing was said for a while. `error` is none where there was no room.
    pub fn add(&self, lines: u64, error: Option<&io::Error>) {
        let Losses { what, counter, untold } = &*self.0;
        counter.increment(lines);
        let Some(lines) = untold.lock().unwrap_or_else(PoisonError::into_inner).due(lines) else { return };
        // The lock is gone: this line may be lost as well, and comes back here.
        match error {
            Some(error) => tracing::warn!(lines, %error, "lines of the {what} were lost: it cannot be written"),
            None => tracing::warn!(lines, "lines of the {what} were lost: its reader is too slow"),
        }
    }

    /// Says what was lost since it was last said, for whoever loses no further line.
    pub(super) fn tell(&self) {
        let Losses { what, untold, .. } = &*self.0;
        if let Some(lines) = untold.lock().unwrap_or_else(PoisonError::into_inner).due(0) {
            tracing::warn!(lines, "further lines of the {what} were lost");
        }
    }
}

#[cfg(test)]
mod tests;
