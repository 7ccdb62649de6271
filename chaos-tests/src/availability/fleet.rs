//! The five processes behind one proxy, as the harness holds them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fault::Fault;
use super::member::Order;
use crate::proxy::free_address;

/// The number of the instance that answers for a service that is dead, where a fallback has to be a server.
pub const STANDBY: usize = 99;

/// What the processes of a fleet have said, those that are gone included.
#[derive(Debug)]
pub struct Ledger {
    requests: Vec<AtomicU64>,
    executed: Mutex<HashMap<String, u32>>,
}

impl Ledger {
    fn new(services: usize) -> Self {
        Self { requests: (0..services).map(|_| AtomicU64::new(0)).collect(), executed: Mutex::default() }
    }

    /// Requests that have come to a service.
    pub fn requests(&self, service: usize) -> u64 {
        self.requests[service].load(Ordering::Relaxed)
    }

    /// Requests that have come to any service.
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().map(|r| r.load(Ordering::Relaxed)).sum()
    }

    /// Ids of POSTs that were executed more than once.
    pub fn doubled(&self) -> Vec<String> {
        let executed = self.executed.lock().expect("the ledger");
        executed.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id.clone()).collect()
    }

    fn line(&self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("x"), Some(id), None) => {
                *self.executed.lock().expect("the ledger").entry(id.to_owned()).or_default() += 1;
            }
            (Some("r"), Some(service), Some(count)) => {
                let at = service.parse::<usize>().ok().and_then(|s| self.requests.get(s));
                if let Some((at, count)) = at.zip(count.parse().ok()) {
                    at.fetch_add(count, Ordering::Relaxed);
                }
            }
            _ => eprintln!("a fleet process said: {line}"),
        }
    }
}

/// N services of some instances each; instance i of every service lives in process i.
#[derive(Debug)]
pub struct Fleet {
    /// What came, and what was executed.
    pub ledger: Arc<Ledger>,
    program: PathBuf,
    seed: u64,
    first: usize,
    ports: Vec<Vec<u16>>,
    members: Vec<Option<Member>>,
}

#[derive(Debug)]
struct Member {
    child: Child,
    orders: ChildStdin,
    ready: Arc<AtomicBool>,
}

impl Fleet {
    /// Started, and listening.
    ///
    /// # Errors
    /// A process does not start.
    pub fn start(program: &Path, services: usize, instances: usize, seed: u64) -> io::Result<Self> {
        Self::start_from(program, services, 0, instances, seed)
    }

    /// A server that is always well, and whose answers are told apart: [`STANDBY`].
    ///
    /// # Errors
    /// It does not start.
    pub fn standby(program: &Path) -> io::Result<Self> {
        Self::start_from(program, 1, STANDBY, 1, 0)
    }

    fn start_from(program: &Path, services: usize, first: usize, instances: usize, seed: u64) -> io::Result<Self> {
        let port = || free_address().port();
        let ports = (0..instances).map(|_| (0..services).map(|_| port()).collect()).collect();
        let ledger = Arc::new(Ledger::new(services));
        let members = (0..instances).map(|_| None).collect();
        let mut fleet = Self { ledger, program: program.to_owned(), seed, first, ports, members };
        for instance in 0..instances {
            fleet.revive(instance)?;
        }
        let until = Instant::now() + crate::SOON;
        while !fleet.members.iter().flatten().all(|m| m.ready.load(Ordering::Relaxed)) {
            if Instant::now() > until {
                return Err(io::Error::other("a fleet process does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(fleet)
    }

    /// Where the instances of a service listen.
    pub fn addresses(&self, service: usize) -> Vec<SocketAddr> {
        self.ports.iter().map(|ports| SocketAddr::from(([127, 0, 0, 1], ports[service]))).collect()
    }

    /// The same of every service.
    pub fn all_addresses(&self) -> Vec<Vec<SocketAddr>> {
        (0..self.services()).map(|service| self.addresses(service)).collect()
    }

    /// Instances of every service.
    pub fn instances(&self) -> usize {
        self.members.len()
    }

    /// Services.
    pub fn services(&self) -> usize {
        self.ledger.requests.len()
    }

    /// Starts a process that is not there.
    ///
    /// # Errors
    /// It does not start.
    pub fn revive(&mut self, instance: usize) -> io::Result<()> {
        let ports = self.ports[instance].iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(&self.program);
        let number = self.first + instance;
        command.args(["fleet", &number.to_string(), &self.seed.to_string(), &ports].map(OsStr::new));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, said) = (child.stdin.take(), child.stdout.take());
        let (orders, said) = orders.zip(said).ok_or_else(|| io::Error::other("no pipes"))?;
        let ready = Arc::new(AtomicBool::new(false));
        let (ledger, is_ready) = (Arc::clone(&self.ledger), Arc::clone(&ready));
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                match line.as_str() {
                    "ready" => is_ready.store(true, Ordering::Relaxed),
                    line => ledger.line(line),
                }
            }
        });
        self.bury(instance);
        self.members[instance] = Some(Member { child, orders, ready });
        Ok(())
    }

    /// Whether one process is running.
    pub fn is_alive(&mut self, instance: usize) -> bool {
        self.members[instance].as_mut().is_some_and(|m| matches!(m.child.try_wait(), Ok(None)))
    }

    /// Gives a fault to one instance, or to all, of one service, or of all.
    ///
    /// # Errors
    /// A process is not there to be told.
    pub fn fault(&mut self, service: Option<usize>, instance: Option<usize>, fault: &Fault) -> io::Result<()> {
        let order = serde_json::to_string(&Order { service, fault: fault.clone() })? + "\n";
        for (at, member) in self.members.iter_mut().enumerate() {
            if let Some(member) = member.as_mut().filter(|_| instance.is_none_or(|i| i == at)) {
                member.orders.write_all(order.as_bytes())?;
                member.orders.flush()?;
            }
        }
        Ok(())
    }

    /// `kill -9`, or the signal that asks it to end.
    pub fn signal(&mut self, instance: usize, signal: Signal) {
        // What has ended and was waited for has no id any more: it may be somebody else's.
        if self.is_alive(instance)
            && let Some(member) = &self.members[instance]
        {
            let _ = kill(Pid::from_raw(member.child.id().cast_signed()), signal);
        }
    }

    fn bury(&mut self, instance: usize) {
        if let Some(mut member) = self.members[instance].take() {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for instance in 0..self.members.len() {
            self.bury(instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_that_two_instances_have_executed_is_found() {
        let ledger = Ledger::new(2);
        for line in ["x 0-1-3", "x 0-2-3", "r 1 4", "x 0-1-3", "r 0 1", "r 1 2", "x 0-4-4"] {
            ledger.line(line);
        }
        assert_eq!(ledger.doubled(), ["0-1-3"]);
        assert_eq!((ledger.requests(0), ledger.requests(1), ledger.all_requests()), (1, 6, 7));
    }
}
