//! What a proxy holds when many clients are connected and say nothing.
//!
//! A process of its own for each proxy. Each connection carries one request, so that a proxy has seen it live,
//! and then stays. The base is the process with ten of them.

use std::path::Path;

use chaos_tests::proxies::origin::Origin;
use chaos_tests::proxies::{Memory, Proxy};

use crate::args::Args;
use crate::load::{Connection, get, scratch};
use crate::{Result, report, rounds};

/// How many connections, when memory is looked at.
pub const STEPS: [usize; 3] = [10, 1_000, 10_000];

/// A proxy's memory at each step; none where the system does not grant so many descriptors.
#[derive(Debug)]
pub struct Outcome {
    pub proxy: Proxy,
    pub memory: [Option<Memory>; STEPS.len()],
}

pub async fn run(args: &Args, target: &Path, present: &[Proxy], descriptors: u64) -> Result<Vec<Outcome>> {
    let origin = Origin::listen(3).await?;
    let scratch = scratch();
    let directory = tempfile::tempdir()?;
    let setting = rounds::setting(args, target, directory.path(), origin.addresses());
    let mut outcomes = Vec::new();
    for proxy in present.iter().filter(|proxy| **proxy != Proxy::Toxiproxy) {
        report::progress(&format!("idle connections: {proxy}"))?;
        let running = rounds::start(*proxy, &setting).await?;
        let mut idle = Vec::new();
        let mut outcome = Outcome { proxy: *proxy, memory: [None; STEPS.len()] };
        for (step, memory) in STEPS.into_iter().zip(&mut outcome.memory) {
            if step as u64 + 100 > descriptors {
                break;
            }
            while idle.len() < step {
                let mut connection = Connection::open(running.h1, &scratch).await?;
                connection.exchange(&get("/1k", ""), 1024).await?;
                idle.push(connection);
            }
            *memory = Some(running.process.memory()?);
        }
        outcomes.push(outcome);
    }
    report::progress("")?;
    Ok(outcomes)
}
