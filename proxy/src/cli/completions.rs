//! `outrigger completions`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::print;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger completions bash > /etc/bash_completion.d/outrigger
  outrigger completions zsh > ~/.zfunc/_outrigger
  outrigger completions fish > ~/.config/fish/completions/outrigger.fish")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

pub fn run(args: Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Arguments::command(), "outrigger", &mut script);
    print(String::from_utf8_lossy(&script), ExitCode::SUCCESS)
}
