//! `outrigger check`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use outrigger::app;
use outrigger::config::{self, ConfigErrors, ExplainedKey, ExplainedService, Loaded};
use outrigger::http::path::has_dot_segment;
use outrigger::route::{Found, RouteTable, Verdict};
use serde_json::json;

use super::INVALID;
use super::output::{Paint, fail, invalid, print, print_json, table};

/// Check a configuration file, and say what it means.
///
/// Ends with 0 where the file is good, and with 3 and every error at once where it is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger check outrigger.yaml
  outrigger check --json outrigger.yaml | jq '.errors[]'
  outrigger check --route 'GET http://shop.local/cart' outrigger.yaml
  outrigger check --explain outrigger.yaml
  outrigger check --explain=orders outrigger.yaml")]
pub struct Args {
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Say which route a request takes, and why no other. (Where a listener or a port belongs to one service, all that
    /// arrives there goes to it, and no route is asked.)
    #[arg(long, value_name = "'METHOD URL'", conflicts_with = "explain")]
    route: Option<Asked>,
    /// Print what each service, or one, ends up with, and where each value came from.
    #[arg(long, value_name = "SERVICE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    explain: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A request to find a route for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    method: String,
    host: String,
    path: String,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
        let url = url.trim();
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        if method.is_empty() || host.is_empty() || rest.contains(' ') {
            return Err("expected a method and a URL, like 'GET http://shop.local/cart'".into());
        }
        // The path is kept as it is, dots and all: a URL library would tidy it before it could be judged.
        let path = rest.split(['?', '#']).next().filter(|p| !p.is_empty()).unwrap_or("/");
        Ok(Self { method: method.into(), host: host.into(), path: path.into() })
    }
}

pub fn run(args: Args) -> ExitCode {
    let (name, text) = match read(&args.file) {
        Ok(read) => read,
        Err(errors) => return refuse(&errors, None, args.json),
    };
    let parsed = config::parse(&name, &text, &|variable| std::env::var(variable).ok(), |_| ());
    let loaded = match parsed.and_then(app::checked) {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors, Some(&text), args.json),
    };
    match (&args.route, &args.explain) {
        (Some(asked), _) => route(&loaded, asked, args.json),
        (None, Some(service)) => explain(&loaded, service, args.json),
        (None, None) => good(&name, &loaded, args.json),
    }
}

fn read(file: &Path) -> Result<(String, String), ConfigErrors> {
    if file == Path::new("-") {
        return Ok(("<stdin>".to_owned(), config::read_text("<stdin>", io::stdin().lock())?));
    }
    Ok((file.display().to_string(), config::read_file(file)?))
}

fn refuse(errors: &ConfigErrors, text: Option<&str>, json: bool) -> ExitCode {
    if json {
        let report = json!({ "valid": false, "file": errors.file, "errors": errors.errors });
        return print_json(&report, ExitCode::from(INVALID));
    }
    invalid(errors, text)
}

fn good(name: &str, loaded: &Loaded, json: bool) -> ExitCode {
    let settings = &loaded.settings;
    let counts = [
        ("listeners", settings.listeners.len()),
        ("registries", settings.registries.len()),
        ("services", settings.services.len()),
        ("routes", settings.routes.len()),
    ];
    let warnings = config::warnings(settings);
    if json {
        let mut report = json!({ "valid": true, "file": name, "warnings": warnings });
        for (what, count) in counts {
            report[what] = count.into();
        }
        return print_json(&report, ExitCode::SUCCESS);
    }
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    let good = Paint::of(&io::stdout()).green("good");
    let yellow = Paint::of(&io::stdout()).yellow("warning:");
    let warnings: String = warnings.iter().map(|warning| format!("{name}: {yellow} {warning}\n")).collect();
    print(format_args!("{warnings}{name}: {good} ({})\n", counts.join(", ")), ExitCode::SUCCESS)
}

fn route(loaded: &Loaded, asked: &Asked, json: bool) -> ExitCode {
    let settings = &loaded.settings;
    let routes = RouteTable::new(&settings.routes, settings.names.clone());
    let (path, method) = (asked.path.as_bytes(), asked.method.as_bytes());
    let considered = routes.explain(&asked.host, path, method);
    let (service, reason) = outcome(loaded, &routes, asked);
    if json {
        let candidates: Vec<_> = considered
            .iter()
            .map(|c| json!({ "route": *c.route, "asks": c.asks, "service": *c.service, "taken": c.verdict == Verdict::Taken, "why": c.verdict.to_string() }))
            .collect();
        return print_json(&json!({ "service": service, "why": reason, "considered": candidates }), ExitCode::SUCCESS);
    }
    let paint = Paint::of(&io::stdout());
    let rows: Vec<_> = considered
        .iter()
        .map(|c| vec![format!("  {}", c.route), c.asks.clone(), format!("-> {}", c.service), c.verdict.to_string()])
        .collect();
    let answer = match &service {
        Some(service) => paint.green(service),
        None => paint.red("no service"),
    };
    let shown = format!("{} {}{}\n{}=> {answer}: {reason}\n", asked.method, asked.host, asked.path, table(&rows));
    print(shown, ExitCode::SUCCESS)
}

/// The service that the request goes to, and why.
fn outcome(loaded: &Loaded, routes: &RouteTable, asked: &Asked) -> (Option<String>, String) {
    let settings = &loaded.settings;
    if asked.method == "CONNECT" {
        return (None, "CONNECT is answered with 405".into());
    }
    if has_dot_segment(asked.path.as_bytes()) {
        return (None, "the path has a `.` or `..` segment, which is refused with 400".into());
    }
    match routes.find(&asked.host, asked.path.as_bytes(), asked.method.as_bytes()) {
        Found::Route(route) => (Some(route.service.to_string()), format!("{} takes it", route.name)),
        Found::Service(name) if settings.services.contains_key(&*name) => {
            (Some(name.into_owned()), "no route takes it, and the host is this service's name".into())
        }
        Found::Service(name) => match settings.names.as_ref().and_then(|n| n.registry.as_ref()) {
            Some(registry) => {
                let why =
                    format!("no route takes it, and the host is a name to be looked up in the registry `{registry}`");
                (Some(name.into_owned()), why)
            }
            None => (None, format!("`{name}` is not declared, and there is no registry to look it up in: 404")),
        },
        Found::NotAllowed(name) => (None, format!("`{name}` is outside `names.allow`: 404")),
        Found::Nothing if settings.names.is_none() => (None, "no route takes it, and names are off: 404".into()),
        Found::Nothing => {
            (None, "no route takes it, and the host has routes of its own or cannot be a service's name: 404".into())
        }
    }
}

fn explain(loaded: &Loaded, service: &str, json: bool) -> ExitCode {
    let Some(explained) = loaded.explain(Some(service).filter(|s| !s.is_empty())) else {
        let known: Vec<_> = loaded.settings.services.keys().map(|k| k.to_string()).collect();
        return fail(format_args!("`{service}` is not declared; declared are: {}", known.join(", ")));
    };
    if json {
        return print_json(&explained, ExitCode::SUCCESS);
    }
    if explained.is_empty() {
        return print(
            "no service is declared; what is reached by name has the policies of `defaults`\n",
            ExitCode::SUCCESS,
        );
    }
    let paint = Paint::of(&io::stdout());
    print(explained.iter().map(|s| page(s, paint)).collect::<Vec<_>>().join("\n"), ExitCode::SUCCESS)
}

fn page(service: &ExplainedService, paint: Paint) -> String {
    let mut page = format!("{}: {}\n", paint.bold(&service.service), service.source);
    if let Some(address) = &service.listen {
        page.push_str(&format!("  listens on {address}\n"));
    }
    page.push_str(&format!("  TLS {}\n", service.tls));
    page.push_str(&values("  ", &service.policies));
    for route in &service.routes {
        page.push_str(&format!("  {}: {}\n", route.route, route.asks));
        page.push_str(&values("    ", &route.policies));
    }
    page
}

fn values(indent: &str, keys: &[ExplainedKey]) -> String {
    let from = |key: &ExplainedKey| match key.line {
        Some(line) => format!("{}, line {line}", key.from),
        None => key.from.clone(),
    };
    table(&keys.iter().map(|k| vec![format!("{indent}{}", k.key), k.value.clone(), from(k)]).collect::<Vec<_>>())
}
