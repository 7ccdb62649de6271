//! The contenders: Outrigger and its peers, each in its strongest documented configuration.
//!
//! The configurations are files in `chaos-tests/availability/peers/`, to be read and argued about; only addresses and a few
//! times are filled in. What a peer cannot find out by itself is told to it: how long a try may take, how often to check.
//! Outrigger is told nothing.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{Client, End};
use super::scenario::Scenario;
use super::template::{Values, fill};
use crate::proxies::{self, Process};
use crate::proxy::free_address;

/// A proxy with a way to configure it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// On the command line and in the tables.
    pub name: &'static str,
    program: Program,
    /// What is special about it: a section of its template.
    section: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Known(proxies::Proxy),
    Traefik,
}

impl Peer {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::new("outrigger", Program::Known(proxies::Proxy::Outrigger), None),
        Self::new("haproxy", Program::Known(proxies::Proxy::Haproxy), None),
        Self::new("nginx", Program::Known(proxies::Proxy::Nginx), None),
        Self::new("envoy", Program::Known(proxies::Proxy::Envoy), None),
        Self::new("traefik", Program::Traefik, None),
        Self::new("haproxy-told", Program::Known(proxies::Proxy::Haproxy), Some("told")),
        Self::new("nginx-told", Program::Known(proxies::Proxy::Nginx), Some("told")),
        Self::new("envoy-adaptive", Program::Known(proxies::Proxy::Envoy), Some("adaptive")),
    ];

    const fn new(name: &'static str, program: Program, section: Option<&'static str>) -> Self {
        Self { name, program, section }
    }

    /// Whether it takes part in a scenario: the special ones do where a capacity is exceeded.
    pub fn takes_part(self, scenario: &Scenario) -> bool {
        self.section.is_none() || scenario.capacity.is_some()
    }

    /// What a person reads of it beside its name.
    pub fn program(self, target: &Path) -> Option<PathBuf> {
        match self.program {
            Program::Known(proxy) => proxy.program(target),
            Program::Traefik => {
                let named = std::env::var_os("TRAEFIK_BIN").map(PathBuf::from);
                named.or_else(|| Some(target.join("peers/traefik"))).filter(|p| p.is_file())
            }
        }
    }

    /// What its program says that it is.
    pub fn version(self, target: &Path) -> Option<String> {
        let flag = match self.program {
            Program::Known(proxies::Proxy::Outrigger | proxies::Proxy::Envoy) => "--version",
            Program::Known(_) => "-v",
            Program::Traefik => "version",
        };
        let program = self.program(target)?;
        let said = Command::new(&program).arg(flag).output().ok()?;
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let line = said.lines().map(str::trim).find(|l| !l.is_empty())?;
        let words = line.replace(&program.display().to_string(), "");
        Some(words.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Writes what it wants to have written into `directory`; gives the arguments.
    fn configure(self, directory: &Path, values: &Values) -> io::Result<Vec<String>> {
        let write = |name: &str| -> io::Result<String> {
            let template = std::fs::read_to_string(templates().join(name))?;
            let text = fill(&template, values).map_err(|e| io::Error::other(format!("{name}: {e}")))?;
            let file = directory.join(name);
            std::fs::write(&file, text)?;
            Ok(file.display().to_string())
        };
        let words = |words: &str, file: String| words.split(' ').map(Into::into).chain([file]).collect::<Vec<String>>();
        Ok(match self.program {
            Program::Known(proxies::Proxy::Haproxy) => words("-db -f", write("haproxy.cfg")?),
            Program::Known(proxies::Proxy::Nginx) => {
                let prefix = format!("-e stderr -p {} -c", directory.display());
                words(&prefix, write("nginx.conf")?)
            }
            Program::Known(proxies::Proxy::Envoy) => {
                words("--concurrency 2 --disable-hot-restart --log-level error --config-path", write("envoy.yaml")?)
            }
            Program::Known(_) => words("run --config", write("outrigger.yaml")?),
            Program::Traefik => {
                write("traefik-services.yaml")?;
                vec![format!("--configfile={}", write("traefik.yaml")?)]
            }
        })
    }

    /// Starts it before the instances of each service, and waits until a request goes through.
    ///
    /// # Errors
    /// It is not installed, ended, or lets nothing through: with the end of what it wrote.
    pub async fn start(self, setting: &Setting<'_>, services: &[Vec<SocketAddr>]) -> io::Result<Running> {
        let ours = setting.outrigger.filter(|_| self.program == Program::Known(proxies::Proxy::Outrigger));
        let program = ours
            .map(Path::to_path_buf)
            .or_else(|| self.program(setting.target))
            .ok_or_else(|| io::Error::other("not installed"))?;
        let directory = setting.directory.join(self.name);
        std::fs::create_dir_all(&directory)?;
        let (address, admin) = (free_address(), free_address());
        let values = values(self, setting, services, &directory, address, admin);
        let log = directory.join("log");
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new(program);
        command.args(self.configure(&directory, &values)?).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let mut process = Process::start(command, None)?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let end = Client::new(address).call(0, "start", false).await;
            let trouble = match process.ended()? {
                Some(status) => format!("ended: {status}"),
                None if end == End::Good => return Ok(Running { address, process }),
                None if Instant::now() > until => format!("lets nothing through: {end:?}"),
                None => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let said = std::fs::read_to_string(log)?;
            let last = said.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            return Err(io::Error::other(format!("{trouble}; its last lines: {last}")));
        }
    }
}

/// What contenders of one scenario share.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Cargo's, where our own programs and some peers are.
    pub target: &'a Path,
    /// Another Outrigger than the usual one.
    pub outrigger: Option<&'a Path>,
    /// For configurations and logs.
    pub directory: &'a Path,
    /// What is going to happen.
    pub scenario: &'a Scenario,
    /// A server that is always well, for a peer whose fallback has to be one.
    pub standby: Option<SocketAddr>,
}

/// A contender that lets requests through. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    /// Where it takes requests.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.process.ended(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        }
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until && matches!(self.process.ended(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // What has not ended is killed with the process's own drop.
    }
}

/// Where the templates are.
pub fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("availability/peers")
}

fn values(
    peer: Peer,
    setting: &Setting<'_>,
    services: &[Vec<SocketAddr>],
    directory: &Path,
    address: SocketAddr,
    admin: SocketAddr,
) -> Values {
    let scenario = setting.scenario;
    let service = |service: usize| {
        let instances = services[service].iter().enumerate().map(|(instance, at)| {
            Values::default().text("instance", instance).text("host", at.ip()).text("port", at.port())
        });
        Values::default().text("service", service).list("instances", instances.collect())
    };
    let capacity = scenario.capacity.as_ref();
    // A try may take what the slowest ordinary answers take, many times over; where a service's work takes 100 ms and may
    // queue for longer, nearly all of the user's patience.
    let try_ms = if capacity.is_some() { 900 } else { 250 };
    // 500 instances twice a second would be more checks than requests.
    let check_ms = if services.len() > 20 { 2000 } else { 500 };
    let seconds = |ms: u32| f64::from(ms) / 1000.0;
    Values::default()
        .text("listen", address.port())
        .text("admin", admin.port())
        .text("directory", directory.display())
        .text("peers", templates().display())
        .text("try", try_ms)
        .text("try_seconds", seconds(try_ms))
        .text("check", check_ms)
        .text("check_seconds", seconds(check_ms))
        .text("slots", capacity.map_or(0, |c| c.slots))
        .text("standby", setting.standby.unwrap_or(admin))
        .when("fallback", scenario.fallback)
        .when("overload", capacity.is_some())
        .when("told", peer.section == Some("told"))
        .when("adaptive", peer.section == Some("adaptive"))
        .list("services", (0..services.len()).map(service).collect())
}

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::*;

    fn written(peer: Peer, scenario: &Scenario) -> Vec<String> {
        let at: SocketAddr = "127.0.0.1:10001".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = Path::new("target");
        let setting = Setting { target, outrigger: None, directory: folder.path(), scenario, standby: Some(at) };
        let services = vec![vec![at; scenario::INSTANCES]; scenario.services];
        let values = values(peer, &setting, &services, Path::new("/run"), at, at);
        peer.configure(folder.path(), &values).unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn every_contender_has_a_configuration_for_every_row_it_takes_part_in() {
        for scenario in scenario::all() {
            for peer in Peer::ALL.into_iter().filter(|p| p.takes_part(&scenario)) {
                for text in written(peer, &scenario) {
                    assert!(!text.is_empty() && !text.contains("{{"), "{} in {}: {text}", peer.name, scenario.name);
                }
            }
        }
    }

    #[test]
    fn outrigger_has_the_same_file_in_every_row_but_that_of_the_fallback() {
        let [outrigger, ..] = Peer::ALL;
        // As many services as the row has; that is the row's, not a setting.
        let rows = scenario::all();
        let file = |row: &Scenario| written(outrigger, &Scenario { services: 3, ..row.clone() });
        let plain = rows.iter().filter(|r| !r.fallback).map(file).collect::<Vec<_>>();
        assert!(plain.windows(2).all(|two| two[0] == two[1]), "{plain:?}");
        assert!(!plain[0][0].contains("fallback"));
        let declared = rows.iter().filter(|r| r.fallback).map(|r| r.name).collect::<Vec<_>>();
        assert_eq!(declared, ["down"]);
    }
}
