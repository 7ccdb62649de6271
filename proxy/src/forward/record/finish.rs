//! How a request ended, and who is told of it when its last byte has gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::RequestRecord;
use crate::counts::{Account, First, Rescue, ServiceTally};
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
    pub fn finish(&mut self, worker: &Worker, request: &Request) {
        let tell = |tally: &mut ServiceTally| {
            let heard = if self.refused.is_some() { None } else { self.heard };
            let latency = heard.unwrap_or_else(timer::now).saturating_duration_since(self.started);
            match self.refused {
                Some(reason) => tally.refused(reason, latency),
                None => tally.answered(self.status, latency),
            }
            if let Some(account) = self.account(latency) {
                tally.finished(&account);
                if let Some(route) = &self.route {
                    route.count(&account);
                }
            }
        };
        match &self.side {
            Some(side) => tell(&mut side.counts.tally.borrow_mut()),
            None => tell(&mut worker.unrouted.borrow_mut()),
        }
        if worker.access_log.is_on() {
            worker.access_log.log(self.entry(request));
        }
        if let Some(mut details) = self.details.take() {
            let now = timer::now();
            let account = self.account(now.saturating_duration_since(self.started));
            details.returned(now, self.status, account.as_ref(), self.refused.or(self.broken));
            worker.recorder.hand_in(details);
        }
    }

    /// How the request is accounted for, if it says anything about the service.
    fn account(&self, waited: Duration) -> Option<Account> {
        let (status, refused, broken) = (self.status, self.refused, self.broken);
        let degraded = self.degraded.is_some();
        let ended = Ended { status, grpc: self.grpc.filter(|_| !degraded), refused, broken, degraded, waited };
        let outcome = availability::outcome(&ended)?;
        let first = self.first.unwrap_or(First::Failed);
        let rescued_by = match self.by {
            _ if degraded => Some(Rescue::Fallback),
            Some(Why::First | Why::Replay) | None => None,
            Some(Why::Move) => Some(Rescue::OtherEndpoint),
            Some(Why::Retry) => Some(Rescue::Retry),
            Some(Why::TryTimeout) => Some(Rescue::TryTimeout),
            Some(Why::Hedge) => Some(Rescue::Hedge),
        };
        Some(Account { first, outcome, rescued_by, attempts: self.attempts })
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
