//! `outrigger run`

use std::path::PathBuf;
use std::process::ExitCode;

use outrigger::app;
use outrigger::config::written::{Listener, Registry, RegistryKind};
use outrigger::config::{self, Config, Reload, text::Address};

use super::output::invalid;

/// Run the proxy.
///
/// Without a file, every service that is registered in Consul is reachable by its name: `Host: orders`, or through
/// `http_proxy`. Consul's address is that of --consul, else CONSUL_HTTP_ADDR, else http://127.0.0.1:8500.
///
/// SIGTERM ends it without cutting requests; SIGHUP or a changed file has the configuration read again, and a bad one
/// keeps the old.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger run --consul http://127.0.0.1:8500
  http_proxy=http://127.0.0.1:8080 curl http://orders/

  outrigger run --config outrigger.yaml
  outrigger run --config outrigger.yaml --listen 0.0.0.0:8080 --admin 127.0.0.1:9901")]
pub struct Args {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Consul's address; beside a file, that of the registry `consul`.
    #[arg(long, value_name = "URL")]
    consul: Option<String>,
    /// Listen here instead of where the file says [default: 127.0.0.1:8080]. May be given more than once.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    /// Have the admin API listen here instead of where the file says [default: 127.0.0.1:9901].
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
    /// Allow faults to be injected, whatever the file says: `faults: { enabled: true }`.
    #[arg(long)]
    faults: bool,
}

pub fn run(args: Args) -> ExitCode {
    let Some(path) = args.config.clone() else {
        return match config::from_parts("<arguments>", without_file(&args)) {
            Ok(loaded) => app::run(loaded.settings, None),
            Err(errors) => invalid(&errors, None),
        };
    };
    let name = path.display().to_string();
    let env = |variable: &str| std::env::var(variable).ok();
    let is_file = std::fs::metadata(&path).is_ok_and(|found| found.is_file());
    let first = config::read_file(&path).and_then(|text| {
        let loaded = config::parse(&name, &text, &env, |config| adjust(&args, config))?;
        Ok((text, app::rehearsed(loaded)?.settings))
    });
    let (text, settings) = match first {
        Ok(first) => first,
        Err(errors) => return invalid(&errors, None),
    };
    let load = move |text: &str| {
        let loaded = config::parse_again(&name, text, &env, |config| adjust(&args, config))?;
        app::rehearsed(loaded).map(|loaded| loaded.settings)
    };
    app::run(settings, Some(Reload { path, text: is_file.then_some(text), load: Box::new(load) }))
}

/// Consul, and nothing else.
fn without_file(args: &Args) -> Config {
    let mut config = Config::default();
    config.registries.insert("consul".into(), Registry::default());
    adjust(args, &mut config);
    config
}

/// What is typed wins over what is written.
fn adjust(args: &Args, config: &mut Config) {
    if let Some(url) = &args.consul {
        let consul = config.registries.entry("consul".into()).or_default();
        consul.kind = Some(RegistryKind::Consul);
        consul.address = Some(url.clone());
    }
    if !args.listen.is_empty() {
        let listener = |address: &Address| Listener {
            address: *address,
            service: None,
            access: None,
            defer_accept: false,
            tls: None,
        };
        config.listeners = args.listen.iter().map(listener).collect();
    }
    if args.faults {
        config.faults.enabled = true;
    }
    if let Some(address) = args.admin {
        config.admin.enabled = true;
        config.admin.address = address;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use outrigger::config::settings::{RegistrySettings, Settings};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::parse_from(["run"].iter().chain(line)).args
    }

    fn addresses(settings: &Settings) -> Vec<String> {
        settings.listeners.iter().map(|l| l.address.to_string()).collect()
    }

    fn consul(settings: &Settings) -> Option<&str> {
        match &settings.registries["consul"] {
            RegistrySettings::Consul { address, .. } => address.as_deref(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_file_names_are_looked_up_in_consul() {
        let settings = |line: &[&str]| config::from_parts("x", without_file(&args(line))).unwrap().settings;
        let plain = settings(&[]);
        assert_eq!((consul(&plain), addresses(&plain)), (None, vec!["127.0.0.1:8080".to_owned()]));
        assert_eq!(plain.names.unwrap().registry.as_deref(), Some("consul"));
        let typed =
            settings(&["--consul", "http://c:1", "--listen", "[::1]:1", "--listen", "[::1]:2", "--admin", "[::1]:3"]);
        assert_eq!((consul(&typed), addresses(&typed)), (Some("http://c:1"), vec!["[::1]:1".into(), "[::1]:2".into()]));
        assert_eq!(typed.admin.map(|a| a.port()), Some(3));
    }

    #[test]
    fn beside_a_file_what_is_typed_wins() {
        let text = "registries: {consul: {address: 'http://old', datacenter: dc1}}\nadmin: {enabled: false}\n\
                    listeners: [{address: '127.0.0.1:1'}, {address: '127.0.0.1:2'}]\nservices: {a: {}}\n";
        let args = args(&["--consul", "http://new", "--listen", "127.0.0.1:3", "--admin", "127.0.0.1:4"]);
        let settings = config::parse("f", text, &|_| None, |config| adjust(&args, config)).unwrap().settings;
        assert_eq!((consul(&settings), addresses(&settings)), (Some("http://new"), vec!["127.0.0.1:3".into()]));
        assert!(
            matches!(&settings.registries["consul"], RegistrySettings::Consul { datacenter: Some(dc), .. } if dc == "dc1")
        );
        assert_eq!(settings.admin.map(|a| a.port()), Some(4));
    }
}
