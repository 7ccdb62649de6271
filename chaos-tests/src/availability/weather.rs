//! Whether a round may be believed: how busy the machine was, how late the load was, and whether calls that no proxy could
//! have spoilt went well.

use std::io;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::fleet::Fleet;

/// Starts that are later than this, in milliseconds, at the 99th percentile, make a round worthless.
const DISTURBED_MS: f64 = 20.0;

/// How the machine was meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    /// From 0.
    pub round: usize,
    /// The contender that it was the weather of; all, if none.
    pub peer: Option<String>,
    /// The share of all cores' time that was used, in percent.
    pub busy: f64,
    /// How late user requests started, at the 99th percentile, in milliseconds.
    pub late_p99_ms: f64,
    /// Calls to a healthy fleet without a proxy, and those of them that failed.
    pub control: u64,
    /// See there.
    pub control_failed: u64,
}

impl Weather {
    /// Whether the round says nothing.
    pub fn disturbed(&self) -> bool {
        self.late_p99_ms > DISTURBED_MS || self.control_failed > 0
    }
}

/// Clients of a fleet without a proxy.
pub fn control_clients(fleet: &Fleet) -> Vec<Client> {
    (0..fleet.services()).flat_map(|service| fleet.addresses(service)).map(Client::new).collect()
}

/// Fifty calls a second past every proxy: how many, and how many of them failed.
pub async fn controlled(clients: Vec<Client>, length: f64, zero: Instant, round: usize) -> (u64, u64) {
    const GAP: Duration = Duration::from_millis(20);
    let steps = (length / GAP.as_secs_f64()) as usize;
    let clients = &clients;
    let calls = stream::iter(0..steps).map(|n| async move {
        tokio::time::sleep_until((zero + GAP * u32::try_from(n).unwrap_or(u32::MAX)).into()).await;
        let service = n % clients.len();
        clients[service].call(service, &format!("control{round}-{n}"), false).await.is_answered()
    });
    // All of them wait from the start; each is done a second after its time at the latest.
    calls.buffer_unordered(steps).fold((0, 0), async |(all, failed), good| (all + 1, failed + u64::from(!good))).await
}

/// How much of all cores' time has been used.
#[derive(Debug)]
pub struct Busy {
    used: u64,
    all: u64,
}

impl Busy {
    /// Since the machine started.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn now() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let numbers = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse::<u64>().ok()).collect::<Vec<_>>();
        let all = numbers.iter().sum();
        let idle = numbers.iter().skip(3).take(2).sum::<u64>();
        Ok(Self { used: all - idle, all })
    }

    /// What was used since then, in percent.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn share_since(&self) -> io::Result<f64> {
        let now = Self::now()?;
        Ok((now.used - self.used) as f64 / (now.all - self.all).max(1) as f64 * 100.0)
    }
}
