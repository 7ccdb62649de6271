//! The sample fleet: the processes that stand for instances, and their ends.

use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::fault::Model;

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
    processes: Vec<Process>,
}

/// A running instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process that stands for it.
    pub pid: u32,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Held, because the instance ends when it closes.
    stdin: Option<ChildStdin>,
    pid: u32,
    /// (service, instance) in the order of the ports it printed.
    hosted: Vec<(usize, u32)>,
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
        let nowhere = Member { address: SocketAddr::from(([127, 0, 0, 1], 0)), pid: 0 };
        let mut members = vec![vec![nowhere; instances]; services.len()];
        for process in &mut started {
            let ports = timeout(START, ports(process)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "a sample instance did not start within 30 s")
            })??;
            for ((service, instance), port) in process.hosted.iter().zip(ports) {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                members[*service][*instance as usize] = Member { address, pid: process.pid };
            }
        }
        Ok(Self { members, processes: started })
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Processes that have ended since the last call, by their ids.
    pub(crate) fn ended(&mut self) -> Vec<u32> {
        let mut ended = Vec::new();
        self.processes.retain_mut(|process| match process.child.try_wait() {
            Ok(None) => true,
            Ok(Some(_)) | Err(_) => {
                ended.push(process.pid);
                false
            }
        });
        ended
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
    let mut child = Command::new(std::env::current_exe()?)
        .arg("sample-instance")
        .args(["--seed", &model.seed.to_string(), "--instances", &model.instances.to_string()])
        .args(hosted.iter().map(|(service, instance)| format!("{}/{instance}", services[*service])))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C is for the demo, which ends its instances in good order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start a sample instance: {error}; try `--processes 3`"))
        })?;
    let (stdin, pid) = (child.stdin.take(), child.id().unwrap_or(0));
    Ok(Process { child, stdin, pid, hosted })
}

async fn ports(process: &mut Process) -> io::Result<Vec<u16>> {
    let stdout = process.child.stdout.take().ok_or_else(|| io::Error::other("a sample instance has no output"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
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
}
