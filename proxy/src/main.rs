//! Arguments to a command to an exit code.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
