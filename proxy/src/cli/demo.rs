//! `outrigger demo`: the reason for the program, measured on the spot.
//!
//! A user request that needs *n* services, each of them available to A, is available to Aⁿ: at 99.9 % and a
//! hundred services every tenth user sees an error. The demo shows that this is so, and what a proxy that finds
//! another instance makes of it. It starts a registry, a fleet of sample services whose instances fail by a fixed
//! rule ([`fault`]), and this same program as a proxy in front of them; then it makes the same user requests twice,
//! once to the instances and once by way of the proxy, with more and more services. Nothing in the table is
//! assumed: every number was counted in the run that prints it.

mod client;
mod fault;
mod fleet;
pub mod instance;
mod measure;
mod process;
mod prose;
mod proxy;
mod registry;
mod report;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use outrigger_registry::embedded::Embedded;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use self::client::Client;
use self::fault::Model;
use self::fleet::{Ended, Fleet};
use self::measure::{Tally, Way};
use self::proxy::Proxy;
use self::report::{JsonRow, Report, Row, Screen};
use super::availability::Sum;
use super::output::fail;

/// How many services a user request needs, row by row.
const ROWS: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Instances of each service.
const INSTANCES: u32 = 3;

/// How many services a user request of the light traffic after the table needs.
const LIGHT: usize = 10;

/// How long the registry goes on listing an instance that was killed.
const LISTED: Duration = Duration::from_secs(10);

/// Show what Outrigger makes of total availability, on sample services that fail.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    outrigger demo                      the table, then light traffic until Ctrl-C\n  \
    outrigger demo --once --json        the same numbers for a program\n  \
    outrigger demo --seed 7             other faults\n  \
    outrigger demo --services 10        fewer services, sooner done")]
pub struct Args {
    /// End after the table.
    #[arg(long)]
    pub once: bool,
    /// Print the table's numbers as one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Which faults happen: the same seed, the same faults.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// User requests per row and way of calling.
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub requests: u64,
    /// The largest number of services that a user request needs.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub services: u16,
    /// Processes that stand for the instances. By default each instance is a process; with fewer, one process
    /// stands for one instance each of several services.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=300))]
    pub processes: u16,
    /// Where the proxy listens [default: 127.0.0.1:8080, or a free port if that is taken].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where its admin API listens [default: 127.0.0.1:9901, or a free port].
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// Where the embedded registry listens [default: 127.0.0.1:8500, or a free port].
    #[arg(long, value_name = "ADDRESS")]
    pub registry: Option<SocketAddr>,
}

/// Runs the demo. Ends with 0 after `--once` or when it is ended after the table, 130 when before, 1 on errors.
pub fn run(arguments: &Args) -> ExitCode {
    let mut screen = Screen::new(arguments.json);
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(until_stopped(arguments, &mut screen)));
    screen.clear();
    match result {
        Ok(code) => code,
        // Whoever read the output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("demo: {error}")),
    }
}

/// Ends the process when whoever started it is gone: its end of the pipe closes with it, even after a `kill -9`.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut stdin = io::stdin().lock();
        let mut ignored = [0; 64];
        while !matches!(stdin.read(&mut ignored), Ok(0) | Err(_)) {}
        std::process::exit(0);
    });
}

/// Who plays, and where.
struct Stage {
    client: Client,
    model: Model,
    services: Vec<String>,
    /// The proxy's address.
    listen: SocketAddr,
    /// Its admin API's.
    admin: SocketAddr,
    registry: SocketAddr,
}

/// What has to be ended in good order, however the demo ends.
#[derive(Default)]
struct World {
    fleet: Option<Fleet>,
    proxy: Option<Proxy>,
    registry: Option<Embedded>,
    /// Whether the table is complete.
    done: bool,
}

async fn until_stopped(arguments: &Args, screen: &mut Screen) -> io::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut world = World::default();
    let result = tokio::select! {
        result = demo(arguments, screen, &mut world) => result.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    };
    screen.clear();
    if let Some(proxy) = &mut world.proxy {
        proxy.stop().await;
    }
    if let Some(fleet) = &mut world.fleet {
        fleet.stop().await;
    }
    if world.done { result.map(|_| ExitCode::SUCCESS) } else { result }
}

async fn demo(arguments: &Args, screen: &mut Screen, world: &mut World) -> io::Result<()> {
    let mut notes = Vec::new();
    let listen = hold("--listen", arguments.listen, 8080, &mut notes)?;
    let admin = hold("--admin", arguments.admin, 9901, &mut notes)?;
    let registry = hold("--registry", arguments.registry, 8500, &mut notes)?;
    let stage = Stage {
        client: Client::default(),
        model: Model { seed: arguments.seed, instances: INSTANCES },
        services: fleet::services(usize::from(arguments.services)),
        listen: listen.local_addr()?,
        admin: admin.local_addr()?,
        registry: registry.local_addr()?,
    };
    raise_descriptor_limit();
    screen.progress(format_args!("starting {} sample services ...", stage.services.len()));
    drop(registry);
    world.registry = Some(Embedded::bind(stage.registry).await?);
    let fleet = Fleet::start(&stage.services, stage.model, usize::from(arguments.processes)).await?;
    let fleet = world.fleet.insert(fleet);
    registry::register(&stage, fleet).await?;
    screen.progress(format_args!("starting the proxy ..."));
    drop((listen, admin));
    let proxy = world.proxy.insert(Proxy::start(&stage)?);
    proxy.ready(&stage).await?;
    fleet.warm(&stage).await;

    screen.say(&prose::opening(&stage, fleet, &notes))?;
    let began = Instant::now();
    let rows = table(arguments.requests, screen, &stage, fleet).await?;
    let took = began.elapsed();
    let accounts = Proxy::accounts(&stage, rows.iter().map(|row| row.proxied.calls).sum()).await;
    report(arguments, screen, &stage, fleet, &rows, took, accounts)?;
    world.done = true;
    if arguments.once {
        return Ok(());
    }
    screen.say(&prose::closing(&stage, fleet))?;
    let first = arguments.requests * ROWS.len() as u64;
    afterwards(screen, &stage, fleet, proxy, first).await
}

async fn table(requests: u64, screen: &mut Screen, stage: &Stage, fleet: &Fleet) -> io::Result<Vec<Row>> {
    screen.head()?;
    let mut rows: Vec<Row> = Vec::new();
    let mut all = Tally::default();
    let mut first = 0;
    for count in ROWS.into_iter().filter(|count| *count <= stage.services.len()) {
        let numbers = first..first + requests;
        first = numbers.end;
        let mut measured = [Tally::default(); 2];
        let ways = [("directly", Way::Direct(fleet)), ("through Outrigger", Way::Proxy)];
        for ((name, way), tally) in ways.into_iter().zip(&mut measured) {
            let progress = |done| {
                screen.progress(format_args!(
                    "services needed: {count}, called {name}: {done} of {requests} user requests"
                ));
            };
            *tally = measure::run(stage, way, count, numbers.clone(), progress).await;
        }
        let [direct, proxied] = measured;
        all.add(direct);
        let row = Row { services: count, per_call: all.per_call(), direct, proxied };
        screen.row(&row)?;
        rows.push(row);
    }
    Ok(rows)
}

fn report(
    arguments: &Args,
    screen: &mut Screen,
    stage: &Stage,
    fleet: &Fleet,
    rows: &[Row],
    took: Duration,
    accounts: Option<Sum>,
) -> io::Result<()> {
    let (mut direct, mut proxied) = (Tally::default(), Tally::default());
    for row in rows {
        direct.add(row.direct);
        proxied.add(row.proxied);
    }
    if !arguments.json {
        screen.say(&prose::foot(&direct, &proxied, took))?;
        return accounts.map_or(Ok(()), |sum| screen.say(&prose::accounts(&sum)));
    }
    screen.json(&Report {
        seed: stage.model.seed,
        services: stage.services.len(),
        instances: INSTANCES,
        processes: fleet.processes(),
        designed_availability: stage.model.availability(),
        measured_availability: direct.per_call(),
        proxied_availability: proxied.per_call(),
        seconds: took.as_secs_f64(),
        rows: rows.iter().map(JsonRow::new).collect(),
        accounts,
    })
}

/// A few user requests each second, both ways, and a line on them every ten seconds; until the demo is ended.
/// Instances that somebody killed leave the registry after a while.
async fn afterwards(
    screen: &mut Screen,
    stage: &Stage,
    fleet: &mut Fleet,
    proxy: &mut Proxy,
    mut number: u64,
) -> io::Result<()> {
    const PER_LINE: u64 = 50;
    let count = stage.services.len().min(LIGHT);
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut direct, mut proxied) = (Tally::default(), Tally::default());
    let mut gone: VecDeque<(Instant, Ended)> = VecDeque::new();
    loop {
        ticks.tick().await;
        for ended in fleet.ended() {
            let seconds = LISTED.as_secs();
            screen.say(&format!("{ended} has ended. The registry goes on listing it for {seconds} s."))?;
            gone.push_back((Instant::now() + LISTED, ended));
        }
        while let Some((_, ended)) = gone.pop_front_if(|(due, _)| *due <= Instant::now()) {
            fleet.unlist(&ended);
            match registry::deregister(stage, &ended).await {
                Ok(()) => screen.say(&format!("{ended} has left the registry."))?,
                Err(error) => screen.say(&format!("{ended} could not be taken out of the registry: {error}"))?,
            }
        }
        if let Some(reason) = proxy.ended() {
            return Err(io::Error::other(reason));
        }
        let one = number..number + 1;
        number += 1;
        direct.add(measure::run(stage, Way::Direct(fleet), count, one.clone(), |_| ()).await);
        proxied.add(measure::run(stage, Way::Proxy, count, one, |_| ()).await);
        screen.progress(format_args!("light traffic: {} of {PER_LINE} user requests", direct.requests));
        if direct.requests == PER_LINE {
            screen.say(&format!(
                "Of the last {PER_LINE} user requests of {count} services each, {} succeeded directly, {} through Outrigger.",
                direct.ok, proxied.ok
            ))?;
            (direct, proxied) = Default::default();
        }
    }
}

/// Takes a port until it is needed: the one asked for, which has to be free; or the usual one, or a free one with a
/// note. Held, because the fleet takes hundreds of free ports in the meantime.
fn hold(option: &str, asked: Option<SocketAddr>, usual: u16, notes: &mut Vec<String>) -> io::Result<TcpListener> {
    if let Some(address) = asked {
        return TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                io::Error::new(error.kind(), format!("{option} {address}: the port is in use; choose another"))
            }
            kind => io::Error::new(kind, format!("{option} {address}: {error}")),
        });
    }
    let usual = SocketAddr::from(([127, 0, 0, 1], usual));
    if let Ok(listener) = TcpListener::bind(usual) {
        return Ok(listener);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let free = listener.local_addr()?;
    notes.push(format!("Note: {usual} is taken, so {free} is used ({option} chooses another)."));
    Ok(listener)
}

/// A connection or two to each of hundreds of instances need more descriptors than some systems allow at first.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
