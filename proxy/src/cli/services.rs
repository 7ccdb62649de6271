//! `outrigger services`

use std::io;
use std::process::ExitCode;

use serde::Deserialize;

use super::ask::{ask, understand};
use super::output::{Paint, fail, print, table};

/// Ask a running proxy for its services and their instances.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger services
  outrigger services --admin http://127.0.0.1:9901 --json | jq '.services[].name'")]
pub struct Args {
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
    latency_ms: Option<f64>,
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
    let body = match ask(&args.admin, "/api/v1/services") {
        Ok(body) => body,
        Err(message) => return fail(message),
    };
    if args.json {
        return print(format_args!("{}\n", body.trim_end()), ExitCode::SUCCESS);
    }
    match understand::<Answer>(&args.admin, &body) {
        Ok(answer) => print(page(&answer, Paint::of(&io::stdout())), ExitCode::SUCCESS),
        Err(message) => fail(message),
    }
}

fn page(answer: &Answer, paint: Paint) -> String {
    if answer.services.is_empty() {
        return "no services yet: none is declared, and none was used by its name\n".to_owned();
    }
    answer.services.iter().map(|s| section(s, paint)).collect::<Vec<_>>().join("\n")
}

fn section(service: &Service, paint: Paint) -> String {
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
    if service.all_failing {
        page.push_str("  the checks of all instances fail: that is held against none of them\n");
    }
    if service.endpoints.is_empty() {
        page.push_str("  no endpoints\n");
    } else {
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
            "FAILURES",
            "LATENCY",
            "TRAFFIC",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(service.endpoints.iter().map(row));
        page.push_str(&table(&rows));
    }
    for left_out in &service.left_out {
        page.push_str(&format!("  left out: {} ({})\n", left_out.instance, left_out.reason));
    }
    if !service.learned.is_empty() {
        let head = ["  ANSWERS TO", "KNOWN", "P50", "P99", "NEXT TRY AFTER", "HEDGED AFTER"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(service.learned.iter().map(learned));
        page.push_str(&table(&rows));
    }
    page
}

fn row(endpoint: &Endpoint) -> Vec<String> {
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
        time(endpoint.latency_ms),
        traffic(endpoint),
    ]
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

fn learned(learned: &Learned) -> Vec<String> {
    let after = |after: Option<f64>, why: &str| format!("{} ({why})", time(after));
    vec![
        match &learned.route {
            Some(route) => format!("  {} {route}", learned.method),
            None => format!("  {}", learned.method),
        },
        learned.samples.to_string(),
        time(learned.p50_ms),
        time(learned.p99_ms),
        after(learned.per_try_ms, &learned.per_try),
        after(learned.hedge_ms, &learned.hedge),
    ]
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
