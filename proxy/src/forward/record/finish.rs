//! How a request ended, and who is told of it when its last byte has gone.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::RequestRecord;
use super::late_first::Waiting;
use crate::counts::{Account, Fate, First, Rescue, ServiceTally};
use crate::error::Reason;
use crate::http::Head;
use crate::request::Request;
use crate::request::grpc::status_of;
use crate::telemetry::access_log::Entry;
use crate::telemetry::availability::{self, Ended};
use crate::timer;
use crate::worker::Worker;
use crate::worker::attempt_info::Why;

impl RequestRecord {
    /// An endpoint answered.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// The proxy answered.
    pub fn refused(&mut self, reason: Reason) {
        self.status = reason.row().status;
        self.refused = Some(reason);
    }

    /// The answer broke off after its head.
    pub fn broken(&mut self, reason: Reason) {
        self.broken = Some(reason);
    }

    /// The answer has ended, with these trailers. How a gRPC call ended stands there and not in the head.
    pub fn trailed(&mut self, trailers: &Head) {
        self.grpc = status_of(trailers).or(self.grpc);
    }

    /// Bytes of body went to the client.
    pub fn sent(&mut self, n: usize) {
        self.sent += n as u64;
    }

    /// Its answer could not go out at once.
    pub fn waited(&mut self) {
        self.waited = true;
    }

    /// Whether its answer took longer than its head: only then another look at the clock is due for when it ended.
    pub fn has_waited(&self) -> bool {
        self.waited
    }

    /// Bytes of body that went to the client.
    pub fn bytes(&self) -> u64 {
        self.sent
    }

    /// Counts and logs a request that is over.
    pub fn finish(&mut self, worker: &Rc<Worker>, request: &Request) {
        let heard = if self.refused.is_some() { None } else { self.heard };
        let latency = heard.unwrap_or_else(timer::now).saturating_duration_since(self.started);
        // A client that leaves while it is sending has waited for nothing yet.
        let waited = request.body.ended().map_or(Duration::ZERO, |ended| {
            heard.unwrap_or_else(timer::now).saturating_duration_since(self.started.max(ended))
        });
        let ended = self.ended(waited);
        let account = Account::of(availability::fate(&ended), self.attempts);
        let late = self.late.take().filter(|late| account.fate == Fate::Unknown && late.first().is_none());
        let named = self.named.take();
        let tell = |tally: &mut ServiceTally| {
            match self.refused {
                Some(reason) => tally.refused(reason, latency),
                None => tally.answered(self.status, latency),
            }
            match named {
                Some(_) if late.is_some() => {}
                Some(named) => tally.closed(&account, named),
                None => {
                    tally.opened(false);
                    tally.closed(&account, false);
                }
            }
        };
        match &self.side {
            Some(side) => tell(&mut side.counts.tally.borrow_mut()),
            None => tell(&mut worker.unrouted.borrow_mut()),
        }
        if let Some(route) = &self.route {
            route.count(account.fate);
        }
        if worker.access_log.is_on() {
            worker.access_log.log(self.entry(request));
        }
        let details = self.details.take().map(|mut details| {
            details.returned(timer::now(), self.status, account.fate, self.refused.or(self.broken));
            (Rc::clone(worker), details)
        });
        match (late, &self.side, named) {
            (Some(late), Some(side), Some(named)) => {
                late.wait(Waiting { counts: Rc::clone(&side.counts), named, ended, attempts: self.attempts, details });
            }
            _ => details.into_iter().for_each(|(worker, details)| worker.recorder.hand_in(details)),
        }
    }

    /// Takes a request that nobody finishes out of its service's account.
    pub(super) fn left(&mut self) {
        if self.status == 0 {
            self.refused = Some(Reason::ClientGone);
        } else {
            self.broken.get_or_insert(Reason::ClientGone);
        }
        let ended = self.ended(timer::now().saturating_duration_since(self.started));
        let account = Account::of(availability::fate(&ended), self.attempts);
        if let (Some(side), Some(named)) = (&self.side, self.named.take()) {
            side.counts.tally.borrow_mut().closed(&account, named);
        }
    }

    /// What is known of how the request has ended.
    fn ended(&self, waited: Duration) -> Ended {
        let degraded = self.degraded.is_some();
        let late = self.late.as_ref().and_then(|late| late.first());
        Ended {
            status: self.status,
            grpc: self.grpc.filter(|_| !degraded),
            refused: self.refused,
            broken: self.broken,
            degraded,
            waited,
            first: self.first.or(late).unwrap_or(First::Unknown),
            by: match self.by {
                None | Some(Why::First | Why::Replay) => None,
                Some(Why::Move) => Some(Rescue::OtherEndpoint),
                Some(Why::Retry) => Some(Rescue::Retry),
                Some(Why::TryTimeout) => Some(Rescue::TryTimeout),
                Some(Why::Hedge) => Some(Rescue::Hedge),
            },
        }
    }

    fn entry(&self, request: &Request) -> Entry {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = request.target();
        // Of a request that could not be parsed nothing is known, least of all that it was for `/`.
        let unread = request.head.method().is_empty();
        let or_dash = |text: String| if unread { "-".to_owned() } else { text };
        Entry {
            time: SystemTime::now(),
            method: or_dash(text(request.head.method())),
            host: text(target.host),
            path: or_dash(text(&target.origin)),
            service: self.side.as_ref().map(|side| Arc::clone(&side.cluster.name)).or_else(|| self.name.clone()),
            route: self.route.as_ref().map(|route| Arc::clone(&route.name)),
            endpoint: self.endpoint,
            status: self.status,
            reason: self.refused.or(self.broken),
            rule: self.rule.clone(),
            attempts: self.attempts,
            request_bytes: request.body.taken(),
            response_bytes: self.sent,
            duration: timer::now().saturating_duration_since(self.started),
            client: Some(request.client.peer),
            faults: self.struck.as_ref().map(|struck| struck.words()).unwrap_or_default(),
            request_id: text(request.id.as_bytes()),
            protocol: request.head.version().text(),
        }
    }
}

#[cfg(test)]
mod tests;
