//! `outrigger check`

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use outrigger::app;
use outrigger::config::settings::{self, HashBy};
use outrigger::config::{self, ConfigErrors, ExplainedKey, ExplainedService, Loaded};
use outrigger::http::Head;
use outrigger::http::path::has_dot_segment;
use outrigger::route::{Ask, Found, Reply, Route, RouteTable, Verdict, change};
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
  outrigger check --route 'GET http://shop.local/cart?x=1' -H 'x-canary: 1' outrigger.yaml
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
    /// A header field of that request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", requires = "route")]
    headers: Vec<Field>,
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
    query: String,
}

/// A header field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a header field, like 'x-canary: 1'".to_owned();
        let (name, value) = text.split_once(':').ok_or_else(expected)?;
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(expected());
        }
        Ok(Self { name: name.to_owned(), value: value.trim_matches([' ', '\t']).to_owned() })
    }
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
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { method: method.into(), host: host.into(), path: path.into(), query: query.into() })
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
        (Some(asked), _) => route(&loaded, asked, &args.headers, args.json),
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

fn route(loaded: &Loaded, asked: &Asked, fields: &[Field], json: bool) -> ExitCode {
    let settings = &loaded.settings;
    let routes = RouteTable::new(&settings.routes, settings.names.clone());
    let mut head = Head::default();
    for Field { name, value } in fields {
        if head.push(name.as_bytes(), value.as_bytes()).is_err() {
            return fail("the header fields are larger than a head may be");
        }
    }
    let (method, path, query) = (asked.method.as_bytes(), asked.path.as_bytes(), asked.query.as_bytes());
    let ask = Ask { method, path, query, head: &head };
    let considered = routes.explain(&asked.host, &ask);
    let (service, reason) = outcome(loaded, &routes, asked, &ask);
    if json {
        let candidates: Vec<_> = considered
            .iter()
            .map(|c| json!({ "route": *c.route, "asks": c.asks, "service": c.leads_to, "taken": c.verdict == Verdict::Taken, "why": c.verdict.to_string() }))
            .collect();
        return print_json(&json!({ "service": service, "why": reason, "considered": candidates }), ExitCode::SUCCESS);
    }
    let paint = Paint::of(&io::stdout());
    let rows: Vec<_> = considered
        .iter()
        .map(|c| vec![format!("  {}", c.route), c.asks.clone(), format!("-> {}", c.leads_to), c.verdict.to_string()])
        .collect();
    let answer = match &service {
        Some(service) => paint.green(service),
        None => paint.red("no service"),
    };
    let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
    let shown =
        format!("{} {}{}{query}\n{}=> {answer}: {reason}\n", asked.method, asked.host, asked.path, table(&rows));
    print(shown, ExitCode::SUCCESS)
}

/// The service that the request goes to, and why.
fn outcome(loaded: &Loaded, routes: &RouteTable, asked: &Asked, ask: &Ask<'_>) -> (Option<String>, String) {
    let settings = &loaded.settings;
    if asked.method == "CONNECT" {
        return (None, "CONNECT is answered with 405".into());
    }
    if has_dot_segment(asked.path.as_bytes()) {
        return (None, "the path has a `.` or `..` segment, which is refused with 400".into());
    }
    match routes.find(&asked.host, ask) {
        Found::Route(route) => {
            let service = route.service.as_ref().map(|service| service.to_string());
            (service, taken(route, asked, ask))
        }
        Found::Split(split) => {
            let key = split.key(ask, || IpAddr::V4(Ipv4Addr::LOCALHOST));
            let first = split.first();
            match key.and_then(|key| split.at(key)).or(first) {
                Some(route) => {
                    let by = split.sticky().map(ToString::to_string).unwrap_or_default();
                    let why = match key {
                        Some(_) if split.sticky() == Some(&HashBy::Address) => {
                            " for a caller on this machine".to_owned()
                        }
                        Some(_) => format!(" for everyone of this {by}"),
                        None => " now and then: it is shared out by weight".to_owned(),
                    };
                    let service = route.service.as_ref().map(|service| service.to_string());
                    (service, taken(route, asked, ask) + &why)
                }
                None => (None, "the split has no part".to_owned()),
            }
        }
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

/// What the route does with the request.
fn taken(route: &Route, asked: &Asked, ask: &Ask<'_>) -> String {
    let mut told = format!("{} takes it", route.name);
    let Some(extras) = route.extras.as_deref() else { return told };
    let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
    if let Some(access) = &extras.access {
        let blocks = |blocks: &[settings::Cidr]| {
            blocks.iter().map(|b| format!("{}/{}", b.address, b.prefix)).collect::<Vec<_>>().join(" ")
        };
        if !access.deny.is_empty() {
            told.push_str(&format!(", not from {}", blocks(&access.deny)));
        }
        if !access.allow.is_empty() {
            told.push_str(&format!(", only from {}", blocks(&access.allow)));
        }
    }
    match &extras.reply {
        Some(Reply::Redirect(redirect)) => {
            let whole =
                change::Asked { scheme: "http", host: asked.host.as_bytes(), path: ask.path, query: query.as_bytes() };
            let location = change::location(redirect, &whole);
            let to = location.map_or("nowhere: 400".to_owned(), |to| String::from_utf8_lossy(&to).into_owned());
            told.push_str(&format!(", and answers {} to {to}", redirect.status));
        }
        Some(Reply::Fixed(answer)) => told.push_str(&format!(", and answers {}", answer.status)),
        None => {}
    }
    let changes = &extras.request;
    if changes.path.is_some() || changes.host.is_some() {
        let path = changes.path.as_ref().map_or(Some(ask.path.into()), |path| change::path(path, ask.path));
        let path = path.map_or("nothing: 400".to_owned(), |path| String::from_utf8_lossy(&path).into_owned());
        told.push_str(&format!(", sent as {}{path}{query}", changes.host.as_deref().unwrap_or(&asked.host)));
    }
    if !changes.headers.is_empty() {
        told.push_str(", with changed header fields");
    }
    if let Some(mirror) = &extras.mirror {
        told.push_str(&format!(", with a copy of {}% to {}", mirror.share * 100.0, mirror.service));
    }
    told
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
