//! The heartbeat: what keeps a drill's faults there, and how a drill learns that it is over.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::admin::{Admin, Pulse};
use super::runner::Stop;
use crate::clock::Instant;

/// From beat to beat, as a part of how long the proxies wait for one.
const BEATS: u32 = 10;

/// Beats until it is dropped.
#[derive(Debug)]
pub struct Heart {
    failed: watch::Receiver<Option<Stop>>,
    faults: watch::Sender<Vec<(usize, u64)>>,
    task: JoinHandle<()>,
}

impl Heart {
    /// Begins to beat.
    pub fn start(admins: &[Admin], controller: &str, patience: Duration) -> Self {
        let (stop, failed) = watch::channel(None);
        let (faults, expected) = watch::channel(Vec::new());
        let (admins, controller) = (admins.to_vec(), controller.to_owned());
        let task = tokio::spawn(async move {
            let why = beat(&admins, &controller, patience, &expected).await;
            stop.send_replace(Some(why));
        });
        Self { failed, faults, task }
    }

    /// Which faults should be there: by proxy and id.
    pub fn expect(&self, faults: Vec<(usize, u64)>) {
        self.faults.send_replace(faults);
    }

    /// Returns when the drill cannot go on, and why.
    pub async fn failed(&self) -> Stop {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(Stop::Broken),
            Err(_) => Stop::Broken,
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(
    admins: &[Admin],
    controller: &str,
    patience: Duration,
    expected: &watch::Receiver<Vec<(usize, u64)>>,
) -> Stop {
    let mut heard = vec![Instant::now(); admins.len()];
    loop {
        for (at, admin) in admins.iter().enumerate() {
            let before = expected.borrow().clone();
            match admin.beat(controller).await {
                Ok(Pulse { aborted: Some(saw), .. }) => return Stop::Guard(saw),
                Ok(Pulse { faults, .. }) => {
                    heard[at] = Instant::now();
                    // What was added or ended while the answer was under way says nothing.
                    let same = *expected.borrow() == before;
                    let gone = before.iter().any(|(of, id)| *of == at && !faults.contains(id));
                    if same && gone {
                        return Stop::FaultGone(admin.address());
                    }
                }
                Err(trouble) if heard[at].elapsed() > patience => return Stop::Lost(trouble.to_string()),
                Err(_) => {}
            }
        }
        sleep(patience / BEATS).await;
    }
}
