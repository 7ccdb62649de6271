//! `outrigger explain`

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use outrigger::telemetry::access_log::rfc3339;
use outrigger::telemetry::explain::{Group, Record, Summary, Verdict};
use serde::Deserialize;

use super::ask::{ask, escaped, understand};
use super::output::{fail, print, table};

/// Ask a running proxy for the life of a request.
///
/// Where it was sent and why, which endpoints were left out, how each attempt ended, what was returned. Requests that failed, or in which something went wrong, are recorded by themselves, the newest of them; others where
/// a trusted caller (on this machine, or within `http.trusted_cidrs`) asks for it with `x-outrigger-explain: 1`. Without
/// an ID: which there are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger explain                                       those that are known, the newest first
  outrigger explain 0b2d8c3e-6a53-4d2a-9f0e-6e1c7ad1c5f1
  curl -i -H 'x-outrigger-explain: 1' http://127.0.0.1:8080/ -H 'Host: orders'     then its X-Request-Id")]
pub struct Args {
    /// A request's `X-Request-Id`.
    id: Option<String>,
    /// Where the proxy's admin API listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// Print what the proxy answered, as JSON.
    #[arg(long)]
    json: bool,
}

/// The answer of `/api/v1/explain`.
#[derive(Debug, Deserialize)]
struct Answer {
    requests: Vec<Summary>,
}

pub fn run(args: Args) -> ExitCode {
    let path = match &args.id {
        Some(id) => format!("/api/v1/explain/{}", escaped(id)),
        None => "/api/v1/explain".to_owned(),
    };
    let body = match ask(&args.admin, &path) {
        Ok(body) => body,
        Err(message) => return fail(message),
    };
    if args.json {
        return print(format_args!("{}\n", body.trim_end()), ExitCode::SUCCESS);
    }
    let page = match args.id {
        Some(_) => understand::<Record>(&args.admin, &body).map(|record| record.to_string()),
        None => understand::<Answer>(&args.admin, &body).map(|answer| list(&answer.requests)),
    };
    match page {
        Ok(page) => print(page, ExitCode::SUCCESS),
        Err(message) => fail(message),
    }
}

fn list(requests: &[Summary]) -> String {
    if requests.is_empty() {
        return "no request is recorded: none failed, none was in trouble, none asked for it\n".to_owned();
    }
    let head = ["TIME", "ID", "SERVICE", "METHOD", "STATUS", "OUTCOME", "ATTEMPTS", "TOOK", "KEPT BECAUSE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(requests.iter().map(row));
    // Ids and methods are the clients' words.
    table(&rows).chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

fn row(request: &Summary) -> Vec<String> {
    let outcome = match (&request.verdict, &request.reason) {
        (Verdict::Success, _) => "success".to_owned(),
        (Verdict::Degraded, _) => "degraded".to_owned(),
        (Verdict::Failure, Some(reason)) => reason.clone(),
        (Verdict::Failure, None) => "failure".to_owned(),
        (Verdict::NotCounted, _) => "client's own".to_owned(),
    };
    let kept = match request.kept {
        Group::Asked => "it asked",
        Group::Failed => "it failed",
        Group::Troubled => "it was in trouble",
    };
    vec![
        rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(request.time_ms)),
        request.id.replace('\n', "?"),
        request.service.as_deref().unwrap_or("-").to_owned(),
        request.method.replace('\n', "?"),
        request.status.to_string(),
        outcome,
        request.attempts.to_string(),
        request.duration_ms.to_string(),
        kept.to_owned(),
    ]
}
