//! The command line.

use std::time::Duration;

use chaos_tests::proxies::Proxy;

use crate::workload::Workload;

const USAGE: &str = "\
Outrigger beside HAProxy, nginx, Envoy, Toxiproxy and a floor: CPU time per request, latency, memory.

cargo bench -p chaos-tests --bench peers -- [OPTIONS]

  --only LIST    of get1k,get64k,post16k,newconn,h2c,eps1000,rate,tcpbulk,tcpconn,idle (default: all)
  --peers LIST   of outrigger,outrigger-2,haproxy,nginx,envoy,floor,toxiproxy (default: all that is installed)
  --rounds N     rounds of each workload (default: 11; 3 for rate)
  --defer-accept TCP_DEFER_ACCEPT on all listeners, the floor's excepted
  --quick        3 rounds of half the length: to see that it works, not to compare

chaos-tests/bench-peers.sh installs the peers. OUTRIGGER_BIN, HAPROXY_BIN, NGINX_BIN, ENVOY_BIN and FLOOR_BIN
name other programs than the usual ones.";

/// What to run.
#[derive(Debug)]
pub struct Args {
    pub workloads: Vec<Workload>,
    pub idle: bool,
    pub proxies: Vec<Proxy>,
    rounds: Option<usize>,
    pub quick: bool,
    pub defer_accept: bool,
}

impl Args {
    /// Or the words to end with.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            workloads: Workload::ALL.to_vec(),
            idle: true,
            proxies: Proxy::ALL.to_vec(),
            rounds: None,
            quick: false,
            defer_accept: false,
        };
        let mut args = args.peekable();
        let mut from_cargo_bench = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} wants a value\n\n{USAGE}"));
            match arg.as_str() {
                "--bench" => from_cargo_bench = true,
                "--quick" => parsed.quick = true,
                "--defer-accept" => parsed.defer_accept = true,
                "--rounds" => {
                    let rounds = value()?.parse().ok().filter(|n| *n > 0);
                    parsed.rounds = Some(rounds.ok_or("--rounds wants a number from 1 up")?);
                }
                "--only" => {
                    let list = value()?;
                    parsed.idle = list.split(',').any(|n| n == "idle");
                    let names = list.split(',').filter(|n| *n != "idle");
                    parsed.workloads = chosen(names, &Workload::ALL, |w| w.name())?;
                }
                "--peers" => parsed.proxies = chosen(value()?.split(','), &Proxy::ALL, |p| p.name())?,
                _ => return Err(USAGE.into()),
            }
        }
        // `cargo test --all-targets` runs benchmarks too, as tests, which this is not.
        if from_cargo_bench { Ok(parsed) } else { Err("a benchmark: run it with cargo bench".into()) }
    }

    /// The workloads, by how many endpoints they want.
    pub fn phases(&self) -> Vec<(usize, Vec<Workload>)> {
        let of = |n| self.workloads.iter().copied().filter(|w| w.endpoints() == n).collect::<Vec<_>>();
        [3, 1000].map(|n| (n, of(n))).into_iter().filter(|(_, w)| !w.is_empty()).collect()
    }

    pub fn rounds(&self, workload: Workload) -> usize {
        match (self.rounds, workload, self.quick) {
            (Some(rounds), _, _) => rounds,
            (None, _, true) | (None, Workload::Rate, false) => 3,
            (None, _, false) => 11,
        }
    }

    /// How long one proxy's turn is measured; `warm_up` comes before it.
    pub fn turn(&self, workload: Workload) -> Duration {
        let full = if workload == Workload::Rate { 3000 } else { 1000 };
        Duration::from_millis(if self.quick { full / 2 } else { full })
    }

    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 250 })
    }
}

fn chosen<'a, T: Copy>(
    names: impl Iterator<Item = &'a str>,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let find = |name: &str| {
        let found = all.iter().copied().find(|t| name_of(*t) == name);
        found.ok_or_else(|| {
            let known = all.iter().map(|t| name_of(*t)).collect::<Vec<_>>().join(", ");
            format!("no such thing: {name}; there are {known}")
        })
    };
    names.map(find).collect()
}
