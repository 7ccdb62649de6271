//! `outrigger fault`

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use outrigger::admin::faults::{Beat, Cleared, Faults};
use outrigger::fault::spec::Endpoints;
use outrigger::fault::{Place, Spec, Stream};
use outrigger::fault_manager::FaultView;
use outrigger::units::{Interval, Share};
use serde_json::{Map, Value, json};

use super::ask::{ask, send, send_within, understand};
use super::output::{fail, print, table};

/// Inject faults into a running proxy, list them, end them.
///
/// The proxy has to be started for it: `faults: { enabled: true }`. A fault ends by itself, after five minutes unless --ttl
/// says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger fault add delay fixed=2s --service payments --endpoints 1
  outrigger fault add delay median=80ms p99=2s --service payments --endpoints all --percent 20%
  outrigger fault add abort status=503 --service payments --place edge --ttl 30s
  outrigger fault add reset_peer timeout=0 --proxy cache --hold
  outrigger fault list
  outrigger fault clear

Every fault, with what may be said of it: docs/faults.md")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(Box<Add>),
    List(List),
    Clear(Clear),
}

/// Inject a fault.
#[derive(Debug, clap::Args)]
#[command(after_help = "Types over HTTP, and what they want to know (durations as 250ms, 2s):
  delay fixed=2s                  or min=1s max=3s, or median=80ms p99=2s
  abort status=503                or grpc_status=14, or reset=true
  rewrite_status status=500       or with from=404
  truncate after=1KiB
  throttle rate=64KiB             bytes a second
  corrupt bytes=1%
Types over any bytes, as Toxiproxy has them:
  latency latency=1000 jitter=50  milliseconds
  bandwidth rate=100              kilobytes a second
  slow_close delay=1000           milliseconds
  timeout timeout=1000            milliseconds
  reset_peer timeout=0            milliseconds
  slicer average_size=64 size_variation=32 delay=10       delay: microseconds
  limit_data bytes=1000
  down

A fault that would leave no healthy endpoint alone is refused, unless --endpoints all says that it is meant.

Examples:
  outrigger fault add delay fixed=2s --service payments --endpoints 1
  outrigger fault add abort status=503 --service payments --endpoints all --percent 20% --ttl 30s
  outrigger fault add latency latency=1000 --proxy cache --hold       ends with Ctrl-C")]
struct Add {
    /// delay, abort, rewrite_status, truncate, throttle, corrupt; or latency, bandwidth, slow_close, timeout, reset_peer,
    /// slicer, limit_data, down.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// What the type wants to know: `fixed=2s`, `status=503`, `latency=1000`.
    #[arg(value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Value)>,
    /// The service that it meets.
    #[arg(long, value_name = "NAME", conflicts_with = "proxy", required_unless_present = "proxy")]
    service: Option<String>,
    /// The TCP proxy that it meets.
    #[arg(long, value_name = "NAME")]
    proxy: Option<String>,
    /// `upstream`: below resilience. `edge`: above it.
    #[arg(long, value_name = "PLACE", default_value = "upstream", value_parser = place)]
    place: Place,
    /// Byte-stream faults: `downstream` (to the client) or `upstream` (to the server) [default: downstream].
    #[arg(long, value_name = "STREAM", value_parser = stream)]
    stream: Option<Stream>,
    /// Upstream faults: `all` of the service's endpoints, so many, a share, or an address; more than once for a list.
    #[arg(long, value_name = "WHICH")]
    endpoints: Vec<String>,
    /// Only requests of this route: `routes[0]`.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only requests with this method; may be given more than once.
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Only requests whose path begins with this.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only requests with this field: `x-user=42`, or `x-user=*` for any value; may be given more than once.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Only requests of this caller.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Which part of them.
    #[arg(long, value_name = "SHARE", default_value = "100%")]
    percent: Share,
    /// Only the first so many.
    #[arg(long, value_name = "N")]
    first: Option<u64>,
    /// Only every so-many-th.
    #[arg(long, value_name = "N")]
    every: Option<u64>,
    /// Not before so much time has passed.
    #[arg(long, value_name = "TIME")]
    after: Option<Interval>,
    /// How long it lives [default: 5m].
    #[arg(long, value_name = "TIME")]
    ttl: Option<Interval>,
    /// What it is called.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Stay, and end the fault with this command: at Ctrl-C, or when it is killed.
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    admin: Admin,
}

/// List the faults there are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger fault list
  outrigger fault list --json --admin http://10.0.0.7:9901")]
struct List {
    #[command(flatten)]
    admin: Admin,
}

/// End a fault, or all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger fault clear              all of them
  outrigger fault clear 3
  outrigger fault clear --controller 'drill checkout'")]
struct Clear {
    /// The fault's number. Without one: all.
    id: Option<u64>,
    /// All of this controller.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    controller: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct Admin {
    /// Where the proxy's admin API listens.
    #[arg(long = "admin", value_name = "URL", default_value = "http://127.0.0.1:9901")]
    url: String,
    /// Print what the proxy answered, as JSON.
    #[arg(long)]
    json: bool,
}

/// How often a fault that is held is told that somebody is there.
const BEAT: Duration = Duration::from_secs(1);
/// When a fault that is held ends after the last time.
const HEARTBEAT: Interval = Interval(Duration::from_secs(4));

pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Add(args) => add(*args),
        Command::List(args) => list(&args.admin),
        Command::Clear(args) => clear(&args),
    }
}

fn attribute(text: &str) -> Result<(String, Value), String> {
    let (key, value) = pair(text)?;
    // What reads as a number or as true and false is one; `2s` and `20%` are text.
    let value = serde_json::from_str::<Value>(&value)
        .ok()
        .filter(|v| v.is_number() || v.is_boolean())
        .unwrap_or(Value::String(value));
    Ok((key, value))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("found `{text}`, expected KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn place(text: &str) -> Result<Place, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected `upstream` or `edge`".into())
}

fn stream(text: &str) -> Result<Stream, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected `downstream` or `upstream`".into())
}

fn add(args: Add) -> ExitCode {
    let Add { hold, admin, .. } = &args;
    let (hold, url, as_json) = (*hold, admin.url.clone(), admin.json);
    let spec = spec(args);
    let body = match serde_json::to_value(&spec) {
        Ok(body) => body,
        Err(error) => return fail(error),
    };
    let answered = match send(&url, Method::POST, "/api/v1/faults", Some(&body)) {
        Ok(answered) => answered,
        Err(message) => return fail(message),
    };
    let view: FaultView = match understand(&url, &answered) {
        Ok(view) => view,
        Err(message) => return fail(message),
    };
    let line = if as_json { format!("{}\n", answered.trim_end()) } else { format!("added {}\n", sentence(&view)) };
    let code = print(line, ExitCode::SUCCESS);
    if hold && code == ExitCode::SUCCESS { keep(&url, &spec, &view) } else { code }
}

fn spec(args: Add) -> Spec {
    let endpoints = match args.endpoints.len() {
        0 => None,
        1 => args.endpoints.into_iter().next().map(Endpoints::Word),
        _ => Some(Endpoints::These(args.endpoints)),
    };
    let held = args.hold.then(|| format!("outrigger fault add, process {}", std::process::id()));
    Spec {
        name: args.name,
        kind: args.kind,
        attributes: args.attributes.into_iter().collect::<Map<String, Value>>(),
        service: args.service,
        proxy: args.proxy,
        place: args.place,
        stream: args.stream,
        endpoints,
        route: args.route,
        methods: args.methods,
        path: args.path,
        headers: args.headers.into_iter().collect::<BTreeMap<_, _>>(),
        caller: args.caller,
        percent: args.percent,
        first: args.first,
        every: args.every,
        after: args.after,
        ttl: args.ttl,
        heartbeat: held.is_some().then_some(HEARTBEAT),
        controller: held,
    }
}

/// Lets the fault live for as long as this process does, its time to live at most.
fn keep(url: &str, spec: &Spec, view: &FaultView) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start: {error}")),
    };
    let terminal = io::stderr().is_terminal();
    if terminal {
        // Who does not see it is not at a keyboard either.
        let _unseen = writeln!(io::stderr(), "held; Ctrl-C ends it");
    }
    let controller = spec.controller.clone().unwrap_or_default();
    runtime.block_on(async {
        let mut beats = tokio::time::interval(BEAT);
        let ended = async {
            loop {
                beats.tick().await;
                let body = json!({ "controller": controller });
                let said = send_within(BEAT, url, Method::POST, "/api/v1/heartbeat", Some(&body)).await;
                match said.and_then(|text| understand::<Beat>(url, &text)) {
                    Ok(beat) if beat.faults.contains(&view.id) => {}
                    Ok(Beat { aborted: Some(saw), .. }) => return fail(format_args!("ended by a {saw}")),
                    Ok(_) => return print("it has ended\n", ExitCode::SUCCESS),
                    // Without a heartbeat it ends by itself; the proxy may also only be busy.
                    Err(message) => tracing::debug!(message, "no heartbeat"),
                }
            }
        };
        tokio::select! {
            code = ended => code,
            _ = tokio::signal::ctrl_c() => {
                let path = format!("/api/v1/faults/{}", view.id);
                match send_within(BEAT * 3, url, Method::DELETE, &path, None).await {
                    Ok(_) => print("ended\n", ExitCode::SUCCESS),
                    Err(message) => fail(format_args!("{message}; it ends by itself within {HEARTBEAT}")),
                }
            }
        }
    })
}

fn list(admin: &Admin) -> ExitCode {
    let body = match ask(&admin.url, "/api/v1/faults") {
        Ok(body) => body,
        Err(message) => return fail(message),
    };
    if admin.json {
        return print(format_args!("{}\n", body.trim_end()), ExitCode::SUCCESS);
    }
    match understand::<Faults>(&admin.url, &body) {
        Ok(faults) => print(page(&faults), ExitCode::SUCCESS),
        Err(message) => fail(message),
    }
}

fn page(faults: &Faults) -> String {
    if !faults.enabled && faults.faults.is_empty() {
        return "no faults; they are locked here (faults.enabled is false)\n".to_owned();
    }
    if faults.faults.is_empty() {
        return "no faults\n".to_owned();
    }
    let head =
        ["ID", "NAME", "ON", "PLACE", "TYPE", "WHAT", "WHOM", "STRUCK", "LEFT", "BY"].map(str::to_owned).to_vec();
    let rows = faults.faults.iter().map(|view| {
        let fault = &view.fault;
        vec![
            view.id.to_string(),
            fault.name.clone().unwrap_or_default(),
            subject(fault),
            fault.place.name().to_owned(),
            fault.kind.clone(),
            attributes(fault),
            whom(fault),
            view.injected.to_string(),
            view.remaining_ms.map_or_else(|| "no end".to_owned(), left),
            view.by.clone(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn sentence(view: &FaultView) -> String {
    let fault = &view.fault;
    let ends = view.remaining_ms.map_or_else(|| "without end".to_owned(), |ms| format!("for {}", left(ms)));
    let (name, attributes) = (fault.name.as_deref().unwrap_or_default(), attributes(fault));
    let (kind, place, subject, whom) = (&fault.kind, fault.place.name(), subject(fault), whom(fault));
    let what = if attributes.is_empty() { kind.clone() } else { format!("{kind} {attributes}") };
    format!("{}: {name}, {place} {what} on {subject} ({whom}), {ends}", view.id)
}

fn subject(fault: &Spec) -> String {
    match (&fault.service, &fault.proxy) {
        (Some(service), _) => service.clone(),
        (None, proxy) => format!("tcp {}", proxy.as_deref().unwrap_or_default()),
    }
}

fn attributes(fault: &Spec) -> String {
    let word = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    fault.attributes.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Which requests, in a few words.
fn whom(fault: &Spec) -> String {
    let mut words = Vec::new();
    match &fault.endpoints {
        Some(Endpoints::Some(n)) => words.push(format!("endpoints {n}")),
        Some(Endpoints::Word(word)) => words.push(format!("endpoints {word}")),
        Some(Endpoints::These(list)) => words.push(format!("endpoints {}", list.join(" "))),
        None => {}
    }
    words.extend(fault.route.clone());
    words.extend(fault.methods.iter().cloned());
    words.extend(fault.path.clone());
    words.extend(fault.headers.iter().map(|(name, value)| format!("{name}={value}")));
    words.extend(fault.caller.as_ref().map(|caller| format!("caller {caller}")));
    words.extend(fault.first.map(|n| format!("first {n}")));
    words.extend(fault.every.map(|n| format!("every {n}")));
    words.extend(fault.after.map(|time| format!("after {time}")));
    if fault.percent.0 < 1.0 {
        words.push(fault.percent.to_string());
    }
    if words.is_empty() { "all".to_owned() } else { words.join(", ") }
}

fn left(ms: u64) -> String {
    Interval(Duration::from_secs(ms.div_ceil(1000))).to_string()
}

fn clear(args: &Clear) -> ExitCode {
    let url = &args.admin.url;
    if let Some(id) = args.id {
        return match send(url, Method::DELETE, &format!("/api/v1/faults/{id}"), None) {
            Ok(_) => print("ended\n", ExitCode::SUCCESS),
            Err(message) => fail(message),
        };
    }
    let path = match &args.controller {
        Some(name) => format!("/api/v1/faults?controller={}", super::ask::escaped(name)),
        None => "/api/v1/faults".to_owned(),
    };
    match send(url, Method::DELETE, &path, None).and_then(|text| Ok((understand::<Cleared>(url, &text)?, text))) {
        Ok((_, text)) if args.admin.json => print(format_args!("{}\n", text.trim_end()), ExitCode::SUCCESS),
        Ok((Cleared { cleared }, _)) => print(format_args!("ended {cleared}\n"), ExitCode::SUCCESS),
        Err(message) => fail(message),
    }
}
