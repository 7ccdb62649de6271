//! The program's own log, on stderr: stdout belongs to the access log.
//!
//! A thread of its own writes it ([`outlet`]): a full disk, a reader that is gone or one that has stopped
//! reading ends nothing and holds up nobody.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::metrics;
use super::outlet::{self, Lost, Outlet};

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people. In colour on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A format that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log format is `text` or `json`, not `{}`", self.0)
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Starts the log. Without a format from the command line, `OUTRIGGER_LOG_FORMAT` decides, and text otherwise.
/// `RUST_LOG` filters, `info` by default. A value of either that makes no sense is reported in the log itself, and
/// the default taken: a log that is not there helps nobody. `level` is what to filter by where `RUST_LOG` is not set. The first
/// call counts, later ones do nothing.
///
/// Where there is no thread or descriptor for it, there is no log.
pub fn init(format: Option<LogFormat>, level: Option<&str>) {
    if STDERR.get().is_some() {
        tracing::debug!("the log is already there");
        return;
    }
    // Lines that are lost are counted, so what counts comes first.
    let _ = metrics::install();
    let started = outlet::apart(&io::stderr())
        .and_then(|stderr| Outlet::start("log", stderr, Lost::new("log", metrics::log_dropped())));
    let Ok(outlet) = started else { return };
    let outlet = STDERR.get_or_init(|| outlet);
    let (format, format_error) = match (format, env("OUTRIGGER_LOG_FORMAT").map(|name| name.parse())) {
        (Some(format), _) | (None, Some(Ok(format))) => (format, None),
        (None, Some(Err(error))) => (LogFormat::default(), Some(error)),
        (None, None) => (LogFormat::default(), None),
    };
    let (filter, filter_error) = filter(env("RUST_LOG").as_deref().or(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(outlet.clone());
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => {
            let colour = io::stderr().is_terminal() && env("NO_COLOR").is_none();
            builder.with_ansi(colour).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("the log is already there");
    }
    if let Some(error) = format_error {
        tracing::warn!(%error, "OUTRIGGER_LOG_FORMAT");
    }
    if let Some(error) = filter_error {
        tracing::warn!(error, "RUST_LOG");
    }
}

static STDERR: OnceLock<Outlet> = OnceLock::new();

/// Waits until what was logged is written, or the time is over. For the end of the process; blocks.
pub fn flush(within: Duration) {
    if let Some(outlet) = STDERR.get() {
        // Nobody is left to tell that something is missing.
        let _whole = outlet.flush(within);
    }
}

fn filter(directives: Option<&str>) -> (EnvFilter, Option<String>) {
    let (filter, error) = match directives.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error.to_string())),
        None => (EnvFilter::new("info"), None),
    };
    // It tells of each change in a directory it watches. Where the log is written into one, each line would make another.
    match WATCHER.parse() {
        Ok(quiet) => (filter.add_directive(quiet), error),
        Err(_) => (filter, error),
    }
}

/// The crate that watches directories.
const WATCHER: &str = "notify=info";

/// A variable that is set and not empty.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_makes_no_sense_is_info() {
        let filter = |text| (filter(text).0.to_string().replace("notify=info,", ""), filter(text).1);
        assert_eq!(filter(None).0, "info");
        assert_eq!(filter(Some("outrigger=debug,warn")).0, "outrigger=debug,warn");
        let (filter, error) = filter(Some("a=b=c"));
        assert_eq!(filter, "info");
        assert!(error.is_some());
    }

    #[test]
    fn a_format_is_text_or_json() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert_eq!(error.to_string(), "the log format is `text` or `json`, not `xml`");
    }
}
