//! Who did what, when, and why it ended.
//!
//! Every entry is a line of the log at level `info` under the target `audit`, and, where `faults.audit_log` names a file, a JSON
//! line appended to it. The newest are kept for whoever asks.
//!
//! Whoever adds a fault holds the manager's lock, so nothing is written here: a thread of its own appends to the file.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::{End, Refused};
use crate::fault::Place;
use crate::fault::active::Active;
use crate::fault::spec::Spec;
use crate::telemetry::metrics;
use crate::telemetry::outlet::{Lost, Outlet};

/// Entries that are kept.
const KEPT: usize = 1000;

/// The audit log.
#[derive(Debug)]
pub struct Audit {
    entries: VecDeque<Entry>,
    file: Option<Outlet>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// `2026-11-24T10:00:00Z`.
    pub time: String,
    /// What happened.
    pub what: Happened,
    /// The fault's id; none where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What it is called.
    pub fault: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it acts.
    pub place: Place,
    /// The service or the TCP proxy.
    pub subject: String,
    /// Who did it.
    pub by: String,
    /// Why it ended or was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often it has struck, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injected: Option<u64>,
}

/// What happened to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Happened {
    /// It was added.
    Added,
    /// It was not.
    Refused,
    /// It ended.
    Ended,
}

impl Audit {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        let file = file.and_then(|path| {
            let lost = Lost::new("audit log", metrics::audit_log_dropped());
            let started = Outlet::start("audit-log", Appended(path), lost);
            started.inspect_err(|error| tracing::error!(%error, "the audit log has no thread to write it")).ok()
        });
        Self { entries: VecDeque::new(), file }
    }

    pub(super) fn file(&self) -> Option<Outlet> {
        self.file.clone()
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(super) fn added(&mut self, active: &Active) {
        self.put(entry(active, Happened::Added, &active.origin.by));
    }

    pub(super) fn ended(&mut self, active: &Active, why: &End, by: &str) {
        let entry = entry(active, Happened::Ended, by);
        self.put(Entry { why: Some(why.to_string()), injected: Some(active.injected()), ..entry });
    }

    pub(super) fn refused(&mut self, spec: &Spec, by: &str, why: &Refused) {
        self.put(Entry {
            time: now(),
            what: Happened::Refused,
            id: None,
            fault: spec.name.clone().unwrap_or_default(),
            kind: spec.kind.clone(),
            place: spec.place,
            subject: spec.service.clone().or_else(|| spec.proxy.clone()).unwrap_or_default(),
            by: by.to_owned(),
            why: Some(why.to_string()),
            injected: None,
        });
    }

    fn put(&mut self, entry: Entry) {
        let Entry { what, fault, kind, place, subject, by, why, injected, .. } = &entry;
        let (place, why) = (place.name(), why.as_deref().unwrap_or_default());
        tracing::info!(target: "audit", ?what, fault, kind, place, subject, by, why, injected, "fault");
        if let Some(file) = &self.file
            && let Ok(mut line) = serde_json::to_vec(&entry)
        {
            line.push(b'\n');
            file.put(line);
        }
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

fn entry(active: &Active, what: Happened, by: &str) -> Entry {
    Entry {
        time: now(),
        what,
        id: Some(active.id),
        fault: active.name.to_string(),
        kind: active.fault.kind.name().to_owned(),
        place: active.fault.place,
        subject: active.subject.label(),
        by: by.to_owned(),
        why: None,
        injected: None,
    }
}

/// A file that is opened anew for each line, so that one that was rotated away is never written to.
#[derive(Debug)]
struct Appended(PathBuf);

impl Write for Appended {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        OpenOptions::new().create(true).append(true).open(&self.0)?.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now() -> String {
    crate::telemetry::access_log::rfc3339(SystemTime::now())
}
