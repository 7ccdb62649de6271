//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::member;
use super::peers::Peer;
use super::report::{self, Report};
use super::round::{self, Plan, Programs};
use super::scenario::{self, Scenario};
use crate::proxies::origin::local_runtime;

const USAGE: &str = "\
What share of user requests succeeds while instances fail: Outrigger beside HAProxy, nginx, Envoy and Traefik.

cargo run --release -p chaos-tests --bin availability -- [OPTIONS]

  --scenario LIST  which (default: all; --list shows them)
  --peers LIST     of outrigger,haproxy,nginx,envoy,traefik,haproxy-told,nginx-told,envoy-adaptive (default: all;
                   the last three only take part where a capacity is exceeded)
  --rounds N       of every scenario (default: 3)
  --rate N         calls per second and proxy (default: 500)
  --warm-up S      seconds before every round that are not counted (default: 4)
  --one-by-one     the proxies take turns, in place of running side by side
  --seed N         of everything that is drawn (default: 1)
  --json FILE      keeps what was measured; what FILE has of other scenarios stays
  --markdown FILE  writes the tables of --json's FILE between the marks in FILE; with --rounds 0 nothing is run before
  --list           says what there is

chaos-tests/bench-peers.sh installs the peers. OUTRIGGER_BIN, HAPROXY_BIN, NGINX_BIN, ENVOY_BIN and TRAEFIK_BIN name
other programs than the usual ones.";

struct Args {
    scenarios: Vec<Scenario>,
    peers: Vec<Peer>,
    plan: Plan,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    list: bool,
}

/// Runs what the arguments say, or a process of a fleet.
pub fn main() -> ExitCode {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let done = match args.first().map(String::as_str) {
        Some("fleet") => fleet(&args[1..]),
        _ => Args::parse(args).and_then(|args| measure(&args).map_err(|e| e.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn fleet(args: &[String]) -> Result<(), String> {
    let [instance, seed, ports] = args else { return Err("fleet INSTANCE SEED PORT,PORT,...".into()) };
    let ports = ports.split(',').map(str::parse).collect::<Result<Vec<u16>, _>>().map_err(|e| e.to_string())?;
    let instance = instance.parse().map_err(|_| "no number of an instance")?;
    member::run(instance, seed.parse().map_err(|_| "no seed")?, &ports).map_err(|e| e.to_string())
}

impl Args {
    fn parse(args: Vec<String>) -> Result<Self, String> {
        let plan = Plan { rounds: 3, warm_up: 4.0, rate: 500.0, one_by_one: false, seed: 1 };
        let (scenarios, peers) = (scenario::all(), Peer::ALL.to_vec());
        let mut parsed = Self { scenarios, peers, plan, json: None, markdown: None, list: false };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} wants a value\n\n{USAGE}"));
            match arg.as_str() {
                "--scenario" => {
                    let all = std::mem::take(&mut parsed.scenarios);
                    parsed.scenarios = chosen(&value()?, &all, |s| s.name)?;
                }
                "--peers" => parsed.peers = chosen(&value()?, &Peer::ALL, |p| p.name)?,
                "--rounds" => parsed.plan.rounds = number(&value()?)? as usize,
                "--rate" => parsed.plan.rate = number(&value()?)?,
                "--warm-up" => parsed.plan.warm_up = number(&value()?)?,
                "--seed" => parsed.plan.seed = number(&value()?)? as u64,
                "--one-by-one" => parsed.plan.one_by_one = true,
                "--json" => parsed.json = Some(value()?.into()),
                "--markdown" => parsed.markdown = Some(value()?.into()),
                "--list" => parsed.list = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(parsed)
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| *n >= 0.0 && n.is_finite()).ok_or_else(|| format!("no number: {text}"))
}

fn chosen<T: Clone>(names: &str, all: &[T], name_of: impl Fn(&T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |name: &str| {
        let known = || all.iter().map(&name_of).collect::<Vec<_>>().join(", ");
        let found = all.iter().find(|t| name_of(t) == name).cloned();
        found.ok_or_else(|| format!("no such thing: {name}; there are {}", known()))
    };
    names.split(',').map(find).collect()
}

fn measure(args: &Args) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.list {
        for scenario in &args.scenarios {
            writeln!(out, "{:17} {}", scenario.name, scenario.says)?;
        }
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or_else(|| io::Error::other("not where cargo puts programs"))?;
    let mut report = match &args.json {
        Some(file) if file.exists() => serde_json::from_slice(&std::fs::read(file)?)?,
        _ => Report::default(),
    };
    if args.plan.rounds > 0 {
        if args.peers.iter().any(|p| p.name == "outrigger") {
            crate::proxies::build::build_into(target, &[crate::proxies::Proxy::Outrigger])?;
        }
        let runtime = local_runtime()?;
        let programs = Programs { fleet: program.clone(), target: target.to_owned(), outrigger: None };
        for scenario in &args.scenarios {
            let about = about(args, target)?;
            let outcome = runtime.block_on(round::run(&args.plan, scenario, &args.peers, &programs))?;
            let one = Report { about, outcomes: vec![outcome] };
            writeln!(out, "{}", one.markdown(std::slice::from_ref(scenario)))?;
            report.merge(one);
            // After every scenario: a run of all of them takes the better part of an hour.
            if let Some(file) = &args.json {
                std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
            }
        }
    }
    if let Some(file) = &args.markdown {
        let document = std::fs::read_to_string(file)?;
        let measured = report.markdown(&scenario::all());
        std::fs::write(file, report::replace(&document, &measured).map_err(io::Error::other)?)?;
    }
    Ok(())
}

fn about(args: &Args, target: &Path) -> io::Result<Vec<String>> {
    let read = |file: &str| std::fs::read_to_string(file);
    let cpu = read("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let (system, load) = (read("/proc/sys/kernel/osrelease")?, read("/proc/loadavg")?);
    let load = load.split(' ').next().unwrap_or("?");
    let mut about = vec![format!("Linux {}, {model}, {cores} cores, load before the start {load}", system.trim())];
    if let Ok(commit) = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output() {
        about.push(format!("harness and configurations: commit {}", String::from_utf8_lossy(&commit.stdout).trim()));
    }
    for peer in args.peers.iter().filter(|p| !p.name.contains('-')) {
        about.push(format!("{}: {}", peer.name, peer.version(target).unwrap_or_else(|| "NOT INSTALLED".into())));
    }
    Ok(about)
}
