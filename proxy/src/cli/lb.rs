//! `outrigger lb`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use outrigger::app;
use outrigger::config::text::{Address, InstanceAddress};
use outrigger::config::written::{Balance, Instance, Listener, Protocol, Service};
use outrigger::config::{self, Config};

use super::output::invalid;

/// Balance one address over some targets, with no file and no registry.
///
/// Every request goes to one of the targets. Host names are looked up again every 30 seconds, and each of their
/// addresses is a target of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger lb --listen 127.0.0.1:8080 127.0.0.1:3001 127.0.0.1:3002,weight=3
  outrigger lb --listen 127.0.0.1:8080 https://api.example
  outrigger lb --listen 0.0.0.0:80 --balance round_robin web-1:3000 web-2:3000 '[::1]:3000'")]
pub struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value_t = Address(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080)))]
    listen: Address,
    /// Have the admin API listen here; without this it does not.
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
    /// How a target is chosen: p2c (the less loaded of two) or round_robin.
    #[arg(long, value_name = "HOW", value_parser = balance, default_value = "p2c")]
    balance: Balance,
    /// The targets speak HTTP/2 (gRPC).
    #[arg(long)]
    http2: bool,
    /// HOST:PORT, https://HOST[:PORT], or either with ,weight=N. An IPv6 address stands in brackets.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<WeighedTarget>,
}

#[derive(Debug, Clone, PartialEq)]
struct WeighedTarget(Instance);

impl FromStr for WeighedTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, weight) = match text.split_once(',') {
            None => (text, 1),
            Some((address, option)) => {
                let weight = option.strip_prefix("weight=").and_then(|w| w.parse().ok());
                let expected = || format!("found `,{option}`, expected `,weight=N` with N from 0 to 65535");
                (address, weight.filter(|w| *w <= 65_535).ok_or_else(expected)?)
            }
        };
        Ok(Self(Instance { address: address.parse::<InstanceAddress>()?, weight }))
    }
}

fn balance(text: &str) -> Result<Balance, String> {
    match text {
        "p2c" => Ok(Balance::P2c),
        "round_robin" => Ok(Balance::RoundRobin),
        _ => Err("expected `p2c` or `round_robin`".into()),
    }
}

/// What the one service is called, in metrics and in the admin API.
const SERVICE: &str = "lb";

pub fn run(args: Args) -> ExitCode {
    match config::from_parts("<arguments>", configuration(args)).and_then(app::rehearsed) {
        Ok(loaded) => app::run(loaded.settings, None),
        Err(errors) => invalid(&errors, None),
    }
}

fn configuration(args: Args) -> Config {
    let mut config = Config::default();
    let service = Service {
        instances: Some(args.targets.into_iter().map(|t| t.0).collect()),
        balance: Some(args.balance),
        protocol: args.http2.then_some(Protocol::Http2),
        ..Service::default()
    };
    config.services.insert(SERVICE.into(), service);
    config.listeners = vec![Listener {
        address: args.listen,
        service: Some(SERVICE.into()),
        access: None,
        defer_accept: false,
        tls: None,
    }];
    config.names.enabled = false;
    match args.admin {
        Some(address) => config.admin.address = address,
        // Two of these on one machine must not fight over a port that nobody asked for.
        None => config.admin.enabled = false,
    }
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use outrigger::config::settings::{self, Protocol, Source};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn settings(line: &str) -> settings::Settings {
        let line = Line::parse_from(std::iter::once("lb").chain(line.split(' ')));
        config::from_parts("<arguments>", configuration(line.args)).unwrap().settings
    }

    #[test]
    fn everything_goes_to_the_targets_and_nothing_else_listens() {
        let settings = settings("--listen 127.0.0.1:80 a:3001 10.0.0.1:3002,weight=3 [::1]:3003,weight=0");
        let Source::Static(instances) = &settings.services["lb"].source else { panic!() };
        let targets: Vec<_> = instances.iter().map(|i| (&*i.host, i.port, i.weight)).collect();
        assert_eq!(targets, [("a", 3001, 1), ("10.0.0.1", 3002, 3), ("::1", 3003, 0)]);
        let listeners: Vec<_> = settings.listeners.iter().map(|l| (l.address.port(), l.service.as_deref())).collect();
        assert_eq!(listeners, [(80, Some("lb"))]);
        assert_eq!((settings.admin, settings.names, settings.registries.len()), (None, None, 0));
    }

    #[test]
    fn what_is_typed_is_taken() {
        let settings = settings("--admin 127.0.0.1:9 --balance round_robin --http2 a:1");
        let policy = &settings.services["lb"].policy;
        assert_eq!((policy.balance, policy.protocol), (settings::Balance::RoundRobin, Protocol::Http2));
        assert_eq!(settings.admin.map(|a| a.port()), Some(9));
    }

    #[test]
    fn a_bad_weight_says_what_was_expected() {
        for bad in ["a:1,", "a:1,weight=", "a:1,weight=65536", "a:1,weight=-1", "a:1,x=1", "a:1,weight=1,weight=2"] {
            assert!(bad.parse::<WeighedTarget>().is_err_and(|e| e.contains("`,weight=N`")), "{bad}");
        }
    }
}
