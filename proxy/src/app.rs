//! Placeholder for the wiring, until it is there.

use std::process::ExitCode;

use crate::config::Reload;
use crate::config::settings::Settings;

/// Says what it would do.
pub fn run(settings: Settings, reload: Option<Reload>) -> ExitCode {
    use std::io::Write;
    let reloaded = reload.map(|r| (r.path.display().to_string(), (r.load)().is_ok()));
    match writeln!(std::io::stdout(), "{settings:#?}\n{reloaded:?}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
