//! `outrigger toxiproxy`

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use outrigger::admin::toxiproxy::VERSION;
use outrigger::app;
use outrigger::config::text::Address;
use outrigger::config::{self, Config};
use outrigger::telemetry::logs;
use outrigger::units::Interval;

use super::output::{fail, invalid, print};

/// A Toxiproxy server: its API, its options, its file of proxies.
///
/// For tests that use Toxiproxy today: start this instead, and change nothing else. No service, no registry and no HTTP
/// listener is there; for toxics on discovered services see `faults.toxiproxy` in the configuration of `outrigger run`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "Options are read as Go reads them: -x v, -x=v, --x v and --x=v are the same. LOG_LEVEL is Toxiproxy's, where RUST_LOG is not
set. Called as toxiproxy-server, this is what runs.

Examples:
  outrigger toxiproxy
  outrigger toxiproxy -host=0.0.0.0 -config toxiproxy.json
  toxiproxy-cli create --listen 127.0.0.1:26379 --upstream 127.0.0.1:6379 redis
  toxiproxy-cli toxic add -t latency -a latency=1000 redis"
)]
pub struct Args {
    /// Host for the API to listen on.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Port for the API to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 8474)]
    port: u16,
    /// JSON file with proxies to create at the start.
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// Answer /metrics with the bytes that went through each proxy.
    #[arg(long)]
    proxy_metrics: bool,
    /// Answer /metrics with what the process itself takes.
    #[arg(long)]
    runtime_metrics: bool,
    /// Taken, and without effect, as in Toxiproxy 2.12.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// Print the version of Toxiproxy that this is, and Outrigger's own.
    #[arg(long)]
    version: bool,
    /// Have Outrigger's admin API listen here; without this it does not.
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
}

/// Options that take a value, and those that are there or not.
const VALUES: [&str; 5] = ["host", "port", "config", "seed", "admin"];
const SWITCHES: [&str; 3] = ["proxy-metrics", "runtime-metrics", "version"];
/// What Go takes for no.
const NO: [&str; 6] = ["0", "f", "F", "false", "FALSE", "False"];
/// What Go takes for yes.
const YES: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];

/// A command line as it would be written for the other commands. Toxiproxy's options are read by Go's `flag`: with one dash or
/// two, a value behind `=` or behind a space, whatever it begins with, and switches that can be told no.
pub fn as_typed(mut line: Vec<OsString>) -> Vec<OsString> {
    let called = line.first().map(Path::new).and_then(Path::file_stem);
    if called.is_some_and(|name| name == "toxiproxy-server") {
        line.insert(1, "toxiproxy".into());
    }
    if line.get(1).is_none_or(|command| command != "toxiproxy") {
        return line;
    }
    let mut typed: Vec<OsString> = line.drain(..2).collect();
    let mut line = line.into_iter();
    while let Some(word) = line.next() {
        let Some(option) = word.to_str().and_then(option) else {
            let ends = word == "--";
            typed.push(word);
            if ends {
                break;
            }
            continue;
        };
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let long = format!("--{name}");
        match value {
            None if VALUES.contains(&name) => match line.next() {
                Some(value) => {
                    let mut whole = OsString::from(long + "=");
                    whole.push(value);
                    typed.push(whole);
                }
                None => typed.push(long.into()),
            },
            Some(value) if SWITCHES.contains(&name) && YES.contains(&value) => typed.push(long.into()),
            Some(value) if SWITCHES.contains(&name) && NO.contains(&value) => typed.retain(|typed| *typed != *long),
            _ => typed.push(format!("--{option}").into()),
        }
    }
    typed.extend(line);
    typed
}

/// What stands behind the dashes of an option. A single letter is none of Toxiproxy's.
fn option(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    (name.len() > 1 && !name.starts_with(['-', '='])).then_some(name)
}

pub fn run(args: Args) -> ExitCode {
    if args.version {
        let ours = env!("CARGO_PKG_VERSION");
        return print(format_args!("toxiproxy-server version {VERSION}\noutrigger {ours}\n"), ExitCode::SUCCESS);
    }
    let asked = std::env::var("LOG_LEVEL").ok().filter(|level| !level.is_empty());
    let level = asked.as_deref().map(level);
    logs::init(None, level.flatten());
    if let (Some(asked), Some(None)) = (&asked, level) {
        tracing::error!("unknown LOG_LEVEL value: \"{asked}\"");
    }
    let address = match resolve(&args.host, args.port) {
        Ok(address) => address,
        Err(why) => return fail(why),
    };
    match config::from_parts("<arguments>", configuration(args, address)) {
        Ok(loaded) => app::run(loaded.settings, None),
        Err(errors) => invalid(&errors, None),
    }
}

/// A level of Toxiproxy's log, by its name or its number, as ours has it.
fn level(asked: &str) -> Option<&'static str> {
    Some(match asked.to_ascii_lowercase().as_str() {
        "trace" | "-1" => "trace",
        "debug" | "0" => "debug",
        "info" | "1" => "info",
        "warn" | "2" => "warn",
        "error" | "fatal" | "panic" | "3" | "4" | "5" => "error",
        "disabled" | "6" | "7" => "off",
        _ => return None,
    })
}

/// An IPv4 address where the host has one, as Go prefers it; no host is every address.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let found = (host, port).to_socket_addrs().map_err(|error| format!("--host {host}: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| format!("--host {host}: no address"))
}

fn configuration(args: Args, address: SocketAddr) -> Config {
    let mut config = Config { listeners: Vec::new(), ..Config::default() };
    config.admin.enabled = args.admin.is_some();
    config.admin.address = args.admin.unwrap_or(config.admin.address);
    config.faults.enabled = true;
    config.faults.toxiproxy.enabled = true;
    config.faults.toxiproxy.address = Address(address);
    config.faults.toxiproxy.populate = args.config.filter(|file| !file.is_empty()).map(PathBuf::from);
    config.faults.toxiproxy.metrics = args.proxy_metrics;
    config.faults.toxiproxy.runtime_metrics = args.runtime_metrics;
    // Whoever ends it wants it gone, not its connections finished.
    config.shutdown.lame_duck = Interval(Duration::ZERO);
    config.shutdown.deadline = Interval(Duration::from_secs(1));
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn every_way_in_which_go_reads_an_option_is_read() {
        let typed = |line: &str| {
            let line = line.split(' ').map(OsString::from).collect();
            as_typed(line).into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("o toxiproxy -host 0.0.0.0 -port 1", "o toxiproxy --host=0.0.0.0 --port=1"),
            ("o toxiproxy -host=:: --port 1 --config=x", "o toxiproxy --host=:: --port=1 --config=x"),
            ("o toxiproxy -seed -5 -config -odd", "o toxiproxy --seed=-5 --config=-odd"),
            ("o toxiproxy -proxy-metrics -runtime-metrics=true", "o toxiproxy --proxy-metrics --runtime-metrics"),
            ("o toxiproxy -proxy-metrics -proxy-metrics=false", "o toxiproxy"),
            ("o toxiproxy -proxy-metrics=maybe", "o toxiproxy --proxy-metrics=maybe"),
            ("o toxiproxy -nope -h --help -help", "o toxiproxy --nope -h --help --help"),
            ("o toxiproxy -port", "o toxiproxy --port"),
            ("o toxiproxy -host= -- -port 1", "o toxiproxy --host= -- -port 1"),
            ("/go/bin/toxiproxy-server -version", "/go/bin/toxiproxy-server toxiproxy --version"),
            ("o run -host x", "o run -host x"),
            ("o", "o"),
        ] {
            assert_eq!(typed(line), expected);
        }
    }

    #[test]
    fn a_level_of_toxiproxys_log_is_one_of_ours() {
        for (asked, expected) in [
            ("TRACE", Some("trace")),
            ("info", Some("info")),
            ("panic", Some("error")),
            ("disabled", Some("off")),
            ("0", Some("debug")),
            ("loud", None),
        ] {
            assert_eq!(level(asked), expected, "{asked}");
        }
    }

    #[test]
    fn nothing_but_toxiproxys_api_is_there() {
        let settings = |line: &[&str]| {
            let args = Line::parse_from(["toxiproxy"].iter().chain(line)).args;
            let address = resolve(&args.host, args.port).unwrap();
            config::from_parts("x", configuration(args, address)).unwrap().settings
        };
        let plain = settings(&[]);
        assert!(plain.listeners.is_empty() && plain.admin.is_none());
        assert_eq!(plain.faults.toxiproxy.unwrap().address.to_string(), "127.0.0.1:8474");
        assert_eq!(settings(&["--host="]).faults.toxiproxy.unwrap().address.to_string(), "[::]:8474");
        let typed = settings(&["--host", "::1", "--port", "1", "--config", "x.json", "--proxy-metrics"]).faults;
        let typed = typed.toxiproxy.unwrap();
        assert_eq!((typed.address.to_string(), typed.metrics), ("[::1]:1".to_owned(), true));
        assert_eq!(typed.populate, Some(PathBuf::from("x.json")));
    }
}
