//! The admin API, as a drill uses it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::absorbed::Account;
use super::client::{self, Answer, escaped};
use crate::config::text::Url;
use crate::fault::Spec;
use crate::fault::guard::GuardSpec;
use crate::units::Interval;

/// For one request: it is with a process on this machine, usually.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy's admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    url: Url,
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nobody answered.
    #[error("{0}: {1}; is the proxy running, and is this its admin address?")]
    Unreachable(String, client::Failure),
    /// It said no.
    #[error("{said}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        said: String,
    },
    /// It said something else than an Outrigger does.
    #[error("{0} answered something else than an Outrigger does: {1}")]
    Strange(String, String),
}

/// What a heartbeat is answered.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pulse {
    /// Those of the controller's faults that are not over.
    pub faults: Vec<u64>,
    /// Why all of them were ended.
    #[serde(default)]
    pub aborted: Option<String>,
}

/// A fault that is there.
#[derive(Debug, Clone, Deserialize)]
pub struct Injected {
    /// Its id.
    pub id: u64,
    /// How many requests or connections it has struck.
    pub injected: u64,
}

#[derive(Deserialize)]
struct Faults {
    enabled: bool,
    faults: Vec<Injected>,
}

#[derive(Deserialize)]
struct Availability {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    requests: u64,
    degraded: u64,
    failure: u64,
    first_good: u64,
    unknown: u64,
    rescued: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
}

impl Admin {
    /// The one at an address.
    pub fn at(url: &Url) -> Self {
        Self { url: url.clone() }
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("http://{}", self.url.authority)
    }

    /// Whether faults are allowed there, and how many there are.
    pub async fn faults(&self) -> Result<(bool, usize), Trouble> {
        let Faults { enabled, faults } = self.get("/api/v1/faults").await?;
        Ok((enabled, faults.len()))
    }

    /// Whether a fault would be added.
    pub async fn would_add(&self, spec: &Spec) -> Result<(), Trouble> {
        self.write(Method::POST, "/api/v1/faults?dry_run=true", &json!(spec)).await.map(drop)
    }

    /// Adds a fault.
    pub async fn add(&self, spec: &Spec) -> Result<Injected, Trouble> {
        let answer = self.write(Method::POST, "/api/v1/faults", &json!(spec)).await?;
        self.understand(&answer)
    }

    /// Ends a fault. That it is over already is as good.
    pub async fn end(&self, id: u64) -> Result<(), Trouble> {
        match self.write(Method::DELETE, &format!("/api/v1/faults/{id}"), &Value::Null).await {
            Ok(_) | Err(Trouble::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Ends all faults of a controller.
    pub async fn clear(&self, controller: &str) -> Result<(), Trouble> {
        let path = format!("/api/v1/faults?controller={}", escaped(controller));
        self.write(Method::DELETE, &path, &Value::Null).await.map(drop)
    }

    /// How often a fault has struck; none where it is over.
    pub async fn injected(&self, id: u64) -> Result<Option<u64>, Trouble> {
        let faults = self.get::<Faults>("/api/v1/faults").await?.faults;
        Ok(faults.iter().find(|fault| fault.id == id).map(|fault| fault.injected))
    }

    /// Begins the drill: no other may run meanwhile.
    pub async fn begin(&self, controller: &str, drill: &str, heartbeat: Duration) -> Result<(), Trouble> {
        let body = json!({ "controller": controller, "name": drill, "heartbeat": Interval(heartbeat) });
        self.write(Method::POST, "/api/v1/drills", &body).await.map(drop)
    }

    /// Ends the drill. Its guards and its faults end with it.
    pub async fn finish(&self, controller: &str) -> Result<(), Trouble> {
        let path = format!("/api/v1/drills/{}", escaped(controller));
        self.write(Method::DELETE, &path, &Value::Null).await.map(drop)
    }

    /// Sets a guard.
    pub async fn guard(&self, controller: &str, heartbeat: Duration, guard: &GuardSpec) -> Result<(), Trouble> {
        let (controller, heartbeat) = (Some(controller.to_owned()), Some(Interval(heartbeat)));
        let guard = GuardSpec { controller, heartbeat, ..guard.clone() };
        self.write(Method::POST, "/api/v1/guards", &json!(guard)).await.map(drop)
    }

    /// The controller lives.
    pub async fn beat(&self, controller: &str) -> Result<Pulse, Trouble> {
        let answer = self.write(Method::POST, "/api/v1/heartbeat", &json!({ "controller": controller })).await?;
        self.understand(&answer)
    }

    /// A service's account since it is followed; none where it was not asked for anything yet.
    pub async fn account(&self, service: &str) -> Result<Option<Account>, Trouble> {
        let availability: Availability = self.get("/api/v1/availability?window=all").await?;
        Ok(availability.services.into_iter().find(|one| one.name == service).map(Service::account))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let answer = self.ask(Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
        self.understand(&answer)
    }

    async fn write(&self, method: Method, path: &str, body: &Value) -> Result<Answer, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(client::authorization().map(|field| (AUTHORIZATION, field)));
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.ask(method, path, headers, body).await
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, Trouble> {
        let url = Url { path: path.to_owned(), ..self.url.clone() };
        let answer = client::send(&url, method, &headers, body, PATIENCE).await;
        let answer = answer.map_err(|failure| Trouble::Unreachable(self.address(), failure))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(Trouble::Refused { status: answer.status, said: said(&answer) })
    }

    fn understand<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Trouble> {
        serde_json::from_slice(&answer.body).map_err(|e| Trouble::Strange(self.address(), e.to_string()))
    }
}

impl Service {
    fn account(self) -> Account {
        let some = |counts: BTreeMap<String, u64>| counts.into_iter().filter(|(_, n)| *n > 0).collect();
        let mut lost: BTreeMap<String, u64> = some(self.lost);
        for (reason, n) in self.refused {
            let sum = lost.entry(reason).or_default();
            *sum = sum.saturating_add(n);
        }
        Account {
            requests: self.requests,
            first_good: self.first_good.saturating_add(self.unknown),
            answered: self.requests.saturating_sub(self.failure),
            degraded: self.degraded,
            rescued: some(self.rescued),
            lost,
        }
    }
}

/// What an answer says went wrong, with the key it is about.
fn said(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
        #[serde(default)]
        key: Option<String>,
    }
    match serde_json::from_slice::<Failure>(&answer.body) {
        Ok(Failure { error, key: Some(key) }) if !error.contains(&key) => format!("`{key}`: {error}"),
        Ok(Failure { error, .. }) => error,
        Err(_) => {
            let text = String::from_utf8_lossy(&answer.body);
            format!(
                "{}: {}",
                answer.status,
                text.lines().next().unwrap_or_default().chars().take(200).collect::<String>()
            )
        }
    }
}
