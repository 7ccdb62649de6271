//! The configuration, read again while the process runs.
//!
//! Two things ask for it: SIGHUP, and the file itself when it changes ([`watch`]). A bad one changes nothing and is named
//! in the log, and so does one with nothing in it: that is how a file looks whose disk was full or whose writer died.
//! What is fixed when the process starts (listeners, workers, limits on what peers may send, the admin address) is
//! pointed out where it has changed.

use std::convert::Infallible;
use std::path::Path;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::watch::{self, Seen};
use crate::config::Reload;
use crate::config::settings::Settings;
use crate::control::ControlHandle;
use crate::telemetry::metrics;

/// Follows the file and SIGHUP for ever.
pub async fn follow(
    reload: Option<Reload>,
    hangup: &mut Signal,
    started: Settings,
    control: &ControlHandle,
) -> Infallible {
    let Some(Reload { path, text, load }) = reload else {
        loop {
            if hangup.recv().await.is_none() {
                return std::future::pending().await;
            }
            tracing::info!("there is no configuration file to read again");
        }
    };
    let (ask, asks) = std::sync::mpsc::sync_channel(1);
    let (tell, mut told) = mpsc::channel(1);
    let at = path.clone();
    let looking =
        std::thread::Builder::new().name("configuration".into()).spawn(move || watch::run(&at, text, &asks, &tell));
    if let Err(error) = looking {
        tracing::warn!("the configuration cannot be read again: {error}");
        return std::future::pending().await;
    }
    let mut current = started.clone();
    loop {
        let seen = tokio::select! {
            Some(seen) = told.recv() => seen,
            Some(()) = hangup.recv() => {
                // One that waits already is enough.
                let _waits = ask.try_send(());
                continue;
            }
            else => return std::future::pending().await,
        };
        let Seen { text, asked } = seen;
        match text.and_then(|text| load(&text)) {
            Ok(next) if next == current && !asked => {}
            Ok(next) => {
                name_fixed(&started, &next);
                apply(&path, next, &mut current, control).await;
            }
            Err(errors) => {
                metrics::count_reload(false);
                tracing::error!("the configuration stays as it was: {errors}");
            }
        }
    }
}

async fn apply(path: &Path, next: Settings, current: &mut Settings, control: &ControlHandle) {
    match control.reload(next.clone()).await {
        Ok(()) => {
            *current = next;
            tracing::info!(file = %path.display(), "the configuration was read again");
        }
        Err(error) => tracing::error!("the configuration stays as it was: {error}"),
    }
}

/// Names what differs from what the process runs with since its start, however often the file was read since.
fn name_fixed(started: &Settings, next: &Settings) {
    let fixed = [
        ("listeners", started.listeners != next.listeners),
        ("tcp", started.tcp != next.tcp),
        ("faults", started.faults != next.faults),
        ("workers", started.workers != next.workers),
        ("http", started.http != next.http),
        (
            "admin",
            (started.admin, &started.admin_access, started.endpoint_metrics)
                != (next.admin, &next.admin_access, next.endpoint_metrics),
        ),
        ("access_log", started.access_log != next.access_log),
        ("query_values", started.query_values != next.query_values),
        ("shutdown", started.shutdown != next.shutdown),
    ];
    for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("`{key}` has changed and takes effect at the next start");
    }
}
