//! One round: every proxy with a fleet of its own, all at the same time, so that what disturbs one disturbs all.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;
use crate::client::{self, Load, Seen};
use crate::fleet::{Counted, doubled};
use crate::peers::{self, Peer, Setting};
use crate::scenario::{INSTANCES, Scenario, Step, What};

/// What one proxy did in one round.
#[derive(Debug)]
pub struct Outcome {
    pub peer: Peer,
    pub seen: Seen,
    /// POSTs that were executed more than once.
    pub doubled: usize,
    /// Requests that the fleet got for the first service between the counts, and clients' calls for it.
    pub upstream: u64,
}

/// Traffic before a round begins that does not count, in seconds: pools fill, and what is learned is learned.
pub const WARM_UP: f64 = 5.0;

struct Instance {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    ports: Vec<u16>,
    /// What was counted by processes that have ended.
    before: Vec<Counted>,
}

impl Instance {
    fn start(ports: &[u16]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("fleet").args(ports.iter().map(u16::to_string));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let ports = serde_json::from_str(&line)?;
        Ok(Self { child, input, output, ports, before: Vec::new() })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    fn count(&mut self) -> Result<Counted> {
        self.say("count")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends it, and starts it again on the same ports.
    async fn restart(&mut self, gracefully: bool, again_after: f64) -> Result<()> {
        let counted = self.count()?;
        self.before.push(counted);
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(id, if gracefully { Signal::SIGTERM } else { Signal::SIGKILL })?;
        let until = Instant::now() + Duration::from_secs_f64(again_after);
        while self.child.try_wait()?.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
        sleep_until(until).await;
        let before = std::mem::take(&mut self.before);
        *self = Self::start(&self.ports)?;
        self.before = before;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a round with all these proxies side by side.
pub async fn run(scenario: &Scenario, peers: &[Peer], target: &Path, directory: &Path) -> Result<Vec<Outcome>> {
    let mut all = tokio::task::JoinSet::new();
    for peer in peers {
        let (scenario, peer, target) = (scenario.clone(), *peer, target.to_owned());
        let directory = directory.join(peer.name());
        all.spawn_local(async move { alone(&scenario, peer, &target, &directory).await });
    }
    let mut outcomes = Vec::new();
    while let Some(outcome) = all.join_next().await {
        outcomes.push(outcome??);
    }
    outcomes.sort_by_key(|outcome| Peer::ALL.iter().position(|peer| *peer == outcome.peer));
    Ok(outcomes)
}

async fn alone(scenario: &Scenario, peer: Peer, target: &Path, directory: &Path) -> Result<Outcome> {
    let services = scenario.load.services;
    let mut fleet = Vec::new();
    for _ in 0..INSTANCES {
        fleet.push(Instance::start(&vec![0; services])?);
    }
    let endpoint = |instance: &Instance, service: usize| SocketAddr::from(([127, 0, 0, 1], instance.ports[service]));
    let endpoints = (0..services).map(|service| fleet.iter().map(|i| endpoint(i, service)).collect()).collect();
    let setting = Setting::new(directory.to_owned(), endpoints, scenario.fallback)?;
    let proxy = peers::start(peer, target, &setting)?;
    // Active checks have to have seen the fleet.
    sleep(Duration::from_millis(1500)).await;
    let warm = Load { seconds: WARM_UP, rates: vec![(0.0, scenario.load.rates[0].1)], ..scenario.load.clone() };
    let start = Instant::now() + Duration::from_secs_f64(WARM_UP);
    let warming = client::run(proxy.address, warm, 1 << 40, Instant::now());
    let measured = async {
        sleep_until(start).await;
        client::run(proxy.address, scenario.load.clone(), 0, start).await
    };
    let acting = act(&scenario.script, &mut fleet, start);
    let (_, seen, acted) = tokio::join!(warming, measured, acting);
    acted?;
    let mut counts = Vec::new();
    let mut upstream = 0;
    for instance in &mut fleet {
        let last = instance.count()?;
        upstream += last.requests[0];
        counts.extend(instance.before.drain(..));
        counts.push(last);
    }
    drop(proxy.process);
    Ok(Outcome { peer, seen, doubled: doubled(&counts), upstream })
}

/// Does to the fleet what the script says, when it says so.
async fn act(script: &[Step], fleet: &mut [Instance], start: Instant) -> Result<()> {
    for step in script {
        let at = Duration::from_secs_f64(step.at.abs());
        sleep_until(if step.at < 0.0 { start - at } else { start + at }).await;
        for (index, instance) in fleet.iter_mut().enumerate() {
            if step.instance.is_some_and(|only| only != index) {
                continue;
            }
            match &step.what {
                What::Say(line) => instance.say(line)?,
                What::Kill { again_after } => instance.restart(false, *again_after).await?,
                What::Terminate { again_after } => instance.restart(true, *again_after).await?,
            }
        }
    }
    Ok(())
}
