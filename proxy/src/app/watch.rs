//! The configuration file, looked at four times a second.
//!
//! Why not the kernel's notifications? They are bound to directories, and a name may lead anywhere: through a link to a
//! file elsewhere, through a link to a folder that is moved at each deployment, through a mount of that one file. Each of
//! these changes what is read and nothing in the directory. A `stat` follows the name as a reader would, costs two
//! microseconds, and works on file systems that notify of nothing. See `docs/adr/0017-looking-at-the-file.md`.
//!
//! Only a file is read again, and opened so that nothing waits: this thread is the only one that looks.
//!
//! A file that is just being written must not be read as if somebody had meant it: what is handed on was the same at two
//! looks, and for longer where it looks cut off.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Sender;

use crate::clock::Instant;
use crate::config::{self, ConfigErrors};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(250);
/// How long a file has to stay the same until it is believed.
const SETTLE: Duration = Duration::from_millis(300);
/// As long where somebody has said by a signal that it is there.
const SETTLE_ASKED: Duration = Duration::from_millis(30);
/// As long where it seems to be cut off.
const SETTLE_CUT: Duration = Duration::from_secs(3);
/// A file that does not come to rest for this long is an error.
const RESTLESS: Duration = Duration::from_secs(30);
/// Times of files are coarse: one that was changed this lately may have been changed again without a trace in them.
const RECENT: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug)]
pub struct Seen {
    /// The file's text, or why there is none.
    pub text: Result<String, ConfigErrors>,
    /// Whether somebody asked for it; else it has changed.
    pub asked: bool,
}

/// Looks until nobody listens any more. `known` is the text that is in use, if it came from a file.
pub fn run(path: &Path, known: Option<String>, asks: &Receiver<()>, tell: &Sender<Seen>) {
    // That a pipe is no file is news only to whoever asks.
    let mut known = known.map_or_else(|| config::read_file_again(path), Ok);
    let mut marks = None;
    loop {
        let asked = match asks.recv_timeout(LOOK) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = Marks::of(path);
        if !asked && marks == Some(now) && !now.are_recent() {
            continue;
        }
        marks = Some(now);
        let text = config::read_file_again(path);
        if !asked && same(&text, &known) {
            continue;
        }
        let text = settled(path, text, asked);
        if !asked && same(&text, &known) {
            continue;
        }
        known.clone_from(&text);
        if tell.blocking_send(Seen { text, asked }).is_err() {
            return;
        }
    }
}

type Text = Result<String, ConfigErrors>;

fn same(one: &Text, other: &Text) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.to_string() == other.to_string(),
        _ => false,
    }
}

/// The text once it has come to rest.
fn settled(path: &Path, mut text: Text, asked: bool) -> Text {
    let start = Instant::now();
    let mut since = start;
    while start.elapsed() < RESTLESS {
        let rest = match &text {
            Ok(text) if looks_cut(text) => SETTLE_CUT,
            _ if asked => SETTLE_ASKED,
            _ => SETTLE,
        };
        std::thread::sleep(SETTLE_ASKED);
        let again = config::read_file_again(path);
        if !same(&again, &text) {
            text = again;
            since = Instant::now();
        } else if since.elapsed() >= rest {
            return text;
        }
    }
    let name = path.display().to_string();
    Err(ConfigErrors::whole(&name, format!("has been changing for {} s without an end", RESTLESS.as_secs())))
}

/// Whether it may be the beginning of a longer file. In braces it cannot: those have to be closed.
fn looks_cut(text: &str) -> bool {
    let written = text.trim();
    !written.starts_with('{') && (!text.ends_with('\n') || written.is_empty() || written.ends_with(':'))
}

/// What tells one state of a file from another, whatever leads to it. All zero where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Marks {
    pub(super) fn of(path: &Path) -> Self {
        std::fs::metadata(path).map_or_else(
            |_| Self::default(),
            |file| Self {
                file: (file.dev(), file.ino()),
                size: file.size(),
                written: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            },
        )
    }

    pub(super) fn are_recent(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let age = now.as_secs().saturating_sub(u64::try_from(self.changed.0).unwrap_or(0));
        age <= RECENT.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_ends_in_the_middle_of_something_looks_cut() {
        for cut in ["", "\n", "services:", "services:\n", "services:\n  a:\n\n", "services: {a: {}}\nlisteners: [{addr"]
        {
            assert!(looks_cut(cut), "{cut:?}");
        }
        for whole in ["{}", "{\"services\": {}}", "services: {a: {}}\n", "# nothing\n{}\n"] {
            assert!(!looks_cut(whole), "{whole:?}");
        }
    }

    #[test]
    fn what_is_written_in_two_steps_is_read_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "services:\n").unwrap();
        let (ask, asks) = std::sync::mpsc::channel();
        let (tell, mut told) = tokio::sync::mpsc::channel(8);
        let at = path.clone();
        let looking = std::thread::spawn(move || run(&at, Some("old".into()), &asks, &tell));
        std::thread::sleep(2 * SETTLE);
        std::fs::write(&path, "services:\n  a: {}\n").unwrap();
        let seen = told.blocking_recv().unwrap();
        assert_eq!((seen.text.unwrap().as_str(), seen.asked), ("services:\n  a: {}\n", false));
        drop(ask);
        looking.join().unwrap();
        assert!(told.try_recv().is_err(), "half of it was read, too");
    }
}
