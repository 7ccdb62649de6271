//! Who did what, when, and why it ended.
//!
//! Every entry is a line of the log at level `info` under the target `audit`, and, where `faults.audit_log` names a file, a JSON
//! line appended to it. The newest are kept for whoever asks.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::{End, Refused};
use crate::fault::Place;
use crate::fault::active::Active;
use crate::fault::spec::Spec;

/// Entries that are kept.
const KEPT: usize = 1000;

/// The audit log.
#[derive(Debug)]
pub struct Audit {
    entries: VecDeque<Entry>,
    file: Option<PathBuf>,
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
        Self { entries: VecDeque::new(), file }
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
        if let Some(path) = &self.file
            && let Err(error) = append(path, &entry)
        {
            tracing::error!(%error, path = %path.display(), "the audit log cannot be written");
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

fn append(path: &PathBuf, entry: &Entry) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    // Opened anew each time, so that a rotated file is never written to.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&line)
}

fn now() -> String {
    crate::telemetry::access_log::rfc3339(SystemTime::now())
}
