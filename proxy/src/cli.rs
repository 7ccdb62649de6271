//! What is typed: one file to a command, and what they share.

mod check;
mod completions;
mod lb;
mod output;
mod run;
mod schema;
mod services;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  outrigger run --consul http://127.0.0.1:8500     every registered service, by its name
  outrigger run --config outrigger.yaml            what the file says
  outrigger lb 127.0.0.1:3001 127.0.0.1:3002       a load balancer with no file
  outrigger check outrigger.yaml                   every error of the file at once

Exit codes:
  0  success
  1  failure
  2  wrong usage
  3  invalid configuration";

/// A sidecar proxy that finds services in a registry and keeps requests going where they are answered.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Lb(lb::Args),
    Check(check::Args),
    Schema(schema::Args),
    Services(services::Args),
    Completions(completions::Args),
}

/// A configuration that cannot be used.
const INVALID: u8 = 3;

pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(args) => run::run(args),
        Command::Lb(args) => lb::run(args),
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Services(args) => services::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
