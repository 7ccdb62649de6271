//! `outrigger availability`

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::ask::{ask, understand};
use super::output::{Paint, fail, print, table};

/// Ask a running proxy what became of requests, with and without its help.
///
/// What each service answered at the first attempt, what clients got, what made the difference, and what was lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger availability
  outrigger availability --window 24h
  outrigger availability --json | jq .product

BEFORE is the share of requests that the instances alone would have answered, AFTER the share that was answered, by a
fallback too. Both leave out what clients did to themselves: 4xx answers, leaving at once. A service is counted while it
is followed.

In the second table each request stands once: STARTED, and what was IN FLIGHT when the window began, is the sum of all
that follows. UNKNOWN: another attempt was faster than the first, and nobody knows what became of that; it counts as good
BEFORE. REFUSED: by a limit of the proxy, before any attempt failed.")]
pub struct Args {
    /// Where the proxy's admin API listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// How far back; `all` is since each service is followed.
    #[arg(long, value_name = "WINDOW", default_value = "5m", value_parser = ["1m", "5m", "1h", "24h", "all"])]
    window: String,
    /// Print what the proxy answered, as JSON.
    #[arg(long)]
    json: bool,
}

/// The answer of `/api/v1/availability`. Keys that a newer proxy may add are no error.
#[derive(Debug, Deserialize)]
pub struct Answer {
    window: String,
    services: Vec<Service>,
    product: Product,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    declared: bool,
    seconds: u64,
    requests: u64,
    before: Option<f64>,
    after: Option<f64>,
    failure: u64,
    attempts: u64,
    #[serde(default)]
    carried: u64,
    started: u64,
    first_good: u64,
    rescued: BTreeMap<String, u64>,
    unknown: u64,
    degraded: u64,
    lost: BTreeMap<String, u64>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
    abandoned: u64,
    client_errors: u64,
    in_flight: u64,
}

#[derive(Debug, Deserialize)]
struct Product {
    over: String,
    services: u64,
    before: Option<f64>,
    after: Option<f64>,
}

/// What became of the requests of all services together, as `outrigger demo` prints it.
#[derive(Debug, Default, Serialize)]
pub struct Sum {
    /// Requests that count.
    pub requests: u64,
    /// That the instances alone would have answered, as far as is known.
    pub first_good: u64,
    /// That were answered.
    pub answered: u64,
    /// By what saved them.
    pub rescued: BTreeMap<String, u64>,
    /// By what they were lost to.
    pub lost: BTreeMap<String, u64>,
}

impl Answer {
    /// All services together.
    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for service in &self.services {
            sum.requests += service.requests;
            sum.first_good += service.first_good + service.unknown;
            sum.answered += service.requests - service.failure.min(service.requests);
            add(&mut sum.rescued, &service.rescued);
            add(&mut sum.lost, &service.lost);
            add(&mut sum.lost, &service.refused);
        }
        sum
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts.iter().filter(|(_, count)| **count > 0) {
        *sums.entry(name.clone()).or_default() += count;
    }
}

/// The path that is asked for a window.
pub fn path(window: &str) -> String {
    format!("/api/v1/availability?window={window}")
}

pub fn run(args: Args) -> ExitCode {
    let body = match ask(&args.admin, &path(&args.window)) {
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
    let head = ["SERVICE", "REQUESTS", "BEFORE", "AFTER", "ATTEMPTS", "RESCUED BY", "LOST TO"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(answer.services.iter().map(row));
    let Product { over, services, before, after } = &answer.product;
    let plural = if *services == 1 { "service" } else { "services" };
    let product = format!("product of {services} {over} {plural}");
    rows.push(vec![product, String::new(), percent(*before), percent(*after)]);
    // The longest: a service that is followed for less says nothing of before.
    let covered = answer.services.iter().map(|service| service.seconds).max().unwrap_or(0);
    let text = table(&rows);
    let (services, product) = text.trim_end().rsplit_once('\n').unwrap_or_default();
    let window = match answer.window.as_str() {
        "all" => format!("Since each service is followed ({covered} s at most)"),
        window => format!("The last {window} ({covered} s of it so far)"),
    };
    format!("{window}\n\n{services}\n{}\n\n{}", paint.bold(product), accounts(&answer.services))
}

fn row(service: &Service) -> Vec<String> {
    let Service { requests, before, after, attempts, rescued, lost, .. } = service;
    let mark = if service.declared { "" } else { " *" };
    let per_request =
        if *requests == 0 { "-".to_owned() } else { format!("{:.3}", *attempts as f64 / *requests as f64) };
    vec![
        format!("{}{}", service.name, mark),
        requests.to_string(),
        percent(*before),
        percent(*after),
        per_request,
        kinds(rescued),
        kinds(lost),
    ]
}

/// Where each request is to be found: a line of each service adds up.
fn accounts(services: &[Service]) -> String {
    let head = [
        "SERVICE",
        "STARTED",
        "FIRST GOOD",
        "RESCUED",
        "UNKNOWN",
        "DEGRADED",
        "LOST",
        "REFUSED",
        "CLIENT'S",
        "IN FLIGHT",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(services.iter().map(|service| {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>().to_string();
        let started = match service.carried {
            0 => service.started.to_string(),
            carried => format!("{}+{carried}", service.started),
        };
        let clients = match (service.abandoned, service.client_errors) {
            (0, errors) => errors.to_string(),
            (left, errors) => format!("{} ({left} left)", left + errors),
        };
        vec![
            service.name.clone(),
            started,
            service.first_good.to_string(),
            sum(&service.rescued),
            service.unknown.to_string(),
            service.degraded.to_string(),
            sum(&service.lost),
            sum(&service.refused),
            clients,
            service.in_flight.to_string(),
        ]
    }));
    let refused: Vec<String> = services
        .iter()
        .filter(|service| !service.refused.is_empty())
        .map(|service| format!("{} refused by: {}\n", service.name, kinds(&service.refused)))
        .collect();
    table(&rows) + &refused.concat()
}

/// `retry 12, hedge 3`, the most first; a dash for nothing.
pub fn kinds(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if counts.is_empty() {
        return "-".to_owned();
    }
    counts.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

/// Cut, not rounded, so that 100 % is said of nothing less.
pub fn percent(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        // Half a unit of the last bit may be missing to what was divided.
        Some(share) => format!("{:.4} %", (share * 1e6 + 1e-6).floor() / 1e4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_of_all_services() {
        let service = |name, retry, timeout| {
            serde_json::json!({"name": name, "declared": true, "seconds": 1, "requests": 100, "before": 0.9, "after": 0.98,
                "success": 97, "failure": 2, "attempts": 110, "carried": 0, "started": 107, "first_good": 89, "unknown": 1,
                "degraded": 1, "rescued": {"retry": retry, "hedge": 0}, "lost": {"timeout": timeout},
                "refused": {"breaker_open": 1}, "abandoned": 2, "client_errors": 4, "in_flight": 1})
        };
        let product = serde_json::json!({"over": "declared", "services": 2, "before": 0.81, "after": 0.9604});
        let services = [service("a", 8, 2), service("b", 7, 1)];
        let answer = serde_json::json!({"window": "5m", "services": services, "product": product});
        let sum = serde_json::from_value::<Answer>(answer).unwrap().sum();
        assert_eq!((sum.requests, sum.first_good, sum.answered), (200, 180, 196));
        assert_eq!(
            (kinds(&sum.rescued).as_str(), kinds(&sum.lost).as_str()),
            ("retry 15", "timeout 3, breaker open 2")
        );
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        assert_eq!(percent(Some(1.0)), "100 %");
        assert_eq!(percent(Some(0.999_999_9)), "99.9999 %");
        assert_eq!(percent(Some(0.99)), "99.0000 %");
        assert_eq!(percent(Some(0.29)), "29.0000 %");
        assert_eq!(percent(Some(0.0)), "0.0000 %");
        assert_eq!(percent(None), "-");
    }

    #[test]
    fn kinds_are_told_by_their_number() {
        let counts = [("hedge", 3), ("other_endpoint", 12), ("fallback", 0)];
        let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(kinds(&counts), "other endpoint 12, hedge 3");
        assert_eq!(kinds(&BTreeMap::new()), "-");
    }
}
