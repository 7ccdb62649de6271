//! The proxies, started once and all there, take turns round by round.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use chaos_tests::proxies::origin::Origin;
use chaos_tests::proxies::{Cpu, Proxy, Running, Setting};

use crate::args::Args;
use crate::load::{self, Shared};
use crate::numbers::percentile;
use crate::workload::Workload;
use crate::{PROXIES, Result, load_h2, load_tcp, report};

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub proxy: Proxy,
    pub round: usize,
    /// CPU time of the proxy per request, in microseconds.
    pub cpu: f64,
    /// Requests a second.
    pub rate: f64,
    /// Which share of its core the proxy used.
    pub busy: f64,
    /// Which share of the time the proxy or the load was ready to run and another program had its core.
    pub waited: f64,
    /// Connections that the origin accepted, per 1,000 requests.
    pub dialled: f64,
    /// Microseconds; only where requests were due at fixed times.
    pub latency: Option<(f64, f64)>,
}

/// The turns of a workload.
#[derive(Debug)]
pub struct Outcome {
    pub workload: Workload,
    /// Of the rounds that nothing disturbed; of all, if there are none of these.
    pub turns: Vec<Turn>,
    /// Rounds that were disturbed.
    pub thrown: usize,
    /// Whether any was not.
    pub quiet: bool,
}

/// The share of a turn that the proxy or the load may spend waiting for its core. More, and some other program
/// runs there: it takes caches and time, and the round says nothing.
const DISTURBED: f64 = 0.05;

pub async fn run(
    args: &Args,
    target: &Path,
    present: &[Proxy],
    endpoints: usize,
    workloads: &[Workload],
) -> Result<Vec<Outcome>> {
    let origin = Origin::listen(endpoints).await?;
    let directory = tempfile::tempdir()?;
    let mut setting = setting(args, target, directory.path(), origin.addresses());
    setting.plain = Some(Origin::listen_plainly().await?);
    let mut fleet = Vec::new();
    let wanted = |proxy: &&Proxy| **proxy != Proxy::Toxiproxy || workloads.iter().any(|w| w.is_plain());
    for proxy in present.iter().filter(wanted) {
        fleet.push(start(*proxy, &setting).await?);
    }
    let mut outcomes = Vec::new();
    for workload in workloads {
        let takers = fleet.iter().filter(|r| address(r, *workload).is_some()).collect::<Vec<_>>();
        outcomes.push(take_turns(args, *workload, takers, &origin).await?);
    }
    report::progress("")?;
    Ok(outcomes)
}

async fn take_turns(args: &Args, workload: Workload, mut takers: Vec<&Running>, origin: &Origin) -> Result<Outcome> {
    let rounds = args.rounds(workload);
    let (mut clean, mut disturbed) = (Vec::new(), Vec::new());
    // Half as many again, for those that something else spoilt.
    for round in 0..rounds + rounds.div_ceil(2) {
        report::progress(&format!("{} round {} of {rounds}", workload.name(), round + 1))?;
        let mut turns = Vec::new();
        for running in &takers {
            let turn = turn(args, workload, running, round, origin).await;
            turns.push(turn.map_err(|e| format!("{} under {}: {e}", running.proxy, workload.name()))?);
        }
        takers.rotate_left(1);
        let spoilt = turns.iter().any(|t| t.waited > DISTURBED);
        if spoilt {
            disturbed.push(turns)
        } else {
            clean.push(turns)
        }
        if clean.len() == rounds {
            break;
        }
    }
    let (thrown, quiet) = (disturbed.len(), !clean.is_empty());
    let turns = if quiet { clean } else { disturbed }.concat();
    Ok(Outcome { workload, turns, thrown, quiet })
}

/// How the proxies of a run are started.
pub fn setting(args: &Args, target: &Path, directory: &Path, endpoints: &[SocketAddr]) -> Setting {
    Setting {
        target: target.to_owned(),
        directory: directory.to_owned(),
        endpoints: endpoints.to_owned(),
        plain: None,
        core: Some(PROXIES),
        defer_accept: args.defer_accept,
        patience: Duration::from_secs(10),
        policies: "",
    }
}

/// Starting waits for answers, and the origin that gives them is on this thread.
pub async fn start(proxy: Proxy, setting: &Setting) -> Result<Running> {
    let setting = setting.clone();
    let starting = tokio::task::spawn_blocking(move || proxy.start(&setting)).await?;
    Ok(starting.map_err(|e| format!("{proxy} does not start: {e}"))?)
}

fn address(running: &Running, workload: Workload) -> Option<SocketAddr> {
    match workload {
        Workload::TcpBulk | Workload::TcpConn => running.tcp,
        _ if running.proxy == Proxy::Toxiproxy => None,
        Workload::H2c => running.h2,
        _ => Some(running.h1),
    }
}

async fn turn(args: &Args, workload: Workload, running: &Running, round: usize, origin: &Origin) -> Result<Turn> {
    let to = address(running, workload).ok_or("it does not speak that")?;
    let shared = Shared::new();
    let measured = async {
        tokio::time::sleep(args.warm_up()).await;
        shared.keep.set(true);
        let read = || {
            let (proxy, load) = (running.process.cpu()?, Cpu::of_this_thread()?);
            std::io::Result::Ok((Instant::now(), proxy, load, shared.answered.get(), origin.connections()))
        };
        let before = read()?;
        tokio::time::sleep(args.turn(workload)).await;
        let after = read()?;
        shared.keep.set(false);
        shared.end();
        let answered = (after.3 - before.3) as f64;
        if answered == 0.0 {
            return Err(std::io::Error::other("no request was answered"));
        }
        let wall = (after.0 - before.0).as_secs_f64();
        let (proxy, load) = (after.1.since(before.1), after.2.since(before.2));
        Ok(Turn {
            proxy: running.proxy,
            round,
            cpu: proxy.used.as_secs_f64() / answered * 1e6,
            rate: answered / wall,
            busy: proxy.used.as_secs_f64() / wall,
            // Two workers on one core wait for each other.
            waited: match running.proxy {
                Proxy::OutriggerTwo => load.waited,
                _ => proxy.waited.max(load.waited),
            }
            .as_secs_f64()
                / wall,
            dialled: (after.4 - before.4) as f64 / answered * 1e3,
            latency: None,
        })
    };
    let load = async {
        match workload {
            Workload::H2c => load_h2::run(to, &shared).await,
            Workload::TcpBulk | Workload::TcpConn => load_tcp::run(workload, to, &shared).await,
            _ => load::run(workload, to, &shared).await,
        }
    };
    // An error of the load's ends the turn at once; a load that does not end is one.
    let both = async { tokio::try_join!(measured, load) };
    let limit = args.warm_up() + args.turn(workload) + Duration::from_secs(10);
    let (mut turn, ()) = tokio::time::timeout(limit, both).await??;
    let mut latencies = shared.latencies.take();
    latencies.sort_by(f64::total_cmp);
    turn.latency = percentile(&latencies, 0.5).zip(percentile(&latencies, 0.99));
    Ok(turn)
}
