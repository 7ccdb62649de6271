//! Outrigger beside HAProxy, nginx, Envoy and a floor: CPU time per request, in the same run.
//!
//! A number of one run cannot be compared with one of another: the machine, its neighbours and its kernel's mood
//! change it by a third. So all proxies are there at once, take turns of about a second, in an order that moves on
//! with each round, and a *ratio* is formed inside each round; of the rounds it is the median that counts. Each
//! proxy has one thread on core 0. The load and the origin share core 1, in this process, and may be slower than
//! a proxy: then it has time to sleep, which costs it wake-ups. CPU time per request is what is compared, not
//! the rate.
//!
//! `cargo bench -p chaos-tests --bench peers -- --help`

use std::io::Write as _;
use std::path::Path;

use args::Args;
use chaos_tests::proxies::origin::local_runtime;
use chaos_tests::proxies::{Proxy, build, pin, target_directory};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

mod args;
mod load;
mod load_h2;
mod load_tcp;
mod memory;
mod numbers;
mod report;
mod rounds;
mod workload;

/// What a run of the benchmark can fail with: it is only ever shown.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The core of the proxies.
pub const PROXIES: usize = 0;
/// The core of everything else.
const LOAD: usize = 1;

fn main() -> Result<()> {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(words) => return Ok(writeln!(std::io::stderr(), "{words}")?),
    };
    let target = target_directory()?;
    build(&args.proxies)?;
    pin(LOAD)?;
    let descriptors = allow_descriptors()?;
    let present = report::opening(&args, &target)?;
    local_runtime()?.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        // An end from outside has to go through here, or the proxies would outlive it.
        tokio::select! {
            run = run(&args, &target, &present, descriptors) => run,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    })
}

async fn run(args: &Args, target: &Path, present: &[Proxy], descriptors: u64) -> Result<()> {
    for (endpoints, workloads) in args.phases() {
        let outcome = rounds::run(args, target, present, endpoints, &workloads).await?;
        report::rounds(&outcome)?;
    }
    if args.idle {
        let outcome = memory::run(args, target, present, descriptors).await?;
        report::memory(&outcome)?;
    }
    Ok(())
}

/// As many file descriptors as the system grants, for this process and for those that it starts.
fn allow_descriptors() -> Result<u64> {
    const WANTED: u64 = 65536;
    if setrlimit(Resource::RLIMIT_NOFILE, WANTED, WANTED).is_ok() {
        return Ok(WANTED);
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
