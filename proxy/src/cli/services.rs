//! `outrigger services`

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

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
    endpoints: Vec<Endpoint>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    instance: String,
    address: String,
    weight: u64,
    health: String,
    in_flight: i64,
    connections: u64,
    attempts: u64,
    failures: u64,
    latency_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct LeftOut {
    instance: String,
    reason: String,
}

/// For the whole conversation: it is with a process on this machine, usually.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: some 100,000 endpoints.
const MAX_ANSWER: usize = 64 << 20;

pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(format_args!("cannot start: {e}")),
    };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&args.admin)).await });
    let body = match asked {
        Ok(Ok(body)) => body,
        Ok(Err(message)) => return fail(message),
        Err(_) => return fail(format_args!("{} did not answer within {} s", args.admin, PATIENCE.as_secs())),
    };
    if args.json {
        return print(format_args!("{}\n", body.trim_end()), ExitCode::SUCCESS);
    }
    match serde_json::from_str(&body) {
        Ok(answer) => print(page(&answer, Paint::of(&io::stdout())), ExitCode::SUCCESS),
        Err(e) => fail(format_args!("{} answered something else than an Outrigger does: {e}", args.admin)),
    }
}

async fn ask(admin: &str) -> Result<String, String> {
    let expected = || format!("found `{admin}`, expected a URL like http://127.0.0.1:9901");
    let full = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let uri: Uri = full.parse().map_err(|_| expected())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(expected)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let advice = "is the proxy running, and is this its admin address?";
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|e| format!("cannot connect to {admin}: {e}; {advice}"))?;
    let broken = |e: hyper::Error| format!("{admin} broke off: {e}; {advice}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let conversation = async {
        let request = Request::get("/api/v1/services")
            .header("host", authority.as_str())
            .header("accept", "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() { Ok(text) } else { Err(format!("{admin} answered {status}: {}", first_line(&text))) }
    };
    // The connection has to be driven beside the conversation; when it ends first, its last answer still counts.
    tokio::pin!(conversation);
    tokio::select! {
        answer = &mut conversation => answer,
        _ = connection => conversation.await,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
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
    if service.endpoints.is_empty() {
        page.push_str("  no endpoints\n");
    } else {
        let head = [
            "  INSTANCE",
            "ADDRESS",
            "WEIGHT",
            "HEALTH",
            "IN FLIGHT",
            "CONNECTIONS",
            "ATTEMPTS",
            "FAILURES",
            "LATENCY",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(service.endpoints.iter().map(row));
        page.push_str(&table(&rows));
    }
    for left_out in &service.left_out {
        page.push_str(&format!("  left out: {} ({})\n", left_out.instance, left_out.reason));
    }
    page
}

fn row(endpoint: &Endpoint) -> Vec<String> {
    vec![
        format!("  {}", endpoint.instance),
        endpoint.address.clone(),
        endpoint.weight.to_string(),
        endpoint.health.clone(),
        endpoint.in_flight.to_string(),
        endpoint.connections.to_string(),
        endpoint.attempts.to_string(),
        endpoint.failures.to_string(),
        endpoint.latency_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms")),
    ]
}

fn ago(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{} s", ms / 1_000),
        120_000..=7_199_999 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
