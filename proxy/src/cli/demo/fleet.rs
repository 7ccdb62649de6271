//! The sample fleet: the processes that stand for instances, and their ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::Stage;
use super::fault::Model;
use super::process::Child;

/// How long an instance may take to say where it listens, on a machine that starts hundreds at once.
const START: Duration = Duration::from_secs(30);

/// How long instances have to end by themselves.
const END: Duration = Duration::from_secs(3);

/// The services of the fleet, in the order in which rows of the table begin to need them.
pub(crate) fn services(count: usize) -> Vec<String> {
    const NAMES: [&str; 10] =
        ["orders", "cart", "search", "users", "payments", "inventory", "shipping", "reviews", "prices", "sessions"];
    (0..count)
        .map(|index| NAMES.get(index).map_or_else(|| format!("service-{}", index + 1), |name| (*name).into()))
        .collect()
}

/// The running instances.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// By service, then by instance.
    pub members: Vec<Vec<Member>>,
    services: Vec<String>,
    processes: Vec<Process>,
}

/// A running instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process that stands for it.
    pub pid: u32,
    /// Whether the registry has it.
    pub listed: bool,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Held, because the instance ends when it closes.
    stdin: Option<OwnedFd>,
    pid: u32,
    /// (service, instance) in the order of the ports it printed.
    hosted: Vec<(usize, u32)>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pid: u32,
    /// Which instances it stood for: service and number.
    pub hosted: Vec<(String, u32)>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hosted.as_slice() {
            [(service, instance)] => write!(f, "{service}-{instance} (process {})", self.pid),
            hosted => write!(f, "process {} with its {} instances", self.pid, hosted.len()),
        }
    }
}

impl Fleet {
    /// Starts all instances of all services in at most so many processes, one each if there are enough. Instances
    /// of one service are never in one process.
    pub(crate) async fn start(services: &[String], model: Model, processes: usize) -> io::Result<Self> {
        let instances = model.instances as usize;
        let groups = (processes / instances).clamp(1, services.len().max(1));
        let mut started = Vec::new();
        for group in 0..groups {
            for instance in 0..model.instances {
                let hosted: Vec<(usize, u32)> =
                    (group..services.len()).step_by(groups).map(|service| (service, instance)).collect();
                started.push(spawn(services, model, hosted)?);
            }
        }
        let nowhere = Member { address: SocketAddr::from(([127, 0, 0, 1], 0)), pid: 0, listed: true };
        let mut members = vec![vec![nowhere; instances]; services.len()];
        for process in &mut started {
            let ports = timeout(START, ports(process)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "a sample instance did not start within 30 s")
            })??;
            for ((service, instance), port) in process.hosted.iter().zip(ports) {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                members[*service][*instance as usize] = Member { address, pid: process.pid, listed: true };
            }
        }
        Ok(Self { members, services: services.to_vec(), processes: started })
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// One request to each instance that meets no fault, as each service had one by way of the proxy: so that first
    /// connections are not measured in either way of calling.
    pub(crate) async fn warm(&self, stage: &Stage) {
        for (service, members) in stage.services.iter().zip(&self.members) {
            for member in members {
                // Should it fail, it fails again where it is counted.
                let _ = stage.client.call(member.address, service, None).await;
            }
        }
    }

    /// The member that a direct client asks: the one it chose, or the next that is still in the registry. None when
    /// all are gone.
    pub(crate) fn listed(&self, service: usize, choice: u32) -> Option<Member> {
        let members = &self.members[service];
        let (before, after) = members.split_at((choice as usize).min(members.len()));
        after.iter().chain(before).find(|member| member.listed).copied()
    }

    /// Direct clients leave out what a process stood for, as does the registry.
    pub(crate) fn unlist(&mut self, ended: &Ended) {
        for member in self.members.iter_mut().flatten().filter(|member| member.pid == ended.pid) {
            member.listed = false;
        }
    }

    /// Processes that have ended since the last call.
    pub(crate) fn ended(&mut self) -> Vec<Ended> {
        let ended = |process: &mut Process| !matches!(process.child.try_wait(), Ok(None));
        let ended: Vec<Process> = self.processes.extract_if(.., ended).collect();
        let names =
            |hosted: Vec<(usize, u32)>| hosted.into_iter().map(|(at, number)| (self.services[at].clone(), number));
        ended.into_iter().map(|one| Ended { pid: one.pid, hosted: names(one.hosted).collect() }).collect()
    }

    /// Ends all instances and waits for them; kills what has not ended after three seconds.
    pub(crate) async fn stop(&mut self) {
        for process in &mut self.processes {
            process.stdin = None;
        }
        let processes = &mut self.processes;
        let all = async {
            for process in processes.iter_mut() {
                let _: io::Result<ExitStatus> = process.child.wait().await;
            }
        };
        if timeout(END, all).await.is_err() {
            for process in &mut self.processes {
                let _ = process.child.kill().await;
            }
        }
        self.processes.clear();
    }
}

fn spawn(services: &[String], model: Model, hosted: Vec<(usize, u32)>) -> io::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("sample-instance")
        .args(["--seed", &model.seed.to_string(), "--instances", &model.instances.to_string()])
        .args(hosted.iter().map(|(service, instance)| format!("{}/{instance}", services[*service])))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C is for the demo, which ends its instances in good order.
        .process_group(0);
    let mut child = Child::start(&mut command).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start a sample instance: {error}; try `--processes 3`"))
    })?;
    let (stdin, pid) = (child.stdin(), child.id());
    Ok(Process { child, stdin, pid, hosted })
}

async fn ports(process: &mut Process) -> io::Result<Vec<u16>> {
    let mut line = String::new();
    BufReader::new(process.child.stdout()?).read_line(&mut line).await?;
    let ports: Vec<u16> = serde_json::from_str(&line)
        .map_err(|_| io::Error::other("a sample instance ended before it said where it listens"))?;
    if ports.len() == process.hosted.len() {
        Ok(ports)
    } else {
        Err(io::Error::other("a sample instance said too few ports"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn services_have_names_of_their_own() {
        let names = services(100);
        assert_eq!(names[0], "orders");
        assert_eq!(names[99], "service-100");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn a_direct_client_asks_the_next_instance_that_the_registry_has() {
        let member = |pid| Member { address: SocketAddr::from(([127, 0, 0, 1], 1)), pid, listed: true };
        let mut fleet =
            Fleet { members: vec![vec![member(1), member(2), member(3)]], services: services(1), processes: vec![] };
        let asked = |fleet: &Fleet| [0, 1, 2].map(|choice| fleet.listed(0, choice).map(|member| member.pid));
        assert_eq!(asked(&fleet), [Some(1), Some(2), Some(3)]);
        fleet.unlist(&Ended { pid: 3, hosted: vec![] });
        assert_eq!(asked(&fleet), [Some(1), Some(2), Some(1)]);
        for pid in [1, 2] {
            fleet.unlist(&Ended { pid, hosted: vec![] });
        }
        assert_eq!(asked(&fleet), [None; 3]);
    }
}
