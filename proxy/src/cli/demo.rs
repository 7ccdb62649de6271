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
mod proxy;
mod registry;
mod report;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use self::client::Client;
use self::fault::Model;
use self::fleet::Fleet;
use self::measure::{Tally, Way};
use self::proxy::Proxy;
use self::registry::Registry;
use self::report::{JsonRow, Report, Row, Screen};

/// How many services a user request needs, row by row.
const ROWS: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Instances of each service.
const INSTANCES: u32 = 3;

/// How many services a user request of the light traffic after the table needs.
const LIGHT: usize = 10;

/// Show what Outrigger makes of total availability, on sample services that fail.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    outrigger demo                      the table, then light traffic until Ctrl-C\n  \
    outrigger demo --once --json        the same numbers for a program\n  \
    outrigger demo --seed 7             other faults\n  \
    outrigger demo --services 10        fewer services, sooner done")]
pub struct Demo {
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
pub fn run(arguments: &Demo) -> ExitCode {
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
        Err(error) => {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("outrigger demo: {error}\n"));
            ExitCode::FAILURE
        }
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

/// What has to be ended in good order, however the demo ends.
#[derive(Default)]
struct World {
    fleet: Option<Fleet>,
    proxy: Option<Proxy>,
    registry: Option<Registry>,
    /// Whether the table is complete.
    done: bool,
}

async fn until_stopped(arguments: &Demo, screen: &mut Screen) -> io::Result<ExitCode> {
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

async fn demo(arguments: &Demo, screen: &mut Screen, world: &mut World) -> io::Result<()> {
    let mut notes = Vec::new();
    let listen = port("--listen", arguments.listen, 8080, &mut notes)?;
    let admin = port("--admin", arguments.admin, 9901, &mut notes)?;
    let registry = port("--registry", arguments.registry, 8500, &mut notes)?;
    raise_descriptor_limit();

    let model = Model { seed: arguments.seed, instances: INSTANCES };
    let services = fleet::services(usize::from(arguments.services));
    let client = Client::default();

    screen.progress(format_args!("starting {} sample services ...", services.len()));
    let registry = world.registry.insert(Registry::start(registry).await?).address();
    let fleet = world.fleet.insert(Fleet::start(&services, model, usize::from(arguments.processes)).await?);
    registry::register(&client, registry, &services, fleet).await?;
    screen.progress(format_args!("starting the proxy ..."));
    let proxy = world.proxy.insert(Proxy::start(registry, listen, admin)?);
    proxy.ready(&client, listen, admin, &services).await?;
    for member in fleet.members.iter().flatten() {
        // The instances too get a first, unmeasured request each, as they did by way of the proxy.
        let _ = client.call(member.address, "", None).await;
    }

    screen.say(&opening(arguments, model, fleet, registry, listen, &notes))?;
    let began = Instant::now();
    let rows = table(arguments, screen, &client, &services, model, fleet, listen).await?;
    let took = began.elapsed();
    let (mut direct, mut proxied) = (Tally::default(), Tally::default());
    for row in &rows {
        direct.add(row.direct);
        proxied.add(row.proxied);
    }
    screen.foot(&direct, &proxied, took)?;
    if arguments.json {
        screen.json(&Report {
            seed: arguments.seed,
            services: services.len(),
            instances: INSTANCES,
            processes: fleet.processes(),
            designed_availability: model.availability(),
            measured_availability: direct.per_call(),
            proxied_availability: proxied.per_call(),
            seconds: took.as_secs_f64(),
            rows: rows.iter().map(JsonRow::new).collect(),
        })?;
    }
    world.done = true;
    if arguments.once {
        return Ok(());
    }
    screen.say(&closing(model, fleet, registry, listen, admin))?;
    let first = arguments.requests * ROWS.len() as u64;
    light_traffic(screen, &client, &services, model, fleet, proxy, listen, first).await
}

async fn table(
    arguments: &Demo,
    screen: &mut Screen,
    client: &Client,
    services: &[String],
    model: Model,
    fleet: &Fleet,
    listen: SocketAddr,
) -> io::Result<Vec<Row>> {
    screen.head()?;
    let mut rows: Vec<Row> = Vec::new();
    let mut all = Tally::default();
    let mut first = 0;
    for count in ROWS.into_iter().filter(|count| *count <= services.len()) {
        let needed = &services[..count];
        let numbers = first..first + arguments.requests;
        first = numbers.end;
        let mut measured = [Tally::default(); 2];
        let ways = [("directly", Way::Direct(fleet, model)), ("through Outrigger", Way::Proxy(listen))];
        for ((name, way), tally) in ways.into_iter().zip(&mut measured) {
            let progress = |done| {
                let of = arguments.requests;
                screen.progress(format_args!("{count} services, called {name}: {done} of {of} user requests"));
            };
            *tally = measure::run(client, way, needed, numbers.clone(), progress).await;
        }
        let [direct, proxied] = measured;
        all.add(direct);
        let row = Row { services: count, per_call: all.per_call(), direct, proxied };
        screen.row(&row)?;
        rows.push(row);
    }
    Ok(rows)
}

/// A few user requests each second, both ways, and a line on them every ten seconds; until the demo is ended.
#[allow(clippy::too_many_arguments)]
async fn light_traffic(
    screen: &mut Screen,
    client: &Client,
    services: &[String],
    model: Model,
    fleet: &mut Fleet,
    proxy: &mut Proxy,
    listen: SocketAddr,
    mut number: u64,
) -> io::Result<()> {
    const PER_LINE: u64 = 50;
    let needed = &services[..services.len().min(LIGHT)];
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut direct, mut proxied) = (Tally::default(), Tally::default());
    loop {
        ticks.tick().await;
        for pid in fleet.ended() {
            screen.say(&format!("Process {pid} has ended; the registry still lists what it stood for."))?;
        }
        if let Some(reason) = proxy.ended() {
            return Err(io::Error::other(reason));
        }
        let one = number..number + 1;
        number += 1;
        direct.add(measure::run(client, Way::Direct(fleet, model), needed, one.clone(), |_| ()).await);
        proxied.add(measure::run(client, Way::Proxy(listen), needed, one, |_| ()).await);
        screen.progress(format_args!("light traffic: {number} user requests so far"));
        if direct.requests == PER_LINE {
            screen.say(&format!(
                "Of the last {PER_LINE} user requests of {} services each, {} succeeded directly, {} through Outrigger.",
                needed.len(),
                direct.ok,
                proxied.ok
            ))?;
            (direct, proxied) = Default::default();
        }
    }
}

fn opening(
    arguments: &Demo,
    model: Model,
    fleet: &Fleet,
    registry: SocketAddr,
    listen: SocketAddr,
    notes: &[String],
) -> String {
    let instances = fleet.members.iter().map(Vec::len).sum::<usize>();
    let layout = if fleet.processes() == instances {
        format!("each of the {instances} instances is a process of its own")
    } else {
        format!(
            "{} processes stand for the {instances} instances, each for one instance of several services",
            fleet.processes()
        )
    };
    let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
    format!(
        "{notes}\
         {} services with {INSTANCES} instances each; {layout}. Registered at http://{registry}; the proxy is at {listen}.\n\
         One instance of each service is flaky. By seed {} and by design {:.2} % of direct calls succeed; the others get\n\
         a 503, a reset connection or, rarely, no answer. Whether an instance fails a request depends on seed, service,\n\
         instance and the request's number, so both ways of calling meet the same faults.\n\
         A user request calls every service it needs at once, each once, and waits up to 1 s. No client retries.\n",
        fleet.members.len(),
        arguments.seed,
        model.availability() * 100.0,
    )
}

fn closing(model: Model, fleet: &Fleet, registry: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    let flaky = model.flaky("orders");
    let member = fleet.members[0][flaky as usize];
    let failing =
        (0..1_000_000).find(|number| model.fault("orders", flaky, *number) == Some(fault::Fault::Unavailable));
    let failing = failing.unwrap_or_default();
    format!(
        "\nStill up, with light traffic. Try:\n  \
         curl -H 'Host: orders' http://{listen}/                        a service by its name\n  \
         http_proxy=http://{listen} curl http://orders/                 the same, as a forward proxy\n  \
         curl -i -H '{}: {failing}' http://{}/        a request that this instance fails,\n  \
         curl -i -H '{}: {failing}' -H 'Host: orders' http://{listen}/  and the proxy does not\n  \
         kill -9 {:<10}                                            end an instance of `orders`\n  \
         curl http://{admin}/api/v1/services                            the proxy's pools\n  \
         curl http://{admin}/metrics                                    and its metrics\n  \
         curl http://{registry}/v1/catalog/services                        the registry's catalog\n  \
         curl http://{registry}/v1/health/service/orders\n\
         Ctrl-C ends everything.\n",
        fault::REQUEST,
        member.address,
        fault::REQUEST,
        member.pid,
    )
}

/// The address to listen on: the one asked for, which has to be free; or the usual one, or a free one with a note.
fn port(option: &str, asked: Option<SocketAddr>, usual: u16, notes: &mut Vec<String>) -> io::Result<SocketAddr> {
    if let Some(address) = asked {
        let listener = TcpListener::bind(address).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::AddrInUse { "; is another demo running?" } else { "" };
            io::Error::new(error.kind(), format!("{option} {address}: {error}{hint}"))
        })?;
        return listener.local_addr();
    }
    let usual = SocketAddr::from(([127, 0, 0, 1], usual));
    if TcpListener::bind(usual).is_ok() {
        return Ok(usual);
    }
    let free = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    notes.push(format!("Note: {usual} is taken, so {free} is used ({option} chooses another)."));
    Ok(free)
}

/// A connection or two to each of hundreds of instances need more descriptors than some systems allow at first.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
