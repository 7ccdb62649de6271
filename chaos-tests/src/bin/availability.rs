//! `cargo run --release -p chaos-tests --bin availability`: see [`chaos_tests::availability`].

fn main() -> std::process::ExitCode {
    chaos_tests::availability::cli::main()
}
