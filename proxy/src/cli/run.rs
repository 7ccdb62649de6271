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
}

pub fn run(args: Args) -> ExitCode {
    let Some(path) = args.config.clone() else {
        let mut config = Config::default();
        config.registries.insert("consul".into(), Registry::default());
        adjust(&args, &mut config);
        return match config::from_parts("<arguments>", config) {
            Ok(loaded) => app::run(loaded.settings, None),
            Err(errors) => invalid(&errors, None),
        };
    };
    let from = path.clone();
    let load = move || config::load(&from, |config| adjust(&args, config)).map(|loaded| loaded.settings);
    match load() {
        Ok(settings) => app::run(settings, Some(Reload { path, load: Box::new(load) })),
        Err(errors) => invalid(&errors, None),
    }
}

/// What is typed wins over what is written.
fn adjust(args: &Args, config: &mut Config) {
    if let Some(url) = &args.consul {
        let consul = config.registries.entry("consul".into()).or_default();
        consul.kind = Some(RegistryKind::Consul);
        consul.address = Some(url.clone());
    }
    if !args.listen.is_empty() {
        let listener = |address: &Address| Listener { address: *address, service: None, defer_accept: false };
        config.listeners = args.listen.iter().map(listener).collect();
    }
    if let Some(address) = args.admin {
        config.admin.enabled = true;
        config.admin.address = address;
    }
}
