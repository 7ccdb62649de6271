//! `outrigger services`

use std::io;
use std::process::ExitCode;

use serde::Deserialize;

use super::ask::{ask, escaped, understand};
use super::output::{Paint, fail, print, table};

/// Ask a running proxy for its services and their instances.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger services
  outrigger services orders
  outrigger services --admin http://127.0.0.1:9901 --json | jq '.services[].name'

Of one service, each endpoint has a line of numbers, and below it its state, for how long it is in it, and why. FAILED are
attempts that failed by the endpoint's own fault, OVERTAKEN those that were given up because another attempt was faster or
the client had left. P50 and P99 are what its answers of the last minute or two took, by all workers. SCORE is what the
balancer goes by: an average of one worker's, failures included.")]
pub struct Args {
    /// Only this one, with what its endpoints do.
    #[arg(value_name = "NAME")]
    service: Option<String>,
    /// Where the proxy's admin API listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// Print what the proxy answered, as JSON.
    #[arg(long)]
    json: bool,
}

/// The answer of `/api/v1/services`. Keys that a newer proxy may add are no error.
#[derive(Debug, Deserialize)]
struct Answer {
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    standing: String,
    source: String,
    #[serde(default)]
    subset: Option<String>,
    age_ms: Option<u64>,
    last_error: Option<String>,
    #[serde(default)]
    breaker: Option<String>,
    #[serde(default)]
    all_failing: bool,
    endpoints: Vec<Endpoint>,
    left_out: Vec<LeftOut>,
    #[serde(default)]
    learned: Vec<Learned>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    instance: String,
    address: String,
    #[serde(default)]
    tls: Option<String>,
    weight: u64,
    health: String,
    #[serde(default)]
    check: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    due: Option<f64>,
    #[serde(default)]
    got: Option<f64>,
    #[serde(default)]
    deviates: Option<String>,
    in_flight: i64,
    connections: u64,
    attempts: u64,
    failures: u64,
    #[serde(default)]
    overtaken: u64,
    #[serde(default)]
    p50_ms: Option<f64>,
    #[serde(default)]
    p99_ms: Option<f64>,
    #[serde(default)]
    score_ms: Option<f64>,
    #[serde(default)]
    since_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Learned {
    route: Option<String>,
    method: String,
    samples: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    per_try_ms: Option<f64>,
    per_try: String,
    hedge_ms: Option<f64>,
    hedge: String,
}

#[derive(Debug, Deserialize)]
struct LeftOut {
    instance: String,
    reason: String,
}

pub fn run(args: Args) -> ExitCode {
    let path = match &args.service {
        Some(name) => format!("/api/v1/services/{}", escaped(name)),
        None => "/api/v1/services".to_owned(),
    };
    let body = match ask(&args.admin, &path) {
        Ok(body) => body,
        Err(message) => return fail(message),
    };
    if args.json {
        return print(format_args!("{}\n", body.trim_end()), ExitCode::SUCCESS);
    }
    let paint = Paint::of(&io::stdout());
    let page = match args.service {
        Some(_) => understand::<Service>(&args.admin, &body).map(|service| section(&service, paint, &NARROW)),
        None => understand::<Answer>(&args.admin, &body).map(|answer| page(&answer, paint)),
    };
    match page {
        Ok(page) => print(page, ExitCode::SUCCESS),
        Err(message) => fail(message),
    }
}

fn page(answer: &Answer, paint: Paint) -> String {
    if answer.services.is_empty() {
        return "no services yet: none is declared, and none was used by its name\n".to_owned();
    }
    answer.services.iter().map(|s| section(s, paint, &WIDE)).collect::<Vec<_>>().join("\n")
}

/// How wide a section's tables are.
struct Layout {
    endpoints: fn(&[Endpoint]) -> String,
    learned: fn(&[Learned]) -> String,
}

/// A line for each, as wide as it gets.
const WIDE: Layout = Layout { endpoints: overview, learned };
/// Of 80 columns.
const NARROW: Layout = Layout { endpoints, learned: learned_below };

fn section(service: &Service, paint: Paint, layout: &Layout) -> String {
    let age = service.age_ms.map_or("never confirmed".to_owned(), |ms| format!("confirmed {} ago", ago(ms)));
    let mut page = format!("{} ({}), {}, {age}\n", paint.bold(&service.name), service.standing, service.source);
    if let Some(error) = &service.last_error {
        page.push_str(&format!("  {} {error}\n", paint.red("last error:")));
    }
    match service.breaker.as_deref() {
        Some("open") => page.push_str(&format!(
            "  {} every request fails at once, but for one now and then that tries\n",
            paint.red("the circuit breaker is open:")
        )),
        Some("half_open") => page.push_str("  the circuit breaker is half open: a few requests try\n"),
        _ => {}
    }
    if let Some(subset) = &service.subset {
        page.push_str(&format!("  subset: {subset}\n"));
    }
    if service.all_failing {
        page.push_str("  the checks of all instances fail: that is held against none of them\n");
    }
    if service.endpoints.is_empty() {
        page.push_str("  no endpoints\n");
    } else {
        page.push_str(&(layout.endpoints)(&service.endpoints));
    }
    for left_out in &service.left_out {
        page.push_str(&format!("  left out: {} ({})\n", left_out.instance, left_out.reason));
    }
    if !service.learned.is_empty() {
        page.push_str(&(layout.learned)(&service.learned));
    }
    page
}

/// A line for each endpoint, as wide as it gets.
fn overview(endpoints: &[Endpoint]) -> String {
    let head = [
        "  INSTANCE",
        "ADDRESS",
        "WEIGHT",
        "SHARE",
        "REGISTRY",
        "CHECK",
        "IN FLIGHT",
        "CONNECTIONS",
        "ATTEMPTS",
        "FAILED",
        "OVERTAKEN",
        "P50",
        "P99",
        "SCORE",
        "TRAFFIC",
    ];
    let row = |endpoint: &Endpoint| {
        vec![
            format!("  {}", endpoint.instance),
            endpoint.address.clone(),
            endpoint.weight.to_string(),
            share(endpoint),
            endpoint.health.clone(),
            endpoint.check.clone().unwrap_or_else(|| "-".to_owned()),
            endpoint.in_flight.to_string(),
            endpoint.connections.to_string(),
            endpoint.attempts.to_string(),
            endpoint.failures.to_string(),
            endpoint.overtaken.to_string(),
            time(endpoint.p50_ms),
            time(endpoint.p99_ms),
            time(endpoint.score_ms),
            traffic(endpoint),
        ]
    };
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(endpoints.iter().map(row));
    table(&rows)
}

/// Which endpoint fails, and which is slow, on a terminal of 80 columns: the numbers, and below them what they come to.
fn endpoints(endpoints: &[Endpoint]) -> String {
    let head = ["  ENDPOINT", "ATTEMPTS", "FAILED", "OVERTAKEN", "P50", "P99", "SCORE"];
    let row = |endpoint: &Endpoint| {
        let counts = [endpoint.attempts, endpoint.failures, endpoint.overtaken].map(|count| count.to_string());
        let times = [endpoint.p50_ms, endpoint.p99_ms, endpoint.score_ms].map(time);
        [vec![format!("  {}", endpoint.address)], counts.to_vec(), times.to_vec()].concat()
    };
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(endpoints.iter().map(row));
    with_below(&rows, endpoints.iter().map(|endpoint| wrapped(&standing(endpoint)) + &wrapped(&place(endpoint))))
}

/// `ejected for 3 s, gets none: ejected (failures in a row): tried again in 4.5 s`
fn standing(endpoint: &Endpoint) -> String {
    let state = endpoint.state.as_deref().unwrap_or("in").replace('_', " ");
    let since = endpoint.since_ms.map(|ms| format!(" for {}", ago(ms))).unwrap_or_default();
    format!("{state}{since}, gets {}", traffic(endpoint))
}

/// Who it is, and what is there now.
fn place(endpoint: &Endpoint) -> String {
    let Endpoint { instance, weight, health, in_flight, connections, .. } = endpoint;
    let check = endpoint.check.as_ref().map(|check| format!(", check {check}")).unwrap_or_default();
    let got = endpoint.got.map(|_| format!(" (of the attempts lately {})", share(endpoint))).unwrap_or_default();
    let now = format!("{in_flight} in flight, {connections} connections");
    let tls = endpoint.tls.as_ref().map(|name| format!(", TLS as {name}")).unwrap_or_default();
    format!("{instance}: weight {weight}{got}, registry {health}{check}{tls}; {now}")
}

/// Indented lines of 80 columns at most, unless a word is longer.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        // A further line is indented by one more.
        let room = if lines.len() == 1 { 75 } else { 74 };
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push_str(&format!(" {word}"));
        } else {
            lines.push(word.to_owned());
        }
    }
    let indented = lines.iter().enumerate().map(|(at, line)| format!("{:1$}{line}\n", "", if at == 0 { 5 } else { 6 }));
    indented.collect()
}

/// What it gets of its service's requests, and what it should where that is something else.
fn share(endpoint: &Endpoint) -> String {
    let part = |part: f64| format!("{:.1} %", part * 100.0);
    match (endpoint.got, endpoint.due, &endpoint.deviates) {
        (None, _, _) => "-".to_owned(),
        (Some(got), Some(due), Some(why)) => format!("{}, not {}: {why}", part(got), part(due)),
        (Some(got), _, _) => part(got),
    }
}

fn traffic(endpoint: &Endpoint) -> String {
    let gets = match (endpoint.state.as_deref(), endpoint.share) {
        (None, _) | (_, None) => return "-".to_owned(),
        (Some("probing"), _) => "one request",
        (_, Some(share)) if share <= 0.0 => "none",
        (_, Some(share)) if share < 1.0 => "a part",
        _ => "its share",
    };
    endpoint.why.as_ref().map_or(gets.to_owned(), |why| format!("{gets}: {why}"))
}

/// What was learned of answers, with the reasons beside the times.
fn learned(learned: &[Learned]) -> String {
    let head = ["  ANSWERS TO", "KNOWN", "P50", "P99", "NEXT TRY AFTER", "HEDGED AFTER"];
    let after = |after: Option<f64>, why: &str| format!("{} ({why})", time(after));
    let row = |learned: &Learned| {
        let after = [after(learned.per_try_ms, &learned.per_try), after(learned.hedge_ms, &learned.hedge)];
        [known(learned), after.to_vec()].concat()
    };
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(learned.iter().map(row));
    table(&rows)
}

/// The same with the reasons below.
fn learned_below(learned: &[Learned]) -> String {
    let head = ["  ANSWERS TO", "KNOWN", "P50", "P99", "NEXT TRY", "HEDGED"];
    let row = |learned: &Learned| [known(learned), [learned.per_try_ms, learned.hedge_ms].map(time).to_vec()].concat();
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(learned.iter().map(row));
    let why = |learned: &Learned| format!("next try: {}; hedged: {}", learned.per_try, learned.hedge);
    with_below(&rows, learned.iter().map(|learned| wrapped(&why(learned))))
}

fn known(learned: &Learned) -> Vec<String> {
    let what = match &learned.route {
        Some(route) => format!("  {} {route}", learned.method),
        None => format!("  {}", learned.method),
    };
    vec![what, learned.samples.to_string(), time(learned.p50_ms), time(learned.p99_ms)]
}

/// A table, and below each of its lines but the head what belongs to it.
fn with_below(rows: &[Vec<String>], below: impl Iterator<Item = String>) -> String {
    let text = table(rows);
    let mut lines = text.lines();
    let mut page = format!("{}\n", lines.next().unwrap_or_default());
    for (line, below) in lines.zip(below) {
        page.push_str(&format!("{line}\n{below}"));
    }
    page
}

fn time(ms: Option<f64>) -> String {
    ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn ago(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{} s", ms / 1_000),
        120_000..=7_199_999 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
