//! Where records are kept until newer ones need the room.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Ms, Record, Verdict};

/// Of requests that asked for it.
const ASKED: usize = 128;
/// Of requests that were lost.
const FAILED: usize = 256;
/// Of requests that were slow, or saved.
const TROUBLED: usize = 256;

/// Why a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The request asked for it.
    Asked,
    /// It was lost.
    Failed,
    /// Something went wrong, and it was answered.
    Troubled,
}

/// A line of the list of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The request's id.
    pub id: String,
    /// When its head had arrived, in milliseconds of Unix time.
    pub time_ms: u64,
    /// Why it is kept.
    pub kept: Group,
    /// As sent.
    pub method: String,
    /// Where it went.
    pub service: Option<Arc<str>>,
    /// What the client got; 0 for nothing.
    pub status: u16,
    /// What it came to.
    pub verdict: Verdict,
    /// Why it was lost.
    pub reason: Option<String>,
    /// Attempts at endpoints.
    pub attempts: usize,
    /// From its head to the answer's last byte.
    pub duration_ms: Ms,
}

/// Every record that is kept: at most 640, each of a few KiB. One thread's.
#[derive(Debug, Default)]
pub struct Shelves {
    asked: VecDeque<Box<Record>>,
    failed: VecDeque<Box<Record>>,
    troubled: VecDeque<Box<Record>>,
}

impl Record {
    /// Why it is kept.
    pub fn group(&self) -> Group {
        let verdict = self.returned.as_ref().map(|returned| &returned.verdict);
        match verdict {
            _ if self.asked => Group::Asked,
            Some(Verdict::Failure) => Group::Failed,
            _ => Group::Troubled,
        }
    }

    fn summary(&self) -> Summary {
        let returned = self.returned.as_ref();
        Summary {
            id: self.id.clone(),
            time_ms: self.time_ms,
            kept: self.group(),
            method: self.method.clone(),
            service: self.service.clone(),
            status: returned.map_or(0, |returned| returned.status),
            verdict: returned.map_or(Verdict::NotCounted, |returned| returned.verdict.clone()),
            reason: returned.and_then(|returned| returned.reason.clone()),
            attempts: self.attempts.len(),
            duration_ms: returned.map_or(Ms(0.0), |returned| returned.at_ms),
        }
    }
}

impl Shelves {
    /// Keeps a record; the oldest of its group goes when there is no room.
    pub fn put(&mut self, record: Box<Record>) {
        let (shelf, room) = match record.group() {
            Group::Asked => (&mut self.asked, ASKED),
            Group::Failed => (&mut self.failed, FAILED),
            Group::Troubled => (&mut self.troubled, TROUBLED),
        };
        if shelf.len() == room {
            shelf.pop_front();
        }
        shelf.push_back(record);
    }

    /// The newest record of an id: a client may use one twice.
    pub fn find(&self, id: &str) -> Option<&Record> {
        self.all().filter(|record| record.id == id).max_by_key(|record| record.time_ms)
    }

    /// All, the newest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut records: Vec<&Record> = self.all().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.time_ms));
        records.into_iter().map(Record::summary).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Record> {
        self.asked.iter().chain(&self.failed).chain(&self.troubled).map(|record| &**record)
    }
}
