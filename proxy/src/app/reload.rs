//! The configuration, read again while the process runs.
//!
//! Two things ask for it: SIGHUP, and the file itself when it changes (its folder is watched, so that a file that is
//! replaced, or reached through a link that is moved, is noticed too). A bad one changes nothing and is named in the
//! log. What is fixed when the process starts (listeners, workers, limits on what peers may send, the admin address)
//! is pointed out where it has changed.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::config::Reload;
use crate::config::settings::Settings;
use crate::control::ControlHandle;
use crate::telemetry::metrics;

/// Writers change a file in several steps; this long after the last of them it is read.
const SETTLE: Duration = Duration::from_millis(50);

/// Follows the file and SIGHUP for ever.
pub async fn follow(
    reload: Option<Reload>,
    hangup: &mut Signal,
    mut current: Settings,
    control: &ControlHandle,
) -> Infallible {
    let Some(reload) = reload else {
        loop {
            if hangup.recv().await.is_none() {
                return std::future::pending().await;
            }
            tracing::info!("there is no configuration file to read again");
        }
    };
    let (tell, mut changed) = mpsc::channel(1);
    let _watcher = watch(&reload.path, tell);
    let mut refused = String::new();
    loop {
        let asked = tokio::select! {
            Some(()) = changed.recv() => false,
            Some(()) = hangup.recv() => true,
            else => return std::future::pending().await,
        };
        if !asked {
            tokio::time::sleep(SETTLE).await;
            while changed.try_recv().is_ok() {}
        }
        match (reload.load)() {
            Ok(next) if next == current && !asked => refused.clear(),
            Ok(next) => {
                refused.clear();
                name_fixed(&current, &next);
                match control.reload(next.clone()).await {
                    Ok(()) => {
                        current = next;
                        tracing::info!(file = %reload.path.display(), "the configuration was read again");
                    }
                    Err(error) => tracing::error!("the configuration stays as it was: {error}"),
                }
            }
            Err(errors) => {
                let said = errors.to_string();
                // A file that is being looked at again and again is complained about once.
                if asked || said != refused {
                    metrics::count_reload(false);
                    tracing::error!("the configuration stays as it was: {said}");
                    refused = said;
                }
            }
        }
    }
}

fn watch(path: &Path, tell: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event, too; only changes count, or reading it again would never end.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // One that waits already is enough.
            let _ = tell.try_send(());
        }
    });
    let watched = watcher.and_then(|mut watcher| watcher.watch(folder, RecursiveMode::NonRecursive).map(|()| watcher));
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!("changes of {} are not noticed, SIGHUP still is: {error}", path.display());
            None
        }
    }
}

fn name_fixed(current: &Settings, next: &Settings) {
    let fixed = [
        ("listeners", current.listeners != next.listeners),
        ("tcp", current.tcp != next.tcp),
        ("faults", current.faults != next.faults),
        ("workers", current.workers != next.workers),
        ("http", current.http != next.http),
        ("admin", current.admin != next.admin),
        ("access_log", current.access_log != next.access_log),
        ("shutdown", current.shutdown != next.shutdown),
    ];
    for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("`{key}` has changed and takes effect at the next start");
    }
}
