//! The steady state: the product is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::cell::State;
use super::super::plan::Probe;
use super::super::probe::try_once;
use crate::clock::Instant;

/// Good tries in a row that make a probe steady.
const ROW: u32 = 3;

/// Waits until every probe is available, some times in a row. How long that took, or what was wrong at the end.
pub async fn all(probes: &[Arc<Probe>], within: Duration) -> Result<Duration, String> {
    let mut looking = JoinSet::new();
    for (at, probe) in probes.iter().enumerate() {
        let probe = Arc::clone(probe);
        looking.spawn(async move { (at, one(&probe, within).await) });
    }
    let (mut took, mut wrong) = (Duration::ZERO, BTreeMap::new());
    while let Some(looked) = looking.join_next().await {
        match looked {
            Ok((_, Ok(one))) => took = took.max(one),
            Ok((at, Err(why))) => drop(wrong.insert(at, format!("{}: {why}", probes[at].name))),
            Err(_) => drop(wrong.insert(usize::MAX, "a probe broke".to_owned())),
        }
    }
    if wrong.is_empty() { Ok(took) } else { Err(wrong.into_values().collect::<Vec<_>>().join("; ")) }
}

/// Tries until it was available some times in a row. When that began, or why it was not.
async fn one(probe: &Probe, within: Duration) -> Result<Duration, String> {
    let began = Instant::now();
    let (mut row, mut since) = (0, Duration::ZERO);
    loop {
        let before = began.elapsed();
        let tried = try_once(probe).await;
        if tried.state == State::Available {
            since = if row == 0 { before } else { since };
            row += 1;
            if row >= ROW {
                return Ok(since);
            }
        } else {
            row = 0;
            if began.elapsed() >= within {
                return Err(format!("{} ({})", tried.state.name(), tried.why));
            }
        }
        sleep(probe.every).await;
    }
}
