//! `outrigger schema`

use std::process::ExitCode;

use outrigger::config::docs;

use super::output::{print, print_json};

/// Print the JSON Schema of the configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  outrigger schema > outrigger.schema.json
  # and as the first line of outrigger.yaml, for editors that know yaml-language-server:
  # yaml-language-server: $schema=./outrigger.schema.json")]
pub struct Args {
    /// Print the reference page instead.
    #[arg(long, hide = true)]
    markdown: bool,
}

pub fn run(args: Args) -> ExitCode {
    if args.markdown {
        print(docs::markdown(), ExitCode::SUCCESS)
    } else {
        print_json(&docs::schema(), ExitCode::SUCCESS)
    }
}
