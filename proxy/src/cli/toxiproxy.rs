//! `outrigger toxiproxy`

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use outrigger::app;
use outrigger::config::text::{Address, Interval};
use outrigger::config::{self, Config};

use super::output::{fail, invalid};

/// A Toxiproxy server: its API, its options, its file of proxies.
///
/// For tests that use Toxiproxy today: start this instead, and change nothing else. No service, no registry and no HTTP
/// listener is there; for toxics on discovered services see `faults.toxiproxy` in the configuration of `outrigger run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger toxiproxy
  outrigger toxiproxy --config toxiproxy.json
  toxiproxy-cli create --listen 127.0.0.1:26379 --upstream 127.0.0.1:6379 redis
  toxiproxy-cli toxic add -t latency -a latency=1000 redis")]
pub struct Args {
    /// Host for the API to listen on.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Port for the API to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 8474)]
    port: u16,
    /// JSON file with proxies to create at the start.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer /metrics with the bytes that went through each proxy.
    #[arg(long)]
    proxy_metrics: bool,
    /// Have Outrigger's admin API listen here; without this it does not.
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
}

pub fn run(args: Args) -> ExitCode {
    let address = match resolve(&args.host, args.port) {
        Ok(address) => address,
        Err(why) => return fail(why),
    };
    match config::from_parts("<arguments>", configuration(args, address)) {
        Ok(loaded) => app::run(loaded.settings, None),
        Err(errors) => invalid(&errors, None),
    }
}

/// An IPv4 address where the host has one, as Go prefers it.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
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
    config.faults.toxiproxy.populate = args.config;
    config.faults.toxiproxy.metrics = args.proxy_metrics;
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
    fn nothing_but_toxiproxys_api_is_there() {
        let settings = |line: &[&str]| {
            let args = Line::parse_from(["toxiproxy"].iter().chain(line)).args;
            let address = resolve(&args.host, args.port).unwrap();
            config::from_parts("x", configuration(args, address)).unwrap().settings
        };
        let plain = settings(&[]);
        assert!(plain.listeners.is_empty() && plain.admin.is_none());
        assert_eq!(plain.faults.toxiproxy.unwrap().address.to_string(), "127.0.0.1:8474");
        let typed = settings(&["--host", "::1", "--port", "1", "--config", "x.json", "--proxy-metrics"]).faults;
        let typed = typed.toxiproxy.unwrap();
        assert_eq!((typed.address.to_string(), typed.metrics), ("[::1]:1".to_owned(), true));
        assert_eq!(typed.populate, Some(PathBuf::from("x.json")));
    }
}
