//! What is typed: one file to a command, and what they share.

mod ask;
mod availability;
mod check;
mod completions;
mod demo;
mod drill;
mod explain;
mod fault;
mod lb;
mod output;
mod run;
mod schema;
mod services;
mod toxiproxy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  outrigger demo                                   what it does for availability, measured on sample services
  outrigger run --consul http://127.0.0.1:8500     every registered service, by its name
  outrigger run --config outrigger.yaml            what the file says
  outrigger lb 127.0.0.1:3001 127.0.0.1:3002       a load balancer with no file
  outrigger toxiproxy                              a Toxiproxy server, for tests that use one
  outrigger check outrigger.yaml                   every error of the file at once
  outrigger availability                           what a running proxy did for each dependency
  outrigger drill run drill.yaml                   break each dependency on purpose, and see what still works
  outrigger fault add delay fixed=2s --service payments --endpoints 1

Exit codes:
  0  success
  1  failure
  2  wrong usage, or a drill that did not begin
  3  invalid configuration
  4  a guard ended the drill
  5  worse than the baseline";

/// A sidecar proxy that finds services in a registry and keeps requests going where they are answered.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// End when standard input does: for whoever starts this as a child and may be killed.
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Lb(lb::Args),
    Check(check::Args),
    Schema(schema::Args),
    Services(services::Args),
    Availability(availability::Args),
    Explain(explain::Args),
    Drill(drill::Args),
    Fault(fault::Args),
    Toxiproxy(toxiproxy::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    SampleInstance(demo::instance::Args),
}

/// Wrong usage, and a drill that did not begin: nothing was injected.
const REFUSED: u8 = 2;
/// A configuration that cannot be used.
const INVALID: u8 = 3;
/// A guard has ended a drill.
const GUARDED: u8 = 4;
/// A matrix is worse than its baseline.
const WORSE: u8 = 5;

pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(toxiproxy::as_typed(std::env::args_os().collect()));
    if arguments.end_with_stdin {
        demo::end_with_stdin();
    }
    match arguments.command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(args),
        Command::Lb(args) => lb::run(args),
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Services(args) => services::run(args),
        Command::Availability(args) => availability::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Fault(args) => fault::run(args),
        Command::Toxiproxy(args) => toxiproxy::run(args),
        Command::Completions(args) => completions::run(args),
        Command::SampleInstance(args) => demo::instance::run(args),
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
