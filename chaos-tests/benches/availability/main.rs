//! What share of user requests succeeds while instances fail: Outrigger beside its peers, in the same run.
//!
//! `cargo bench -p chaos-tests --bench availability -- --help`; `docs/availability.md` says how it is measured.

#![allow(missing_docs, reason = "a program of its own")]

use std::io::Write as _;
use std::path::PathBuf;

use chaos_tests::proxies::{Proxy, build, target_directory};
use peers::Peer;
use report::Cell;
use scenario::Scenario;

mod client;
mod fleet;
mod peers;
mod report;
mod rounds;
mod scenario;

/// What a run can fail with: it is only ever shown.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
cargo bench -p chaos-tests --bench availability -- [OPTIONS]

  --scenario A,B     only these rows (default: all)
  --peers A,B        only these of outrigger, haproxy, nginx, envoy, traefik (default: those that are installed)
  --rounds N         rounds of each row, at least one (default: 3)
  --one-by-one       the proxies one after the other instead of side by side
  --json FILE        every round, one JSON object a line
  --list             the names of the rows";

struct Args {
    scenarios: Vec<Scenario>,
    peers: Vec<Peer>,
    rounds: usize,
    one_by_one: bool,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "fleet") {
        let ports: Vec<u16> = words[1..].iter().map(|p| p.parse()).collect::<std::result::Result<_, _>>()?;
        return local_runtime()?.block_on(tokio::task::LocalSet::new().run_until(fleet::run(&ports)));
    }
    allow_descriptors()?;
    let target = target_directory()?;
    let Some(args) = parse(&words, &target)? else { return Ok(()) };
    if args.peers.contains(&Peer::Outrigger) {
        build(&[Proxy::Outrigger])?;
    }
    let run = async {
        let mut json = args.json.as_ref().map(std::fs::File::create).transpose()?;
        print(&report::head(&args.peers))?;
        for scenario in &args.scenarios {
            let mut cells = Vec::new();
            for round in 0..args.rounds {
                let cell = one_round(scenario, &args, &target).await?;
                for (cell, peer) in cell.iter().zip(&args.peers) {
                    if let Some(json) = &mut json {
                        writeln!(json, "{}", cell.json(*peer, scenario, round))?;
                    }
                }
                cells.push(cell);
            }
            print(&report::row(scenario, &args.peers, &cells))?;
        }
        Ok(())
    };
    local_runtime()?.block_on(tokio::task::LocalSet::new().run_until(run))
}

async fn one_round(scenario: &Scenario, args: &Args, target: &std::path::Path) -> Result<Vec<Cell>> {
    let directory = tempfile::tempdir()?;
    let groups: Vec<&[Peer]> = if args.one_by_one { args.peers.chunks(1).collect() } else { vec![&args.peers] };
    let mut cells = Vec::new();
    for group in groups {
        for outcome in rounds::run(scenario, group, target, directory.path()).await? {
            cells.push(Cell::of(scenario, &outcome));
        }
    }
    Ok(cells)
}

fn parse(words: &[String], target: &std::path::Path) -> Result<Option<Args>> {
    let all = scenario::all();
    let mut args = Args {
        scenarios: all.clone(),
        peers: Peer::ALL.into_iter().filter(|p| *p == Peer::Outrigger || p.program(target).is_some()).collect(),
        rounds: 3,
        one_by_one: false,
        json: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--scenario" => {
                let named = value()?.split(',').map(|n| all.iter().find(|s| s.name == n).cloned().ok_or(n.to_owned()));
                args.scenarios = named.collect::<std::result::Result<_, _>>().map_err(|n| format!("no row {n}"))?;
            }
            "--peers" => {
                let named =
                    value()?.split(',').map(|n| Peer::ALL.into_iter().find(|p| p.name() == n).ok_or(n.to_owned()));
                args.peers = named.collect::<std::result::Result<_, _>>().map_err(|n| format!("no proxy {n}"))?;
            }
            "--rounds" => args.rounds = value()?.parse::<usize>()?.max(1),
            "--one-by-one" => args.one_by_one = true,
            "--json" => args.json = Some(value()?.into()),
            "--list" => {
                all.iter().try_for_each(|s| print(&format!("{:<18}{}", s.name, s.title)))?;
                return Ok(None);
            }
            _ => {
                print(USAGE)?;
                return Ok(None);
            }
        }
    }
    Ok(Some(args))
}

fn print(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn local_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn allow_descriptors() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard)?)
}
