//! Consul, followed by blocking queries on `/v1/health/service/:name`.
//!
//! # Why health, why stale, and why critical instances too?
//!
//! *Health* and not catalog: only there do the checks come along. *Stale* by default: any server may answer, so
//! an election, or a lost leader, stops no watch; what is risked is bounded by [`ConsulOptions::max_stale`].
//! *Critical instances* are asked for and kept in the set, with weight 0: with `?passing` "every instance is
//! critical" would look like "there is no such service", and these are different emergencies.
//!
//! What is *not* an answer, and therefore never touches the last good set: every status but 200 (403 is a
//! permission, 429 and 5xx are load or an election), JSON of another form, an answer beyond the size bound, and an
//! answer that Consul says it filtered by ACLs where that can be why something is missing: an expired token
//! must not look like a mass removal. To whom it does not know, Consul does not even say that it filtered; so without a token, under a
//! default policy of deny, an empty answer is none.
//!
//! [`blocking`] holds the index rules, `wire` the JSON, `env` the `CONSUL_*` variables, [`register`] the few writes
//! that tests and the demo need.

mod address;
pub mod blocking;
mod client;
mod env;
mod options;
pub mod register;
pub(crate) mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::backoff::Backoff;
use crate::watch::{Polled, Source, Subject, follow};
use crate::{InstanceSet, Registry, ServiceName, Watch};
use blocking::{Answer, Ask, Blocking, Rules, Verdict};
use client::{Client, PROMPT, Reply};

pub use options::{ConsulOptions, ConsulTls, Secret};
pub use register::{Check, Registration, Weights};

/// A Consul, local agent or server. Cheap to clone.
#[derive(Clone)]
pub struct Consul {
    client: Arc<Client>,
}

/// What went wrong with a Consul.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsulError {
    /// A setting that cannot be used.
    #[error("{what}: {why}")]
    Invalid {
        /// The setting, by the name under which it was given.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No complete answer came.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that is none.
    #[error("{0}")]
    Answer(String),
    /// Consul refused.
    #[error("status {status}{text}{}", advice(*.status))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => " (the token needs node:read and service:read)",
        429 => " (the agent allows 200 connections per client by default: limits.http_max_conns_per_client)",
        301..=308 => " (redirects are not followed, for the token's sake)",
        _ => "",
    }
}

impl Consul {
    /// Prepares to talk; nothing is sent yet. Reads the TLS files.
    ///
    /// # Errors
    /// An option that cannot be used.
    pub fn new(options: ConsulOptions) -> Result<Self, ConsulError> {
        Ok(Self { client: Arc::new(Client::new(options)?) })
    }

    /// Whether the Consul has a leader.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn has_leader(&self) -> Result<bool, ConsulError> {
        let reply = self.client.read(&["v1", "status", "leader"], &[], PROMPT).await?;
        let leader: String = serde_json::from_slice(&reply.body).map_err(malformed)?;
        Ok(!leader.is_empty())
    }
}

impl Registry for Consul {
    fn watch(&self, service: &ServiceName) -> Watch {
        let subject = Subject { registry: self.describe(), service: service.clone() };
        follow(Query::new(Arc::clone(&self.client), service), subject, Backoff::NETWORK, fastrand::Rng::new())
    }

    fn describe(&self) -> String {
        match &self.client.options.datacenter {
            Some(dc) => format!("consul at {} (datacenter {dc})", self.client.address),
            None => format!("consul at {}", self.client.address),
        }
    }
}

/// One followed service.
struct Query {
    client: Arc<Client>,
    service: ServiceName,
    blocking: Blocking,
    margin: Duration,
    wait: Duration,
    /// The last answer was too stale: ask the leader, without blocking.
    ask_leader: bool,
    /// The last accepted answer was filtered by ACLs.
    filtered: bool,
}

impl Query {
    fn new(client: Arc<Client>, service: &ServiceName) -> Self {
        let ConsulOptions { wait, full_reread, .. } = client.options;
        let rules = Rules { wait, full_reread, ..Rules::default() };
        let blocking = Blocking::new(rules);
        let service = service.clone();
        Self { client, service, blocking, margin: rules.margin, wait, ask_leader: false, filtered: false }
    }

    async fn ask(&self, ask: Ask) -> Result<Reply, ConsulError> {
        let (index, wait) = (ask.index.to_string(), format!("{}ms", ask.wait.as_millis()));
        let mut query = Vec::new();
        if self.client.options.stale && !self.ask_leader {
            query.push(("stale", ""));
        }
        if ask.index != 0 {
            query.extend([("index", index.as_str()), ("wait", &wait)]);
        }
        self.client.read(&["v1", "health", "service", self.service.as_str()], &query, ask.timeout).await
    }

    /// Whether a set that Consul filtered by ACLs may lack what the token no longer shows.
    fn hides(&self, set: &InstanceSet, last: Option<&Arc<InstanceSet>>) -> bool {
        if set.is_empty() {
            return true;
        }
        // A token that never saw everything says nothing new by not seeing everything.
        let Some(last) = last.filter(|_| !self.filtered) else { return false };
        let now: BTreeSet<_> =
            set.instances().iter().map(|i| &i.id).chain(set.skipped().iter().map(|s| &s.id)).collect();
        last.instances().iter().any(|instance| !now.contains(&instance.id))
    }
}

impl Source for Query {
    async fn poll(&mut self, last: Option<&Arc<InstanceSet>>) -> Result<Polled, String> {
        let asked_at = now();
        let ask = self.blocking.ask(asked_at);
        let reply = self.ask(ask).await.map_err(|error| error.to_string())?;
        let headers = Headers::read(&reply.headers);
        let too_stale = self.client.options.max_stale.is_some_and(|max| headers.last_contact > max);
        if too_stale && self.client.options.stale && !self.ask_leader {
            self.ask_leader = true;
            self.blocking.failed();
            return Ok(Polled::Again(Duration::ZERO));
        }
        let set = wire::instances(&reply.body, self.client.options.include_warning)
            .map_err(|error| malformed(error).to_string())?;
        if headers.filtered && self.hides(&set, last) {
            return Err("the answer lacks instances because the ACL token may not see them; \
                        it needs node:read and service:read"
                .to_owned());
        }
        if headers.default_deny && ask.index == 0 && !self.client.has_token() && set.is_empty() {
            // Consul says nothing of what it hides from somebody whom it does not know.
            return Err("an empty answer without an ACL token, where the default policy is deny, may as well mean that the \
                        service is hidden; set a token (CONSUL_HTTP_TOKEN), or the token `anonymous` where that one may read it"
                .to_owned());
        }
        let changed = last.is_none_or(|last| !last.same_instances(&set));
        if headers.default_deny && changed && ask.index != 0 && self.hides(&set, last) {
            // The agent's streaming backend does not say what ACLs hide. A read that does not block is not answered by it.
            self.blocking.doubted();
            return Ok(Polled::Again(Duration::ZERO));
        }
        match self.blocking.answered(ask, Answer { index: headers.index, changed }, asked_at, now()) {
            Verdict::Use(rest) => {
                self.ask_leader = false;
                self.filtered = headers.filtered;
                Ok(Polled::Set(set, rest))
            }
            Verdict::ReadAgain(rest) => Ok(Polled::Again(rest)),
        }
    }

    /// The HTTP client's own timeout comes first; this one is for what it does not cover.
    fn deadline(&self) -> Duration {
        self.wait.min(Duration::from_secs(600)) * 17 / 16 + self.margin * 2
    }

    fn failed(&mut self) {
        self.blocking.failed();
        self.ask_leader = false;
    }
}

struct Headers {
    index: Option<u64>,
    last_contact: Duration,
    filtered: bool,
    default_deny: bool,
}

impl Headers {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name| text(name).and_then(|value| value.parse::<u64>().ok());
        Self {
            index: number("x-consul-index"),
            last_contact: Duration::from_millis(number("x-consul-lastcontact").unwrap_or(0)),
            filtered: text("x-consul-results-filtered-by-acls").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            default_deny: text("x-consul-default-acl-policy") == Some("deny"),
        }
    }
}

fn malformed(error: serde_json::Error) -> ConsulError {
    ConsulError::Answer(format!("the answer is not what Consul sends: {error}"))
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
