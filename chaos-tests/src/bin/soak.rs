//! `cargo run --release -p chaos-tests --bin soak -- 60`: see [`chaos_tests::soak`].

fn main() -> std::process::ExitCode {
    let minutes = std::env::args().nth(1).map_or(Ok(60), |text| text.trim_start_matches("MINUTES=").parse());
    match minutes {
        Ok(minutes @ 1..=1440) => chaos_tests::soak::run(minutes),
        _ => {
            chaos_tests::tools::say("soak MINUTES: how long, from 1 to 1440; an hour where nothing is said");
            std::process::ExitCode::from(2)
        }
    }
}
