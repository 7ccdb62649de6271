//! A real `consul agent -dev` on free ports of loopback, ended when it is dropped.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outrigger_registry::consul::{Consul, ConsulOptions};

use crate::tools::Tool;

/// The real Consul.
pub const CONSUL: Tool = Tool {
    name: "consul",
    module: "consul",
    package: "github.com/hashicorp/consul",
    link: "",
    build_time: "four minutes",
};

/// How long an agent may take to have a leader; one second is usual.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running agent, alone in its cluster. Nothing it knows outlives it.
pub struct Agent {
    child: Child,
    ports: Ports,
    hcl: String,
    log: tempfile::NamedTempFile,
    program: std::path::PathBuf,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    https: u16,
    server: u16,
    serf: u16,
}

impl Agent {
    /// Starts one and waits until it has a leader. `None` where no Consul is to be had, which is said loudly.
    ///
    /// # Errors
    /// It does not start; or no Consul is to be had, and this is CI.
    pub async fn start() -> Result<Option<Self>, String> {
        Self::start_with("").await
    }

    /// [`Agent::start`] with configuration of its own, as HCL.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub async fn start_with(hcl: &str) -> Result<Option<Self>, String> {
        // The first test builds it; the runtime's other tasks have nothing to do until then.
        let found = tokio::task::spawn_blocking(|| CONSUL.path_or_skip()).await;
        let Some(program) = found.map_err(|error| error.to_string())?? else { return Ok(None) };
        let mut last = String::new();
        // A port that was free may be taken before the agent has it.
        for _ in 0..5 {
            let log = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            let ports = Ports::free().map_err(|error| error.to_string())?;
            let child = spawn(&program, ports, hcl, log.as_file())?;
            let (program, hcl) = (program.clone(), hcl.to_owned());
            let mut agent = Self { child, ports, hcl, log, program };
            match agent.ready().await {
                Ok(()) => return Ok(Some(agent)),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// What a client is given: `http://127.0.0.1:8500`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// The same over TLS, where the configuration gave it certificates: `https://127.0.0.1:8501`.
    pub fn https_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.https)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does, and returns when it is gone.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn kill_9(&mut self) -> Result<(), String> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }

    /// Starts it again on the same ports, after [`Agent::kill_9`]. It has forgotten everything.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> Result<(), String> {
        self.child = spawn(&self.program, self.ports, &self.hcl, self.log.as_file())?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), String> {
        let consul = Consul::new(ConsulOptions::at(self.url())).map_err(|error| error.to_string())?;
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("consul ended with {status}: {}", self.last_words()));
            }
            if consul.has_leader().await == Ok(true) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("consul has no leader after {READY_WITHIN:?}: {}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let end: Vec<_> = log.lines().rev().take(5).collect();
        end.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), signal).map_err(|error| error.to_string())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::SIGTERM);
            let until = Instant::now() + Duration::from_secs(5);
            while matches!(self.child.try_wait(), Ok(None)) {
                if Instant::now() > until {
                    let _ = self.kill_9();
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Ports {
    /// Held all at once until all are known, so that they differ.
    fn free() -> std::io::Result<Self> {
        let listeners: [_; 4] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0"));
        let port = |listener: &std::io::Result<TcpListener>| match listener {
            Ok(listener) => listener.local_addr().map(|address| address.port()),
            Err(error) => Err(error.kind().into()),
        };
        let [http, https, server, serf] = &listeners;
        let ports = Self { http: port(http)?, https: port(https)?, server: port(server)?, serf: port(serf)? };
        UdpSocket::bind(("127.0.0.1", ports.serf))?;
        Ok(ports)
    }
}

fn spawn(program: &std::path::Path, ports: Ports, hcl: &str, log: &File) -> Result<Child, String> {
    let Ports { http, https, server, serf } = ports;
    // Without certificates a port for https is a port for nothing.
    let https = if hcl.contains("cert_file") { i32::from(https) } else { -1 };
    let log = |what: &str| log.try_clone().map_err(|error| format!("{what}: {error}"));
    Command::new(program)
        .args(["agent", "-dev", "-bind", "127.0.0.1", "-log-level", "warn", "-node"])
        .arg(format!("test-{http}"))
        .args(["-hcl", hcl, "-https-port", &https.to_string()])
        .args(["-http-port", &http.to_string(), "-server-port", &server.to_string()])
        .args(["-serf-lan-port", &serf.to_string(), "-serf-wan-port", "-1"])
        .args(["-grpc-port", "-1", "-grpc-tls-port", "-1", "-dns-port", "-1"])
        .stdin(Stdio::null())
        .stdout(log("stdout")?)
        .stderr(log("stderr")?)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}
