//! What a drill does, as its author writes it: the probes, the dependencies, and what befalls them.
//!
//! A plan is checked as a configuration is: every error at once, each with its key and its line. What it says is made into
//! [`Spec`]s before anything is started, so that a plan that can be run is known to make sense.

mod build;
mod faults;
#[cfg(test)]
mod tests;
mod written;

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::config::text::Url;
use crate::config::tree::Tree;
use crate::config::{ConfigErrors, read, read_file};
use crate::fault::guard::GuardSpec;
use crate::fault::{Place, Spec};

/// A plan that was found to be good.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// Where it is run: `staging`; `production` counts for more ([`maturity`](super::maturity)).
    pub environment: Option<String>,
    /// The admin APIs of the proxies that the dependencies are reached through: 16 at most.
    pub admins: Vec<Url>,
    /// The matrix's columns, in their order.
    pub probes: Vec<Probe>,
    /// The matrix's rows, in the order in which they are made.
    pub rows: Vec<Injection>,
    /// For how long tries are started in each row.
    pub duration: Duration,
    /// How much of the beginning of that is not judged.
    pub settle: Duration,
    /// How long the product may take until it is well again after a row.
    pub recovery: Duration,
    /// Conditions under which the proxy ends the drill.
    pub guards: Vec<GuardSpec>,
}

/// A part of the product, seen as its user does.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The column.
    pub name: String,
    /// What is asked for.
    pub url: Url,
    /// How.
    pub method: Method,
    /// With what beside it.
    pub headers: HeaderMap,
    /// And this body.
    pub body: String,
    /// When a try is cut, and counts as unavailable.
    pub timeout: Duration,
    /// From the start of one try to that of the next.
    pub every: Duration,
    /// Which share of the tries has to be so good for a cell to be so: 0.0 to 1.0.
    pub hold: f64,
    /// What makes an answer available.
    pub available: Expectation,
    /// What makes one degraded that is not available. Whatever carries `Outrigger-Degraded` is degraded, too.
    pub degraded: Option<Expectation>,
}

/// What an answer has to be: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// One of these; 2xx where there is none.
    pub status: Vec<u16>,
    /// Its body has this in it.
    pub body_contains: Option<String>,
    /// It has these fields; none of the values means any.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// A row: something that befalls a dependency.
#[derive(Debug, Clone)]
pub struct Injection {
    /// What the dependency is called.
    pub dependency: String,
    /// What befalls it.
    pub fault: FaultName,
    /// Where.
    pub place: Place,
    /// As it is asked for, without an end.
    pub spec: Spec,
    /// In words: `every instance answers 503`.
    pub what: String,
}

/// What can befall a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultName {
    /// Nobody is there.
    Down,
    /// It answers, later.
    Slow,
    /// It answers with failures, all of the time or some of it.
    Errors,
    /// It takes requests and answers none.
    Hang,
    /// It resets connections.
    Reset,
}

impl FaultName {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Errors => "errors",
            Self::Hang => "hang",
            Self::Reset => "reset",
        }
    }
}

impl Plan {
    /// Reads a plan's file. Environment variables are put in as into a configuration.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = read_file(path)?;
        Self::parse(&path.display().to_string(), &text, &|variable| std::env::var(variable).ok())
    }

    /// Reads a plan's text. `file` is its name in messages, `env` the environment.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(file: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut tree = Tree::parse(text, env).map_err(|e| ConfigErrors::new(file, vec![e]))?;
        let written: written::Plan = read::read(&mut tree);
        let mut errors = std::mem::take(&mut tree.errors);
        let plan = build::plan(&written, &tree, &mut errors);
        if errors.is_empty() { Ok(plan) } else { Err(ConfigErrors::new(file, errors)) }
    }

    /// How long it takes at least.
    pub fn takes(&self) -> Duration {
        self.duration * u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }
}
