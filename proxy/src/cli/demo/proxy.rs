//! The proxy under demonstration: this same program, started as anybody would start it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
// Held to push or to read a few lines, by the demo's own process, which carries no traffic of anybody.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

use super::super::availability::{self, Sum};
use super::Stage;
use super::client::Failure;
use super::process::Child;

/// How long it may take until it says that it is ready, and until every service is reached.
const READY: Duration = Duration::from_secs(20);

/// Lines of its log that are kept to explain its end.
const LINES: usize = 20;

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    /// Held, because the proxy ends when it closes.
    stdin: Option<OwnedFd>,
    #[allow(clippy::disallowed_types)]
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Proxy {
    /// Starts `outrigger run --consul <registry> --listen <listen> --admin <admin>`.
    pub(crate) fn start(stage: &Stage) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--end-with-stdin")
            .args(["run", "--consul", &format!("http://{}", stage.registry)])
            .args(["--listen", &stage.listen.to_string(), "--admin", &stage.admin.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        // The user's own Consul is none of the demo's business.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSUL_")) {
            command.env_remove(name);
        }
        let mut child = Child::start(&mut command)?;
        let log = Arc::default();
        tokio::spawn(keep(child.stderr()?, Arc::clone(&log)));
        let stdin = child.stdin();
        Ok(Self { child, stdin, log })
    }

    /// Waits until the proxy is ready and reaches every service, so that no first use is measured.
    pub(crate) async fn ready(&mut self, stage: &Stage) -> io::Result<()> {
        let until = Instant::now() + READY;
        loop {
            let answer = stage.client.ask(stage.admin, Method::GET, "/readyz", String::new()).await;
            if answer.is_ok_and(|answer| answer.status == StatusCode::OK) {
                break;
            }
            self.check(until, "the proxy did not become ready").await?;
        }
        for service in &stage.services {
            while let Err(failure) = stage.client.call(stage.listen, service, None).await {
                let what = match failure {
                    Failure::Status => "answers with an error",
                    Failure::Connection => "closes the connection",
                    Failure::Timeout => "does not answer",
                    Failure::Wrong => "answers with another service",
                };
                self.check(until, &format!("asked for `{service}`, the proxy {what}")).await?;
            }
        }
        Ok(())
    }

    /// What it says became of its requests, of which there were `calls` at least. None when it does not say.
    pub(crate) async fn accounts(stage: &Stage, calls: u64) -> Option<Sum> {
        let path = availability::path("24h");
        let mut last = None;
        // Workers hand over what they counted four times a second.
        for _ in 0..20 {
            let answer = stage.client.ask(stage.admin, Method::GET, &path, String::new()).await.ok()?;
            let answer: availability::Answer = serde_json::from_slice(&answer.body).ok()?;
            let sum = last.insert(answer.sum());
            if sum.requests >= calls {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        last
    }

    /// Waits a moment; an error where there is no sense in waiting on.
    async fn check(&mut self, until: Instant, what: &str) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            // Its last words may still be in the pipe.
            sleep(Duration::from_millis(50)).await;
            return Err(io::Error::other(format!("the proxy has ended ({status}){}", self.last_words())));
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("{what} within {} s{}", READY.as_secs(), self.last_words())));
        }
        sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// Whether it has ended, with the reason.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the proxy has ended ({status}){}", self.last_words()))
    }

    /// Ends it.
    pub(crate) async fn stop(&mut self) {
        self.stdin = None;
        if timeout(Duration::from_secs(3), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn last_words(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}

#[allow(clippy::disallowed_types)]
async fn keep(stderr: Receiver, log: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}
